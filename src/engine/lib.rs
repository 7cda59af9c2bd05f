//! The room engine: how events enter a room, and what the room's state is then.
//!
//! Every event enters through [`Engine::send`] and its relatives (create, join, invite, …) or through
//! [`Engine::receive_transaction`], and leaves as one atomic [`store::Batch`]. Nothing else writes a
//! room, so a crash leaves all of an event or nothing of it. Nobody is called afterwards: who has to
//! hear of an event reads it from the log ([`room::log`]).
//!
//! What is stored of rooms, and what readers see of it, is the crate below ([`room`]); it is asked there
//! ([`Engine::rooms`]), not here.
//!
//! Reading order: `pipeline` (draft → build → sign → place → batch), `head` (the tip of a room), `inbound` for the way
//! in from other servers.
//!
//! No HTTP here, and no network: other servers are reached through the [`Remote`] port.

mod administration;
mod aliases;
mod annotations;
mod as_of;
mod blocks;
mod canonical_alias;
mod change;
mod checks;
mod create;
mod delayed;
pub mod delays;
mod draft;
mod engine;
mod entering;
mod farewells;
mod graph;
mod half_way;
mod head;
mod history;
mod inbound;
mod invites;
mod join;
mod knock;
mod membership;
mod merge;
mod outside;
mod people;
mod pipeline;
mod place;
pub mod ports;
mod profile;
mod projections;
mod purge;
mod reclaim;
mod redact;
mod request;
mod resident;
mod say;
mod send;
mod state;
mod state_answers;
pub mod tables;
#[cfg(test)]
mod tests;
mod third_party;
mod together;
mod told;
mod txns;
mod under_way;
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
    aliases::MAX_SERVERS,
    blocks::Blocked,
    change::StateChange,
    checks::checks,
    create::{
        Ban, Beside, CreateRoom, InitialState, Invitee, MAX_BANS, MAX_INITIAL_STATE, MAX_INVITES, Preset,
        alias_of,
    },
    delayed::DelayedEvent,
    delays::DelayLimits,
    engine::{Config, Engine, Parts},
    graph::index_auth,
    inbound::{InboxLimits, InboxTotals, Parked, PduAnswer},
    invites::ReceivedInvite,
    membership::Joining,
    people::{list_people, unlist_people},
    ports::{KeySource, NoRemote, Remote},
    profile::{Profile, ProfileChange},
    projections::{Brought, Emptied, Projection, Rows, Shown, list_local_members},
    purge::{Debts, NoDebts, PurgeStatus},
    request::Txn,
    resident::{AcceptedJoin, MemberTemplate},
    state_answers::StateBefore,
    third_party::ThirdPartyInvite,
    together::{Landed, RoomChange},
    upgrade::{Upgrade, Upgraded},
};
