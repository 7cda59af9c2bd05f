//! Who is typing: kept in memory by each process, and told to all processes over the same data.
//!
//! A change is [told](store::Ear) at a position of the one order, and is in effect once it is heard: at that position,
//! in every process. So `/sync` tells by its token whether a client knows of it, whichever process gave the token, and
//! the process that sends to other servers sends what users of all processes do. Nothing is stored.
//!
//! Where several processes share the data, what comes within a quarter of a second is told together, in one commit.
//! Whoever said that somebody types says when he ceases, and says it again while he goes on; should that process die,
//! the others end it a moment later by themselves. What began before a process was there, it hears of when it is said
//! again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#typing-notifications>

mod state;

use std::{sync::Arc, time::Duration};

use base::Clock;
use parking_lot::Mutex;
use ruma::{OwnedUserId, RoomId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use store::{Batch, CommitError, Ear, MOST_TOLD, Position, Store, Topic, Value};
use tokio::sync::oneshot;
use tracing::debug;

pub use self::state::TypingChange;
use self::state::{Among, Inner, LONGEST, REMOTE, Said, WAITING};
use crate::{
    Error, RoomSerial, Rooms,
    read::{event::StoredEvent, membership::UserRooms, room::RoomInfo},
    tables::Membership,
};

/// Whose ear it is among those of the store.
const EAR: u8 = 1;

/// So many rooms of one user in which somebody types are told of.
const MOST_AMONG: usize = 16;

/// Where several processes share the data, changes gather for so long after some were told.
const GATHER: Duration = Duration::from_millis(250);

/// What a process tells the others: it comes from the database, but any of them may be of another version.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Telling {
    /// Which process says it.
    teller: u64,
    said: Vec<Said>,
}

store::row!(Telling, schema = 1);

/// Who types, in all rooms.
pub(crate) struct Typing {
    clock: Clock,
    /// Names this process among those over the same data.
    teller: u64,
    /// Since when it hears.
    opened: Position,
    inner: Mutex<Inner>,
}

impl Typing {
    /// Nobody types; hears from now on who does.
    pub(crate) fn listening(store: &Store, clock: &Clock, teller: u64) -> Arc<Self> {
        let opened = store.head();
        let typing = Arc::new(Self { clock: clock.clone(), teller, opened, inner: Mutex::default() });
        store.listen(EAR, typing.clone());
        typing
    }
}

impl Ear for Typing {
    fn hear(&self, position: Position, told: &[u8]) {
        let Ok(Telling { teller, said }) = Telling::decode(&bytes::Bytes::copy_from_slice(told)) else {
            debug!(%position, "what another process tells of typing cannot be read");
            return;
        };
        let now = self.clock.instant();
        let among = Among { teller: self.teller, is_shared: true };
        let mut inner = self.inner.lock();
        for said in said {
            inner.hear(said, position, teller, among, now);
        }
    }
}

impl std::fmt::Debug for Typing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Typing").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Has a batch tell this, with the topics of those who have to hear of it.
fn tell(batch: &mut Batch, teller: u64, all: &[Said]) {
    let mut rest = all;
    while !rest.is_empty() {
        let mut bytes = 64;
        let fits = |said: &&Said| {
            bytes += said.size_bytes();
            bytes <= MOST_TOLD
        };
        // One alone always fits: names have at most 255 bytes.
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let mut topics: Vec<Topic> = now.iter().flat_map(Said::topics).collect();
        topics.sort_unstable();
        topics.dedup();
        batch.tell(EAR, &Telling { teller, said: now.to_vec() }.encode(), topics);
        rest = later;
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
        match self.note_typing(&room, user, timeout.map(|timeout| timeout.min(LONGEST)), true) {
            // One that was stopped at shutdown: told or not.
            Some(told) => told.await.unwrap_or(Err(CommitError::Unknown)).map_err(Error::Commit),
            None => Ok(()),
        }
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
        match self.note_typing(&room, user, typing.then_some(REMOTE), false) {
            // Among several processes it gathers, and a transaction has a hundred of them: none waits for that.
            Some(told) if !self.store().is_shared() => {
                told.await.unwrap_or(Err(CommitError::Unknown)).map_err(Error::Commit)
            }
            _ => Ok(()),
        }
    }

    /// Has the batch that puts users out tell that they do not type any more, if they do: whoever hears of the one
    /// hears of the other.
    pub fn end_typing<'a>(
        &self,
        room: &RoomInfo,
        batch: &mut Batch,
        events: impl Iterator<Item = &'a StoredEvent>,
    ) {
        let gone = events
            .filter(|event| event.is_shown() && event.membership().is_some_and(|is| is != Membership::Join))
            .filter_map(|event| <&UserId>::try_from(event.state_key()?).ok());
        let typing = &self.reader().typing;
        let mut said = Vec::new();
        for user in gone {
            said.extend(typing.inner.lock().put_out(room, user));
        }
        tell(batch, typing.teller, &said);
    }

    /// Notes who types; answers when all know it, if anything has to be told.
    fn note_typing(
        &self,
        room: &RoomInfo,
        user: &UserId,
        timeout: Option<Duration>,
        is_local: bool,
    ) -> Option<oneshot::Receiver<Result<(), CommitError>>> {
        let typing = &self.reader().typing;
        let among = Among { teller: typing.teller, is_shared: self.store().is_shared() };
        let mut inner = typing.inner.lock();
        // What other servers say leaves room for what our users do.
        let most = if is_local { WAITING } else { WAITING / 2 };
        // Whoever stops tells nothing more, and nobody would be answered.
        if inner.waiting.len() >= most || self.0.tasks.shutdown_token().is_cancelled() {
            return None;
        }
        let said = inner.say(room, user, timeout, is_local, among, self.0.clock.instant())?;
        let (answer, told) = oneshot::channel();
        inner.asking.push(answer);
        let is_first = inner.wait_to_tell(said);
        drop(inner);
        if is_first {
            self.start_telling_typing();
        }
        Some(told)
    }

    /// Tells what waits, and what comes meanwhile. In a task of its own: whoever asked may be gone before.
    fn start_telling_typing(&self) {
        let rooms = self.clone();
        self.0.tasks.spawn("typing change", async move {
            let stop = rooms.0.tasks.shutdown_token();
            if stop.run_until_cancelled(rooms.tell_typing()).await.is_none() {
                rooms.reader().typing.inner.lock().asking.clear();
            }
        });
    }

    async fn tell_typing(&self) {
        let typing = &self.reader().typing;
        loop {
            let (batch, asking) = {
                let mut inner = typing.inner.lock();
                inner.telling = std::mem::take(&mut inner.waiting);
                if inner.telling.is_empty() && inner.asking.is_empty() {
                    inner.is_telling = false;
                    return;
                }
                let mut batch = Batch::new();
                tell(&mut batch, typing.teller, &inner.telling);
                (batch, std::mem::take(&mut inner.asking))
            };
            let told = self.store().commit(batch).await.map(drop);
            typing.inner.lock().telling.clear();
            if let Err(error) = &told {
                debug!(%error, "nobody is told who types");
            }
            self.watch_typing();
            for asking in asking {
                // Whoever asked may be gone.
                asking.send(told.clone()).ok();
            }
            if self.store().is_shared() {
                self.0.clock.sleep(GATHER).await;
            }
        }
    }

    /// Makes sure that a task waits for those whose time runs out.
    fn watch_typing(&self) {
        let mut inner = self.reader().typing.inner.lock();
        // In this order: all who type are looked through for the next one.
        if inner.watched || inner.next_expiry().is_none() {
            return;
        }
        inner.watched = true;
        drop(inner);
        let rooms = self.clone();
        self.0.tasks.spawn("typing", async move {
            let stop = rooms.0.tasks.shutdown_token();
            stop.run_until_cancelled(rooms.expire_typing()).await;
        });
    }

    async fn expire_typing(&self) {
        let typing = &self.reader().typing;
        loop {
            let pause = {
                let mut inner = typing.inner.lock();
                let pause = inner.until_expiry(self.0.clock.instant());
                inner.watched = pause.is_some();
                pause
            };
            let Some(pause) = pause else { return };
            self.0.clock.sleep(pause).await;
            let is_first = {
                let mut inner = typing.inner.lock();
                let expired = inner.expire(|user| self.is_local(user), self.0.clock.instant());
                let mut is_first = false;
                for said in expired {
                    is_first |= inner.wait_to_tell(said);
                }
                is_first
            };
            if is_first {
                self.start_telling_typing();
            }
        }
    }

    /// Whether something is on its way to those who hear who types.
    pub fn is_telling_typing(&self) -> bool {
        self.reader().typing.inner.lock().is_telling
    }

    /// Who types in a room, if that changed after `since`; an empty list when nobody does any more.
    pub fn typing_since(&self, room: RoomSerial, since: Position) -> Option<Vec<OwnedUserId>> {
        let inner = self.reader().typing.inner.lock();
        let typing = inner.rooms.get(&room).filter(|typing| typing.position > since)?;
        Some(typing.users.keys().cloned().collect())
    }

    /// The rooms in which that changed after `since`, with who types there; those in which nobody does any more are
    /// remembered for a while.
    pub fn typing_news(&self, since: Position) -> Vec<(RoomSerial, Vec<OwnedUserId>)> {
        let inner = self.reader().typing.inner.lock();
        let moved = inner.rooms.iter().filter(|(_, typing)| typing.position > since);
        moved.map(|(room, typing)| (*room, typing.users.keys().cloned().collect())).collect()
    }

    /// Whether who was told up to here may have been told of somebody who types of whom this process has never heard:
    /// nobody will say when he ceases.
    pub fn may_have_missed_typing(&self, since: Position) -> bool {
        since <= self.reader().typing.opened
    }

    /// Rooms of a user in which somebody types, some of them.
    pub fn typing_among(&self, rooms: &UserRooms) -> Vec<RoomSerial> {
        let inner = self.reader().typing.inner.lock();
        let is_typed_in = |room: &RoomSerial| inner.rooms.get(room).is_some_and(|it| !it.users.is_empty());
        let joined = rooms.with(Membership::Join).map(|row| row.room);
        joined.filter(is_typed_in).take(MOST_AMONG).collect()
    }

    /// Who types in a room.
    pub fn typing_in(&self, room: RoomSerial) -> Vec<OwnedUserId> {
        let inner = self.reader().typing.inner.lock();
        inner.rooms.get(&room).map(|typing| typing.users.keys().cloned().collect()).unwrap_or_default()
    }

    /// What users of ours did after a position, as far as it is remembered (1,024 changes).
    ///
    /// A change may be given twice to one who asks for what came after the last that he was given.
    pub fn typing_changes_since(&self, since: Position) -> Vec<TypingChange> {
        let inner = self.reader().typing.inner.lock();
        inner.changes.iter().filter(|change| change.position > since).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_fits_into_what_can_be_told() {
        let said = Said {
            room: u64::MAX,
            room_id: "!".repeat(255),
            user: "@".repeat(255),
            millis: u64::MAX,
            is_news: true,
            is_outgoing: true,
        };
        let telling = Telling { teller: u64::MAX, said: vec![said; 28] };
        let bytes: usize = 64 + telling.said.iter().map(Said::size_bytes).sum::<usize>();
        assert!(telling.encode().len() <= bytes && bytes <= MOST_TOLD, "{bytes}");
    }
}
