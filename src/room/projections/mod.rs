//! What follows from an accepted event beside its own rows: indexes, added to the event's own batch.
//!
//! Each projection is a plain function that gets the event and the changes of the room's current
//! state, and adds to the batch. A new index is a new file and a line in [`run`].

mod membership;
mod relations;
mod summary;

pub use membership::list_local_members;
use pdu::Authorities;
use store::{Batch, Slot};

use crate::{
    ids::Root,
    place::StateChange,
    read::{event::StoredEvent, room::RoomInfo},
    tables::Summary,
};

/// What projections know and where they write.
pub(crate) struct Projection<'a> {
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
pub(crate) fn run(projection: &mut Projection<'_>) {
    membership::project(projection);
    summary::project(projection);
    relations::project(projection);
}

/// Follows the change of one state event in the room's summary.
pub(crate) fn follow_summary(summary: &mut Summary, change: &StateChange) {
    if change.name.key.is_empty() {
        summary::follow(summary, change);
    }
}
