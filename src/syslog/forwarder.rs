//! The crate's one handle.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use audit::{Elsewhere, chained, chained_count};
use base::{Clock, Metrics, Random, Tasks, Timestamp};
use futures_util::future::join_all;
use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use store::{Consumer, Store};

use crate::{
    fault::Fault,
    sending::Lane,
    settings::Settings,
    tables::{SENT, SentRow},
};

/// What it is made of.
pub struct Parts<'a> {
    /// The store.
    pub store: Store,
    /// The log servers of authorities.
    pub destinations: BTreeMap<OwnedServerName, Vec<Settings>>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
    /// Who runs the tasks.
    pub tasks: &'a Tasks,
    /// Where it is counted.
    pub metrics: &'a Metrics,
}

/// Who sends the audit logs of a process to their log servers. Cloning gives another handle.
#[derive(Clone)]
pub struct Forwarder {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    destinations: BTreeMap<OwnedServerName, Vec<Settings>>,
    lanes: Vec<Lane>,
    consumer: Consumer,
    tasks: Tasks,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("lanes", &self.inner.lanes.len()).finish_non_exhaustive()
    }
}

impl Forwarder {
    /// Over a store. Nothing is sent before [`Forwarder::start`].
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { store, destinations, clock, random, tasks, metrics } = parts;
        let waiting = metrics.gauge_family(
            "yakuba_syslog_waiting_rows",
            "Rows of the audit log that do not count as sent to a log server, while this process sends",
        );
        let lag = metrics.gauge_family(
            "yakuba_syslog_lag_seconds",
            "How old the first row is that does not count as sent, while this process sends",
        );
        let failing =
            metrics.gauge_family("yakuba_syslog_failing", "Whether nothing goes to a log server just now");
        let lane = |authority: &OwnedServerName, settings: &Settings| {
            let labels = [("authority", authority.as_str()), ("destination", settings.name.as_str())];
            Lane {
                store: store.clone(),
                authority: authority.clone(),
                settings: settings.clone(),
                clock: clock.clone(),
                random: random.clone(),
                waiting: waiting.with(&labels),
                lag: lag.with(&labels),
                failing: failing.with(&labels),
            }
        };
        let lanes = destinations
            .iter()
            .flat_map(|(authority, all)| all.iter().map(move |settings| (authority, settings)))
            .map(|(authority, settings)| lane(authority, settings))
            .collect();
        let consumer = Consumer::without_log(&store, "audit.syslog", &clock, metrics);
        Self { inner: Arc::new(Inner { store, destinations, lanes, consumer, tasks: tasks.clone() }) }
    }

    /// Sends, in each term that this process gets, until the tasks are stopped.
    pub fn start(&self) {
        if self.inner.lanes.is_empty() {
            return;
        }
        let inner = self.inner.clone();
        let stop = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("audit.syslog", move || {
            let (inner, stop) = (inner.clone(), stop.clone());
            async move {
                let work = |term| {
                    let inner = inner.clone();
                    async move {
                        join_all(inner.lanes.iter().map(|lane| lane.run(&term))).await;
                        Ok::<(), store::Error>(())
                    }
                };
                inner.consumer.run(stop, work).await;
            }
        });
    }

    /// How the log servers of an authority are, whichever process sends.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn status(&self, authority: &ServerName) -> Result<Vec<Status>, store::Error> {
        let settings = self.inner.destinations.get(authority).map_or(&[][..], Vec::as_slice);
        status(&self.inner.store, authority, settings).await
    }
}

#[async_trait]
impl Elsewhere for Forwarder {
    async fn has_through(&self, authority: &ServerName) -> Result<Option<u64>, store::Error> {
        let settings = self.inner.destinations.get(authority).map_or(&[][..], Vec::as_slice);
        has_through(&self.inner.store, authority, settings).await
    }
}

/// The number through which all of some log servers have the log of an authority; none where there are none.
///
/// # Errors
/// When the store cannot be read.
pub async fn has_through(
    store: &Store,
    authority: &ServerName,
    settings: &[Settings],
) -> Result<Option<u64>, store::Error> {
    let keys: Vec<_> = settings.iter().map(|one| (authority.as_str(), one.name.as_str())).collect();
    let rows = store.get_many(&SENT, &keys).await?;
    Ok(rows.into_iter().map(|row| row.unwrap_or_default().number).min())
}

/// How a log server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub destination: String,
    /// Where it is.
    pub place: String,
    /// Whether nobody reads what goes there on its way.
    pub is_tls: bool,
    /// Up to which number it has the rows.
    pub sent: u64,
    /// Rows behind that.
    pub waiting: u64,
    /// When the first of those was done.
    pub waiting_since: Option<Timestamp>,
    /// When something counted as sent last.
    pub last: Option<Timestamp>,
    /// Since when nothing goes there, and why, if that is so.
    pub failing: Option<(Timestamp, Fault)>,
}

/// How the log servers of an authority are.
///
/// # Errors
/// When the store cannot be read.
pub async fn status(
    store: &Store,
    authority: &ServerName,
    settings: &[Settings],
) -> Result<Vec<Status>, store::Error> {
    let keys: Vec<_> = settings.iter().map(|one| (authority.as_str(), one.name.as_str())).collect();
    let rows = store.get_many(&SENT, &keys).await?;
    let count = chained_count(store, authority).await?;
    let mut all = Vec::with_capacity(settings.len());
    for (settings, row) in settings.iter().zip(rows) {
        let SentRow { number, at, failing } = row.unwrap_or_default();
        let next = chained(store, authority, number, 1).await?.pop();
        all.push(Status {
            destination: settings.name.clone(),
            place: settings.place.to_string(),
            is_tls: settings.tls.is_some(),
            sent: number,
            waiting: count.saturating_sub(number),
            waiting_since: next.and_then(|next| next.row.record).map(|record| record.at),
            last: at,
            failing,
        });
    }
    Ok(all)
}
