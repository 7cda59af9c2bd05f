//! Which events of a supposed auth difference are in the auth chain of the agreed state after all.
//!
//! Such an event is in the chain of every state, so it is in no difference. To know it, the auth
//! graph is walked from everything that the states agree on. That is the one part of resolution that
//! can grow with the room, so only serials are walked, and what events refer to is cached.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use quick_cache::{Weighter, sync::Cache};
use ruma::events::StateEventType;

use super::{Conflict, named};
use crate::{
    Error,
    ids::{EventSerial, Root, StateKeySerial},
    tables::EVENT_META,
    view::View,
};

/// The auth events of stored events, by their serials.
#[derive(Debug)]
pub(super) struct Edges(Cache<EventSerial, Arc<[EventSerial]>, ByLength>);

#[derive(Clone, Debug)]
struct ByLength;

impl Weighter<EventSerial, Arc<[EventSerial]>> for ByLength {
    fn weight(&self, _: &EventSerial, auth: &Arc<[EventSerial]>) -> u64 {
        (64 + size_of_val::<[EventSerial]>(auth)) as u64
    }
}

impl Edges {
    pub(super) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 96).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(items, bytes, ByLength))
    }

    pub(super) fn forget(&self, event: EventSerial) {
        self.0.remove(&event);
    }

    pub(super) fn forget_all(&self) {
        self.0.clear();
    }
}

/// Takes from `difference` what is in the auth chain of what the states agree on.
pub(super) async fn remove(
    view: &View<'_>,
    base: Root,
    conflicts: &[Conflict],
    difference: &mut HashSet<EventSerial>,
) -> Result<(), Error> {
    if difference.is_empty() {
        return Ok(());
    }
    let conflicting: HashSet<StateKeySerial> = conflicts.iter().map(|conflict| conflict.key).collect();
    let mut walk = AuthWalk::new(view);
    // First the events that most chains hold: often that is the end of it.
    let first = control_keys(view).await?;
    let first: Vec<_> = first.into_iter().filter(|key| !conflicting.contains(key)).collect();
    let first = view.rooms.snapshots().get(view.room.serial, base, &first).await?;
    walk.go(first.into_iter().flatten().collect(), difference).await?;

    let mut entries = view.rooms.snapshots().walk(view.room.serial, base);
    while !difference.is_empty()
        && let Some(some) = entries.next().await?
    {
        let agreed = some.into_iter().filter(|(key, _)| !conflicting.contains(key));
        walk.go(agreed.map(|(_, event)| event).collect(), difference).await?;
        // A large room is thousands of steps that need not wait.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn control_keys(view: &View<'_>) -> Result<Vec<StateKeySerial>, Error> {
    let kinds = [StateEventType::RoomPowerLevels, StateEventType::RoomJoinRules, StateEventType::RoomCreate];
    let names = kinds.map(|kind| named((kind, String::new())));
    Ok(view.find_keys(&names).await?.into_iter().flatten().collect())
}

/// A walk over the auth graph that visits no event twice.
struct AuthWalk<'a> {
    view: &'a View<'a>,
    /// Events that are not on disk yet.
    fresh: HashMap<EventSerial, Arc<[EventSerial]>>,
    reached: HashSet<EventSerial>,
}

impl<'a> AuthWalk<'a> {
    fn new(view: &'a View<'a>) -> Self {
        let fresh = view.layers.iter().flat_map(|layer| layer.events());
        let fresh = fresh.map(|event| (event.serial(), event.meta().auth.as_slice().into())).collect();
        Self { view, fresh, reached: HashSet::new() }
    }

    /// Takes the auth chains of these events from `open`; one round of reads per step of depth.
    #[crate::boxed]
    async fn go(
        &mut self,
        mut events: Vec<EventSerial>,
        open: &mut HashSet<EventSerial>,
    ) -> Result<(), Error> {
        while !events.is_empty() && !open.is_empty() {
            let mut next = Vec::new();
            for auth in self.edges(&events).await? {
                for serial in auth.iter() {
                    if self.reached.insert(*serial) {
                        open.remove(serial);
                        next.push(*serial);
                    }
                }
            }
            events = next;
        }
        Ok(())
    }

    async fn edges(&self, events: &[EventSerial]) -> Result<Vec<Arc<[EventSerial]>>, Error> {
        let cache = &self.view.rooms.resolver().edges.0;
        let mut found = Vec::with_capacity(events.len());
        let mut missing = Vec::new();
        for event in events {
            match self.fresh.get(event).cloned().or_else(|| cache.get(event)) {
                Some(auth) => found.push(auth),
                None => missing.push((self.view.room.serial, *event)),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let metas = self.view.rooms.store().get_many(&EVENT_META, &missing).await?;
        for ((_, event), meta) in missing.into_iter().zip(metas) {
            let auth: Arc<[EventSerial]> = meta.map(|meta| meta.value.auth).unwrap_or_default().into();
            cache.insert(event, auth.clone());
            found.push(auth);
        }
        Ok(found)
    }
}
