//! The identity systems and directories that a configuration names, for who hears and reads them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{anyhow, bail};
use ruma::OwnedServerName;
use scim::{SHORTEST_TOKEN, Settings, TokenHash};
use upstream::{BadTemplate, Template};

use super::{ClassConfig, ClassFactor, ClassFiles, Config, LdapConfig, LdapKind, MakeRooms, ScimConfig};
use crate::{causes, texts::tr};

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

    /// Our authorities, each with what the names of its people are made of, if its organisation names them.
    ///
    /// # Errors
    /// What is no template; configurations are checked for it when they are read.
    pub fn names_of_staff(&self) -> anyhow::Result<BTreeMap<OwnedServerName, Option<staff::Template>>> {
        let named = self.authorities.iter().map(|authority| {
            let template = authority.organisation.as_ref().and_then(|one| one.display_name.as_ref());
            Ok((authority.name.clone(), template.map(|text| text.parse()).transpose()?))
        });
        named.collect::<Result<_, staff::BadTemplate>>().map_err(|error| anyhow!(error))
    }

    /// What is said of the classes of our authorities' people, where something is.
    pub fn classes(&self) -> BTreeMap<OwnedServerName, BTreeMap<intake::Class, classes::Rights>> {
        let said = self.authorities.iter().map(|authority| {
            let classes = authority.classes.iter().map(|(class, config)| (*class, rights(config)));
            (authority.name.clone(), classes.collect::<BTreeMap<_, _>>())
        });
        said.filter(|(_, classes)| !classes.is_empty()).collect()
    }

    /// The domains of mail that our authorities name.
    pub fn mail_domains(&self) -> BTreeMap<OwnedServerName, BTreeSet<domains::MailDomain>> {
        let named = self.authorities.iter().map(|authority| {
            // What is none is refused when the configuration is read.
            let domains = authority.domains.iter().filter_map(|text| text.parse().ok());
            (authority.name.clone(), domains.collect())
        });
        named.collect()
    }

    /// Our authorities, and whether their people are reminded of cases.
    pub fn case_authorities(&self) -> Vec<(OwnedServerName, bool)> {
        let reminds =
            |authority: &super::AuthorityConfig| authority.cases.as_ref().is_none_or(|cases| cases.reminders);
        self.authorities.iter().map(|authority| (authority.name.clone(), reminds(authority))).collect()
    }

    /// The directories of our authorities.
    ///
    /// # Errors
    /// A password's file that cannot be read, or is empty; a certificate authority's that holds no certificate.
    pub fn ldap(&self) -> anyhow::Result<BTreeMap<OwnedServerName, Vec<ldap::Settings>>> {
        let mut all: BTreeMap<OwnedServerName, Vec<ldap::Settings>> = BTreeMap::new();
        for authority in &self.authorities {
            let issuer = authority.upstream.as_ref().map(|upstream| &upstream.issuer);
            for source in &authority.ldap {
                let settings = self.directory(source, issuer)?;
                all.entry(authority.name.clone()).or_default().push(settings);
            }
        }
        Ok(all)
    }

    fn directory(&self, config: &LdapConfig, issuer: Option<&String>) -> anyhow::Result<ldap::Settings> {
        let bind = match (&config.bind_dn, &config.password_file) {
            (Some(dn), Some(file)) => {
                let password = self.secret(file)?;
                if password.is_empty() {
                    // Whoever shows no password is nobody to a directory, and is let in as such.
                    bail!(tr!(
                        "{path}: パスワードが空です",
                        "{path}: the password is empty",
                        path = self.path(file).display()
                    ));
                }
                Some(ldap::Bind { dn: dn.clone(), password })
            }
            _ => None,
        };
        let place = ldap::Place::parse(&config.url, config.starttls).map_err(|error| {
            anyhow!(tr!("{url} はディレクトリの URL ではありません", "{url}: {error}", url = config.url))
        })?;
        let files: Vec<_> = config.ca_file.iter().map(|file| self.path(file)).collect();
        let tls = federation::tls_client(federation::Trust::System, &files)
            .map_err(|error| anyhow!(causes::of_network(&error)))?;
        let mut templates = BTreeMap::new();
        for (key, text) in config.templates() {
            let template: Template = text.parse().map_err(|error: BadTemplate| {
                anyhow!(tr!("{text} はひな形ではありません: {error}", "{text}: {error}"))
            })?;
            templates.insert(key, template);
        }
        let mut template = |key: &str| {
            // Those without which a key stands were read above.
            templates.remove(key).ok_or_else(|| anyhow!(tr!("{key} がありません", "there is no {key}")))
        };
        Ok(ldap::Settings {
            name: config.name.clone(),
            place,
            tls,
            bind,
            kind: match config.kind {
                LdapKind::ActiveDirectory => ldap::Kind::ActiveDirectory,
                LdapKind::OpenLdap => ldap::Kind::OpenLdap,
            },
            base: config.base.clone(),
            filter: config.filter().to_owned(),
            id: config.id().to_owned(),
            localpart: template("localpart")?,
            display_name: template("display_name")?,
            email: config.emails.then(|| template("email")).transpose()?,
            identity: match (issuer, &config.subject) {
                (Some(issuer), Some(_)) => Some((issuer.clone(), template("subject")?)),
                _ => None,
            },
            people_group: config.people_group.clone(),
            administrators_group: config.administrators_group.clone(),
            interval: Duration::from_secs(config.interval_seconds.into()),
            most_endings_percent: config.most_endings_percent,
            adopts_accounts: config.adopts_accounts,
            excepted: config.excepted.iter().cloned().collect(),
            bounds: ldap::Bounds::default(),
        })
    }
}

fn rights(config: &ClassConfig) -> classes::Rights {
    classes::Rights {
        signs_in_from: config.sign_in_from.as_ref().map(|zones| zones.iter().cloned().collect()),
        needs_factor: match config.factor {
            ClassFactor::None => classes::NeedsFactor::No,
            ClassFactor::Required => {
                classes::NeedsFactor::Yes { but_from: config.no_factor_from.iter().cloned().collect() }
            }
        },
        devices: config.devices,
        makes_rooms: match config.make_rooms {
            MakeRooms::All => classes::MakesRooms::All,
            MakeRooms::Direct => classes::MakesRooms::Direct,
            MakeRooms::None => classes::MakesRooms::None,
        },
        publishes_rooms: config.publish_rooms,
        invites_outside: config.invite_outside,
        uploads: config.upload,
        gives_files: match config.files {
            ClassFiles::Originals => classes::GivesFiles::OfZone,
            ClassFiles::Sanitised => classes::GivesFiles::Sanitised,
            ClassFiles::None => classes::GivesFiles::Nothing,
        },
        reads_back: config.history_days,
    }
}
