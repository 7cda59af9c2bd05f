//! Who reads only so far back ([`Horizon`]), and which events are behind that for him.
//!
//! The policy says it of a user; whom it says nothing of costs that question and no more. What is decided here goes into
//! [`Rooms::sights`], through which all pass who read events, so a new way of reading has it without naming it. Lists that are
//! walked backward end at the horizon ([`Rooms::floor_in`]): nobody is given empty pages down to the beginning of a room.
//!
//! The state of a room, as it is now, is behind no horizon: without it there would be no room to show.

use std::{collections::HashMap, sync::Arc};

use ruma::UserId;
use store::{Position, Range};

use crate::{
    Error, Order, RoomSerial, Rooms,
    horizon::Horizon,
    read::{event::StoredEvent, token::Token},
    tables::{TIMELINE, Verdict},
};

impl Horizon {
    /// Whether an event says that it is from before it.
    pub(crate) fn is_claimed(&self, event: &StoredEvent) -> bool {
        u64::from(event.pdu().origin_server_ts().get()) < self.sent_ms
    }

    /// The place up to which all that came here is behind it; [`Token::START`] where nothing is known of that.
    pub(crate) fn floor(&self) -> Token {
        if self.came == Position::START { Token::START } else { Token::after(self.came) }
    }

    /// Whether an event that came here as it happened is behind it.
    #[must_use]
    pub fn hides_event(&self, event: &StoredEvent) -> bool {
        self.hides(event.order(), event.pdu().origin_server_ts().get().into())
    }
}

impl Rooms {
    /// How far back a user reads; without a bound when none.
    pub fn horizon(&self, user: &UserId) -> Option<Horizon> {
        self.policy().reads_back(user)
    }

    /// Which of these events are behind a horizon, in their order. What was fetched from before we came into a room is
    /// older than all that came here in it, whatever it claims: it is behind the horizon where the first of that is.
    pub(crate) async fn are_behind(
        &self,
        horizon: &Horizon,
        events: &[Arc<StoredEvent>],
    ) -> Result<Vec<bool>, Error> {
        // Of the room nothing is known at an outlier: shown is alone what one says of the reader himself.
        let is_placed = |event: &StoredEvent| event.meta().verdict != Verdict::Outlier;
        let mut behind: Vec<bool> =
            events.iter().map(|event| is_placed(event) && horizon.hides_event(event)).collect();
        let is_open = |(event, is_behind): &(&Arc<StoredEvent>, &bool)| {
            !**is_behind && event.order().is_some_and(|order| order.position().is_none())
        };
        let mut rooms: Vec<RoomSerial> =
            events.iter().zip(&behind).filter(is_open).map(|(event, _)| event.room()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        if rooms.is_empty() || horizon.came == Position::START {
            return Ok(behind);
        }
        let first = self.first_came(&rooms).await?;
        for (event, is_behind) in events.iter().zip(&mut behind) {
            if event.order().is_some_and(|order| order.position().is_none()) {
                *is_behind |= first.get(&event.room()).is_some_and(|first| *first <= horizon.came);
            }
        }
        Ok(behind)
    }

    /// The place in a room's timeline up to which everything is behind a horizon; [`Token::START`] where that is not known.
    pub(crate) async fn floor_in(&self, horizon: &Horizon, room: RoomSerial) -> Result<Token, Error> {
        if horizon.came == Position::START {
            return Ok(Token::START);
        }
        let first = self.first_came(&[room]).await?;
        // Where all came after it, what was fetched from before that is judged by what it claims.
        let has_some = first.get(&room).is_some_and(|first| *first <= horizon.came);
        Ok(if has_some { horizon.floor() } else { Token::START })
    }

    /// Where the first events stand that came to rooms as they happened.
    async fn first_came(&self, rooms: &[RoomSerial]) -> Result<HashMap<RoomSerial, Position>, Error> {
        let ranges = rooms
            .iter()
            .map(|room| Range::prefix(room).from(&(*room, Order::live(Position::START))))
            .collect();
        let rows = self.store().scan_many(&TIMELINE, ranges, store::Order::Ascending, 1).await?;
        let firsts = rows.into_iter().flatten();
        Ok(firsts.filter_map(|((room, order), _)| Some((room, order.position()?))).collect())
    }
}
