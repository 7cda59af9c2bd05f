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
    /// The same in HTML.
    pub(crate) html: Option<String>,
    /// Where more such mails are refused, if they were subscribed to.
    pub(crate) unsubscribe: Option<String>,
    /// When it was put here, in milliseconds since 1970.
    pub(crate) put_ms: u64,
    /// Until when it is worth sending.
    pub(crate) until_ms: u64,
    /// How often it was tried.
    pub(crate) tries: u32,
}
row!(MailRow, schema = 2, older = { 1 => MailRowV1 });

/// A mail as it waited before there was any in HTML.
#[derive(Serialize, Deserialize)]
pub(crate) struct MailRowV1 {
    to: String,
    subject: String,
    text: String,
    put_ms: u64,
    until_ms: u64,
    tries: u32,
}

impl From<MailRowV1> for MailRow {
    fn from(row: MailRowV1) -> Self {
        let MailRowV1 { to, subject, text, put_ms, until_ms, tries } = row;
        Self { to, subject, text, html: None, unsubscribe: None, put_ms, until_ms, tries }
    }
}

/// How often mails that were subscribed to were refused for good at an address, one after the other; key: authority, address.
pub(crate) static REFUSED: Table<(String, String), RefusedRow> =
    Table::new(232, "mail.refused", Tuning::Small);

/// What an address refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedRow {
    /// How many mails in a row.
    pub(crate) count: u32,
}
row!(RefusedRow, schema = 1);

/// The checks of all tables of this crate, for `verify`.
pub fn checks() -> Vec<TableCheck> {
    vec![WAITING.check(), COUNTS.check(), REFUSED.check()]
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
            html: Some("e".into()),
            unsubscribe: None,
            put_ms: 1,
            until_ms: 2,
            tries: 3,
        };
        assert_eq!(&row.encode()[..], b"\x02\x01b\x01c\x01d\x01\x01e\x00\x01\x02\x03");
        let older = store::reexport::Bytes::from_static(b"\x01\x01b\x01c\x01d\x01\x02\x03");
        let row = MailRow { html: None, ..row };
        assert_eq!(MailRow::decode(&older).ok(), Some(row));
        assert_eq!(&RefusedRow { count: 300 }.encode()[..], [1, 172, 2]);
    }
}
