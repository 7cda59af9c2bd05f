//! What is still to be told to pushers. All tables are small: a row for a pusher, however much has happened.

use room::{EventSerial, RoomSerial};
use serde::{Deserialize, Serialize};
use store::{Batch, Table, TableCheck, Tuning};

/// What tells pushers apart: user id, device id, app id, push key.
pub(crate) type Key = (String, String, String, String);

/// What a pusher has still to be told; key: user id, device id, app id, push key.
pub(crate) static WAITING: Table<Key, WaitingRow> = Table::new(173, "push.waiting", Tuning::Queue);

/// The number of unread events that a pusher was told last; key: as in [`WAITING`].
pub(crate) static TOLD: Table<Key, u64> = Table::new(174, "push.told", Tuning::Small);

/// Behind which position of the log notifications are sent: what was before delivery began is told to nobody; key: 0.
pub(crate) static BEGUN: Table<u8, u64> = Table::new(175, "push.begun", Tuning::Small);

/// Most notifications that wait for a pusher: the newest of each room, and the newest mention.
pub(crate) const MOST_WAITING: usize = 100;

/// A notification that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) room: RoomSerial,
    pub(crate) event: EventSerial,
    /// Whether it is to be shown in another way, mostly a mention.
    pub(crate) highlights: bool,
    /// When it began to wait, in milliseconds.
    pub(crate) since: u64,
    /// The first that it stands for: from that one on nothing of its kind was told of the room. Where the newest is deleted, or
    /// read in its thread, the newest of these that is still unread is told.
    pub(crate) first: EventSerial,
}

/// What a pusher has still to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingRow {
    /// Oldest first.
    pub(crate) items: Vec<Item>,
    /// The number that the device shows may be wrong.
    pub(crate) counts: bool,
}
store::row!(WaitingRow, schema = 2, older = { 1 => WaitingRowV1 });

/// As it was before items knew what they stand for.
#[derive(Serialize, Deserialize)]
struct WaitingRowV1 {
    items: Vec<ItemV1>,
    counts: bool,
}

#[derive(Serialize, Deserialize)]
struct ItemV1 {
    room: RoomSerial,
    event: EventSerial,
    highlights: bool,
    since: u64,
}

impl From<WaitingRowV1> for WaitingRow {
    fn from(row: WaitingRowV1) -> Self {
        let items = row.items.into_iter().map(|ItemV1 { room, event, highlights, since }| Item {
            room,
            event,
            highlights,
            since,
            first: event,
        });
        Self { items: items.collect(), counts: row.counts }
    }
}

impl Item {
    fn is_of_a_kind_with(&self, other: &Self) -> bool {
        self.room == other.room && self.highlights == other.highlights
    }
}

impl WaitingRow {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.counts
    }

    /// Adds one. It stands for what waited of its room, but for a mention, which another message does not make unsaid.
    pub(crate) fn add(&mut self, mut item: Item) {
        if let Some(place) = self.items.iter().position(|known| known.is_of_a_kind_with(&item)) {
            item.first = item.first.min(self.items.remove(place).first);
        }
        self.items.push(item);
        if self.items.len() > MOST_WAITING {
            // The number that is told with the others counts it all the same.
            let place = self.items.iter().position(|item| !item.highlights).unwrap_or(0);
            self.items.remove(place);
        }
    }

    /// These were told, or need not be: what came after them meanwhile does not stand for them any more.
    pub(crate) fn settle(&mut self, gone: &[Item]) {
        self.items.retain(|item| !gone.contains(item));
        for item in &mut self.items {
            let told = gone.iter().filter(|gone| gone.is_of_a_kind_with(item)).map(|gone| gone.event.0).max();
            let next = EventSerial(told.map_or(0, |told| told.saturating_add(1)));
            item.first = item.first.max(next).min(item.event);
        }
    }
}

pub(crate) fn checks() -> [TableCheck; 3] {
    [WAITING.check(), TOLD.check(), BEGUN.check()]
}

/// A pusher is gone, and what was kept for it goes.
pub(crate) fn delete(batch: &mut Batch, key: &Key) {
    batch.delete(&WAITING, key);
    batch.delete(&TOLD, key);
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    fn item(room: u64, event: u64, highlights: bool) -> Item {
        let event = EventSerial(event);
        Item { room: RoomSerial(room), event, highlights, since: 1, first: event }
    }

    fn from(first: u64, item: Item) -> Item {
        Item { first: EventSerial(first), ..item }
    }

    #[test]
    fn the_newest_of_a_room_waits_and_a_mention_beside_it() {
        let mut row = WaitingRow::default();
        for item in [item(1, 1, false), item(1, 2, true), item(2, 3, false), item(1, 4, false)] {
            row.add(item);
        }
        assert_eq!(row.items, [item(1, 2, true), item(2, 3, false), from(1, item(1, 4, false))]);
    }

    #[test]
    fn what_came_while_something_was_told_does_not_stand_for_that() {
        let mut row = WaitingRow::default();
        row.add(item(1, 1, false));
        row.add(item(1, 2, false));
        let told = row.items.clone();
        row.add(item(1, 5, false));
        row.add(item(2, 6, false));
        row.settle(&told);
        assert_eq!(row.items, [from(3, item(1, 5, false)), item(2, 6, false)]);
        row.settle(&row.items.clone());
        assert!(row.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_mentions_go_last() {
        let mut row = WaitingRow::default();
        row.add(item(0, 0, true));
        for number in 1..=150 {
            row.add(item(number, number, false));
        }
        assert_eq!((row.items.len(), row.items.first()), (MOST_WAITING, Some(&item(0, 0, true))));
        assert_eq!(row.items.last(), Some(&item(150, 150, false)));
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = WaitingRow { items: vec![item(1, 300, true)], counts: true };
        assert_eq!(&row.encode()[..], [2, 1, 1, 172, 2, 1, 1, 172, 2, 1]);
        assert_eq!(WaitingRow::decode(&row.encode()).ok().as_ref(), Some(&row));
        let older = [1, 1, 1, 172, 2, 1, 1, 1];
        assert_eq!(WaitingRow::decode(&older.to_vec().into()).ok(), Some(row));
    }
}
