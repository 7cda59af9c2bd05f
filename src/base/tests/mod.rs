//! What the crate promises, as tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod buckets;
mod cache;
mod config;
mod language;
mod small;
mod tasks;
mod time;
