//! Who is typing: kept in memory, gone with the process.
//!
//! A change takes a position of the one order, so that `/sync` can tell whether a client knows it,
//! and wakes the room's readers. Nothing is stored.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#typing-notifications>

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use base::Instant;
use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use store::{CommitError, Position, Topic};
use tracing::debug;

use crate::{
    Error, RoomSerial, Rooms,
    read::{event::StoredEvent, room::RoomInfo},
    tables::Membership,
};

/// Longest time for which a client may say that its user types.
const LONGEST: Duration = Duration::from_secs(120);

/// How long a user of another server types when his server says nothing more.
const REMOTE: Duration = Duration::from_secs(60);

/// How often other servers are told again of one who goes on typing.
const REPEAT: Duration = Duration::from_secs(40);

/// Rooms in which nobody types any more are forgotten above this number.
const ROOMS_KEPT: usize = 4_096;

/// So many are shown typing in one room; who comes later is not.
const USERS_KEPT: usize = 100;

/// Changes kept for other servers.
const CHANGES_KEPT: usize = 1_024;

/// A user of ours began or ceased to type: for other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingChange {
    /// In which room.
    pub room_id: OwnedRoomId,
    /// Who.
    pub user_id: OwnedUserId,
    /// Whether he types.
    pub typing: bool,
    /// When it happened.
    pub position: Position,
}

/// Who types, in all rooms.
#[derive(Debug, Default)]
pub(crate) struct Typing(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rooms: HashMap<RoomSerial, RoomTyping>,
    /// Newest last.
    changes: VecDeque<TypingChange>,
    /// Whether a task waits for the next one to run out.
    watched: bool,
}

#[derive(Debug)]
struct RoomTyping {
    room_id: OwnedRoomId,
    users: BTreeMap<OwnedUserId, UserTyping>,
    /// Of the last change that has one.
    position: Position,
    /// Changes that are being given their positions. Whoever reads meanwhile is told too much rather than too little.
    pending: u32,
    /// A change could not be told: the next one that can tells of it too.
    is_untold: bool,
}

impl RoomTyping {
    fn changed_since(&self, since: Position) -> bool {
        self.pending > 0 || self.is_untold || self.position > since
    }
}

#[derive(Clone, Copy, Debug)]
struct UserTyping {
    until: Instant,
    told: Instant,
}

impl Inner {
    /// Notes that a user types or not. Whether the readers have to hear of it, and whether others have.
    fn set(&mut self, room: &RoomInfo, user: &UserId, until: Option<Instant>, now: Instant) -> (bool, bool) {
        if self.rooms.len() >= ROOMS_KEPT && !self.rooms.contains_key(&room.serial) {
            self.rooms.retain(|_, typing| !typing.users.is_empty() || typing.pending > 0);
        }
        let typing = self.rooms.entry(room.serial).or_insert_with(|| RoomTyping {
            room_id: room.room_id.clone(),
            users: BTreeMap::new(),
            position: Position::START,
            pending: 0,
            is_untold: false,
        });
        let is_full = typing.users.len() >= USERS_KEPT;
        let changed = match until {
            None => typing.users.remove(user).is_some(),
            Some(until) => match typing.users.get_mut(user) {
                Some(known) => {
                    known.until = until;
                    let repeat = now.since(known.told) >= REPEAT;
                    if repeat {
                        known.told = now;
                    }
                    return (false, repeat);
                }
                None if is_full => false,
                None => {
                    typing.users.insert(user.to_owned(), UserTyping { until, told: now });
                    true
                }
            },
        };
        if changed {
            typing.pending += 1;
        }
        (changed, changed)
    }

    /// Takes out users who are not in the room any more; whether anybody was. The change waits for its
    /// position.
    fn take_out<'a>(&mut self, room: RoomSerial, users: impl Iterator<Item = &'a UserId>) -> bool {
        let Some(typing) = self.rooms.get_mut(&room) else { return false };
        let before = typing.users.len();
        for user in users {
            typing.users.remove(user);
        }
        let changed = typing.users.len() != before;
        if changed {
            typing.pending += 1;
        }
        changed
    }

    /// Gives a change in each of the rooms its position; without one, nobody was told of it.
    fn settle(&mut self, rooms: &[RoomSerial], position: Option<Position>) {
        for room in rooms {
            if let Some(typing) = self.rooms.get_mut(room) {
                typing.pending = typing.pending.saturating_sub(1);
                typing.is_untold = position.is_none();
                typing.position = typing.position.max(position.unwrap_or_default());
            }
        }
    }

    /// Keeps a change for other servers. Positions never go back in the list, so that whoever has seen one
    /// finds all later ones behind it.
    fn note(&mut self, mut change: TypingChange) {
        if let Some(last) = self.changes.back() {
            change.position = change.position.max(last.position);
        }
        self.changes.push_back(change);
        while self.changes.len() > CHANGES_KEPT {
            self.changes.pop_front();
        }
    }

    /// Takes out all whose time has come.
    fn expire(&mut self, now: Instant) -> Vec<(RoomSerial, OwnedRoomId, Vec<OwnedUserId>)> {
        let mut expired = Vec::new();
        for (room, typing) in &mut self.rooms {
            let gone: Vec<OwnedUserId> = typing
                .users
                .iter()
                .filter(|(_, typing)| typing.until <= now)
                .map(|(user, _)| user.clone())
                .collect();
            if !gone.is_empty() {
                typing.users.retain(|_, typing| typing.until > now);
                typing.pending += 1;
                expired.push((*room, typing.room_id.clone(), gone));
            }
        }
        expired
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.rooms.values().flat_map(|typing| typing.users.values()).map(|typing| typing.until).min()
    }
}

impl Rooms {
    /// Notes that a user of ours types in a room for so long, or with `None` that he ceased.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::NotJoined`].
    pub async fn set_typing(
        &self,
        user: &UserId,
        room_id: &RoomId,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let room = self.get_room(room_id).await?;
        if self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        self.note_typing(&room, user, timeout.map(|timeout| timeout.min(LONGEST)), true).await
    }

    /// Notes what another server says of a user of its own; others and non-members are ignored.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Commit`].
    pub async fn receive_typing(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user: &UserId,
        typing: bool,
    ) -> Result<(), Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(()) };
        if user.server_name() != origin || self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Ok(());
        }
        self.note_typing(&room, user, typing.then_some(REMOTE), false).await
    }

    /// Those who are put out by events that are about to be committed do not type any more. The change
    /// gets the events' position ([`Rooms::settle_typing`]), so whoever hears of them hears of it too.
    /// Whether there is a change.
    pub fn end_typing<'a>(&self, room: RoomSerial, events: impl Iterator<Item = &'a StoredEvent>) -> bool {
        let mut gone = events
            .filter(|event| event.is_shown() && event.membership().is_some_and(|is| is != Membership::Join))
            .filter_map(|event| <&UserId>::try_from(event.state_key()?).ok())
            .peekable();
        gone.peek().is_some() && self.reader().typing.0.lock().take_out(room, gone)
    }

    /// Gives what [`Rooms::end_typing`] changed its position.
    pub fn settle_typing(&self, room: RoomSerial, position: Position) {
        self.reader().typing.0.lock().settle(&[room], Some(position));
    }

    /// The same when those events were not committed: readers are told of the change by itself.
    pub async fn tell_typing_ended(&self, room: &RoomInfo) {
        let changed = [(room.serial, room.room_id.clone(), Vec::new())];
        if let Err(error) = self.publish_typing(&changed).await {
            tracing::debug!(%error, "nobody is told who types no more");
        }
    }

    async fn note_typing(
        &self,
        room: &RoomInfo,
        user: &UserId,
        timeout: Option<Duration>,
        local: bool,
    ) -> Result<(), Error> {
        let now = self.0.clock.instant();
        let (readers, others) =
            self.reader().typing.0.lock().set(room, user, timeout.map(|timeout| now + timeout), now);
        if timeout.is_some() {
            self.watch_typing();
        }
        if readers || (others && local) {
            let change = (local && others).then(|| (user.to_owned(), timeout.is_some()));
            let changed = [(room.serial, room.room_id.clone(), change.into_iter().collect())];
            let rooms = self.clone();
            // In a task of its own: whoever asked may be gone before the change has its position, and without one
            // readers would be told of it again and again, and others never.
            let published =
                self.0.tasks.spawn("typing change", async move { rooms.publish_typing(&changed).await });
            // One that was stopped at shutdown: told or not.
            return published.await.unwrap_or(Err(Error::Commit(CommitError::Unknown)));
        }
        Ok(())
    }

    /// Gives changes their position and wakes those who have to hear of them.
    #[expect(clippy::type_complexity, reason = "rooms and, in each, users of ours with what they do now")]
    async fn publish_typing(
        &self,
        changed: &[(RoomSerial, OwnedRoomId, Vec<(OwnedUserId, bool)>)],
    ) -> Result<(), Error> {
        let topics = changed.iter().map(|(_, room_id, _)| Topic::ephemeral(room_id.as_str()));
        let published = self.store().publish(topics).await;
        let position = match &published {
            Ok(position) => *position,
            Err(_) => self.store().head(),
        };
        let rooms: Vec<RoomSerial> = changed.iter().map(|(room, _, _)| *room).collect();
        {
            let mut inner = self.reader().typing.0.lock();
            inner.settle(&rooms, published.is_ok().then_some(position));
            for (_, room_id, users) in changed {
                for (user_id, typing) in users {
                    inner.note(TypingChange {
                        room_id: room_id.clone(),
                        user_id: user_id.clone(),
                        typing: *typing,
                        position,
                    });
                }
            }
        }
        published.map_err(Error::Commit)?;
        // Only now, when the change can be found with its position.
        if changed.iter().any(|(_, _, users)| !users.is_empty()) {
            self.store().publish([Topic::destination("*")]).await.map_err(Error::Commit)?;
        }
        Ok(())
    }

    /// Makes sure that a task waits for those whose time runs out.
    fn watch_typing(&self) {
        let mut inner = self.reader().typing.0.lock();
        if std::mem::replace(&mut inner.watched, true) {
            return;
        }
        drop(inner);
        let rooms = self.clone();
        self.0.tasks.spawn("typing", async move {
            let stop = rooms.0.tasks.shutdown_token();
            stop.run_until_cancelled(rooms.expire_typing()).await;
        });
    }

    async fn expire_typing(&self) {
        loop {
            let next = {
                let mut inner = self.reader().typing.0.lock();
                let next = inner.next_expiry();
                inner.watched = next.is_some();
                next
            };
            let Some(next) = next else { return };
            let now = self.0.clock.instant();
            if next > now {
                // At most a second, so that one who ceased and began again is not missed for long.
                self.0.clock.sleep(next.since(now).min(Duration::from_secs(1))).await;
            }
            let expired = self.reader().typing.0.lock().expire(self.0.clock.instant());
            if expired.is_empty() {
                continue;
            }
            let changed: Vec<_> = expired
                .into_iter()
                .map(|(room, room_id, users)| {
                    let ours = users.into_iter().filter(|user| self.is_local(user));
                    (room, room_id, ours.map(|user| (user, false)).collect())
                })
                .collect();
            if let Err(error) = self.publish_typing(&changed).await {
                debug!(%error, "typing could not be published");
            }
        }
    }

    /// Who types in a room, if that changed after `since`; an empty list when nobody does any more.
    pub fn typing_since(&self, room: RoomSerial, since: Position) -> Option<Vec<OwnedUserId>> {
        let inner = self.reader().typing.0.lock();
        let typing = inner.rooms.get(&room).filter(|typing| typing.changed_since(since))?;
        Some(typing.users.keys().cloned().collect())
    }

    /// Who types in a room.
    pub fn typing_in(&self, room: RoomSerial) -> Vec<OwnedUserId> {
        let inner = self.reader().typing.0.lock();
        inner.rooms.get(&room).map(|typing| typing.users.keys().cloned().collect()).unwrap_or_default()
    }

    /// What users of ours did after a position, as far as it is remembered (1,024 changes).
    ///
    /// A change may be given twice to one who asks for what came after the last that he was given.
    pub fn typing_changes_since(&self, since: Position) -> Vec<TypingChange> {
        let inner = self.reader().typing.0.lock();
        inner.changes.iter().filter(|change| change.position > since).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use base::Clock;
    use ruma::user_id;

    use super::*;

    const ROOM: RoomSerial = RoomSerial(1);

    fn one_types(inner: &mut Inner, user: &UserId) {
        let room_id = OwnedRoomId::try_from("!room:a.test").unwrap();
        let room = RoomInfo { serial: ROOM, room_id, version: pdu::RoomVersion::DEFAULT };
        let now = Clock::manual(0).0.instant();
        assert!(inner.set(&room, user, Some(now + REMOTE), now).0);
    }

    #[test]
    fn of_two_changes_at_once_the_second_is_told_to_who_was_told_of_the_first() {
        let mut inner = Inner::default();
        one_types(&mut inner, user_id!("@hanako:a.test"));
        one_types(&mut inner, user_id!("@taro:a.test"));
        inner.settle(&[ROOM], Some(Position(5)));
        assert!(inner.rooms[&ROOM].changed_since(Position(5)), "the second has no position yet");
        inner.settle(&[ROOM], Some(Position(6)));
        assert!(inner.rooms[&ROOM].changed_since(Position(5)));
        assert!(!inner.rooms[&ROOM].changed_since(Position(6)));
    }

    #[test]
    fn what_could_not_be_told_is_told_with_the_next_change() {
        let mut inner = Inner::default();
        one_types(&mut inner, user_id!("@hanako:a.test"));
        inner.settle(&[ROOM], None);
        assert!(inner.rooms[&ROOM].changed_since(Position(9)));
        one_types(&mut inner, user_id!("@taro:a.test"));
        inner.settle(&[ROOM], Some(Position(9)));
        assert!(!inner.rooms[&ROOM].changed_since(Position(9)));
    }
}
