//! What other servers have yet to be told of a room before it may go.

use async_trait::async_trait;
use ruma::RoomId;

/// Knows how many servers are owed events of a room: they could not be reached when it was their turn, and what they are
/// sent later is read from the room.
#[async_trait]
pub trait Debts: Send + Sync {
    /// How many servers are owed events of this room.
    ///
    /// # Errors
    /// When that cannot be read.
    async fn owed(&self, room_id: &RoomId) -> Result<usize, store::Error>;
}

/// Nobody is owed anything: for processes that send to no other server.
pub struct NoDebts;

#[async_trait]
impl Debts for NoDebts {
    async fn owed(&self, _room_id: &RoomId) -> Result<usize, store::Error> {
        Ok(0)
    }
}
