//! Tests of keys over whole rooms and accounts in memory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bounds;
mod claims;
mod identities;
mod signing;
mod town;
