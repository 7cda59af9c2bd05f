//! Sliding sync: a client that keeps what it is told, and what it is told.

use std::{collections::BTreeMap, time::Duration};

use ruma::{OwnedDeviceId, OwnedUserId, RoomId};
use serde_json::{Value, json};

use super::town::{Town, user};
use crate::{Error, SlidingBody, SlidingRequest};

mod extensions;
mod lists;
mod members;
mod rooms;
mod threads;
mod waiting;

/// A connection of a client, and what it shows.
#[derive(Clone, Debug)]
pub(super) struct Glass {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
    pub(super) pos: Option<String>,
    pub(super) body: Value,
    pub(super) timeout: Duration,
    /// What it was told of rooms, as it keeps it.
    pub(super) rooms: BTreeMap<String, Kept>,
}

/// What a client keeps of a room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) membership: String,
    pub(super) name: Option<String>,
    /// State by type and key: ids of events.
    pub(super) state: BTreeMap<(String, String), String>,
    /// Ids of events, without a hole.
    pub(super) timeline: Vec<String>,
    pub(super) joined: Option<u64>,
}

/// A list of all rooms of which so much is wanted.
pub(super) fn all_rooms(limit: u64, required: Value) -> Value {
    json!({ "lists": { "all": { "timeline_limit": limit, "required_state": required } } })
}

/// The first rooms of the list.
pub(super) fn window(first: u64, last: u64) -> Value {
    let required = json!([["m.room.member", "$ME"], ["m.room.name", ""]]);
    let list = json!({ "ranges": [[first, last]], "timeline_limit": 1, "required_state": required });
    json!({ "lists": { "all": list } })
}

pub(super) fn glass(name: &str, body: Value) -> Glass {
    Glass {
        user: user(name),
        device: OwnedDeviceId::from("PHONE"),
        pos: None,
        body,
        timeout: Duration::ZERO,
        rooms: BTreeMap::new(),
    }
}

impl Glass {
    pub(super) fn request(&self) -> SlidingRequest {
        SlidingRequest {
            user: self.user.clone(),
            device: self.device.clone(),
            pos: self.pos.clone(),
            timeout: self.timeout,
            presence: None,
            body: serde_json::from_value::<SlidingBody>(self.body.clone()).unwrap(),
        }
    }

    /// What is answered, which may be lost on its way.
    pub(super) async fn ask(&self, town: &Town) -> Result<Value, Error> {
        Ok(serde_json::from_slice(&town.syncs.slide(&self.request()).await?).unwrap())
    }

    /// Asks and goes on from there.
    pub(super) async fn look(&mut self, town: &Town) -> Value {
        let answer = self.ask(town).await.unwrap();
        self.take(&answer);
        answer
    }

    /// Asks as often as rooms are told.
    pub(super) async fn look_at_all(&mut self, town: &Town) {
        while !told(&self.look(town).await).is_empty() {}
    }

    /// Takes an answer in.
    pub(super) fn take(&mut self, answer: &Value) {
        self.pos = Some(answer["pos"].as_str().unwrap().to_owned());
        for (id, room) in answer["rooms"].as_object().into_iter().flatten() {
            if room["initial"] == true {
                self.rooms.remove(id);
            }
            let kept = self.rooms.entry(id.clone()).or_default();
            kept.take(room, &self.user);
            if kept.membership == "leave"
                && room.get("membership").is_some()
                && !room["required_state"].is_null()
            {
                let own = room["required_state"].as_array().unwrap().iter();
                let own = own.filter(|event| event["state_key"] == self.user.as_str());
                if own.clone().any(|event| event["sender"] == self.user.as_str()) {
                    self.rooms.remove(id);
                }
            }
        }
    }
}

impl Kept {
    fn take(&mut self, room: &Value, user: &OwnedUserId) {
        let events = |key: &str| room[key].as_array().cloned().unwrap_or_default();
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        for event in events("required_state") {
            let key = (text(&event, "type"), text(&event, "state_key"));
            if key == ("m.room.member".to_owned(), user.to_string()) {
                self.membership = event["content"]["membership"].as_str().unwrap().to_owned();
            }
            self.state.insert(key, text(&event, "event_id"));
        }
        if let Some(membership) = room["membership"].as_str() {
            self.membership = membership.to_owned();
        }
        for event in events("invite_state") {
            if event["state_key"] == user.as_str() {
                self.membership = event["content"]["membership"].as_str().unwrap().to_owned();
            }
        }
        match &room["name"] {
            Value::String(name) => self.name = Some(name.clone()),
            Value::Null if room.get("name").is_some() => self.name = None,
            _ => {}
        }
        self.joined = room["joined_count"].as_u64().or(self.joined);
        let new: Vec<String> = events("timeline").iter().map(|event| text(event, "event_id")).collect();
        match room["limited"] == true || room["unstable_expanded_timeline"] == true {
            true => self.timeline = new,
            false => {
                for event in &new {
                    assert!(!self.timeline.contains(event), "twice: {room}");
                }
                self.timeline.extend(new);
            }
        }
    }
}

/// The rooms that an answer tells of.
pub(super) fn told(answer: &Value) -> Vec<String> {
    answer["rooms"].as_object().into_iter().flatten().map(|(room, _)| room.clone()).collect()
}

/// What an answer tells of a room.
pub(super) fn of<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"][room.as_str()]
}
