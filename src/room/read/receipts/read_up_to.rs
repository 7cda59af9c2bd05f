//! Up to where a user has read a room, by his receipts of both kinds.

use ruma::UserId;
use store::{Order as Way, Position, Range};

use super::{MAIN, RECEIPTS};
use crate::{Error, Order, RoomSerial, Rooms};

/// Up to where a user has read a room. He has read what is at a place or before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadUpTo {
    /// Everything, whatever thread it is in.
    pub everything: Order,
    /// What is in no thread.
    pub main: Order,
    /// What is in threads, by the id of the event that they begin with.
    pub threads: Vec<(String, Order)>,
    /// When he last read on.
    pub newest: Position,
}

impl ReadUpTo {
    /// Up to where he has read a thread, or what is in none.
    pub fn of(&self, thread: Option<&str>) -> Order {
        let own = match thread {
            None => self.main,
            Some(thread) => {
                self.threads.iter().find(|(of, _)| of == thread).map_or(Order::FIRST, |(_, order)| *order)
            }
        };
        own.max(self.everything)
    }
}

impl Rooms {
    /// Up to where a user of ours has read rooms, in their order; of receipts of both kinds the one that is ahead.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn read_up_to(&self, user: &UserId, rooms: &[RoomSerial]) -> Result<Vec<ReadUpTo>, Error> {
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let ranges = rooms.iter().map(|room| Range::prefix(&(*room, user.as_str()))).collect();
        let found = self.store().scan_many(&RECEIPTS, ranges, Way::Ascending, usize::MAX).await?;
        let read = found.into_iter().map(|rows| {
            let mut read = ReadUpTo::default();
            for ((_, _, _, thread), row) in rows {
                read.newest = read.newest.max(row.position);
                // A receipt of ours is for an event that has a place.
                let Some(order) = row.value.order else { continue };
                match &*thread {
                    "" => read.everything = read.everything.max(order),
                    MAIN => read.main = read.main.max(order),
                    _ => match read.threads.iter_mut().find(|(of, _)| *of == thread) {
                        Some((_, known)) => *known = order.max(*known),
                        None => read.threads.push((thread, order)),
                    },
                }
            }
            read
        });
        Ok(read.collect())
    }
}
