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
//! What happens in a crash: the cursor stands at a place before which everything has been delivered
//! or is in [`OWED`], written in the same commit. From there the log is read again. So an event may be
//! sent twice, which its receiver sees by its id, but none is lost.
//!
//! Reading order: [`lane`] (queue and what is owed, as plain values), [`transaction`], `presence`, `fan_out`, `worker`,
//! `catch_up`, `persist`.

mod catch_up;
mod fan_out;
mod lane;
mod persist;
mod presence;
mod transaction;
mod worker;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Backoff, Clock, Counter, CounterFamily, Gauge, Metrics, Random, Tasks, Timestamp};
use parking_lot::Mutex;
use room::Rooms;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use store::{Moved, Order, Position, Range, Store, Topic};
use tokio::sync::{Notify, Semaphore};

use self::{fan_out::FanOut, lane::Lane};
use crate::{
    client::Client,
    config::SenderConfig,
    contacts::Contacts,
    tables::{OWED, PEERS},
};

/// The name of the fan-out's cursor in the store.
const CURSOR: &str = "federation.sender";

/// A peer that has failed for so long is behind: its queue is dropped.
const BEHIND_AFTER: Duration = Duration::from_secs(60);

/// A sign of life makes us try at once, but not more often than this.
const SHORTEST_RETRY: Duration = Duration::from_millis(500);

/// What a sender is made of.
pub(crate) struct Parts {
    pub(crate) config: SenderConfig,
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) client: Client,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
}

/// The running sender. Cheap to clone; it runs until its tasks are stopped.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

pub(crate) struct Inner {
    config: SenderConfig,
    store: Store,
    rooms: Rooms,
    client: Client,
    contacts: Arc<Contacts>,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    destinations: Mutex<HashMap<OwnedServerName, Arc<Destination>>>,
    /// How far the log has been read.
    fanned: AtomicU64,
    healthy: Semaphore,
    suspect: Semaphore,
    counts: Counts,
}

struct Counts {
    transactions: CounterFamily,
    events: Counter,
    queued: Gauge,
    owed_rooms: Gauge,
    behind: Gauge,
    troubled: Gauge,
    lag: Gauge,
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
    failing_since: Option<Timestamp>,
    last_attempt: Timestamp,
    /// Whether a worker serves it.
    is_served: bool,
    /// Whether to send an empty transaction, so that the peer notices that we are here again.
    greet: bool,
    /// No attempt before this.
    not_before: Timestamp,
}

impl Destination {
    fn new(name: OwnedServerName, config: &SenderConfig) -> Self {
        let state = State {
            lanes: BTreeMap::new(),
            backoff: Backoff::new(config.first_retry, config.longest_retry),
            failing_since: None,
            last_attempt: Timestamp(0),
            is_served: false,
            greet: false,
            not_before: Timestamp(0),
        };
        Self { name, state: Mutex::new(state), wake: Notify::new() }
    }
}

impl Sender {
    /// Reads what is owed to whom and starts to send.
    pub(crate) async fn start(parts: Parts) -> Result<Self, store::Error> {
        let Parts { config, store, rooms, client, contacts, clock, random, tasks, metrics } = parts;
        let cursor = store.cursor(CURSOR).await?;
        let gauge = |name, help| metrics.gauge(name, help);
        let counts = Counts {
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
            lag: gauge(
                "yakuba_federation_fan_out_lag_positions",
                "Positions of the log that the sender has not read",
            ),
        };
        let inner = Arc::new(Inner {
            healthy: Semaphore::new(config.healthy.max(1)),
            suspect: Semaphore::new(config.suspect.max(1)),
            config,
            store,
            rooms,
            client,
            contacts,
            clock,
            random,
            tasks: tasks.clone(),
            destinations: Mutex::default(),
            fanned: AtomicU64::new(cursor.0),
            counts,
        });
        inner.restore().await?;
        inner.greet_peers().await?;

        let fan_out = inner.clone();
        tasks.spawn_restarting("federation fan-out", move || FanOut::new(fan_out.clone()).run());
        let listener = inner.clone();
        tasks.spawn_restarting("federation contacts", move || listener.clone().listen());
        let keeper = inner.clone();
        tasks.spawn_restarting("federation cursor", move || keeper.clone().keep());
        Ok(Self(inner))
    }

    /// How far the log of changes has been read; later events are not yet in any queue.
    pub fn position(&self) -> Position {
        Position(self.0.fanned.load(Ordering::Acquire))
    }

    /// Whether everything that was in the log when this was called has been delivered to everybody,
    /// as far as memory tells. For tests and a graceful stop.
    pub fn is_idle(&self) -> bool {
        let read = self.position();
        let is_read =
            read >= self.0.store.head() || self.0.store.moved(Topic::destination("*"), read) == Moved::No;
        let destinations: Vec<_> = self.0.destinations.lock().values().cloned().collect();
        is_read
            && destinations.iter().all(|destination| {
                let state = destination.state.lock();
                state.lanes.values().all(Lane::is_idle)
            })
    }

    /// How the sender gets along with each peer that it has something for, or had.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let destinations: Vec<_> = self.0.destinations.lock().values().cloned().collect();
        let mut peers: Vec<PeerStatus> = destinations
            .iter()
            .map(|destination| {
                let state = destination.state.lock();
                PeerStatus {
                    server: destination.name.clone(),
                    queued: state.lanes.values().map(Lane::queued).sum(),
                    owed_rooms: state.lanes.values().map(Lane::owed_rooms).sum(),
                    failing_since: state.failing_since,
                }
            })
            .collect();
        peers.sort_by(|one, other| one.server.cmp(&other.server));
        peers
    }

    /// Tries this peer at once, whatever its back-off.
    pub fn retry_now(&self, server: &ServerName) {
        self.0.wake(server, Duration::ZERO);
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

impl Inner {
    fn destination(&self, name: &ServerName) -> Arc<Destination> {
        let mut destinations = self.destinations.lock();
        if let Some(known) = destinations.get(name) {
            return known.clone();
        }
        let new = Arc::new(Destination::new(name.to_owned(), &self.config));
        destinations.insert(name.to_owned(), new.clone());
        new
    }

    /// Takes up what peers were owed when the process ended.
    async fn restore(self: &Arc<Self>) -> Result<(), store::Error> {
        type Rooms = BTreeMap<OwnedRoomId, Position>;
        let mut lanes: BTreeMap<(String, String), Rooms> = BTreeMap::new();
        let rows = self.store.scan(&OWED, Range::all(), Order::Ascending, usize::MAX).await?;
        for ((from, to, room), after) in rows {
            // Written by us from ids, so they read back as ids.
            if let Ok(room) = RoomId::parse(room) {
                lanes.entry((from, to)).or_default().insert(room, after);
            }
        }
        let head = self.store.head();
        for ((from, to), rooms) in lanes {
            let (Ok(from), Ok(to)) = (ServerName::parse(from), ServerName::parse(to)) else { continue };
            if self.client.authorities().is_ours(&from) && self.client.may_contact(&to) {
                let destination = self.destination(&to);
                destination.state.lock().lanes.insert(from, Lane::restored(rooms, head));
                self.serve_later(&destination);
            }
        }
        Ok(())
    }

    /// Says to every known peer that we are here again: one that has something for us may be waiting.
    async fn greet_peers(self: &Arc<Self>) -> Result<(), store::Error> {
        let peers = self.store.scan(&PEERS, Range::all(), Order::Ascending, usize::MAX).await?;
        for (peer, _) in peers {
            let Ok(peer) = ServerName::parse(peer) else { continue };
            if self.client.may_contact(&peer) {
                let destination = self.destination(&peer);
                destination.state.lock().greet = true;
                self.serve_later(&destination);
            }
        }
        Ok(())
    }

    /// Serves a peer some time soon, so that after a start not all are tried at once.
    fn serve_later(self: &Arc<Self>, destination: &Arc<Destination>) {
        let wait = Duration::from_millis(self.random.range(0..self.config.spread.as_millis() as u64 + 1));
        destination.state.lock().not_before = self.clock.now() + wait;
        self.serve(destination);
    }

    /// Hears of signs of life.
    async fn listen(self: Arc<Self>) {
        let stop = self.tasks.shutdown_token();
        while stop.run_until_cancelled(self.contacts.changed()).await.is_some() {
            for server in self.contacts.take_recovered() {
                self.wake(&server, SHORTEST_RETRY);
            }
        }
    }

    /// Tries a peer now, if it was not tried within `recently`.
    fn wake(&self, server: &ServerName, recently: Duration) {
        let Some(destination) = self.destinations.lock().get(server).cloned() else { return };
        {
            let mut state = destination.state.lock();
            let now = self.clock.now();
            if now.since(state.last_attempt) < recently {
                // Too soon: then at the end of that time.
                state.not_before = state.not_before.min(state.last_attempt + recently);
            } else {
                state.not_before = now;
            }
            state.backoff.reset();
        }
        destination.wake.notify_one();
    }
}
