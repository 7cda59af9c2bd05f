//! The crate's one handle, and what its verbs share.

use std::{collections::BTreeMap, sync::Arc};

use account::Accounts;
use audit::{Action, Actor, Deed};
use base::{Clock, CounterFamily, GaugeFamily, Instant, Metrics, Random, Tasks};
use ruma::{OwnedServerName, ServerName};
use store::{Order as Direction, Range, Store};
use tokio::sync::{Mutex, Notify};

use crate::{
    compare::Known,
    error::Error,
    order::Status,
    report::Report,
    settings::Settings,
    tables::{LAST, LAST_GOOD, PEOPLE, RUNS},
};

/// Rows that are read at once.
const ROWS: usize = 1_000;

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The accounts.
    pub accounts: Accounts,
    /// The directories of authorities.
    pub sources: BTreeMap<OwnedServerName, Vec<Settings>>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
    /// Where it is counted.
    pub metrics: &'a Metrics,
}

/// The directories of all authorities of a process. Cloning gives another handle.
#[derive(Clone)]
pub struct Ldap {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    pub(crate) runs: CounterFamily,
    pub(crate) failing: GaugeFamily,
}

/// A directory of an authority.
pub(crate) struct Source {
    pub(crate) settings: Arc<Settings>,
    pub(crate) authority: OwnedServerName,
    /// Begins the keys of all its rows: authority and name.
    pub(crate) scope: String,
    /// Held by the run that is under way; what was written of runs last, and when.
    pub(crate) turn: Mutex<Option<(Instant, Report)>>,
    /// What was refused within the hour and stands in the audit log.
    pub(crate) refusals: Mutex<Vec<(Instant, String)>>,
    /// How the last run of this process went.
    pub(crate) last: Mutex<Option<Report>>,
    /// Told when somebody has had it read, so that the next reading is an interval later.
    pub(crate) look: Notify,
}

impl Source {
    /// Who does what it says.
    pub(crate) fn actor(&self) -> Actor {
        Actor::source(&self.settings.name, None)
    }
}

impl Ldap {
    /// Over a store. Nothing is read by itself before [`Ldap::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, accounts, sources, clock, random, tasks, metrics } = parts;
        let source = |authority: &OwnedServerName, settings: Settings| {
            Arc::new(Source {
                authority: authority.clone(),
                // No server name holds a slash.
                scope: format!("{authority}/{}", settings.name),
                settings: Arc::new(settings),
                turn: Mutex::default(),
                refusals: Mutex::default(),
                last: Mutex::default(),
                look: Notify::new(),
            })
        };
        let of_authority = |(authority, all): (OwnedServerName, Vec<Settings>)| {
            all.into_iter().map(move |settings| source(&authority, settings)).collect::<Vec<_>>()
        };
        let runs =
            metrics.counter_family("yakuba_ldap_runs", "Readings of directories, by what became of them");
        let failing = metrics
            .gauge_family("yakuba_ldap_failing", "Whether the last reading of a directory was not followed");
        let inner = Inner {
            store,
            accounts,
            sources: sources.into_iter().flat_map(of_authority).collect(),
            clock,
            random,
            tasks: tasks.clone(),
            runs,
            failing,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The source that is meant: the one that is named, or the only one.
    pub(crate) fn source(&self, authority: &ServerName, name: Option<&str>) -> Result<Arc<Source>, Error> {
        let mut fitting = self.inner.sources.iter().filter(|source| {
            source.authority == authority && name.is_none_or(|name| source.settings.name == name)
        });
        let first = fitting.next().ok_or(Error::NoSource)?;
        if fitting.next().is_some() { Err(Error::WhichSource) } else { Ok(first.clone()) }
    }

    /// All that a source said last.
    pub(crate) async fn known(&self, source: &Source) -> Result<Known, Error> {
        let (mut known, mut last) = (Known::new(), None::<String>);
        loop {
            let range = match &last {
                Some(last) => {
                    Range::prefix(source.scope.as_str()).after(&(source.scope.as_str(), last.as_str()))
                }
                None => Range::prefix(source.scope.as_str()),
            };
            let rows = self.inner.store.scan(&PEOPLE, range, Direction::Ascending, ROWS).await?;
            let is_last = rows.len() < ROWS;
            known.extend(rows.into_iter().map(|((_, id), row)| (id, row)));
            if is_last {
                return Ok(known);
            }
            last = known.last_key_value().map(|(id, _)| id.clone());
        }
    }

    /// What was written of a run.
    pub(crate) async fn report(&self, source: &Source, which: u8) -> Result<Option<Report>, Error> {
        let row = self.inner.store.get(&RUNS, &(source.scope.as_str(), which)).await?;
        row.map(|row| serde_json::from_str(&row.says).map_err(|_| Error::Damaged)).transpose()
    }

    /// How the sources of an authority are.
    pub(crate) async fn status(&self, authority: &ServerName) -> Result<Vec<Status>, Error> {
        let mut all = Vec::new();
        for source in self.inner.sources.iter().filter(|source| source.authority == authority) {
            let known = self.known(source).await?;
            let of_this_process = source.last.lock().await.clone();
            let last = match of_this_process {
                Some(report) => Some(report),
                None => self.report(source, LAST).await?,
            };
            let followed = last.as_ref().filter(|report| report.outcome == crate::report::Outcome::Followed);
            let last_good = match followed {
                Some(report) => Some(report.at),
                None => self.report(source, LAST_GOOD).await?.map(|report| report.at),
            };
            all.push(Status {
                source: source.settings.name.clone(),
                place: source.settings.place.to_string(),
                people: known.len(),
                administrators: self
                    .administrators(source)
                    .await?
                    .values()
                    .filter(|row| !row.is_withdrawn)
                    .count(),
                ended: known.values().filter(|row| row.ended.is_some()).count(),
                last,
                last_good,
            });
        }
        Ok(all)
    }

    /// A deed about somebody of a source, for the audit log.
    pub(crate) fn deed(&self, what: Action, by: &Actor, whom: &str) -> Deed {
        Deed::new(what, by, whom, self.inner.clock.now())
    }
}
