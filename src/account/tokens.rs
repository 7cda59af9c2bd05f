//! Tokens: how they look and how they are kept.

use base::Random;
use sha2::{Digest, Sha256};

use crate::tables::TokenHash;

/// Letters and digits of chance in a token: 62^40 is more than 2^238.
const TOKEN_CHARS: usize = 40;

/// A new token, `prefix_…`. The prefix tells people and secret scanners what leaked.
pub(crate) fn new_token(random: &Random, prefix: &str) -> String {
    format!("{prefix}_{}", random.token(TOKEN_CHARS))
}

/// Whose refresh token it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshKind<'a> {
    /// Of somebody who has logged in.
    Login,
    /// Of the grant of this name.
    Grant(&'a str),
}

/// Begins refresh tokens of grants.
const GRANT_PREFIX: &str = "ygr";

impl RefreshKind<'_> {
    /// A new one.
    pub(crate) fn new_token(self, random: &Random) -> String {
        match self {
            Self::Login => new_token(random, "yrt"),
            Self::Grant(name) => format!("{GRANT_PREFIX}_{name}_{}", random.token(TOKEN_CHARS)),
        }
    }
}

/// The name of a new grant.
pub(crate) fn new_grant(random: &Random) -> String {
    random.token(TOKEN_CHARS)
}

/// The name of the grant that a refresh token is, or was, of.
pub(crate) fn grant_of(token: &str) -> Option<&str> {
    let (name, _) = token.strip_prefix(GRANT_PREFIX)?.strip_prefix('_')?.split_once('_')?;
    (name.len() == TOKEN_CHARS).then_some(name)
}

/// What is kept of a token. Tokens are long and random, so a plain fast hash is enough.
pub(crate) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}
