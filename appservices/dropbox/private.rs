//! [`Private`]: rooms in which only the bot and one user are. Codes are told there, and what cannot be told in a link's room.

use bot_kit::{
    Batch, Failure, Homeserver, Store, TxnId,
    ruma::{OwnedRoomId, RoomAliasId, UserId},
};
use serde_json::json;

use crate::{rows::PRIVATE_ROOMS, secret::Key};

/// What their aliases begin with.
pub(crate) const ALIASES: &str = "_dropbox_";

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
        let known = self.store.get(&PRIVATE_ROOMS, user.as_str()).await?;
        let room = match known {
            Some(room) => room,
            None => self.make(user).await?,
        };
        if !self.homeserver.is_joined_or_invited(&room, user).await? {
            self.homeserver.invite(&room, user).await?;
        }
        Ok(room)
    }

    async fn make(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        // By its alias it is found again, if a crash came before it was written down. Who has one is told to nobody.
        let localpart = format!("{ALIASES}{}", self.key.room_of(user));
        let own_server = self.homeserver.user().server_name();
        let wishes = json!({
            "preset": "private_chat", "is_direct": true, "invite": [user], "room_alias_name": localpart,
            "name": "受取URLの合言葉", "creation_content": { "m.federate": user.server_name() != own_server },
        });
        let room = match self.homeserver.create_room(&wishes).await {
            Err(failure) if failure.is("M_ROOM_IN_USE") => {
                let alias = RoomAliasId::parse(format!("#{localpart}:{own_server}"))
                    .map_err(|error| Failure::odd(error.to_string()))?;
                let found = self.homeserver.find_alias(&alias).await?;
                found.ok_or_else(|| Failure::odd("an alias that is in use leads nowhere".to_owned()))?
            }
            made => made?,
        };
        let mut batch = Batch::new();
        batch.put(&PRIVATE_ROOMS, user.as_str(), &room);
        self.store.commit(batch).await?;
        Ok(room)
    }
}
