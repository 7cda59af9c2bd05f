//! Who is told what no room can be told: that mail waits for it or was laid aside, that a mail did not go out.
//!
//! Each is told in a room of his own with the bot.

use bot_kit::{
    Batch, Failure, TxnId,
    ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId},
};
use serde_json::json;
use tracing::{info, warn};

use crate::{
    gate::Gate,
    rows::{ADDRESSES, PRIVATE_ROOMS, TOLD, Waiting},
    standing::Closed,
};

impl Gate {
    /// Who opened an address; who made its room where that was not noted yet.
    async fn keeper(&self, local: &str, room: &RoomId) -> Result<Option<OwnedUserId>, Failure> {
        let entrance = self.host.store.get(&ADDRESSES, local).await?;
        if let Some(keeper) = entrance.and_then(|entrance| entrance.opened_by) {
            return Ok(Some(keeper));
        }
        let creation = match self.host.homeserver.creation(room).await {
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(_) => None,
            Ok(creation) => creation,
        };
        let own = self.host.user().server_name();
        Ok(creation.map(|creation| creation.maker).filter(|maker| maker.server_name() == own))
    }

    /// Tells who keeps an address that its mail waits, once until the room takes mail again.
    pub(crate) async fn tell_of_waiting(&self, waiting: &Waiting, closed: Closed) -> Result<(), Failure> {
        let room = &waiting.room;
        if self.host.store.get(&TOLD, room.as_str()).await?.is_some() {
            return Ok(());
        }
        let text = format!(
            "部屋に届いたメールを書き込めません（{}）。直るまで、これから届くメールは相手側のメールサーバーで待ちます。受け取り済みのメールは5日間待ち、その後はシステム管理者の保管場所に移します。 / \
             Mail waits and cannot be written into its room; after five days it is laid aside for the administrator.\n\
             {}\n{}",
            closed.why(),
            self.address(&waiting.local),
            room.matrix_to_uri()
        );
        let txn = TxnId::of(&["waiting", room.as_str(), &waiting.came_ms.to_string()]);
        self.tell_keeper(waiting, &txn, &text).await?;
        let mut batch = Batch::new();
        batch.put(&TOLD, room.as_str(), &());
        Ok(self.host.store.commit(batch).await?)
    }

    /// Tells a room that a mail of it was laid aside, or who keeps its address where the room takes no word.
    pub(crate) async fn tell_of_held(&self, waiting: &Waiting, key: &str, why: &str) -> Result<(), Failure> {
        let text = format!(
            "届いたメール1通を部屋に出さず、システム管理者の保管場所に移しました（{key}.eml）。理由: {why}\n\
             A mail was laid aside for the administrator and is not shown here.\n{}",
            self.address(&waiting.local)
        );
        let txn = TxnId::of(&[key, "held"]);
        match self.host.homeserver.notice(&waiting.room, &txn, &text).await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(_) => self.tell_keeper(waiting, &txn, &text).await,
            Ok(_) => Ok(()),
        }
    }

    async fn tell_keeper(&self, waiting: &Waiting, txn: &TxnId, text: &str) -> Result<(), Failure> {
        match self.keeper(&waiting.local, &waiting.room).await? {
            Some(keeper) => self.tell_privately(&keeper, txn, text).await,
            None => {
                warn!(room_id = %waiting.room, "nobody is there to be told of a room's mail");
                Ok(())
            }
        }
    }

    /// Tells somebody something in the room that he and the bot have; who cannot be asked in there goes without.
    pub(crate) async fn tell_privately(&self, user: &UserId, txn: &TxnId, text: &str) -> Result<(), Failure> {
        let told = async {
            let room = self.private_room(user).await?;
            self.host.homeserver.notice(&room, txn, text).await
        };
        match told.await {
            Err(failure) if failure.may_pass() => Err(failure),
            Err(failure) => {
                info!(user_id = %user, error = %failure, "a private word is left out");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    async fn private_room(&self, user: &UserId) -> Result<OwnedRoomId, Failure> {
        let homeserver = &self.host.homeserver;
        if let Some(room) = self.host.store.get(&PRIVATE_ROOMS, user.as_str()).await? {
            if !homeserver.is_joined_or_invited(&room, user).await? {
                homeserver.invite(&room, user).await?;
            }
            return Ok(room);
        }
        // Killed before it is noted, the bot makes another one.
        let wishes = json!({
            "preset": "private_chat", "is_direct": true, "invite": [user], "name": self.settings().display_name,
            "creation_content": { "m.federate": user.server_name() != self.host.user().server_name() },
        });
        let room = homeserver.create_room(&wishes).await?;
        let mut batch = Batch::new();
        batch.put(&PRIVATE_ROOMS, user.as_str(), &room);
        self.host.store.commit(batch).await?;
        Ok(room)
    }
}
