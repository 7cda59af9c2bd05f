//! Which members a device was sent, so that lazy loading need not send them again.
//!
//! A memory, not a record: it is bounded, and what is forgotten is sent once more. What was sent
//! counts only when the client comes back with the token of that answer, so an answer that was lost
//! on its way is no loss.

use std::{collections::HashMap, sync::Arc};

use base::{Cache, Caches};
use parking_lot::Mutex;
use room::{EventSerial, RoomSerial};
use ruma::{OwnedDeviceId, OwnedUserId};
use store::Position;

/// Members of one room that are remembered for one device.
const MEMBERS_KEPT: usize = 1_024;

/// A device's room.
type Place = (OwnedUserId, OwnedDeviceId, RoomSerial);

/// What was sent of one room: member event, and the token of the answer.
type Sent = Arc<Mutex<HashMap<EventSerial, Position>>>;

/// What was sent, and what its table took when something was last noted.
#[derive(Clone, Debug, Default)]
struct Kept {
    sent: Sent,
    bytes: usize,
}

/// What all devices were sent.
#[derive(Debug)]
pub(crate) struct LazyMemory(Cache<Place, Kept>);

impl LazyMemory {
    /// A memory of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |(user, device, _): &Place, kept: &Kept| {
            let empty = size_of::<Mutex<HashMap<EventSerial, Position>>>() + 16;
            user.as_str().len() + device.as_str().len() + empty + kept.bytes
        };
        Self(Cache::new(caches, "sync_lazy_members", bytes, owned).borrowing())
    }

    /// What this device was sent of a room; after nothing was, from the beginning.
    pub(crate) fn of(&self, place: Place, since: Option<Position>) -> Known {
        if since.is_none() {
            self.0.remove(&place);
        }
        let kept = self.0.get_or_insert_with(&place, Kept::default);
        Known { memory: self.0.clone(), place, sent: kept.sent, since }
    }
}

/// What one device was sent of one room and has acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    memory: Cache<Place, Kept>,
    place: Place,
    sent: Sent,
    since: Option<Position>,
}

impl Known {
    /// Whether the device surely has this member event.
    pub(crate) fn has(&self, member: EventSerial) -> bool {
        match (self.since, self.sent.lock().get(&member)) {
            (Some(since), Some(sent)) => *sent <= since,
            _ => false,
        }
    }

    /// Notes that these member events are part of the answer that gives the token `next`.
    pub(crate) fn note(&self, members: Vec<EventSerial>, next: Position) {
        if members.is_empty() {
            return;
        }
        let mut sent = self.sent.lock();
        for member in members {
            if sent.len() >= MEMBERS_KEPT {
                sent.clear();
            }
            sent.insert(member, next);
        }
        // A table has a seventh more places than it takes, and a byte for each.
        let bytes = sent.capacity() * 8 / 7 * (size_of::<(EventSerial, Position)>() + 1);
        drop(sent);
        // Of what was forgotten meanwhile, or begun anew, nothing must come back.
        if self
            .memory
            .get(&self.place)
            .is_some_and(|kept| Arc::ptr_eq(&kept.sent, &self.sent) && kept.bytes != bytes)
        {
            self.memory.insert(self.place.clone(), Kept { sent: self.sent.clone(), bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{owned_device_id, owned_user_id};

    use super::*;

    #[test]
    fn a_member_counts_as_sent_once_the_answer_was_acknowledged() {
        let memory = LazyMemory::new(&Caches::new(), 1 << 20);
        let place = (owned_user_id!("@a:x"), owned_device_id!("D"), RoomSerial(1));
        let member = EventSerial(7);
        memory.of(place.clone(), None).note(vec![member], Position(10));
        assert!(!memory.of(place.clone(), Some(Position(9))).has(member), "the answer was lost");
        assert!(memory.of(place.clone(), Some(Position(10))).has(member));
        assert!(!memory.of(place.clone(), Some(Position(10))).has(EventSerial(8)));
        assert!(!memory.of(place.clone(), None).has(member), "a new beginning");
        assert!(!memory.of(place.clone(), Some(Position(10))).has(member), "forgotten with it");
    }

    #[test]
    fn the_memory_of_a_room_is_bounded() {
        let memory = LazyMemory::new(&Caches::new(), 1 << 20);
        let place = (owned_user_id!("@a:x"), owned_device_id!("D"), RoomSerial(1));
        let known = memory.of(place.clone(), Some(Position(1)));
        known.note((0..5_000).map(EventSerial).collect(), Position(1));
        assert!(known.sent.lock().len() <= MEMBERS_KEPT);
    }
}
