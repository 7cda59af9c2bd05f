//! Rooms that are made up: what they say is in memory, what is written beside it in the store, in one step, as an engine
//! does. They know power and look after each change that there is a moderator, and they can break down between two steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use organisation::PersonId;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::Value;
use store::{Batch, Store};

use super::user;
use crate::{Account, Actual, Beside, Change, NewRoom, Outcome, Piece, Presence, Rooms, VerbError};

#[derive(Default)]
struct Room {
    actual: Actual,
    is_space: bool,
    /// Whether there was a moderator in it once.
    was_moderated: bool,
}

pub(super) struct MadeUp {
    store: Store,
    rooms: Mutex<BTreeMap<OwnedRoomId, Room>>,
    closed: Mutex<BTreeSet<OwnedUserId>>,
    locked: Mutex<BTreeSet<OwnedUserId>>,
    made: AtomicI64,
    /// Changes are one after another, as those of each room are.
    turn: tokio::sync::Mutex<()>,
    /// How many commits are made before the power goes.
    left: AtomicI64,
    /// Member events of each room, in the order in which they came.
    pub(super) said: Mutex<Vec<String>>,
}

impl MadeUp {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            rooms: Mutex::default(),
            closed: Mutex::default(),
            locked: Mutex::default(),
            made: AtomicI64::new(0),
            turn: tokio::sync::Mutex::default(),
            left: AtomicI64::new(i64::MAX),
            said: Mutex::default(),
        }
    }

    /// Lets so many more commits be made, and none after them.
    pub(super) fn break_after(&self, commits: i64) {
        self.left.store(commits, Ordering::SeqCst);
    }

    pub(super) fn lock_account(&self, name: &str) {
        self.locked.lock().unwrap().insert(user(name));
    }

    pub(super) fn close_account(&self, name: &str) {
        self.closed.lock().unwrap().insert(user(name));
    }

    pub(super) fn names(&self) -> Vec<String> {
        let rooms = self.rooms.lock().unwrap();
        let mut names: Vec<_> = rooms.values().map(|room| name(&room.actual)).collect();
        names.sort();
        names
    }

    pub(super) fn named(&self, wanted: &str) -> Option<OwnedRoomId> {
        let rooms = self.rooms.lock().unwrap();
        rooms.iter().find(|(_, room)| name(&room.actual) == wanted).map(|(id, _)| id.clone())
    }

    pub(super) fn members(&self, id: &RoomId) -> Vec<String> {
        let rooms = self.rooms.lock().unwrap();
        let actual = &rooms[id].actual;
        let joined = actual.members.iter().filter(|(_, is)| **is == Presence::Joined);
        let mut joined: Vec<_> = joined.map(|(user, _)| user).collect();
        joined.retain(|user| user.localpart() != "_rooms");
        joined.sort_by_key(|user| user.localpart());
        let told = joined.into_iter().map(|user| {
            let mark = match level(actual, user) {
                50.. => "!",
                ..0 => "-",
                _ => "",
            };
            format!("{}{mark}", user.localpart())
        });
        told.collect()
    }

    pub(super) fn content(&self, id: &RoomId, kind: &str, key: &str) -> Option<Value> {
        let rooms = self.rooms.lock().unwrap();
        rooms[id].actual.content(kind, key).cloned()
    }

    /// What somebody does in a room by himself.
    pub(super) fn by_hand(&self, id: &RoomId, does: impl FnOnce(&mut Actual)) {
        let mut rooms = self.rooms.lock().unwrap();
        does(&mut rooms.entry(id.to_owned()).or_default().actual);
    }

    pub(super) fn purge(&self, id: &RoomId) {
        self.rooms.lock().unwrap().remove(id);
    }

    async fn commit(&self, batch: Batch) -> Result<(), VerbError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(VerbError::Failed("the power is gone".to_owned()));
        }
        self.store.commit(batch).await.map(drop).map_err(|error| VerbError::Failed(error.to_string()))
    }
}

fn name(actual: &Actual) -> String {
    let name = actual.content("m.room.name", "").and_then(|content| content["name"].as_str());
    name.unwrap_or_default().to_owned()
}

fn level(actual: &Actual, user: &UserId) -> i64 {
    if actual.creators.contains(user) {
        return i64::MAX;
    }
    let levels = actual.content("m.room.power_levels", "");
    levels.and_then(|levels| levels["users"][user.as_str()].as_i64()).unwrap_or(0)
}

impl Room {
    /// Whoever of the people moderates is in it, unless it is closed.
    fn look_after(&mut self) {
        let actual = &self.actual;
        let is_one = |user: &OwnedUserId| user.localpart() != "_rooms" && level(actual, user) >= 50;
        let joined = actual.members.iter().filter(|(_, is)| **is == Presence::Joined);
        let is_moderated = joined.map(|(user, _)| user).any(is_one);
        let levels = actual.content("m.room.power_levels", "");
        let is_closed = levels.is_some_and(|levels| levels["events_default"] == 100);
        assert!(is_moderated || !self.was_moderated || is_closed, "nobody moderates {}", name(actual));
        self.was_moderated = is_moderated;
    }
}

#[async_trait]
impl Rooms for MadeUp {
    async fn steward(&self, _: &ServerName) -> Result<OwnedUserId, VerbError> {
        Ok(user("_rooms"))
    }

    async fn open_accounts(
        &self,
        _: &ServerName,
        people: &[(PersonId, &str)],
    ) -> Result<Vec<(PersonId, Account)>, VerbError> {
        let (closed, locked) = (self.closed.lock().unwrap(), self.locked.lock().unwrap());
        let all = people.iter().map(|(person, name)| (*person, user(name)));
        let open = all.filter(|(_, user)| !closed.contains(user));
        Ok(open.map(|(person, user)| (person, Account { can_act: !locked.contains(&user), user })).collect())
    }

    async fn look(&self, room: &RoomId, _: &[Piece]) -> Result<Option<Actual>, VerbError> {
        Ok(self.rooms.lock().unwrap().get(room).map(|room| {
            let mut actual = room.actual.clone();
            if room.is_space {
                let create = ("m.room.create".to_owned(), String::new());
                actual.state.insert(create, serde_json::json!({ "type": "m.space" }));
            }
            actual
        }))
    }

    async fn pieces(&self, room: &RoomId, pieces: &[Piece]) -> Result<Vec<Option<Value>>, VerbError> {
        let rooms = self.rooms.lock().unwrap();
        let Some(room) = rooms.get(room) else { return Ok(Vec::new()) };
        Ok(pieces.iter().map(|piece| room.actual.state.get(piece).cloned()).collect())
    }

    async fn make(
        &self,
        steward: &UserId,
        room: NewRoom,
        beside: Beside<'_>,
    ) -> Result<OwnedRoomId, VerbError> {
        let count = self.made.fetch_add(1, Ordering::SeqCst);
        let id: OwnedRoomId = format!("!r{count}:kanazawa.test").try_into().unwrap();
        let mut batch = Batch::new();
        beside(&mut batch, &id, &[Outcome::Done]);
        self.commit(batch).await?;
        let mut state: BTreeMap<Piece, Value> = room.state.into_iter().collect();
        let mut say =
            |kind: &str, content: Value| drop(state.insert((kind.to_owned(), String::new()), content));
        say("m.room.name", serde_json::json!({ "name": room.name }));
        if let Some(topic) = room.topic {
            say("m.room.topic", serde_json::json!({ "topic": topic }));
        }
        say("m.room.power_levels", room.levels);
        let members = BTreeMap::from([(steward.to_owned(), Presence::Joined)]);
        let creators = BTreeSet::from([steward.to_owned()]);
        let actual = Actual { state, members, creators, is_shared: false };
        let new = Room { actual, is_space: room.is_space, was_moderated: false };
        self.rooms.lock().unwrap().insert(id.clone(), new);
        Ok(id)
    }

    async fn change(
        &self,
        steward: &UserId,
        id: &RoomId,
        changes: &[Change],
        beside: Beside<'_>,
    ) -> Result<Vec<Outcome>, VerbError> {
        let _turn = self.turn.lock().await;
        let found = self.rooms.lock().unwrap().get(id).map(|room| room.actual.clone());
        let mut next = found.ok_or_else(|| VerbError::Refused("no room".to_owned()))?;
        let mut said = Vec::new();
        let mine = level(&next, steward);
        let mut outcomes = Vec::new();
        for change in changes {
            let present = |user| next.presence(user);
            outcomes.push(match change {
                Change::Join(user) => match present(user) {
                    Some(Presence::Joined) => Outcome::Unchanged,
                    Some(Presence::Banned) => Outcome::Refused,
                    _ => {
                        next.members.insert(user.clone(), Presence::Joined);
                        said.push(format!("+{} {}", user.localpart(), name(&next)));
                        Outcome::Done
                    }
                },
                Change::Leave(user) if present(user).is_none() => Outcome::Unchanged,
                Change::Leave(user) if level(&next, user) >= mine => Outcome::Refused,
                Change::Leave(user) => {
                    next.members.remove(user);
                    said.push(format!("-{} {}", user.localpart(), name(&next)));
                    Outcome::Done
                }
                Change::State(piece, content) if next.state.get(piece) == Some(content) => Outcome::Unchanged,
                Change::State(piece, content) => {
                    next.state.insert(piece.clone(), content.clone());
                    Outcome::Done
                }
            });
        }
        if outcomes.contains(&Outcome::Done) {
            let mut batch = Batch::new();
            beside(&mut batch, id, &outcomes);
            self.commit(batch).await?;
            let mut rooms = self.rooms.lock().unwrap();
            let room = rooms.get_mut(id).unwrap();
            room.actual = next;
            room.look_after();
            self.said.lock().unwrap().extend(said);
        }
        Ok(outcomes)
    }

    async fn take_over(&self, steward: &UserId, id: &RoomId, beside: Beside<'_>) -> Result<(), VerbError> {
        if !self.rooms.lock().unwrap()[id].actual.members.contains_key(&user("maker")) {
            return Err(VerbError::Refused("nobody of this server may give all power".to_owned()));
        }
        let mut batch = Batch::new();
        beside(&mut batch, id, &[Outcome::Done]);
        self.commit(batch).await?;
        self.by_hand(id, |actual| {
            actual.members.insert(steward.to_owned(), Presence::Joined);
            let piece = ("m.room.power_levels".to_owned(), String::new());
            let users = serde_json::json!({ steward.as_str(): 100, user("maker").as_str(): 50 });
            actual.state.insert(piece, serde_json::json!({ "users": users }));
        });
        Ok(())
    }
}
