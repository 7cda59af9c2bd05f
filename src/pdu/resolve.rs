//! State resolution: one state out of several that contradict each other, the same on every server.
//!
//! Pure, and therefore in two steps. A [`Preload`] says which events it still [needs](Preload::needs);
//! the caller loads them in one batch and [supplies](Preload::supply) them, until nothing is needed; then
//! [`resolve`] works on what is there. Supplying more than was asked for (a whole auth chain from an
//! index) saves rounds.
//!
//! ```
//! # use pdu::{Pdu, RoomVersion, resolve::{Preload, resolve, StateMap}};
//! # fn load(_: Vec<ruma::OwnedEventId>) -> Vec<Pdu> { Vec::new() }
//! # let states: Vec<StateMap> = vec![StateMap::new()];
//! let mut preload = Preload::new(&states);
//! while let needs = preload.needs() && !needs.is_empty() {
//!     preload.supply(load(needs));
//! }
//! let resolved = resolve(RoomVersion::V12, &states, &preload)?;
//! # Ok::<(), pdu::resolve::ResolveError>(())
//! ```
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>

use std::collections::{HashMap, HashSet};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::StateResolutionVersion,
    state_res::{self, utils::event_id_set::EventIdSet},
};

use crate::{Pdu, RoomVersion};

/// A room state: which event stands for each type and state key.
pub type StateMap = HashMap<(StateEventType, String), OwnedEventId>;

/// Events by id, with the questions about them that state resolution asks.
pub trait AuthGraph {
    /// The event, marked with [`Pdu::with_rejected`] if the room rejected it; `None` if we have not got it.
    fn event(&self, id: &EventId) -> Option<Pdu>;

    /// The ids that stand in the event's `auth_events`; empty if we have not got it.
    fn auth_events(&self, id: &EventId) -> Vec<OwnedEventId> {
        self.event(id).map(|pdu| pdu.auth_events().to_vec()).unwrap_or_default()
    }
}

impl AuthGraph for HashMap<OwnedEventId, Pdu> {
    fn event(&self, id: &EventId) -> Option<Pdu> {
        self.get(id).cloned()
    }
}

/// Why states could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// An event that the algorithm must read is missing or unreadable.
    #[error(transparent)]
    Algorithm(#[from] state_res::Error),
    /// The room version uses another algorithm.
    #[error("no state resolution for room version {0}")]
    Version(RoomVersion),
}

/// Chooses one state out of several; their order does not matter.
///
/// Events that `graph` lacks are left out, as ones that cannot be checked.
///
/// # Errors
/// [`ResolveError`]
pub fn resolve(
    version: RoomVersion,
    states: &[StateMap],
    graph: &impl AuthGraph,
) -> Result<StateMap, ResolveError> {
    resolve_part(version, states, auth_difference(states, graph), graph)
}

/// As [`resolve`], for one who has found the auth difference already.
///
/// The states may then leave out what they all agree on, except what the events of the full
/// conflicted set stand for and are checked against ([`crate::auth_types`]), the power levels and
/// the create event. The answer leaves out the same.
///
/// # Errors
/// [`ResolveError`]
pub fn resolve_part(
    version: RoomVersion,
    states: &[StateMap],
    difference: HashSet<OwnedEventId>,
    graph: &impl AuthGraph,
) -> Result<StateMap, ResolveError> {
    let rules = version.rules();
    let StateResolutionVersion::V2(resolution) = &rules.state_res else {
        return Err(ResolveError::Version(version));
    };
    // The callee takes what is not in every chain: so this is its difference as it stands.
    let chains = vec![difference.into_iter().collect::<EventIdSet<_>>(), EventIdSet::new()];
    let subgraph = |conflicted: &HashMap<_, Vec<OwnedEventId>>| {
        Some(conflicted_subgraph(conflicted.values().flatten().cloned(), graph).into_iter().collect())
    };
    let fetch = |id: &EventId| graph.event(id);
    Ok(state_res::resolve(&rules.authorization, resolution, states, chains, fetch, subgraph)?)
}

/// The auth chains of these events: all that is reached over `auth_events`, without the events
/// themselves unless one is in another's chain.
pub fn auth_chain(
    ids: impl IntoIterator<Item = OwnedEventId>,
    graph: &impl AuthGraph,
) -> HashSet<OwnedEventId> {
    let mut chain = HashSet::new();
    let mut pending: Vec<OwnedEventId> = ids.into_iter().flat_map(|id| graph.auth_events(&id)).collect();
    while let Some(id) = pending.pop() {
        if chain.contains(&id) {
            continue;
        }
        pending.extend(graph.auth_events(&id).into_iter().filter(|id| !chain.contains(id)));
        chain.insert(id);
    }
    chain
}

/// The events that are in the auth chain of some state, but not of every one.
pub fn auth_difference(states: &[StateMap], graph: &impl AuthGraph) -> HashSet<OwnedEventId> {
    // What every state holds contributes its chain to all of them, so it is walked once and taken away.
    let (common, conflicted) = split(states);
    let common = auth_chain(common, graph);
    let mut counts: HashMap<OwnedEventId, usize> = HashMap::new();
    for ids in conflicted {
        for id in auth_chain(ids, graph) {
            if !common.contains(&id) {
                *counts.entry(id).or_default() += 1;
            }
        }
    }
    counts.into_iter().filter(|(_, count)| *count < states.len()).map(|(id, _)| id).collect()
}

/// The events that all states agree on, and for each state the others that it holds.
fn split(states: &[StateMap]) -> (Vec<OwnedEventId>, Vec<Vec<OwnedEventId>>) {
    let Some((first, rest)) = states.split_first() else { return (Vec::new(), Vec::new()) };
    let agreed = |key: &(StateEventType, String), id: &OwnedEventId| {
        first.get(key) == Some(id) && rest.iter().all(|state| state.get(key) == Some(id))
    };
    let common = first.iter().filter(|(key, id)| agreed(key, id)).map(|(_, id)| id.clone()).collect();
    let conflicted = states
        .iter()
        .map(|state| state.iter().filter(|(key, id)| !agreed(key, id)).map(|(_, id)| id.clone()).collect())
        .collect();
    (common, conflicted)
}

/// The events on the ways from one conflicted event to another over `auth_events`, with those
/// themselves.
///
/// Spec: <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>, "conflicted state subgraph"
pub fn conflicted_subgraph(
    conflicted: impl IntoIterator<Item = OwnedEventId>,
    graph: &impl AuthGraph,
) -> HashSet<OwnedEventId> {
    let conflicted: HashSet<OwnedEventId> = conflicted.into_iter().collect();
    // Down from all conflicted events, noting for each event which ones referred to it …
    let mut referrers: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    let mut seen = conflicted.clone();
    let mut pending: Vec<OwnedEventId> = conflicted.iter().cloned().collect();
    while let Some(id) = pending.pop() {
        for auth in graph.auth_events(&id) {
            if seen.insert(auth.clone()) {
                pending.push(auth.clone());
            }
            referrers.entry(auth).or_default().push(id.clone());
        }
    }
    // … and up again from each conflicted event: what is met lies between two.
    let mut subgraph = conflicted.clone();
    let mut pending: Vec<OwnedEventId> = conflicted.into_iter().collect();
    while let Some(id) = pending.pop() {
        for referrer in referrers.get(&id).into_iter().flatten() {
            if subgraph.insert(referrer.clone()) {
                pending.push(referrer.clone());
            }
        }
    }
    subgraph
}

/// Gathers what [`resolve`] needs, in batches.
#[derive(Debug, Clone, Default)]
pub struct Preload {
    known: HashMap<OwnedEventId, Pdu>,
    /// What something that we have refers to: has been walked, is needed or is absent.
    wanted: HashSet<OwnedEventId>,
    needed: HashSet<OwnedEventId>,
}

impl Preload {
    /// For these states: nothing at all if they agree, else their events with their auth chains.
    pub fn new(states: &[StateMap]) -> Self {
        let (common, conflicted) = split(states);
        if conflicted.iter().all(Vec::is_empty) {
            return Self::default();
        }
        Self::of_chains(common.into_iter().chain(conflicted.into_iter().flatten()))
    }

    /// For these events and their auth chains.
    pub fn of_chains(ids: impl IntoIterator<Item = OwnedEventId>) -> Self {
        let needed: HashSet<_> = ids.into_iter().collect();
        Self { known: HashMap::new(), wanted: needed.clone(), needed }
    }

    /// The events to load next; empty when all that exists is there.
    pub fn needs(&self) -> Vec<OwnedEventId> {
        self.needed.iter().cloned().collect()
    }

    /// Takes loaded events, also ones that were not asked for. What was needed and is not among them
    /// counts as absent from the store and is not asked for again.
    pub fn supply(&mut self, events: impl IntoIterator<Item = Pdu>) {
        for pdu in events {
            self.known.insert(pdu.event_id().to_owned(), pdu);
        }
        let mut pending: Vec<Pdu> =
            self.needed.drain().filter_map(|id| self.known.get(&id).cloned()).collect();
        while let Some(pdu) = pending.pop() {
            for id in references(&pdu) {
                if self.wanted.contains(&id) {
                    continue;
                }
                self.wanted.insert(id.clone());
                match self.known.get(&id) {
                    Some(known) => pending.push(known.clone()),
                    None => {
                        self.needed.insert(id);
                    }
                }
            }
        }
    }

    /// How many events are there.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no event is there.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// The auth events, and in version 12 the create event that the room is named after.
fn references(pdu: &Pdu) -> Vec<OwnedEventId> {
    let mut ids = pdu.auth_events().to_vec();
    if pdu.version().has_hashed_room_id()
        && let Ok(create) = EventId::parse(pdu.room_id().as_str().replacen('!', "$", 1))
        && create != pdu.event_id()
    {
        ids.push(create);
    }
    ids
}

impl AuthGraph for Preload {
    fn event(&self, id: &EventId) -> Option<Pdu> {
        self.known.get(id).cloned()
    }

    fn auth_events(&self, id: &EventId) -> Vec<OwnedEventId> {
        self.known.get(id).map(|pdu| pdu.auth_events().to_vec()).unwrap_or_default()
    }
}
