//! Tables about logins at providers.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Position, Stamped, Table, TableCheck, Tuning, row};

/// SHA-256 of what a provider calls something.
pub(crate) type Called = [u8; 32];

/// Of which login at a provider a session came; key: user id, the session.
pub(crate) static LOGINS: Table<(String, String), ProviderLogin> =
    Table::new(134, "account.provider_logins", Tuning::Small);
/// The same by what the provider calls the login and its person; key: authority, hash of that, user id, the session.
pub(crate) static LOGINS_CALLED: Table<(String, Called, String, String), ()> =
    Table::new(135, "account.provider_logins_called", Tuning::Small);
/// What a provider has ended lately; key: authority, hash of what it calls that; value: when, in milliseconds since
/// 1970, with the position before which logins have to have begun that it concerns.
pub(crate) static ENDED: Table<(String, Called), Stamped<u64>> =
    Table::new(139, "account.provider_ended", Tuning::Small);
/// Logout tokens that were acted on; key: authority, hash of the provider and the token's id; value: until when one of that
/// id might be accepted, in milliseconds since 1970.
pub(crate) static SPENT: Table<(String, Called), u64> =
    Table::new(157, "account.provider_tokens_spent", Tuning::Small);

/// A login at a provider: by what it is known if the provider ends it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderLogin {
    /// The provider.
    pub(crate) issuer: String,
    /// What it calls the person: always its `sub`, by whatever claim people are known here.
    pub(crate) subject: String,
    /// What it calls the login (`sid`), if it does.
    pub(crate) session: Option<String>,
    /// The position up to which all was known when the browser was sent there.
    pub(crate) since: u64,
}
row!(ProviderLogin, schema = 1);

impl ProviderLogin {
    /// A login of whom this provider calls so, whose browser was sent there at this position.
    #[must_use]
    pub fn new(issuer: &str, subject: &str, session: Option<&str>, since: Position) -> ProviderLogin {
        ProviderLogin {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            session: session.map(str::to_owned),
            since: since.0,
        }
    }

    /// By what it is found.
    pub(crate) fn names(&self) -> [Called; 2] {
        let of_login = match &self.session {
            Some(session) => Name::Login(session),
            None => Name::PersonInUnnamed(&self.subject),
        };
        [Name::Person(&self.subject), of_login].map(|name| name.hash(&self.issuer))
    }
}

impl std::fmt::Debug for ProviderLogin {
    /// What people are called does not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderLogin").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// With what keys of sessions begin.
pub(crate) const DEVICE: char = 'D';
pub(crate) const BROWSER: char = 'B';

/// Something that lasts and may come of a login.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionName<'a> {
    /// The session of a device.
    Device(&'a str),
    /// A browser at our pages.
    Browser(&'a [u8; 32]),
}

impl SessionName<'_> {
    /// As it stands in keys.
    pub(crate) fn key(self) -> String {
        match self {
            Self::Device(device) => format!("{DEVICE}{device}"),
            Self::Browser(hash) => {
                let mut key = BROWSER.to_string();
                hash.iter().for_each(|byte| key.push_str(&format!("{byte:02x}")));
                key
            }
        }
    }
}

/// What a provider gives a name to.
#[derive(Clone, Copy)]
pub(crate) enum Name<'a> {
    /// A person, in all his logins.
    Person(&'a str),
    /// A login.
    Login(&'a str),
    /// A person, in those of his logins that we were told no name of.
    PersonInUnnamed(&'a str),
    /// A logout token.
    Token(&'a str),
}

impl Name<'_> {
    pub(crate) fn hash(self, issuer: &str) -> Called {
        let (kind, name) = match self {
            Self::Person(name) => (0, name),
            Self::Login(name) => (1, name),
            Self::PersonInUnnamed(name) => (2, name),
            Self::Token(name) => (3, name),
        };
        let length = u64::try_from(issuer.len()).unwrap_or(u64::MAX);
        let hash = Sha256::new().chain_update([kind]).chain_update(length.to_be_bytes());
        hash.chain_update(issuer).chain_update(name).finalize().into()
    }
}

/// The checks of these tables.
pub(crate) fn checks() -> [TableCheck; 4] {
    [LOGINS.check(), LOGINS_CALLED.check(), ENDED.check(), SPENT.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let login = ProviderLogin::new("i", "s", Some("d"), Position(300));
        assert_eq!(&login.encode()[..], b"\x01\x01i\x01s\x01\x01d\xac\x02");
        let unnamed = ProviderLogin::new("i", "s", None, Position(1));
        assert_eq!(&unnamed.encode()[..], b"\x01\x01i\x01s\x00\x01");
        let hash = Name::Person("s").hash("i");
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(b"\x00\x00\x00\x00\x00\x00\x00\x00\x01is")));
    }

    #[test]
    fn what_providers_call_somebody_is_told_apart_by_provider_and_kind() {
        let all = [
            Name::Person("ab").hash("c"),
            Name::Person("b").hash("ca"),
            Name::Login("ab").hash("c"),
            Name::PersonInUnnamed("ab").hash("c"),
            Name::Token("ab").hash("c"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
    }
}
