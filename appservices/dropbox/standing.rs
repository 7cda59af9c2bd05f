//! Where a room stands: whether the bot can put files into it, and which room came in its stead.
//!
//! While it cannot, its links take nothing new, and their makers hear of it in their own rooms. Links go with their room when that is
//! upgraded, as soon as the bot is in the new one, and on from there to the last one that it is in, in whatever order it is asked into
//! them. Which that is, both rooms have to say: the old one's tombstone names the new room, and that was made out of the old one by
//! somebody with the power there to say so.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bot_kit::{
    Event, Failure, Homeserver, TxnId, Upgrade,
    ruma::{EventId, OwnedRoomId, OwnedUserId, RoomId, UserId},
};
use tracing::{info, warn};

use crate::{
    bot::{Dropbox, failure},
    drops::Closed,
    words,
};

/// What tells of an upgrade.
pub(crate) const TOMBSTONE: &str = "m.room.tombstone";

/// What begins encryption.
pub(crate) const ENCRYPTION: &str = "m.room.encryption";

/// Upgrades of a room that are followed.
const MOST_UPGRADES: usize = 20;

/// A pause before rooms are looked over once more.
const PAUSE: Duration = Duration::from_secs(60);

/// Whether the bot can put a file into a room that people still read, and in the clear. With this power a tombstone counts.
///
/// # Errors
/// [`Failure`] that may pass.
pub(crate) async fn can_speak(homeserver: &Homeserver, room: &RoomId, least: i64) -> Result<bool, Failure> {
    let asked = async {
        if !homeserver.is_joined(room, homeserver.user()).await?
            // Whoever missed the event that encrypted it puts nothing in the clear into it either.
            || homeserver.state(room, ENCRYPTION, "").await?.is_some()
            || homeserver.find_upgrade(room, least).await?.is_some()
        {
            return Ok(false);
        }
        homeserver.may_send(room, homeserver.user(), "m.room.message").await
    };
    match asked.await {
        Err(Failure::Refused(_)) => Ok(false),
        asked => asked,
    }
}

impl Dropbox {
    /// The bot came into a room: it may be the one in whose stead another stood, and what waits for it may come now.
    pub(crate) async fn came(&self, event: &Event) -> Result<(), Failure> {
        let room = &event.room_id;
        let old = match self.server().creation(room).await {
            Ok(creation) => creation.and_then(|creation| creation.predecessor),
            Err(failure) if failure.may_pass() => return Err(failure),
            // It was put out meanwhile.
            Err(_) => None,
        };
        if let Some(old) = old {
            self.follow(&old, room).await?;
            self.follow_over(&old, room).await?;
        }
        let cause = event.event_id.as_str();
        let last = self.go_on(room).await?;
        if last != *room {
            self.look_after(&last, cause).await?;
        }
        self.look_after(room, cause).await
    }

    /// A room was upgraded, or it is said no more that it was.
    pub(crate) async fn upgraded(&self, event: &Event) -> Result<(), Failure> {
        self.look_at(&event.room_id, event.event_id.as_str()).await
    }

    /// Sees where a room goes on, and whether what comes can go there.
    async fn look_at(&self, room: &RoomId, cause: &str) -> Result<(), Failure> {
        let last = self.go_on(room).await?;
        self.look_after(&last, cause).await
    }

    /// Takes the links of a room along to the room that it was upgraded to, and from there on as far as the bot is asked in; the last
    /// one.
    async fn go_on(&self, room: &RoomId) -> Result<OwnedRoomId, Failure> {
        let (mut room, least) = (room.to_owned(), self.drops.settings().least_power);
        for _ in 0..MOST_UPGRADES {
            if !self.drops.has_links(&room).await.map_err(failure)? {
                break;
            }
            let next = match self.server().find_upgrade(&room, least).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                next => next.unwrap_or_default(),
            };
            match next {
                Some(Upgrade { room: next, is_seen: true }) if self.follow(&room, &next).await? => {
                    room = next
                }
                Some(Upgrade { room: next, is_seen: false }) => {
                    self.drops.await_successor(&next, &room).await.map_err(failure)?;
                    break;
                }
                _ => break,
            }
        }
        Ok(room)
    }

    /// Sees, once after the start, to what the bot was not told of, or did not look at in an older release.
    pub(crate) async fn look_over(self: Arc<Self>) {
        while let Err(error) = self.look_over_all().await {
            warn!(%error, "rooms are looked over again in a while");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look_over_all(&self) -> Result<(), Failure> {
        let now = bot_kit::now_ms();
        for room in self.drops.rooms().await.map_err(failure)? {
            // Told of once in each run.
            let cause = format!("start {now} {room}");
            match self.look_over_one(&room, &cause).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                Err(failure) => warn!(room_id = %room, error = %failure, "a room cannot be looked at"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn look_over_one(&self, room: &RoomId, cause: &str) -> Result<(), Failure> {
        let encryption = match self.server().state_event(room, ENCRYPTION).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            encryption => encryption.unwrap_or_default(),
        };
        let is_open = !self.drops.of_room(room).await.map_err(failure)?.is_empty()
            || !self.drops.hands_of_room(room).await.map_err(failure)?.is_empty();
        let text = |key: &str| encryption.as_ref()?.get(key)?.as_str().filter(|_| is_open);
        if let Some((by, event)) = text("sender").zip(text("event_id"))
            && let (Ok(by), Ok(event)) = (<&UserId>::try_from(by), <&EventId>::try_from(event))
        {
            return self.encrypted(room, by, event).await;
        }
        self.look_at(room, cause).await
    }

    /// Sees whether what comes over a room's links can go there, since an event that may have changed that.
    pub(crate) async fn look_after(&self, room: &RoomId, cause: &str) -> Result<(), Failure> {
        if !self.drops.has_links(room).await.map_err(failure)? {
            return Ok(());
        }
        if can_speak(self.server(), room, self.drops.settings().least_power).await? {
            return self.drops.room_takes(room).await.map_err(failure);
        }
        if !self.drops.room_refuses(room, cause).await.map_err(failure)? {
            // It was told of before.
            return Ok(());
        }
        let links = self.drops.of_room(room).await.map_err(failure)?;
        self.tell_makers(&Closed { links, hands: Vec::new() }, cause, words::silent).await
    }

    /// Tells each maker of links what concerns his own, in his own room.
    pub(crate) async fn tell_makers(
        &self,
        closed: &Closed,
        cause: &str,
        say: impl Fn(&Closed) -> String,
    ) -> Result<(), Failure> {
        let by_maker: BTreeMap<&OwnedUserId, Closed> = closed.by_maker();
        for (maker, his) in by_maker {
            let txn = TxnId::of(&["closed", cause, maker.as_str()]);
            match self.private().tell(maker, &txn, &say(&his)).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                Err(failure) => warn!(error = %failure, "a maker cannot be told of his links"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Takes the links of a room to the one that it was upgraded to, if that is its successor and the bot is there; whether it did.
    async fn follow(&self, old: &RoomId, new: &RoomId) -> Result<bool, Failure> {
        if !self.drops.has_links(old).await.map_err(failure)? {
            return Ok(false);
        }
        match self.is_successor(old, new).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            // One of the two rooms cannot be seen.
            Err(_) | Ok(false) => return Ok(false),
            Ok(true) => {}
        }
        self.take_along(old, new).await?;
        Ok(true)
    }

    /// Takes links to a room that came of one into which the bot was never asked, from the rooms that were upgraded to that.
    async fn follow_over(&self, between: &RoomId, new: &RoomId) -> Result<(), Failure> {
        let least = self.drops.settings().least_power;
        for old in self.drops.awaiting(between).await.map_err(failure)? {
            if !self.drops.has_links(&old).await.map_err(failure)? || !self.may_have_links(new).await? {
                continue;
            }
            match self.server().is_successor_over(&old, between, new, least).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                Err(_) | Ok(false) => {}
                Ok(true) => self.take_along(&old, new).await?,
            }
        }
        Ok(())
    }

    async fn take_along(&self, old: &RoomId, new: &RoomId) -> Result<(), Failure> {
        // Said before it is done: who is killed in between says it again, under the same id.
        let txn = TxnId::of(&["moved", old.as_str(), new.as_str()]);
        match self.server().notice(new, &txn, &words::moved()).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(failure) => warn!(error = %failure, room_id = %new, "a room cannot be told of its links"),
            Ok(_) => {}
        }
        self.drops.move_room(old, new).await.map_err(failure)?;
        info!(room_id = %old, successor = %new, "links went with their room");
        Ok(())
    }

    /// Whether the bot is in a room where what comes is not in the clear beside what is encrypted.
    async fn may_have_links(&self, room: &RoomId) -> Result<bool, Failure> {
        let homeserver = self.server();
        let may = async {
            Ok(homeserver.is_joined(room, homeserver.user()).await?
                && homeserver.state(room, ENCRYPTION, "").await?.is_none())
        };
        match may.await {
            Err(failure) if !Failure::may_pass(&failure) => Ok(false),
            may => may,
        }
    }

    async fn is_successor(&self, old: &RoomId, new: &RoomId) -> Result<bool, Failure> {
        if !self.may_have_links(new).await? {
            return Ok(false);
        }
        let judged = self.server().check_successor(old, new, self.drops.settings().least_power).await?;
        if let Err(why) = judged {
            warn!(room_id = %old, successor = %new, why, "links stay: no true successor");
        }
        Ok(judged.is_ok())
    }
}
