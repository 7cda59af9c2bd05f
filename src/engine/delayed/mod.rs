//! Delayed events (MSC4140): what a user wants to say later, unless he says before then that it is to wait or to go.
//!
//! Clients that take part in a call leave word that they are gone, and put it off again and again while they are there.
//! So a delayed event outlives whoever scheduled it: it is sent though its device has signed out. It goes with the
//! account, with the room, and where its sender may not say it any more when it is due.
//!
//! It is kept in the store, and its rows go in the batch of the event that comes of it, which demands that they are
//! there as they were read: so it is sent once, whoever crashes, restarts or sends it at the same time. One process
//! looks for those that are due, and waits for the earliest.
//!
//! Delayed state goes when somebody else sets the same piece of state, in the batch of that event. Rooms that have any
//! are remembered, so that state of others costs no look. That memory may be a moment behind what another process has
//! scheduled; so whoever sends delayed state compares what is there with what was there when it was scheduled.
//!
//! Reading order: [`Engine::delay`], [`Engine::send_delayed`], `due`; [`crate::delays`] for the rows, and for state.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4140>

mod due;
mod schedule;
mod send;

use std::time::Duration;

use ruma::OwnedRoomId;
use serde_json::value::RawValue;

#[cfg(doc)]
use crate::Engine;

/// A delayed event, as its sender sees it.
#[derive(Clone, Debug)]
pub struct DelayedEvent {
    /// What names it; whoever knows it may send, restart and cancel the event.
    pub delay_id: String,
    /// The room.
    pub room_id: OwnedRoomId,
    /// Type of the event.
    pub kind: String,
    /// State key, for state.
    pub state_key: Option<String>,
    /// The content, as it was sent.
    pub content: Box<RawValue>,
    /// For how long it is delayed.
    pub delay: Duration,
    /// When it was scheduled or restarted last, in ms since 1970.
    pub running_since: u64,
}
