//! Who may do what in a room, as its state says.

use reqwest::Method;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Map, Value};

use super::{
    Failure, Homeserver,
    calls::{found, id},
};

/// What tells of an upgrade.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroomtombstone>
const TOMBSTONE: &str = "m.room.tombstone";

/// The power that state needs where a room says nothing else of it.
const OF_STATE: i64 = 50;

/// The power of who made a room that has no levels.
const OF_MAKER: i64 = 100;

/// What a room began with.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroomcreate>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Who made it.
    pub maker: OwnedUserId,
    /// Those who are named as makers besides.
    pub others: Vec<String>,
    /// Its version.
    pub version: String,
    /// The room that it came of, if it says so.
    pub predecessor: Option<OwnedRoomId>,
}

impl Creation {
    fn of(event: &Value) -> Option<Self> {
        let content = &event["content"];
        let others = content["additional_creators"].as_array().map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            maker: id(event, "sender").ok()?,
            others: others.iter().filter_map(|other| other.as_str().map(str::to_owned)).collect(),
            version: content["room_version"].as_str().unwrap_or("1").to_owned(),
            predecessor: content["predecessor"]["room_id"].as_str().and_then(|room| room.try_into().ok()),
        })
    }

    /// Whether somebody made the room, in a version where that is more than any level.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/rooms/v12/#changes-to-power-levels>
    pub fn outranks(&self, user: &UserId) -> bool {
        let ranks_above = self.version.parse::<u32>().is_ok_and(|version| version >= 12);
        ranks_above && (self.maker == user || self.others.iter().any(|other| other == user.as_str()))
    }
}

/// Where a room that was upgraded goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The room that its tombstone names.
    pub room: OwnedRoomId,
    /// Whether that is its true successor as far as both rooms say; otherwise nothing of it can be seen, since the bot was not asked in.
    pub is_seen: bool,
}

/// A level, as rooms of any version write it: as a text before version 10.
fn whole(level: &Value) -> Option<i64> {
    level.as_i64().or_else(|| level.as_str()?.trim().parse().ok())
}

/// What the levels give a user.
fn level_of(levels: &Map<String, Value>, user: &UserId) -> i64 {
    let of_user = levels.get("users").and_then(|users| users.get(user.as_str()));
    of_user.or_else(|| levels.get("users_default")).and_then(whole).unwrap_or(0)
}

/// What the levels ask of who sends state of a kind.
fn level_for(levels: &Map<String, Value>, kind: &str) -> i64 {
    let of_kind = levels.get("events").and_then(|events| events.get(kind));
    of_kind.or_else(|| levels.get("state_default")).and_then(whole).unwrap_or(OF_STATE)
}

/// What the levels ask of who sends an event of a kind that is no state.
fn level_to_send(levels: &Map<String, Value>, kind: &str) -> i64 {
    let of_kind = levels.get("events").and_then(|events| events.get(kind));
    of_kind.or_else(|| levels.get("events_default")).and_then(whole).unwrap_or(0)
}

impl Homeserver {
    /// What a room began with, if it can be seen.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn creation(&self, room: &RoomId) -> Result<Option<Creation>, Failure> {
        Ok(self.state_event(room, "m.room.create").await?.as_ref().and_then(Creation::of))
    }

    /// The event that set a piece of a room's state whose key is empty.
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey>
    pub async fn state_event(&self, room: &RoomId, kind: &str) -> Result<Option<Value>, Failure> {
        let path = ["client", "v3", "rooms", room.as_str(), "state", kind, ""];
        let Some(event) = found(self.call(Method::GET, &path, &[("format", "event")], None).await)? else {
            return Ok(None);
        };
        if event["sender"].is_string() && event["content"].is_object() {
            return Ok(Some(event));
        }
        // A server that gives the content alone all the same.
        let state = self.call(Method::GET, &path[..5], &[], None).await?;
        let events = state.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(events.iter().find(|event| event["type"] == kind && event["state_key"] == "").cloned())
    }

    /// Whether a user has this power in a room.
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels>
    pub async fn has_power(&self, room: &RoomId, user: &UserId, least: i64) -> Result<bool, Failure> {
        self.has_level(room, user, self.levels(room).await?, least).await
    }

    async fn levels(&self, room: &RoomId) -> Result<Option<Map<String, Value>>, Failure> {
        self.state(room, "m.room.power_levels", "").await
    }

    async fn has_level(
        &self,
        room: &RoomId,
        user: &UserId,
        levels: Option<Map<String, Value>>,
        least: i64,
    ) -> Result<bool, Failure> {
        if levels.as_ref().is_some_and(|levels| level_of(levels, user) >= least) {
            return Ok(true);
        }
        let Some(creation) = self.creation(room).await? else { return Ok(false) };
        let is_maker = levels.is_none() && creation.maker == user;
        Ok(creation.outranks(user) || is_maker && least <= OF_MAKER)
    }

    /// Whether a user may send events of a kind into a room that are no state.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn may_send(&self, room: &RoomId, user: &UserId, kind: &str) -> Result<bool, Failure> {
        let levels = self.levels(room).await?;
        let needed = levels.as_ref().map_or(0, |levels| level_to_send(levels, kind));
        self.has_level(room, user, levels, needed).await
    }

    /// Whether a user may send state of a kind into a room, and has this power besides.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn may_set(
        &self,
        room: &RoomId,
        user: &UserId,
        kind: &str,
        least: i64,
    ) -> Result<bool, Failure> {
        let levels = self.levels(room).await?;
        let needed = levels.as_ref().map_or(0, |levels| level_for(levels, kind));
        self.has_level(room, user, levels, needed.max(least)).await
    }

    /// Whether a room is the true successor of another; if not, why. The old room's tombstone names it, it names the old room, and who
    /// made it sent that tombstone, or has the power for it, and this power besides, in the old one: he could do by hand there what a bot takes along.
    ///
    /// # Errors
    /// [`Failure`]
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>
    pub async fn check_successor(
        &self,
        old: &RoomId,
        new: &RoomId,
        least: i64,
    ) -> Result<Result<(), &'static str>, Failure> {
        let stone = self.state_event(old, TOMBSTONE).await?;
        let Some(stone) = stone.filter(|stone| named_by(&stone["content"]).as_deref() == Some(new)) else {
            return Ok(Err("the old room names another, or none"));
        };
        let creation = self.creation(new).await?;
        let Some(creation) = creation.filter(|it| it.predecessor.as_deref() == Some(old)) else {
            return Ok(Err("the new room came of another, or of none"));
        };
        let sender: OwnedUserId = id(&stone, "sender")?;
        let has_power = self.could_upgrade(old, &creation.maker, &sender, least).await?;
        Ok(if has_power { Ok(()) } else { Err("who made the new room has no power in the old one") })
    }

    /// Where a room goes on, if its tombstone counts: who sent it could also take by hand from the room what a bot has there, having this
    /// power; and the room that it names is the true successor, or one of which nothing can be seen yet. One that can be seen and is
    /// none makes the tombstone a mistake or a trick, which stops nothing; so does one that names no room, as a deleted one does.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn find_upgrade(&self, old: &RoomId, least: i64) -> Result<Option<Upgrade>, Failure> {
        let Some(stone) = self.state_event(old, TOMBSTONE).await? else { return Ok(None) };
        let Some(room) = named_by(&stone["content"]).filter(|room| room != old) else { return Ok(None) };
        let sender: OwnedUserId = id(&stone, "sender")?;
        if !self.could_upgrade(old, &sender, &sender, least).await? {
            return Ok(None);
        }
        let creation = match self.creation(&room).await {
            Err(Failure::Refused(_)) => None,
            creation => creation?,
        };
        let Some(creation) = creation else { return Ok(Some(Upgrade { room, is_seen: false })) };
        let is_true = creation.predecessor.as_deref() == Some(old)
            && self.could_upgrade(old, &creation.maker, &sender, least).await?;
        Ok(is_true.then_some(Upgrade { room, is_seen: true }))
    }

    /// Whether a room comes of another by way of one that the bot was never asked into, so that nothing can be seen of it: the old room
    /// goes on there, and the new one says that it came of there. Who made the new one needs the same power in the old one as for
    /// [`Homeserver::check_successor`]: he could lead it to the new one himself.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn is_successor_over(
        &self,
        old: &RoomId,
        between: &RoomId,
        new: &RoomId,
        least: i64,
    ) -> Result<bool, Failure> {
        let unseen = Upgrade { room: between.to_owned(), is_seen: false };
        if self.find_upgrade(old, least).await? != Some(unseen) {
            return Ok(false);
        }
        let creation = self.creation(new).await?;
        let Some(creation) = creation.filter(|it| it.predecessor.as_deref() == Some(between)) else {
            return Ok(false);
        };
        self.may_set(old, &creation.maker, TOMBSTONE, least).await
    }

    /// Whether a user has, or had when it was sent, the power for the tombstone that stands in a room, and has this power
    /// besides. Who sent it had: the server let it pass, and he may be on another post since. What a tombstone takes he had
    /// then, so that counts for as much as this asks.
    async fn could_upgrade(
        &self,
        old: &RoomId,
        user: &UserId,
        sender: &UserId,
        least: i64,
    ) -> Result<bool, Failure> {
        let levels = self.levels(old).await?;
        let needed = levels.as_ref().map_or(0, |levels| level_for(levels, TOMBSTONE));
        Ok(user == sender && least <= needed || self.has_level(old, user, levels, needed.max(least)).await?)
    }
}

/// The room that a tombstone names.
fn named_by(content: &Value) -> Option<OwnedRoomId> {
    content["replacement_room"].as_str()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_are_read_in_either_form_and_their_defaults_count() {
        let levels = json!({ "users": { "@a:x": "100", "@b:x": 50 }, "users_default": "5",
            "events": { "m.room.tombstone": 90 }, "state_default": "60" });
        let levels = levels.as_object().expect("an object");
        assert_eq!(
            [user_id!("@a:x"), user_id!("@b:x"), user_id!("@c:x")].map(|user| level_of(levels, user)),
            [100, 50, 5]
        );
        assert_eq!(["m.room.tombstone", "m.room.name"].map(|kind| level_for(levels, kind)), [90, 60]);
        assert_eq!(["m.room.tombstone", "m.room.message"].map(|kind| level_to_send(levels, kind)), [90, 0]);
        assert_eq!(level_of(&Map::new(), user_id!("@a:x")), 0);
        assert_eq!(level_for(&Map::new(), "m.room.name"), OF_STATE);
    }

    #[test]
    fn makers_outrank_all_from_version_12_on() {
        let made = |version: &str| {
            let content = json!({ "room_version": version, "additional_creators": ["@b:x", 5],
                "predecessor": { "room_id": "!old:x", "event_id": "$a" } });
            Creation::of(&json!({ "sender": "@a:x", "content": content })).expect("a creation")
        };
        let outranking = |version: &str| {
            ["@a:x", "@b:x", "@c:x"]
                .map(|user| made(version).outranks(<&UserId>::try_from(user).expect("an id")))
        };
        assert_eq!((outranking("12"), outranking("11")), ([true, true, false], [false; 3]));
        assert_eq!(made("11").predecessor.as_deref().map(RoomId::as_str), Some("!old:x"));
        assert!(Creation::of(&json!({ "content": {} })).is_none());
        assert_eq!(Creation::of(&json!({ "sender": "@a:x" })).expect("bare").version, "1");
    }
}
