//! What follows from an accepted event beside its own rows: indexes, added to the event's own batch.
//!
//! The engine's own projections are plain functions that get the event and the changes of the room's current state, and
//! add to the batch. A new one is a new file and a line in [`run`]. Others' come in by the port [`Projection`].

mod membership;
mod port;
mod relations;
mod summary;

use std::sync::Arc;

pub(crate) use membership::is_ours;
pub use membership::list_local_members;
use pdu::Authorities;
pub use port::{Brought, Emptied, Projection, Rows, Shown};
use room::{
    ids::Root,
    read::{event::StoredEvent, room::RoomInfo},
    tables::{StateKeyName, Summary},
};
use store::{Batch, Slot};

use crate::{change::StateChange, people};

/// What projections know and where they write.
pub(crate) struct Step<'a> {
    pub(crate) others: &'a [Arc<dyn Projection>],
    pub(crate) room: &'a RoomInfo,
    pub(crate) authorities: &'a Authorities,
    pub(crate) batch: &'a mut Batch,
    /// The event's log entry; none for one that is not shown.
    pub(crate) slot: Option<Slot>,
    /// By this batch we come into the room. What its state was when we were in it before says nothing of what has
    /// been written of our users since.
    pub(crate) came_in: bool,
    /// The current state after the event.
    pub(crate) current: Root,
    pub(crate) changes: &'a [StateChange],
}

/// Runs all projections.
pub(crate) fn run(step: &mut Step<'_>, event: &StoredEvent, summary: &mut Summary) {
    membership::project(step);
    summary::project(step, summary);
    relations::project(step, event);
    port::show(step, event);
}

/// Runs those that follow the state, on a part of it that is brought into a room before the event by which we come into
/// that: no users of ours ([`membership::is_ours`]), nothing of the summary ([`summary::shows`]).
pub(crate) fn bring(step: &mut Step<'_>) {
    membership::project(step);
    port::bring(step);
}

/// Runs those that follow the state, on the last part of what comes into a room that we are in already.
pub(crate) fn complete(step: &mut Step<'_>, summary: &mut Summary) {
    membership::project(step);
    summary::project(step, summary);
    port::bring(step);
}

/// Whether a piece of state waits for the event by which we come into a room: our users learn of the room by what is
/// projected of them, and lists of rooms show the summary.
pub(crate) fn waits_for_join(authorities: &Authorities, name: &StateKeyName) -> bool {
    membership::is_ours(authorities, name) || summary::shows(name)
}

/// Tells others' projections that an event was emptied by a redaction.
pub(crate) fn empty(
    others: &[Arc<dyn Projection>],
    room: &RoomInfo,
    before: &StoredEvent,
    emptied: &StoredEvent,
    batch: &mut Batch,
) {
    people::note_emptied(batch, room.serial, before);
    port::empty(others, Emptied { room, before, emptied }, batch);
}

/// Follows the change of one state event in the room's summary.
pub(crate) fn follow_summary(summary: &mut Summary, change: &StateChange) {
    if change.name.key.is_empty() {
        summary::follow(summary, change);
    }
}
