//! In which order a user's rooms stand in his lists.

use std::{collections::HashMap, sync::Arc};

use room::{
    RoomSerial,
    read::membership::{UserRoom, UserRooms},
};
use store::Position;

use crate::{Error, Syncs, connections::Recency};

impl Syncs {
    /// The order of a user's rooms, by what was known before and the rooms that have moved since. One read.
    pub(super) async fn room_order(
        &self,
        rooms: &UserRooms,
        before: Option<&Recency>,
        moved: impl Fn(&UserRoom) -> bool,
    ) -> Result<Arc<Recency>, Error> {
        let known = |row: &UserRoom| before?.of(row.room).filter(|_| !moved(row));
        let unknown: Vec<&UserRoom> = rooms.rooms.iter().filter(|row| known(row).is_none()).collect();
        let found = self.rooms().recency(&unknown).await?;
        let fresh: HashMap<RoomSerial, Position> =
            unknown.iter().map(|row| row.room).zip(found.into_iter().map(|recent| recent.active)).collect();
        let position = |row: &UserRoom| fresh.get(&row.room).copied().or_else(|| known(row));
        let rooms = rooms.rooms.iter().map(|row| (row.room, position(row).unwrap_or(row.position)));
        Ok(Arc::new(Recency::new(rooms.collect())))
    }
}
