//! A room as a plain model, and as the rest of the federation that a server under test talks to.
//!
//! [`World`] keeps every event with the whole state before and after it, and resolves with whole
//! states, the slow and plain way. Its users live on servers that exist only as keys. A server under
//! test joins through it, is sent events of it, and asks it for what it lacks ([`Federation`]).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use base::{Random, Timestamp};
use parking_lot::Mutex;
use pdu::{
    Authority, Draft, KeyRing, Pdu, RoomVersion,
    resolve::{StateMap, auth_chain, resolve},
};
use room::RemoteError;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedServerSigningKeyId,
    OwnedUserId, RoomAliasId, RoomId, RoomVersionId, ServerName, UInt, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    KeySource, Remote,
    pipeline::MAX_DEPTH,
    ports::{AliasAnswer, Joined, MissingEvents, StateEvents, StateIds, Template},
};

/// An event of the model.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) pdu: Pdu,
    pub(super) before: StateMap,
    pub(super) after: StateMap,
}

/// A room.
pub(super) struct World {
    pub(super) version: RoomVersion,
    pub(super) room_id: OwnedRoomId,
    /// All events by id; those that broke the rules are not among them.
    pub(super) events: HashMap<OwnedEventId, Known>,
    /// Their ids, parents first.
    pub(super) order: Vec<OwnedEventId>,
    /// Events without children.
    pub(super) tips: Vec<OwnedEventId>,
    /// Servers claim depths that are not so.
    pub(super) lies: bool,
    authorities: HashMap<OwnedServerName, Arc<Authority>>,
    pdus: HashMap<OwnedEventId, Pdu>,
}

/// A server of the model, or one under test, by its name; its key follows from the name.
pub(super) fn authority(name: &str) -> Authority {
    let mut seed = [7; 32];
    seed[..name.len().min(32)].copy_from_slice(&name.as_bytes()[..name.len().min(32)]);
    Authority::new(name.try_into().unwrap(), "a", &seed).unwrap()
}

pub(super) fn user(id: &str) -> OwnedUserId {
    UserId::parse(id).unwrap()
}

impl World {
    /// A room in which `users` take part; the first made it and is its administrator.
    pub(super) fn new(
        version: RoomVersion,
        servers: &[&str],
        users: &[OwnedUserId],
        random: &Random,
    ) -> Self {
        let authorities: HashMap<_, _> =
            servers.iter().map(|name| (name.parse_server(), Arc::new(authority(name)))).collect();
        let mut world = Self {
            version,
            room_id: RoomId::parse(format!("!room:{}", servers[0])).unwrap(),
            events: HashMap::new(),
            order: Vec::new(),
            tips: Vec::new(),
            lies: false,
            authorities,
            pdus: HashMap::new(),
        };
        let creator = &users[0];
        let mut create = json!({ "room_version": version.as_str() });
        if !version.has_hashed_room_id() && version.as_str() != "11" {
            create["creator"] = creator.as_str().into();
        }
        let create = world.state(creator, "m.room.create", "", &create, random);
        if version.has_hashed_room_id() {
            world.room_id = world.events[&create].pdu.room_id().to_owned();
        }
        world.state(creator, "m.room.member", creator.as_str(), &json!({"membership": "join"}), random);
        let mut levels: serde_json::Map<String, Value> = users[1..]
            .iter()
            .zip([50, 50, 75])
            .map(|(user, level)| (user.to_string(), level.into()))
            .collect();
        if !version.has_hashed_room_id() {
            levels.insert(creator.to_string(), 100.into());
        }
        world.state(creator, "m.room.power_levels", "", &json!({ "users": levels }), random);
        world.state(creator, "m.room.join_rules", "", &json!({"join_rule": "public"}), random);
        for user in &users[1..] {
            world.state(user, "m.room.member", user.as_str(), &json!({"membership": "join"}), random);
        }
        world
    }

    /// A state event on all tips that the room must allow.
    fn state(
        &mut self,
        sender: &UserId,
        kind: &str,
        key: &str,
        content: &Value,
        random: &Random,
    ) -> OwnedEventId {
        let draft = Draft::state(sender, StateEventType::from(kind), key, content).unwrap();
        let tips = self.tips.clone();
        let (pdu, before) = self.say(&draft, &tips, random);
        self.add(pdu, before).expect("the rules allow it")
    }

    /// Signs an event after `prev`, allowed or not; with the state before it.
    pub(super) fn say(&self, draft: &Draft, prev: &[OwnedEventId], random: &Random) -> (Pdu, StateMap) {
        let before = self.state_after(prev);
        let auth: Vec<_> = pdu::auth_types_of_draft(self.version, draft)
            .unwrap()
            .into_iter()
            .filter_map(|key| before.get(&key).cloned())
            .collect();
        let depth = match if self.lies { random.range(0..3) } else { 2 } {
            0 => MAX_DEPTH,
            1 => 1,
            _ => self.depth_on(prev),
        };
        let is_create = draft.kind == TimelineEventType::RoomCreate;
        let room_id = (!is_create || !self.version.has_hashed_room_id()).then_some(&*self.room_id);
        // Clocks of servers disagree, and ties happen.
        let at = MilliSecondsSinceUnixEpoch(UInt::new_saturating(1_700_000_000_000 + random.range(0..20)));
        let unsigned = pdu::build(self.version, draft, room_id, prev, &auth, depth, at).unwrap();
        let authority = &self.authorities[draft.sender.server_name()];
        (pdu::sign(unsigned, authority).unwrap().into_pdu(), before)
    }

    /// The depth of an event that follows these.
    fn depth_on(&self, prev: &[OwnedEventId]) -> u64 {
        let deepest = prev.iter().map(|id| self.events[id].pdu.depth()).max().unwrap_or(0);
        (deepest + 1).min(MAX_DEPTH)
    }

    /// Takes an event into the room, if the state before it allows it.
    pub(super) fn add(&mut self, pdu: Pdu, before: StateMap) -> Option<OwnedEventId> {
        let fetch = |kind: &StateEventType, key: &str| {
            before.get(&(kind.clone(), key.to_owned())).map(|id| self.events[id].pdu.clone())
        };
        pdu::check_auth(&pdu, &fetch).ok()?;
        let id = pdu.event_id().to_owned();
        let mut after = before.clone();
        if let Some(key) = pdu.state_key() {
            after.insert((pdu.kind().to_string().into(), key.to_owned()), id.clone());
        }
        self.tips.retain(|tip| !pdu.prev_events().contains(tip));
        self.tips.push(id.clone());
        self.order.push(id.clone());
        self.pdus.insert(id.clone(), pdu.clone());
        self.events.insert(id.clone(), Known { pdu, before, after });
        Some(id)
    }

    /// The state after several events.
    pub(super) fn state_after(&self, ids: &[OwnedEventId]) -> StateMap {
        let states: Vec<StateMap> = ids.iter().map(|id| self.events[id].after.clone()).collect();
        resolve(self.version, &states, &self.pdus).unwrap()
    }

    /// Adds a key for a server under test.
    pub(super) fn introduce(&mut self, name: &str) {
        self.authorities.insert(name.parse_server(), Arc::new(authority(name)));
    }

    fn raws<'a>(&self, ids: impl IntoIterator<Item = &'a OwnedEventId>) -> Vec<Box<RawValue>> {
        ids.into_iter().map(|id| raw(&self.pdus[id])).collect()
    }

    fn chain<'a>(&self, ids: impl IntoIterator<Item = &'a OwnedEventId>) -> HashSet<OwnedEventId> {
        let mut chain = auth_chain(ids.into_iter().cloned(), &self.pdus);
        // From version 12, nobody names the create event.
        chain.insert(self.order[0].clone());
        chain
    }

    fn ancestors(&self, question: &MissingEvents<'_>) -> Vec<OwnedEventId> {
        let mut seen: HashSet<OwnedEventId> = question.earliest.iter().cloned().collect();
        let mut found = Vec::new();
        let mut pending: Vec<_> = question.latest.iter().filter_map(|id| self.pdus.get(id)).collect();
        while let Some(pdu) = pending.pop() {
            for id in pdu.prev_events() {
                if found.len() < question.limit as usize && seen.insert(id.to_owned()) {
                    found.push(id.to_owned());
                    pending.push(&self.pdus[id]);
                }
            }
        }
        found.reverse();
        found
    }
}

pub(super) fn raw(pdu: &Pdu) -> Box<RawValue> {
    RawValue::from_string(String::from_utf8(pdu.json().to_vec()).unwrap()).unwrap()
}

trait ParseServer {
    fn parse_server(&self) -> OwnedServerName;
}

impl ParseServer for str {
    fn parse_server(&self) -> OwnedServerName {
        OwnedServerName::try_from(self).unwrap()
    }
}

/// The world as other servers show it.
#[derive(Clone)]
pub(super) struct Federation(pub(super) Arc<Mutex<World>>);

fn absent(server: &ServerName) -> RemoteError {
    RemoteError::Refused {
        server: server.to_owned(),
        status: 404,
        code: "M_NOT_FOUND".to_owned(),
        message: "no such event".to_owned(),
        room_version: None,
    }
}

#[async_trait]
impl Remote for Federation {
    async fn make_join(
        &self,
        _: &ServerName,
        _: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
        _: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        let world = self.0.lock();
        let content = json!({"membership": "join"});
        let draft = Draft::state(user_id, StateEventType::RoomMember, user_id.as_str(), &content).unwrap();
        let before = world.state_after(&world.tips);
        let auth: Vec<_> = pdu::auth_types_of_draft(world.version, &draft)
            .unwrap()
            .into_iter()
            .filter_map(|key| before.get(&key).cloned())
            .collect();
        let depth = world.depth_on(&world.tips);
        let at = MilliSecondsSinceUnixEpoch(UInt::new_saturating(1_700_000_000_000));
        let event =
            pdu::build(world.version, &draft, Some(room_id), &world.tips, &auth, depth, at).unwrap().to_raw();
        Ok(Template { version: Some(world.version.id()), event })
    }

    async fn send_join(
        &self,
        _: &ServerName,
        to: &ServerName,
        _: &RoomId,
        _: &EventId,
        event: &RawValue,
        _: bool,
    ) -> Result<Joined, RemoteError> {
        let mut world = self.0.lock();
        let pdu = Pdu::parse_raw(world.version, event).unwrap();
        let before = world.state_after(&pdu.prev_events().to_vec());
        let state = world.raws(before.values());
        let chain = world.chain(before.values());
        let auth_chain = world.raws(&chain);
        world.add(pdu, before).ok_or_else(|| absent(to))?;
        Ok(Joined { state, auth_chain, ..Joined::default() })
    }

    async fn make_leave(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &UserId,
    ) -> Result<Template, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn send_leave(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
        _: &RawValue,
    ) -> Result<(), RemoteError> {
        Err(RemoteError::Off)
    }

    async fn make_knock(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &UserId,
        _: &[RoomVersionId],
    ) -> Result<Template, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn send_knock(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
        _: &RawValue,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn invite(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &EventId,
        _: &RoomVersionId,
        _: &RawValue,
        _: &[Box<RawValue>],
    ) -> Result<Box<RawValue>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn get_missing_events(
        &self,
        _: &ServerName,
        _: &ServerName,
        question: MissingEvents<'_>,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        let world = self.0.lock();
        Ok(world.raws(&world.ancestors(&question)))
    }

    async fn state_ids(
        &self,
        _: &ServerName,
        to: &ServerName,
        _: &RoomId,
        event_id: &EventId,
    ) -> Result<StateIds, RemoteError> {
        let world = self.0.lock();
        let known = world.events.get(event_id).ok_or_else(|| absent(to))?;
        let auth_chain = world.chain(known.before.values()).into_iter().collect();
        Ok(StateIds { state: known.before.values().cloned().collect(), auth_chain })
    }

    async fn state(
        &self,
        _: &ServerName,
        to: &ServerName,
        _: &RoomId,
        event_id: &EventId,
    ) -> Result<StateEvents, RemoteError> {
        let world = self.0.lock();
        let known = world.events.get(event_id).ok_or_else(|| absent(to))?;
        let chain = world.chain(known.before.values());
        Ok(StateEvents { state: world.raws(known.before.values()), auth_chain: world.raws(&chain) })
    }

    async fn event(
        &self,
        _: &ServerName,
        to: &ServerName,
        event_id: &EventId,
    ) -> Result<Box<RawValue>, RemoteError> {
        self.0.lock().pdus.get(event_id).map(raw).ok_or_else(|| absent(to))
    }

    async fn event_auth(
        &self,
        _: &ServerName,
        to: &ServerName,
        _: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        let world = self.0.lock();
        let (id, _) = world.pdus.get_key_value(event_id).ok_or_else(|| absent(to))?;
        Ok(world.raws(&world.chain([id])))
    }

    async fn backfill(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomId,
        _: &[OwnedEventId],
        _: u32,
    ) -> Result<Vec<Box<RawValue>>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn query_directory(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &RoomAliasId,
    ) -> Result<AliasAnswer, RemoteError> {
        Err(RemoteError::Off)
    }
}

#[async_trait]
impl KeySource for Federation {
    async fn keys(&self, _: &[(OwnedServerName, OwnedServerSigningKeyId)], _: Timestamp) -> KeyRing {
        let mut ring = KeyRing::new();
        for authority in self.0.lock().authorities.values() {
            ring.insert_authority(authority);
        }
        ring
    }

    async fn held_keys(
        &self,
        wanted: &[(OwnedServerName, OwnedServerSigningKeyId)],
        at: Timestamp,
    ) -> KeyRing {
        self.keys(wanted, at).await
    }
}
