//! Server keys: ours published, those of others fetched, checked, kept and handed out.
//!
//! Two questions are told apart. *Requests* are signed with a key that the newest document of a server names
//! as present, and only while that document is valid. *Events* stay, so a key once seen is kept forever, and
//! judges events of its time: an event is of the time that it says, up to the key's validity.
//!
//! A document is fetched anew when half of its time is over, in the background; and at once when somebody
//! needs a key that it does not name, or needs it for a later time. One fetch per server runs at a time and everybody
//! waits for its outcome; a server that fails is left alone for a growing while.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

mod document;
mod notary;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use base::{Backoff, Clock, CounterFamily, Instant, Metrics, Random, Tasks, Timestamp};
use bytes::Bytes;
use engine::KeySource;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use pdu::{Authority, KeyRing, MAX_VALIDITY_MS, VerifyKey};
use ruma::{OwnedServerName, OwnedServerSigningKeyId, ServerName};
use store::{Batch, Order, Range, Store};
use tracing::{debug, warn};

pub(crate) use self::document::publish;
pub(crate) use self::notary::{MOST_ASKED, Question};
use self::{
    document::{Document, lifetime_of},
    notary::Allowance,
};
use crate::{
    client::Client,
    config::KeyConfig,
    path::Path,
    resolver::make_room,
    tables::{KEY_DOCUMENTS, KEYS, KeyDocumentRow, KeyRow},
    transport::{Budget, Cause, TransportError},
};

/// Servers whose keys are held in memory.
const MOST_SERVERS: usize = 20_000;

/// Servers that are asked at a time for the keys of one batch of events.
const FETCHES_AT_ONCE: usize = 32;

/// Keys of one server that are read from the store.
const MOST_KEYS: usize = 1_024;

/// The first and the longest time for which a server that failed is left alone.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// A server whose document does not have what is needed is not asked again for so long.
const UNKNOWN_KEY_WAIT: Duration = Duration::from_secs(10);

/// A document counts as valid for so long after its time, for servers whose clock is a little behind.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// A document is used for so long at most without asking again.
const LONGEST_USE: Duration = Duration::from_millis(MAX_VALIDITY_MS);

/// Largest key document.
const LARGEST_DOCUMENT: base::ByteSize = base::ByteSize::kib(256);

/// The keys of all servers. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    store: Store,
    client: Client,
    config: KeyConfig,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    known: Mutex<HashMap<OwnedServerName, Arc<Known>>>,
    fetches: Mutex<HashMap<OwnedServerName, Cell>>,
    /// What strangers may have us fetch.
    allowance: Allowance,
    fetched: CounterFamily,
}

/// What we know of a server's keys.
#[derive(Debug, Default)]
struct Known {
    keys: BTreeMap<String, KeyRow>,
    /// The ids that the newest document names as present.
    present: BTreeSet<String>,
    /// `valid_until_ts` of that document.
    valid_until: u64,
    /// How often a document was fetched while this was in memory.
    fetches: u64,
    /// When the document is to be fetched anew; there is none yet without it.
    stale: Option<Instant>,
}

/// The state of fetching from one server; who holds it fetches.
type Cell = Arc<tokio::sync::Mutex<Fetch>>;

struct Fetch {
    backoff: Backoff,
    not_before: Instant,
}

/// What is needed of a server.
#[derive(Clone, Debug)]
enum Need {
    /// Its keys with these ids, believable at this time.
    Keys { ids: Vec<String>, at: Timestamp },
    /// A key with which it may sign requests at this time.
    Present { id: String, at: Timestamp },
    /// A newer document than the one we have.
    Newer,
}

/// Why a document was not had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// Nobody was asked: too many such questions are under way.
    #[error("too many key documents are being fetched")]
    NotAsked,
    /// The server gave none.
    #[error("{0}")]
    Failed(String),
}

/// Where a document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The server whose keys they are.
    Itself,
    /// A notary.
    Notary,
}

impl Known {
    fn meets(&self, need: &Need) -> bool {
        match need {
            Need::Keys { ids, at } => ids.iter().all(|id| {
                self.keys.get(id).is_some_and(|key| key.expired.is_some() || key.valid_until >= at.millis())
            }),
            Need::Present { id, at } => self.request_key(id, *at).is_some(),
            Need::Newer => false,
        }
    }

    /// The key of this id, if requests may be signed with it now.
    fn request_key(&self, id: &str, now: Timestamp) -> Option<VerifyKey> {
        let row = self.keys.get(id).filter(|row| row.expired.is_none())?;
        let is_valid = Timestamp(row.valid_until) + SKEW >= now;
        if is_valid && self.present.contains(id) { self.key(id) } else { None }
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.stale.is_none_or(|stale| stale <= now)
    }

    fn key(&self, id: &str) -> Option<VerifyKey> {
        let row = self.keys.get(id)?;
        match row.expired {
            Some(expired) => VerifyKey::old(&row.public_key, expired).ok(),
            None => VerifyKey::current(&row.public_key, row.valid_until, row.valid_until).ok(),
        }
    }
}

impl Keys {
    pub(crate) fn new(
        store: Store,
        client: Client,
        config: KeyConfig,
        clock: Clock,
        random: Random,
        tasks: Tasks,
        metrics: &Metrics,
    ) -> Self {
        let allowance = Allowance::new(&clock);
        let fetched =
            metrics.counter_family("yakuba_federation_key_fetches", "Fetches of server keys, by outcome");
        Self(Arc::new(Inner {
            store,
            client,
            config,
            clock,
            random,
            tasks,
            known: Mutex::default(),
            fetches: Mutex::default(),
            allowance,
            fetched,
        }))
    }

    /// The key document of an authority of ours, in canonical JSON and signed.
    pub fn own_document(&self, authority: &Authority) -> Bytes {
        publish(authority, self.0.clock.now() + self.0.config.lifetime)
    }

    /// The key with which `server` may sign a request now: one that its newest document names as
    /// present, while that is valid.
    pub(crate) async fn find_request_key(
        &self,
        server: &ServerName,
        key_id: &OwnedServerSigningKeyId,
    ) -> Result<Option<VerifyKey>, store::Error> {
        let now = self.0.clock.now();
        let id = key_id.as_str();
        let known = self.load(&[server.to_owned()]).await?.pop().unwrap_or_default();
        if let Some(key) = known.request_key(id, now) {
            if known.is_stale(self.0.clock.instant()) {
                self.refresh_later(server);
            }
            return Ok(Some(key));
        }
        let need = Need::Present { id: id.to_owned(), at: now };
        // Whoever writes a name into a header has not shown yet that it is his.
        let known = self.fetch(server, &need, known, Cause::UnprovenName).await?;
        Ok(known.request_key(id, now))
    }

    /// What is known of these servers, from memory or the store; in their order.
    async fn load(&self, servers: &[OwnedServerName]) -> Result<Vec<Arc<Known>>, store::Error> {
        let missing: Vec<OwnedServerName> = {
            let known = self.0.known.lock();
            servers.iter().filter(|server| !known.contains_key(*server)).cloned().collect()
        };
        if !missing.is_empty() {
            let ranges = missing.iter().map(|server| Range::prefix(server.as_str())).collect();
            let names: Vec<&str> = missing.iter().map(|server| server.as_str()).collect();
            let rows = self.0.store.scan_many(&KEYS, ranges, Order::Ascending, MOST_KEYS).await?;
            let documents = self.0.store.get_many(&KEY_DOCUMENTS, &names).await?;
            let mut known = self.0.known.lock();
            make_room(&mut known, MOST_SERVERS, |_| false);
            for ((server, rows), document) in missing.iter().zip(rows).zip(documents) {
                let keys = rows.into_iter().map(|((_, id), row)| (id, row)).collect();
                let found = match document {
                    Some(row) => self.recalled(keys, &row),
                    None => Known { keys, ..Known::default() },
                };
                // A fetch that ended meanwhile knows better.
                known.entry(server.clone()).or_insert_with(|| Arc::new(found));
            }
        }
        let known = self.0.known.lock();
        Ok(servers.iter().map(|server| known.get(server).cloned().unwrap_or_default()).collect())
    }

    /// What an earlier process, or this one before it forgot, knew.
    fn recalled(&self, keys: BTreeMap<String, KeyRow>, row: &KeyDocumentRow) -> Known {
        let stale = Timestamp(row.fetched) + lifetime_of(row.fetched, row.valid_until);
        Known {
            keys,
            present: document::present(&row.document),
            valid_until: row.valid_until,
            fetches: 0,
            stale: Some(self.0.clock.instant_of(stale, LONGEST_USE)),
        }
    }

    fn refresh_later(&self, server: &ServerName) {
        if self.cell(server).try_lock().is_err() {
            // Somebody is at it.
            return;
        }
        let (keys, server) = (self.clone(), server.to_owned());
        self.0.tasks.spawn("key refresh", async move {
            let Ok(Some(known)) = keys.load(std::slice::from_ref(&server)).await.map(|mut known| known.pop())
            else {
                return;
            };
            if let Err(error) = keys.fetch(&server, &Need::Newer, known, Cause::Ours).await {
                warn!(origin = %server, %error, "fetched keys could not be stored");
            }
        });
    }

    /// Fetches from a server what `before` does not meet, unless somebody else just did or it is to be left alone.
    /// Gives what is known then, which may still not be enough.
    async fn fetch(
        &self,
        server: &ServerName,
        need: &Need,
        before: Arc<Known>,
        cause: Cause,
    ) -> Result<Arc<Known>, store::Error> {
        let cell = self.cell(server);
        let mut fetch = cell.lock().await;
        let known = self.load(&[server.to_owned()]).await?.pop().unwrap_or_default();
        if known.meets(need) || known.fetches > before.fetches || self.0.clock.instant() < fetch.not_before {
            return Ok(known);
        }
        let outcome = match self.fetch_document(server, cause).await {
            Ok(document) => Ok((document, Source::Itself)),
            // That says nothing about the server, so it is no reason to leave it alone.
            Err(FetchError::NotAsked) => {
                self.0.fetched.with(&[("outcome", "no_place")]).inc();
                return Ok(known);
            }
            Err(error) => {
                let helped = self.ask_notaries(server, cause).await;
                helped.map(|document| (document, Source::Notary)).ok_or(error)
            }
        };
        match outcome {
            Ok((document, source)) => {
                self.0.fetched.with(&[("outcome", "ok")]).inc();
                let known = self.keep(server, document, source, &known).await;
                fetch.backoff.reset();
                let wait = if known.meets(need) { Duration::ZERO } else { UNKNOWN_KEY_WAIT };
                fetch.not_before = self.0.clock.instant() + wait;
                Ok(known)
            }
            Err(error) => {
                self.0.fetched.with(&[("outcome", "failed")]).inc();
                let wait = fetch.backoff.next(&self.0.random);
                fetch.not_before = self.0.clock.instant() + wait;
                debug!(origin = %server, %error, "keys could not be fetched");
                Ok(known)
            }
        }
    }

    fn cell(&self, server: &ServerName) -> Cell {
        let mut fetches = self.0.fetches.lock();
        if !fetches.contains_key(server) {
            make_room(&mut fetches, MOST_SERVERS, |cell| Arc::strong_count(cell) > 1);
        }
        let new = || {
            let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
            Arc::new(tokio::sync::Mutex::new(Fetch { backoff, not_before: self.0.clock.instant() }))
        };
        fetches.entry(server.to_owned()).or_insert_with(new).clone()
    }

    async fn fetch_document(&self, server: &ServerName, cause: Cause) -> Result<Document, FetchError> {
        let failed = |error: &dyn std::fmt::Display| FetchError::Failed(error.to_string());
        let budget = Budget { deadline: self.0.config.fetch_timeout, response: LARGEST_DOCUMENT };
        let path = Path::key().segment("server");
        let asked = self.0.client.ask_unsigned(server, &path, budget, cause);
        // The transport keeps the deadline; this bounds a transport of a test that does not.
        let answer = self.0.clock.timeout(budget.deadline, asked).await.map_err(|error| failed(&error))?;
        let answer = answer.map_err(|error| match error {
            TransportError::NoPlace => FetchError::NotAsked,
            error => failed(&error),
        })?;
        if !answer.status().is_success() {
            return Err(FetchError::Failed(format!("status {}", answer.status())));
        }
        if web::has_private_key(answer.body()) {
            return Err(FetchError::Failed("a key that nobody writes".to_owned()));
        }
        let document =
            Document::read(server, answer.body(), self.0.clock.now()).map_err(|error| failed(&error))?;
        // Who signs for its name is no invention: in a room just joined most servers are known by this alone, and
        // what is said there must not go to a few of them only.
        self.0.client.heard_from(server);
        Ok(document)
    }

    /// Stores a document and its keys. A key that it does not name any more stays for events of the time
    /// until now.
    ///
    /// What a notary gives may be older than what we have. Then it only adds keys that we did not know,
    /// for events of their time: a key that was given up since must not come back.
    async fn keep(
        &self,
        server: &ServerName,
        document: Document,
        source: Source,
        before: &Known,
    ) -> Arc<Known> {
        let fetched = self.0.clock.now().millis();
        let is_newest = match source {
            Source::Itself => true,
            Source::Notary => document.valid_until > before.valid_until,
        };
        let mut keys = before.keys.clone();
        let mut batch = Batch::new();
        if is_newest {
            let is_dropped = |id: &String, row: &KeyRow| {
                !document.keys.contains_key(id) && row.expired.is_none() && row.valid_until > fetched
            };
            for (id, row) in keys.iter_mut().filter(|(id, row)| is_dropped(id, row)) {
                row.valid_until = fetched;
                batch.put(&KEYS, &(server.as_str(), id.as_str()), row);
            }
        }
        for (id, row) in document.keys {
            if is_newest || !keys.contains_key(&id) {
                batch.put(&KEYS, &(server.as_str(), id.as_str()), &row);
                keys.insert(id, row);
            }
        }
        // Of an older document there is nothing to use, so it is soon asked for again.
        let lifetime = lifetime_of(fetched, if is_newest { document.valid_until } else { 0 });
        let mut known = Known {
            keys,
            present: before.present.clone(),
            valid_until: before.valid_until,
            fetches: before.fetches + 1,
            stale: Some(self.0.clock.instant() + lifetime),
        };
        if is_newest {
            known.present = document.present;
            known.valid_until = document.valid_until;
            let row = KeyDocumentRow { document: document.json, fetched, valid_until: document.valid_until };
            batch.put(&KEY_DOCUMENTS, server.as_str(), &row);
        }
        if let Err(error) = self.0.store.commit(batch).await {
            // They hold for now all the same; after a restart they are fetched again.
            warn!(origin = %server, %error, "fetched keys could not be stored");
        }
        let known = Arc::new(known);
        self.0.known.lock().insert(server.to_owned(), known.clone());
        known
    }

    /// What is known of each server once its need is met as far as it can be.
    async fn gather(
        &self,
        needs: Vec<(OwnedServerName, Need)>,
        cause: Cause,
    ) -> Result<Vec<(OwnedServerName, Arc<Known>)>, store::Error> {
        let servers: Vec<OwnedServerName> = needs.iter().map(|(server, _)| server.clone()).collect();
        let loaded = self.load(&servers).await?;
        let now = self.0.clock.instant();
        let work = needs.into_iter().zip(loaded).map(|((server, need), known)| async move {
            if known.meets(&need) {
                if known.is_stale(now) {
                    self.refresh_later(&server);
                }
                return Ok((server, known));
            }
            let known = self.fetch(&server, &need, known, cause).await?;
            Ok((server, known))
        });
        let done: Vec<Result<_, store::Error>> =
            stream::iter(work).buffer_unordered(FETCHES_AT_ONCE).collect().await;
        done.into_iter().collect()
    }
}

#[async_trait]
impl KeySource for Keys {
    async fn keys(&self, wanted: &[(OwnedServerName, OwnedServerSigningKeyId)], at: Timestamp) -> KeyRing {
        let mut ring = KeyRing::new();
        let mut ids: BTreeMap<OwnedServerName, HashSet<String>> = BTreeMap::new();
        for (server, id) in wanted {
            match self.0.client.authorities().find(server) {
                Some(authority) if !ring.has_server(server) => ring.insert_authority(authority),
                Some(_) => {}
                None => {
                    ids.entry(server.clone()).or_default().insert(id.as_str().to_owned());
                }
            }
        }
        let needs = ids
            .iter()
            .map(|(server, ids)| (server.clone(), Need::Keys { ids: ids.iter().cloned().collect(), at }));
        let gathered = match self.gather(needs.collect(), Cause::Ours).await {
            Ok(gathered) => gathered,
            Err(error) => {
                warn!(%error, "server keys could not be read");
                return ring;
            }
        };
        for (server, known) in gathered {
            for id in ids.get(&server).into_iter().flatten() {
                let key_id = ruma::ServerSigningKeyId::parse(id.as_str());
                if let (Some(key), Ok(key_id)) = (known.key(id), key_id) {
                    ring.insert(server.clone(), key_id, key);
                }
            }
        }
        ring
    }

    async fn held_keys(
        &self,
        wanted: &[(OwnedServerName, OwnedServerSigningKeyId)],
        _: Timestamp,
    ) -> KeyRing {
        let mut ring = KeyRing::new();
        let mut servers: Vec<OwnedServerName> = wanted.iter().map(|(server, _)| server.clone()).collect();
        servers.sort_unstable();
        servers.dedup();
        let known = match self.load(&servers).await {
            Ok(known) => known,
            Err(error) => {
                warn!(%error, "server keys could not be read");
                return ring;
            }
        };
        let known: BTreeMap<&OwnedServerName, Arc<Known>> = servers.iter().zip(known).collect();
        for (server, id) in wanted {
            if let Some(key) = known.get(server).and_then(|known| known.key(id.as_str())) {
                ring.insert(server.clone(), id.clone(), key);
            }
        }
        ring
    }
}

#[cfg(test)]
mod tests;
