//! How clients followed rooms before there was `/sync`: `/initialSync` and `/events`. They are deprecated, and are how a room
//! that is open to the world is followed by who is not in it.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events>

mod events;
mod http;
mod initial;
mod room;

pub use self::events::EventsRequest;
pub(crate) use self::http::routes;
