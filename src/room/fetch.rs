//! Fetching what received events lack: auth events, ancestors, the state before a gap.
//!
//! All of it happens outside the room's lock, in batches and with a budget. What is fetched for its
//! own sake becomes part of the timeline; auth and state events become outliers.
//!
//! Reading order: [`Rooms::complete`], then `fetch_ancestors`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use pdu::{Pdu, Verified};
use ruma::{EventId, OwnedEventId, OwnedServerName};
use serde_json::value::RawValue;
use tracing::{debug, info};

use crate::{
    Error, Rooms,
    ids::Root,
    pipeline::{Stage, name},
    place::Goes,
    ports::MissingEvents,
    read::{event::StoredEvent, room::RoomInfo},
    receive::Arrival,
    send::Attempts,
    tables::{GAPS, Gap, StateKeyName, Verdict},
    view::{Fresh, View},
};

/// How many events one `get_missing_events` asks for.
const MISSING_LIMIT: u32 = 20;
/// How many rounds of it are made for one event.
const MISSING_ROUNDS: usize = 10;
/// A server that gives fewer events than this, the limit by default, has no more of them.
const SHORT_ANSWER: usize = 10;
/// At how many events the state is fetched for one arrival: an event has 20 previous ones at most.
const STATE_BUDGET: usize = 20;
/// How many servers are asked for one thing.
const SERVERS: usize = 3;
/// Above this many missing events, the whole state is fetched in one request.
const SINGLE_EVENTS: usize = 30;
/// How many single events are fetched at a time.
const PARALLEL: usize = 8;

impl Rooms {
    /// Looks at a room as it is on disk.
    pub(crate) fn stored_view<'a>(&'a self, room: &'a RoomInfo, nothing: &'a Fresh) -> View<'a> {
        View { rooms: self, room, layers: [nothing, nothing] }
    }

    /// Which events of a room are stored; true: in their place in the graph.
    pub(crate) async fn stored(
        &self,
        room: &RoomInfo,
        ids: &[OwnedEventId],
    ) -> Result<HashMap<OwnedEventId, bool>, Error> {
        let nothing = Fresh::default();
        let events = self.stored_view(room, &nothing).events_by_id(ids).await?;
        Ok(events
            .into_iter()
            .flatten()
            .map(|event| (event.event_id().to_owned(), event.meta().is_placed()))
            .collect())
    }

    /// Brings the auth events and ancestors that arrivals lack; ancestors stand before them in the answer.
    pub(crate) async fn complete(
        &self,
        room: &Arc<RoomInfo>,
        arrivals: Vec<Arrival>,
    ) -> Result<Vec<Arrival>, Error> {
        let ids: Vec<OwnedEventId> = arrivals.iter().map(|arrival| arrival.id().to_owned()).collect();
        let past = self.past(room, &ids, self.get_head(room).await?.since_depth).await?;
        let mut complete: Vec<Arrival> = Vec::with_capacity(arrivals.len());
        let mut at_hand: HashSet<OwnedEventId> = HashSet::new();
        for mut arrival in arrivals {
            let pdu = arrival.event.pdu().clone();
            let mut wanted = pdu.prev_events().to_vec();
            wanted.extend_from_slice(pdu.auth_events());
            wanted.push(pdu.event_id().to_owned());
            let stored = self.stored(room, &wanted).await?;
            let is_placed =
                |id: &OwnedEventId| at_hand.contains(id) || stored.get(id).is_some_and(|placed| *placed);
            if at_hand.contains(pdu.event_id()) || is_placed(&pdu.event_id().to_owned()) {
                complete.push(arrival);
                continue;
            }
            if arrival.goes == Goes::Tip && past.contains(pdu.event_id()) {
                continue;
            }
            if arrival.before.is_none() && !pdu.prev_events().iter().all(is_placed) {
                let older = self.fetch_ancestors(room, &mut arrival, &at_hand).await?;
                at_hand.extend(older.iter().map(|older| older.id().to_owned()));
                complete.extend(older);
            }
            let has_auth = |id: &OwnedEventId| at_hand.contains(id) || stored.contains_key(id);
            if !pdu.auth_events().iter().all(has_auth) {
                self.fetch_auth(room, &arrival.origin, &pdu, &at_hand).await?;
            }
            at_hand.insert(pdu.event_id().to_owned());
            complete.push(arrival);
        }
        Ok(complete)
    }

    /// Which of these events our join stands on: they are the past, and have their place there when
    /// backfill brings them.
    async fn past(
        &self,
        room: &RoomInfo,
        ids: &[OwnedEventId],
        since_depth: u64,
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let keys: Vec<_> = ids.iter().map(|id| (room.serial, id.as_str())).collect();
        let gaps = self.store().get_many(&GAPS, &keys).await?;
        let below_join = |gap: &Option<Gap>| gap.is_some_and(|gap| gap.depth == since_depth);
        Ok(ids.iter().zip(gaps).filter(|(_, gap)| below_join(gap)).map(|(id, _)| id.clone()).collect())
    }

    /// The authority in whose name we ask about a room: one that is in it, if any is.
    pub(crate) async fn speaker(&self, room: &RoomInfo) -> Result<OwnedServerName, Error> {
        let mut first = None;
        for server in self.servers_in(room).await? {
            if self.is_ours(&server) {
                return Ok(server);
            }
        }
        for authority in self.authorities().iter() {
            first.get_or_insert_with(|| authority.name().to_owned());
        }
        first.ok_or(Error::Inconsistent("a process without an authority"))
    }

    /// Whom to ask about a room: the server that brought it up, then others in it.
    async fn whom_to_ask(
        &self,
        room: &RoomInfo,
        first: &OwnedServerName,
    ) -> Result<Vec<OwnedServerName>, Error> {
        let mut servers = Vec::with_capacity(SERVERS);
        if !self.is_ours(first) {
            servers.push(first.clone());
        }
        for server in self.servers_in(room).await? {
            if servers.len() < SERVERS && !self.is_ours(&server) && !servers.contains(&server) {
                servers.push(server);
            }
        }
        Ok(servers)
    }

    /// Fetches the ancestors that an arrival names and we lack, parents first; where some cannot be had, the
    /// states behind them.
    async fn fetch_ancestors(
        &self,
        room: &Arc<RoomInfo>,
        child: &mut Arrival,
        at_hand: &HashSet<OwnedEventId>,
    ) -> Result<Vec<Arrival>, Error> {
        let servers = self.whom_to_ask(room, &child.origin).await?;
        let Some(server) = servers.first() else { return Ok(Vec::new()) };
        let from = self.speaker(room).await?;
        let head = self.get_head(room).await?;
        let earliest: Vec<OwnedEventId> =
            head.extremities.iter().map(|extremity| extremity.event_id.clone()).collect();
        let min_depth = head.extremities.iter().map(|extremity| extremity.depth).min().unwrap_or(0);

        let mut found: HashMap<OwnedEventId, Verified> = HashMap::new();
        let mut latest = vec![child.id().to_owned()];
        let mut open = self.lacking(room, &[child.event.pdu()], &found, at_hand).await?;
        for _ in 0..MISSING_ROUNDS {
            if open.is_empty() || found.len() >= self.0.config.fetch_limit {
                break;
            }
            let question = MissingEvents {
                room_id: &room.room_id,
                earliest: &earliest,
                latest: &latest,
                limit: MISSING_LIMIT,
                min_depth,
            };
            let answer = match self.0.remote.get_missing_events(&from, server, question).await {
                Ok(answer) => answer,
                Err(error) => {
                    info!(room_id = %room.room_id, destination = %server, %error, "missing events were not given");
                    break;
                }
            };
            let before = found.len();
            let is_last = answer.len() < SHORT_ANSWER;
            let answer = self.verify_raw(room, &answer).await?;
            let ids: Vec<OwnedEventId> =
                answer.iter().map(|event| event.pdu().event_id().to_owned()).collect();
            let past = self.past(room, &ids, head.since_depth).await?;
            for event in answer.into_iter().filter(|event| !past.contains(event.pdu().event_id())) {
                found.entry(event.pdu().event_id().to_owned()).or_insert(event);
            }
            if found.len() == before {
                break;
            }
            let pdus: Vec<&Pdu> = found.values().map(Verified::pdu).chain([child.event.pdu()]).collect();
            open = self.lacking(room, &pdus, &found, at_hand).await?;
            latest = pdus
                .iter()
                .filter(|pdu| pdu.prev_events().iter().any(|id| open.contains(id)))
                .map(|pdu| pdu.event_id().to_owned())
                .take(MISSING_LIMIT as usize)
                .collect();
            if is_last {
                break;
            }
        }
        self.order_ancestors(room, child, found, &open, &servers).await
    }

    /// Which previous events of these are neither stored in their place nor at hand.
    async fn lacking(
        &self,
        room: &RoomInfo,
        pdus: &[&Pdu],
        found: &HashMap<OwnedEventId, Verified>,
        at_hand: &HashSet<OwnedEventId>,
    ) -> Result<HashSet<OwnedEventId>, Error> {
        let prev: HashSet<OwnedEventId> = pdus
            .iter()
            .flat_map(|pdu| pdu.prev_events())
            .filter(|id| !found.contains_key(*id) && !at_hand.contains(*id))
            .cloned()
            .collect();
        let prev: Vec<OwnedEventId> = prev.into_iter().collect();
        let stored = self.stored(room, &prev).await?;
        let placed = |id: &OwnedEventId| stored.get(id).is_some_and(|placed| *placed);
        Ok(prev.into_iter().filter(|id| !placed(id)).collect())
    }

    /// Orders fetched ancestors, parents first, and fetches the states behind their missing parents, and
    /// those of the child.
    async fn order_ancestors(
        &self,
        room: &Arc<RoomInfo>,
        child: &mut Arrival,
        found: HashMap<OwnedEventId, Verified>,
        open: &HashSet<OwnedEventId>,
        servers: &[OwnedServerName],
    ) -> Result<Vec<Arrival>, Error> {
        let since = self.get_head(room).await?.since_depth;
        let mut older = Vec::with_capacity(found.len());
        let mut states = States { open, servers, after: HashMap::new(), budget: STATE_BUDGET };
        for id in parents_first(child.event.pdu(), &found) {
            let Some(event) = found.get(&id) else { continue };
            let mut arrival = Arrival::new(event.clone(), child.origin.clone());
            if event.pdu().depth() < since {
                // Most likely from before we came: others have long built on it.
                arrival.goes = Goes::Late;
            }
            self.fetch_states(room, &mut arrival, &mut states).await?;
            self.fetch_auth_if_lacking(room, &child.origin, event.pdu(), &found).await?;
            older.push(arrival);
        }
        self.fetch_states(room, child, &mut states).await?;
        Ok(older)
    }

    /// Fetches the states behind those previous events of an arrival that could not be had. What we know
    /// ourselves of the others is resolved with them when the arrival is placed.
    async fn fetch_states(
        &self,
        room: &Arc<RoomInfo>,
        arrival: &mut Arrival,
        states: &mut States<'_>,
    ) -> Result<(), Error> {
        let pdu = arrival.event.pdu().clone();
        let mut is_whole = true;
        for prev in pdu.prev_events().iter().filter(|id| states.open.contains(*id)) {
            let told = match states.after.get(prev) {
                Some(told) => *told,
                None if states.budget == 0 => return Ok(()),
                None => {
                    states.budget -= 1;
                    let told = self.fetch_state(room, states.servers, prev, Side::After).await?;
                    states.after.insert(prev.clone(), told);
                    told
                }
            };
            match told {
                Told::State(given) => {
                    is_whole &= given.is_whole;
                    arrival.behind.insert(prev.clone(), given.root);
                }
                Told::Unusable => return Ok(()),
                Told::Nothing => {
                    // Nobody has it. Who has the arrival knows the state before that one at least.
                    states.budget = states.budget.saturating_sub(1);
                    let told = self.fetch_state(room, states.servers, pdu.event_id(), Side::Before).await?;
                    if let Told::State(given) = told {
                        arrival.before = Some(given.root);
                        arrival.unsure = !given.is_whole;
                    }
                    return Ok(());
                }
            }
        }
        arrival.unsure = !is_whole;
        Ok(())
    }

    async fn fetch_auth_if_lacking(
        &self,
        room: &Arc<RoomInfo>,
        origin: &OwnedServerName,
        pdu: &Pdu,
        found: &HashMap<OwnedEventId, Verified>,
    ) -> Result<(), Error> {
        let stored = self.stored(room, pdu.auth_events()).await?;
        if pdu.auth_events().iter().all(|id| stored.contains_key(id) || found.contains_key(id)) {
            return Ok(());
        }
        let at_hand = found.keys().cloned().collect();
        self.fetch_auth(room, origin, pdu, &at_hand).await
    }

    /// Fetches the auth chain of an event.
    async fn fetch_auth(
        &self,
        room: &Arc<RoomInfo>,
        origin: &OwnedServerName,
        pdu: &Pdu,
        at_hand: &HashSet<OwnedEventId>,
    ) -> Result<(), Error> {
        let from = self.speaker(room).await?;
        for server in self.whom_to_ask(room, origin).await? {
            match self.0.remote.event_auth(&from, &server, &room.room_id, pdu.event_id()).await {
                Ok(chain) => self.import_outliers(room, &chain).await?,
                Err(error) => {
                    debug!(room_id = %room.room_id, destination = %server, %error, "auth events were not given");
                }
            }
            let stored = self.stored(room, pdu.auth_events()).await?;
            let missing: Vec<OwnedEventId> = pdu
                .auth_events()
                .iter()
                .filter(|id| !stored.contains_key(*id) && !at_hand.contains(*id))
                .cloned()
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            let single = self.fetch_events(&from, &server, &missing).await;
            self.import_outliers(room, &single).await?;
        }
        Ok(())
    }

    /// Fetches single events; those that cannot be had are left out.
    async fn fetch_events(
        &self,
        from: &OwnedServerName,
        server: &OwnedServerName,
        ids: &[OwnedEventId],
    ) -> Vec<Box<RawValue>> {
        let mut requests = Vec::with_capacity(ids.len());
        for id in ids.iter().take(self.0.config.fetch_limit) {
            requests.push(self.0.remote.event(from, server, id));
        }
        let answers = stream::iter(requests).buffered(PARALLEL).collect::<Vec<_>>().await;
        answers.into_iter().filter_map(Result::ok).collect()
    }

    /// The state before or after an event, by what other servers say, as a snapshot of ours. From the first
    /// server of whose answer all events can be had; else from the first that answers at all.
    pub(crate) async fn fetch_state(
        &self,
        room: &Arc<RoomInfo>,
        servers: &[OwnedServerName],
        event_id: &EventId,
        side: Side,
    ) -> Result<Told, Error> {
        let from = self.speaker(room).await?;
        let mut best = Told::Nothing;
        for server in servers {
            let ids = match self.0.remote.state_ids(&from, server, &room.room_id, event_id).await {
                Ok(ids) => ids,
                Err(error) => {
                    info!(room_id = %room.room_id, %event_id, destination = %server, %error, "the state at a gap was not given");
                    continue;
                }
            };
            let mut all = ids.state.clone();
            all.extend(ids.auth_chain);
            let missing = self.not_stored(room, all).await?;
            if missing.len() > SINGLE_EVENTS {
                if let Ok(answer) = self.0.remote.state(&from, server, &room.room_id, event_id).await {
                    let mut events = answer.auth_chain;
                    events.extend(answer.state);
                    self.import_outliers(room, &events).await?;
                }
            } else if !missing.is_empty() {
                let events = self.fetch_events(&from, server, &missing).await;
                self.import_outliers(room, &events).await?;
            }
            let mut of = ids.state;
            if side == Side::After {
                // Its auth events are in the state before it, so it comes last.
                let own = self.not_stored(room, vec![event_id.to_owned()]).await?;
                let own = self.fetch_events(&from, server, &own).await;
                self.import_outliers(room, &own).await?;
                of.push(event_id.to_owned());
            }
            let lacking = self.not_stored(room, of.clone()).await?;
            if !lacking.is_empty() {
                info!(room_id = %room.room_id, %event_id, destination = %server, count = lacking.len(), "events of the state at a gap cannot be had");
            }
            let has_own = side == Side::Before || !lacking.iter().any(|id| id == event_id);
            let root = if has_own { self.make_snapshot(room, &of).await? } else { None };
            match (root, best) {
                (Some(root), _) if lacking.is_empty() => {
                    return Ok(Told::State(GivenState { root, is_whole: true }));
                }
                (_, Told::State(_)) => {}
                (Some(root), _) => best = Told::State(GivenState { root, is_whole: false }),
                (None, _) => best = Told::Unusable,
            }
        }
        Ok(best)
    }

    /// Those of these events that are not stored.
    async fn not_stored(
        &self,
        room: &RoomInfo,
        mut ids: Vec<OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, Error> {
        let stored = self.stored(room, &ids).await?;
        ids.retain(|id| !stored.contains_key(id));
        Ok(ids)
    }

    /// Makes a snapshot of stored events, later ones over earlier ones; messages, rejected and unknown ones
    /// are left out. `None` when there is no create event among them.
    async fn make_snapshot(&self, room: &Arc<RoomInfo>, ids: &[OwnedEventId]) -> Result<Option<Root>, Error> {
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, room, guard.live()?);
            let state = stage.state_of(ids).await?;
            if !state.iter().any(|(name, _)| name.kind == "m.room.create") {
                return Ok(None);
            }
            let root = stage.snapshot_of(&state).await?;
            let landing = {
                let staged = stage.finish();
                guard.submit(self, staged, None)
            };
            drop(guard);
            if attempts.judge(self, landing.await).await?.is_some() {
                return Ok(Some(root));
            }
        }
    }
}

/// On which side of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// A state of the room as another server told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenState {
    pub(crate) root: Root,
    /// None of its events is missing here.
    pub(crate) is_whole: bool,
}

/// What other servers told of the state at an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// This state.
    State(GivenState),
    /// A state of which the deciding events cannot be had.
    Unusable,
    /// No server answered, or none knows.
    Nothing,
}

/// The states behind events that could not be had.
struct States<'a> {
    /// Those events.
    open: &'a HashSet<OwnedEventId>,
    servers: &'a [OwnedServerName],
    /// What was learnt.
    after: HashMap<OwnedEventId, Told>,
    budget: usize,
}

impl Stage<'_> {
    /// The state that stored events make: by type and key, without rejected ones, later ones over earlier.
    pub(crate) async fn state_of(
        &self,
        ids: &[OwnedEventId],
    ) -> Result<Vec<(StateKeyName, Arc<StoredEvent>)>, Error> {
        let events = self.view().events_by_id(ids).await?;
        let usable = events.into_iter().flatten().filter(|event| event.meta().verdict != Verdict::Rejected);
        let mut state: Vec<(StateKeyName, Arc<StoredEvent>)> = Vec::with_capacity(ids.len());
        let mut places: HashMap<StateKeyName, usize> = HashMap::with_capacity(ids.len());
        for event in usable {
            let Some(state_key) = event.state_key() else { continue };
            let name = name(event.kind(), state_key);
            match places.get(&name).and_then(|place| state.get_mut(*place)) {
                Some(earlier) => earlier.1 = event,
                None => {
                    places.insert(name.clone(), state.len());
                    state.push((name, event));
                }
            }
        }
        Ok(state)
    }

    /// A snapshot of this state.
    pub(crate) async fn snapshot_of(
        &mut self,
        state: &[(StateKeyName, Arc<StoredEvent>)],
    ) -> Result<Root, Error> {
        let names: Vec<StateKeyName> = state.iter().map(|(name, _)| name.clone()).collect();
        let keys = self.intern_all(&names).await?;
        let changes: Vec<_> =
            keys.into_iter().zip(state).map(|(key, (_, event))| (key, Some(event.serial()))).collect();
        let room = self.room.serial;
        Ok(self.rooms.snapshots().apply(room, Root::EMPTY, &changes, &mut self.batch).await?)
    }
}

/// The fetched ancestors of an event, each after its own ancestors.
pub(crate) fn parents_first(child: &Pdu, found: &HashMap<OwnedEventId, Verified>) -> Vec<OwnedEventId> {
    walk_first(child.prev_events(), found, |pdu| pdu.prev_events())
}

/// A depth-first order over links, without recursion; cycles, which honest events have not, are cut.
pub(crate) fn walk_first(
    starts: &[OwnedEventId],
    events: &HashMap<OwnedEventId, Verified>,
    links: impl Fn(&Pdu) -> &[OwnedEventId],
) -> Vec<OwnedEventId> {
    let mut order = Vec::with_capacity(events.len());
    let mut seen: HashSet<&OwnedEventId> = HashSet::new();
    for start in starts {
        let mut stack: Vec<(&OwnedEventId, bool)> = vec![(start, false)];
        while let Some((id, done)) = stack.pop() {
            let Some((id, event)) = events.get_key_value(id) else { continue };
            if done {
                order.push(id.clone());
            } else if seen.insert(id) {
                stack.push((id, true));
                stack.extend(links(event.pdu()).iter().map(|link| (link, false)));
            }
        }
    }
    order
}
