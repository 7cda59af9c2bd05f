//! [`Private`]: rooms in which only the bot and one user are. Codes are told there, and what cannot be told in a link's room.

use std::time::Duration;

use bot_kit::{
    Batch, Failure, Homeserver, Store, TxnId,
    ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, UserId},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::{
    rows::{HIDDEN, PRIVATE_ROOMS},
    secret::{Key, hex},
};

/// What their aliases begin with.
pub(crate) const ALIASES: &str = "_dropbox_";

/// Rooms of one look.
const SOME: usize = 100;

/// A pause before aliases are replaced once more.
const PAUSE: Duration = Duration::from_secs(60);

/// The name of a user's alias as it once was: whoever knows a user id knew it.
fn old_alias(user: &UserId) -> String {
    hex(&Sha256::digest(user.as_bytes())[..16])
}

/// Tells users what concerns them alone. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Private {
    pub(crate) store: Store,
    pub(crate) homeserver: Homeserver,
    pub(crate) key: Key,
}

impl Private {
    /// Tells a user something, once for each transaction.
    ///
    /// # Errors
    /// [`Failure`]
    pub(crate) async fn tell(&self, user: &UserId, txn: &TxnId, text: &str) -> Result<(), Failure> {
        let room = self.room(user).await?;
        let content = json!({ "msgtype": "m.text", "body": text, "m.mentions": {} });
        self.homeserver.send(&room, "m.room.message", txn, &content).await.map(drop)
    }

    /// The user's room; he is asked in if he is not there.
    async fn room(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        let mut room = self.known_or_made(user).await?;
        let is_in = match self.homeserver.is_joined_or_invited(&room, user).await {
            // The bot cannot even look: an administrator purged the room or put it out.
            Err(failure) if failure.is("M_FORBIDDEN") || failure.is("M_NOT_FOUND") => {
                warn!(room_id = %room, user_id = %user, "a room for codes is lost and made anew");
                self.forget(user).await?;
                room = self.known_or_made(user).await?;
                self.homeserver.is_joined_or_invited(&room, user).await?
            }
            is_in => is_in?,
        };
        if !is_in {
            self.homeserver.invite(&room, user).await?;
        }
        Ok(room)
    }

    async fn known_or_made(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        match self.store.get(&PRIVATE_ROOMS, user.as_str()).await? {
            Some(room) => Ok(room),
            None => self.make(user).await,
        }
    }

    fn alias(&self, name: &str) -> Result<OwnedRoomAliasId, Failure> {
        let alias = format!("#{ALIASES}{name}:{}", self.homeserver.user().server_name());
        RoomAliasId::parse(alias).map_err(|error| Failure::odd(error.to_string()))
    }

    async fn make(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        // By its alias it is found again, if a crash came before it was written down. Who has one is told to nobody.
        let alias = self.alias(&self.key.room_of(user))?;
        let own_server = self.homeserver.user().server_name();
        let wishes = json!({
            "preset": "private_chat", "is_direct": true, "invite": [user], "room_alias_name": alias.alias(),
            "name": "受取URLの合言葉", "creation_content": { "m.federate": user.server_name() != own_server },
        });
        let room = match self.homeserver.create_room(&wishes).await {
            Err(failure) if failure.is("M_ROOM_IN_USE") => {
                let found = self.homeserver.find_alias(&alias).await?;
                found.ok_or_else(|| Failure::odd("an alias that is in use leads nowhere".to_owned()))?
            }
            made => made?,
        };
        let mut batch = Batch::new();
        batch.put(&PRIVATE_ROOMS, user.as_str(), &room).put(&HIDDEN, user.as_str(), &());
        self.store.commit(batch).await?;
        Ok(room)
    }

    async fn forget(&self, user: &UserId) -> Result<(), Failure> {
        for name in [self.key.room_of(user), old_alias(user)] {
            self.homeserver.remove_alias(&self.alias(&name)?).await?;
        }
        let mut batch = Batch::new();
        batch.delete(&PRIVATE_ROOMS, user.as_str()).delete(&HIDDEN, user.as_str());
        Ok(self.store.commit(batch).await?)
    }

    /// Gives all rooms from before there was a key aliases that tell nobody whose they are, however long the homeserver is away.
    pub(crate) async fn hide(self) {
        while let Err(error) = self.hide_all().await {
            warn!(%error, "aliases that tell whose rooms they are could not be replaced");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hide_all(&self) -> Result<(), Failure> {
        let mut last: Option<String> = None;
        loop {
            let rooms = self.store.scan(&PRIVATE_ROOMS, "", last.as_deref(), SOME).await?;
            let Some((user, _)) = rooms.last() else { return Ok(()) };
            last = Some(user.clone());
            for (user, room) in rooms {
                let is_hidden = self.store.get(&HIDDEN, &user).await?.is_some();
                let Some(user) = UserId::parse(user).ok().filter(|_| !is_hidden) else { continue };
                let (old, new) = (self.alias(&old_alias(&user))?, self.alias(&self.key.room_of(&user))?);
                self.homeserver.replace_alias(&room, &old, &new).await?;
                let mut batch = Batch::new();
                batch.put(&HIDDEN, user.as_str(), &());
                self.store.commit(batch).await?;
                info!(room_id = %room, user_id = %user, "a room for codes has an alias that tells nobody whose it is");
            }
        }
    }
}
