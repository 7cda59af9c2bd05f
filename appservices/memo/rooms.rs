//! [`Rooms`]: everybody's own room.
//!
//! A room has an alias that follows from its user and a secret of this service, to which it belongs alone; so a room that was
//! made before a crash, and not noted, is found again and never made twice, and nobody else can ask the homeserver whether
//! somebody has one.

use bot_kit::{
    Batch, Failure, Host, Key, Store, StoreError, Table, TxnId, hex,
    ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::{settings::Settings, texts};

/// Whose room is which; key: user, value: room.
const ROOMS: Table<OwnedRoomId> = Table::new("rooms");
/// The same the other way round; key: room, value: user.
const OWNERS: Table<OwnedUserId> = Table::new("owners");

/// Users whose rooms have no alias any more that follows from the user alone; key: user.
const HIDDEN: Table<()> = Table::new("rooms with keyed aliases");

/// Rooms of one look.
const SOME: usize = 100;

/// Bytes of an alias's name.
const NAME: usize = 16;

/// What the localparts of aliases begin with.
pub(crate) const ALIASES: &str = "_memo_";

/// The name of a user's alias, which nobody else can know.
fn alias_of(key: &Key, user: &UserId) -> String {
    hex(&key.derive("memo room", user.as_bytes())[..NAME])
}

/// The same as it once was: whoever knows a user id knew the alias.
fn old_alias(user: &UserId) -> String {
    hex(&Sha256::digest(user.as_bytes())[..NAME])
}

/// A user's room.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) room: OwnedRoomId,
    /// Whether he is or is asked in; who blocks invites is not.
    pub(crate) is_open: bool,
}

/// The rooms of all users.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) host: Host<Settings>,
    /// What aliases follow from, besides their users.
    pub(crate) key: Key,
}

impl Rooms {
    fn store(&self) -> &Store {
        &self.host.store
    }

    /// Whose room it is.
    pub(crate) async fn owner(&self, room: &RoomId) -> Result<Option<OwnedUserId>, StoreError> {
        self.store().get(&OWNERS, room.as_str()).await
    }

    /// A user's room, where he is or is asked in, if he may be.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn find_or_make(&self, user: &UserId) -> Result<Own, Failure> {
        let mut room = self.known_or_made(user).await?;
        if !self.is_in(&room).await? {
            // An administrator put the bot out, or purged the room.
            warn!(room_id = %room, user_id = %user, "a memo room is lost and made anew");
            self.forget(user, &room).await?;
            room = self.known_or_made(user).await?;
        }
        let is_open = self.ask_in(&room, user).await?;
        Ok(Own { room, is_open })
    }

    /// Whether the bot is in a room.
    async fn is_in(&self, room: &RoomId) -> Result<bool, Failure> {
        let homeserver = &self.host.homeserver;
        match homeserver.is_joined(room, homeserver.user()).await {
            // It may not even look. Whatever else is refused says nothing of where it is.
            Err(failure) if failure.is("M_FORBIDDEN") || failure.is("M_NOT_FOUND") => Ok(false),
            is_joined => is_joined,
        }
    }

    async fn known_or_made(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        if let Some(room) = self.store().get(&ROOMS, user.as_str()).await? {
            return Ok(room);
        }
        let alias = self.alias(&alias_of(&self.key, user))?;
        let homeserver = &self.host.homeserver;
        let room = match self.find(user, &alias).await? {
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
        batch.put(&HIDDEN, user.as_str(), &());
        self.store().commit(batch).await?;
        info!(room_id = %room, user_id = %user, "a memo room");
        Ok(room)
    }

    /// The room that was made for a user before, and is not noted.
    async fn find(&self, user: &UserId, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, Failure> {
        let homeserver = &self.host.homeserver;
        if let Some(room) = homeserver.find_alias(alias).await? {
            return Ok(Some(room));
        }
        let room = homeserver.find_alias(&self.alias(&old_alias(user))?).await?;
        if let Some(room) = &room {
            self.hide(user, room).await?;
        }
        Ok(room)
    }

    /// Gives all rooms from before there was a key aliases that tell nobody whose they are.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn hide_all(&self) -> Result<(), Failure> {
        let mut last: Option<String> = None;
        loop {
            let rooms = self.store().scan(&ROOMS, "", last.as_deref(), SOME).await?;
            let Some((user, _)) = rooms.last() else { return Ok(()) };
            last = Some(user.clone());
            for (user, room) in rooms {
                let is_hidden = self.store().get(&HIDDEN, &user).await?.is_some();
                let Some(user) = UserId::parse(user).ok().filter(|_| !is_hidden) else { continue };
                self.hide(&user, &room).await?;
                let mut batch = Batch::new();
                batch.put(&HIDDEN, user.as_str(), &());
                self.store().commit(batch).await?;
            }
        }
    }

    /// Gives a room an alias that tells nobody whose it is in place of the one that does.
    async fn hide(&self, user: &UserId, room: &RoomId) -> Result<(), Failure> {
        let (old, new) = (self.alias(&old_alias(user))?, self.alias(&alias_of(&self.key, user))?);
        self.host.homeserver.replace_alias(room, &old, &new).await?;
        info!(room_id = %room, user_id = %user, "a memo room has an alias that tells nobody whose it is");
        Ok(())
    }

    /// Whether a user is in a room or is asked in now; not, if that is refused.
    async fn ask_in(&self, room: &RoomId, user: &UserId) -> Result<bool, Failure> {
        let homeserver = &self.host.homeserver;
        match homeserver.is_joined_or_invited(room, user).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            Ok(true) => return Ok(true),
            Ok(false) | Err(_) => {}
        }
        match homeserver.invite(room, user).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                warn!(room_id = %room, user_id = %user, error = %failure, "a user cannot be asked into his memo room");
                Ok(false)
            }
            Ok(()) => Ok(true),
        }
    }

    async fn forget(&self, user: &UserId, room: &RoomId) -> Result<(), Failure> {
        for alias in [alias_of(&self.key, user), old_alias(user)] {
            self.host.homeserver.remove_alias(&self.alias(&alias)?).await?;
        }
        let mut batch = Batch::new();
        batch.delete(&ROOMS, user.as_str()).delete(&OWNERS, room.as_str()).delete(&HIDDEN, user.as_str());
        Ok(self.store().commit(batch).await?)
    }

    fn alias(&self, name: &str) -> Result<OwnedRoomAliasId, Failure> {
        let alias = self.host.alias(&format!("{ALIASES}{name}"));
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
