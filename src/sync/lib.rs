//! `/sync`: what a client missed, and a wait for what comes next.
//!
//! An answer is read from the tables between two positions of the one order of commits, `since` and
//! the head. Nothing is kept per client but a memory of which members were sent to it, which may be
//! lost at any time. A client that waits stands in no queue: it watches the topics of its user and
//! rooms, and looks again when one is touched.
//!
//! Sliding sync (`sliding`) answers from the same tables in another way: of the rooms that a client looks at, what each
//! connection has not been told.
//!
//! Reading order: [`Syncs::sync`] (the wait), `rooms` (which rooms have something to tell), `joined`
//! and `left` (what they tell), `write` (the answer's JSON), and [`http`].
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

mod connections;
mod data;
mod encryption;
mod error;
mod filter;
mod gathering;
mod groups;
pub mod http;
mod joined;
mod lazy;
mod left;
mod older;
mod presence;
mod rooms;
mod shape;
mod sliding;
mod syncs;
#[cfg(test)]
mod tests;
mod threads;
mod timelines;
mod to_device;
mod typing;
mod unread;
mod watches;
mod whole;
mod write;

pub use self::{
    connections::{SlidingBody, SlidingRequest},
    error::Error,
    filter::SyncFilter,
    older::EventsRequest,
    syncs::{Answer, StateAfter, SyncRequest, Syncs},
};
