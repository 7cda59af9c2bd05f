//! Where a room stands: whether the bot can put files into it, and which room came in its stead.
//!
//! While it cannot, its links take nothing new, and their makers hear of it in their own rooms. Links go with their room when that is
//! upgraded, as soon as the bot is in the new one. Which that is, both rooms have to say: the old one's tombstone names the new
//! room, and that was made out of the old one by somebody with the power there to say so.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use std::collections::BTreeMap;

use bot_kit::{
    Event, Failure, Homeserver, TxnId,
    ruma::{EventId, OwnedRoomId, OwnedUserId, RoomId},
};
use tracing::{info, warn};

use crate::{
    bot::{Dropbox, failure},
    drops::Closed,
    words,
};

/// What tells of an upgrade.
pub(crate) const TOMBSTONE: &str = "m.room.tombstone";

/// Whether the bot can put a file into a room that people still read.
///
/// # Errors
/// [`Failure`] that may pass.
pub(crate) async fn can_speak(homeserver: &Homeserver, room: &RoomId) -> Result<bool, Failure> {
    let asked = async {
        if !homeserver.is_joined(room, homeserver.user()).await?
            || homeserver.state(room, TOMBSTONE, "").await?.is_some()
        {
            return Ok(false);
        }
        // Whoever missed the event that encrypted it puts nothing in the clear into it either.
        if homeserver.state(room, "m.room.encryption", "").await?.is_some() {
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
        }
        self.look_after(room, &event.event_id).await
    }

    /// A room was upgraded.
    pub(crate) async fn upgraded(&self, event: &Event) -> Result<(), Failure> {
        let new = event.text("replacement_room").and_then(|room| OwnedRoomId::try_from(room).ok());
        if let Some(new) = new {
            self.follow(&event.room_id, &new).await?;
        }
        self.look_after(&event.room_id, &event.event_id).await
    }

    /// Sees whether what comes over a room's links can go there, since an event that may have changed that.
    pub(crate) async fn look_after(&self, room: &RoomId, cause: &EventId) -> Result<(), Failure> {
        if !self.drops.has_links(room).await.map_err(failure)? {
            return Ok(());
        }
        if can_speak(self.server(), room).await? {
            return self.drops.room_takes(room).await.map_err(failure);
        }
        if !self.drops.room_refuses(room, cause.as_str()).await.map_err(failure)? {
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
        cause: &EventId,
        say: impl Fn(&Closed) -> String,
    ) -> Result<(), Failure> {
        let by_maker: BTreeMap<&OwnedUserId, Closed> = closed.by_maker();
        for (maker, his) in by_maker {
            let txn = TxnId::of(&["closed", cause.as_str(), maker.as_str()]);
            match self.private().tell(maker, &txn, &say(&his)).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                Err(failure) => warn!(error = %failure, "a maker cannot be told of his links"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Takes the links of a room to the one that it was upgraded to, if that is its successor and the bot is there.
    async fn follow(&self, old: &RoomId, new: &RoomId) -> Result<(), Failure> {
        if !self.drops.has_links(old).await.map_err(failure)? {
            return Ok(());
        }
        match self.is_successor(old, new).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            // One of the two rooms cannot be seen.
            Err(_) | Ok(false) => return Ok(()),
            Ok(true) => {}
        }
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

    async fn is_successor(&self, old: &RoomId, new: &RoomId) -> Result<bool, Failure> {
        let homeserver = self.server();
        if !homeserver.is_joined(new, homeserver.user()).await?
            || homeserver.state(new, "m.room.encryption", "").await?.is_some()
        {
            return Ok(false);
        }
        let judged = homeserver.check_successor(old, new, self.drops.settings().least_power).await?;
        if let Err(why) = judged {
            warn!(room_id = %old, successor = %new, why, "links stay: no true successor");
        }
        Ok(judged.is_ok())
    }
}
