//! Tests of the write side: whole servers over memory stores.
#![expect(clippy::unwrap_used, reason = "tests")]

mod convergence;
mod extremities;
mod federation;
mod inbound;
mod liars;
mod local;
mod model;
mod net;
mod reading;
mod rows;
