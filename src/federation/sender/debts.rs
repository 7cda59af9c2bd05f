//! Who is still owed events of a room, for whoever would take the room away.

use async_trait::async_trait;
use engine::Debts;
use ruma::RoomId;
use store::{Order, Range};

use super::Sender;
use crate::tables::OWED;

/// Debts read at once.
const PAGE: usize = 1_000;

#[async_trait]
impl Debts for Sender {
    async fn owed(&self, room_id: &RoomId) -> Result<usize, store::Error> {
        let mut range = Range::all();
        let mut owed = 0;
        loop {
            let rows = self.0.parts.store.scan(&OWED, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(owed) };
            range = Range::all().after(last);
            owed += rows.iter().filter(|((_, _, room), _)| room == room_id.as_str()).count();
        }
    }
}
