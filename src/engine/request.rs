//! A client's request by its name, so that it is served once.

use pdu::Draft;
use room::ids::RoomSerial;
use ruma::{OwnedDeviceId, OwnedTransactionId, UserId, events::TimelineEventType};

/// A client's name for a request: whoever repeats it gets the same answer, and no second event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Txn {
    /// The sender's device.
    pub device: OwnedDeviceId,
    /// The transaction id, unique for device, room and event type.
    pub id: OwnedTransactionId,
}

impl Txn {
    pub(crate) fn key(&self, room: RoomSerial, draft: &Draft) -> TxnKey {
        self.key_of(room, &draft.sender, &draft.kind)
    }

    pub(crate) fn key_of(&self, room: RoomSerial, sender: &UserId, kind: &TimelineEventType) -> TxnKey {
        (room, sender.to_string(), self.device.to_string(), kind.to_string(), self.id.to_string())
    }
}

/// Names a client's request: room, user, device, endpoint, transaction id; a key of [`crate::tables::TXNS`].
pub(crate) type TxnKey = (RoomSerial, String, String, String, String);
