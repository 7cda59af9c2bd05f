//! Making up for a part of the log that is gone.
//!
//! What happened is in the rooms: each is read from where the reader stood to where the log begins, as if that were the log, and
//! what is found for whoever was in it then waits in the order in which it happened.

use std::sync::Arc;

use room::{
    Order, RoomSerial,
    read::{
        event::Keep,
        timeline::{Direction, Stretch},
        token::Token,
    },
};
use ruma::{RoomId, UserId};
use store::{Batch, Missed, Position};
use tracing::warn;

use crate::{AppServices, Error, follow::Happened, interest::Interest, lane::Round, services::NAME};

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
        let mut last = None;
        loop {
            let began = self.0.clock.instant();
            let page = rooms.rooms_by_serial(last, ROOMS).await?;
            let Some((room, _)) = page.last() else { break };
            last = Some(*room);
            // The rooms are met again by whoever reads on in the log.
            let mut interest = Interest::new(self.all());
            for (room, room_id) in page {
                let mut after = missed.after;
                loop {
                    let found = self.stretch(room, &room_id, after, missed.through).await?;
                    let Some(newest) = found.last() else { break };
                    after = newest.position;
                    let due = self.judge(&mut interest, found, missed.through).await?;
                    round.put(Batch::new(), due).await?;
                }
            }
            self.0.clock.rest_since(began, REST).await;
        }
        let mut batch = Batch::new();
        round.term().made_up(&mut batch);
        round.put(batch, Vec::new()).await
    }

    /// What happened in a room between two positions, the first of it.
    async fn stretch(
        &self,
        room: RoomSerial,
        room_id: &RoomId,
        after: Position,
        through: Position,
    ) -> Result<Vec<Happened>, Error> {
        let place = |position| Token(Order::live(position));
        let stretch = Stretch { room, after: place(after), through: place(through) };
        let entries = self.0.rooms.timeline(stretch, Direction::Forward, EVENTS).await?;
        let keys: Vec<_> = entries.iter().map(|entry| (room, entry.event)).collect();
        let events = self.0.rooms.find_events(&keys, Keep::Known).await?;
        let found = entries.into_iter().zip(events).filter_map(|(entry, event)| {
            let member =
                event.and_then(|event| Some((UserId::parse(event.state_key()?).ok()?, event.membership()?)));
            Some(Happened {
                position: entry.order.position()?,
                room,
                room_id: room_id.to_owned(),
                event: Some(entry.event),
                member,
                alias: None,
                is_placed: true,
            })
        });
        Ok(found.collect())
    }
}
