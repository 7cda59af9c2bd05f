//! The bot's own process between a mail server, which the tests play, and a server with its users.
//!
//! One program for all, since each program of tests is linked with the whole of the server.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod closed;
mod incoming;
mod outgoing;
#[path = "../post/mod.rs"]
mod post;
#[path = "../post/sink.rs"]
mod sink;
mod upgrade;
