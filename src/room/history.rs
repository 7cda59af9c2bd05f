//! Fetching the time before we came: backfill.
//!
//! The gaps of a room ([`GAPS`]) say which events its timeline lacks. Another server is asked for
//! them and some before; they get the state before them, are judged like any other event, and take
//! places that count down. They never touch the tip.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pdu::Verified;
use ruma::{OwnedEventId, OwnedServerName, RoomId};
use store::{Order, Range};
use tracing::info;

use crate::{
    Error, Rooms,
    inbound::{
        receive::{Arrival, Received},
        state_at::{Side, Told},
    },
    pipeline::Stage,
    place::Goes,
    read::room::RoomInfo,
    send::Attempts,
    tables::GAPS,
};

/// How many gaps are asked about at once.
const GAPS_AT_ONCE: usize = 10;
/// How many events are asked for at most.
const MOST: usize = 100;
/// How many servers are tried.
const SERVERS: usize = 3;

impl Rooms {
    /// Fetches about `limit` events from before the oldest that we have. Answers how many came.
    ///
    /// # Errors
    /// [`Error::Store`] and the like; a server that does not help is no error.
    pub(crate) async fn backfill(&self, room_id: &RoomId, limit: usize) -> Result<usize, Error> {
        let room = &self.get_room(room_id).await?;
        let limit = u32::try_from(limit.min(MOST)).unwrap_or(u32::MAX);
        let gaps =
            self.store().scan(&GAPS, Range::prefix(&room.serial), Order::Ascending, GAPS_AT_ONCE).await?;
        let wanted: Vec<OwnedEventId> =
            gaps.into_iter().filter_map(|((_, id), _)| OwnedEventId::try_from(id).ok()).collect();
        if wanted.is_empty() {
            return Ok(0);
        }
        let from = self.speaker(room).await?;
        let mut servers = self.servers_in(room).await?;
        servers.retain(|server| !self.is_ours(server));
        for server in servers.iter().take(SERVERS) {
            let answer = self.0.remote.backfill(&from, server, &room.room_id, &wanted, limit).await;
            match answer {
                Ok(raw) => {
                    let events = self.verify_raw(room, &raw).await?;
                    let came = self.take_history(room, server, events).await?;
                    if came > 0 {
                        return Ok(came);
                    }
                }
                Err(error) => {
                    info!(room_id = %room.room_id, destination = %server, %error, "history was not given");
                }
            }
        }
        Ok(0)
    }

    /// Places events of the past: the newest of them nearest to what we have.
    async fn take_history(
        &self,
        room: &Arc<RoomInfo>,
        server: &OwnedServerName,
        events: Vec<Verified>,
    ) -> Result<usize, Error> {
        let ids: Vec<OwnedEventId> = events.iter().map(|event| event.pdu().event_id().to_owned()).collect();
        let stored = self.stored(room, &ids).await?;
        let found: HashMap<OwnedEventId, Verified> = events
            .into_iter()
            .filter(|event| !stored.get(event.pdu().event_id()).is_some_and(|placed| *placed))
            .map(|event| (event.pdu().event_id().to_owned(), event))
            .collect();
        let mut arrivals = Vec::with_capacity(found.len());
        let mut order: Vec<&Verified> = found.values().collect();
        order.sort_by(|a, b| {
            (a.pdu().depth(), a.pdu().event_id()).cmp(&(b.pdu().depth(), b.pdu().event_id()))
        });
        let mut at_hand: HashSet<OwnedEventId> = HashSet::new();
        for event in order {
            let pdu = event.pdu();
            let mut arrival = Arrival::new(event.clone(), server.clone());
            let prev = self.stored(room, pdu.prev_events()).await?;
            let has = |id: &OwnedEventId| at_hand.contains(id) || prev.get(id).is_some_and(|placed| *placed);
            if !pdu.prev_events().is_empty() && !pdu.prev_events().iter().all(has) {
                let servers = std::slice::from_ref(server);
                let told = self.fetch_state(room, servers, pdu.event_id(), Side::Before).await?;
                let Told::State(given) = told else { continue };
                arrival.before = Some(given.root);
                arrival.unsure = !given.is_whole;
            }
            at_hand.insert(pdu.event_id().to_owned());
            arrivals.push(arrival);
        }
        let received = self.place_history(room, &arrivals).await?;
        Ok(received.iter().filter(|one| matches!(one, Received::Placed(_))).count())
    }

    /// Places events, older ones first, right below the oldest that we have.
    async fn place_history(
        &self,
        room: &Arc<RoomInfo>,
        arrivals: &[Arrival],
    ) -> Result<Vec<Received>, Error> {
        let count = u64::try_from(arrivals.len()).unwrap_or(u64::MAX);
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, room, guard.live()?);
            let floor = stage.head.history_floor.saturating_sub(count);
            let mut received = Vec::with_capacity(arrivals.len());
            for (place, arrival) in (floor + 1..).zip(arrivals) {
                let arrival = Arrival { goes: Goes::History(place), ..arrival.clone() };
                received.push(stage.receive(&arrival).await?);
            }
            stage.head.history_floor = floor;
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if attempts.judge(self, landing.await).await?.is_some() {
                return Ok(received);
            }
        }
    }
}
