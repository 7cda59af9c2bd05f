//! Asking for history that we lack, for somebody who reads.

use store::Range;

use crate::{Error, RoomSerial, Rooms, read::room::RoomInfo, tables::GAPS};

impl Rooms {
    /// Whether our part of the room's graph names events that we lack.
    pub(crate) async fn has_gaps(&self, room: RoomSerial) -> Result<bool, Error> {
        let first = self.store().scan(&GAPS, Range::prefix(&room), store::Order::Ascending, 1).await?;
        Ok(!first.is_empty())
    }

    /// Has the write side ask other servers for events before those we have. Whether anything came.
    ///
    /// A reader is not failed because others do not answer: he gets what there is.
    pub(crate) async fn fetch_history(&self, room: &RoomInfo, limit: usize) -> bool {
        match self.has_gaps(room.serial).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return false,
        }
        match self.backfill(&room.room_id, limit).await {
            Ok(added) => added > 0,
            Err(error) => {
                tracing::debug!(room_id = %room.room_id, %error, "history could not be fetched");
                false
            }
        }
    }
}
