//! The authorization server that every authority has built in: clients get sessions without seeing passwords.
//!
//! A client registers itself ([`Client`]), sends the user's browser to us with an [`Authorization`] that it wishes for,
//! and trades the code that comes back for tokens ([`OAuth::redeem`]). A client without a browser shows the user
//! a code to type elsewhere ([`OAuth::begin_device`]). What is granted is a session of `account`: this crate
//! keeps only what leads to it, for minutes. And it keeps the letterboxes by which two devices of
//! a user meet before one of them is signed in ([`rendezvous`]).
//!
//! Nothing here knows HTTP or pages. Whatever strangers can make is counted and runs out.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#oauth-20-api>
//!
//! Reading order: [`OAuth`], `clients`, `authorization`, `codes`, `devices`.

mod authorization;
mod clients;
mod codes;
mod devices;
mod error;
mod kinds;
mod letter;
mod metadata;
mod oauth;
mod passing;
mod polls;
pub mod rendezvous;
mod scope;
mod tables;

pub use authorization::{Authorization, Prompt, Refusal, ResponseMode};
pub use clients::Registered;
pub use codes::{Exchange, Granted};
pub use devices::{DeviceRequest, NewDeviceCode};
pub use error::{Code, Error};
pub use metadata::{ApplicationType, Client, Destination};
pub use oauth::OAuth;
pub use passing::count_by_authority;
pub use scope::Scope;
pub use tables::checks;
