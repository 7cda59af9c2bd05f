//! Tables of this crate and the rows in them. Keys begin with the scope: an authority and the name of a source of it.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Counter, Table, TableCheck, Tuning, row};

/// Users, as sources say they are; key: scope, id.
pub(crate) static USERS: Table<(String, String), UserRow> = Table::new(330, "scim.users", Tuning::Point);
/// Whose a user name is, which no two users of a source share; key: scope, the name in small letters; value: the id.
pub(crate) static USER_NAMES: Table<(String, String), String> =
    Table::new(331, "scim.user_names", Tuning::Point);
/// Whose a source's own id is; key: scope, the source's id, ours.
pub(crate) static EXTERNAL_IDS: Table<(String, String, String), ()> =
    Table::new(332, "scim.external_ids", Tuning::Small);
/// Which source an account follows; key: user id.
pub(crate) static ACCOUNTS: Table<String, AccountRow> = Table::new(333, "scim.accounts", Tuning::Point);
/// Groups; key: scope, id.
pub(crate) static GROUPS: Table<(String, String), GroupRow> = Table::new(334, "scim.groups", Tuning::Point);
/// Who is in a group; key: scope, the group, the user.
pub(crate) static MEMBERS: Table<(String, String, String), ()> =
    Table::new(335, "scim.members", Tuning::Small);
/// The same by user; key: scope, the user, the group.
pub(crate) static GROUPS_OF: Table<(String, String, String), ()> =
    Table::new(336, "scim.groups_of", Tuning::Small);
/// How many there are, and how often some came and went; key: scope, what is counted.
pub(crate) static COUNTS: Table<(String, u8), Counter> = Table::new(337, "scim.counts", Tuning::Small);
/// Administrators whom a source has said to end, and what followed; key: user id.
pub(crate) static REFUSED: Table<String, RefusedRow> = Table::new(338, "scim.refused", Tuning::Small);

/// What is counted: users.
pub(crate) const COUNT_USERS: u8 = 1;
/// Groups.
pub(crate) const COUNT_GROUPS: u8 = 2;
/// How often users were removed: who puts users into a group demands that it stays.
pub(crate) const TIMES_REMOVED: u8 = 3;
/// How often users were put into groups: who removes a user demands that it stays.
pub(crate) const TIMES_JOINED: u8 = 4;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    /// The account's user id.
    pub(crate) account: String,
    /// What the source says, in JSON.
    pub(crate) says: String,
    /// How often it was written.
    pub(crate) revision: u64,
    pub(crate) created: Timestamp,
    pub(crate) changed: Timestamp,
}
row!(UserRow, schema = 1);

/// Which source an account follows, or followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    /// The source's name.
    pub(crate) source: String,
    /// The user's id.
    pub(crate) id: String,
    /// What the source called the user last.
    pub(crate) external_id: Option<String>,
    /// Whether the source removed the user.
    pub(crate) is_gone: bool,
    /// Whether the account is locked because the source said so, and not by an administrator before.
    pub(crate) is_locked: bool,
}
row!(AccountRow, schema = 1);

/// That a source has said to end an administrator, who was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedRow {
    /// When, for the first time.
    pub(crate) at: Timestamp,
    /// Whether those who administer know.
    pub(crate) is_told: bool,
}
row!(RefusedRow, schema = 1);

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    /// What the source says but for the members, in JSON.
    pub(crate) says: String,
    /// How often it was written.
    pub(crate) revision: u64,
    pub(crate) created: Timestamp,
    pub(crate) changed: Timestamp,
}
row!(GroupRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![
        USERS.check(),
        USER_NAMES.check(),
        EXTERNAL_IDS.check(),
        ACCOUNTS.check(),
        GROUPS.check(),
        MEMBERS.check(),
        GROUPS_OF.check(),
        COUNTS.check(),
        REFUSED.check(),
    ]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let user = UserRow {
            account: "@a:b".into(),
            says: "{}".into(),
            revision: 3,
            created: Timestamp(1),
            changed: Timestamp(300),
        };
        assert_eq!(&user.encode()[..], b"\x01\x04@a:b\x02{}\x03\x01\xac\x02");
        let account = AccountRow {
            source: "s".into(),
            id: "i".into(),
            external_id: Some("e".into()),
            is_gone: false,
            is_locked: true,
        };
        assert_eq!(&account.encode()[..], b"\x01\x01s\x01i\x01\x01e\x00\x01");
        let refused = RefusedRow { at: Timestamp(300), is_told: true };
        assert_eq!(&refused.encode()[..], b"\x01\xac\x02\x01");
        let group = GroupRow { says: "{}".into(), revision: 1, created: Timestamp(2), changed: Timestamp(3) };
        assert_eq!(&group.encode()[..], b"\x01\x02{}\x01\x02\x03");
    }
}
