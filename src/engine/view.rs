//! Looking at a room through what is not yet on disk.
//!
//! A batch that is being made, and batches on their way to disk, hold events, state keys and gaps that the
//! store cannot give yet. [`Fresh`] holds them; a [`View`] looks into its layers first and asks the
//! store, in one round per question, for the rest. Chunks of snapshots need no layer: the chunk
//! cache holds those that were just made.

use std::{collections::HashMap, sync::Arc};

use room::{
    Error,
    ids::{EventSerial, RoomSerial, Root, StateKeySerial},
    read::{event::StoredEvent, room::RoomInfo},
    tables::{EVENT_IDS, GAPS, Gap, STATE_KEY_NAMES, StateKeyName},
};
use ruma::{EventId, OwnedEventId};

use crate::{Engine, change::StateChange};

/// An event's places in two tables, with its id.
const PLACES_BYTES: usize = 192;
/// A key with its name, both ways, or a gap with the events that name it.
const NAME_BYTES: usize = 384;

/// What batches that are not on disk yet add to a room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fresh {
    events: HashMap<EventSerial, Arc<StoredEvent>>,
    ids: HashMap<OwnedEventId, EventSerial>,
    keys: HashMap<StateKeyName, StateKeySerial>,
    names: HashMap<StateKeySerial, StateKeyName>,
    /// `None`: what was missing has come.
    gaps: HashMap<OwnedEventId, Option<Gap>>,
    event_bytes: usize,
}

impl Fresh {
    pub(crate) fn add_event(&mut self, event: Arc<StoredEvent>) {
        self.event_bytes += event.memory_bytes() + PLACES_BYTES;
        self.ids.insert(event.event_id().to_owned(), event.serial());
        self.events.insert(event.serial(), event);
    }

    pub(crate) fn add_key(&mut self, name: StateKeyName, key: StateKeySerial) {
        self.names.insert(key, name.clone());
        self.keys.insert(name, key);
    }

    pub(crate) fn set_gap(&mut self, missing: OwnedEventId, gap: Option<Gap>) {
        self.gaps.insert(missing, gap);
    }

    pub(crate) fn holds(&self, id: &EventId) -> bool {
        self.ids.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len() + self.keys.len() + self.gaps.len()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.events.values()
    }

    /// Lets go of events that are on disk by now, but for these.
    pub(crate) fn retain_events(&mut self, keep: impl Fn(&StoredEvent) -> bool) {
        self.events.retain(|_, event| keep(event));
        self.ids.retain(|_, serial| self.events.contains_key(serial));
        self.event_bytes = self.events.values().map(|event| event.memory_bytes() + PLACES_BYTES).sum();
    }

    /// What it takes in memory, in bytes; of names and gaps, which are few, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.event_bytes + (self.keys.len() + self.gaps.len()) * NAME_BYTES
    }

    /// Takes over what a later batch added.
    pub(crate) fn merge(&mut self, later: Self) {
        self.events.extend(later.events);
        self.ids.extend(later.ids);
        self.keys.extend(later.keys);
        self.names.extend(later.names);
        self.gaps.extend(later.gaps);
        self.event_bytes += later.event_bytes;
    }
}

/// A room as a writer sees it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) room: &'a RoomInfo,
    /// Newest last.
    pub(crate) layers: [&'a Fresh; 2],
}

impl View<'_> {
    fn room_serial(&self) -> RoomSerial {
        self.room.serial
    }

    fn fresh<'f, T>(&'f self, find: impl Fn(&'f Fresh) -> Option<T>) -> Option<T> {
        self.layers.iter().rev().find_map(|layer| find(layer))
    }

    /// An event that is not on disk yet.
    pub(crate) fn fresh_event(&self, event: EventSerial) -> Option<&Arc<StoredEvent>> {
        self.fresh(|layer| layer.events.get(&event))
    }

    /// Where events of this room are, in the order of `ids`; unknown ones, and those of other rooms, are `None`.
    pub(crate) async fn find_serials(&self, ids: &[OwnedEventId]) -> Result<Vec<Option<EventSerial>>, Error> {
        let mut found: Vec<Option<EventSerial>> =
            ids.iter().map(|id| self.fresh(|layer| layer.ids.get(id).copied())).collect();
        let missing: Vec<&str> = unfound(ids, &found).map(|id| id.as_str()).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let places = self.engine.store().get_many(&EVENT_IDS, &missing).await?;
        let room = self.room_serial();
        fill(&mut found, places.into_iter().map(|place| place.filter(|p| p.room == room).map(|p| p.event)));
        Ok(found)
    }

    /// Which of these events of the room are here: whether each has its place in the graph, in the order of `ids`;
    /// absent ones are `None`. No event is read for it.
    #[crate::boxed]
    pub(crate) async fn presence(&self, ids: &[OwnedEventId]) -> Result<Vec<Option<bool>>, Error> {
        /// How many are looked up at a time: an answer may name hundreds of thousands.
        const AT_ONCE: usize = 1_000;
        let mut presence = Vec::with_capacity(ids.len());
        for part in ids.chunks(AT_ONCE) {
            let serials = self.find_serials(part).await?;
            let known: Vec<EventSerial> = serials.iter().flatten().copied().collect();
            let fresh = |event: &EventSerial| self.fresh_event(*event).map(|event| event.meta().is_placed());
            let mut placed: Vec<Option<bool>> = known.iter().map(fresh).collect();
            let stored: Vec<_> = unfound(&known, &placed).map(|event| (self.room_serial(), *event)).collect();
            let metas = self.engine.rooms().metas(&stored).await?;
            fill(&mut placed, metas.into_iter().map(|meta| meta.map(|meta| meta.is_placed())));
            let mut placed = placed.into_iter();
            presence.extend(serials.iter().map(|serial| serial.and_then(|_| placed.next().flatten())));
        }
        Ok(presence)
    }

    /// Events of this room, in the order of `serials`; absent ones are `None`.
    #[crate::boxed]
    pub(crate) async fn events(
        &self,
        serials: &[EventSerial],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let mut found: Vec<Option<Arc<StoredEvent>>> =
            serials.iter().map(|serial| self.fresh(|layer| layer.events.get(serial).cloned())).collect();
        let missing: Vec<_> = unfound(serials, &found).map(|serial| (self.room_serial(), *serial)).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let loaded = self.engine.rooms().load_events(&missing).await?;
        fill(&mut found, loaded.into_iter());
        Ok(found)
    }

    /// Events of this room by id; unknown ones are `None`.
    #[crate::boxed]
    pub(crate) async fn events_by_id(
        &self,
        ids: &[OwnedEventId],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let serials = self.find_serials(ids).await?;
        let known: Vec<EventSerial> = serials.iter().flatten().copied().collect();
        let mut events = self.events(&known).await?.into_iter();
        Ok(serials.iter().map(|serial| serial.and_then(|_| events.next().flatten())).collect())
    }

    /// What batches on their way say of a missing event; `Some(None)`: that it has come.
    pub(crate) fn fresh_gap(&self, id: &EventId) -> Option<Option<Gap>> {
        self.fresh(|layer| layer.gaps.get(id).cloned())
    }

    /// What is known of events of this room that are missing, in the order of `ids`; `None` where nobody waits.
    pub(crate) async fn gaps(&self, ids: &[OwnedEventId]) -> Result<Vec<Option<Gap>>, Error> {
        let mut found: Vec<Option<Option<Gap>>> = ids.iter().map(|id| self.fresh_gap(id)).collect();
        let missing: Vec<_> = unfound(ids, &found).map(|id| (self.room_serial(), id.as_str())).collect();
        if !missing.is_empty() {
            let loaded = self.engine.store().get_many(&GAPS, &missing).await?;
            fill(&mut found, loaded.into_iter().map(Some));
        }
        Ok(found.into_iter().map(Option::flatten).collect())
    }

    /// Serials of state keys, in the order of `names`; one that nothing was ever set for is `None`.
    #[crate::boxed]
    pub(crate) async fn find_keys(
        &self,
        names: &[StateKeyName],
    ) -> Result<Vec<Option<StateKeySerial>>, Error> {
        let mut found: Vec<Option<StateKeySerial>> =
            names.iter().map(|name| self.fresh(|layer| layer.keys.get(name).copied())).collect();
        let missing: Vec<(RoomSerial, &str, &str)> = unfound(names, &found)
            .map(|name| (self.room_serial(), name.kind.as_str(), name.key.as_str()))
            .collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let loaded = self.engine.rooms().state_keys(&missing).await?;
        fill(&mut found, loaded.into_iter());
        Ok(found)
    }

    /// What state keys stand for, in the order of `keys`.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] when one stands for nothing.
    pub(crate) async fn key_names(&self, keys: &[StateKeySerial]) -> Result<Vec<StateKeyName>, Error> {
        let mut found: Vec<Option<StateKeyName>> =
            keys.iter().map(|key| self.fresh(|layer| layer.names.get(key).cloned())).collect();
        let missing: Vec<_> = unfound(keys, &found).map(|key| (self.room_serial(), *key)).collect();
        if !missing.is_empty() {
            let loaded = self.engine.store().get_many(&STATE_KEY_NAMES, &missing).await?;
            fill(&mut found, loaded.into_iter());
        }
        found
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or(Error::Inconsistent("a snapshot holds a state key without a name"))
    }

    /// The state events of a snapshot with these names, in their order.
    #[crate::boxed]
    pub(crate) async fn state(
        &self,
        root: Root,
        names: &[StateKeyName],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        if root == Root::EMPTY || names.is_empty() {
            return Ok(vec![None; names.len()]);
        }
        let keys = self.find_keys(names).await?;
        let known: Vec<StateKeySerial> = keys.iter().flatten().copied().collect();
        let serials = self.engine.snapshots().get(self.room_serial(), root, &known).await?;
        let mut serials = serials.into_iter();
        let serials: Vec<Option<EventSerial>> =
            keys.iter().map(|key| key.and_then(|_| serials.next().flatten())).collect();
        let wanted: Vec<EventSerial> = serials.iter().flatten().copied().collect();
        let mut events = self.events(&wanted).await?.into_iter();
        serials
            .into_iter()
            .map(|serial| match serial {
                None => Ok(None),
                Some(_) => match events.next().flatten() {
                    Some(event) => Ok(Some(event)),
                    None => Err(Error::Inconsistent("a snapshot names an event that is not there")),
                },
            })
            .collect()
    }

    /// What differs between two states of the room.
    pub(crate) async fn changes_between(&self, old: Root, new: Root) -> Result<Vec<StateChange>, Error> {
        let differences = self.engine.snapshots().difference(self.room_serial(), old, new).await?;
        let keys: Vec<StateKeySerial> = differences.iter().map(|difference| difference.key).collect();
        let names = self.key_names(&keys).await?;
        let serials: Vec<EventSerial> = differences
            .iter()
            .flat_map(|difference| [difference.before, difference.after])
            .flatten()
            .collect();
        let mut events = self.events(&serials).await?.into_iter();
        let mut next = |serial: Option<EventSerial>| serial.and_then(|_| events.next().flatten());
        let mut changes = Vec::with_capacity(names.len());
        for (name, difference) in names.into_iter().zip(&differences) {
            let old = next(difference.before);
            let new = next(difference.after);
            changes.push(StateChange { name, old, new });
        }
        Ok(changes)
    }
}

/// The items whose answers are still open.
fn unfound<'a, T, F>(items: &'a [T], found: &'a [Option<F>]) -> impl Iterator<Item = &'a T> {
    items.iter().zip(found).filter(|(_, found)| found.is_none()).map(|(item, _)| item)
}

/// Puts answers into the open places, in order.
fn fill<F>(found: &mut [Option<F>], mut answers: impl Iterator<Item = Option<F>>) {
    for place in found.iter_mut().filter(|place| place.is_none()) {
        *place = answers.next().flatten();
    }
}
