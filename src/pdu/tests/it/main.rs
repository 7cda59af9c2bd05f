//! Tests of the event rules through the crate's public face.

#![expect(clippy::unwrap_used, reason = "tests")]

mod auth;
mod authority;
mod client;
mod format;
mod json;
mod redaction;
mod resolution;
mod signing;
mod world;
