//! Tables of this crate and the rows in them. Scopes are an authority and the name of a source of it.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

use crate::standing::Why;

/// People whose accounts follow a source, as it said last; key: scope, id. Nobody is deleted: who is gone may come back.
pub(crate) static PEOPLE: Table<(String, String), PersonRow> = Table::new(340, "ldap.people", Tuning::Point);
/// Whose an account is; key: user id.
pub(crate) static ACCOUNTS: Table<String, AccountRow> = Table::new(341, "ldap.accounts", Tuning::Point);
/// How the last run went, the last one that was followed, and the last one of which somebody meant the endings; key: scope,
/// which of them.
pub(crate) static RUNS: Table<(String, u8), RunRow> = Table::new(342, "ldap.runs", Tuning::Small);

/// Whom a source had administer the authority, who did not before; key: scope, id.
pub(crate) static ADMINISTRATORS: Table<(String, String), AdministratorRow> =
    Table::new(343, "ldap.administrators", Tuning::Small);

/// The last run.
pub(crate) const LAST: u8 = 1;
/// The last run whose word was followed.
pub(crate) const LAST_GOOD: u8 = 2;
/// The last run of which somebody had said how many endings he means.
pub(crate) const LAST_ACCEPTED: u8 = 3;
/// What was asked of the directory when it was followed last; no report, but [`Settings::asked`](crate::Settings).
pub(crate) const ASKED: u8 = 4;
/// The groups that were walked when it was followed last; no report, but a list of names.
pub(crate) const WALKED: u8 = 5;

/// How an account is kept from its user by the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Held {
    /// It is not.
    Open,
    /// It is locked.
    Locked,
    /// It would be, and is not the source's to lock: an administrator's, or one that is excepted.
    Protected,
    /// It is closed for good.
    Closed,
}

/// Somebody whose account follows a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PersonRow {
    /// The account's user id.
    pub(crate) account: String,
    /// The name of the entry, as the directory writes it.
    pub(crate) dn: String,
    /// The name to show.
    pub(crate) name: String,
    /// The address that the account was given by the source.
    pub(crate) mail: Option<String>,
    /// What the identity provider calls him, by the source.
    pub(crate) subject: Option<String>,
    /// Why he is not to come in, if he is not.
    pub(crate) ended: Option<Why>,
    /// When he was ended last, whatever the reasons were since; that stays when he is back.
    pub(crate) ended_at: Option<Timestamp>,
    /// What that did to the account.
    pub(crate) held: Held,
    /// Since when all this is so.
    pub(crate) changed: Timestamp,
}
row!(PersonRow, schema = 1);

/// Whose an account is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    /// The source's scope.
    pub(crate) scope: String,
    /// The person's id.
    pub(crate) id: String,
}
row!(AccountRow, schema = 1);

/// Somebody who administers since a source said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AdministratorRow {
    /// The account's user id.
    pub(crate) account: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Whether somebody has taken it from him since. Then the source neither gives it again nor takes what he is given by hand,
    /// until he has been out of the group.
    pub(crate) is_withdrawn: bool,
}
row!(AdministratorRow, schema = 1);

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunRow {
    /// A [`Report`](crate::Report), in JSON, so that what is added to it later has a default.
    pub(crate) says: String,
}
row!(RunRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![PEOPLE.check(), ACCOUNTS.check(), RUNS.check(), ADMINISTRATORS.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let person = PersonRow {
            account: "@a:b".into(),
            dn: "cn=a".into(),
            name: "花".into(),
            mail: Some("m".into()),
            subject: None,
            ended: Some(Why::Absent),
            ended_at: Some(Timestamp(2)),
            held: Held::Protected,
            changed: Timestamp(300),
        };
        let bytes = b"\x01\x04@a:b\x04cn=a\x03\xe8\x8a\xb1\x01\x01m\x00\x01\x02\x01\x02\x02\xac\x02";
        assert_eq!(&person.encode()[..], bytes);
        let account = AccountRow { scope: "s".into(), id: "i".into() };
        assert_eq!(&account.encode()[..], b"\x01\x01s\x01i");
        let administrator =
            AdministratorRow { account: "@a:b".into(), since: Timestamp(300), is_withdrawn: true };
        assert_eq!(&administrator.encode()[..], b"\x01\x04@a:b\xac\x02\x01");
        assert_eq!(&RunRow { says: "{}".into() }.encode()[..], b"\x01\x02{}");
    }
}
