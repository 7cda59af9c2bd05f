//! Tests of the protocol, and of what follows for accounts, over the store in memory.

#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod answers;
mod groups;
mod protocol;
mod town;
