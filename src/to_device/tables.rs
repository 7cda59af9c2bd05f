//! Tables of this crate, ids 240–249, and the rows in them.
//!
//! The rows of a device begin with user and device, so that they go with it in a few ranges.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Counter, Position, Table, TableCheck, Tuning, row};

/// BLAKE3 hash of a name that others chose and that may be long.
pub(crate) type NameHash = [u8; 32];

/// Of a counter's rows: how many messages or units there are, and their bytes.
pub(crate) const COUNT: u8 = 0;
pub(crate) const BYTES: u8 = 1;

/// A number as counters have it.
pub(crate) fn counted(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Messages that wait for a device; key: user, device, position.
pub(crate) static INBOX: Table<(String, String, Position), MessageRow> =
    Table::new(240, "to_device.inbox", Tuning::Queue);

/// How much waits for a device; key: user, device, what is counted.
pub(crate) static INBOX_USE: Table<(String, String, u8), Counter> =
    Table::new(241, "to_device.inbox_use", Tuning::Small);

/// Requests of clients that were served; key: user, device, hash of the request's name; value: when, in ms since 1970.
pub(crate) static SERVED: Table<(String, String, NameHash), u64> =
    Table::new(242, "to_device.served", Tuning::Queue);

/// Units that wait for another server; key: authority of ours, server, position; value: the unit in canonical JSON.
pub(crate) static OUTBOX: Table<(String, String, Position), Bytes> =
    Table::new(243, "to_device.outbox", Tuning::Queue);

/// How much waits for another server; key: authority of ours, server, what is counted. Who has none has nothing.
pub(crate) static OUTBOX_USE: Table<(String, String, u8), Counter> =
    Table::new(244, "to_device.outbox_use", Tuning::Small);

/// Units of other servers that were taken; key: server, hash of its name for the unit.
pub(crate) static TAKEN: Table<(String, NameHash), ()> = Table::new(245, "to_device.taken", Tuning::Queue);

/// The same in the order in which they came; key: server, position.
pub(crate) static TAKEN_ORDER: Table<(String, Position), TakenRow> =
    Table::new(246, "to_device.taken_order", Tuning::Queue);

/// How many of them are remembered; key: server.
pub(crate) static TAKEN_USE: Table<String, Counter> = Table::new(247, "to_device.taken_use", Tuning::Small);

/// Row of [`INBOX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageRow {
    /// Who sent it.
    pub(crate) sender: String,
    /// Its type.
    pub(crate) kind: String,
    /// Its content's JSON.
    pub(crate) content: Bytes,
}
row!(MessageRow, schema = 1);

impl MessageRow {
    /// What it counts for.
    pub(crate) fn size(&self) -> u64 {
        (self.sender.len() + self.kind.len() + self.content.len()) as u64
    }
}

/// Row of [`TAKEN_ORDER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TakenRow {
    /// Which row of [`TAKEN`].
    pub(crate) name: NameHash,
    /// When, in ms since 1970.
    pub(crate) at: u64,
}
row!(TakenRow, schema = 1);

/// How much of what waits for a device came from whom; key: user, device, origin as `shares` names it, what is counted.
pub(crate) static INBOX_SHARES: Table<(String, String, String, u8), Counter> =
    Table::new(248, "to_device.inbox_shares", Tuning::Small);

/// Where the head was at an hour that servers over these data have run; key: which hour.
pub(crate) static HOURS: Table<u64, Position> = Table::new(249, "to_device.hours", Tuning::Small);

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![
        INBOX.check(),
        INBOX_USE.check(),
        SERVED.check(),
        OUTBOX.check(),
        OUTBOX_USE.check(),
        TAKEN.check(),
        TAKEN_ORDER.check(),
        TAKEN_USE.check(),
        INBOX_SHARES.check(),
        HOURS.check(),
    ]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let message = MessageRow {
            sender: "@a:b".to_owned(),
            kind: "t".to_owned(),
            content: Bytes::from_static(b"{}"),
        };
        assert_eq!(&message.encode()[..], b"\x01\x04@a:b\x01t\x02{}");
        assert_eq!(MessageRow::decode(&message.encode()).ok(), Some(message));
        let taken = TakenRow { name: [7; 32], at: 300 };
        assert_eq!(taken.encode(), [&[1], &[7; 32][..], &[0xac, 2]].concat());
        assert_eq!(TakenRow::decode(&taken.encode()).ok(), Some(taken));
    }
}
