//! Which rooms are being purged, as readers ask: nothing of those is shown, in whichever process they ask.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use store::{Moved, Position, Range, Remembered, Store, Topic};

use super::tables::{MOST_AT_ONCE, PURGES};
use crate::{Error, Rooms, ids::RoomSerial};

/// Moves when a room is closed to be purged, and when nothing is left of it.
pub fn purges_moved() -> Topic {
    Topic::new(20, "room.purges")
}

/// Moves when a purge is ordered.
pub fn purge_ordered() -> Topic {
    Topic::new(21, "room.purges")
}

/// Up to where it is known that no room was closed, or nothing else happened that makes what is remembered wrong.
#[derive(Debug, Default)]
pub(crate) struct AsOf(AtomicU64);

impl AsOf {
    /// Drops what is remembered if a room was closed, or emptied, since this was asked the last time.
    pub(crate) fn renew(&self, store: &Store, drop_all: impl FnOnce()) {
        self.renew_by(store, purges_moved(), drop_all);
    }

    /// The same for another topic, which has to be the same one each time.
    pub(crate) fn renew_by(&self, store: &Store, topic: Topic, drop_all: impl FnOnce()) {
        // Before the question: the answer holds up to here.
        let head = store.head();
        let before = Position(self.0.load(Ordering::Acquire));
        if store.moved(topic, before) != Moved::No {
            drop_all();
        }
        // After the drop: nobody takes for right what is about to go.
        self.0.fetch_max(head.0, Ordering::AcqRel);
    }
}

/// The serials of the rooms that are closed.
pub(crate) type Closed = Remembered<HashSet<RoomSerial>>;

impl Rooms {
    /// The rooms that are closed and not yet gone.
    pub(crate) async fn closed_rooms(&self) -> Result<Arc<HashSet<RoomSerial>>, Error> {
        let read = async {
            let range = Range::all();
            let rows = self.store().scan(&PURGES, range, store::Order::Ascending, 2 * MOST_AT_ONCE).await?;
            let closed = rows.into_iter().filter(|(_, row)| row.phase.is_closed()).map(|(_, row)| row.room);
            Ok(closed.collect())
        };
        self.reader().closed.get_or_read(self.store(), [purges_moved()], read).await
    }
}
