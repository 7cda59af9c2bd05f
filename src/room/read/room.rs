//! Which room is which: ids, serials and versions. Of a room that we are in or were in they never change until the room
//! is purged, and are cached.

use std::{collections::HashMap, sync::Arc};

use base::{Cache, Caches};
use pdu::RoomVersion;
use ruma::{OwnedRoomId, RoomId};
use store::{Batch, Moved, Order, Position, Range, Store};

use crate::{
    Error, RoomSerial, Rooms,
    purge::known::{AsOf, purges_moved},
    tables::{HEADS, Head, ROOM_IDS, ROOMS, RoomRow},
};

/// A room we have heard of.
#[derive(Clone, Debug)]
pub struct RoomInfo {
    /// Its name inside the store.
    pub serial: RoomSerial,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersion,
}

impl RoomInfo {
    /// The row of the room as it has to be while it has this serial and version.
    pub fn row(&self) -> RoomRow {
        RoomRow { serial: self.serial, version: self.version.as_str().to_owned() }
    }
}

/// Demands in a batch that the room is neither purged meanwhile nor one of another version.
pub fn bind(batch: &mut Batch, room: &RoomInfo) {
    batch.require(&ROOMS, room.room_id.as_str(), Some(&room.row()));
}

/// Known rooms, both ways.
#[derive(Debug)]
pub(crate) struct RoomCache {
    by_id: Cache<OwnedRoomId, Arc<RoomInfo>>,
    by_serial: Cache<RoomSerial, Arc<RoomInfo>>,
    as_of: AsOf,
}

impl RoomCache {
    /// Caches of about this many bytes together.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        // Both have the same rooms, as a rule: what they share is charged to the one that has the ids as keys too.
        let by_id = |id: &OwnedRoomId, _: &Arc<RoomInfo>| size_of::<RoomInfo>() + 16 + 2 * id.as_str().len();
        Self {
            by_id: Cache::new(caches, "room_ids", bytes / 4 * 3, by_id),
            by_serial: Cache::new(caches, "room_serials", bytes / 4, |_, _| 0),
            as_of: AsOf::default(),
        }
    }

    /// The same with nothing of rooms that were closed since.
    fn fresh(&self, store: &Store) -> &Self {
        self.as_of.renew(store, || {
            self.by_id.clear();
            self.by_serial.clear();
        });
        self
    }

    /// Remembers a room that was read when the head was here, or later.
    fn remember(&self, room: &Arc<RoomInfo>, store: &Store, head: Position) {
        self.by_id.insert(room.room_id.clone(), room.clone());
        self.by_serial.insert(room.serial, room.clone());
        // Closed in between: what was just put in may be what is to go.
        if store.moved(purges_moved(), head) != Moved::No {
            self.by_id.remove(&room.room_id);
            self.by_serial.remove(&room.serial);
        }
    }
}

impl Rooms {
    /// The room of this id, if we have heard of it; we need not take part in it.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Inconsistent`] for a room of a version we do not know.
    pub async fn room(&self, room_id: &RoomId) -> Result<Option<Arc<RoomInfo>>, Error> {
        if let Some(room) = self.reader().rooms.fresh(self.store()).by_id.get(room_id) {
            return Ok(Some(room));
        }
        let Some(row) = self.store().get(&ROOMS, room_id.as_str()).await? else { return Ok(None) };
        Ok(self.load_rooms(&[row.serial]).await?.pop().flatten())
    }

    /// The rooms of these ids, in their order.
    ///
    /// # Errors
    /// As [`Rooms::room`].
    pub(crate) async fn rooms_by_id(
        &self,
        room_ids: &[OwnedRoomId],
    ) -> Result<Vec<Option<Arc<RoomInfo>>>, Error> {
        let cache = self.reader().rooms.fresh(self.store());
        let mut found: Vec<_> = room_ids.iter().map(|room_id| cache.by_id.get(room_id)).collect();
        let missing: Vec<usize> = (0..room_ids.len()).filter(|index| found[*index].is_none()).collect();
        let keys: Vec<&str> = missing.iter().map(|index| room_ids[*index].as_str()).collect();
        let rows = self.store().get_many(&ROOMS, &keys).await?;
        let known = missing.into_iter().zip(rows).filter_map(|(index, row)| Some((index, row?.serial)));
        let (known, serials): (Vec<usize>, Vec<RoomSerial>) = known.unzip();
        for (index, room) in known.into_iter().zip(self.load_rooms(&serials).await?) {
            found[index] = room;
        }
        Ok(found)
    }

    /// Rooms that are not cached, in the order of `serials`. Those are cached in which somebody of ours is or was.
    async fn load_rooms(&self, serials: &[RoomSerial]) -> Result<Vec<Option<Arc<RoomInfo>>>, Error> {
        let as_of = self.store().head();
        // The heads before the rows: a room that has one changes its version no more, so no older version is
        // taken for the last one.
        let heads = self.heads(serials).await?;
        let rows = self.store().get_many(&ROOM_IDS, serials).await?;
        let mut loaded = Vec::with_capacity(serials.len());
        for ((serial, row), head) in serials.iter().zip(rows).zip(heads) {
            let Some(row) = row else {
                loaded.push(None);
                continue;
            };
            let room =
                Arc::new(RoomInfo { serial: *serial, room_id: row.room_id, version: version(&row.version)? });
            if head.is_some() {
                self.reader().rooms.remember(&room, self.store(), as_of);
            }
            loaded.push(Some(room));
        }
        Ok(loaded)
    }

    /// At most `limit` rooms that we know, with serials behind one, the smallest first: for who goes through all, part
    /// by part. Also rooms that we are not in.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rooms_by_serial(
        &self,
        after: Option<RoomSerial>,
        limit: usize,
    ) -> Result<Vec<(RoomSerial, OwnedRoomId)>, Error> {
        let range = match after {
            Some(after) => Range::all().after(&after),
            None => Range::all(),
        };
        let rows = self.store().scan(&ROOM_IDS, range, Order::Ascending, limit).await?;
        Ok(rows.into_iter().map(|(serial, row)| (serial, row.room_id)).collect())
    }

    /// The ids of rooms, in the order of their serials.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn ids_of_rooms(&self, serials: &[RoomSerial]) -> Result<Vec<Option<OwnedRoomId>>, Error> {
        let rows = self.store().get_many(&ROOM_IDS, serials).await?;
        Ok(rows.into_iter().map(|row| row.map(|row| row.room_id)).collect())
    }

    /// The room of this id.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when we have never heard of it.
    pub async fn get_room(&self, room_id: &RoomId) -> Result<Arc<RoomInfo>, Error> {
        self.room(room_id).await?.ok_or_else(|| Error::NoRoom(room_id.to_owned()))
    }

    /// The rooms with these serials, in their order.
    ///
    /// # Errors
    /// As [`Rooms::room`].
    pub async fn room_infos(&self, serials: &[RoomSerial]) -> Result<Vec<Option<Arc<RoomInfo>>>, Error> {
        let cache = self.reader().rooms.fresh(self.store());
        let mut found: Vec<_> = serials.iter().map(|serial| cache.by_serial.get(serial)).collect();
        let missing: Vec<RoomSerial> = serials
            .iter()
            .zip(&found)
            .filter(|(_, room)| room.is_none())
            .map(|(serial, _)| *serial)
            .collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let loaded: HashMap<RoomSerial, Arc<RoomInfo>> =
            self.load_rooms(&missing).await?.into_iter().flatten().map(|room| (room.serial, room)).collect();
        for (serial, room) in serials.iter().zip(&mut found) {
            if room.is_none() {
                *room = loaded.get(serial).cloned();
            }
        }
        Ok(found)
    }

    /// The tips of rooms we take or took part in, in the order of `rooms`.
    pub(crate) async fn heads(&self, rooms: &[RoomSerial]) -> Result<Vec<Option<Head>>, Error> {
        Ok(self.store().get_many(&HEADS, rooms).await?)
    }

    /// The tip of a room.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when we never took part in it.
    pub async fn get_head(&self, room: &RoomInfo) -> Result<Head, Error> {
        self.store().get(&HEADS, &room.serial).await?.ok_or_else(|| Error::NoRoom(room.room_id.clone()))
    }
}

fn version(name: &str) -> Result<RoomVersion, Error> {
    RoomVersion::parse(name).map_err(|_| Error::UnsupportedVersion(name.to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn rooms_are_charged_what_they_take() {
        let (cache, in_use) = meter::kept(|| {
            let cache = RoomCache::new(&Caches::new(), 1 << 22);
            for n in 0..2_000 {
                let room_id = format!("!{n:018}:kanazawa.example.jp").try_into().unwrap();
                let version = RoomVersion::DEFAULT;
                let room = Arc::new(RoomInfo { serial: RoomSerial(n), room_id, version });
                cache.by_id.insert(room.room_id.clone(), room.clone());
                cache.by_serial.insert(room.serial, room);
            }
            cache
        });
        assert_eq!((cache.by_id.len(), cache.by_serial.len()), (2_000, 2_000));
        meter::assert_charged("rooms", cache.by_id.bytes() + cache.by_serial.bytes(), in_use);
    }
}
