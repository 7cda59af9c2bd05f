//! What the kit promises, as tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod addresses;
mod bad_input;
mod bodies;
mod faces;
mod kit;
mod limits;
mod refusals;
mod routing;
