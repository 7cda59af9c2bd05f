//! Power: who may do what in a room, read once and asked often.
//!
//! [`crate::Pdu::power_levels`] keeps the parsed levels with the event, so a room of 30,000 members does
//! not read 60 KiB of JSON for each message. [`RoomPower`] puts them together with the room's creators.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels>

use std::collections::BTreeMap;

use ruma::{
    Int, OwnedUserId, UserId,
    events::{TimelineEventType, room::power_levels::UserPowerLevel},
    serde::{btreemap_deserialize_v1_powerlevel_values, deserialize_v1_powerlevel},
    state_res::events::RoomCreateEvent,
};
use serde::de::DeserializeOwned;
use serde_json::Value as JsonValue;

use crate::{AuthFailure, Pdu};

/// The levels of an `m.room.power_levels` event, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerLevels {
    users: BTreeMap<OwnedUserId, Int>,
    events: BTreeMap<TimelineEventType, Int>,
    notifications: BTreeMap<String, Int>,
    users_default: Int,
    events_default: Int,
    state_default: Int,
    ban: Int,
    kick: Int,
    redact: Int,
    invite: Int,
}

impl PowerLevels {
    /// Reads the levels by the rules of the event's room version: integers, before version 10 also
    /// strings that are integers.
    pub(crate) fn read(pdu: &Pdu) -> Result<Self, String> {
        let content: serde_json::Map<String, JsonValue> =
            pdu.content_as().map_err(|error| format!("`m.room.power_levels`: {error}"))?;
        let fields = Fields { content, strict: pdu.version().rules().authorization.integer_power_levels };
        Ok(Self {
            users: fields.levels("users")?,
            events: fields.levels("events")?,
            notifications: fields.levels("notifications").unwrap_or_default(),
            users_default: fields.level("users_default", 0)?,
            events_default: fields.level("events_default", 0)?,
            state_default: fields.level("state_default", 50)?,
            ban: fields.level("ban", 50)?,
            kick: fields.level("kick", 50)?,
            redact: fields.level("redact", 50)?,
            invite: fields.level("invite", 0)?,
        })
    }

    /// The level that `users` and `users_default` give; creators of version 12 rooms stand above it.
    pub fn user(&self, user: &UserId) -> Int {
        self.users.get(user).copied().unwrap_or(self.users_default)
    }

    /// The users with a level of their own.
    pub fn users(&self) -> &BTreeMap<OwnedUserId, Int> {
        &self.users
    }

    /// The level that sending this type needs.
    pub fn event(&self, kind: &TimelineEventType, is_state: bool) -> Int {
        let default = if is_state { self.state_default } else { self.events_default };
        self.events.get(kind).copied().unwrap_or(default)
    }

    /// The level that notifying everybody of a kind (`room`) needs.
    pub fn notification(&self, kind: &str) -> Int {
        self.notifications.get(kind).copied().unwrap_or_else(|| Int::from(50))
    }

    /// The level that banning needs.
    pub fn ban(&self) -> Int {
        self.ban
    }

    /// The level that kicking needs.
    pub fn kick(&self) -> Int {
        self.kick
    }

    /// The level that redacting events of others needs.
    pub fn redact(&self) -> Int {
        self.redact
    }

    /// The level that inviting needs.
    pub fn invite(&self) -> Int {
        self.invite
    }
}

/// The content of an `m.room.power_levels` event, field by field. Where levels need not be integers, nothing checks
/// them before they are state either; there a null counts as absent, as it does for other servers.
struct Fields {
    content: serde_json::Map<String, JsonValue>,
    strict: bool,
}

impl Fields {
    fn level(&self, field: &str, default: i32) -> Result<Int, String> {
        let Some(value) = self.content.get(field) else { return Ok(default.into()) };
        if value.is_null() && !self.strict {
            return Ok(default.into());
        }
        let level = if self.strict {
            serde::Deserialize::deserialize(value)
        } else {
            deserialize_v1_powerlevel(value)
        };
        level.map_err(|error| format!("`{field}` of `m.room.power_levels`: {error}"))
    }

    fn levels<K: Ord + DeserializeOwned>(&self, field: &str) -> Result<BTreeMap<K, Int>, String> {
        let Some(value) = self.content.get(field) else { return Ok(BTreeMap::new()) };
        let levels = match (self.strict, value) {
            (true, value) => serde::Deserialize::deserialize(value),
            (false, JsonValue::Null) => return Ok(BTreeMap::new()),
            (false, JsonValue::Object(levels)) => {
                let mut levels = levels.clone();
                levels.retain(|_, level| !level.is_null());
                btreemap_deserialize_v1_powerlevel_values(JsonValue::Object(levels))
            }
            (false, value) => btreemap_deserialize_v1_powerlevel_values(value),
        };
        levels.map_err(|error: serde_json::Error| format!("`{field}` of `m.room.power_levels`: {error}"))
    }
}

/// What a create event says about the room, read once per event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) federate: bool,
    pub(crate) creators: Vec<OwnedUserId>,
}

impl Creation {
    pub(crate) fn read(pdu: &Pdu) -> Result<Self, String> {
        let event = RoomCreateEvent::new(pdu);
        let mut creators: Vec<_> =
            event.creators(&pdu.version().rules().authorization)?.into_iter().collect();
        creators.sort();
        Ok(Self { federate: event.federate()?, creators })
    }
}

/// Who has which power in a room, at one state of it.
#[derive(Debug, Clone)]
pub struct RoomPower {
    create: Pdu,
    levels: Option<Pdu>,
}

impl RoomPower {
    /// The powers that follow from a room's create event and its power levels, if it has them.
    ///
    /// # Errors
    /// [`AuthFailure::Malformed`] when one of them cannot be read; then nobody may do anything.
    pub fn new(create: Pdu, levels: Option<Pdu>) -> Result<Self, AuthFailure> {
        create.creation().map_err(AuthFailure::malformed)?;
        if let Some(levels) = &levels {
            levels.power_levels().map_err(AuthFailure::malformed)?;
        }
        Ok(Self { create, levels })
    }

    fn levels(&self) -> Option<&PowerLevels> {
        self.levels.as_ref().and_then(|pdu| pdu.power_levels().ok())
    }

    /// Who created the room, with the additional creators of version 12.
    pub fn creators(&self) -> &[OwnedUserId] {
        self.create.creation().map(|creation| creation.creators.as_slice()).unwrap_or_default()
    }

    /// The power of a user, infinite for creators from version 12.
    pub fn user(&self, user: &UserId) -> UserPowerLevel {
        let is_creator = self.creators().iter().any(|creator| creator == user);
        let privileged = self.create.version().rules().authorization.explicitly_privilege_room_creators;
        match self.levels() {
            _ if privileged && is_creator => UserPowerLevel::Infinite,
            Some(levels) => levels.user(user).into(),
            None if is_creator => Int::from(100).into(),
            None => Int::from(0).into(),
        }
    }

    /// The level that sending this type needs.
    pub fn needed_for(&self, kind: &TimelineEventType, is_state: bool) -> Int {
        match self.levels() {
            Some(levels) => levels.event(kind, is_state),
            None if is_state => Int::from(50),
            None => Int::from(0),
        }
    }

    /// Whether the user has the power to send this type; membership is another question.
    pub fn may_send(&self, user: &UserId, kind: &TimelineEventType, is_state: bool) -> bool {
        self.user(user) >= self.needed_for(kind, is_state)
    }

    /// Whether the user has the power to redact events of others.
    pub fn may_redact(&self, user: &UserId) -> bool {
        self.user(user) >= self.levels().map_or(Int::from(50), PowerLevels::redact)
    }

    /// Whether the user has the power to notify everybody of a kind (`room`).
    pub fn may_notify(&self, user: &UserId, kind: &str) -> bool {
        self.user(user) >= self.levels().map_or(Int::from(50), |levels| levels.notification(kind))
    }

    /// Whether the user has the power to invite.
    pub fn may_invite(&self, user: &UserId) -> bool {
        self.user(user) >= self.levels().map_or(Int::from(0), PowerLevels::invite)
    }

    /// Whether the user has the power to kick somebody.
    pub fn may_kick(&self, user: &UserId, target: &UserId) -> bool {
        let power = self.user(user);
        power >= self.levels().map_or(Int::from(50), PowerLevels::kick) && power > self.user(target)
    }

    /// Whether the user has the power to ban somebody.
    pub fn may_ban(&self, user: &UserId, target: &UserId) -> bool {
        let power = self.user(user);
        power >= self.levels().map_or(Int::from(50), PowerLevels::ban) && power > self.user(target)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ruma::user_id;
    use serde_json::json;

    use super::*;
    use crate::RoomVersion;

    fn levels(version: RoomVersion, content: JsonValue) -> Result<PowerLevels, String> {
        let event = json!({ "type": "m.room.power_levels", "state_key": "", "sender": "@a:b", "room_id": "!r:b",
            "content": content, "auth_events": [], "prev_events": [], "depth": 1, "origin_server_ts": 1,
            "hashes": { "sha256": "" }, "signatures": {} });
        PowerLevels::read(&Pdu::parse(version, event.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_null_among_the_levels_of_old_rooms_counts_as_absent() {
        let content = json!({ "users": { "@a:b": "70" }, "ban": null, "state_default": "60",
            "events": { "m.room.name": null, "m.room.topic": 30 }, "notifications": null });
        let read = levels(RoomVersion::V9, content.clone()).unwrap();
        assert_eq!((read.ban(), read.user(user_id!("@a:b"))), (Int::from(50), Int::from(70)));
        assert_eq!(read.event(&TimelineEventType::RoomName, true), Int::from(60));
        assert_eq!(read.event(&TimelineEventType::RoomTopic, true), Int::from(30));
        assert!(levels(RoomVersion::V10, content).is_err(), "from version 10 the rules keep such levels out");
    }
}
