//! In which order a user's rooms stood in his lists when they were last looked at.

use std::cmp::Reverse;

use room::{RoomSerial, read::membership::UserRooms};
use store::Position;

/// By which position each of a user's rooms is ordered, as of some place; kept with the connection, so that only what has
/// moved since is read.
#[derive(Debug)]
pub(crate) struct Recency {
    /// By room.
    rooms: Vec<(RoomSerial, Position)>,
}

impl Recency {
    /// These rooms, which are in order.
    pub(crate) fn new(rooms: Vec<(RoomSerial, Position)>) -> Self {
        Self { rooms }
    }

    pub(crate) fn of(&self, room: RoomSerial) -> Option<Position> {
        let found = self.rooms.binary_search_by_key(&room, |(room, _)| *room).ok()?;
        self.rooms.get(found).map(|(_, position)| *position)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + 16 + self.rooms.capacity() * size_of::<(RoomSerial, Position)>()
    }

    /// Puts places of rooms in order, the most recent one first.
    pub(crate) fn sort(&self, rooms: &UserRooms, places: &mut [u32]) {
        let row = |place: &u32| usize::try_from(*place).ok().and_then(|place| rooms.rooms.get(place));
        places.sort_by_cached_key(|place| {
            let row = row(place);
            Reverse((row.and_then(|row| self.of(row.room)), row.map(|row| row.room)))
        });
    }
}
