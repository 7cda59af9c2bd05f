//! What this crate writes into the log of changes.
//!
//! Readers of the log (sync, push, the federation sender) decode a [`Change`] from the payload of
//! each entry whose kind is in [`KINDS`].

use std::ops::RangeInclusive;

use bytes::Bytes;
use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

/// The kinds of log entries that this crate writes.
pub const KINDS: RangeInclusive<u8> = 50..=99;

/// Account data of a user changed, global or of a room. Topic: the user.
pub const ACCOUNT_DATA: u8 = 50;
/// A user's profile changed. Topic: the user.
pub const PROFILE: u8 = 51;
/// A user's list of devices changed. Topics: the user and the device.
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
