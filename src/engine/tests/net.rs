//! Servers in one process for tests: real signatures, memory stores, and a network of function calls.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base::{Clock, ManualClock, Metrics, Random, Tasks, Timestamp};
use bytes::Bytes;
use parking_lot::Mutex;
use pdu::{Authorities, Authority, Draft, KeyRing, RoomVersion};
use room::{
    AllowAll, Error, Policy, RemoteError, Rooms,
    log::Entry,
    read::{event::StoredEvent, federation::Missing},
    tables::{Membership, TIMELINE},
};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedServerSigningKeyId, OwnedUserId, RoomAliasId,
    RoomId, RoomVersionId, ServerName, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, json, value::RawValue};
use store::{MemoryBackend, MemoryDisk, Options, Position, Store};

pub(super) use super::passing::within;
use crate::{
    Config, CreateRoom, Engine, InboxLimits, Joining, KeySource, Profile, Projection, ReceivedInvite, Remote,
    ThirdPartyInvite,
    ports::{AliasAnswer, Joined, MissingEvents, StateEvents, StateIds, Template},
    tables::{INBOX, WAITING, WaitingRow},
};

/// All servers, and the wires between them.
#[derive(Clone, Default)]
pub(super) struct Net(Arc<NetInner>);

#[derive(Default)]
struct NetInner {
    peers: Mutex<HashMap<OwnedServerName, Engine>>,
    ring: Mutex<KeyRing>,
    /// No server can be reached while set.
    cut: AtomicBool,
    /// `get_missing_events` is answered with nothing while set.
    mute: AtomicBool,
    /// `send_join` is answered without members while set, whoever asks for what.
    short: AtomicBool,
    /// States are told to nobody while set.
    shy: AtomicBool,
    /// What is done to events that come back signed.
    forge: Mutex<Option<Forge>>,
    /// Requests to these are never answered.
    silent: Mutex<HashSet<OwnedServerName>>,
    /// Requests to these wait so long on the servers' clock before they are answered.
    slow: Mutex<HashMap<OwnedServerName, Duration>>,
    /// For when keys were wanted last.
    keys_until: Mutex<Timestamp>,
    /// How often keys were wanted.
    keys_wanted: AtomicUsize,
    /// What was asked of whom, one entry a request.
    asked: Mutex<Vec<String>>,
    /// Auth chains that are told instead of the true ones, by the server asked.
    told_chains: Mutex<HashMap<OwnedServerName, Vec<Box<RawValue>>>>,
    /// What everybody gives as missing events instead of the true ones.
    told_missing: Mutex<Option<Vec<Box<RawValue>>>>,
    /// States before events that are told instead of the true ones, whoever is asked.
    told_states: Mutex<HashMap<OwnedEventId, Vec<OwnedEventId>>>,
    /// The time of servers started from now on.
    clock: Mutex<Option<Clock>>,
    /// The policy and the further indexes of servers started from now on.
    policy: Mutex<Option<Arc<dyn Policy>>>,
    projections: Mutex<Vec<Arc<dyn Projection>>>,
    /// What is done to answers to `send_join`.
    joined: Mutex<Option<Arc<ForgeJoined>>>,
    /// Joins are taken, and their answers lost, while set.
    lossy: AtomicBool,
    /// Answers to `send_join` wait while somebody holds it.
    joins: Arc<tokio::sync::RwLock<()>>,
}

/// Changes an event on its way back.
pub(super) type Forge = fn(&mut Value);

/// Changes what lets a server into a room, on its way.
pub(super) type ForgeJoined = dyn Fn(&mut Joined) + Send + Sync;

/// A running server.
pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) rooms: Rooms,
    pub(super) store: Store,
    pub(super) disk: MemoryDisk,
    names: Vec<&'static str>,
    tasks: Tasks,
    sent: Mutex<HashMap<String, Position>>,
}

pub(super) fn authority(name: &str) -> Authority {
    let mut seed = [7; 32];
    seed.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    Authority::new(OwnedServerName::try_from(name).unwrap(), "1", &seed).unwrap()
}

impl Net {
    /// Starts a server with these authorities.
    pub(super) async fn server(&self, names: &[&'static str]) -> Server {
        self.server_on(names, &MemoryDisk::default()).await
    }

    /// Starts a server over data that an earlier one left.
    pub(super) async fn server_on(&self, names: &[&'static str], disk: &MemoryDisk) -> Server {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(MemoryBackend::open(disk));
        let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
        self.server_over(names, disk, store).await
    }

    /// Starts a server on a store that another one may use too.
    pub(super) async fn server_over(
        &self,
        names: &[&'static str],
        disk: &MemoryDisk,
        store: Store,
    ) -> Server {
        let config = Config { default_version: RoomVersion::V11, ..Config::default() };
        self.server_with(names, disk, store, config).await
    }

    /// Starts a server with other bounds.
    pub(super) async fn small_server(&self, names: &[&'static str], limits: InboxLimits) -> Server {
        let disk = MemoryDisk::default();
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let backend = Arc::new(MemoryBackend::open(&disk));
        let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
        let config = Config { default_version: RoomVersion::V11, inbox_limits: limits, ..Config::default() };
        self.server_with(names, &disk, store, config).await
    }

    async fn server_with(
        &self,
        names: &[&'static str],
        disk: &MemoryDisk,
        store: Store,
        config: Config,
    ) -> Server {
        for name in names {
            self.0.ring.lock().insert_authority(&authority(name));
        }
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let clock = self.0.clock.lock().clone().unwrap_or_else(Clock::system);
        let policy = self.0.policy.lock().clone().unwrap_or_else(|| Arc::new(AllowAll));
        let projections = self.0.projections.lock().clone();
        let engine = Engine::open(crate::Parts {
            store: store.clone(),
            config,
            authorities: Arc::new(Authorities::new(names.iter().map(|name| authority(name)))),
            clock,
            random: Random::os(),
            policy,
            projections,
            remote: Arc::new(self.clone()),
            keys: Arc::new(self.clone()),
            tasks: &tasks,
            metrics: &metrics,
        })
        .await
        .unwrap();
        for name in names {
            self.0.peers.lock().insert(OwnedServerName::try_from(*name).unwrap(), engine.clone());
        }
        let rooms = engine.rooms().clone();
        Server {
            engine,
            rooms,
            store,
            disk: disk.clone(),
            names: names.to_vec(),
            tasks,
            sent: Mutex::default(),
        }
    }

    pub(super) fn cut(&self, cut: bool) {
        self.0.cut.store(cut, Ordering::SeqCst);
    }

    pub(super) fn mute(&self, mute: bool) {
        self.0.mute.store(mute, Ordering::SeqCst);
    }

    /// Joins are answered without members, and nobody tells states, so that they stay away.
    pub(super) fn keep_members(&self) {
        self.0.short.store(true, Ordering::SeqCst);
        self.0.shy.store(true, Ordering::SeqCst);
    }

    /// Joins are taken from now on, and their answers lost.
    pub(super) fn lose_joins(&self, lose: bool) {
        self.0.lossy.store(lose, Ordering::SeqCst);
    }

    /// States are told again, and members with joins.
    pub(super) fn tell_members(&self) {
        self.0.short.store(false, Ordering::SeqCst);
        self.0.shy.store(false, Ordering::SeqCst);
    }

    /// Has answers to `send_join` changed.
    pub(super) fn forge_joined(&self, forge: Option<Arc<ForgeJoined>>) {
        *self.0.joined.lock() = forge;
    }

    /// From now on, events that come back signed are changed.
    pub(super) fn forge(&self, forge: Forge) {
        *self.0.forge.lock() = Some(forge);
    }

    fn forged(&self, event: Box<RawValue>) -> Box<RawValue> {
        let Some(forge) = *self.0.forge.lock() else { return event };
        let mut value = serde_json::from_str(event.get()).unwrap();
        forge(&mut value);
        RawValue::from_string(value.to_string()).unwrap()
    }

    /// Servers started from now on live by this clock.
    pub(super) fn set_clock(&self, clock: Clock) {
        *self.0.clock.lock() = Some(clock);
    }

    /// Servers started from now on ask this policy.
    pub(super) fn set_policy(&self, policy: Arc<dyn Policy>) {
        *self.0.policy.lock() = Some(policy);
    }

    /// Servers started from now on keep this index.
    pub(super) fn add_projection(&self, projection: Arc<dyn Projection>) {
        self.0.projections.lock().push(projection);
    }

    /// Requests to this server are never answered.
    pub(super) fn silence(&self, server: &str) {
        self.0.silent.lock().insert(OwnedServerName::try_from(server).unwrap());
    }

    pub(super) fn unsilence(&self, server: &str) {
        self.0.silent.lock().remove(<&ServerName>::try_from(server).unwrap());
    }

    /// Every request to this server is answered after so long, on the clock of the test.
    pub(super) fn slow_down(&self, server: &str, time: Duration) {
        self.0.slow.lock().insert(OwnedServerName::try_from(server).unwrap(), time);
    }

    /// How often keys of other servers were wanted so far, that is: how many bites were verified.
    pub(super) fn keys_wanted(&self) -> usize {
        self.0.keys_wanted.load(Ordering::SeqCst)
    }

    fn give_keys(&self, until: Timestamp) -> KeyRing {
        self.0.keys_wanted.fetch_add(1, Ordering::SeqCst);
        *self.0.keys_until.lock() = until;
        self.0.ring.lock().clone()
    }

    /// For when the last keys that were wanted must be believable.
    pub(super) fn keys_until(&self) -> Timestamp {
        *self.0.keys_until.lock()
    }

    /// What was asked so far: `request server`, one entry each.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().clone()
    }

    /// Makes a key known without a server.
    pub(super) fn know_key(&self, server: &str) {
        self.0.ring.lock().insert_authority(&authority(server));
    }

    /// This server tells this auth chain from now on, whatever it is asked about.
    pub(super) fn tell_chain(&self, server: &str, chain: Vec<Box<RawValue>>) {
        self.0.told_chains.lock().insert(OwnedServerName::try_from(server).unwrap(), chain);
    }

    /// From now on, everybody tells this state before an event.
    pub(super) fn tell_state(&self, event_id: &EventId, state: Vec<OwnedEventId>) {
        self.0.told_states.lock().insert(event_id.to_owned(), state);
    }

    /// From now on, everybody gives these events as missing ones.
    pub(super) fn tell_missing(&self, events: Vec<Box<RawValue>>) {
        *self.0.told_missing.lock() = Some(events);
    }

    /// Notes a request for what events lack.
    fn note(&self, request: &str, to: &ServerName) {
        self.0.asked.lock().push(format!("{request} {to}"));
    }

    /// Lets servers that start from now on live by a clock of the test's.
    pub(super) fn steer_clock(&self) -> ManualClock {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        self.set_clock(clock);
        hand
    }

    /// Joins are accepted, but their answers wait until this is dropped.
    pub(super) async fn hold_joins(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.0.joins.clone().write_owned().await
    }

    /// A server is gone for good.
    pub(super) fn forget(&self, server: &str) {
        self.0.peers.lock().remove(<&ServerName>::try_from(server).unwrap());
    }

    fn answered(&self, to: &ServerName) -> Result<(), RemoteError> {
        if self.0.lossy.load(Ordering::SeqCst) { Err(unreachable(to)) } else { Ok(()) }
    }

    async fn peer(&self, to: &ServerName) -> Result<Engine, RemoteError> {
        if self.0.silent.lock().contains(to) {
            std::future::pending::<()>().await;
        }
        let slow = self.0.slow.lock().get(to).copied();
        if let Some(time) = slow {
            let clock = self.0.clock.lock().clone().unwrap_or_else(Clock::system);
            clock.sleep(time).await;
        }
        if self.0.cut.load(Ordering::SeqCst) {
            return Err(unreachable(to));
        }
        self.0.peers.lock().get(to).cloned().ok_or_else(|| unreachable(to))
    }
}

fn unreachable(to: &ServerName) -> RemoteError {
    RemoteError::Unreachable { server: to.to_owned(), cause: "no such peer".to_owned() }
}

fn refused(to: &ServerName, error: &Error) -> RemoteError {
    let code = match error {
        Error::UnableToAuthoriseJoin => "M_UNABLE_TO_AUTHORISE_JOIN",
        Error::UnableToGrantJoin => "M_UNABLE_TO_GRANT_JOIN",
        Error::Forbidden(_) | Error::NotAllowed(_) | Error::AclDenied(_) => "M_FORBIDDEN",
        _ => "M_UNKNOWN",
    };
    RemoteError::Refused {
        server: to.to_owned(),
        status: if code == "M_FORBIDDEN" { 403 } else { 400 },
        code: code.to_owned(),
        message: error.to_string(),
        room_version: None,
    }
}

fn raw(bytes: &Bytes) -> Box<RawValue> {
    RawValue::from_string(String::from_utf8(bytes.to_vec()).unwrap()).unwrap()
}

#[async_trait]
impl Remote for Net {
    async fn make_join(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        let made = self
            .peer(to)
            .await?
            .make_member_template(from, room_id, user_id, Membership::Join, versions)
            .await
            .map_err(|error| refused(to, &error))?;
        Ok(Template { version: Some(made.version.id()), event: made.event })
    }

    async fn send_join(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
        omit_members: bool,
    ) -> Result<Joined, RemoteError> {
        let omit_members = omit_members || self.0.short.load(Ordering::SeqCst);
        let accepted = self
            .peer(to)
            .await?
            .accept_join(from, room_id, event_id, event, omit_members)
            .await
            .map_err(|error| refused(to, &error))?;
        drop(self.0.joins.read().await);
        self.answered(to)?;
        let mut joined = Joined {
            state: accepted.state.iter().map(raw).collect(),
            auth_chain: accepted.auth_chain.iter().map(raw).collect(),
            event: Some(self.forged(accepted.event)),
            members_omitted: accepted.members_omitted,
            servers_in_room: accepted.servers_in_room,
        };
        let forge = self.0.joined.lock().clone();
        if let Some(forge) = forge {
            forge(&mut joined);
        }
        Ok(joined)
    }

    async fn make_leave(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Template, RemoteError> {
        let made = self
            .peer(to)
            .await?
            .make_member_template(from, room_id, user_id, Membership::Leave, &[])
            .await
            .map_err(|error| refused(to, &error))?;
        Ok(Template { version: Some(made.version.id()), event: self.forged(made.event) })
    }

    async fn send_leave(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<(), RemoteError> {
        let peer = self.peer(to).await?;
        peer.accept_leave(from, room_id, event_id, event).await.map_err(|error| refused(to, &error))
    }

    async fn make_knock(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        versions: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        let made = self
            .peer(to)
            .await?
            .make_member_template(from, room_id, user_id, Membership::Knock, versions)
            .await
            .map_err(|error| refused(to, &error))?;
        Ok(Template { version: Some(made.version.id()), event: made.event })
    }

    async fn send_knock(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        let told = self.peer(to).await?.accept_knock(from, room_id, event_id, event).await;
        self.answered(to)?;
        told.map_err(|error| refused(to, &error))
    }

    async fn invite(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        version: &RoomVersionId,
        event: &RawValue,
        invite_room_state: &[Box<RawValue>],
    ) -> Result<Box<RawValue>, RemoteError> {
        let invite = ReceivedInvite {
            room_id: room_id.to_owned(),
            event_id: event_id.to_owned(),
            version: version.to_string(),
            event: event.to_owned(),
            invite_room_state: invite_room_state.to_vec(),
        };
        let signed = self.peer(to).await?.receive_invite(from, invite).await;
        signed.map(|event| self.forged(event)).map_err(|error| refused(to, &error))
    }

    async fn exchange_third_party_invite(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event: &RawValue,
    ) -> Result<(), RemoteError> {
        let event: Value = serde_json::from_str(event.get()).unwrap();
        let invite = &event["content"]["third_party_invite"];
        let text = |key: &str| event[key].as_str().unwrap();
        let invite = ThirdPartyInvite {
            room_id: room_id.to_owned(),
            sender: text("sender").try_into().unwrap(),
            target: text("state_key").try_into().unwrap(),
            display_name: None,
            signed: serde_json::value::to_raw_value(&invite["signed"]).unwrap(),
        };
        let exchanged = self.peer(to).await?.exchange_third_party_invite(from, &invite).await;
        exchanged.map_err(|error| refused(to, &error))
    }

    async fn get_missing_events(
        &self,
        from: &ServerName,
        to: &ServerName,
        question: MissingEvents<'_>,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        self.note("get_missing_events", to);
        if self.0.mute.load(Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        if let Some(told) = self.0.told_missing.lock().clone() {
            return Ok(told);
        }
        let missing = Missing {
            earliest: question.earliest,
            latest: question.latest,
            limit: usize::try_from(question.limit).unwrap(),
            min_depth: question.min_depth,
        };
        let events =
            self.peer(to).await?.rooms().missing_events_for_server(from, question.room_id, &missing).await;
        Ok(events.map_err(|error| refused(to, &error))?.iter().map(raw).collect())
    }

    async fn state_ids(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateIds, RemoteError> {
        self.note("state_ids", to);
        if let Some(state) = self.0.told_states.lock().get(event_id).cloned() {
            return Ok(StateIds { state, auth_chain: Vec::new() });
        }
        let ids = self.peer(to).await?.state_ids_for_server(from, room_id, event_id).await;
        ids.map_err(|error| refused(to, &error))
    }

    async fn state(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateEvents, RemoteError> {
        self.note("state", to);
        if self.0.shy.load(Ordering::SeqCst) {
            return Err(refused(to, &Error::Busy));
        }
        let told = self.0.told_states.lock().get(event_id).cloned();
        if let Some(told) = told {
            let events = self.peer(to).await?.rooms().events_by_id(&told).await.unwrap();
            let state = events.iter().flatten().map(|event| event.pdu().to_raw()).collect();
            return Ok(StateEvents { state, auth_chain: Vec::new() });
        }
        let state = self.peer(to).await?.state_for_server(from, room_id, event_id).await;
        let state = state.map_err(|error| refused(to, &error))?;
        Ok(StateEvents {
            state: state.state.iter().map(raw).collect(),
            auth_chain: state.auth_chain.iter().map(raw).collect(),
        })
    }

    async fn event(
        &self,
        from: &ServerName,
        to: &ServerName,
        event_id: &EventId,
    ) -> Result<Box<RawValue>, RemoteError> {
        self.note("event", to);
        let event = self.peer(to).await?.rooms().event_for_server(from, event_id).await;
        Ok(raw(&event.map_err(|error| refused(to, &error))?))
    }

    async fn event_auth(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        self.note("event_auth", to);
        let told = self.0.told_chains.lock().get(to).cloned();
        if let Some(told) = told {
            return Ok(told);
        }
        let chain = self.peer(to).await?.auth_chain_for_server(from, room_id, event_id).await;
        let chain = chain.map_err(|error| refused(to, &error))?;
        Ok(chain.iter().map(raw).collect())
    }

    async fn backfill(
        &self,
        from: &ServerName,
        to: &ServerName,
        room_id: &RoomId,
        events: &[OwnedEventId],
        limit: u32,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        let limit = usize::try_from(limit).unwrap();
        let events = self.peer(to).await?.rooms().backfill_for_server(from, room_id, events, limit).await;
        Ok(events.map_err(|error| refused(to, &error))?.iter().map(raw).collect())
    }

    async fn query_directory(
        &self,
        _: &ServerName,
        to: &ServerName,
        alias: &RoomAliasId,
    ) -> Result<AliasAnswer, RemoteError> {
        let answer = self.peer(to).await?.local_alias(alias).await.map_err(|error| refused(to, &error))?;
        answer.ok_or_else(|| refused(to, &Error::NotFound(alias.to_string())))
    }
}

#[async_trait]
impl KeySource for Net {
    async fn keys(&self, _: &[(OwnedServerName, OwnedServerSigningKeyId)], at: Timestamp) -> KeyRing {
        self.give_keys(at)
    }

    async fn held_keys(&self, _: &[(OwnedServerName, OwnedServerSigningKeyId)], at: Timestamp) -> KeyRing {
        self.give_keys(at)
    }
}

pub(super) fn user(id: &str) -> OwnedUserId {
    OwnedUserId::try_from(id).unwrap()
}

pub(super) fn message(sender: &UserId, body: &str) -> Draft {
    let content = json!({ "msgtype": "m.text", "body": body });
    Draft::message(sender, TimelineEventType::RoomMessage, &content).unwrap()
}

pub(super) fn state(sender: &UserId, kind: &str, key: &str, content: &Value) -> Draft {
    Draft::state(sender, StateEventType::from(kind), key, content).unwrap()
}

impl Server {
    /// Ends the server as a crash would: what it is doing is not finished. Gives its disk.
    pub(super) async fn crash(self) -> MemoryDisk {
        self.tasks.stop(std::time::Duration::ZERO).await;
        self.disk
    }

    /// A public room.
    pub(super) async fn public_room(&self, creator: &UserId) -> OwnedRoomId {
        self.room_of(creator, RoomVersion::V11).await
    }

    pub(super) async fn room_of(&self, creator: &UserId, version: RoomVersion) -> OwnedRoomId {
        let wishes = CreateRoom {
            version: Some(version),
            preset: crate::Preset::PublicChat,
            name: Some("石川県 災害連絡".to_owned()),
            ..CreateRoom::default()
        };
        self.engine.create(creator, wishes).await.unwrap()
    }

    pub(super) async fn join(&self, who: &UserId, room: &RoomId, via: &str) -> Result<(), Error> {
        let via = [OwnedServerName::try_from(via).unwrap()];
        self.engine.join(who, room, &via, Joining::default()).await
    }

    pub(super) async fn invite(&self, sender: &UserId, room: &RoomId, target: &UserId) -> Result<(), Error> {
        self.engine.invite(sender, room, target, &Profile::default(), None).await
    }

    pub(super) async fn say(&self, sender: &UserId, room: &RoomId, body: &str) -> OwnedEventId {
        self.engine.send(room, message(sender, body), None).await.unwrap()
    }

    /// What a user is in a room, by the room's state.
    pub(super) async fn membership(&self, who: &UserId, room: &RoomId) -> Option<Membership> {
        let room = self.rooms.room(room).await.unwrap()?;
        self.rooms.membership_in(&room, who).await.unwrap()
    }

    /// Bodies of the room's messages, oldest first.
    pub(super) async fn bodies(&self, room: &RoomId) -> Vec<String> {
        let events = self.timeline(room).await;
        let body = |event: &Arc<StoredEvent>| {
            let content: Value = serde_json::from_str(event.pdu().content_str()).unwrap();
            (event.kind() == "m.room.message").then(|| content["body"].as_str().unwrap_or("").to_owned())
        };
        events.iter().filter_map(body).collect()
    }

    /// The events of the room's timeline, oldest first, as they are in the store.
    pub(super) async fn timeline(&self, room: &RoomId) -> Vec<Arc<StoredEvent>> {
        let room = self.rooms.room(room).await.unwrap().unwrap();
        let range = store::Range::prefix(&room.serial);
        let rows = self.store.scan(&TIMELINE, range, store::Order::Ascending, usize::MAX).await.unwrap();
        let serials: Vec<_> = rows.into_iter().map(|(_, row)| (room.serial, row.event)).collect();
        self.rooms.load_uncached(&serials).await.unwrap().into_iter().map(Option::unwrap).collect()
    }

    /// The current state: event ids by type and key.
    pub(super) async fn state(&self, room: &RoomId) -> Vec<(String, String, OwnedEventId)> {
        let room = self.rooms.room(room).await.unwrap().unwrap();
        let head = self.rooms.get_head(&room).await.unwrap();
        let state = self.rooms.all_state(room.serial, head.current).await.unwrap();
        let mut all: Vec<_> = state
            .iter()
            .map(|event| {
                let key = event.state_key().unwrap().to_owned();
                (event.kind().to_owned(), key, event.event_id().to_owned())
            })
            .collect();
        all.sort();
        all
    }

    /// The PDUs that must go to another server, since this was asked last for it.
    pub(super) async fn outgoing(&self, to: &str) -> Vec<Box<RawValue>> {
        let since = self.sent.lock().get(to).copied().unwrap_or_default();
        let changes = self.store.changes(since, usize::MAX).await.unwrap();
        let mut events = Vec::new();
        for change in &changes {
            self.sent.lock().insert(to.to_owned(), change.position);
            let Some(Entry::Event(entry)) = Entry::decode(change.kind, &change.payload).unwrap() else {
                continue;
            };
            if !entry.outgoing {
                continue;
            }
            let servers = self.rooms.servers_in_room(entry.room).await.unwrap();
            let is_target = entry.member.as_ref().is_some_and(|(user, _)| user.server_name() == to);
            if !is_target && !servers.iter().any(|server| server == to) {
                continue;
            }
            let event = self.rooms.load_all(entry.room, &[entry.event]).await.unwrap().remove(0);
            if event.sender().server_name() != to {
                events.push(event.pdu().to_raw());
            }
        }
        events
    }

    /// Sends what is to be sent to another server, and waits until that server has worked on it.
    pub(super) async fn deliver(&self, to: &Server) {
        for name in &to.names {
            let pdus = self.outgoing(name).await;
            to.receive(self.names[0], &pdus).await;
        }
    }

    /// Receives PDUs and waits until the inbox is empty.
    pub(super) async fn receive(&self, origin: &str, pdus: &[Box<RawValue>]) {
        let origin = OwnedServerName::try_from(origin).unwrap();
        for part in pdus.chunks(50) {
            self.engine.receive_transaction(&origin, part).await.unwrap();
        }
        self.settled().await;
    }

    /// Waits until every received PDU has come to its end, or was tried in vain.
    pub(super) async fn settled(&self) {
        settled(&self.store).await;
    }
}

/// Waits until every received PDU of a store has come to its end, or was tried in vain.
pub(super) async fn settled(store: &Store) {
    loop {
        let inbox = store.scan(&INBOX, store::Range::all(), store::Order::Ascending, 1).await.unwrap();
        let waiting = store.scan(&WAITING, store::Range::all(), store::Order::Ascending, usize::MAX);
        let is_done = |row: &WaitingRow| row.tries > 0 || row.is_parked();
        if inbox.is_empty() && waiting.await.unwrap().iter().all(|(_, row)| is_done(row)) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
