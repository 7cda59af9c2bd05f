//! Rooms as they are stored and read: events, their order, the state before each, members, and who may see what.
//!
//! Whatever is asked of rooms is asked through [`Rooms`], and told from what is committed. Events are not made,
//! received or judged here: who does that stands above, and knows this crate for the rows it writes and for what it has
//! to look up. Only what lies beside the graph of events and needs no judgement is written here too: receipts, typing,
//! a room's entry in a directory, whom a reader must not see any more.
//!
//! Reading order: [`ids`] and [`tables`] (what is stored), [`snapshot`] (the state before each event), then [`read`]
//! for the answers; who has to hear of something finds it in the log ([`log`]).
//!
//! No HTTP here, and no network.

mod acl;
pub mod attempts;
mod checks;
mod error;
mod horizon;
pub mod ids;
pub mod log;
pub mod memory;
pub mod people;
mod policy;
pub mod purge;
pub mod read;
mod rooms;
pub mod snapshot;
pub mod tables;
mod zone;

/// Puts the future of an `async fn` into a box. The machine code of an unboxed future is made anew in
/// each crate that awaits it, with that of all that it awaits in turn. So the functions where much comes together are
/// boxed; it costs one small allocation per call.
use async_recursion::async_recursion as boxed;

pub use self::{
    acl::admits,
    checks::checks,
    error::{Error, RemoteError},
    horizon::Horizon,
    ids::{EventSerial, InboxSerial, Order, RoomSerial, Root, StateKeySerial},
    people::{Begin, Found, PeopleFound, Profile, note_account},
    policy::{AllowAll, Denial, DeviceBound, FactorRule, FileFacts, FileForm, FileReader, Making, Policy},
    read::{recency::note_recency, times::index_times, walk::walk_events},
    rooms::{Parts, Rooms},
    zone::{Gives, Zone},
};

#[cfg(test)]
#[global_allocator]
static COUNTING: meter::Counting = meter::Counting;
