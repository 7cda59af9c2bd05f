//! Which version a room has, until we are in it.
//!
//! Of a room that we are not in, its version is what somebody says who invites a user of ours, or offers
//! to let one in. That is needed to read the events that come along, and binds nobody: the next who
//! says otherwise is heard as well. Only a join settles it, because the create event, which comes with
//! it, names the version.

use std::sync::Arc;

use pdu::RoomVersion;
use room::{
    Error,
    attempts::Attempts,
    read::{event::touch_changed, room::RoomInfo},
    tables::{EVENT_IDS, EVENT_META, EVENTS, HEADS, ROOM_IDS, ROOMS, RoomIdRow, RoomRow},
};
use ruma::RoomId;
use store::{Batch, Order, Range};

use crate::{Engine, entering::tables::ENTERINGS, graph::AUTH};

/// How many events are dropped in one batch.
const STEP: usize = 500;

impl Engine {
    /// The row of a room that we begin to hear of, as one of this version.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the room has another version, by a create event that we know.
    pub(crate) async fn ensure_room(
        &self,
        room_id: &RoomId,
        version: RoomVersion,
    ) -> Result<Arc<RoomInfo>, Error> {
        let mut attempts = Attempts::default();
        loop {
            let Some(room) = self.rooms().room(room_id).await? else {
                let serial = self.new_room_serial().await?;
                let mut batch = Batch::new();
                let row = RoomRow { serial, version: version.as_str().to_owned() };
                batch.insert(&ROOMS, room_id.as_str(), &row);
                let row = RoomIdRow { room_id: room_id.to_owned(), version: row.version };
                batch.put(&ROOM_IDS, &serial, &row);
                attempts.judge(self.rooms(), self.store().commit(batch).await).await?;
                continue;
            };
            if room.version == version {
                return Ok(room);
            }
            if self.store().get(&HEADS, &room.serial).await?.is_some() {
                return Err(Error::Invalid(format!("the room has version {}", room.version)));
            }
            // What a join has brought of it was read by the rules of the other version.
            match self.void(&room).await {
                Err(Error::Contended) => {
                    attempts.again(self.rooms()).await?;
                    continue;
                }
                voided => voided?,
            }
            self.change_version(&room, version, &mut attempts).await?;
        }
    }

    /// Takes a room that we are not in for one of another version. What was stored of it was read, and
    /// judged, by the rules of the old one, and goes.
    async fn change_version(
        &self,
        room: &RoomInfo,
        version: RoomVersion,
        attempts: &mut Attempts,
    ) -> Result<(), Error> {
        loop {
            let range = Range::prefix(&room.serial);
            let rows = self.store().scan(&EVENT_META, range, Order::Ascending, STEP).await?;
            let is_last = rows.len() < STEP;
            let mut batch = Batch::new();
            // Nobody has joined meanwhile, or is about to.
            batch.require(&HEADS, &room.serial, None);
            batch.require(&ENTERINGS, &room.serial, None);
            let mut gone = Vec::with_capacity(rows.len());
            for ((_, event), meta) in rows {
                batch.delete(&EVENT_IDS, meta.value.event_id.as_str());
                batch.delete(&EVENTS, &(room.serial, event));
                batch.delete(&EVENT_META, &(room.serial, event));
                batch.delete(&AUTH, &(room.serial, event));
                gone.push(event);
            }
            if is_last {
                let row = RoomRow { serial: room.serial, version: version.as_str().to_owned() };
                batch.replace(&ROOMS, room.room_id.as_str(), &room.row(), &row);
                let row = RoomIdRow { room_id: room.room_id.clone(), version: row.version };
                batch.put(&ROOM_IDS, &room.serial, &row);
            }
            touch_changed(self.store(), &mut batch, &gone);
            self.rooms().forget_cached(gone.iter().copied());
            let done = attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some();
            self.rooms().forget_cached(gone);
            if is_last || !done {
                return Ok(());
            }
        }
    }
}
