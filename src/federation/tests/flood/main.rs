//! What it costs to be sent much by others, in bytes of memory and reads of the store.
//!
//! Memory is the process's, so these tests are a binary of their own and run one at a time.
#![expect(clippy::unwrap_used, reason = "tests")]

mod meter;
#[path = "../servers/net.rs"]
#[expect(dead_code, reason = "another binary uses the rest")]
mod net;
mod rooms;
mod shapes;
