//! Entries of the log of changes that rooms write.
//!
//! A reader of the log (sync, the federation sender, push, …) gets kind and payload; what it needs
//! beyond that it reads from the tables. Kinds 1–49 belong to rooms.
//!
//! The log keeps what was written for as long as somebody may have to read it, so payloads are like rows: a schema byte,
//! then the fields, and readers understand what earlier versions wrote.

use bytes::Bytes;
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use store::{Batch, CodecError, Topic, Value};

use crate::{
    ids::{EventSerial, Order, RoomSerial},
    read::{timeline::Stretch, token::Token},
    tables::Membership,
};

/// [`EventEntry`]: an event took its place in a room's timeline.
pub const EVENT: u8 = 5;
/// [`ReceiptEntry`]: a receipt moved.
pub const RECEIPT: u8 = 6;
/// [`MembershipEntry`]: a user of ours was invited to, or got out of, a room that we are not in; or forgot one.
pub const MEMBERSHIP: u8 = 7;
/// A user of ours is erased ([`crate::read::erasure`]): an entry without content, whose topic alone is looked at.
pub const ERASURE: u8 = 4;

/// [`HistoryEntry`]: events from before we came took their places, many at once.
pub const HISTORY: u8 = 8;
/// [`AliasEntry`]: an alias of ours leads to a room from here on, or does so no more. It wakes nobody by a topic.
pub const ALIAS: u8 = 9;

/// Touched by every [`HISTORY`] entry, and by nothing else: for consumers that want history too. Whoever reads what
/// happens now is not woken, and passes over one entry for all that came with one answer of another server.
pub fn history_came() -> Topic {
    Topic::new(18, "room.history")
}

/// The same entries as they were before their payloads had a schema byte; the fields are those of the first schema.
const UNVERSIONED: [(u8, u8); 3] = [(1, EVENT), (2, RECEIPT), (3, MEMBERSHIP)];
/// The first schema of all entries.
const FIRST: u8 = 1;

/// An event took its place in a room's timeline. Its order is `Order::live(position)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// The room.
    pub room: RoomSerial,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// The event.
    pub event: EventSerial,
    /// Whether we have to send it to the other servers of the room: it was made here, or another
    /// server joined, left or knocked through us.
    pub outgoing: bool,
    /// For member events: whose membership it is, and what it is now. An outgoing one goes to the
    /// target's server too, in the room or not.
    pub member: Option<(OwnedUserId, Membership)>,
}
store::row!(EventEntry, schema = 1);

/// A receipt moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptEntry {
    /// The room.
    pub room: RoomSerial,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Whose receipt.
    pub user_id: OwnedUserId,
    /// Receipt type: `m.read`, `m.read.private`.
    pub kind: String,
    /// Thread, empty for an unthreaded receipt.
    pub thread: String,
    /// Whether other servers have to hear of it.
    pub outgoing: bool,
}
store::row!(ReceiptEntry, schema = 1);

/// A user's membership changed without an event in a timeline of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipEntry {
    /// The room.
    pub room: RoomSerial,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Whose membership.
    pub user_id: OwnedUserId,
    /// What it is now.
    pub membership: Membership,
}
store::row!(MembershipEntry, schema = 1);

/// Events from before we came took their places in a room's timeline, together, below all that was there. They are
/// read from the timeline; those of them that were refused have no place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The room.
    pub room: RoomSerial,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// The place before the first of them.
    pub after: u64,
    /// The place of the last.
    pub through: u64,
}
store::row!(HistoryEntry, schema = 1);

impl HistoryEntry {
    /// The part of the timeline that has these events and no others; see [`crate::Rooms::timeline`].
    pub fn stretch(&self) -> Stretch {
        let place = |place| Token(Order::history(place));
        Stretch { room: self.room, after: place(self.after), through: place(self.through) }
    }
}

/// An alias of ours leads to a room, or does so no more. One that is moved has an entry for each of the two rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasEntry {
    /// The room.
    pub room: RoomSerial,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// The alias.
    pub alias: OwnedRoomAliasId,
    /// Whether it leads there from here on.
    pub leads: bool,
}
store::row!(AliasEntry, schema = 1);

impl AliasEntry {
    /// Adds the entry to a batch.
    pub fn write(&self, batch: &mut Batch) {
        batch.log(ALIAS, self.encode(), []);
    }
}

/// An entry of the log that a room wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// See [`EVENT`].
    Event(EventEntry),
    /// See [`RECEIPT`].
    Receipt(ReceiptEntry),
    /// See [`MEMBERSHIP`].
    Membership(MembershipEntry),
    /// See [`HISTORY`].
    History(HistoryEntry),
    /// See [`ALIAS`].
    Alias(AliasEntry),
}

impl Entry {
    /// Reads an entry; `None` when the kind is not one of ours.
    ///
    /// # Errors
    /// When the payload is not what the kind says.
    pub fn decode(kind: u8, payload: &Bytes) -> Result<Option<Self>, CodecError> {
        if let Some((_, kind)) = UNVERSIONED.iter().find(|(unversioned, _)| *unversioned == kind) {
            let versioned: Vec<u8> = std::iter::once(FIRST).chain(payload.iter().copied()).collect();
            return Self::decode(*kind, &Bytes::from(versioned));
        }
        Ok(match kind {
            EVENT => Some(Self::Event(EventEntry::decode(payload)?)),
            RECEIPT => Some(Self::Receipt(ReceiptEntry::decode(payload)?)),
            MEMBERSHIP => Some(Self::Membership(MembershipEntry::decode(payload)?)),
            HISTORY => Some(Self::History(HistoryEntry::decode(payload)?)),
            ALIAS => Some(Self::Alias(AliasEntry::decode(payload)?)),
            _ => None,
        })
    }

    /// Kind and payload, for [`store::Batch::log`].
    pub fn encode(&self) -> (u8, Bytes) {
        match self {
            Self::Event(entry) => (EVENT, entry.encode()),
            Self::Receipt(entry) => (RECEIPT, entry.encode()),
            Self::Membership(entry) => (MEMBERSHIP, entry.encode()),
            Self::History(entry) => (HISTORY, entry.encode()),
            Self::Alias(entry) => (ALIAS, entry.encode()),
        }
    }
}
