//! What the crate promises, as tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod buckets;
mod config;
mod small;
mod tasks;
mod time;
