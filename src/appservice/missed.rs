//! Making up for a part of the log that is gone.
//!
//! What happened is in the rooms: each room that concerns a service, by who is in it now, is read from where the reader stood
//! to where the log begins, and what is found waits in the order in which it happened.

use std::{collections::BTreeMap, sync::Arc};

use room::{
    Order, RoomSerial,
    read::{
        timeline::{Direction, Stretch},
        token::Token,
    },
};
use ruma::OwnedRoomId;
use store::{Batch, Missed, Position};
use tracing::warn;

use crate::{
    AppServices, Error,
    interest::Interest,
    lane::Round,
    services::NAME,
    tables::{Due, ItemRow},
};

/// Rooms that are looked at together.
const ROOMS: usize = 200;

/// Events of a room that are read at once.
const EVENTS: usize = 1_000;

/// After a step it rests for as long as that took.
const REST: u32 = 1;

impl AppServices {
    /// Has the services told what was in a part of the log that is gone.
    pub(crate) async fn make_up(&self, round: &Arc<Round>, missed: Missed) -> Result<(), Error> {
        warn!(reader = NAME, position = %missed.after, "the log went before it was read; events are taken from the rooms");
        let rooms = &self.0.rooms;
        let mut interest = Interest::new(self.0.told.iter().map(|(service, _)| service.clone()).collect());
        let mut last = None;
        loop {
            let began = self.0.clock.instant();
            let page = rooms.rooms_by_serial(last, ROOMS).await?;
            let Some((room, _)) = page.last() else { break };
            last = Some(*room);
            let wanted: BTreeMap<RoomSerial, OwnedRoomId> = page.into_iter().collect();
            interest.learn(rooms, &wanted).await?;
            for room in wanted.keys() {
                let places = interest.of_room(*room);
                if places.is_empty() {
                    continue;
                }
                let mut after = missed.after;
                loop {
                    let found = self.stretch(*room, after, missed.through).await?;
                    let Some((position, _)) = found.last() else { break };
                    after = *position;
                    let due = found.iter().flat_map(|(position, item)| {
                        places.iter().map(|place| Due { place: *place, position: *position, item: *item })
                    });
                    round.put(Batch::new(), due.collect()).await?;
                }
            }
            self.0.clock.rest_since(began, REST).await;
        }
        let mut batch = Batch::new();
        round.term().made_up(&mut batch);
        round.put(batch, Vec::new()).await
    }

    async fn stretch(
        &self,
        room: RoomSerial,
        after: Position,
        through: Position,
    ) -> Result<Vec<(Position, ItemRow)>, Error> {
        let place = |position| Token(Order::live(position));
        let stretch = Stretch { room, after: place(after), through: place(through) };
        let entries = self.0.rooms.timeline(stretch, Direction::Forward, EVENTS).await?;
        let since = self.0.clock.now().millis();
        let found = entries
            .into_iter()
            .filter_map(|entry| Some((entry.order.position()?, ItemRow { room, event: entry.event, since })));
        Ok(found.collect())
    }
}
