//! Tests of `/sync` over whole rooms and accounts in memory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod aging;
mod costs;
mod data;
mod encryption;
mod gathering;
mod lacking;
mod limits;
mod membership;
mod memory;
mod older;
mod presence;
mod signed_out;
mod sliding;
mod state;
mod timeline;
mod to_device;
pub(crate) mod town;
mod unread;
mod waiting;

#[global_allocator]
static COUNTING: meter::Counting = meter::Counting;
