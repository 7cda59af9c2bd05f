//! [`Engine`]: the handle through which everything in rooms is said and received.

use std::sync::Arc;

use audit::{Action, Actor, Deed};
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use pdu::{Authorities, Authority};
use quick_cache::sync::Cache;
use room::{
    Error, Policy, Rooms,
    ids::{EventSerial, InboxSerial, RoomSerial, StateKeySerial},
    memory::Shares,
    snapshot::Snapshots,
};
use ruma::{OwnedEventId, ServerName, UserId};
use store::{Sequence, Store};

use crate::{
    KeySource, Projection, Remote,
    delays::{DelayLimits, DelayedRooms},
    graph::Kept,
    head::Lives,
    history::Backfills,
    inbound::{InboxLimits, peers::Peers, seats::Seats, workers::Workers},
    outside::Outside,
    ports::{Invitees, Namesakes},
    state::Resolver,
    under_way::UnderWay,
    upgrade::UPGRADES_AT_ONCE,
};

/// Bounds of the room engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Version of new rooms when the creator names none.
    pub default_version: pdu::RoomVersion,
    /// Memory for all caches of the engine; each has a share.
    pub memory: ByteSize,
    /// How many rooms' inboxes are worked on at the same time.
    pub inbox_workers: usize,
    /// How many received PDUs may wait; above it, transactions are refused.
    pub inbox_limits: InboxLimits,
    /// How many missing events are fetched for one received event at most.
    pub fetch_limit: usize,
    /// How many servers are tried for a join.
    pub join_attempts: usize,
    /// How long events may be delayed, and how many.
    pub delays: DelayLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_version: pdu::RoomVersion::DEFAULT,
            memory: ByteSize::mib(64),
            inbox_workers: 16,
            inbox_limits: InboxLimits::default(),
            fetch_limit: 200,
            join_attempts: 8,
            delays: DelayLimits::default(),
        }
    }
}

/// How many ids that no event can have are remembered.
const MOST_OVERFULL: usize = 1_024;

/// Memory for the auth graphs of rooms.
const GRAPH_BYTES: u64 = 12 << 20;

/// What the engine is made of.
pub struct Parts<'a> {
    /// Where everything is kept.
    pub store: Store,
    /// Bounds.
    pub config: Config,
    /// Our server names with their keys.
    pub authorities: Arc<Authorities>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Who may do what.
    pub policy: Arc<dyn Policy>,
    /// Indexes that others keep of events, each in the event's own batch.
    pub projections: Vec<Arc<dyn Projection>>,
    /// The way to other servers.
    pub remote: Arc<dyn Remote>,
    /// Where keys come from.
    pub keys: Arc<dyn KeySource>,
    /// Who runs the engine's tasks.
    pub tasks: &'a Tasks,
    /// Where it counts.
    pub metrics: &'a Metrics,
}

/// What writes the rooms of this process. Cheap to clone.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    /// What is stored of rooms, as readers see it.
    rooms: Rooms,
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) projections: Vec<Arc<dyn Projection>>,
    /// The turns of those who upgrade rooms.
    pub(crate) upgrades: [tokio::sync::Mutex<()>; UPGRADES_AT_ONCE],
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) keys: Arc<dyn KeySource>,
    pub(crate) tasks: Tasks,
    pub(crate) resolver: Resolver,
    /// What events refer to for their right.
    pub(crate) auth_kept: Kept,
    pub(crate) lives: Lives,
    pub(crate) workers: Workers,
    pub(crate) seats: Seats,
    pub(crate) peers: Peers,
    pub(crate) under_way: Arc<UnderWay>,
    /// Ids that others name and that no event can have; see [`pdu::Pdu::id_of_overfull`].
    pub(crate) overfull: Cache<OwnedEventId, ()>,
    pub(crate) outside: Outside,
    pub(crate) backfills: Backfills,
    /// Who knows whose invites our users take.
    pub(crate) invitees: std::sync::OnceLock<Arc<dyn Invitees>>,
    /// Who makes users and aliases that somebody looks for.
    pub(crate) namesakes: std::sync::OnceLock<Arc<dyn Namesakes>>,
    /// Which rooms may have delayed state.
    pub(crate) delayed_rooms: DelayedRooms,
    pub(crate) serials: Serials,
    pub(crate) metrics: RoomMetrics,
}

/// Where new serials come from.
pub(crate) struct Serials {
    rooms: Sequence,
    events: Sequence,
    state_keys: Sequence,
    inbox: Sequence,
}

/// What the engine counts.
pub(crate) struct RoomMetrics {
    pub(crate) sent: base::Counter,
    pub(crate) received: base::CounterFamily,
    pub(crate) purges: base::Gauge,
    pub(crate) purged_rows: base::Counter,
    pub(crate) people_passed_over: base::Counter,
    pub(crate) reclaimed_chunks: base::Counter,
    pub(crate) reclaimed_bytes: base::Counter,
    pub(crate) resolutions: base::Counter,
}

impl Engine {
    /// Opens the room engine over a store, and goes on with PDUs received before the last stop.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be read.
    pub async fn open(parts: Parts<'_>) -> Result<Self, Error> {
        let Parts {
            store,
            config,
            authorities,
            clock,
            random,
            policy,
            projections,
            remote,
            keys,
            tasks,
            metrics,
        } = parts;
        let serials = Serials {
            rooms: store.sequence("room.rooms"),
            events: store.sequence("room.events"),
            state_keys: store.sequence("room.state_keys"),
            inbox: store.sequence("room.inbox"),
        };
        let (caches, shares) = (metrics.caches(), Shares::of(config.memory));
        let rooms = Rooms::open(room::Parts {
            store: store.clone(),
            memory: config.memory,
            authorities: authorities.clone(),
            clock: clock.clone(),
            random: random.clone(),
            policy: policy.clone(),
            tasks,
            metrics,
        })
        .await?;
        let inner = Inner {
            rooms,
            resolver: Resolver::new(),
            auth_kept: Kept::new(GRAPH_BYTES),
            lives: Lives::new(caches, shares.tips),
            workers: Workers::new(config.inbox_workers, config.inbox_limits),
            seats: Seats::new(),
            peers: Peers::default(),
            under_way: Arc::default(),
            overfull: Cache::new(MOST_OVERFULL),
            outside: Outside::default(),
            backfills: Backfills::default(),
            invitees: std::sync::OnceLock::new(),
            namesakes: std::sync::OnceLock::new(),
            delayed_rooms: DelayedRooms::default(),
            metrics: RoomMetrics {
                sent: metrics.counter("yakuba_room_events_sent", "Events made here"),
                received: metrics.counter_family("yakuba_room_events_received", "PDUs received, by verdict"),
                purges: metrics.gauge("yakuba_room_purges", "Rooms that are being purged, by this process"),
                purged_rows: metrics.counter("yakuba_room_purged_rows", "Rows that went with purged rooms"),
                people_passed_over: metrics.counter(
                    "yakuba_room_people_passed_over",
                    "Members of rooms who are not listed since what is stored of them is damaged",
                ),
                reclaimed_chunks: metrics.counter(
                    "yakuba_room_reclaimed_chunks",
                    "Chunks of rooms' states that were taken away since nothing led to them",
                ),
                reclaimed_bytes: metrics.counter("yakuba_room_reclaimed_bytes", "Bytes that those had"),
                resolutions: metrics
                    .counter("yakuba_room_resolutions", "States resolved that were not remembered"),
            },
            store,
            config,
            authorities,
            clock,
            random,
            policy,
            projections,
            upgrades: Default::default(),
            remote,
            keys,
            tasks: tasks.clone(),
            serials,
        };
        let engine = Self(Arc::new(inner));
        engine.resume_inbox().await?;
        engine.start_adopting();
        engine.start_voiding();
        engine.start_filling();
        engine.start_forgetting();
        engine.start_telling();
        Ok(engine)
    }

    /// What is stored of rooms, as readers see it.
    pub fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    /// The version of rooms whose creators say nothing of it.
    #[must_use]
    pub fn default_version(&self) -> pdu::RoomVersion {
        self.0.config.default_version
    }

    /// The store below.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The trees of room state.
    pub(crate) fn snapshots(&self) -> &Snapshots {
        self.0.rooms.snapshots()
    }

    /// What is remembered between state resolutions.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.0.resolver
    }

    /// The server names of this process.
    pub(crate) fn authorities(&self) -> &Authorities {
        &self.0.authorities
    }

    /// Whether a user lives on this process.
    pub(crate) fn is_local(&self, user: &UserId) -> bool {
        self.0.authorities.is_ours(user.server_name())
    }

    /// Whether a server name is one of this process.
    pub(crate) fn is_ours(&self, server: &ServerName) -> bool {
        self.0.authorities.is_ours(server)
    }

    /// The authority that speaks for a user.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when the user lives elsewhere.
    pub(crate) fn authority_of(&self, user: &UserId) -> Result<&Arc<Authority>, Error> {
        self.0.authorities.find(user.server_name()).ok_or_else(|| Error::NotOurs(user.to_owned()))
    }

    /// A deed at this moment, for the audit log.
    pub(crate) fn deed(&self, what: Action, by: &Actor, whom: &str) -> Deed {
        self.0.rooms.deed(what, by, whom)
    }

    /// Now, in ms since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now().millis()
    }

    pub(crate) async fn new_room_serial(&self) -> Result<RoomSerial, Error> {
        Ok(RoomSerial(self.0.serials.rooms.next().await.map_err(Error::Commit)?))
    }

    pub(crate) async fn new_event_serial(&self) -> Result<EventSerial, Error> {
        Ok(EventSerial(self.0.serials.events.next().await.map_err(Error::Commit)?))
    }

    pub(crate) async fn new_state_key_serial(&self) -> Result<StateKeySerial, Error> {
        Ok(StateKeySerial(self.0.serials.state_keys.next().await.map_err(Error::Commit)?))
    }

    pub(crate) async fn new_inbox_serial(&self) -> Result<InboxSerial, Error> {
        Ok(InboxSerial(self.0.serials.inbox.next().await.map_err(Error::Commit)?))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
