//! What another server tells of a room that we are not in, made fit for our users to see.
//!
//! Nothing of it can be checked against the room. So what is of use to recognise the room is kept, if it
//! has the form that clients count on; the rest is left out.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>

use bytes::Bytes;
use pdu::{Pdu, RoomVersion};
use room::{Error, read::stripped::TELLING};
use ruma::{RoomId, UserId, events::TimelineEventType};
use serde_json::{Map, Value, value::RawValue};
use tracing::debug;

/// More events than this are not looked at.
const MAX_EVENTS: usize = 100;
/// So many bytes may be kept in all: what is kept goes into every first sync of whoever is invited.
const MAX_BYTES: usize = 16 * 1024;
/// Of an event that is larger only the texts are kept, cut to this length.
const LARGE_EVENT: usize = 2 * 1024;
const LONGEST_TEXT: usize = 512;
/// The members of a stripped event.
const KEPT: [&str; 4] = ["content", "sender", "state_key", "type"];
/// Members of contents that clients show, which are text or absent.
const TEXTS: [&str; 10] = [
    "name",
    "topic",
    "url",
    "alias",
    "join_rule",
    "algorithm",
    "replacement_room",
    "membership",
    "displayname",
    "avatar_url",
];

/// A room of which we are told.
pub(crate) struct Told<'a> {
    pub(crate) room_id: &'a RoomId,
    pub(crate) version: RoomVersion,
    /// Whose member events may be shown.
    pub(crate) users: &'a [&'a UserId],
}

impl Told<'_> {
    /// What came with an invite, as a JSON array of stripped events.
    ///
    /// # Errors
    /// [`Error::Invalid`] from room version 12 on, when the create event is not that which the room's id
    /// names.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid>
    pub(crate) fn by_invite(&self, events: &[Box<RawValue>]) -> Result<Bytes, Error> {
        let kept = self.keep(events);
        let has_create = kept.iter().any(|event| event.get("type") == Some(&"m.room.create".into()));
        if self.version.has_hashed_room_id() && !has_create {
            return Err(Error::Invalid("the room's create event is not among the state".to_owned()));
        }
        Ok(list(kept))
    }

    /// What came in answer to a knock, as a JSON array of stripped events.
    pub(crate) fn by_knock(&self, events: &[Box<RawValue>]) -> Bytes {
        list(self.keep(events))
    }

    fn keep(&self, events: &[Box<RawValue>]) -> Vec<Map<String, Value>> {
        let mut kept: Vec<Map<String, Value>> = Vec::new();
        let mut left = MAX_BYTES;
        for raw in events.iter().take(MAX_EVENTS) {
            let fit = if raw.get().len() <= pdu::MAX_PDU_BYTES { self.fit(raw) } else { None };
            let Some((event, size)) = fit.map(reduced).filter(|(_, size)| *size <= left) else {
                debug!(room_id = %self.room_id, "an event of a room's state is not shown");
                continue;
            };
            let same = |other: &Map<String, Value>| {
                other.get("type") == event.get("type") && other.get("state_key") == event.get("state_key")
            };
            if !kept.iter().any(same) {
                left -= size;
                kept.push(event);
            }
        }
        kept
    }

    /// The stripped form of an event, if it is one that is shown and has its form.
    fn fit(&self, raw: &RawValue) -> Option<Map<String, Value>> {
        let mut event: Map<String, Value> = serde_json::from_str(raw.get()).ok()?;
        let kind = event.get("type")?.as_str()?;
        let key = event.get("state_key")?.as_str()?;
        <&UserId>::try_from(event.get("sender")?.as_str()?).ok()?;
        let is_wanted = match kind {
            "m.room.member" => self.users.iter().any(|user| *user == key),
            kind => TELLING.contains(&kind) && key.is_empty(),
        };
        if !is_wanted || (kind == "m.room.create" && !self.is_create(raw)) {
            return None;
        }
        let content = event.get_mut("content")?.as_object_mut()?;
        content.retain(|name, value| value.is_string() || !TEXTS.contains(&name.as_str()));
        event.retain(|name, _| KEPT.contains(&name.as_str()));
        Some(event)
    }

    /// Whether this may be the room's create event. From version 12 on it is a whole event, and the room has
    /// its id from it.
    fn is_create(&self, raw: &RawValue) -> bool {
        match Pdu::parse_raw(self.version, raw) {
            Ok(pdu) => pdu.is_state(&TimelineEventType::RoomCreate, "") && pdu.room_id() == self.room_id,
            Err(_) => !self.version.has_hashed_room_id(),
        }
    }
}

/// The event with its size in bytes; a large one with nothing but short texts in it.
fn reduced(mut event: Map<String, Value>) -> (Map<String, Value>, usize) {
    let size =
        |event: &Map<String, Value>| serde_json::to_string(event).map_or(usize::MAX, |json| json.len());
    let whole = size(&event);
    if whole <= LARGE_EVENT {
        return (event, whole);
    }
    if let Some(content) = event.get_mut("content").and_then(Value::as_object_mut) {
        content.retain(|name, _| TEXTS.contains(&name.as_str()));
        for text in content.values_mut() {
            let cut = text.as_str().map(|text| text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned());
            *text = cut.unwrap_or_default().into();
        }
    }
    let size = size(&event);
    (event, size)
}

fn list(events: Vec<Map<String, Value>>) -> Bytes {
    Bytes::from(Value::Array(events.into_iter().map(Value::Object).collect()).to_string())
}
