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
}

/// What a pusher has still to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingRow {
    /// Oldest first.
    pub(crate) items: Vec<Item>,
    /// The number that the device shows may be wrong.
    pub(crate) counts: bool,
}
store::row!(WaitingRow, schema = 1);

impl WaitingRow {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.counts
    }

    /// Adds one. It stands for what waited of its room, but for a mention, which another message does not make unsaid.
    pub(crate) fn add(&mut self, item: Item) {
        self.items.retain(|known| known.room != item.room || known.highlights != item.highlights);
        self.items.push(item);
        if self.items.len() > MOST_WAITING {
            // The number that is told with the others counts it all the same.
            let place = self.items.iter().position(|item| !item.highlights).unwrap_or(0);
            self.items.remove(place);
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
        Item { room: RoomSerial(room), event: EventSerial(event), highlights, since: 1 }
    }

    #[test]
    fn the_newest_of_a_room_waits_and_a_mention_beside_it() {
        let mut row = WaitingRow::default();
        for item in [item(1, 1, false), item(1, 2, true), item(2, 3, false), item(1, 4, false)] {
            row.add(item);
        }
        assert_eq!(row.items, [item(1, 2, true), item(2, 3, false), item(1, 4, false)]);
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
        assert_eq!(&row.encode()[..], [1, 1, 1, 172, 2, 1, 1, 1]);
        assert_eq!(WaitingRow::decode(&row.encode()).ok(), Some(row));
    }
}
