//! [`Rooms`]: everybody's own room.
//!
//! A room has an alias that follows from its user and belongs to this service alone; so a room that was made before a
//! crash, and not noted, is found again and never made twice.

use bot_kit::{
    Batch, Failure, Host, Store, StoreError, Table, TxnId,
    ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, UserId},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::{settings::Settings, texts};

/// Whose room is which; key: user, value: room.
const ROOMS: Table<OwnedRoomId> = Table::new("rooms");
/// The same the other way round; key: room, value: user.
const OWNERS: Table<OwnedUserId> = Table::new("owners");

/// What the localparts of aliases begin with.
pub(crate) const ALIASES: &str = "_memo_";

/// The rooms of all users.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) host: Host<Settings>,
}

impl Rooms {
    fn store(&self) -> &Store {
        &self.host.store
    }

    /// Whose room it is.
    pub(crate) async fn owner(&self, room: &RoomId) -> Result<Option<OwnedUserId>, StoreError> {
        self.store().get(&OWNERS, room.as_str()).await
    }

    /// A user's room, where he is or is asked in.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn find_or_make(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        let room = self.known_or_made(user).await?;
        match self.ask_in(&room, user).await {
            Err(failure) if !failure.may_pass() => {
                // The bot is not there any more: an administrator put it out, or purged the room.
                warn!(room_id = %room, user_id = %user, error = %failure, "a memo room is lost and made anew");
                self.forget(user, &room).await?;
                let room = self.known_or_made(user).await?;
                self.ask_in(&room, user).await?;
                Ok(room)
            }
            outcome => outcome.map(|()| room),
        }
    }

    async fn known_or_made(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        if let Some(room) = self.store().get(&ROOMS, user.as_str()).await? {
            return Ok(room);
        }
        let alias = self.alias(user)?;
        let homeserver = &self.host.homeserver;
        let room = match homeserver.find_alias(&alias).await? {
            Some(room) => room,
            None => match homeserver.create_room(&self.wishes(&alias)).await {
                // Made by another event of this user a moment ago.
                Err(failure) if failure.is("M_ROOM_IN_USE") => {
                    homeserver.find_alias(&alias).await?.ok_or(failure)?
                }
                made => made?,
            },
        };
        let Settings { keep, most, .. } = &self.host.config.bot;
        let help = texts::help(keep.map(|keep| keep.0), *most);
        homeserver.notice(&room, &TxnId::of(&[room.as_str(), "welcome"]), &help).await?;
        // Before the user is asked in: what he writes there must find it.
        let mut batch = Batch::new();
        batch.put(&ROOMS, user.as_str(), &room).put(&OWNERS, room.as_str(), &user.to_owned());
        self.store().commit(batch).await?;
        info!(room_id = %room, user_id = %user, "a memo room");
        Ok(room)
    }

    async fn ask_in(&self, room: &RoomId, user: &UserId) -> Result<(), Failure> {
        let homeserver = &self.host.homeserver;
        let membership = homeserver.state(room, "m.room.member", user.as_str()).await?;
        let membership = membership.as_ref().and_then(|content| content.get("membership")?.as_str());
        if matches!(membership, Some("join" | "invite")) {
            return Ok(());
        }
        homeserver.invite(room, user).await
    }

    async fn forget(&self, user: &UserId, room: &RoomId) -> Result<(), Failure> {
        self.host.homeserver.remove_alias(&self.alias(user)?).await?;
        let mut batch = Batch::new();
        batch.delete(&ROOMS, user.as_str()).delete(&OWNERS, room.as_str());
        Ok(self.store().commit(batch).await?)
    }

    /// That of a user's room. It tells nobody whose it is.
    fn alias(&self, user: &UserId) -> Result<OwnedRoomAliasId, Failure> {
        let digest = Sha256::digest(user.as_bytes());
        let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let alias = self.host.alias(&format!("{ALIASES}{hash}"));
        alias.map_err(|error| Failure::odd(format!("no alias: {error}")))
    }

    /// A room where nobody but the bot sets anything, asks anybody in or begins to encrypt.
    fn wishes(&self, alias: &OwnedRoomAliasId) -> serde_json::Value {
        json!({
            "preset": "private_chat",
            "visibility": "private",
            "room_alias_name": alias.alias(),
            "name": self.host.config.bot.room_name,
            "topic": texts::TOPIC,
            "creation_content": { "m.federate": false },
            "initial_state": [
                { "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": "shared" } },
                { "type": "m.room.guest_access", "state_key": "", "content": { "guest_access": "forbidden" } },
            ],
            "power_level_content_override": {
                "users_default": 0, "events_default": 0, "state_default": 100,
                "invite": 100, "kick": 100, "ban": 100, "redact": 100,
                "events": { "m.room.encryption": 100, "m.room.name": 100, "m.room.power_levels": 100 },
            },
        })
    }
}
