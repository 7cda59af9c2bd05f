//! What lists of rooms show of a room.

use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Deserialize, de::DeserializeOwned};

use super::Projection;
use crate::{place::StateChange, tables::Summary};

/// Follows changes of the state events that summaries are made of.
pub(super) fn project(projection: &mut Projection<'_>) {
    for change in projection.changes {
        if change.name.key.is_empty() {
            follow(projection.summary, change);
        }
    }
}

pub(super) fn follow(summary: &mut Summary, change: &StateChange) {
    match change.name.kind.as_str() {
        "m.room.create" => {
            let content: Create = content(change);
            summary.room_type = content.room_type;
            summary.federate = content.federate.unwrap_or(true);
            summary.creator = change.new.as_ref().map(|event| OwnedUserId::from(event.sender()));
        }
        "m.room.name" => summary.name = content::<Name>(change).name.filter(|name| !name.is_empty()),
        "m.room.topic" => summary.topic = content::<Topic>(change).topic.filter(|topic| !topic.is_empty()),
        "m.room.avatar" => summary.avatar = content::<Avatar>(change).url.filter(|url| !url.is_empty()),
        "m.room.canonical_alias" => summary.canonical_alias = content::<Alias>(change).alias,
        "m.room.join_rules" => {
            let content: JoinRules = content(change);
            summary.join_rule = content.join_rule;
            summary.allowed_rooms = content
                .allow
                .into_iter()
                .filter(|allow| allow.kind == "m.room_membership")
                .filter_map(|allow| allow.room_id)
                .collect();
        }
        "m.room.guest_access" => summary.guest_access = content::<GuestAccess>(change).guest_access,
        "m.room.history_visibility" => {
            summary.history_visibility = content::<Visibility>(change).history_visibility;
        }
        "m.room.encryption" => summary.encryption = content::<Encryption>(change).algorithm,
        "m.room.tombstone" => summary.replacement = content::<Tombstone>(change).replacement_room,
        _ => {}
    }
}

/// The new content; the default when the event is gone or has another form.
fn content<T: DeserializeOwned + Default>(change: &StateChange) -> T {
    let event = change.new.as_ref();
    event.and_then(|event| serde_json::from_str(event.pdu().content_str()).ok()).unwrap_or_default()
}

#[derive(Default, Deserialize)]
struct Create {
    #[serde(rename = "type")]
    room_type: Option<String>,
    #[serde(rename = "m.federate")]
    federate: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Name {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Topic {
    topic: Option<String>,
}

#[derive(Default, Deserialize)]
struct Avatar {
    url: Option<String>,
}

#[derive(Default, Deserialize)]
struct Alias {
    alias: Option<String>,
}

#[derive(Default, Deserialize)]
struct JoinRules {
    join_rule: Option<String>,
    #[serde(default)]
    allow: Vec<Allow>,
}

#[derive(Default, Deserialize)]
struct Allow {
    #[serde(rename = "type", default)]
    kind: String,
    room_id: Option<OwnedRoomId>,
}

#[derive(Default, Deserialize)]
struct GuestAccess {
    guest_access: Option<String>,
}

#[derive(Default, Deserialize)]
struct Visibility {
    history_visibility: Option<String>,
}

#[derive(Default, Deserialize)]
struct Encryption {
    algorithm: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tombstone {
    replacement_room: Option<OwnedRoomId>,
}
