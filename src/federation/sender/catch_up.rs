//! Giving a peer that was away what it lacks of a room.
//!
//! Read from the room's timeline, not from a queue: only the events of the authority that owes them,
//! only the newest if there are very many (the peer asks for the rest, as for any gap), and only what the peer may see. Who
//! is not in the room any more has nothing to ask by: for what was done to his own users all is looked through.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use room::{
    Order, RoomSerial,
    read::{
        event::StoredEvent,
        receipts::Receipt,
        timeline::{Direction, Stretch},
        token::Token,
    },
};
use ruma::{OwnedRoomId, OwnedServerName, ServerName};
use tracing::{debug, warn};

use super::{
    Destination, Inner,
    lane::{Lane, Owed},
    transaction::{Content, Item, MOST_EDUS, MOST_PDUS, OutgoingReceipt, ReceiptKey, fitting, take_receipts},
    worker::Outcome,
};

/// So many receipts of a room a peer is told that was away, the newest.
const MOST_RECEIPTS: usize = 2_000;

impl Inner {
    /// Sends what a peer lacks of a room, as far as it goes; what is left stays owed. How far ours have read goes first:
    /// nothing is noted as taken before that is.
    pub(super) async fn catch_up(
        &self,
        destination: &Destination,
        from: &OwnedServerName,
        room: OwnedRoomId,
        owed: Owed,
    ) {
        match self.tell_receipts(destination, from, &room, owed).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                warn!(destination = %destination.name, room_id = %room, %error, "receipts could not be read");
                self.note(destination, &Outcome::Failed { wait: None });
                return;
            }
        }
        let items = match self.lacking(&destination.name, from, &room, owed).await {
            Ok(items) => items,
            Err(error) => {
                warn!(destination = %destination.name, room_id = %room, %error, "what a peer lacks could not be read");
                self.note(destination, &Outcome::Failed { wait: None });
                return;
            }
        };
        debug!(destination = %destination.name, room_id = %room, count = items.len(), "peer catches up");
        let mut rest = items.as_slice();
        let mut limit = MOST_PDUS;
        while !rest.is_empty() {
            let count = fitting(rest, limit);
            let part: Vec<&Item> = rest.iter().take(count).collect();
            let content = Content { origin: from, room: Some(&room), pdus: &part, edus: &[], units: &[] };
            let transaction = self.press.print(&content, self.now());
            let outcome = self.attempt(destination, from, &transaction).await;
            self.note(destination, &outcome);
            match outcome {
                Outcome::Delivered => {
                    limit = MOST_PDUS;
                    self.with_lane(destination, from, |lane| lane.delivered(&transaction.id));
                }
                Outcome::Refused if count > 1 => {
                    limit = count / 2;
                    self.with_lane(destination, from, |lane| lane.not_sent(&transaction.id));
                    continue;
                }
                Outcome::Refused => {
                    self.with_lane(destination, from, |lane| lane.not_sent(&transaction.id));
                    let event_id = part.first().map(|item| item.event.event_id());
                    warn!(destination = %destination.name, ?event_id, "the peer refuses an event for good");
                }
                Outcome::Failed { .. } => {
                    self.with_lane(destination, from, |lane| lane.try_again(transaction));
                    return;
                }
            }
            rest = rest.get(count..).unwrap_or_default();
            self.with_lane(destination, from, |lane| lane.caught_up(&room, transaction.last));
        }
        self.with_lane(destination, from, |lane| lane.caught_up(&room, owed.through));
    }

    /// Tells a peer how far users of `from` have read in a room, as far as that has changed; whether it took that.
    async fn tell_receipts(
        &self,
        destination: &Destination,
        from: &OwnedServerName,
        room_id: &OwnedRoomId,
        owed: Owed,
    ) -> Result<bool, room::Error> {
        let Some(room) = self.rooms.room(room_id).await? else { return Ok(true) };
        let found =
            self.rooms.public_receipts_of(from, room.serial, owed.after, owed.through, MOST_RECEIPTS).await?;
        if found.is_empty()
            || !self.rooms.is_server_in_room(&destination.name, room.serial).await?
            || self.rooms.servers_in_room(room.serial).await?.len() > self.config.largest_ephemeral_room
        {
            return Ok(true);
        }
        let mut receipts: BTreeMap<ReceiptKey, OutgoingReceipt> = found
            .into_iter()
            .map(|Receipt { user_id, thread, event_id, ts, position, .. }| {
                ((room_id.clone(), user_id, thread), OutgoingReceipt { event_id, ts, position })
            })
            .collect();
        while !receipts.is_empty() {
            let edus = take_receipts(&mut receipts, MOST_EDUS);
            let content = Content { origin: from, room: Some(room_id), pdus: &[], edus: &edus, units: &[] };
            let transaction = self.press.print(&content, self.now());
            let outcome = self.attempt(destination, from, &transaction).await;
            self.note(destination, &outcome);
            match outcome {
                Outcome::Delivered => {
                    self.with_lane(destination, from, |lane| lane.delivered(&transaction.id));
                }
                // Then it does without.
                Outcome::Refused => {
                    self.with_lane(destination, from, |lane| lane.not_sent(&transaction.id));
                }
                Outcome::Failed { .. } => {
                    self.with_lane(destination, from, |lane| lane.try_again(transaction));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn with_lane(&self, destination: &Destination, from: &OwnedServerName, act: impl FnOnce(&mut Lane)) {
        if let Some(lane) = destination.state.lock().lanes.get_mut(from) {
            act(lane);
        }
    }

    /// The events of `from` in a room that a peer lacks, oldest first.
    async fn lacking(
        &self,
        peer: &ServerName,
        from: &ServerName,
        room_id: &OwnedRoomId,
        owed: Owed,
    ) -> Result<Vec<Item>, room::Error> {
        let Some(room) = self.rooms.room(room_id).await? else { return Ok(Vec::new()) };
        let stretch = Stretch {
            room: room.serial,
            after: Token(Order::live(owed.after)),
            through: Token(Order::live(owed.through)),
        };
        let own = match self.rooms.is_server_in_room(peer, room.serial).await? {
            true => self.newest_of(from, &stretch).await?.0,
            // It hears of nothing by which it could ask for what was done to its users.
            false => self.concerning(peer, from, stretch).await?,
        };
        let own = self.permitted(peer, room.serial, own).await?;
        let items = own.into_iter().filter_map(|event| {
            let position = event.order()?.position()?;
            Some(Item { position, room_id: room_id.clone(), event })
        });
        Ok(items.collect())
    }

    /// The events of `from` among the newest of a stretch, oldest first; and the place of the oldest row that was looked
    /// at, if there may be older ones.
    async fn newest_of(
        &self,
        from: &ServerName,
        stretch: &Stretch,
    ) -> Result<(Vec<Arc<StoredEvent>>, Option<Order>), room::Error> {
        let limit = self.config.catch_up_events;
        let mut rows = self.rooms.timeline(*stretch, Direction::Backward, limit).await?;
        rows.reverse();
        let oldest = rows.first().map(|row| row.order).filter(|_| rows.len() >= limit);
        let rows: Vec<_> = rows.into_iter().map(|row| (stretch.room, row)).collect();
        let mut events = self.rooms.events_of(&rows).await?;
        events.retain(|event| event.sender().server_name() == from);
        Ok((events, oldest))
    }

    /// The events of `from` in a stretch that were done to users of a server, oldest first; the newest if there are very
    /// many.
    async fn concerning(
        &self,
        peer: &ServerName,
        from: &ServerName,
        mut stretch: Stretch,
    ) -> Result<Vec<Arc<StoredEvent>>, room::Error> {
        let mut found: VecDeque<Arc<StoredEvent>> = VecDeque::new();
        loop {
            let (events, oldest) = self.newest_of(from, &stretch).await?;
            events
                .into_iter()
                .rev()
                .filter(|event| concerns(event, peer))
                .for_each(|event| found.push_front(event));
            let Some(oldest) = oldest.filter(|_| found.len() < self.config.catch_up_events) else {
                return Ok(found.into());
            };
            stretch.through = Token(Order(oldest.0.saturating_sub(1)));
        }
    }

    /// Those of the events that a peer may get now: all that it may see while it is in the room, else only
    /// what was done to its own users.
    pub(super) async fn permitted(
        &self,
        peer: &ServerName,
        room: RoomSerial,
        events: Vec<Arc<StoredEvent>>,
    ) -> Result<Vec<Arc<StoredEvent>>, room::Error> {
        if !self.rooms.is_server_in_room(peer, room).await? {
            return Ok(events.into_iter().filter(|event| concerns(event, peer)).collect());
        }
        let visible = self.rooms.visible_to_server(peer, &events).await?;
        let permitted = events.into_iter().zip(visible).filter(|(event, visible)| {
            // State has to be known to whoever takes part, or its view of the room would differ.
            *visible || event.state_key().is_some()
        });
        self.rooms.shown_to_server(peer, permitted.map(|(event, _)| event).collect()).await
    }
}

/// Whether an event changes the membership of a user of a server.
fn concerns(event: &StoredEvent, server: &ServerName) -> bool {
    let target = event.membership().and_then(|_| event.state_key());
    target.and_then(|user| user.split_once(':')).is_some_and(|(_, of)| of == server.as_str())
}
