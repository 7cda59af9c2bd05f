//! What application services have still to be told.

use room::{EventSerial, RoomSerial};
use serde::{Deserialize, Serialize};
use store::{Position, Table, TableCheck, Tuning};

use crate::interest::Place;

/// Events that a service has still to be told; key: the service's id, position of the event in the log.
pub(crate) static WAITING: Table<(String, u64), ItemRow> =
    Table::new(310, "appservice.waiting", Tuning::Queue);

/// The transaction that a service was sent and has not taken; key: the service's id.
pub(crate) static SENDING: Table<String, SendingRow> = Table::new(311, "appservice.sending", Tuning::Small);

/// Behind which position of the log a service is told of events: what was before it was registered is not its own; key: the
/// service's id.
pub(crate) static BEGUN: Table<String, u64> = Table::new(312, "appservice.begun", Tuning::Small);

/// Up to which position of the log a service was told whose devices changed; key: the service's id.
pub(crate) static LISTS: Table<String, u64> = Table::new(313, "appservice.lists", Tuning::Small);

/// An event that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ItemRow {
    pub(crate) room: RoomSerial,
    pub(crate) event: EventSerial,
    /// When it began to wait, in milliseconds.
    pub(crate) since: u64,
}
store::row!(ItemRow, schema = 1);

/// An event that services have to be told.
pub(crate) struct Due {
    pub(crate) place: Place,
    pub(crate) position: Position,
    pub(crate) item: ItemRow,
}

/// A transaction under way. It is sent with this id and these events until the service takes it, whoever sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SendingRow {
    pub(crate) id: String,
    /// It has the events that wait up to this position.
    pub(crate) through: u64,
}
store::row!(SendingRow, schema = 1);

/// Checks of the tables of this crate, for whoever looks at all stored data.
pub fn checks() -> Vec<TableCheck> {
    vec![WAITING.check(), SENDING.check(), BEGUN.check(), LISTS.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let item = ItemRow { room: RoomSerial(1), event: EventSerial(300), since: 5 };
        assert_eq!(&item.encode()[..], [1, 1, 172, 2, 5]);
        assert_eq!(ItemRow::decode(&item.encode()).ok(), Some(item));
        let sending = SendingRow { id: "ab".to_owned(), through: 300 };
        assert_eq!(&sending.encode()[..], [1, 2, b'a', b'b', 172, 2]);
        assert_eq!(SendingRow::decode(&sending.encode()).ok(), Some(sending));
    }
}
