//! The tables of this crate.

use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

/// Whom addresses have brought into rooms; key: the user of the address, room, whom.
pub(crate) static BROUGHT: Table<(String, String, String), BroughtRow> =
    Table::new(395, "posts.brought", Tuning::Small);

/// Addresses that have, or had, a user; key: authority, address.
pub(crate) static ADDRESSES: Table<(String, String), ()> = Table::new(396, "posts.addresses", Tuning::Small);

/// Somebody whom an address has brought, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BroughtRow {
    /// Whether he was invited: who was and is not there has gone by himself, and is not fetched back.
    pub(crate) invited: bool,
}
row!(BroughtRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![BROUGHT.check(), ADDRESSES.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn a_row_has_the_bytes_that_are_on_disk() {
        assert_eq!(&BroughtRow { invited: true }.encode()[..], b"\x01\x01");
    }
}
