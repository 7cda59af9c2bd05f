//! Fetching the time before we came: backfill.
//!
//! The gaps of a room ([`GAPS`]) say which events its timeline lacks. Another server is asked for
//! them and some before; they get the state before them, are judged like any other event, and take
//! places that count down. They never touch the tip.
//!
//! Anybody can name an event that does not exist as previous. So gaps take turns, and one that servers
//! were asked for in vain waits until the others were asked for as often.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use pdu::Verified;
use room::{
    Error,
    attempts::Attempts,
    ids::RoomSerial,
    read::{
        event::StoredEvent,
        messages::{MAX_PAGE, Page, PageQuery},
        room::RoomInfo,
        timeline::Direction,
        view::Viewer,
    },
    tables::{GAPS, Gap},
};
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedServerName, RoomId};
use store::{Batch, CommitError, Order, Range};
use tracing::{debug, info};

use crate::{
    Engine,
    inbound::{
        receive::{Arrival, Received},
        state_at::{Side, Told},
    },
    pipeline::Stage,
    place::Goes,
};

/// How many gaps are asked about at once.
const GAPS_AT_ONCE: usize = 20;
/// How many gaps of a room are looked at to choose those.
const GAPS_SEEN: usize = 1_000;
/// How many events are asked for at most.
const MOST: usize = 100;
/// How many servers are tried.
const SERVERS: usize = 3;
/// How long one of them may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reader waits for other servers.
const READERS_PATIENCE: Duration = Duration::from_secs(8);
/// How often they are asked for somebody who looks for a date.
const ROUNDS_BACK: usize = 10;
/// How long it may take to find out what an answer stands on.
const TAKING: Duration = Duration::from_secs(60);
/// At how many events of an answer the state is fetched.
const STATE_BUDGET: usize = 10;

/// After so many askings in vain, nobody is kept waiting for an event.
const HOPELESS: u32 = 8;
/// So many rooms' history is fetched at a time.
const FLIGHTS: usize = 64;

/// The fetching of history that is under way, by room: several readers wait for the same.
#[derive(Default)]
pub(crate) struct Backfills {
    flights: Mutex<HashMap<RoomSerial, Flight>>,
}

/// How many events came, for any number of those who wait for them.
type Flight = Shared<BoxFuture<'static, usize>>;

/// A gap: the missing event, and what is known of it.
type OpenGap = (OwnedEventId, Gap);

impl Engine {
    /// A page of a room's history, as the viewer may see it.
    ///
    /// Going backward past what we have, other servers are asked for more, and what they give is
    /// part of the page.
    ///
    /// # Errors
    /// As [`Rooms::messages`](room::Rooms::messages).
    pub async fn messages(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        query: &PageQuery,
    ) -> Result<Page, Error> {
        let page = self.rooms().messages(viewer, room_id, query).await?;
        if !page.ran_out {
            return Ok(page);
        }
        let room = self.rooms().get_room(room_id).await?;
        if !self.fetch_history(&room, query.limit.min(MAX_PAGE)).await {
            return Ok(page);
        }
        self.rooms().messages(viewer, room_id, query).await
    }

    /// The event closest to a time, from there on or up to there, that the viewer may see.
    ///
    /// Where what we have begins later than that, other servers are asked for what was before it, some times over: what
    /// they have is found when it is here, in its place.
    ///
    /// # Errors
    /// As [`Rooms::event_at_time`](room::Rooms::event_at_time).
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>
    pub async fn event_at_time(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        // Who may not look into the room has nothing fetched.
        let found = self.rooms().event_at_time(viewer, room_id, time, direction).await?;
        let room = self.rooms().get_room(room_id).await?;
        match self.fetch_back_to(&room, time).await? {
            true => self.rooms().event_at_time(viewer, room_id, time, direction).await,
            false => Ok(found),
        }
    }

    /// Fetches history until what we have begins before a time, in bounded patience. Whether anything came.
    async fn fetch_back_to(&self, room: &RoomInfo, time: MilliSecondsSinceUnixEpoch) -> Result<bool, Error> {
        let until = self.0.clock.instant() + READERS_PATIENCE;
        let mut came = false;
        for _ in 0..ROUNDS_BACK {
            let begins = self.rooms().first_time(room.serial).await?;
            let is_before = begins.is_none_or(|first| first <= time);
            if is_before || self.0.clock.instant() >= until || !self.fetch_history(room, MOST).await {
                break;
            }
            came = true;
        }
        Ok(came)
    }

    /// Asks other servers for events before those we have. Whether anything came.
    ///
    /// A reader is not failed because others do not answer, nor does he wait for them for long: he gets what
    /// there is, and the rest when he asks again.
    async fn fetch_history(&self, room: &RoomInfo, limit: usize) -> bool {
        match self.lacks_history(room.serial).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return false,
        }
        let Some(flight) = self.join_backfill(room, limit) else { return false };
        self.0.clock.timeout(READERS_PATIENCE, flight).await.is_ok_and(|added| added > 0)
    }

    /// Whether there is something to ask for: gaps, and not only such as nobody has had yet, in a room whose
    /// beginning we have.
    async fn lacks_history(&self, room: RoomSerial) -> Result<bool, Error> {
        let mut gaps = self.store().scan(&GAPS, Range::prefix(&room), Order::Ascending, 100).await?;
        let has_gaps = !gaps.is_empty();
        gaps.retain(|(_, gap)| gap.tries < HOPELESS);
        Ok(!gaps.is_empty() || (has_gaps && !self.rooms().has_beginning(room).await?))
    }

    /// Fetches about `limit` events from before the oldest that we have. Answers how many came.
    ///
    /// # Errors
    /// [`Error::Store`] and the like; a server that does not help is no error.
    pub(crate) async fn backfill(&self, room_id: &RoomId, limit: usize) -> Result<usize, Error> {
        let room = &self.rooms().get_room(room_id).await?;
        let limit = limit.min(MOST);
        let gaps = self.choose_gaps(room).await?;
        let wanted = ids_of(&gaps, |_| true);
        if wanted.is_empty() {
            return Ok(0);
        }
        let from = self.speaker(room).await?;
        let mut answered = false;
        for server in self.whom_to_ask_for_history(room).await? {
            let asked = u32::try_from(limit).unwrap_or(u32::MAX);
            let answer = self.0.remote.backfill(&from, &server, &room.room_id, &wanted, asked);
            let cause = match self.0.clock.timeout(PATIENCE, answer).await {
                Ok(Ok(raw)) => {
                    answered = true;
                    let events = self.verify_raw(room, &raw[..raw.len().min(limit)]).await?;
                    let taken = self.take_history(room, &server, &gaps, events);
                    let came = self.0.clock.timeout(TAKING, taken).await.unwrap_or(Ok(0))?;
                    if came > 0 {
                        self.age_gaps(room, &gaps).await?;
                        return Ok(came);
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            info!(room_id = %room.room_id, destination = %server, error = %cause, "history was not given");
        }
        if answered {
            self.age_gaps(room, &gaps).await?;
        }
        Ok(0)
    }

    /// Starts to fetch history, or waits for what is under way. It goes on when nobody waits any more, so that
    /// who comes back finds it. `None` when too much is under way.
    pub(crate) fn join_backfill(&self, room: &RoomInfo, limit: usize) -> Option<Flight> {
        let mut flights = self.0.backfills.flights.lock();
        if let Some(flight) = flights.get(&room.serial) {
            return Some(flight.clone());
        }
        if flights.len() >= FLIGHTS {
            return None;
        }
        let (engine, serial, room_id) = (self.clone(), room.serial, room.room_id.clone());
        let task = self.0.tasks.spawn("backfill", async move {
            let _landed = Landed { engine: &engine, room: serial };
            match engine.backfill(&room_id, limit).await {
                Ok(added) => added,
                Err(error) => {
                    debug!(%room_id, %error, "history could not be fetched");
                    0
                }
            }
        });
        let flight = task.map(|added| added.unwrap_or(0)).boxed().shared();
        flights.insert(serial, flight.clone());
        Some(flight)
    }

    /// The gaps to ask for next: those asked for least often. An event that was made up is asked for like
    /// others, and then steps back behind them.
    async fn choose_gaps(&self, room: &RoomInfo) -> Result<Vec<OpenGap>, Error> {
        let whole = Range::prefix(&room.serial);
        let mut rows = self.store().scan(&GAPS, whole.clone(), Order::Ascending, GAPS_SEEN).await?;
        if rows.len() == GAPS_SEEN {
            // Too many to see at once: from somewhere among them, so that none is always left out.
            let start = (room.serial, format!("${}", self.0.random.token(6)));
            let later = self.store().scan(&GAPS, whole.after(&start), Order::Ascending, GAPS_SEEN).await?;
            if later.len() >= GAPS_AT_ONCE {
                rows = later;
            }
        }
        rows.sort_by_key(|(_, gap)| (gap.tries, gap.child));
        let gaps =
            rows.into_iter().filter_map(|((_, id), gap)| Some((OwnedEventId::try_from(id).ok()?, gap)));
        Ok(gaps.take(GAPS_AT_ONCE).collect())
    }

    /// Notes of the gaps that are still there that they were asked for in vain.
    async fn age_gaps(&self, room: &RoomInfo, asked: &[OpenGap]) -> Result<(), Error> {
        let keys: Vec<_> = asked.iter().map(|(id, _)| (room.serial, id.as_str())).collect();
        let mut batch = Batch::new();
        for (key, gap) in keys.iter().zip(self.store().get_many(&GAPS, &keys).await?) {
            let Some(old) = gap else { continue };
            let new = Gap { tries: old.tries.saturating_add(1), ..old.clone() };
            batch.replace(&GAPS, key, &old, &new);
        }
        match self.store().commit(batch).await {
            Err(error @ CommitError::Store(_)) => Err(Error::Commit(error)),
            // Somebody filled one of them meanwhile; the others age the next time.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Some servers of the room, others each time: those that never answer must not be all that are asked.
    async fn whom_to_ask_for_history(&self, room: &RoomInfo) -> Result<Vec<OwnedServerName>, Error> {
        let mut servers = self.servers_in(room).await?;
        servers.retain(|server| !self.is_ours(server));
        let mut chosen = Vec::with_capacity(SERVERS);
        while chosen.len() < SERVERS && !servers.is_empty() {
            let count = u64::try_from(servers.len()).unwrap_or(u64::MAX);
            let index = usize::try_from(self.0.random.range(0..count)).unwrap_or_default();
            chosen.push(servers.swap_remove(index));
        }
        Ok(chosen)
    }

    /// Places events before what we have: the newest of them nearest to it.
    ///
    /// What is from before we came shows by the graph: it is behind what our join stands on. What fills a gap
    /// behind a later event need not be, nor need what that names.
    async fn take_history(
        &self,
        room: &Arc<RoomInfo>,
        server: &OwnedServerName,
        gaps: &[OpenGap],
        events: Vec<Verified>,
    ) -> Result<usize, Error> {
        let ids: Vec<OwnedEventId> = events.iter().map(|event| event.pdu().event_id().to_owned()).collect();
        let stored = self.stored(room, &ids).await?;
        let found: HashMap<OwnedEventId, Verified> = events
            .into_iter()
            .filter(|event| !stored.get(event.pdu().event_id()).is_some_and(|placed| *placed))
            .map(|event| (event.pdu().event_id().to_owned(), event))
            .collect();
        let past: HashSet<OwnedEventId> =
            oldest_first(&ids_of(gaps, |gap| gap.past), &found).into_iter().collect();
        let mut arrivals = Vec::with_capacity(found.len());
        let mut at_hand: HashSet<OwnedEventId> = HashSet::new();
        let mut budget = STATE_BUDGET;
        for id in oldest_first(&ids_of(gaps, |_| true), &found) {
            let Some(event) = found.get(&id) else { continue };
            let pdu = event.pdu();
            let mut arrival = Arrival::new(event.clone(), server.clone());
            arrival.past = past.contains(&id);
            let prev = self.stored(room, &pdu.prev_events().to_vec()).await?;
            let has = |id: &EventId| at_hand.contains(id) || prev.get(id).is_some_and(|placed| *placed);
            if !pdu.prev_events().is_empty() && !pdu.prev_events().iter().all(has) {
                if budget == 0 {
                    continue;
                }
                budget -= 1;
                let servers = std::slice::from_ref(server);
                let told = self.fetch_state(room, servers, pdu.event_id(), Side::Before).await?;
                let Told::State(given) = told else { continue };
                arrival.before = Some(given.root);
                arrival.note_told(given.as_of);
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
            // One place stays free, so that there are two tokens for the place before the oldest event.
            let floor = stage.head.history_floor.saturating_sub(count + 1);
            let mut received = Vec::with_capacity(arrivals.len());
            for (place, arrival) in (floor + 1..).zip(arrivals) {
                let arrival = Arrival { goes: Goes::History(place), ..arrival.clone() };
                received.push(stage.receive(&arrival).await?);
            }
            stage.head.history_floor = floor;
            if received.iter().any(|one| matches!(one, Received::Placed(_))) {
                stage.log_history(floor, floor + count);
            }
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if attempts.judge(self.rooms(), landing.await).await?.is_some() {
                return Ok(received);
            }
        }
    }
}

/// The missing events of those gaps that are such.
fn ids_of(gaps: &[OpenGap], is_such: impl Fn(&Gap) -> bool) -> Vec<OwnedEventId> {
    gaps.iter().filter(|(_, gap)| is_such(gap)).map(|(id, _)| id.clone()).collect()
}

/// Takes a finished flight off the list, also when it panicked.
struct Landed<'a> {
    engine: &'a Engine,
    room: RoomSerial,
}

impl Drop for Landed<'_> {
    fn drop(&mut self) {
        self.engine.0.backfills.flights.lock().remove(&self.room);
    }
}

/// Those of the found events that were asked for or are before such: each after its own ancestors, and
/// those that do not stand on each other by their depth. A depth is a claim, the graph is not.
fn oldest_first(wanted: &[OwnedEventId], found: &HashMap<OwnedEventId, Verified>) -> Vec<OwnedEventId> {
    let mut reached: HashSet<&OwnedEventId> = HashSet::new();
    let mut pending: Vec<&OwnedEventId> = wanted.iter().collect();
    let mut children: HashMap<&OwnedEventId, Vec<&OwnedEventId>> = HashMap::new();
    let mut waits_for: HashMap<&OwnedEventId, usize> = HashMap::new();
    while let Some(id) = pending.pop() {
        let Some((id, event)) = found.get_key_value(id) else { continue };
        if !reached.insert(id) {
            continue;
        }
        let prev = event.pdu().prev_events().iter();
        let prev: HashSet<&OwnedEventId> =
            prev.filter_map(|prev| Some(found.get_key_value(prev)?.0)).collect();
        waits_for.insert(id, prev.len());
        for prev in prev {
            children.entry(prev).or_default().push(id);
            pending.push(prev);
        }
    }
    let rank = |id: &OwnedEventId| Reverse((found.get(id).map(|event| event.pdu().depth()), id.clone()));
    let mut ready: BinaryHeap<_> =
        waits_for.iter().filter(|(_, count)| **count == 0).map(|(id, _)| rank(id)).collect();
    let mut order = Vec::with_capacity(reached.len());
    while let Some(Reverse((_, id))) = ready.pop() {
        for child in children.get(&id).into_iter().flatten() {
            let Some(count) = waits_for.get_mut(*child) else { continue };
            *count -= 1;
            if *count == 0 {
                ready.push(rank(child));
            }
        }
        order.push(id);
    }
    order
}
