//! The power levels of a room that takes another's place.
//!
//! Whoever upgrades creates the new room, and everything that is copied is sent in his name. He may have less power
//! than some of it needs: a moderator, or a creator of a version 12 room, whose power is written nowhere. So the new
//! room begins with levels under which he may do all of it, and ends with those of the old room.

use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value, json};

/// The largest number in canonical JSON.
const MAX_LEVEL: i64 = pdu::json::MAX_SAFE_INTEGER;
/// What a creator's power becomes where it has to be a number, at least.
const CREATOR: i64 = 100;

/// Levels of the new room.
pub(super) struct NewLevels {
    /// Those that it begins with.
    pub(super) first: Map<String, Value>,
    /// Those that it ends with, where they are others.
    pub(super) settled: Option<Map<String, Value>>,
}

/// Who creates, and who created.
pub(super) struct Creators<'a> {
    /// Whoever upgrades.
    pub(super) upgrader: &'a UserId,
    /// All creators of the new room, where creators stand above all levels (from version 12).
    pub(super) new: Option<Vec<&'a UserId>>,
    /// All creators of the old room, where its version has them so. Where the new one's has them as well, whoever
    /// upgrades names those that keep the power; the others have the levels of everybody.
    pub(super) old: Vec<OwnedUserId>,
}

/// A level as any room version writes it: a number, or a string that is one.
pub(super) fn level(value: &Value) -> Option<i64> {
    let level = match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    level.filter(|level| (-MAX_LEVEL..=MAX_LEVEL).contains(level))
}

/// Old rooms take numbers with a fraction, and cut it off.
fn whole(number: f64) -> Option<i64> {
    let whole = number.trunc();
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within what i64 holds")]
    (whole.abs() < 9e15).then_some(whole as i64)
}

/// The levels of the new room, from the content of the old room's `m.room.power_levels`, if it has one.
pub(super) fn of_successor(old: Option<&Map<String, Value>>, creators: &Creators<'_>) -> NewLevels {
    let Some(old) = old else { return NewLevels { first: Map::new(), settled: None } };
    let mut settled = numbers_only(old);
    let needed = highest(&settled);
    let creates = |user: &str| creators.new.iter().flatten().any(|creator| creator.as_str() == user);
    let users = object(&mut settled, "users");
    users.retain(|user, _| !creates(user));
    if creators.new.is_none() {
        for creator in &creators.old {
            users.insert(creator.to_string(), json!(needed));
        }
    }

    let mut first = settled.clone();
    if creators.new.is_none() {
        object(&mut first, "users").insert(creators.upgrader.to_string(), json!(needed));
    }
    NewLevels { settled: (first != settled).then_some(settled), first }
}

/// The same levels as plain numbers: what is none is left out, as it counted for nothing.
fn numbers_only(old: &Map<String, Value>) -> Map<String, Value> {
    const SINGLE: [&str; 7] =
        ["ban", "events_default", "invite", "kick", "redact", "state_default", "users_default"];
    let mut new = old.clone();
    for key in SINGLE {
        match old.get(key).and_then(level) {
            Some(level) => new.insert(key.to_owned(), json!(level)),
            None => new.remove(key),
        };
    }
    for key in ["events", "notifications", "users"] {
        let entries = old.get(key).and_then(Value::as_object).into_iter().flatten();
        let is_named = |name: &str| key != "users" || UserId::parse(name).is_ok();
        let entries = entries.filter(|(name, _)| is_named(name));
        let levels = entries.filter_map(|(name, value)| Some((name.clone(), json!(level(value)?))));
        new.insert(key.to_owned(), Value::Object(levels.collect()));
    }
    new
}

/// The level that allows everything under these levels, and to give every one of them.
fn highest(levels: &Map<String, Value>) -> i64 {
    let inside = levels.values().filter_map(Value::as_object).flat_map(Map::values);
    levels.values().chain(inside).filter_map(Value::as_i64).fold(CREATOR, i64::max)
}

fn object<'a>(levels: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = levels.entry(key).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    entry.as_object_mut().expect("it was made an object above")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ruma::user_id;

    use super::*;

    fn of(old: Value, creators: &Creators<'_>) -> (Value, Option<Value>) {
        let NewLevels { first, settled } = of_successor(old.as_object(), creators);
        (Value::Object(first), settled.map(Value::Object))
    }

    #[test]
    fn strings_become_numbers_and_odd_levels_count_for_nothing() {
        let creators = Creators { upgrader: user_id!("@a:b"), new: None, old: Vec::new() };
        let old = json!({ "users": { "@a:b": "100", "@c:d": " 50 ", "nobody": 7, "@e:f": {} }, "ban": "60", "kick": null,
            "state_default": 50.7, "events": { "m.room.name": "30", "x": [] }, "notifications": 5, "org.example": "kept" });
        let (first, settled) = of(old, &creators);
        let expected = json!({ "users": { "@a:b": 100, "@c:d": 50 }, "ban": 60, "state_default": 50,
            "events": { "m.room.name": 30 }, "notifications": {}, "org.example": "kept" });
        assert_eq!((first, settled), (expected, None));
    }

    #[test]
    fn a_moderator_has_the_power_to_copy_everything_and_keeps_none_of_it() {
        let creators = Creators { upgrader: user_id!("@m:b"), new: None, old: Vec::new() };
        let old = json!({ "users": { "@a:b": 100, "@m:b": 50 }, "events": { "m.room.server_acl": 120 } });
        let (first, settled) = of(old, &creators);
        assert_eq!(first["users"], json!({ "@a:b": 100, "@m:b": 120 }));
        assert_eq!(settled.unwrap()["users"], json!({ "@a:b": 100, "@m:b": 50 }));
    }

    #[test]
    fn creators_of_a_version_12_room_keep_all_power_as_a_number_where_creators_have_none() {
        let (a, c) = (user_id!("@a:b"), user_id!("@c:d"));
        let old = json!({ "users": { "@m:b": 50 }, "events": { "m.room.tombstone": 150 } });
        let to_11 = Creators { upgrader: a, new: None, old: vec![a.to_owned(), c.to_owned()] };
        let (first, settled) = of(old.clone(), &to_11);
        assert_eq!((&first["users"], settled), (&json!({ "@m:b": 50, "@a:b": 150, "@c:d": 150 }), None));

        let to_12 = Creators { upgrader: a, new: Some(vec![a]), old: vec![a.to_owned(), c.to_owned()] };
        let (first, settled) = of(old, &to_12);
        assert_eq!((&first["users"], settled), (&json!({ "@m:b": 50 }), None));
    }

    #[test]
    fn a_creator_of_a_version_12_room_is_not_named_among_the_users() {
        let a = user_id!("@a:b");
        let creators = Creators { upgrader: a, new: Some(vec![a]), old: Vec::new() };
        let (first, settled) = of(json!({ "users": { "@a:b": 100, "@m:b": 50 } }), &creators);
        assert_eq!((&first["users"], settled), (&json!({ "@m:b": 50 }), None));
    }
}
