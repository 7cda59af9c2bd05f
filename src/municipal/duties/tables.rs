//! The table of this crate.

use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

/// Who has duties; key: authority, user. Whoever has none is not in it.
pub(crate) static HOLDERS: Table<(String, String), HolderRow> =
    Table::new(350, "duties.holders", Tuning::Small);

/// The duties and parts of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HolderRow {
    /// By their words; those of a newer program are kept and count for nothing.
    pub(crate) duties: Vec<String>,
}
row!(HolderRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![HOLDERS.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn a_row_has_the_bytes_that_are_on_disk() {
        let row = HolderRow { duties: vec!["audit".into()] };
        assert_eq!(&row.encode()[..], b"\x01\x01\x05audit");
    }
}
