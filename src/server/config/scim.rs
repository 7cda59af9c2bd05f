//! Keys about the identity systems that say who is there, by SCIM.

use std::path::PathBuf;

use scim::TokenHash;
use serde::{Deserialize, Serialize};

/// Longest name of a source.
const LONGEST_NAME: usize = 32;

/// An identity system of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScimConfig {
    /// Its name here: in the audit log, and part of what is kept of it.
    pub name: String,
    /// A file with its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Or the SHA-256 of the token, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// The localpart of a new account.
    #[serde(default = "localpart")]
    pub localpart: String,
    /// Whether accounts that are there already become its.
    #[serde(default)]
    pub adopts_accounts: bool,
    /// Localparts of accounts that it never ends.
    #[serde(default)]
    pub excepted: Vec<String>,
    /// Whether accounts' e-mail addresses follow it.
    #[serde(default = "yes")]
    pub emails: bool,
    /// Whether its `externalId` is what the authority's identity provider calls people (`sub`).
    #[serde(default)]
    pub links_upstream: bool,
}

fn localpart() -> String {
    "{userName@}".to_owned()
}

const fn yes() -> bool {
    true
}

impl ScimConfig {
    /// Whether the name can stand in keys and logs.
    pub(crate) fn has_good_name(&self) -> bool {
        let is_of_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=LONGEST_NAME).contains(&self.name.len()) && self.name.bytes().all(is_of_name)
    }

    /// Whether a token is named in one way, and one that can be a token.
    pub(crate) fn has_good_token(&self) -> bool {
        match (&self.token_file, &self.token_sha256) {
            (Some(_), None) => true,
            (None, Some(hash)) => TokenHash::parse(hash).is_some(),
            (None, None) | (Some(_), Some(_)) => false,
        }
    }
}
