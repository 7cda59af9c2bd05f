//! The room engine: how events enter a room, what the room's state is, and how it is read.
//!
//! Every event enters through [`Rooms::send`] and its relatives (create, join, invite, …) or through
//! [`Rooms::receive_transaction`], and leaves as one atomic [`store::Batch`]. Nothing else writes a
//! room, so a crash leaves all of an event or nothing of it. Nobody is called afterwards: who has to
//! hear of an event reads it from the log ([`log`]).
//!
//! Reading order: [`ids`] and [`tables`] (what is stored), [`snapshot`] (the state before each
//! event), then `pipeline` (draft → build → sign → place → batch), `inbound` for the way in from
//! other servers, and [`read`] for the answers.
//!
//! No HTTP here, and no network: other servers are reached through the [`Remote`] port.

mod acl;
mod attempts;
mod canonical_alias;
mod create;
mod entering;
mod error;
mod farewells;
mod graph;
mod head;
mod history;
pub mod ids;
mod inbound;
mod invites;
mod join;
mod knock;
pub mod log;
mod membership;
mod memory;
mod merge;
mod outside;
mod people;
mod pipeline;
mod place;
mod policy;
pub mod ports;
mod projections;
mod purge;
pub mod read;
mod redact;
mod resident;
mod rooms;
mod send;
pub mod snapshot;
mod state;
pub mod tables;
#[cfg(test)]
mod tests;
mod told;
mod txns;
mod upgrade;
mod verify;
mod versions;
mod view;
mod withdrawals;

/// Puts the future of an `async fn` into a box. The machine code of an unboxed future is made anew in
/// each crate that awaits it, with that of all that it awaits in turn: the way of an event through
/// this crate stood eight times in the binary. So the functions where much comes together are boxed;
/// it costs one small allocation per call.
use async_recursion::async_recursion as boxed;

pub use self::{
    create::{
        Ban, CreateRoom, InitialState, Invitee, MAX_BANS, MAX_INITIAL_STATE, MAX_INVITES, Preset, alias_of,
    },
    error::Error,
    graph::index_auth,
    ids::{EventSerial, InboxSerial, Order, RoomSerial, Root, StateKeySerial},
    inbound::{InboxLimits, InboxTotals, Parked, PduAnswer},
    invites::ReceivedInvite,
    membership::{Joining, Profile, ProfileChange},
    people::{Begin, Found, PeopleFound, list_people, note_account},
    place::StateChange,
    policy::{AllowAll, Denial, Policy},
    ports::{KeySource, NoRemote, Remote, RemoteError},
    projections::{Brought, Emptied, Projection, Rows, Shown, list_local_members},
    purge::{Debts, NoDebts, PurgeStatus},
    read::recency::note_recency,
    resident::{AcceptedJoin, MemberTemplate},
    rooms::{Config, Parts, Rooms},
    send::Txn,
    upgrade::{Upgrade, Upgraded},
};
