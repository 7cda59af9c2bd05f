//! A client's request by its name, so that it is served once.

use pdu::Draft;
use room::ids::RoomSerial;
use ruma::{OwnedDeviceId, OwnedTransactionId};

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
        let sender = draft.sender.to_string();
        (room, sender, self.device.to_string(), draft.kind.to_string(), self.id.to_string())
    }
}

/// Names a client's request: room, user, device, endpoint, transaction id; a key of [`crate::tables::TXNS`].
pub(crate) type TxnKey = (RoomSerial, String, String, String, String);
