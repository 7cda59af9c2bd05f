//! Tables of this crate and the rows in them.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

use crate::fault::Fault;

/// How far a destination has come; key: authority, name of the destination.
pub(crate) static SENT: Table<(String, String), SentRow> = Table::new(204, "syslog.sent", Tuning::Small);

/// How far a destination has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentRow {
    /// The number, in the chain, of the last row that counts as sent.
    pub(crate) number: u64,
    /// When that was written here, if anything ever counted.
    pub(crate) at: Option<Timestamp>,
    /// Since when nothing goes there, and why, if that is so.
    pub(crate) failing: Option<(Timestamp, Fault)>,
}
row!(SentRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![SENT.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let row = SentRow {
            number: 300,
            at: Some(Timestamp(2)),
            failing: Some((Timestamp(3), Fault::Unreachable("x".into()))),
        };
        assert_eq!(&row.encode()[..], b"\x01\xac\x02\x01\x02\x01\x03\x00\x01x");
        let faults = [
            Fault::Unreachable(String::new()),
            Fault::Tls(String::new()),
            Fault::Silent,
            Fault::Stalled,
            Fault::Closed(String::new()),
            Fault::Speaks,
            Fault::Unreadable(String::new()),
        ];
        for (at, fault) in faults.into_iter().enumerate() {
            let row = SentRow { failing: Some((Timestamp(3), fault)), ..SentRow::default() };
            assert_eq!(usize::from(row.encode()[5]), at);
        }
    }
}
