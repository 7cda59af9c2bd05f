//! The identity systems of authorities, as the configuration has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{OwnedServerName, ServerName};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Semaphore;
use upstream::Template;
use web::SourceCheck;

/// Shortest token that is taken, in bytes: it opens every account of the authority but those of administrators.
pub const SHORTEST_TOKEN: usize = 32;

/// Requests of a source that are carried out at once, and those that may wait besides.
const UNDER_WAY: usize = 4;
const WAITING: usize = 60;

/// The hash of a source's token, which is all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Reads the hash from 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        bytes.filter(|_| rest.is_empty())?.try_into().ok().map(Self)
    }
}

/// What is set about a source.
#[derive(Clone)]
pub struct Settings {
    /// What the configuration calls it: part of keys, so that it is not changed.
    pub name: String,
    /// Its token.
    pub token: TokenHash,
    /// The localpart of a new account.
    pub localpart: Template,
    /// Whether accounts that are there already become the source's.
    pub adopts_accounts: bool,
    /// Localparts of accounts that it never ends, besides those of administrators.
    pub excepted: BTreeSet<String>,
    /// Whether the accounts' addresses follow it.
    pub emails: bool,
    /// The identity provider that calls people by what is their `externalId` here.
    pub issuer: Option<String>,
}

impl std::fmt::Debug for Settings {
    /// Tokens do not belong in logs, nor do their hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A source with what it has under way.
pub(crate) struct Source {
    pub(crate) settings: Settings,
    pub(crate) authority: OwnedServerName,
    name: Arc<str>,
    /// Begins the keys of all its rows: authority and name.
    pub(crate) scope: String,
    pub(crate) places: Semaphore,
    pub(crate) waiting: Semaphore,
}

/// The sources of all authorities of a process.
pub struct Sources(BTreeMap<OwnedServerName, Vec<Arc<Source>>>);

impl Sources {
    /// These sources, by authority.
    #[must_use]
    pub fn new(settings: BTreeMap<OwnedServerName, Vec<Settings>>) -> Arc<Self> {
        let of_authority = |authority: &OwnedServerName, settings: Vec<Settings>| {
            let source = |settings: Settings| {
                Arc::new(Source {
                    authority: authority.clone(),
                    name: settings.name.as_str().into(),
                    // No server name holds a slash.
                    scope: format!("{authority}/{}", settings.name),
                    settings,
                    places: Semaphore::new(UNDER_WAY),
                    waiting: Semaphore::new(UNDER_WAY + WAITING),
                })
            };
            settings.into_iter().map(source).collect()
        };
        let all = settings.into_iter().map(|(authority, settings)| {
            let sources = of_authority(&authority, settings);
            (authority, sources)
        });
        Arc::new(Self(all.collect()))
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    pub(crate) fn get(&self, authority: &ServerName, name: &str) -> Option<&Arc<Source>> {
        self.0.get(authority)?.iter().find(|source| source.settings.name == name)
    }
}

impl SourceCheck for Sources {
    fn has_some(&self, authority: &ServerName) -> bool {
        self.0.get(authority).is_some_and(|all| !all.is_empty())
    }

    fn find(&self, authority: &ServerName, token: &str) -> Option<Arc<str>> {
        let shown = TokenHash::of(token);
        let mut found = None;
        // All of them, so that the time does not tell which one was nearly right.
        for source in self.0.get(authority)? {
            let is: Choice = source.settings.token.0.ct_eq(&shown.0);
            if bool::from(is) {
                found = Some(source.name.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::server_name;

    use super::*;

    fn settings(name: &str, token: &str) -> Settings {
        Settings {
            name: name.to_owned(),
            token: TokenHash::of(token),
            localpart: "{userName}".parse().unwrap(),
            adopts_accounts: false,
            excepted: BTreeSet::new(),
            emails: true,
            issuer: None,
        }
    }

    #[test]
    fn a_token_is_of_one_source_of_one_authority() {
        let (kanazawa, wajima) = (server_name!("kanazawa.test"), server_name!("wajima.test"));
        let sources = Sources::new(BTreeMap::from([
            (kanazawa.to_owned(), vec![settings("entra", "one"), settings("okta", "two")]),
            (wajima.to_owned(), vec![settings("entra", "three")]),
        ]));
        let find = |authority, token| sources.find(authority, token).map(|name| name.to_string());
        assert_eq!(find(kanazawa, "two"), Some("okta".to_owned()));
        assert_eq!(find(wajima, "three"), Some("entra".to_owned()));
        for (authority, token) in [(wajima, "one"), (kanazawa, "three"), (kanazawa, ""), (kanazawa, "One")] {
            assert_eq!(find(authority, token), None);
        }
        assert!(!sources.has_some(server_name!("ishikawa.test")));
    }

    #[test]
    fn a_hash_is_64_digits() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(TokenHash::parse(hash) == Some(TokenHash::of("abc")));
        assert!(TokenHash::parse(&hash.to_uppercase()) == Some(TokenHash::of("abc")));
        for wrong in ["", "ba78", &hash[1..], &format!("{hash}0"), &hash.replace('b', "g")] {
            assert!(TokenHash::parse(wrong).is_none(), "{wrong}");
        }
    }
}
