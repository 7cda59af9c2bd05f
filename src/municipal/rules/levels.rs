//! Power levels by rule.
//!
//! Whoever makes the rooms keeps all power, so no room is ever without one who can give it. Moderators are those of the rule;
//! predecessors stand below everybody who may speak. What others were given by hand goes, but where the auth rules forbid to
//! take it: from one's equals.

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value, json};

use crate::{
    actual::Actual,
    limits::MAX_LEVEL_BYTES,
    rule::{STEWARD, Template},
    wanted::{People, Standing},
};

/// Of whom reads only.
const PREDECESSOR: i64 = -1;

/// What only the steward changes, so that nobody takes a room from its rule.
const HIS_ALONE: [&str; 6] = [
    "m.room.encryption",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.tombstone",
];

/// The content of a room's power levels. Nobody but the steward speaks in one that is closed.
pub(crate) fn levels(
    template: &Template,
    people: &People,
    actual: Option<&Actual>,
    steward: &UserId,
    is_closed: bool,
) -> Value {
    let none = BTreeSet::new();
    let creators = actual.map_or(&none, |actual| &actual.creators);
    let present = actual.and_then(|actual| actual.content("m.room.power_levels", "")?.as_object());
    let present = present.cloned().unwrap_or_default();
    // A new room is the steward's own.
    let is_creator = actual.is_none() || creators.iter().any(|creator| creator == steward);
    let mut users: Map<String, Value> = Map::new();
    if !is_creator {
        let old = present.get("users").and_then(Value::as_object);
        let equals = old.into_iter().flatten().filter(|(user, level)| {
            level.as_i64().is_some_and(|level| level >= STEWARD) && user.as_str() != steward.as_str()
        });
        users.extend(equals.map(|(user, level)| (user.clone(), level.clone())));
        users.insert(steward.to_string(), STEWARD.into());
    }
    let mut room = MAX_LEVEL_BYTES;
    let mut give = |user: &OwnedUserId, level: i64| {
        let bytes = user.as_str().len() + 8;
        let has_one = users.contains_key(user.as_str()) || creators.contains(user);
        if !has_one && bytes <= room && user != steward {
            room -= bytes;
            users.insert(user.to_string(), level.into());
        }
    };
    let of = |standing| people.iter().filter(move |(_, is)| *is == standing).map(|(user, _)| user);
    if !is_closed {
        of(Standing::Moderator).for_each(|user| give(user, i64::from(template.levels.moderators)));
        if template.levels.events_default == 0 {
            of(Standing::Predecessor).for_each(|user| give(user, PREDECESSOR));
        }
    }
    let wish = &template.levels;
    let mut events: Map<String, Value> =
        HIS_ALONE.iter().map(|kind| ((*kind).to_owned(), json!(STEWARD))).collect();
    events.extend(wish.events.iter().map(|(kind, level)| (kind.clone(), json!(level))));
    let speaks = if is_closed { json!(STEWARD) } else { json!(wish.events_default) };
    if is_closed {
        // What may be said by everybody else has to be named: a level of its own goes before the default.
        events.retain(|kind, _| HIS_ALONE.contains(&kind.as_str()));
    }
    if !is_creator {
        // What only somebody above him may change stays.
        let old = present.get("events").and_then(Value::as_object).into_iter().flatten();
        let above = old.filter(|(_, level)| is_above(level));
        events.extend(above.map(|(kind, level)| (kind.clone(), level.clone())));
    }
    let mut content = present;
    let said = json!({
        "users": users,
        "users_default": 0,
        "events": events,
        "events_default": speaks,
        "state_default": if is_closed { json!(STEWARD) } else { json!(wish.state_default) },
        "invite": if is_closed { json!(STEWARD) } else { json!(wish.invite) },
        "kick": wish.kick,
        "ban": wish.ban,
        "redact": wish.redact,
    });
    if let Value::Object(said) = said {
        for (key, value) in said {
            if is_creator || !content.get(&key).is_some_and(is_above) {
                content.insert(key, value);
            }
        }
    }
    Value::Object(content)
}

/// Whether a level is higher than that of a steward who has not made the room.
fn is_above(level: &Value) -> bool {
    level.as_i64().is_some_and(|level| level > STEWARD)
}
