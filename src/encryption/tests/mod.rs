//! Tests of keys over whole rooms and accounts in memory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod claims;
mod signing;
mod town;
