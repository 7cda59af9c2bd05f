//! Authorities and rooms for the tests: events with real keys, in memory.

use std::collections::HashMap;

use pdu::{
    AuthFailure, Authority, Draft, KeyRing, Pdu, RoomVersion, Unsigned, auth_types_of_draft, build,
    check_auth, check_auth_independent, resolve::StateMap, sign_part,
};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedServerName, UInt, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, json};

/// The authority of this server name, with a key that follows from the name.
pub(crate) fn authority(name: &str) -> Authority {
    let mut seed = [7; 32];
    for (index, byte) in name.bytes().enumerate() {
        seed[index % 32] ^= byte;
    }
    Authority::new(OwnedServerName::try_from(name).unwrap(), "k1", &seed).unwrap()
}

pub(crate) fn keys(names: &[&str]) -> KeyRing {
    let mut keys = KeyRing::new();
    for name in names {
        keys.insert_authority(&authority(name));
    }
    keys
}

pub(crate) fn user(id: &str) -> &UserId {
    <&UserId>::try_from(id).unwrap()
}

pub(crate) fn draft(sender: &str, kind: &str, key: Option<&str>, content: &Value) -> Draft {
    Draft {
        kind: TimelineEventType::from(kind),
        state_key: key.map(str::to_owned),
        content: serde_json::value::to_raw_value(content).unwrap(),
        sender: user(sender).to_owned(),
        redacts: None,
    }
}

pub(crate) const HANAKO: &str = "@hanako:kanazawa.test";
pub(crate) const TARO: &str = "@taro:wajima.test";
pub(crate) const JIRO: &str = "@jiro:ishikawa.test";

/// A room as one server sees it; cloning it is a fork.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) version: RoomVersion,
    pub(crate) events: HashMap<OwnedEventId, Pdu>,
    pub(crate) state: StateMap,
    tip: Vec<OwnedEventId>,
    depth: u64,
    clock: u32,
}

impl Room {
    /// A room that Hanako created, joined and has the power in.
    pub(crate) fn new(version: RoomVersion) -> Self {
        let mut room = Self::empty(version);
        let mut content = json!({ "room_version": version.as_str() });
        if version < RoomVersion::V11 {
            content["creator"] = HANAKO.into();
        }
        room.put(HANAKO, "m.room.create", Some(""), content);
        room.put(HANAKO, "m.room.member", Some(HANAKO), json!({ "membership": "join" }));
        let users = if version < RoomVersion::V12 { json!({ HANAKO: 100 }) } else { json!({}) };
        room.put(HANAKO, "m.room.power_levels", Some(""), json!({ "users": users }));
        room.put(HANAKO, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        room
    }

    pub(crate) fn empty(version: RoomVersion) -> Self {
        let (events, state, tip) = (HashMap::new(), StateMap::new(), Vec::new());
        Self { version, events, state, tip, depth: 0, clock: 1_000_000 }
    }

    /// Sets the time of the next event, to make forks differ.
    pub(crate) fn at(&mut self, clock: u32) -> &mut Self {
        self.clock = clock;
        self
    }

    /// Makes an event on the present state, signed by its sender's server, without judging it.
    pub(crate) fn make(&self, draft: &Draft) -> Pdu {
        let authority = authority(draft.sender.server_name().as_str());
        sign_part(self.build(draft), &authority).unwrap()
    }

    /// Builds an event on the present state.
    pub(crate) fn build(&self, draft: &Draft) -> Unsigned {
        let types = auth_types_of_draft(self.version, draft).unwrap();
        let auth: Vec<_> = types.iter().filter_map(|key| self.state.get(key).cloned()).collect();
        let create = self.state.get(&(StateEventType::RoomCreate, String::new()));
        let room_id = match create {
            Some(id) => Some(self.events[id].room_id().to_owned()),
            None if self.version.has_hashed_room_id() => None,
            None => Some(ruma::room_id!("!saigai:kanazawa.test").to_owned()),
        };
        let at = MilliSecondsSinceUnixEpoch(UInt::from(self.clock));
        build(self.version, draft, room_id.as_deref(), &self.tip, &auth, self.depth + 1, at).unwrap()
    }

    pub(crate) fn find(&self, kind: &StateEventType, key: &str) -> Option<Pdu> {
        self.state.get(&(kind.clone(), key.to_owned())).map(|id| self.events[id].clone())
    }

    /// Judges an event by its auth events and by the present state.
    pub(crate) fn judge(&self, pdu: &Pdu) -> Result<(), AuthFailure> {
        check_auth_independent(pdu, |id: &EventId| self.events.get(id).cloned())?;
        check_auth(pdu, &|kind, key| self.find(kind, key))
    }

    pub(crate) fn try_send(
        &mut self,
        sender: &str,
        kind: &str,
        key: Option<&str>,
        content: Value,
    ) -> Result<Pdu, AuthFailure> {
        let pdu = self.make(&draft(sender, kind, key, &content));
        self.judge(&pdu)?;
        self.accept(&pdu);
        Ok(pdu)
    }

    /// Sends an event that must be allowed.
    pub(crate) fn put(&mut self, sender: &str, kind: &str, key: Option<&str>, content: Value) -> Pdu {
        self.try_send(sender, kind, key, content).unwrap()
    }

    pub(crate) fn join(&mut self, who: &str) -> Pdu {
        self.put(who, "m.room.member", Some(who), json!({ "membership": "join" }))
    }

    fn accept(&mut self, pdu: &Pdu) {
        let id = pdu.event_id().to_owned();
        if let Some(key) = pdu.state_key() {
            let kind = StateEventType::from(pdu.kind().to_string());
            self.state.insert((kind, key.to_owned()), id.clone());
        }
        self.events.insert(id.clone(), pdu.clone());
        self.tip = vec![id];
        self.depth += 1;
        self.clock += 1;
    }
}
