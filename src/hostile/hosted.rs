//! [`Hosted`]: a room that the hostile server takes part in, or has made.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    forge::{Event, event_id},
    hostile::Hostile,
};

/// A room as the hostile server knows it: enough to make events that everybody takes.
///
/// It does not follow the room by itself. What others say comes to [`Hosted::see`]; what it makes by
/// [`Hosted::event`] it has seen.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// The server's own.
    pub(crate) hostile: Hostile,
    /// The room.
    pub id: OwnedRoomId,
    /// Its version.
    pub version: String,
    /// The state: the event and its id by type and state key.
    pub state: BTreeMap<(String, String), (String, Value)>,
    /// The auth chain of the state.
    pub auth_chain: Vec<Value>,
    /// What the next event follows.
    pub latest: Vec<String>,
    /// The depth of the last event.
    pub depth: u64,
}

impl Hosted {
    pub(crate) fn new(hostile: &Hostile, id: &RoomId, version: &str) -> Self {
        Self {
            hostile: hostile.clone(),
            id: id.to_owned(),
            version: version.to_owned(),
            state: BTreeMap::new(),
            auth_chain: Vec::new(),
            latest: Vec::new(),
            depth: 0,
        }
    }

    /// Takes note of an event of somebody: the next one follows it.
    pub fn see(&mut self, event: &Value) {
        let id = event_id(&self.version, event);
        self.depth = self.depth.max(event["depth"].as_u64().unwrap_or_default());
        let before = event["prev_events"].as_array().cloned().unwrap_or_default();
        self.latest.retain(|known| !before.contains(&json!(known)));
        self.latest.push(id);
        self.note_state(event);
    }

    /// Takes note of a state event without following it.
    pub(crate) fn note_state(&mut self, event: &Value) {
        if let (Some(kind), Some(key)) = (event["type"].as_str(), event["state_key"].as_str()) {
            let entry = (event_id(&self.version, event), event.clone());
            self.state.insert((kind.to_owned(), key.to_owned()), entry);
        }
    }

    /// A right event of a user of this server on top of the room, signed, and seen.
    ///
    /// `user` is a localpart. The auth events are those that the specification selects.
    pub fn event(&mut self, user: &str, kind: &str, state_key: Option<&str>, content: Value) -> Event {
        let draft = self.draft(user, kind, state_key, content);
        let event = self.hostile.sign(&self.version, draft);
        self.see(&event.json);
        event
    }

    /// A message of a user of this server.
    pub fn message(&mut self, user: &str, text: &str) -> Event {
        self.event(user, "m.room.message", None, json!({ "msgtype": "m.text", "body": text }))
    }

    /// What [`Hosted::event`] makes, before it is signed and seen.
    pub fn draft(&self, user: &str, kind: &str, state_key: Option<&str>, content: Value) -> Value {
        let sender = self.hostile.user(user);
        let auth_events = self.auth_events(sender.as_str(), kind, state_key, &content);
        let mut event = json!({
            "type": kind,
            "room_id": self.id,
            "sender": sender,
            "content": content,
            "auth_events": auth_events,
            "prev_events": self.latest,
            "depth": self.depth + 1,
            "origin_server_ts": self.hostile.now(),
        });
        if let Some(key) = state_key {
            event["state_key"] = json!(key);
        }
        event
    }

    /// The ids of the events that give a sender the right to an event.
    pub fn auth_events(
        &self,
        sender: &str,
        kind: &str,
        state_key: Option<&str>,
        content: &Value,
    ) -> Vec<String> {
        let mut wanted = vec![("m.room.power_levels", ""), ("m.room.member", sender)];
        // Where the room's id is the hash of its create event, that is not named again.
        if self.id.as_str().contains(':') {
            wanted.push(("m.room.create", ""));
        }
        if let (true, Some(target)) = (kind == "m.room.member", state_key) {
            if matches!(content["membership"].as_str(), Some("join" | "invite" | "knock")) {
                wanted.push(("m.room.join_rules", ""));
            }
            if target != sender {
                wanted.push(("m.room.member", target));
            }
        }
        let find = |(kind, key): (&str, &str)| self.state.get(&(kind.to_owned(), key.to_owned()));
        wanted.into_iter().filter_map(|which| Some(find(which)?.0.clone())).collect()
    }

    /// The state as events.
    pub fn state_events(&self) -> Vec<Value> {
        self.state.values().map(|(_, event)| event.clone()).collect()
    }
}
