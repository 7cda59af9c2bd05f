//! What was read of the auth graphs of rooms, as far as it is kept in memory.
//!
//! It is kept in parts, each of the events of a room whose serials are near each other: so memory is given out and taken
//! back in small pieces, and of a room that is larger than all of it a part is kept. What a part says of an event never
//! changes; of what it does not name, it says nothing.

use std::{collections::HashMap, sync::Arc};

use quick_cache::{Weighter, sync::Cache};
use room::ids::{EventSerial, RoomSerial};

/// So many serials, as a power of two, are of one part.
const SERIALS: u32 = 10;

/// Which part: its room, and the serials of its events without their last bits.
type PartId = (RoomSerial, u64);

/// What events refer to, in bounded memory.
#[derive(Debug)]
pub(crate) struct Kept(Cache<PartId, Arc<Part>, ByBytes>);

/// Events in the order of their serials, and what each refers to.
#[derive(Debug, Default)]
struct Part {
    events: Vec<EventSerial>,
    /// For each event, where in `targets` what it refers to ends; it begins where that of the one before ends.
    ends: Vec<u32>,
    targets: Vec<EventSerial>,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<PartId, Arc<Part>> for ByBytes {
    fn weight(&self, _: &PartId, part: &Arc<Part>) -> u64 {
        /// A part without events, with its place in the cache.
        const EMPTY: usize = 160;
        let events = part.events.len() * (size_of::<EventSerial>() + size_of::<u32>());
        (EMPTY + events + part.targets.len() * size_of::<EventSerial>()) as u64
    }
}

/// A row that was read: an event, and what it refers to.
pub(super) type Edges = (EventSerial, Vec<EventSerial>);

impl Kept {
    /// Keeps so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        // Also where there are many processors, each piece of the cache has to have room for large parts.
        const ITEMS: usize = 64;
        Self(Cache::with_weighter(ITEMS, bytes, ByBytes))
    }

    /// Gives `take` what is known of some events of a room; with `around`, of those in the same parts too.
    pub(super) fn find(
        &self,
        room: RoomSerial,
        events: &[EventSerial],
        around: bool,
        mut take: impl FnMut(EventSerial, &[EventSerial]),
    ) {
        let mut parts: HashMap<u64, Option<Arc<Part>>> = HashMap::new();
        for event in events {
            let number = event.0 >> SERIALS;
            let is_new = !parts.contains_key(&number);
            let part = parts.entry(number).or_insert_with(|| self.0.get(&(room, number)));
            let Some(part) = part else { continue };
            match around {
                true if is_new => part.each(&mut take),
                true => {}
                false => {
                    if let Some(auth) = part.auth(*event) {
                        take(*event, auth);
                    }
                }
            }
        }
    }

    /// Keeps what was read of a room; `rows` are in the order of their events.
    pub(super) fn keep(&self, room: RoomSerial, rows: &[Edges]) {
        for rows in rows.chunk_by(|(one, _), (next, _)| one.0 >> SERIALS == next.0 >> SERIALS) {
            let Some((first, _)) = rows.first() else { continue };
            let id = (room, first.0 >> SERIALS);
            let known = self.0.get(&id).unwrap_or_default();
            self.0.insert(id, Arc::new(known.with(rows)));
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    #[cfg(test)]
    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}

impl Part {
    fn auth(&self, event: EventSerial) -> Option<&[EventSerial]> {
        self.at(self.events.binary_search(&event).ok()?)
    }

    fn each(&self, mut take: impl FnMut(EventSerial, &[EventSerial])) {
        for (index, event) in self.events.iter().enumerate() {
            take(*event, self.at(index).unwrap_or_default());
        }
    }

    fn at(&self, index: usize) -> Option<&[EventSerial]> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.targets.get(start as usize..*self.ends.get(index)? as usize)
    }

    /// This part with more events.
    fn with(&self, rows: &[Edges]) -> Self {
        let mut all = Self::default();
        let mut own = self.events.iter().enumerate().peekable();
        for (event, auth) in rows {
            while let Some((index, known)) = own.next_if(|(_, known)| *known < event) {
                all.push(*known, self.at(index).unwrap_or_default());
            }
            own.next_if(|(_, known)| *known == event);
            all.push(*event, auth);
        }
        for (index, known) in own {
            all.push(*known, self.at(index).unwrap_or_default());
        }
        all.events.shrink_to_fit();
        all.ends.shrink_to_fit();
        all.targets.shrink_to_fit();
        all
    }

    fn push(&mut self, event: EventSerial, auth: &[EventSerial]) {
        self.events.push(event);
        self.targets.extend_from_slice(auth);
        self.ends.push(super::nodes::short(self.targets.len()));
    }
}
