//! What a room is to mail at this moment: whether the bot is there, may speak, is read, and would not put in the open what others
//! encrypt.
//!
//! That is asked of the room's state when it matters, and not concluded from events: one may come late, a new name of the bot is a
//! `join` as well, and a room may have been encrypted before the bot came. [`GONE`] notes an answer, so that the door need not ask
//! while all is well.

use bot_kit::{
    Batch, Failure, StoreError,
    ruma::{RoomId, UserId},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    gate::Gate,
    rows::{GONE, TOLD},
};

/// Why a room takes no mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Closed {
    /// The bot is not in it.
    Outside,
    Encrypted,
    /// People read another one in its stead.
    Upgraded,
    /// The bot may not speak.
    Mute,
    /// It refuses a mail for a reason that its state does not tell.
    Refused,
}

impl Closed {
    /// In words.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Outside => "この窓口が部屋にいません / the bot is not in the room",
            Self::Encrypted => "部屋が暗号化されています / the room is encrypted",
            Self::Upgraded => {
                "部屋が新しい部屋に替わりました。新しい部屋にこの窓口を招いてください / the room was upgraded; invite me into the new one"
            }
            Self::Mute => "この窓口に発言の権限がありません / the bot may not speak there",
            Self::Refused => "部屋が受け付けません / the room refuses it",
        }
    }
}

impl Gate {
    /// What a room is now.
    pub(crate) async fn standing(&self, room: &RoomId) -> Result<Result<(), Closed>, Failure> {
        match self.look(room).await {
            // It was put out between two questions.
            Err(failure) if !failure.may_pass() && failure.status() == Some(StatusCode::FORBIDDEN) => {
                Ok(Err(Closed::Outside))
            }
            looked => looked,
        }
    }

    async fn look(&self, room: &RoomId) -> Result<Result<(), Closed>, Failure> {
        let (homeserver, own) = (&self.host.homeserver, self.host.user());
        if !self.is_joined(room, own).await? {
            return Ok(Err(Closed::Outside));
        }
        if homeserver.state(room, "m.room.encryption", "").await?.is_some() {
            return Ok(Err(Closed::Encrypted));
        }
        // Where the bot may speak in spite of the tombstone, nobody would read what it says.
        if homeserver.find_upgrade(room, self.settings().least_power).await?.is_some() {
            return Ok(Err(Closed::Upgraded));
        }
        let may_speak = homeserver.may_send(room, own, "m.room.message").await?;
        Ok(if may_speak { Ok(()) } else { Err(Closed::Mute) })
    }

    /// Whether a user is in a room, as far as the bot sees it: who was put out of it sees only how it was then.
    pub(crate) async fn is_joined(&self, room: &RoomId, user: &UserId) -> Result<bool, Failure> {
        match self.host.homeserver.is_joined(room, user).await {
            Err(failure) if !failure.may_pass() => Ok(false),
            is_joined => is_joined,
        }
    }

    /// Asks what a room is now, and notes it for the door.
    pub(crate) async fn ask(&self, room: &RoomId) -> Result<Result<(), Closed>, Failure> {
        let standing = self.standing(room).await?;
        let noted = self.host.store.get(&GONE, room.as_str()).await?;
        match (standing, noted) {
            // What its state does not tell, it does not tell to be over: a mail that it takes does.
            (Ok(()), None | Some(Some(Closed::Refused))) => {}
            (Ok(()), Some(_)) => self.reopen(room).await?,
            (Err(closed), Some(Some(before))) if before == closed => {}
            (Err(closed), _) => self.note(room, closed).await?,
        }
        Ok(standing)
    }

    /// Something changed about a room: what was noted of it counts no more.
    pub(crate) async fn ask_anew(&self, room: &RoomId) -> Result<Result<(), Closed>, Failure> {
        let standing = self.standing(room).await?;
        match standing {
            Ok(()) => self.reopen(room).await?,
            Err(closed) => self.note(room, closed).await?,
        }
        // What waits may go on, or is to be held.
        self.more_in.notify_one();
        Ok(standing)
    }

    pub(crate) async fn note(&self, room: &RoomId, closed: Closed) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(&GONE, room.as_str(), &Some(closed));
        self.host.store.commit(batch).await
    }

    pub(crate) async fn reopen(&self, room: &RoomId) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.delete(&GONE, room.as_str()).delete(&TOLD, room.as_str());
        self.host.store.commit(batch).await
    }
}
