//! The handle, and what is noted of reading.

use std::sync::Arc;

use account::Accounts;
use audit::{Action, Actor, Deed};
use base::Clock;
use room::{Rooms, read::room::RoomInfo};
use ruma::{ServerName, UserId};
use store::{Batch, Store};

use crate::{Error, Peers};

/// What it is made of.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The accounts.
    pub accounts: Accounts,
    /// The rooms, to be read.
    pub rooms: Rooms,
    /// What sends our events to other servers.
    pub peers: Arc<dyn Peers>,
    /// The clock.
    pub clock: Clock,
}

/// What administrators of all authorities of a process see and do. Cloning gives another handle.
#[derive(Clone)]
pub struct Oversight(pub(crate) Arc<Parts>);

impl Oversight {
    /// Over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Notes a deed that changes nothing else. On return it is on disk.
    ///
    /// # Errors
    /// [`Error::Commit`].
    pub async fn note(
        &self,
        what: Action,
        whom: &str,
        authority: &ServerName,
        by: &Actor,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        Deed::new(what, by, whom, self.0.clock.now()).write(&mut batch, authority);
        self.0.store.commit(batch).await?;
        Ok(())
    }

    /// Notes that an administrator reads what was said in a room, unless he is in it.
    ///
    /// # Errors
    /// [`Error::Room`], [`Error::Commit`]; then he is not to be shown it.
    pub async fn note_reading(&self, reader: &UserId, room: &RoomInfo, by: &Actor) -> Result<(), Error> {
        if self.0.rooms.is_joined(reader, &room.room_id).await? {
            return Ok(());
        }
        self.note(Action::ReadRoom, room.room_id.as_str(), reader.server_name(), by).await
    }
}
