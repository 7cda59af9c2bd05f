//! The tables of the index. Numbers 180–189 are this crate's.

use bytes::Bytes;
use room::ids::{EventSerial, Order, RoomSerial};
use serde::{Deserialize, Serialize};
use store::{Position, Table, TableCheck, Tuning};

/// The name under which one of several processes keeps the index up, and of its cursor.
pub(crate) const NAME: &str = "search";

/// The segments of a room; key: room, and nothing behind it, so that the row lies with others of a purged room.
pub(crate) static ROOM_INDEX: Table<(RoomSerial, ()), RoomIndex> =
    Table::new(180, "search.rooms", Tuning::Point);

/// The documents of a segment; key: room, segment.
pub(crate) static DOCUMENTS: Table<(RoomSerial, u32), Bytes> =
    Table::new(181, "search.documents", Tuning::Large);

/// The pages of a segment's grams; key: room, segment, page.
pub(crate) static PAGES: Table<(RoomSerial, u32, u32), Bytes> =
    Table::new(182, "search.pages", Tuning::Large);

/// Events that were emptied, and of which nothing must stay in the index; key: room, event.
pub(crate) static EMPTIED_EVENTS: Table<(RoomSerial, EventSerial), ()> =
    Table::new(183, "search.emptied", Tuning::Queue);

/// How far the index was built for what is older than the log; key: [`BUILD_KEY`].
pub(crate) static BUILD: Table<u8, BuildRow> = Table::new(184, "search.build", Tuning::Small);

/// The one row of [`BUILD`].
pub(crate) const BUILD_KEY: u8 = 0;

/// Row of [`ROOM_INDEX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomIndex {
    /// The number that the next segment gets.
    pub(crate) next: u32,
    /// The segments, from the oldest written to the newest.
    pub(crate) segments: Vec<Segment>,
}
store::row!(RoomIndex, schema = 1);

/// A part of a room's index, which never changes but for what is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Its number.
    pub(crate) number: u32,
    /// By which building it was made: a later one takes it away.
    pub(crate) build: u32,
    /// How many postings it has.
    pub(crate) postings: u32,
    /// How many pages, a power of two.
    pub(crate) pages: u32,
    /// The first place of its documents.
    pub(crate) first: Order,
    /// The last.
    pub(crate) last: Order,
}

/// Row of [`BUILD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildRow {
    /// The form of index and folding that it is built for; another one is built anew.
    pub(crate) form: u32,
    /// Counts the buildings.
    pub(crate) build: u32,
    /// What came after this comes by the log.
    pub(crate) through: Position,
    /// The room that is built now, and up to which of its places it is.
    pub(crate) at: Option<(RoomSerial, Order)>,
    /// Whether all are built.
    pub(crate) done: bool,
}
store::row!(BuildRow, schema = 1);

/// Reads every row of this crate, for a check of all data.
pub fn checks() -> Vec<TableCheck> {
    vec![ROOM_INDEX.check(), DOCUMENTS.check(), PAGES.check(), EMPTIED_EVENTS.check(), BUILD.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    #[test]
    fn rows_keep_their_bytes() {
        let segment =
            Segment { number: 1, build: 2, postings: 300, pages: 4, first: Order(5), last: Order(6) };
        let row = RoomIndex { next: 7, segments: vec![segment] };
        assert_eq!(row.encode().as_ref(), [1, 7, 1, 1, 2, 172, 2, 4, 5, 6]);
        let row = BuildRow {
            form: 1,
            build: 2,
            through: Position(3),
            at: Some((RoomSerial(4), Order(5))),
            done: true,
        };
        assert_eq!(row.encode().as_ref(), [1, 1, 2, 3, 1, 4, 5, 1]);
    }
}
