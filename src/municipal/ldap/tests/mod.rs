//! Tests over the store in memory: with a directory that says what it is told to say, and with a real one.

#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod comparing;
mod directory;
mod groups;
mod hostile;
mod slapd;
mod town;
mod wire;
