//! How the engine's memory is divided among its caches.
//!
//! Each cache is charged by bytes, with keys and what it needs for itself; none but users' lists of rooms takes what
//! another leaves free ([`base::Cache::borrowing`]). What nobody has asked for in a while is let go whatever is free
//! ([`base::Caches::age`]).

use base::ByteSize;

/// What each cache of the engine may take, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Events, as readers and writers need them.
    pub(crate) events: u64,
    /// Users' lists of rooms: each user who syncs needs his, at every message.
    pub(crate) user_rooms: u64,
    /// Tips of rooms that are written, with the state events that writers needed.
    pub tips: u64,
    /// Chunks of state snapshots, those just made among them.
    pub(crate) chunks: u64,
    /// The newest rows of timelines.
    pub(crate) tails: u64,
    /// The newest receipts of rooms.
    pub(crate) receipts: u64,
    /// What rooms are called.
    pub(crate) namings: u64,
    /// Ids and versions of rooms.
    pub(crate) rooms: u64,
    /// Serials of state keys.
    pub(crate) state_keys: u64,
    /// Who may see what, by snapshot.
    pub(crate) visibility: u64,
}

impl Shares {
    /// Divides this much.
    pub fn of(memory: ByteSize) -> Self {
        let part = |hundredths: u64| memory.as_u64() / 100 * hundredths;
        Self {
            events: part(43),
            user_rooms: part(25),
            tips: part(7),
            chunks: part(6),
            tails: part(5),
            receipts: part(5),
            namings: part(3),
            rooms: part(3),
            state_keys: part(2),
            visibility: part(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole() {
        let Shares {
            events,
            user_rooms,
            tips,
            chunks,
            tails,
            receipts,
            namings,
            rooms,
            state_keys,
            visibility,
        } = Shares::of(ByteSize::bytes(100));
        let all = [events, user_rooms, tips, chunks, tails, receipts, namings, rooms, state_keys, visibility];
        assert_eq!(all.iter().sum::<u64>(), 100);
    }
}
