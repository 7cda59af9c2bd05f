//! The bot's own process beside a server, and what a browser sends.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod handover;
mod links;
mod standing;
mod town;
