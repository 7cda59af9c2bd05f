//! Keys about the identity systems that say who is there, by SCIM.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{anyhow, bail};
use ruma::OwnedServerName;
use scim::{SHORTEST_TOKEN, Settings, TokenHash};
use serde::{Deserialize, Serialize};
use upstream::{BadTemplate, Template};

use super::Config;
use crate::texts::tr;

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

impl Config {
    /// The identity systems of our authorities.
    ///
    /// # Errors
    /// A token's file that cannot be read, or holds a short one.
    pub fn scim(&self) -> anyhow::Result<BTreeMap<OwnedServerName, Vec<Settings>>> {
        let mut all: BTreeMap<OwnedServerName, Vec<Settings>> = BTreeMap::new();
        for authority in &self.authorities {
            let mut tokens = BTreeSet::new();
            for source in &authority.scim {
                let settings =
                    self.source(source, authority.upstream.as_ref().map(|upstream| &upstream.issuer))?;
                if !tokens.insert(settings.token.bytes()) {
                    bail!(tr!(
                        "{name} の連携元 {source} のトークンは、別の連携元のものと同じです",
                        "the token of {source} of {name} is another source's as well",
                        name = authority.name,
                        source = source.name
                    ));
                }
                all.entry(authority.name.clone()).or_default().push(settings);
            }
        }
        Ok(all)
    }

    fn source(&self, config: &ScimConfig, issuer: Option<&String>) -> anyhow::Result<Settings> {
        let token = match (&config.token_file, &config.token_sha256) {
            (Some(file), _) => {
                let token = self.secret(file)?;
                if token.len() < SHORTEST_TOKEN {
                    bail!(tr!(
                        "{path}: トークンは {SHORTEST_TOKEN} 文字以上にしてください (例: openssl rand -hex 32)",
                        "{path}: a token has at least {SHORTEST_TOKEN} characters (openssl rand -hex 32)",
                        path = self.path(file).display()
                    ));
                }
                Some(TokenHash::of(&token))
            }
            (None, Some(hash)) => TokenHash::parse(hash),
            (None, None) => None,
        };
        // Checked when the configuration was read.
        let token = token.ok_or_else(|| anyhow!(tr!("トークンがありません", "there is no token")))?;
        let text = config.localpart.as_str();
        let localpart: Template = text.parse().map_err(|error: BadTemplate| {
            anyhow!(tr!("{text} はひな形ではありません: {error}", "{text}: {error}"))
        })?;
        Ok(Settings {
            name: config.name.clone(),
            token,
            localpart,
            adopts_accounts: config.adopts_accounts,
            excepted: config.excepted.iter().cloned().collect(),
            emails: config.emails,
            issuer: issuer.filter(|_| config.links_upstream).cloned(),
        })
    }
}
