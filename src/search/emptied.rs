//! What is noted in an event's own batch: that it was emptied, and that nothing of it must stay in the index.

use engine::{Brought, Emptied, Projection, Rows, Shown};
use room::ids::RoomSerial;
use store::{Swath, Topic};

use crate::tables::{DOCUMENTS, EMPTIED_EVENTS, PAGES, ROOM_INDEX};

/// Moves when an event was emptied.
pub(crate) fn emptied_moved() -> Topic {
    Topic::new(180, "search.emptied")
}

/// The part of the index that is written with the events: which were emptied. It also says where a room's rows lie, so that
/// they go with it when it is purged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Emptying;

impl Projection for Emptying {
    fn show(&self, _shown: &Shown<'_>, _rows: &mut Rows<'_>) {}

    fn bring(&self, _brought: &Brought<'_>, _rows: &mut Rows<'_>) {}

    fn empty(&self, emptied: &Emptied<'_>, rows: &mut Rows<'_>) {
        rows.put(&EMPTIED_EVENTS, &(emptied.room.serial, emptied.before.serial()), &());
        rows.touch(emptied_moved());
    }

    fn swaths(&self, room: RoomSerial) -> Vec<Swath> {
        vec![ROOM_INDEX.swath(&room), DOCUMENTS.swath(&room), PAGES.swath(&room), EMPTIED_EVENTS.swath(&room)]
    }
}
