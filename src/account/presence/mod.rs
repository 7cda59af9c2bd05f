//! Presence: who is there just now.
//!
//! What our own people are follows from their devices: what they ask for with `/sync`, whether they still do, and
//! when their users did something last. Each process sees those that speak with it, and tells all processes over the
//! same data what has changed ([`store::Ear`]), gathered for a second; what all have said makes what somebody is shown
//! as. Of users of other servers those servers tell. Nothing is stored.
//!
//! Somebody is shown to those with whom he shares a room, and told of to those who wait only in rooms with few members,
//! and in few rooms: in a room of twelve thousand everybody who comes or goes would be told to twelve thousand. Where
//! presence is off, nothing is noted and nobody shown.
//!
//! All of it may be lost, and ends by itself: what a process said of its people once it has been silent for minutes,
//! what another server said after half an hour; and who was there before a process began and has not come back is away
//! for its clients soon after ([`settled`]).
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#presence>

mod flips;
mod known;
mod people;
mod settled;
mod unshown;
mod work;

use std::{collections::HashSet, sync::Arc, time::Duration};

use base::{Clock, Random, Tasks};
use parking_lot::Mutex;
use room::{RoomSerial, Rooms, read::membership::UserRooms, tables::Membership};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use store::{Ear, Position, Store, Topic, Value};
use tokio::sync::Notify;
use tracing::debug;

pub use self::settled::Silent;
use self::{
    known::{Everybody, Said},
    people::People,
    settled::Settled,
    work::Received,
};

/// Whose ear it is among those of the store.
const EAR: u8 = 2;

/// A device that has asked for nothing for so long is away.
const AWAY_AFTER: Duration = Duration::from_secs(45);

/// Who has done nothing for so long is not at his desk, whatever his client says.
const IDLE_AFTER: Duration = Duration::from_secs(5 * 60);

/// Who has done something within this time is active.
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);

/// Where several processes share the data, each says again so often who is there with it.
const REFRESH: Duration = Duration::from_secs(2 * 60);

/// What a process has said ends so long after it was last heard.
const OTHERS_LAST: Duration = Duration::from_secs(5 * 60);

/// Other servers are told again so often who is there.
const PING: Duration = Duration::from_secs(20 * 60);

/// What another server has said ends so long after it was last heard.
const OTHER_SERVERS_LAST: Duration = Duration::from_secs(30 * 60);

/// For so long it is not asked again how large somebody's rooms are.
const ROOMS_FRESH: Duration = Duration::from_secs(10 * 60);

/// Somebody is told of in so many of his rooms, the newest.
const MOST_ROOMS: usize = 50;

/// So many moves are looked through for those of presence; of more, each room is looked at.
const MOVES_LOOKED_AT: usize = 4_096;

/// Longest status message that is kept, in characters.
const MAX_STATUS_CHARS: usize = 1_000;

/// Nobody did something longer ago: clients read no larger numbers than 2^53.
const LONGEST_AGO: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Settings of presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceConfig {
    /// In rooms with more members nobody is told who comes and goes.
    pub largest_room: u64,
}

/// What somebody is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Not there.
    #[default]
    Offline,
    /// There, but not at his desk.
    Unavailable,
    /// There.
    Online,
}

impl State {
    /// By its name in the specification.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "online" => Self::Online,
            "unavailable" => Self::Unavailable,
            "offline" => Self::Offline,
            _ => return None,
        })
    }

    /// Its name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Unavailable => "unavailable",
            Self::Offline => "offline",
        }
    }
}

/// What somebody is shown as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub user: OwnedUserId,
    /// What he is.
    pub state: State,
    /// What he says that he does.
    pub status: Option<String>,
    /// How long ago he did something.
    pub active_ago: Duration,
    /// Whether that was just now.
    pub is_active: bool,
}

/// What another server says of a user of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceUpdate {
    /// Who.
    pub user: OwnedUserId,
    /// What he is.
    pub state: State,
    /// What he says that he does.
    pub status: Option<String>,
    /// How long ago he did something.
    pub active_ago: Duration,
}

/// What a process tells the others. It comes from the database, but any of them may be of another version.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Telling {
    said: Vec<Said>,
}

store::row!(Telling, schema = 1);

/// Who is there. Cheap to clone.
#[derive(Clone, Default)]
pub struct Presence(Option<Arc<Inner>>);

struct Inner {
    config: PresenceConfig,
    store: Store,
    rooms: Rooms,
    clock: Clock,
    tasks: Tasks,
    /// Names this process among those over the same data; never that of other servers.
    teller: u64,
    ear: Arc<Listening>,
    received: Mutex<Received>,
    settled: Settled,
    work: Notify,
}

/// What the store's ear fills.
struct Listening {
    clock: Clock,
    /// Those whose devices speak with this process.
    people: Mutex<People>,
    everybody: Mutex<Everybody>,
}

impl Ear for Listening {
    fn hear(&self, position: Position, told: &[u8]) {
        let Ok(Telling { said }) = Telling::decode(&bytes::Bytes::copy_from_slice(told)) else {
            debug!(%position, "what another process tells of presence cannot be read");
            return;
        };
        let now = self.clock.instant();
        for said in said.iter().filter(|said| said.is_gone) {
            if let Ok(user) = UserId::parse(&said.user) {
                self.people.lock().forget(&user);
            }
        }
        let mut everybody = self.everybody.lock();
        for said in said {
            everybody.hear(said, position, now);
        }
    }
}

impl Presence {
    /// Presence that is off: nothing is noted and nobody is shown.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Presence of the people of these rooms, and the task that tells it.
    pub fn open(
        config: PresenceConfig,
        store: &Store,
        rooms: &Rooms,
        clock: &Clock,
        random: &Random,
        tasks: &Tasks,
    ) -> Self {
        let ear = Arc::new(Listening {
            clock: clock.clone(),
            people: Mutex::default(),
            everybody: Mutex::default(),
        });
        store.listen(EAR, ear.clone());
        let inner = Arc::new(Inner {
            config,
            store: store.clone(),
            rooms: rooms.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            teller: random.u64().max(1),
            ear,
            received: Mutex::default(),
            settled: Settled::since(clock.instant()),
            work: Notify::new(),
        });
        let worker = inner.clone();
        tasks.spawn_restarting("presence", move || worker.clone().work());
        Self(Some(inner))
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A device asks for news, until what this gives is dropped. It asks to show its user as this; one that says nothing of
    /// it, as there; `rooms` are the user's.
    #[must_use]
    pub fn syncing(
        &self,
        user: &UserId,
        device: &DeviceId,
        asked: Option<State>,
        rooms: &UserRooms,
    ) -> Option<Syncing> {
        let inner = self.0.clone()?;
        if inner.ear.people.lock().begin(user, device, asked, rooms.newest, inner.clock.instant()) {
            inner.work.notify_one();
        }
        Some(Syncing { inner, user: user.to_owned(), device: device.to_owned() })
    }

    /// A user says what he is, and what he does, through one of his devices.
    pub fn set(&self, user: &UserId, device: &DeviceId, state: State, status: Option<String>) {
        let Some(inner) = &self.0 else { return };
        let status = status.map(bounded).filter(|status| !status.is_empty());
        let now = inner.clock.instant();
        let shown = inner.ear.everybody.lock().find(user, now).and_then(|seen| seen.status);
        inner.ear.people.lock().set(user, device, state, status, shown.as_deref(), now);
        inner.work.notify_one();
    }

    /// A user did something: said something, typed, read.
    pub fn act(&self, user: &UserId) {
        let Some(inner) = &self.0 else { return };
        if inner.ear.people.lock().act(user, inner.clock.instant()) {
            inner.work.notify_one();
        }
    }

    /// An account was closed: its user is shown to nobody any more.
    pub fn close(&self, user: &UserId) {
        let Some(inner) = &self.0 else { return };
        inner.ear.people.lock().forget(user);
        inner.received.lock().close(user);
        inner.work.notify_one();
    }

    /// What somebody is shown as, if anything is known of him. Whether he may be shown to who asks is for the caller to
    /// find out.
    pub fn find(&self, user: &UserId) -> Option<Seen> {
        let inner = self.0.as_ref()?;
        inner.ear.everybody.lock().find(user, inner.clock.instant())
    }

    /// The same as it is this moment, also what all have still to be told: whoever has said something of himself finds it
    /// when he asks.
    pub fn look_up(&self, user: &UserId) -> Option<Seen> {
        let inner = self.0.as_ref()?;
        let now = inner.clock.instant();
        let here = inner.ear.people.lock().find(user, now);
        let everybody = inner.ear.everybody.lock();
        let Some((state, status, active_ago)) = here else { return everybody.find(user, now) };
        let elsewhere = everybody.find_but_for(user, Some(inner.teller), now);
        let (other_state, other_status, other_ago) = match elsewhere {
            Some(seen) => (seen.state, seen.status, seen.active_ago),
            None => (State::Offline, None, active_ago),
        };
        let (state, active_ago) = (state.max(other_state), active_ago.min(other_ago));
        Some(Seen {
            user: user.to_owned(),
            state,
            status: status.unwrap_or(other_status),
            active_ago,
            is_active: state == State::Online && active_ago < ACTIVE_WITHIN,
        })
    }

    /// Of these, those of whom anything is known, each with the position of his last change.
    pub fn find_all<'a>(&self, users: impl Iterator<Item = &'a UserId>) -> Vec<(Position, Seen)> {
        let Some(inner) = &self.0 else { return Vec::new() };
        let now = inner.clock.instant();
        let everybody = inner.ear.everybody.lock();
        let find = |user| Some((everybody.changed_at(user)?, everybody.find(user, now)?));
        users.filter_map(find).collect()
    }

    /// Whether anybody changed after a position. Costs nothing.
    pub fn has_moved(&self, since: Position) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.ear.everybody.lock().newest() > since)
    }

    /// Who changed between two positions in rooms that a user is joined to: with a room of each. Reads nothing.
    pub fn changed(
        &self,
        rooms: &UserRooms,
        since: Position,
        head: Position,
    ) -> Vec<(RoomSerial, OwnedUserId)> {
        let Some(inner) = self.0.as_ref().filter(|_| self.has_moved(since)) else { return Vec::new() };
        // Mostly in few of many rooms, or in none.
        // What this process alone had missed no topic tells of.
        let is_told = inner.ear.everybody.lock().untold() <= since;
        let moved = inner.store.moved_since(since, MOVES_LOOKED_AT).filter(|_| is_told);
        let moved: Option<HashSet<Topic>> = moved.map(|moved| {
            let kind = Topic::presence(0).kind;
            moved.into_iter().filter(|topic| topic.kind == kind).collect()
        });
        if moved.as_ref().is_some_and(HashSet::is_empty) {
            return Vec::new();
        }
        let is_moved =
            |room: &RoomSerial| moved.as_ref().is_none_or(|moved| moved.contains(&Self::topic(*room)));
        let rooms = rooms.with(Membership::Join).map(|row| row.room).filter(is_moved);
        let everybody = inner.ear.everybody.lock();
        let mut seen = HashSet::new();
        let mut changed = Vec::new();
        for room in rooms {
            for user in everybody.changed_in(room.0, since, head) {
                if seen.insert(user.clone()) {
                    changed.push((room, user));
                }
            }
        }
        changed
    }

    /// With how many joined members a room may be at most for presence to be told in it; none: it is told nowhere.
    pub fn largest_room(&self) -> Option<u64> {
        self.0.as_ref().map(|inner| inner.config.largest_room)
    }

    /// Takes what another server says of users of its own. What is said of others is left out, and so is what there is
    /// too much of.
    pub fn receive(&self, origin: &ServerName, updates: Vec<PresenceUpdate>) {
        let Some(inner) = &self.0 else { return };
        let now = inner.clock.instant();
        let mut received = inner.received.lock();
        let everybody = inner.ear.everybody.lock();
        let mut is_any = false;
        for mut update in updates.into_iter().filter(|update| update.user.server_name() == origin) {
            update.status = update.status.map(bounded).filter(|status| !status.is_empty());
            update.active_ago = update.active_ago.min(LONGEST_AGO);
            let is_told_later = received.unshown.renew(&update, now);
            if !is_told_later && everybody.is_news(&update.user, update.state, &update.status, now) {
                is_any |= received.push(update);
            }
        }
        drop(everybody);
        if is_any {
            inner.work.notify_one();
        }
    }

    /// Users of ours who changed after a position, with the rooms in which they are told of, as far as that is
    /// remembered (4,096 changes): for other servers.
    pub fn changes_since(&self, since: Position) -> Vec<(Position, OwnedUserId)> {
        let Some(inner) = &self.0 else { return Vec::new() };
        inner.ear.everybody.lock().changes_since(since)
    }

    /// Those who are there and are told of in a room, each with the position of his last change.
    pub fn present_in(&self, room: RoomSerial) -> Vec<(OwnedUserId, Position)> {
        let Some(inner) = &self.0 else { return Vec::new() };
        inner.ear.everybody.lock().present_in(room.0)
    }

    /// The rooms in which somebody is told of.
    pub fn rooms_of(&self, user: &UserId) -> Vec<RoomSerial> {
        let Some(inner) = &self.0 else { return Vec::new() };
        inner.ear.everybody.lock().rooms_of(user).into_iter().map(RoomSerial).collect()
    }

    /// What commits touch that tell who came or went in a room.
    #[must_use]
    pub fn topic(room: RoomSerial) -> Topic {
        Topic::presence(room.0)
    }
}

/// At most the characters of a status message.
fn bounded(status: String) -> String {
    match status.char_indices().nth(MAX_STATUS_CHARS) {
        Some((end, _)) => status[..end].to_owned(),
        None => status,
    }
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence").field("is_on", &self.is_on()).finish()
    }
}

/// A device that asks for news just now.
#[must_use = "dropped, it asks no more"]
pub struct Syncing {
    inner: Arc<Inner>,
    user: OwnedUserId,
    device: OwnedDeviceId,
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.inner.ear.people.lock().end(&self.user, &self.device, self.inner.clock.instant());
    }
}
