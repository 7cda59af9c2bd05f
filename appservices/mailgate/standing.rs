//! What a room is to mail at this moment: whether the bot is there, may speak, and would not put in the open what others encrypt.
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
use serde_json::{Map, Value};

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
        let levels = homeserver.state(room, "m.room.power_levels", "").await?;
        let is_mute = levels.is_some_and(|levels| !may_speak(&levels, own));
        Ok(if is_mute { Err(Closed::Mute) } else { Ok(()) })
    }

    /// Whether a user is in a room, as far as the bot sees it: who was put out of it sees only how it was then.
    pub(crate) async fn is_joined(&self, room: &RoomId, user: &UserId) -> Result<bool, Failure> {
        match self.host.homeserver.state(room, "m.room.member", user.as_str()).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(_) => Ok(false),
            Ok(content) => {
                Ok(content.is_some_and(|content| content.get("membership").is_some_and(|it| it == "join")))
            }
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

/// Whether a room's levels let a user send messages.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels>
fn may_speak(levels: &Map<String, Value>, user: &UserId) -> bool {
    // As a text before version 10 of rooms.
    let whole = |level: &Value| level.as_i64().or_else(|| level.as_str()?.trim().parse().ok());
    let find = |of: &str, name: &str, other: &str| {
        levels
            .get(of)
            .and_then(|all| all.get(name))
            .or_else(|| levels.get(other))
            .and_then(whole)
            .unwrap_or(0)
    };
    find("users", user.as_str(), "users_default") >= find("events", "m.room.message", "events_default")
}

#[cfg(test)]
mod tests {
    use bot_kit::ruma::user_id;
    use serde_json::json;

    use super::*;

    #[test]
    fn who_may_speak_follows_from_the_levels_and_their_defaults() {
        let may = |levels: Value| may_speak(levels.as_object().expect("an object"), user_id!("@bot:x"));
        assert!(may(json!({})) && may(json!({ "events_default": "0" })));
        assert!(!may(json!({ "events_default": 50 })) && !may(json!({ "events_default": "50" })));
        assert!(may(json!({ "events_default": 50, "users_default": 50 })));
        assert!(may(json!({ "events_default": 50, "users": { "@bot:x": 50 } })));
        assert!(may(json!({ "events_default": 50, "events": { "m.room.message": 0 } })));
        assert!(!may(json!({ "users": { "@bot:x": -1 }, "users_default": 50 })));
    }
}
