//! Entries of the log of changes that rooms write.
//!
//! A reader of the log (sync, the federation sender, push, …) gets kind and payload; what it needs
//! beyond that it reads from the tables. Kinds 1–49 belong to rooms.
//!
//! The log keeps what was written for as long as somebody may have to read it, so payloads are like rows: a schema byte,
//! then the fields, and readers understand what earlier versions wrote.

use bytes::Bytes;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use store::{CodecError, Value};

use crate::{
    ids::{EventSerial, RoomSerial},
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

/// An entry of the log that a room wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// See [`EVENT`].
    Event(EventEntry),
    /// See [`RECEIPT`].
    Receipt(ReceiptEntry),
    /// See [`MEMBERSHIP`].
    Membership(MembershipEntry),
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
            _ => None,
        })
    }

    /// Kind and payload, for [`store::Batch::log`].
    pub fn encode(&self) -> (u8, Bytes) {
        match self {
            Self::Event(entry) => (EVENT, entry.encode()),
            Self::Receipt(entry) => (RECEIPT, entry.encode()),
            Self::Membership(entry) => (MEMBERSHIP, entry.encode()),
        }
    }
}
