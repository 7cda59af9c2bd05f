//! What follows from an accepted event beside its own rows: indexes, added to the event's own batch.
//!
//! The engine's own projections are plain functions that get the event and the changes of the room's current state, and
//! add to the batch. A new one is a new file and a line in [`run`]. Others' come in by the port [`Projection`].

mod membership;
mod port;
mod relations;
mod summary;

use std::sync::Arc;

pub use membership::list_local_members;
use pdu::Authorities;
pub use port::{Emptied, Projection, Rows, Shown};
use room::{
    ids::Root,
    read::{event::StoredEvent, room::RoomInfo},
    tables::Summary,
};
use store::{Batch, Slot};

use crate::change::StateChange;

/// What projections know and where they write.
pub(crate) struct Step<'a> {
    pub(crate) others: &'a [Arc<dyn Projection>],
    pub(crate) room: &'a RoomInfo,
    pub(crate) authorities: &'a Authorities,
    pub(crate) batch: &'a mut Batch,
    /// The event's log entry; none for one that is not shown.
    pub(crate) slot: Option<Slot>,
    pub(crate) event: &'a StoredEvent,
    /// By this batch we come into the room. What its state was when we were in it before says nothing of what has
    /// been written of our users since.
    pub(crate) came_in: bool,
    /// The current state after the event.
    pub(crate) current: Root,
    pub(crate) summary: &'a mut Summary,
    pub(crate) changes: &'a [StateChange],
}

/// Runs all projections.
pub(crate) fn run(step: &mut Step<'_>) {
    membership::project(step);
    summary::project(step);
    relations::project(step);
    port::show(step);
}

/// Tells others' projections that an event was emptied by a redaction.
pub(crate) fn empty(
    others: &[Arc<dyn Projection>],
    room: &RoomInfo,
    before: &StoredEvent,
    emptied: &StoredEvent,
    batch: &mut Batch,
) {
    port::empty(others, Emptied { room, before, emptied }, batch);
}

/// Follows the change of one state event in the room's summary.
pub(crate) fn follow_summary(summary: &mut Summary, change: &StateChange) {
    if change.name.key.is_empty() {
        summary::follow(summary, change);
    }
}
