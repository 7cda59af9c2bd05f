//! Sending what happens here to the servers that have to hear of it.
//!
//! Nobody hands events to the sender: it reads the log of changes. One task, the *fan-out*, reads on
//! from a durable cursor, finds the servers of each room and puts a reference to the event into the
//! queue of each. Each peer has at most one *worker*, which sends one transaction at a time, in
//! order; a peer without work has none.
//!
//! What happens to a peer that does not answer: its queue stays for a minute; then it is dropped and
//! only the rooms in which it lacks events are remembered, in the table [`OWED`]. Once the peer answers, it gets what it
//! lacks room by room from the timelines. It is tried after growing waits of at most 15 minutes, and
//! at once when it gives a sign of life.
//!
//! A server that never answered may be a name that somebody invented. Such *strangers* have few places of
//! their own, so that they take none from peers, and an end: after a day what they were owed is forgotten.
//!
//! What happens in a crash: the cursor stands at a place before which everything has been delivered
//! or is in [`OWED`], written in the same commit. From there the log is read again. Where another process may go on,
//! what was sent after it is noted for each peer before it is sent ([`LAST_SENT`]): the transaction that may or may not
//! have arrived goes out once more as it was, by whose id the peer knows it, and nothing that was sent before it.
//! Should it not be the same any more, because something in it was redacted since, it goes out as another one. A
//! process that has its data for itself notes nothing: what it sent in its last moment comes again.
//!
//! Messages to devices of a peer wait in the store until it has them (`outbox`), whether it is behind or not.
//!
//! The log does not wait for ever: what went from it before it was read here is owed to all (`missed`).
//!
//! Of several processes over the same data one sends, for a [`Term`]; the others stand by. Nothing is sent before the
//! store has said that the term still is this process's.
//!
//! Reading order: [`lane`] (queue and what is owed, as plain values), [`transaction`], `press`, `presence`, `outbox`,
//! `fan_out`, `outboxes`, `worker`, `catch_up`, `persist`, `restore`, `missed`.
//!
//! [`OWED`]: crate::tables::OWED
//! [`LAST_SENT`]: crate::tables::LAST_SENT

mod arrivals;
mod catch_up;
mod debts;
mod fan_out;
mod lane;
mod missed;
mod outbox;
mod outboxes;
mod persist;
mod presence;
mod press;
mod restore;
mod transaction;
mod worker;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use account::Presence;
use base::{
    Backoff, Caches, Clock, Counter, CounterFamily, Gauge, Instant, Metrics, Random, Tasks, Timestamp,
};
use parking_lot::{Mutex, RwLock};
use room::Rooms;
use ruma::{OwnedServerName, ServerName};
use store::{Batch, Consumer, Moved, Order, Position, Range, Store, Term, Topic};
use to_device::ToDevice;
use tokio::sync::{Notify, Semaphore};
use tracing::{debug, warn};

use self::{fan_out::FanOut, lane::Lane, press::Press};
use crate::{client::Client, config::SenderConfig, contacts::Contacts, tables::PEERS};

/// The sender's name among the consumers of the log.
const NAME: &str = "federation.sender";

/// A peer that has failed for so long is behind: its queue is dropped.
const BEHIND_AFTER: Duration = Duration::from_secs(60);

/// A sign of life makes us try at once, but not more often than this.
const SHORTEST_RETRY: Duration = Duration::from_millis(500);

/// Only peers heard from within this time are told that we are back after a start.
const GREET_WITHIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// And only by a sender that begins so soon after its process.
const GREET_AFTER_START: Duration = Duration::from_secs(60);

/// What a sender is made of.
pub(crate) struct Parts {
    pub(crate) config: SenderConfig,
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) presence: Presence,
    pub(crate) to_device: ToDevice,
    pub(crate) client: Client,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
}

/// The sender of a process: it sends while no other process over the same data does. Cheap to clone; it runs until
/// its tasks are stopped.
#[derive(Clone)]
pub struct Sender(Arc<Office>);

/// What a sender has in all its terms.
pub(crate) struct Office {
    parts: Parts,
    counts: Arc<Counts>,
    /// What is at work in this term, if it is this process's.
    at_work: RwLock<Option<Arc<Inner>>>,
    /// Whether peers were told that we are here again.
    greeted: AtomicBool,
    started: Instant,
}

/// The peers that there is something for, or was a moment ago.
type Destinations = HashMap<OwnedServerName, Arc<Destination>>;

/// A sender at work, in one term.
pub(crate) struct Inner {
    term: Term,
    config: SenderConfig,
    store: Store,
    rooms: Rooms,
    presence: Presence,
    to_device: ToDevice,
    client: Client,
    contacts: Arc<Contacts>,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    caches: Caches,
    destinations: Mutex<Destinations>,
    press: Press,
    /// How far the log has been read.
    fanned: AtomicU64,
    /// Whether it is still being found what was never sent.
    makes_up: AtomicBool,
    healthy: Semaphore,
    suspect: Semaphore,
    strangers: Semaphore,
    /// Held while something is submitted that the store is to know of lanes.
    notes: Mutex<()>,
    counts: Arc<Counts>,
}

struct Counts {
    transactions: CounterFamily,
    events: Counter,
    queued: Gauge,
    owed_rooms: Gauge,
    behind: Gauge,
    troubled: Gauge,
    given_up: Counter,
}

/// A peer as the sender sees it.
struct Destination {
    name: OwnedServerName,
    state: Mutex<State>,
    /// Ends the worker's wait for the next attempt.
    wake: Notify,
}

struct State {
    /// By authority of ours: transactions have one origin.
    lanes: BTreeMap<OwnedServerName, Lane>,
    backoff: Backoff,
    /// Since when it has failed.
    failing_since: Option<Failing>,
    last_attempt: Option<Instant>,
    /// Whether it has never answered, as far as we know.
    is_stranger: bool,
    /// What it was owed is forgotten; it goes once that is written.
    is_given_up: bool,
    /// Nobody finds it any more; another one has taken its place, or will.
    is_gone: bool,
    /// Whether a worker serves it.
    is_served: bool,
    /// Authorities of ours that send an empty transaction, so that the peer, which may have something for each,
    /// notices that they are here again.
    greet: BTreeSet<OwnedServerName>,
    /// No attempt before this.
    not_before: Instant,
}

/// The beginning of an outage: for people, and for reckoning.
#[derive(Clone, Copy)]
struct Failing {
    at: Timestamp,
    since: Instant,
}

impl Destination {
    fn new(name: OwnedServerName, config: &SenderConfig, is_stranger: bool, now: Instant) -> Self {
        let longest = if is_stranger { config.longest_stranger_retry } else { config.longest_retry };
        let state = State {
            lanes: BTreeMap::new(),
            backoff: Backoff::new(config.first_retry, longest),
            failing_since: None,
            last_attempt: None,
            is_stranger,
            is_given_up: false,
            is_gone: false,
            is_served: false,
            greet: BTreeSet::new(),
            not_before: now,
        };
        Self { name, state: Mutex::new(state), wake: Notify::new() }
    }
}

impl State {
    /// The server is there: from now on it is a peer like others.
    fn has_answered(&mut self, config: &SenderConfig) {
        if std::mem::take(&mut self.is_stranger) {
            self.backoff = Backoff::new(config.first_retry, config.longest_retry);
        }
    }

    fn is_idle(&self) -> bool {
        self.lanes.values().all(Lane::is_idle)
    }

    /// Whether nothing is to be done, and nothing to be remembered that a new one would not know.
    fn is_at_rest(&self, now: Instant) -> bool {
        self.lanes.is_empty()
            && self.greet.is_empty()
            && self.failing_since.is_none()
            && self.not_before <= now
    }
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| metrics.gauge(name, help);
        Self {
            transactions: metrics.counter_family(
                "yakuba_federation_transactions_sent",
                "Transactions to other servers, by outcome",
            ),
            events: metrics.counter("yakuba_federation_events_delivered", "Events delivered, once per peer"),
            queued: gauge("yakuba_federation_queued_events", "Events in the queues of all peers"),
            owed_rooms: gauge(
                "yakuba_federation_owed_rooms",
                "Rooms in which peers lack events, over all peers",
            ),
            behind: gauge("yakuba_federation_peers_behind", "Peers that have to catch up"),
            troubled: gauge("yakuba_federation_peers_failing", "Peers that transactions do not reach"),
            given_up: metrics.counter(
                "yakuba_federation_strangers_given_up",
                "Servers that never answered and are not tried any more",
            ),
        }
    }

    /// Nothing is to be sent from here any more.
    fn rest(&self) {
        for gauge in [&self.queued, &self.owed_rooms, &self.behind, &self.troubled] {
            gauge.set(0);
        }
    }
}

impl Sender {
    /// Recalls whom we know and starts to send, as soon as no other process does.
    pub(crate) async fn start(parts: Parts) -> Result<Self, store::Error> {
        let office = Arc::new(Office {
            counts: Arc::new(Counts::new(&parts.metrics)),
            at_work: RwLock::default(),
            greeted: AtomicBool::new(false),
            started: parts.clock.instant(),
            parts,
        });
        // Before anybody is owed anything: who is known is no stranger.
        office.recall_peers().await?;
        let Parts { store, clock, metrics, tasks, .. } = &office.parts;
        let consumer = Consumer::new(store, NAME, clock, metrics);
        let sender = office.clone();
        tasks.spawn_restarting("federation sender", move || {
            let (office, consumer) = (sender.clone(), consumer.clone());
            async move {
                let stop = office.parts.tasks.shutdown_token();
                consumer.run(stop, |term| office.clone().work(term)).await;
            }
        });
        let noting = office.clone();
        tasks.spawn_restarting("federation peers", move || noting.clone().note_peers());
        Ok(Self(office))
    }

    /// How far the log of changes has been read in this term; later events are not yet in any queue. At the start
    /// while another process sends.
    pub fn position(&self) -> Position {
        let at_work = self.0.at_work.read();
        at_work.as_ref().map_or(Position::START, |inner| inner.position())
    }

    /// Whether it is this process that sends.
    pub fn is_at_work(&self) -> bool {
        self.0.at_work.read().is_some()
    }

    /// Whether everything that was in the log when this was called has been delivered to everybody,
    /// as far as memory tells. Not while another process sends. For tests and a graceful stop.
    pub fn is_idle(&self) -> bool {
        let Some(inner) = self.0.at_work.read().clone() else { return false };
        let read = inner.position();
        let is_read =
            read >= inner.store.head() || inner.store.moved(Topic::destination("*"), read) == Moved::No;
        let destinations: Vec<_> = inner.destinations.lock().values().cloned().collect();
        is_read
            && !inner.makes_up.load(Ordering::Acquire)
            && destinations.iter().all(|destination| {
                let state = destination.state.lock();
                state.is_idle()
            })
    }

    /// How the sender gets along with each peer that it has something for, or had a moment ago. None while another
    /// process sends.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let Some(inner) = self.0.at_work.read().clone() else { return Vec::new() };
        let destinations: Vec<_> = inner.destinations.lock().values().cloned().collect();
        let mut peers: Vec<PeerStatus> = destinations
            .iter()
            .map(|destination| {
                let state = destination.state.lock();
                PeerStatus {
                    server: destination.name.clone(),
                    queued: state.lanes.values().map(Lane::queued).sum(),
                    owed_rooms: state.lanes.values().map(Lane::owed_rooms).sum(),
                    failing_since: state.failing_since.map(|failing| failing.at),
                }
            })
            .collect();
        peers.sort_by(|one, other| one.server.cmp(&other.server));
        peers
    }

    /// How one of our authorities gets along with servers, in their order. While another process sends, it is known
    /// only when they were heard from.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn standings(
        &self,
        authority: &ServerName,
        servers: &[OwnedServerName],
    ) -> Result<Vec<Standing>, store::Error> {
        let names: Vec<&str> = servers.iter().map(|server| server.as_str()).collect();
        let heard = self.0.parts.store.get_many(&PEERS, &names).await?;
        let inner = self.0.at_work.read().clone();
        let (now, at) = (self.0.parts.clock.instant(), self.0.parts.clock.now());
        let standing = |server: &OwnedServerName, heard: Option<u64>| {
            let heard = heard.map(Timestamp);
            let destination = inner.as_ref().and_then(|inner| inner.destinations.lock().get(server).cloned());
            let Some(destination) = destination else { return Standing { heard, ..Standing::default() } };
            let state = destination.state.lock();
            let lane = state.lanes.get(authority);
            let wait = state.failing_since.map(|_| state.not_before.since(now));
            Standing {
                failing_since: state.failing_since.map(|failing| failing.at),
                retry_at: wait.map(|wait| at + wait),
                heard,
                queued: lane.map_or(0, Lane::queued),
                owed_rooms: lane.map_or(0, Lane::owed_rooms),
            }
        };
        Ok(servers.iter().zip(heard).map(|(server, heard)| standing(server, heard)).collect())
    }

    /// Tries this peer at once, whatever its back-off.
    pub fn retry_now(&self, server: &ServerName) {
        if let Some(inner) = self.0.at_work.read().as_ref() {
            inner.wake(server, Duration::ZERO);
        }
    }
}

/// How the sender gets along with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub server: OwnedServerName,
    /// Events in its queue.
    pub queued: usize,
    /// Rooms in which it lacks events that are in no queue.
    pub owed_rooms: usize,
    /// Since when transactions have failed, if they do.
    pub failing_since: Option<Timestamp>,
}

/// How one of our authorities gets along with a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when transactions of all of ours have failed, if they do.
    pub failing_since: Option<Timestamp>,
    /// When they are tried again, if they fail.
    pub retry_at: Option<Timestamp>,
    /// When the server was heard from: at most a day before it was last.
    pub heard: Option<Timestamp>,
    /// Events of the authority in the queue.
    pub queued: usize,
    /// Rooms in which the server lacks events of the authority that are in no queue.
    pub owed_rooms: usize,
}

impl Office {
    /// Sends for a term.
    async fn work(self: Arc<Self>, term: Term) -> Result<(), store::Error> {
        let Parts {
            config, store, rooms, presence, to_device, client, contacts, clock, random, tasks, ..
        } = &self.parts;
        let inner = Arc::new(Inner {
            healthy: Semaphore::new(config.healthy.max(1)),
            suspect: Semaphore::new(config.suspect.max(1)),
            strangers: Semaphore::new(config.strangers.max(1)),
            fanned: AtomicU64::new(term.cursor().0),
            makes_up: AtomicBool::new(term.missed().is_some()),
            term,
            config: config.clone(),
            store: store.clone(),
            rooms: rooms.clone(),
            presence: presence.clone(),
            to_device: to_device.clone(),
            client: client.clone(),
            contacts: contacts.clone(),
            clock: clock.clone(),
            random: random.clone(),
            tasks: tasks.clone(),
            caches: self.parts.metrics.caches().clone(),
            destinations: Mutex::default(),
            press: Press::default(),
            notes: Mutex::default(),
            counts: self.counts.clone(),
        });
        let peers = self.recall_peers().await?;
        inner.restore().await?;
        *self.at_work.write() = Some(inner.clone());
        let _at_work = AtWork(&self);

        // Who has stood by for long was here all the time.
        let is_back = clock.instant().since(self.started) < GREET_AFTER_START;
        if is_back && !self.greeted.swap(true, Ordering::AcqRel) {
            let greeter = inner.clone();
            tasks.spawn("federation greeting", async move {
                let ended = greeter.term.ended().clone();
                ended.run_until_cancelled(greeter.greet(peers)).await;
            });
        }
        let fan_out = inner.clone();
        let fan_out =
            tasks.spawn_restarting("federation fan-out", move || FanOut::new(fan_out.clone()).run());
        let listener = inner.clone();
        let listener = tasks.spawn_restarting("federation contacts", move || listener.clone().listen());
        let mut at_work = vec![fan_out, listener];
        if let Some(missed) = inner.term.missed() {
            let maker = inner.clone();
            let make_up = move || maker.clone().make_up(missed);
            at_work.push(tasks.spawn_restarting("federation making up", make_up));
        }
        at_work.push(tasks.spawn_restarting("federation cursor", move || inner.clone().keep()));
        for task in at_work {
            // A task that gave no result was ended from outside.
            task.await.ok();
        }
        Ok(())
    }

    /// Recalls whom we have heard from, and when.
    async fn recall_peers(&self) -> Result<Vec<(OwnedServerName, Timestamp)>, store::Error> {
        let rows = self.parts.store.scan(&PEERS, Range::all(), Order::Ascending, usize::MAX).await?;
        let peers: Vec<_> = rows
            .into_iter()
            .filter_map(|(peer, at)| Some((ServerName::parse(peer).ok()?, Timestamp(at))))
            .collect();
        self.parts.contacts.recall(peers.iter().map(|(peer, _)| peer.clone()));
        Ok(peers)
    }
}

/// While this lives, a sender is at work.
struct AtWork<'a>(&'a Office);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        *self.0.at_work.write() = None;
        self.0.counts.rest();
    }
}

impl Inner {
    fn position(&self) -> Position {
        Position(self.fanned.load(Ordering::Acquire))
    }

    fn destination(&self, name: &ServerName) -> Arc<Destination> {
        let mut destinations = self.destinations.lock();
        if let Some(known) = destinations.get(name) {
            return known.clone();
        }
        let is_stranger = !self.contacts.is_known(name);
        if is_stranger {
            self.make_room_for_stranger(&destinations);
        }
        let new =
            Arc::new(Destination::new(name.to_owned(), &self.config, is_stranger, self.clock.instant()));
        destinations.insert(name.to_owned(), new.clone());
        new
    }

    /// Has something to say to a server, also to one that was given up.
    fn with_destination(&self, name: &ServerName, act: impl FnOnce(&mut State)) -> Arc<Destination> {
        loop {
            let destination = self.destination(name);
            let mut state = destination.state.lock();
            if state.is_gone {
                continue;
            }
            state.is_given_up = false;
            act(&mut state);
            drop(state);
            return destination;
        }
    }

    /// Gives up the stranger that failed most, if there are too many.
    fn make_room_for_stranger(&self, destinations: &Destinations) {
        if destinations.len() < self.config.most_strangers {
            return;
        }
        let mut count = 0;
        let mut worst: Option<(u32, &Arc<Destination>)> = None;
        for destination in destinations.values() {
            let state = destination.state.lock();
            if !state.is_stranger || state.is_given_up {
                continue;
            }
            count += 1;
            let failures = state.backoff.failures();
            if worst.is_none_or(|(most, _)| failures > most) {
                worst = Some((failures, destination));
            }
        }
        if let Some((_, worst)) = worst.filter(|_| count >= self.config.most_strangers.max(1)) {
            self.give_up(worst, &mut worst.state.lock());
        }
    }

    /// Forgets what a server is owed. Who never answered has no need of it; should it be there after all, it
    /// asks for what it lacks when it hears of something newer.
    fn give_up(&self, destination: &Destination, state: &mut State) {
        debug!(destination = %destination.name, "a server that never answered is given up");
        state.lanes.values_mut().for_each(Lane::forget);
        state.greet.clear();
        state.is_given_up = true;
        // The worker need not wait for anything.
        state.not_before = self.clock.instant();
        destination.wake.notify_one();
        self.contacts.set_troubled(&destination.name, false);
        self.counts.given_up.inc();
    }

    /// Says that we are here again to the peers that may have something for us: those heard from not too
    /// long ago that are in a room with us. Whoever is in none is forgotten.
    async fn greet(self: Arc<Self>, peers: Vec<(OwnedServerName, Timestamp)>) {
        let mut with_us = match self.rooms.servers_in_our_rooms().await {
            Ok(servers) => servers,
            Err(error) => {
                warn!(%error, "the servers of our rooms cannot be read, so nobody is told that we are back");
                return;
            }
        };
        let now = self.clock.now();
        let mut batch = Batch::new();
        for (peer, heard) in peers {
            let Some(ours) = with_us.remove(&peer) else {
                batch.delete(&PEERS, peer.as_str());
                continue;
            };
            if now.since(heard) < GREET_WITHIN && self.client.may_contact(&peer) {
                let destination = self.with_destination(&peer, |state| state.greet = ours);
                self.serve_later(&destination);
            }
        }
        if !batch.is_empty()
            && let Err(error) = self.term.commit(batch).await
        {
            warn!(%error, "servers that are in no room of ours could not be forgotten");
        }
    }

    /// Serves a peer some time soon, so that after a start not all are tried at once.
    fn serve_later(self: &Arc<Self>, destination: &Arc<Destination>) {
        let wait = Duration::from_millis(self.random.range(0..self.config.spread.as_millis() as u64 + 1));
        destination.state.lock().not_before = self.clock.instant() + wait;
        self.serve(destination);
    }

    /// Hears of signs of life.
    async fn listen(self: Arc<Self>) {
        let stop = self.term.ended();
        while stop.run_until_cancelled(self.contacts.changed()).await.is_some() {
            for server in self.contacts.take_recovered() {
                if let Some(destination) = self.destinations.lock().get(&server) {
                    destination.state.lock().has_answered(&self.config);
                }
                self.wake(&server, SHORTEST_RETRY);
            }
        }
    }

    /// Tries a peer now, if it was not tried within `recently`.
    fn wake(&self, server: &ServerName, recently: Duration) {
        let Some(destination) = self.destinations.lock().get(server).cloned() else { return };
        {
            let mut state = destination.state.lock();
            let now = self.clock.instant();
            match state.last_attempt {
                // Too soon: then at the end of that time.
                Some(last) if now.since(last) < recently => {
                    state.not_before = state.not_before.min(last + recently);
                }
                _ => state.not_before = now,
            }
            state.backoff.reset();
        }
        destination.wake.notify_one();
    }
}
