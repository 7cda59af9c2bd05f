//! [`Seen`]: what a device has learned from `/sync` so far.

use std::collections::BTreeMap;

use ruma::{RoomId, UserId};
use serde_json::Value;

/// What a device knows by all answers to `/sync` that it has had.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The token of the last answer.
    pub since: Option<String>,
    /// The rooms.
    pub rooms: BTreeMap<String, Room>,
    /// Global account data by type.
    pub account_data: BTreeMap<String, Value>,
    /// What users are shown as, by their ids: the last that was told of each.
    pub presence: BTreeMap<String, Value>,
}

/// What a device knows of a room.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// The section that it was in last: `join`, `invite`, `leave` or `knock`.
    pub section: String,
    /// The events of all timelines, in their order.
    pub timeline: Vec<Value>,
    /// State events by type and state key.
    pub state: BTreeMap<(String, String), Value>,
    /// Account data by type.
    pub account_data: BTreeMap<String, Value>,
    /// Ephemeral events by type, the last of each.
    pub ephemeral: BTreeMap<String, Value>,
    /// Stripped state of an invite.
    pub invite_state: Vec<Value>,
    /// Whether a timeline had a gap before it.
    pub had_gap: bool,
    /// Where to go on reading before the first timeline.
    pub prev_batch: Option<String>,
}

impl Seen {
    /// What is known of a room; an empty one if nothing is.
    pub fn room(&self, room: &RoomId) -> Room {
        self.rooms.get(room.as_str()).cloned().unwrap_or_default()
    }

    /// Whether the user is asked into a room.
    pub fn is_invited(&self, room: &RoomId) -> bool {
        self.room(room).section == "invite"
    }

    /// Whether the user is in a room.
    pub fn is_joined(&self, room: &RoomId) -> bool {
        self.room(room).section == "join"
    }

    /// Whether a text came in a room.
    pub fn has_message(&self, room: &RoomId, text: &str) -> bool {
        self.room(room).messages().iter().any(|message| message == text)
    }

    /// What a user is shown as, if that was told: `online`, `unavailable` or `offline`.
    pub fn presence(&self, user: &UserId) -> Option<&str> {
        self.presence.get(user.as_str())?["presence"].as_str()
    }

    /// Takes an answer in.
    pub(crate) fn take(&mut self, answer: &Value) {
        self.since = answer["next_batch"].as_str().map(str::to_owned);
        by_type(&answer["account_data"], &mut self.account_data);
        for event in events(&answer["presence"]) {
            if let Some(sender) = event["sender"].as_str() {
                self.presence.insert(sender.to_owned(), event["content"].clone());
            }
        }
        let Some(sections) = answer["rooms"].as_object() else { return };
        for (section, rooms) in sections {
            for (id, content) in rooms.as_object().into_iter().flatten() {
                let room = self.rooms.entry(id.clone()).or_default();
                room.section.clone_from(section);
                room.take(content);
            }
        }
    }
}

impl Room {
    /// The texts of its messages, in their order.
    pub fn messages(&self) -> Vec<String> {
        let messages = self.timeline.iter().filter(|event| event["type"] == "m.room.message");
        messages.filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())).collect()
    }

    /// Whether account data of this type came.
    pub fn has_account_data(&self, kind: &str) -> bool {
        self.account_data.contains_key(kind)
    }

    /// The content of a state event.
    pub fn state(&self, kind: &str, key: &str) -> Option<&Value> {
        self.state.get(&(kind.to_owned(), key.to_owned())).map(|event| &event["content"])
    }

    /// The membership of a user, by the state that came.
    pub fn membership(&self, user: &str) -> Option<&str> {
        self.state("m.room.member", user)?["membership"].as_str()
    }

    fn take(&mut self, content: &Value) {
        let timeline = &content["timeline"];
        self.had_gap |= timeline["limited"] == true && !self.timeline.is_empty();
        if self.prev_batch.is_none() {
            self.prev_batch = timeline["prev_batch"].as_str().map(str::to_owned);
        }
        for event in events(&content["state"]).chain(events(timeline)) {
            if let (Some(kind), Some(key)) = (event["type"].as_str(), event["state_key"].as_str()) {
                self.state.insert((kind.to_owned(), key.to_owned()), event.clone());
            }
        }
        self.timeline.extend(events(timeline).cloned());
        by_type(&content["account_data"], &mut self.account_data);
        by_type(&content["ephemeral"], &mut self.ephemeral);
        let invite: Vec<Value> = events(&content["invite_state"]).cloned().collect();
        if !invite.is_empty() {
            self.invite_state = invite;
        }
    }
}

fn events(section: &Value) -> impl Iterator<Item = &Value> {
    section["events"].as_array().into_iter().flatten()
}

fn by_type(section: &Value, into: &mut BTreeMap<String, Value>) {
    for event in events(section) {
        if let Some(kind) = event["type"].as_str() {
            into.insert(kind.to_owned(), event["content"].clone());
        }
    }
}
