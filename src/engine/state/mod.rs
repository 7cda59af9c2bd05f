//! Choosing the state of a room where its graph forks.
//!
//! The states to resolve are snapshots, and what they agree on is never looked at as a whole: the
//! conflicts are the [differences](room::snapshot::Snapshots::difference) from the first one, and of
//! the rest only what conflicting events are checked against is read. That is exact, with one thing
//! to see to: an event that the agreed state's auth chain holds is in no auth difference, whatever the
//! conflicting events refer to ([`unconflicted`]).
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>

use room::{
    Error,
    ids::{EventSerial, RoomSerial, Root, StateKeySerial},
    read::event::StoredEvent,
    tables::{StateKeyName, Verdict},
};

mod unconflicted;
pub(crate) mod upkeep;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use pdu::{Pdu, RoomVersion, resolve::StateMap};
use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedEventId, events::StateEventType, room_version_rules::StateResolutionVersion};

use crate::{graph::AuthGraph, view::View};

/// The resolution of some snapshots: how it differs from one of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// One of the resolved snapshots.
    pub(crate) base: Root,
    /// What has to be changed in it; none to remove an entry.
    pub(crate) changes: Vec<(StateKeyName, Option<EventSerial>)>,
}

/// What is remembered between resolutions.
#[derive(Debug)]
pub(crate) struct Resolver {
    done: Cache<(RoomSerial, Vec<Root>), Arc<Resolution>, ByChanges>,
}

/// Memory for resolutions.
const CACHE_BYTES: u64 = 4 << 20;
/// Resolutions among more events than this leave the async threads.
const MANY_EVENTS: usize = 48;

#[derive(Clone, Debug)]
struct ByChanges;

impl Weighter<(RoomSerial, Vec<Root>), Arc<Resolution>> for ByChanges {
    fn weight(&self, key: &(RoomSerial, Vec<Root>), resolution: &Arc<Resolution>) -> u64 {
        let names = resolution.changes.iter().map(|(name, _)| 80 + name.kind.len() + name.key.len());
        (128 + 16 * key.1.len() + names.sum::<usize>()) as u64
    }
}

impl Resolver {
    pub(crate) fn new() -> Self {
        let items = usize::try_from(CACHE_BYTES / 1_000).unwrap_or(usize::MAX);
        Self { done: Cache::with_weighter(items, CACHE_BYTES, ByChanges) }
    }
}

/// Resolves several states of a room into one. Their order does not matter.
///
/// # Errors
/// [`Error::Resolution`] when the algorithm cannot go on, [`Error::Store`], [`Error::Inconsistent`].
pub(crate) async fn resolve(view: &View<'_>, roots: &[Root]) -> Result<Arc<Resolution>, Error> {
    let mut roots = roots.to_vec();
    roots.sort_unstable();
    roots.dedup();
    if let [only] = roots[..] {
        return Ok(Arc::new(Resolution { base: only, changes: Vec::new() }));
    }
    let done = &view.engine.resolver().done;
    let key = (view.room.serial, roots);
    if let Some(resolution) = done.get(&key) {
        return Ok(resolution);
    }
    view.engine.0.metrics.resolutions.inc();
    let resolution = Arc::new(resolve_anew(view, &key.1).await?);
    done.insert(key, resolution.clone());
    Ok(resolution)
}

#[crate::boxed]
async fn resolve_anew(view: &View<'_>, roots: &[Root]) -> Result<Resolution, Error> {
    let Some(base) = roots.first().copied() else {
        return Ok(Resolution { base: Root::EMPTY, changes: Vec::new() });
    };
    let conflicts = find_conflicts(view, roots).await?;
    // One for all walks: what one of them reads need not be in memory for others to be there for the next.
    let mut graph = AuthGraph::default();
    let mut known = Known::default();
    let conflicting = conflicts.iter().flat_map(|conflict| &conflict.events).flatten();
    known.load(view, &mut graph, conflicting.copied().collect()).await?;

    let mut difference = auth_difference(view, &mut graph, &conflicts, roots.len()).await?;
    unconflicted::remove(view, &mut graph, base, &conflicts, &mut difference).await?;
    let full = full_conflicted_set(view.room.version, &conflicts, &difference, &known);
    let agreed = load_agreed(view, &mut graph, base, &conflicts, &full, &mut known).await?;

    let question = Question {
        version: view.room.version,
        states: (0..roots.len()).map(|index| state_map(index, &conflicts, &agreed, &known)).collect(),
        difference: difference.iter().filter_map(|serial| known.id(*serial)).collect(),
        events: known.pdus(),
    };
    let resolved = question.answer(view).await?;
    Ok(Resolution { base, changes: changes(resolved, &conflicts, &agreed, &known) })
}

/// A state key in which the states differ.
struct Conflict {
    key: StateKeySerial,
    name: StateKeyName,
    /// What each state has for it, in the order of the states.
    events: Vec<Option<EventSerial>>,
}

async fn find_conflicts(view: &View<'_>, roots: &[Root]) -> Result<Vec<Conflict>, Error> {
    let mut events: BTreeMap<StateKeySerial, Vec<Option<EventSerial>>> = BTreeMap::new();
    for (index, root) in roots.iter().enumerate().skip(1) {
        for found in view.engine.snapshots().difference(view.room.serial, roots[0], *root).await? {
            // States that do not differ from the first have what it has.
            let row = events.entry(found.key).or_insert_with(|| vec![found.before; roots.len()]);
            row[index] = found.after;
        }
    }
    let keys: Vec<StateKeySerial> = events.keys().copied().collect();
    let names = view.key_names(&keys).await?;
    let conflicts = events.into_iter().zip(names);
    Ok(conflicts.map(|((key, events), name)| Conflict { key, name, events }).collect())
}

/// Events loaded for a resolution, with their auth chains.
#[derive(Default)]
struct Known {
    events: HashMap<EventSerial, Arc<StoredEvent>>,
    serials: HashMap<OwnedEventId, EventSerial>,
}

impl Known {
    /// Loads events of the state and their auth chains.
    async fn load(
        &mut self,
        view: &View<'_>,
        graph: &mut AuthGraph,
        mut wanted: Vec<EventSerial>,
    ) -> Result<(), Error> {
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|serial| !self.events.contains_key(serial));
        let mut chain = view.auth_chain(graph, &wanted).await?;
        chain.retain(|serial| !self.events.contains_key(serial) && wanted.binary_search(serial).is_err());
        let count = wanted.len();
        wanted.extend(chain);
        for (index, event) in view.events(&wanted).await?.into_iter().enumerate() {
            match event {
                Some(event) => self.add(event),
                None if index < count => {
                    return Err(Error::Inconsistent("a snapshot names an event that is not there"));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, event: Arc<StoredEvent>) {
        self.serials.insert(event.event_id().to_owned(), event.serial());
        self.events.insert(event.serial(), event);
    }

    fn id(&self, serial: EventSerial) -> Option<OwnedEventId> {
        self.events.get(&serial).map(|event| event.event_id().to_owned())
    }

    /// The events as the algorithm wants them.
    fn pdus(&self) -> HashMap<OwnedEventId, Pdu> {
        let pdus = self.events.values().map(|event| {
            let rejected = event.meta().verdict == Verdict::Rejected;
            (event.event_id().to_owned(), event.pdu().clone().with_rejected(rejected))
        });
        pdus.collect()
    }
}

/// What is in the auth chains of some states' conflicting events, but not of all states'.
async fn auth_difference(
    view: &View<'_>,
    graph: &mut AuthGraph,
    conflicts: &[Conflict],
    states: usize,
) -> Result<HashSet<EventSerial>, Error> {
    let mut counts: HashMap<EventSerial, usize> = HashMap::new();
    for index in 0..states {
        let conflicting: Vec<_> = conflicts.iter().filter_map(|conflict| conflict.events[index]).collect();
        for serial in view.auth_chain(graph, &conflicting).await? {
            *counts.entry(serial).or_default() += 1;
        }
    }
    Ok(counts.into_iter().filter(|(_, count)| *count < states).map(|(serial, _)| serial).collect())
}

/// The events that the algorithm will check.
fn full_conflicted_set(
    version: RoomVersion,
    conflicts: &[Conflict],
    difference: &HashSet<EventSerial>,
    known: &Known,
) -> Vec<Arc<StoredEvent>> {
    let conflicted: HashSet<EventSerial> =
        conflicts.iter().flat_map(|conflict| &conflict.events).flatten().copied().collect();
    let mut full: HashSet<EventSerial> = conflicted.union(difference).copied().collect();
    if considers_subgraph(version) {
        let ids = conflicted.iter().filter_map(|serial| known.id(*serial));
        let subgraph = pdu::resolve::conflicted_subgraph(ids, &known.pdus());
        full.extend(subgraph.iter().filter_map(|id| known.serials.get(id)));
    }
    full.iter().filter_map(|serial| known.events.get(serial).cloned()).collect()
}

/// Whether events between conflicting ones are checked too: state resolution v2.1.
fn considers_subgraph(version: RoomVersion) -> bool {
    let rules = version.rules();
    matches!(&rules.state_res, StateResolutionVersion::V2(rules) if rules.consider_conflicted_state_subgraph)
}

/// What all states agree on, as far as the algorithm will ask for it; with the auth chains of that.
async fn load_agreed(
    view: &View<'_>,
    graph: &mut AuthGraph,
    base: Root,
    conflicts: &[Conflict],
    full: &[Arc<StoredEvent>],
    known: &mut Known,
) -> Result<HashMap<StateKeyName, EventSerial>, Error> {
    let mut names: HashSet<StateKeyName> = HashSet::new();
    names.insert(named((StateEventType::RoomCreate, String::new())));
    names.insert(named((StateEventType::RoomPowerLevels, String::new())));
    for event in full {
        let Some(state_key) = event.state_key() else { continue };
        names.insert(StateKeyName { kind: event.kind().to_owned(), key: state_key.to_owned() });
        // One whose content says nothing readable will be refused by the algorithm as well.
        let checked_against = pdu::auth_types(event.pdu()).unwrap_or_default();
        names.extend(checked_against.into_iter().map(named));
    }
    for conflict in conflicts {
        names.remove(&conflict.name);
    }
    let names: Vec<StateKeyName> = names.into_iter().collect();
    let keys = view.find_keys(&names).await?;
    let (names, keys): (Vec<StateKeyName>, Vec<StateKeySerial>) =
        names.into_iter().zip(keys).filter_map(|(name, key)| Some((name, key?))).unzip();
    let serials = view.engine.snapshots().get(view.room.serial, base, &keys).await?;
    let agreed: HashMap<StateKeyName, EventSerial> =
        names.into_iter().zip(serials).filter_map(|(name, serial)| Some((name, serial?))).collect();
    known.load(view, graph, agreed.values().copied().collect()).await?;
    Ok(agreed)
}

fn named((kind, key): (StateEventType, String)) -> StateKeyName {
    StateKeyName { kind: kind.to_string(), key }
}

fn unnamed(name: &StateKeyName) -> (StateEventType, String) {
    (StateEventType::from(name.kind.as_str()), name.key.clone())
}

fn state_map(
    index: usize,
    conflicts: &[Conflict],
    agreed: &HashMap<StateKeyName, EventSerial>,
    known: &Known,
) -> StateMap {
    let agreed = agreed.iter().map(|(name, serial)| (name, *serial));
    let conflicting = conflicts.iter().filter_map(|conflict| Some((&conflict.name, conflict.events[index]?)));
    agreed.chain(conflicting).filter_map(|(name, serial)| Some((unnamed(name), known.id(serial)?))).collect()
}

/// All that the algorithm works on.
struct Question {
    version: RoomVersion,
    states: Vec<StateMap>,
    difference: HashSet<OwnedEventId>,
    events: HashMap<OwnedEventId, Pdu>,
}

impl Question {
    async fn answer(self, view: &View<'_>) -> Result<StateMap, Error> {
        let many = self.events.len() > MANY_EVENTS;
        let work = move || {
            pdu::resolve::resolve_part(self.version, &self.states, self.difference, &self.events)
                .map_err(|error| Error::Resolution(error.to_string()))
        };
        if !many {
            return work();
        }
        let tasks = &view.engine.0.tasks;
        tasks.spawn_blocking("state resolution", work).await.map_err(|_| Error::Interrupted)?
    }
}

/// How the resolved state differs from the first one.
fn changes(
    mut resolved: StateMap,
    conflicts: &[Conflict],
    agreed: &HashMap<StateKeyName, EventSerial>,
    known: &Known,
) -> Vec<(StateKeyName, Option<EventSerial>)> {
    for name in agreed.keys() {
        resolved.remove(&unnamed(name));
    }
    let mut changes = Vec::new();
    for conflict in conflicts {
        let chosen = resolved.remove(&unnamed(&conflict.name));
        let chosen = chosen.and_then(|id| known.serials.get(&id).copied());
        if chosen != conflict.events[0] {
            changes.push((conflict.name.clone(), chosen));
        }
    }
    // What no state has, but an event of their auth chains that passed the checks.
    for (key, id) in resolved {
        if let Some(serial) = known.serials.get(&id) {
            changes.push((named(key), Some(*serial)));
        }
    }
    changes
}
