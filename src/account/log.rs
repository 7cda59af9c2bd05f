//! What this crate writes into the log of changes.
//!
//! Readers of the log (sync, push, the federation sender) decode a [`Change`] from the payload of
//! each entry whose kind is in [`KINDS`].

use std::ops::RangeInclusive;

use bytes::Bytes;
use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use store::{Batch, Slot, Topic};

/// The kinds of log entries that this crate writes.
pub const KINDS: RangeInclusive<u8> = 50..=99;

/// Account data of a user changed, global or of a room. Topic: the user's account data.
pub const ACCOUNT_DATA: u8 = 50;
/// What a thread is to a user changed. Topics: the user's account data, and his threads in the room.
pub const THREAD: u8 = 53;
/// A user's profile changed. Topic: that profile.
pub const PROFILE: u8 = 51;
/// A user's list of devices changed. Topics: the list and the device.
pub const DEVICES: u8 = 52;

/// One change of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Account data was set ([`ACCOUNT_DATA`]).
    AccountData {
        /// Whose data.
        user_id: OwnedUserId,
        /// Of which room; `None` is global.
        room_id: Option<OwnedRoomId>,
        /// The type of the data.
        kind: String,
    },
    /// A user subscribed to a thread, or does so no more ([`THREAD`]).
    Thread {
        /// Who.
        user_id: OwnedUserId,
        /// In which room.
        room_id: OwnedRoomId,
        /// What the thread begins with.
        thread: OwnedEventId,
    },
    /// A profile field was set or removed ([`PROFILE`]).
    Profile {
        /// Whose profile.
        user_id: OwnedUserId,
        /// The field.
        field: String,
    },
    /// A device was added, renamed or removed ([`DEVICES`]).
    Devices {
        /// Whose device.
        user_id: OwnedUserId,
        /// The device.
        device_id: OwnedDeviceId,
        /// Whether it is gone.
        removed: bool,
    },
}

impl Change {
    /// The kind of log entry that carries this change.
    pub fn kind(&self) -> u8 {
        match self {
            Self::AccountData { .. } => ACCOUNT_DATA,
            Self::Thread { .. } => THREAD,
            Self::Profile { .. } => PROFILE,
            Self::Devices { .. } => DEVICES,
        }
    }

    /// The payload of the log entry.
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// Reads the payload of a log entry of one of our [`KINDS`]; `None` when it is not one of ours.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// Adds a change to the log of a batch.
pub(crate) fn log_change(
    batch: &mut Batch,
    change: &Change,
    topics: impl IntoIterator<Item = Topic>,
) -> Slot {
    batch.log(change.kind(), change.encode(), topics)
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, room_id, user_id};

    use super::*;

    #[test]
    fn changes_have_the_payload_that_is_in_logs() {
        let user_id = user_id!("@a:b").to_owned();
        let room = room_id!("!r:b").to_owned();
        let room_id = Some(room.clone());
        let device_id = "D".into();
        let table = [
            (
                Change::AccountData { user_id: user_id.clone(), room_id, kind: "m.tag".to_owned() },
                r#"{"AccountData":{"user_id":"@a:b","room_id":"!r:b","kind":"m.tag"}}"#,
            ),
            (
                Change::Thread { user_id: user_id.clone(), room_id: room, thread: owned_event_id!("$t") },
                r#"{"Thread":{"user_id":"@a:b","room_id":"!r:b","thread":"$t"}}"#,
            ),
            (
                Change::Profile { user_id: user_id.clone(), field: "m.tz".to_owned() },
                r#"{"Profile":{"user_id":"@a:b","field":"m.tz"}}"#,
            ),
            (
                Change::Devices { user_id, device_id, removed: true },
                r#"{"Devices":{"user_id":"@a:b","device_id":"D","removed":true}}"#,
            ),
        ];
        for (change, payload) in table {
            assert_eq!(change.encode(), payload);
            assert_eq!(Change::decode(payload.as_bytes()), Some(change));
        }
        assert_eq!(Change::decode(b"nonsense"), None);
    }
}
