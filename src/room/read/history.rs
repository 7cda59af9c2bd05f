//! Whether there is history that we lack.

use store::Range;

use crate::{
    Error, RoomSerial, Rooms,
    read::{
        room::RoomInfo,
        timeline::{Direction, Stretch},
        token::Token,
    },
    tables::GAPS,
};

impl Rooms {
    /// Whether the oldest event that we have is the room's first.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn has_beginning(&self, room: RoomSerial) -> Result<bool, Error> {
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
