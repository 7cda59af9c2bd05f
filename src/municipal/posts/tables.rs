//! The tables of this crate.

use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

/// Whom addresses have brought into rooms; key: the user of the address, room, whom.
pub(crate) static BROUGHT: Table<(String, String, String), BroughtRow> =
    Table::new(395, "posts.brought", Tuning::Small);

/// Addresses that have, or had, a user; key: authority, address.
pub(crate) static ADDRESSES: Table<(String, String), ()> = Table::new(396, "posts.addresses", Tuning::Small);

/// Rooms into which addresses were invited; key: the user of the address, room.
pub(crate) static ROOMS: Table<(String, String), RoomRow> = Table::new(397, "posts.rooms", Tuning::Small);

/// Who has invited an address into a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoomRow {
    pub(crate) by: OwnedUserId,
}
row!(RoomRow, schema = 1);

/// Somebody whom an address has brought, or is about to. New ones are added at the end: rows have their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BroughtRow {
    /// He is about to be invited.
    Noted,
    /// He was invited, and has been in the room or waited since.
    Invited,
    /// He was invited and has gone: he is not fetched back, and how he comes again is his own.
    Gone,
}
row!(BroughtRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![BROUGHT.check(), ADDRESSES.check(), ROOMS.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let all = [BroughtRow::Noted, BroughtRow::Invited, BroughtRow::Gone];
        assert_eq!(all.map(|row| row.encode()[..].to_vec()), [b"\x01\x00", b"\x01\x01", b"\x01\x02"]);
        let by = OwnedUserId::try_from("@a:b").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(&RoomRow { by }.encode()[..], b"\x01\x04@a:b");
    }
}
