//! Rooms that the users of an authority do not come into, as one who administers it has decided: by join, knock or invite
//! from another server. Who is in such a room stays; what a room is called that nobody here knows yet can be closed too.
//!
//! It is the authority's own matter: the users of another one of ours come in as ever.

use audit::{Action, Actor};
use base::Timestamp;
use room::{Denial, Error, attempts::Attempts};
use ruma::{RoomId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use store::{Batch, Order, Range, Table, Tuning};

use crate::Engine;

/// Rooms that are closed to the users of an authority; key: authority, room id.
pub(crate) static BLOCKED: Table<(String, String), BlockedRow> =
    Table::new(290, "engine.blocked", Tuning::Small);

/// Rooms that one authority keeps closed.
const MOST_OF_AUTHORITY: usize = 10_000;

/// Why a room is closed to the users of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockedRow {
    /// Who closed it.
    by: String,
    /// When, in milliseconds since 1970.
    since_ms: u64,
}
store::row!(BlockedRow, schema = 1);

/// That a room is closed to the users of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Who closed it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

impl Engine {
    /// Closes a room to the users of an authority, or opens it again, as `by` wishes. As it is already, nothing changes.
    ///
    /// # Errors
    /// [`Error::Busy`] when the authority keeps very many closed; [`Error::Contended`], [`Error::Store`], [`Error::Commit`].
    pub async fn set_blocked(
        &self,
        authority: &ServerName,
        room_id: &RoomId,
        blocked: bool,
        by: &Actor,
    ) -> Result<(), Error> {
        let key = (authority.as_str(), room_id.as_str());
        let mut attempts = Attempts::default();
        loop {
            let row = self.store().get(&BLOCKED, &key).await?;
            if row.is_some() == blocked {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.require(&BLOCKED, &key, row.as_ref());
            let what = match blocked {
                true => {
                    let range = Range::prefix(authority.as_str());
                    let all = self.store().scan(&BLOCKED, range, Order::Ascending, MOST_OF_AUTHORITY).await?;
                    if all.len() >= MOST_OF_AUTHORITY {
                        return Err(Error::Busy);
                    }
                    let row = BlockedRow { by: by.name().to_owned(), since_ms: self.now() };
                    batch.put(&BLOCKED, &key, &row);
                    Action::BlockRoom
                }
                false => {
                    batch.delete(&BLOCKED, &key);
                    Action::UnblockRoom
                }
            };
            self.deed(what, by, room_id.as_str()).write(&mut batch, authority);
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Whether a room is closed to the users of an authority, and by whom.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn find_block(
        &self,
        authority: &ServerName,
        room_id: &RoomId,
    ) -> Result<Option<Blocked>, Error> {
        let row = self.store().get(&BLOCKED, &(authority.as_str(), room_id.as_str())).await?;
        Ok(row.map(|row| Blocked { by: row.by, since: Timestamp(row.since_ms) }))
    }

    /// Refuses an invite into a room which the authority of either keeps closed.
    ///
    /// # Errors
    /// As [`Engine::check_not_blocked`].
    pub(crate) async fn check_invite_not_blocked(
        &self,
        sender: &UserId,
        target: &UserId,
        room_id: &RoomId,
    ) -> Result<(), Error> {
        self.check_not_blocked(sender, room_id).await?;
        if self.is_local(target) { self.check_not_blocked(target, room_id).await } else { Ok(()) }
    }

    /// Refuses a user of ours whose authority keeps the room closed. What was staged before it was closed still lands.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`].
    pub(crate) async fn check_not_blocked(&self, user: &UserId, room_id: &RoomId) -> Result<(), Error> {
        match self.find_block(user.server_name(), room_id).await? {
            None => Ok(()),
            Some(_) => Err(Error::Denied(Denial {
                public: "このルームには参加できません / This room has been blocked on this server".to_owned(),
                private: "the room is closed to the users of this authority".to_owned(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let row = BlockedRow { by: "@a:b".to_owned(), since_ms: 5 };
        assert_eq!(&row.encode()[..], b"\x01\x04@a:b\x05");
    }
}
