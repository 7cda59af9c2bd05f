//! What the kit promises, as tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bad_input;
mod faces;
mod kit;
mod routing;
