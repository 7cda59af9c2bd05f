//! The state at a gap, as other servers tell it.
//!
//! Ids are asked for first, then only those events that we lack; what else an answer holds is dropped.
//! Every event is verified and judged by its auth events, as any outlier.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use room::{Error, attempts::Attempts, ids::Root, read::room::RoomInfo};
use ruma::{EventId, OwnedEventId, OwnedServerName, events::StateEventType};
use tracing::info;

use super::{peers::Size, receive::Arrival};
use crate::{Engine, as_of::AsOf, pipeline::name};

/// At how many events the state is fetched for one arrival: an event has 20 previous ones at most.
const STATE_BUDGET: usize = 20;
/// Above this many missing events, the whole state is fetched in one request.
const SINGLE_EVENTS: usize = 30;

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
    /// As of when that is there: no row names it yet.
    pub(crate) as_of: AsOf,
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
pub(super) struct States<'a> {
    /// Those events.
    pub(super) open: HashSet<OwnedEventId>,
    servers: &'a [OwnedServerName],
    /// What was learnt.
    after: HashMap<OwnedEventId, Told>,
    budget: usize,
}

impl<'a> States<'a> {
    pub(super) fn new(open: HashSet<OwnedEventId>, servers: &'a [OwnedServerName]) -> Self {
        Self { open, servers, after: HashMap::new(), budget: STATE_BUDGET }
    }

    /// What the state behind an event stands on cannot be had, so nobody is asked for it.
    pub(super) fn give_up(&mut self, event_id: OwnedEventId) {
        self.after.insert(event_id.clone(), Told::Unusable);
        self.open.insert(event_id);
    }

    /// Nobody can know an event, so nobody is asked for it; but who has one that names it may know the state before that.
    pub(super) fn note_unknown(&mut self, event_id: OwnedEventId) {
        self.after.insert(event_id.clone(), Told::Nothing);
        self.open.insert(event_id);
    }
}

impl Engine {
    /// Fetches the states behind those previous events of an arrival that could not be had. What we know
    /// ourselves of the others is resolved with them when the arrival is placed.
    pub(super) async fn fetch_states(
        &self,
        room: &Arc<RoomInfo>,
        arrival: &mut Arrival,
        states: &mut States<'_>,
    ) -> Result<(), Error> {
        let pdu = arrival.event.pdu().clone();
        let mut is_whole = true;
        for prev in pdu.prev_events() {
            if !states.open.contains(prev) {
                continue;
            }
            let told = match states.after.get(prev) {
                Some(told) => *told,
                None if states.budget == 0 => return Ok(()),
                None => {
                    states.budget -= 1;
                    let told = self.fetch_state(room, states.servers, prev, Side::After).await?;
                    states.after.insert(prev.to_owned(), told);
                    told
                }
            };
            match told {
                Told::State(given) => {
                    is_whole &= given.is_whole;
                    arrival.behind.insert(prev.to_owned(), given.root);
                    arrival.note_told(given.as_of);
                }
                // The state before the arrival would be the same.
                Told::Unusable => return Ok(()),
                Told::Nothing if states.budget == 0 => return Ok(()),
                Told::Nothing => {
                    // Nobody knows that event. Who has the arrival knows the state before this one at least.
                    states.budget -= 1;
                    let told = self.fetch_state(room, states.servers, pdu.event_id(), Side::Before).await?;
                    if let Told::State(given) = told {
                        arrival.before = Some(given.root);
                        arrival.note_told(given.as_of);
                        arrival.unsure = !given.is_whole;
                    }
                    return Ok(());
                }
            }
        }
        arrival.unsure = !is_whole;
        Ok(())
    }

    /// The state before or after an event, by what other servers say, as a snapshot of ours. From the first
    /// server of whose answer all events can be had; else from the first that answers at all.
    #[crate::boxed]
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
            let request = self.0.remote.state_ids(&from, server, &room.room_id, event_id);
            let ids = match self.ask(server, Size::Large, request).await {
                Ok(ids) => ids,
                Err(error) => {
                    info!(room_id = %room.room_id, %event_id, destination = %server, %error, "the state at a gap was not given");
                    continue;
                }
            };
            let mut of = ids.state;
            let mut wanted = self.not_stored(room, of.clone()).await?;
            wanted.extend(self.not_stored(room, ids.auth_chain).await?);
            let mut refused = self.fetch_told(room, &from, server, event_id, &wanted).await?;
            if side == Side::After {
                // Its auth events are in the state before it, so it comes last.
                let own = self.not_stored(room, vec![event_id.to_owned()]).await?;
                let events = self.fetch_events(&from, server, &own).await;
                refused.extend(self.import_outliers(room, events, &own).await?);
                of.push(event_id.to_owned());
            }
            let mut lacking = self.not_stored(room, of.clone()).await?;
            // An event that is refused changes nothing: the state after it is the one before it.
            let has_own = side == Side::Before
                || refused.contains(event_id)
                || !lacking.iter().any(|id| id == event_id);
            // What the auth rules refuse is no part of any state, whatever the other server says.
            lacking.retain(|id| !refused.contains(id));
            if !lacking.is_empty() {
                info!(room_id = %room.room_id, %event_id, destination = %server, count = lacking.len(), "events of the state at a gap cannot be had");
            }
            let root = if has_own { self.make_snapshot(room, &of).await? } else { None };
            match (root, best) {
                (Some((root, as_of)), _) if lacking.is_empty() => {
                    return Ok(Told::State(GivenState { root, as_of, is_whole: true }));
                }
                (_, Told::State(_)) => {}
                (Some((root, as_of)), _) => {
                    best = Told::State(GivenState { root, as_of, is_whole: false });
                }
                (None, _) => best = Told::Unusable,
            }
        }
        Ok(best)
    }

    /// Fetches those events of a state that we lack. Answers which of them are refused.
    async fn fetch_told(
        &self,
        room: &Arc<RoomInfo>,
        from: &OwnedServerName,
        server: &OwnedServerName,
        event_id: &EventId,
        wanted: &[OwnedEventId],
    ) -> Result<HashSet<OwnedEventId>, Error> {
        if wanted.is_empty() {
            return Ok(HashSet::new());
        }
        let mut refused = HashSet::new();
        let mut missing = wanted.to_vec();
        if wanted.len() > SINGLE_EVENTS {
            let request = self.0.remote.state(from, server, &room.room_id, event_id);
            match self.ask(server, Size::Large, request).await {
                Ok(answer) => {
                    let mut events = answer.auth_chain;
                    events.extend(answer.state);
                    refused = self.import_outliers(room, events, wanted).await?;
                }
                Err(error) => {
                    info!(room_id = %room.room_id, %event_id, destination = %server, %error, "the events of a state were not given");
                }
            }
            missing.retain(|id| !refused.contains(id));
            missing = self.not_stored(room, missing).await?;
        }
        // What is left one by one, as many as one attempt may; the next one goes on from there.
        if !missing.is_empty() && !self.is_resting(server) {
            let events = self.fetch_events(from, server, &missing).await;
            refused.extend(self.import_outliers(room, events, &missing).await?);
        }
        Ok(refused)
    }

    /// Makes a snapshot of stored events, later ones over earlier ones; messages, rejected and unknown ones
    /// are left out. `None` when there is no create event among them.
    #[crate::boxed]
    async fn make_snapshot(
        &self,
        room: &Arc<RoomInfo>,
        ids: &[OwnedEventId],
    ) -> Result<Option<(Root, AsOf)>, Error> {
        let as_of = AsOf::now(self.store(), room.serial).await?;
        let mut attempts = Attempts::default();
        // What is under way is stored before it is looked for.
        while self.lock(room).await?.land(self).await.is_err() {
            attempts.again(self.rooms()).await?;
        }
        let create = name(StateEventType::RoomCreate, "");
        let told = self.told_state(room, ids, &[create], &[]).await?;
        if told.deciding.is_empty() {
            return Ok(None);
        }
        Ok(Some((self.snapshot_of_told(room, &told).await?, as_of)))
    }
}
