//! Positions in the one order of commits, and topics: who may care about a commit.

use serde::{Deserialize, Serialize};

/// A place in the one order of commits; 0 is before everything.
///
/// Positions become visible in order and are never given twice, not even after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before everything.
    pub const START: Self = Self(0);

    /// The place `count` further on.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Something that commits touch and readers wait for: the events of a room, the memberships of a user, a device, a
/// destination.
///
/// The id is a stable 64-bit hash of the name. Two names with one hash wake readers in vain, and count as one where
/// it is asked whether a [crowd](crate::Store::crowd) waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topic {
    /// Which sort of thing it is; see the constructors.
    pub kind: u8,
    /// Which one of its sort.
    pub id: u64,
}

impl Topic {
    /// Everything that happens in a room, but for what is of the moment alone.
    #[must_use]
    pub fn room(room_id: &str) -> Self {
        Self::new(1, room_id)
    }

    /// Which rooms a user has to do with, and as what.
    #[must_use]
    pub fn memberships(user_id: &str) -> Self {
        Self::new(2, user_id)
    }

    /// What a user's clients keep with us, for all rooms or for one.
    #[must_use]
    pub fn account_data(user_id: &str) -> Self {
        Self::new(5, user_id)
    }

    /// How far a user has read, as his own clients alone are told.
    #[must_use]
    pub fn own_receipts(user_id: &str) -> Self {
        Self::new(6, user_id)
    }

    /// A user's profile.
    #[must_use]
    pub fn profile(user_id: &str) -> Self {
        Self::new(7, user_id)
    }

    /// A user's list of devices.
    #[must_use]
    pub fn devices(user_id: &str) -> Self {
        Self::new(8, user_id)
    }

    /// Receipts and typing in a room.
    #[must_use]
    pub fn ephemeral(room_id: &str) -> Self {
        Self::new(9, room_id)
    }

    /// Who comes and goes in a room, by its number.
    #[must_use]
    pub fn presence(room: u64) -> Self {
        Self { kind: 11, id: finish(room) }
    }

    /// Whose devices or keys changed of those in a room.
    #[must_use]
    pub fn device_lists(room_id: &str) -> Self {
        Self::new(12, room_id)
    }

    /// The one-time and fallback keys of a device.
    #[must_use]
    pub fn device_keys(user_id: &str, device_id: &str) -> Self {
        Self { kind: 13, ..Self::device(user_id, device_id) }
    }

    /// That a room takes guests no more.
    #[must_use]
    pub fn guest_access() -> Self {
        Self::new(14, "")
    }

    /// Everything that concerns one device.
    #[must_use]
    pub fn device(user_id: &str, device_id: &str) -> Self {
        Self { kind: 3, id: finish(fnv(fnv(fnv(FNV_START, user_id.as_bytes()), &[0]), device_id.as_bytes())) }
    }

    /// Everything that must go to a server; `"*"` for events whose servers the reader finds out.
    #[must_use]
    pub fn destination(server_name: &str) -> Self {
        Self::new(4, server_name)
    }

    /// Who holds a consumer, by its name.
    #[must_use]
    pub fn consumer(name: &str) -> Self {
        Self::new(10, name)
    }

    /// What every commit with positions wakes. It is in no log and nobody is told whether it has moved.
    pub(crate) const ANY: Self = Self { kind: 0, id: 0 };

    /// Another sort of thing. Kinds: below 16 this crate, `room` 16–31, `audit` 32–35, `to_device` 40–41, `media` 48–51, `mail` 56,
    /// `account` 60.
    #[must_use]
    pub fn new(kind: u8, name: &str) -> Self {
        Self { kind, id: finish(fnv(FNV_START, name.as_bytes())) }
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: topics are stored in the log, so the hash must never change.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Spreads the hash over all bits (the finaliser of splitmix64).
fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
