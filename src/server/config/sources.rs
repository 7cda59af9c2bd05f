//! The identity systems that a configuration names, for who hears them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{anyhow, bail};
use ruma::OwnedServerName;
use scim::{SHORTEST_TOKEN, Settings, TokenHash};
use upstream::{BadTemplate, Template};

use super::{Config, ScimConfig};
use crate::texts::tr;

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
