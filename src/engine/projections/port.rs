//! [`Projection`]: the port by which others keep indexes of events.

use std::sync::Arc;

use room::{
    Order,
    ids::{RoomSerial, Root},
    read::{event::StoredEvent, room::RoomInfo},
    tables::Place,
};
use store::{AppendKey, AsKey, Batch, Counter, Key, Slot, Stamped, Swath, Table, Topic, Value};

use super::Step;
use crate::change::StateChange;

/// An index that is kept in the batches of the events themselves: unread counts, search, records. So it is never behind
/// the events, and a crash leaves neither without the other.
///
/// It is given what the batch knows and may add rows; it reads nothing and waits for nothing, since it runs under the
/// room's lock, perhaps several times for one event (a batch that was overtaken is made anew). What needs more, or may
/// come later, is a [`store::Consumer`] of the log.
///
/// Its tables are its own, with keys that begin with the room's serial. An index that is new to old data has to be made
/// by a migration: nothing is shown again.
pub trait Projection: Send + Sync {
    /// An accepted event got its place in a room, or the current state moved with it. One that gets its place later than it
    /// was accepted (a redaction whose event comes after it) is shown twice, and an event without a place at most moves the
    /// state.
    fn show(&self, shown: &Shown<'_>, rows: &mut Rows<'_>);

    /// A part of what the state of a room will be when we come into it, before the event by which we do: a large state
    /// comes part by part. [`Projection::show`] is not told of it again. What is written must not show the room to
    /// anybody, for it may be that we do not get in; then it goes by [`Projection::swaths`].
    fn bring(&self, brought: &Brought<'_>, rows: &mut Rows<'_>);

    /// A redaction has taken the content of an event, or it has turned out that it was not allowed (then there is as much
    /// left of it): what was indexed of it has to go. Also called for events without a place. That a user was erased is not told here: it changes who sees an event, not the event.
    fn empty(&self, _emptied: &Emptied<'_>, _rows: &mut Rows<'_>) {}

    /// Where its rows of a room lie. They go with the room when that is purged.
    fn swaths(&self, _room: RoomSerial) -> Vec<Swath> {
        Vec::new()
    }
}

/// What [`Projection::show`] is told.
pub struct Shown<'a> {
    /// The room.
    pub room: &'a RoomInfo,
    /// The event.
    pub event: &'a StoredEvent,
    /// What changed of the room's current state: by the event, or because it brought states together. Where we come into
    /// the room, all of it but what [`Projection::bring`] was told.
    pub changes: &'a [StateChange],
    /// By this event we come into the room: what is known of it from before says nothing any more.
    pub came_in: bool,
    /// The current state after the event.
    pub current: Root,
    slot: Option<Slot>,
}

impl Shown<'_> {
    /// The event's place in what we had not seen of the room until now, from backfill. An event that has none, and is not
    /// [`Shown::is_news`], is not part of the timeline.
    pub fn history(&self) -> Option<Order> {
        match self.event.meta().place {
            Place::History(place) => Some(Order::history(place)),
            Place::Live | Place::None => None,
        }
    }

    /// Whether the event is at the end of the timeline, so that rows can be stamped with its position ([`Rows::append`]).
    pub fn is_news(&self) -> bool {
        self.slot.is_some()
    }
}

/// What [`Projection::bring`] is told.
pub struct Brought<'a> {
    /// The room.
    pub room: &'a RoomInfo,
    /// The part of the state, as a change of what was brought before.
    pub changes: &'a [StateChange],
}

/// What [`Projection::empty`] is told.
pub struct Emptied<'a> {
    /// The room.
    pub room: &'a RoomInfo,
    /// The event as it was.
    pub before: &'a StoredEvent,
    /// What the redaction has left of it, or would leave.
    pub emptied: &'a StoredEvent,
}

/// Where a projection writes: the event's own batch, without what could make that fail.
pub struct Rows<'a> {
    batch: &'a mut Batch,
    slot: Option<Slot>,
}

impl Rows<'_> {
    /// Writes a row, whether or not it is there.
    pub fn put<K: Key, V: Value, Q: AsKey<K> + ?Sized>(&mut self, table: &Table<K, V>, key: &Q, value: &V) {
        self.batch.put(table, key, value);
    }

    /// Removes a row, if it is there.
    pub fn delete<K: Key, V: Value, Q: AsKey<K> + ?Sized>(&mut self, table: &Table<K, V>, key: &Q) {
        self.batch.delete(table, key);
    }

    /// Adds to a counter.
    pub fn add<K: Key, Q: AsKey<K> + ?Sized>(&mut self, table: &Table<K, Counter>, key: &Q, delta: i64) {
        self.batch.add(table, key, delta);
    }

    /// Writes a row whose key ends with the event's position. False, and nothing is written, for one that is not news.
    pub fn append<K: AppendKey, V: Value, Q: AsKey<K::Prefix> + ?Sized>(
        &mut self,
        table: &Table<K, V>,
        prefix: &Q,
        value: &V,
    ) -> bool {
        if let Some(slot) = self.slot {
            self.batch.append(table, prefix, slot, value);
        }
        self.slot.is_some()
    }

    /// Writes a row that holds the event's position beside its value. False, and nothing is written, for one that is not
    /// news.
    pub fn put_stamped<K: Key, V: Value, Q: AsKey<K> + ?Sized>(
        &mut self,
        table: &Table<K, Stamped<V>>,
        key: &Q,
        value: &V,
    ) -> bool {
        if let Some(slot) = self.slot {
            self.batch.put_stamped(table, key, slot, value);
        }
        self.slot.is_some()
    }

    /// Wakes readers of a topic.
    pub fn touch(&mut self, topic: Topic) {
        match self.slot {
            Some(slot) => self.batch.touch_with(slot, topic),
            None => self.batch.touch([topic]),
        }
    }
}

pub(super) fn bring(step: &mut Step<'_>) {
    let brought = Brought { room: step.room, changes: step.changes };
    for projection in step.others {
        projection.bring(&brought, &mut Rows { batch: &mut *step.batch, slot: None });
    }
}

pub(super) fn show(step: &mut Step<'_>, event: &StoredEvent) {
    if step.others.is_empty() {
        return;
    }
    let shown = Shown {
        room: step.room,
        event,
        changes: step.changes,
        came_in: step.came_in,
        current: step.current,
        slot: step.slot,
    };
    for projection in step.others {
        projection.show(&shown, &mut Rows { batch: &mut *step.batch, slot: step.slot });
    }
}

pub(super) fn empty(others: &[Arc<dyn Projection>], emptied: Emptied<'_>, batch: &mut Batch) {
    for projection in others {
        projection.empty(&emptied, &mut Rows { batch: &mut *batch, slot: None });
    }
}
