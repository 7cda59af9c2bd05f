//! Several servers in one process: real rooms, signatures, routes and senders; a network in memory that
//! can be cut.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use account::{Accounts, NewUser};
use async_trait::async_trait;
use base::{Clock, Metrics, Random, Tasks};
use bytes::Bytes;
use encryption::{Encryption, NoPeers};
use engine::{CreateRoom, Engine, InboxLimits, Joining, Preset, Profile};
use federation::{
    Config, Federation, Parts, Peering, Peers, Sender, SenderConfig, Transport, TransportError,
};
use hostile::Hostile;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use pdu::{Authorities, Authority, Draft};
use room::{
    AllowAll, Rooms,
    read::{
        event::StoredEvent,
        timeline::{Direction, Stretch},
        token::Token,
    },
};
use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId, events::TimelineEventType,
};
use store::{
    Backend, CommitError, Interposed, MemoryBackend, MemoryDisk, Options, Order, RawBatch, RawCommitted,
    RawRange, RawRow, RowKey, Store, Topic,
};
use to_device::{Contacts, ToDevice};
use tower::ServiceExt;
use web::{Body, Faces, Kit, Router, TokenCheck};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The network: who can be reached, and what has been asked of whom.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<Wires>>);

#[derive(Default)]
struct Wires {
    routers: HashMap<OwnedServerName, Router>,
    hostile: HashMap<OwnedServerName, Hostile>,
    /// Requests to these are refused.
    cut: HashSet<OwnedServerName>,
    /// Requests to these are never answered.
    silent: HashSet<OwnedServerName>,
    /// Requests to these have no end at all, whatever time passes.
    deaf: HashSet<OwnedServerName>,
    /// Transactions that hold this text are refused for good.
    poison: Option<&'static str>,
    asked: Vec<String>,
}

impl Net {
    /// Lets a hostile server be reached by its name.
    pub(crate) fn add(&self, hostile: &Hostile) {
        self.0.lock().hostile.insert(hostile.name().to_owned(), hostile.clone());
    }

    pub(crate) fn cut(&self, server: &str) {
        self.0.lock().cut.insert(name(server));
    }

    pub(crate) fn silence(&self, server: &str) {
        self.0.lock().silent.insert(name(server));
    }

    pub(crate) fn deafen(&self, server: &str) {
        self.0.lock().deaf.insert(name(server));
    }

    pub(crate) fn mend(&self, server: &str) {
        let mut wires = self.0.lock();
        wires.cut.remove(&name(server));
        wires.silent.remove(&name(server));
    }

    pub(crate) fn refuse_transactions_with(&self, text: &'static str) {
        self.0.lock().poison = Some(text);
    }

    /// What was asked so far: `server method path`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.lock().asked.clone()
    }

    pub(crate) async fn request(
        &self,
        server: &str,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let server = name(server);
        let path = request.uri().path();
        let line = format!("{server} {} {path}", request.method());
        let (hostile, is_deaf) = {
            let mut wires = self.0.lock();
            wires.asked.push(line);
            let hostile = wires.hostile.get(&server).filter(|_| !wires.cut.contains(&server)).cloned();
            (hostile, wires.deaf.contains(&server))
        };
        if is_deaf {
            std::future::pending::<()>().await;
        }
        if let Some(hostile) = hostile {
            return hostile.carry(request).await;
        }
        let router = {
            let wires = self.0.lock();
            let router = wires.routers.get(&server).cloned();
            let text = String::from_utf8_lossy(request.body());
            if path.contains("/send/") && wires.poison.is_some_and(|poison| text.contains(poison)) {
                let mut answer = Response::new(Bytes::from_static(br#"{"errcode":"M_BAD_JSON"}"#));
                *answer.status_mut() = http::StatusCode::BAD_REQUEST;
                return Ok(answer);
            }
            if wires.cut.contains(&server) || router.is_none() {
                return Err(TransportError::Connect("nobody is there".to_owned()));
            }
            router.filter(|_| !wires.silent.contains(&server))
        };
        let Some(router) = router else {
            let deadline = Duration::from_secs(30);
            tokio::time::sleep(deadline).await;
            return Err(TransportError::Deadline(deadline));
        };
        let host = http::HeaderValue::from_str(server.as_str()).unwrap();
        request.headers_mut().insert(header::HOST, host);
        let response = router.oneshot(request.map(Body::from)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

#[async_trait]
impl Transport for Net {
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        self.request(destination.as_str(), request).await
    }
}

pub(crate) fn name(server: &str) -> OwnedServerName {
    ServerName::parse(server).unwrap()
}

pub(crate) fn user(id: &str) -> OwnedUserId {
    UserId::parse(id).unwrap()
}

/// A memory disk that a crash can be played on, after which nothing more is written; and that can be away,
/// when nothing is read.
struct Mortal {
    inner: MemoryBackend,
    is_dead: Arc<AtomicBool>,
    is_away: Arc<AtomicBool>,
    /// Rows and ranges that were read.
    reads: Arc<AtomicUsize>,
    /// Rows of those ranges.
    scanned: Arc<AtomicUsize>,
}

impl Mortal {
    fn is_there(&self) -> Result<(), store::Error> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(store::Error::unavailable("read rows", "the back end is away")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Interposed for Mortal {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, store::Error> {
        self.is_there()?;
        self.reads.fetch_add(keys.len(), Ordering::Relaxed);
        self.inner.get(keys).await
    }

    async fn scan(
        &self,
        ranges: &[RawRange],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Vec<RawRow>>, store::Error> {
        self.is_there()?;
        self.reads.fetch_add(ranges.len(), Ordering::Relaxed);
        let found = self.inner.scan(ranges, order, limit).await?;
        self.scanned.fetch_add(found.iter().map(Vec::len).sum(), Ordering::Relaxed);
        Ok(found)
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        if self.is_dead.load(Ordering::SeqCst) {
            return batches.iter().map(|_| Err(CommitError::Store(store::Error::Closed))).collect();
        }
        self.inner.commit(batches).await
    }
}

/// A server with one or more authorities.
pub(crate) struct Node {
    pub(crate) names: Vec<OwnedServerName>,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) to_device: ToDevice,
    pub(crate) sender: Sender,
    /// What it asks other servers with.
    pub(crate) peering: Peering,
    pub(crate) metrics: Metrics,
    /// Every endpoint that other servers can ask.
    pub(crate) endpoints: Vec<(Method, String)>,
    net: Net,
    disk: MemoryDisk,
    is_dead: Arc<AtomicBool>,
    is_away: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    scanned: Arc<AtomicUsize>,
    tasks: Tasks,
    config: SenderConfig,
    inbox: InboxLimits,
    clock: Clock,
}

pub(crate) fn sender_config() -> SenderConfig {
    SenderConfig {
        first_retry: Duration::from_millis(20),
        spread: Duration::from_millis(20),
        ..SenderConfig::default()
    }
}

pub(crate) fn authority(server: &str) -> Authority {
    Authority::new(name(server), "1", &seed(server)).unwrap()
}

/// What the signing key of a server is made of.
pub(crate) fn seed(server: &str) -> [u8; 32] {
    let mut seed = [0; 32];
    for (at, byte) in server.bytes().enumerate() {
        seed[at % 32] ^= byte;
    }
    seed
}

/// Nobody is kept out.
struct Everybody;

impl Contacts for Everybody {
    fn may_contact(&self, _: &ServerName) -> bool {
        true
    }

    fn is_known(&self, _: &ServerName) -> bool {
        true
    }
}

impl Node {
    pub(crate) async fn start(net: &Net, names: &[&str]) -> Self {
        Self::with_names(net, names, sender_config(), Clock::system()).await
    }

    pub(crate) async fn with_queue(net: &Net, server: &str, queue: usize) -> Self {
        let config = SenderConfig { queue, ..sender_config() };
        Self::with(net, server, config, Clock::system()).await
    }

    pub(crate) async fn with(net: &Net, server: &str, config: SenderConfig, clock: Clock) -> Self {
        Self::with_names(net, &[server], config, clock).await
    }

    pub(crate) async fn with_names(net: &Net, names: &[&str], config: SenderConfig, clock: Clock) -> Self {
        let names = names.iter().map(|server| name(server)).collect();
        Self::open(net, names, MemoryDisk::default(), config, InboxLimits::default(), clock).await
    }

    /// Starts a server in whose rooms so much may wait.
    pub(crate) async fn with_inbox(net: &Net, server: &str, inbox: InboxLimits) -> Self {
        let (names, disk) = (vec![name(server)], MemoryDisk::default());
        Self::open(net, names, disk, sender_config(), inbox, Clock::system()).await
    }

    async fn open(
        net: &Net,
        names: Vec<OwnedServerName>,
        disk: MemoryDisk,
        config: SenderConfig,
        inbox: InboxLimits,
        clock: Clock,
    ) -> Self {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let random = Random::os();
        let is_dead = Arc::new(AtomicBool::new(false));
        let is_away = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicUsize::new(0));
        let scanned = Arc::new(AtomicUsize::new(0));
        let backend = Arc::new(Mortal {
            inner: MemoryBackend::open(&disk),
            is_dead: is_dead.clone(),
            is_away: is_away.clone(),
            reads: reads.clone(),
            scanned: scanned.clone(),
        });
        let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
        let authorities = Arc::new(Authorities::new(names.iter().map(|name| authority(name.as_str()))));
        let settings = Config { peers: Peers::Everybody, sender: config.clone(), ..Config::default() };
        let federation = Federation::open(Parts {
            config: settings,
            store: store.clone(),
            authorities: authorities.clone(),
            policy: Arc::new(room::AllowAll),
            transport: Arc::new(net.clone()),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &tasks,
            metrics: &metrics,
        });
        let engine = Engine::open(engine::Parts {
            store: store.clone(),
            config: engine::Config { inbox_limits: inbox, ..engine::Config::default() },
            authorities: authorities.clone(),
            clock: clock.clone(),
            random: random.clone(),
            policy: Arc::new(AllowAll),
            projections: Vec::new(),
            remote: federation.remote(),
            keys: federation.key_source(),
            tasks: &tasks,
            metrics: &metrics,
        })
        .await
        .unwrap();
        let accounts_config =
            account::Config { password: account::PasswordCost::cheapest(), ..account::Config::default() };
        let accounts = Accounts::open(
            store.clone(),
            engine.clone(),
            accounts_config,
            clock.clone(),
            random.clone(),
            &tasks,
            &metrics,
        )
        .await
        .unwrap();
        let tokens: Arc<dyn TokenCheck> = Arc::new(accounts.clone());
        let mut faces = names.iter().map(|name| (name.clone(), Vec::new()));
        let faces = Faces::new(faces.next().unwrap(), faces);
        let kit = Kit::new(tokens, federation.signature_check(), faces, clock.clone(), &random, &metrics);
        let to_device = ToDevice::open(to_device::Parts {
            store: store.clone(),
            accounts: accounts.clone(),
            authorities: authorities.clone(),
            contacts: Arc::new(Everybody),
            kept: std::time::Duration::from_secs(90 * 24 * 60 * 60),
            memory: base::ByteSize::mib(1),
            clock: clock.clone(),
            random: random.clone(),
            tasks: &tasks,
            metrics: &metrics,
        });
        let encryption = Encryption::open(encryption::Parts {
            tells_names: false,
            store: store.clone(),
            rooms: engine.rooms().clone(),
            accounts: accounts.clone(),
            peers: Arc::new(NoPeers),
            clock: clock.clone(),
            random: random.clone(),
            memory: base::ByteSize::mib(1),
            metrics: &metrics,
        });
        let routes = federation.routes(&engine, &accounts, &to_device, &encryption);
        let endpoints = routes.endpoints();
        let router = web::router(routes, Arc::new(kit)).unwrap();
        {
            let mut wires = net.0.lock();
            for name in &names {
                wires.routers.insert(name.clone(), router.clone());
            }
        }
        let sender = federation.start_sender(engine.rooms(), accounts.presence(), &to_device).await.unwrap();
        Self {
            names,
            store,
            rooms: engine.rooms().clone(),
            engine,
            accounts,
            to_device,
            sender,
            peering: federation.peering().clone(),
            metrics,
            endpoints,
            net: net.clone(),
            disk,
            is_dead,
            is_away,
            reads,
            scanned,
            tasks,
            config,
            inbox,
            clock,
        }
    }

    /// From now on nothing can be read from its disk.
    pub(crate) fn take_disk_away(&self) {
        self.is_away.store(true, Ordering::SeqCst);
    }

    /// Ends the server as SIGKILL would, and starts it again from its disk.
    pub(crate) async fn crash_and_restart(self) -> Self {
        let config = self.config.clone();
        self.crash_and_restart_with(config).await
    }

    /// The same, with other settings from then on.
    pub(crate) async fn crash_and_restart_with(self, config: SenderConfig) -> Self {
        self.is_dead.store(true, Ordering::SeqCst);
        {
            let mut wires = self.net.0.lock();
            for name in &self.names {
                wires.routers.remove(name);
            }
        }
        self.tasks.stop(Duration::ZERO).await;
        Self::open(&self.net, self.names, self.disk, config, self.inbox, self.clock).await
    }

    /// How many rows and ranges of the store were read so far.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many rows of ranges were read so far.
    pub(crate) fn scanned(&self) -> usize {
        self.scanned.load(Ordering::Relaxed)
    }

    pub(crate) async fn create_room(&self, creator: &str) -> OwnedRoomId {
        let wishes = CreateRoom { preset: Preset::PublicChat, ..CreateRoom::default() };
        self.engine.create(&user(creator), wishes).await.unwrap()
    }

    /// Makes the account of a user of this server.
    pub(crate) async fn make_account(&self, who: &str) {
        let who = user(who);
        let new = NewUser { localpart: who.localpart().to_owned(), ..NewUser::default() };
        self.accounts.create_user(who.server_name(), new, &account::Actor::operator("test")).await.unwrap();
    }

    pub(crate) async fn invite(&self, sender: &str, room: &RoomId, target: &str) {
        let profile = Profile::default();
        self.engine.invite(&user(sender), room, &user(target), &profile, None).await.unwrap();
    }

    pub(crate) async fn join(&self, who: &str, room: &RoomId, via: &str) {
        self.engine.join(&user(who), room, &[name(via)], Joining::default()).await.unwrap();
    }

    pub(crate) async fn say(&self, who: &str, room: &RoomId, text: &str) {
        let content = serde_json::json!({ "msgtype": "m.text", "body": text });
        let draft = Draft::message(&user(who), TimelineEventType::RoomMessage, &content).unwrap();
        self.engine.send(room, draft, None).await.unwrap();
    }

    pub(crate) async fn events(&self, room: &RoomId) -> Vec<Arc<StoredEvent>> {
        let Some(info) = self.rooms.room(room).await.unwrap() else { return Vec::new() };
        let stretch = Stretch { room: info.serial, after: Token::START, through: Token::END };
        let rows = self.rooms.timeline(stretch, Direction::Forward, 10_000).await.unwrap();
        let rows: Vec<_> = rows.into_iter().map(|row| (info.serial, row)).collect();
        self.rooms.events_of(&rows).await.unwrap()
    }

    /// What was said in a room, in the order of this server's timeline.
    pub(crate) async fn said(&self, room: &RoomId) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Content {
            body: String,
        }
        let events = self.events(room).await;
        let messages = events.iter().filter(|event| event.kind() == "m.room.message");
        messages.map(|event| event.pdu().content_as::<Content>().unwrap().body).collect()
    }

    /// Waits until `what` is so, looking again whenever something happens in the room.
    pub(crate) async fn until(&self, room: &RoomId, what: impl AsyncFn() -> bool) {
        let wait = async {
            loop {
                let mut watch = self.store.watch(vec![Topic::room(room.as_str())]);
                if what().await {
                    return;
                }
                // Not everything that is waited for is an event of the room.
                tokio::time::timeout(Duration::from_millis(50), watch.changed()).await.ok();
            }
        };
        let done = tokio::time::timeout(PATIENCE, wait).await;
        assert!(done.is_ok(), "{:?} waited in vain; said: {:?}", self.names, self.said(room).await);
    }

    pub(crate) async fn until_said(&self, room: &RoomId, expected: &[&str]) {
        self.until(room, async || self.said(room).await.len() >= expected.len()).await;
        assert_eq!(self.said(room).await, expected);
    }

    pub(crate) async fn membership(&self, room: &RoomId, who: &str) -> Option<room::tables::Membership> {
        let info = self.rooms.room(room).await.unwrap()?;
        self.rooms.membership_in(&info, &user(who)).await.unwrap()
    }
}
