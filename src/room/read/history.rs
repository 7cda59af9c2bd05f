//! Asking for history that we lack, for somebody who reads.

use std::time::Duration;

use store::Range;

use crate::{
    Error, RoomSerial, Rooms,
    history::HOPELESS,
    read::{
        room::RoomInfo,
        timeline::{Direction, Stretch},
        token::Token,
    },
    tables::GAPS,
};

/// How long a reader waits for other servers.
const PATIENCE: Duration = Duration::from_secs(8);

impl Rooms {
    /// Has the write side ask other servers for events before those we have. Whether anything came.
    ///
    /// A reader is not failed because others do not answer, nor does he wait for them for long: he gets what
    /// there is, and the rest when he asks again.
    pub(crate) async fn fetch_history(&self, room: &RoomInfo, limit: usize) -> bool {
        match self.lacks_history(room.serial).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return false,
        }
        let Some(flight) = self.join_backfill(room, limit) else { return false };
        self.0.clock.timeout(PATIENCE, flight).await.is_ok_and(|added| added > 0)
    }

    /// Whether there is something to ask for: gaps, and not only such as nobody has had yet, in a room whose
    /// beginning we have.
    async fn lacks_history(&self, room: RoomSerial) -> Result<bool, Error> {
        let mut gaps = self.store().scan(&GAPS, Range::prefix(&room), store::Order::Ascending, 100).await?;
        let has_gaps = !gaps.is_empty();
        gaps.retain(|(_, gap)| gap.tries < HOPELESS);
        Ok(!gaps.is_empty() || (has_gaps && !self.has_beginning(room).await?))
    }

    /// Whether the oldest event that we have is the room's first.
    async fn has_beginning(&self, room: RoomSerial) -> Result<bool, Error> {
        let whole = Stretch { room, after: Token::START, through: Token::END };
        let Some(first) = self.timeline(whole, Direction::Forward, 1).await?.pop() else { return Ok(false) };
        let first = self.events_of(&[(room, first)]).await?;
        Ok(first.first().is_some_and(|event| event.kind() == "m.room.create"))
    }

    /// Whether there may be more before the oldest event that we have: it is not the room's beginning, and
    /// our part of the graph names events that we lack.
    pub(crate) async fn has_more_history(&self, room: &RoomInfo) -> Result<bool, Error> {
        let first = self.store().scan(&GAPS, Range::prefix(&room.serial), store::Order::Ascending, 1).await?;
        Ok(!first.is_empty() && !self.has_beginning(room.serial).await?)
    }
}
