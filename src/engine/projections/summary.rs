//! What lists of rooms show of a room.

use pdu::lenient;
use room::tables::{StateKeyName, Summary};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Deserialize, de::DeserializeOwned};
use store::Topic;

use super::Step;
use crate::change::StateChange;

/// Follows changes of the state events that summaries are made of.
pub(super) fn project(step: &mut Step<'_>, summary: &mut Summary) {
    let took_guests = summary.takes_guests();
    for change in step.changes {
        if change.name.key.is_empty() {
            follow(summary, change);
        }
    }
    // Who sees to guests has ours leave.
    if took_guests && !summary.takes_guests() {
        step.batch.touch([Topic::guest_access()]);
    }
}

/// Whether a summary says something of this piece of state; as [`follow`] does.
pub(super) fn shows(name: &StateKeyName) -> bool {
    const SHOWN: [&str; 10] = [
        "m.room.create",
        "m.room.name",
        "m.room.topic",
        "m.room.avatar",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.guest_access",
        "m.room.history_visibility",
        "m.room.encryption",
        "m.room.tombstone",
    ];
    name.key.is_empty() && SHOWN.contains(&name.kind.as_str())
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
        "m.room.topic" => {
            summary.topic = content::<RoomTopic>(change).topic.filter(|topic| !topic.is_empty())
        }
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

/// The new content, field by field; nothing when the event is gone.
fn content<T: DeserializeOwned + Default>(change: &StateChange) -> T {
    change.new.as_ref().map(|event| lenient::read(event.pdu().content_str())).unwrap_or_default()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Create {
    #[serde(rename = "type", deserialize_with = "lenient::field")]
    room_type: Option<String>,
    #[serde(rename = "m.federate", deserialize_with = "lenient::field")]
    federate: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Name {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
struct RoomTopic {
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
#[serde(default)]
struct JoinRules {
    #[serde(deserialize_with = "lenient::field")]
    join_rule: Option<String>,
    #[serde(deserialize_with = "lenient::list")]
    allow: Vec<Allow>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Allow {
    #[serde(rename = "type", deserialize_with = "lenient::field")]
    kind: String,
    #[serde(deserialize_with = "lenient::field")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_entry_of_allow_hides_neither_the_rule_nor_the_other_rooms() {
        let rules: JoinRules = lenient::read(
            r#"{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"!a:b"},5,null,{"room_id":7},
                {"type":"m.room_membership","room_id":"no room"},{"type":3,"room_id":"!c:d"}]}"#,
        );
        assert_eq!(rules.join_rule.as_deref(), Some("restricted"));
        let named = rules.allow.iter().filter(|allow| allow.kind == "m.room_membership");
        assert_eq!(named.filter_map(|allow| allow.room_id.as_deref()).collect::<Vec<_>>(), ["!a:b"]);

        let rules: JoinRules = lenient::read(r#"{"join_rule":"knock","allow":"everybody"}"#);
        assert_eq!((rules.join_rule.as_deref(), rules.allow.len()), (Some("knock"), 0));
        let create: Create = lenient::read(r#"{"type":5,"m.federate":false}"#);
        assert_eq!((create.room_type, create.federate), (None, Some(false)));
    }
}
