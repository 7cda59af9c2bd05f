//! Tables of this crate and the rows in them.

use serde::{Deserialize, Serialize};
use store::{Counter, Table, TableCheck, Tuning, row};

/// Mails that wait; key: the authority that each is from, when it is due, in milliseconds since 1970, and its number.
pub(crate) static WAITING: Table<(String, u64, u64), MailRow> =
    Table::new(230, "mail.waiting", Tuning::Queue);
/// How many wait; key: authority.
pub(crate) static COUNTS: Table<String, Counter> = Table::new(231, "mail.counts", Tuning::Small);

/// A mail that waits. It may tell a word with which an address is confirmed; who asked for that has to show another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailRow {
    /// To whom.
    pub(crate) to: String,
    /// What it is about.
    pub(crate) subject: String,
    /// What it says.
    pub(crate) text: String,
    /// When it was put here, in milliseconds since 1970.
    pub(crate) put_ms: u64,
    /// Until when it is worth sending.
    pub(crate) until_ms: u64,
    /// How often it was tried.
    pub(crate) tries: u32,
}
row!(MailRow, schema = 1);

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![WAITING.check(), COUNTS.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let row = MailRow {
            to: "b".into(),
            subject: "c".into(),
            text: "d".into(),
            put_ms: 1,
            until_ms: 2,
            tries: 3,
        };
        assert_eq!(&row.encode()[..], b"\x01\x01b\x01c\x01d\x01\x02\x03");
    }
}
