//! The crate's one handle, and what users and groups share.

use std::{collections::BTreeMap, sync::Arc};

use account::Accounts;
use audit::{Action, Actor, Deed};
use base::{Attempts, Clock, Random};
use ruma::OwnedServerName;
use serde_json::{Map, Value, json};
use store::Store;

use crate::{
    error::Error,
    moment,
    schema::Type,
    shown::Shown,
    source::{Source, Sources},
    tables::{GroupRow, UserRow},
    value::Resource,
};

/// What it is made of.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The accounts.
    pub accounts: Accounts,
    /// Who may say who is there.
    pub sources: Arc<Sources>,
    /// Where clients reach authorities, for those that say so.
    pub base_urls: BTreeMap<OwnedServerName, String>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
}

/// What identity systems say of the people of all authorities of a process.
pub struct Scim {
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) sources: Arc<Sources>,
    base_urls: BTreeMap<OwnedServerName, String>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
}

/// Letters of chance in an id.
const ID_CHARS: usize = 12;

/// A request of a source: who asks, from where, under which address of ours.
pub(crate) struct Asking<'a> {
    pub(crate) source: &'a Source,
    pub(crate) by: Actor,
    pub(crate) base: String,
}

impl Scim {
    /// Over a store.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { store, accounts, sources, base_urls, clock, random } = parts;
        Arc::new(Self { store, accounts, sources, base_urls, clock, random })
    }

    /// The address of ours under which everything is, as the authority's clients know it, or else as it was asked.
    pub(crate) fn base(&self, source: &Source, host: Option<&str>) -> String {
        let url = match self.base_urls.get(&source.authority) {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://{}", host.unwrap_or(source.authority.as_str())),
        };
        format!("{url}/_yakuba/scim/v2")
    }

    /// A new id. Ids sort by when they were made, so that pages of a list stay as they were when somebody is added.
    pub(crate) fn new_id(&self) -> String {
        format!("{:011x}{}", self.clock.now().millis(), self.random.token(ID_CHARS))
    }

    /// A deed of a source, for the audit log.
    pub(crate) fn deed(&self, asking: &Asking<'_>, what: Action, whom: &str, id: &str) -> Deed {
        Deed::new(what, &asking.by, whom, self.clock.now()).after("resource", id)
    }

    /// Counts another try of a change that others raced with.
    pub(crate) async fn again(&self, attempts: &mut Attempts) -> Result<(), Error> {
        match attempts.again(&self.random).await {
            true => Ok(()),
            false => Err(account::Error::Contended.into()),
        }
    }
}

/// What is told of every resource that is kept.
pub(crate) trait Kept {
    fn says(&self) -> &str;
    fn revision(&self) -> u64;
    fn times(&self) -> (base::Timestamp, base::Timestamp);

    /// What the source says.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    fn resource(&self) -> Result<Resource, Error> {
        serde_json::from_str(self.says()).map_err(|_| Error::Damaged)
    }

    /// Its version.
    fn version(&self) -> String {
        format!("W/\"{}\"", self.revision())
    }
}

impl Kept for UserRow {
    fn says(&self) -> &str {
        &self.says
    }
    fn revision(&self) -> u64 {
        self.revision
    }
    fn times(&self) -> (base::Timestamp, base::Timestamp) {
        (self.created, self.changed)
    }
}

impl Kept for GroupRow {
    fn says(&self) -> &str {
        &self.says
    }
    fn revision(&self) -> u64 {
        self.revision
    }
    fn times(&self) -> (base::Timestamp, base::Timestamp) {
        (self.created, self.changed)
    }
}

/// A resource in an answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) body: Map<String, Value>,
    pub(crate) version: String,
    pub(crate) location: String,
}

/// The resource as a whole: what the source says, with what we say of it.
pub(crate) fn whole(of: &'static Type, base: &str, id: &str, row: &impl Kept) -> Result<Told, Error> {
    let mut body = row.resource()?;
    let mut schemas = vec![of.core.urn];
    schemas.extend(of.extension.map(|schema| schema.urn).filter(|urn| body.contains_key(*urn)));
    let location = format!("{base}/{}/{id}", of.plural);
    let (created, changed) = row.times();
    body.insert("schemas".to_owned(), json!(schemas));
    body.insert("id".to_owned(), id.into());
    body.insert(
        "meta".to_owned(),
        json!({
            "resourceType": of.name,
            "created": moment::written(created),
            "lastModified": moment::written(changed),
            "location": location,
            "version": row.version(),
        }),
    );
    Ok(Told { body, version: row.version(), location })
}

impl Told {
    /// With nothing but what is wanted.
    pub(crate) fn shown(self, shown: &Shown) -> Self {
        Self { body: shown.of(self.body), ..self }
    }
}

/// Which versions a request is meant for.
#[derive(Clone, Debug)]
pub(crate) enum Versions {
    Any,
    These(Vec<String>),
}

impl Versions {
    /// Of an `If-Match` or `If-None-Match` header.
    pub(crate) fn parse(header: &str) -> Self {
        if header.trim() == "*" {
            return Self::Any;
        }
        let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        Self::These(header.split(',').take(20).map(plain).collect())
    }

    /// Whether a version is among them. All versions here are weak ones, and compared as such.
    pub(crate) fn has(&self, version: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(all) => all.iter().any(|tag| tag == version.trim_start_matches("W/")),
        }
    }
}

/// Refuses a change of what the source does not know.
///
/// # Errors
/// [`Error::AnotherVersion`].
pub(crate) fn check_version(wanted: Option<&Versions>, row: &impl Kept) -> Result<(), Error> {
    match wanted {
        Some(wanted) if !wanted.has(&row.version()) => Err(Error::AnotherVersion),
        _ => Ok(()),
    }
}
