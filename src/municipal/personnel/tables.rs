//! The table of this crate.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

/// What the columns of files mean, as it was saved; key: authority, name.
pub(crate) static MAPPINGS: Table<(String, String), MappingRow> =
    Table::new(324, "personnel.mappings", Tuning::Small);

/// What the columns of a source's files mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MappingRow {
    /// In JSON, as `intake` writes it: what is added to it later has a default.
    pub(crate) json: String,
    /// Who saved it.
    pub(crate) by: String,
    /// When.
    pub(crate) at: Timestamp,
}
row!(MappingRow, schema = 1);

/// What an identity provider has said of people last; key: authority, localpart.
pub(crate) static TOLD: Table<(String, String), ToldRow> = Table::new(339, "personnel.told", Tuning::Small);

/// What an identity provider has said of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldRow {
    /// 職員番号
    pub(crate) number: String,
    /// His name.
    pub(crate) name: String,
    /// Its reading, or nothing.
    pub(crate) reading: String,
    /// The unit, with those above it before it.
    pub(crate) unit: String,
    /// 職名, or nothing.
    pub(crate) title: String,
    /// When it was said, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}
row!(ToldRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![MAPPINGS.check(), TOLD.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn a_row_has_the_bytes_that_are_on_disk() {
        let row = MappingRow { json: "{}".into(), by: "a".into(), at: Timestamp(300) };
        assert_eq!(&row.encode()[..], b"\x01\x02{}\x01a\xac\x02");
        let word = |text: &str| text.to_owned();
        let told = ToldRow {
            number: word("1"),
            name: word("a"),
            reading: word(""),
            unit: word("u"),
            title: word("t"),
            at_ms: 300,
        };
        assert_eq!(&told.encode()[..], b"\x01\x011\x01a\x00\x01u\x01t\xac\x02");
    }
}
