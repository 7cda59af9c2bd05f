//! Batches: what one commit does, as a value.
//!
//! A batch is decided and written as a whole. Its preconditions are judged against the state
//! before the batch; then its operations take effect in the order of the calls. It can be kept,
//! cloned and submitted again.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    backend::{RawBatch, RawOp, RawRequire, RawSlot},
    error::Precondition,
    key::{AppendKey, AsKey, Key, PrefixOf, encode_key},
    position::{Position, Topic},
    store::CURSORS,
    table::{RawTable, Table, successor},
    tell::{MOST_TOLD, framed},
    value::{Counter, Stamped, Value},
};

/// A log entry of a batch; the commit gives it its position. Valid for its own batch only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub(crate) u32);

/// Operations and preconditions that take effect together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    raw: RawBatch,
    touched: Vec<Topic>,
}

impl Batch {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to commit, wake or check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.ops.is_empty()
            && self.raw.requires.is_empty()
            && self.raw.slots.is_empty()
            && self.touched.is_empty()
    }

    /// Writes a row, whether or not it is there.
    pub fn put<K: Key, V: Value, Q: AsKey<K> + ?Sized>(&mut self, table: &Table<K, V>, key: &Q, value: &V) {
        self.raw.ops.push(RawOp::Put { table: table.raw(), key: encode_key(key), value: value.encode() });
    }

    /// Removes a row, if it is there.
    pub fn delete<K: Key, V: Value, Q: AsKey<K> + ?Sized>(&mut self, table: &Table<K, V>, key: &Q) {
        self.raw.ops.push(RawOp::Delete { table: table.raw(), key: encode_key(key) });
    }

    /// Removes all rows whose keys begin with `prefix`.
    pub fn delete_prefix<K: Key, V: Value, P: PrefixOf<K> + ?Sized>(
        &mut self,
        table: &Table<K, V>,
        prefix: &P,
    ) {
        let mut start = Vec::with_capacity(32);
        prefix.encode_prefix(&mut start);
        let end = successor(&start);
        self.raw.ops.push(RawOp::DeleteRange { table: table.raw(), start: Bytes::from(start), end });
    }

    /// Removes all rows of a table.
    pub fn delete_all<K: Key, V: Value>(&mut self, table: &Table<K, V>) {
        self.raw.ops.push(RawOp::DeleteRange { table: table.raw(), start: Bytes::new(), end: None });
    }

    /// Adds to a counter; a missing one counts as 0, and one that comes to 0 loses its row.
    pub fn add<K: Key, Q: AsKey<K> + ?Sized>(&mut self, table: &Table<K, Counter>, key: &Q, delta: i64) {
        self.raw.ops.push(RawOp::Add { table: table.raw(), key: encode_key(key), delta });
    }

    /// Writes a row that must be absent so far.
    pub fn insert<K: Key, V: Value, Q: AsKey<K> + ?Sized>(
        &mut self,
        table: &Table<K, V>,
        key: &Q,
        value: &V,
    ) -> Precondition {
        let key = encode_key(key);
        let which = self.must_be(table.raw(), key.clone(), None);
        self.raw.ops.push(RawOp::Put { table: table.raw(), key, value: value.encode() });
        which
    }

    /// Writes a row that must equal `old` so far, byte for byte.
    pub fn replace<K: Key, V: Value, Q: AsKey<K> + ?Sized>(
        &mut self,
        table: &Table<K, V>,
        key: &Q,
        old: &V,
        new: &V,
    ) -> Precondition {
        let key = encode_key(key);
        let which = self.must_be(table.raw(), key.clone(), Some(old.encode()));
        self.raw.ops.push(RawOp::Put { table: table.raw(), key, value: new.encode() });
        which
    }

    /// Demands that a row equals `expected`, or is absent, before this batch.
    pub fn require<K: Key, V: Value, Q: AsKey<K> + ?Sized>(
        &mut self,
        table: &Table<K, V>,
        key: &Q,
        expected: Option<&V>,
    ) -> Precondition {
        self.must_be(table.raw(), encode_key(key), expected.map(Value::encode))
    }

    /// Adds an entry to the log of changes, which gets a position of its own.
    ///
    /// `kind` says what the payload is and must not be 0; kinds 1–49 are room's, 50–99 account's,
    /// 100–149 federation's, 150–159 to_device's. All readers waiting for one of the topics are woken.
    pub fn log(&mut self, kind: u8, payload: Bytes, topics: impl IntoIterator<Item = Topic>) -> Slot {
        debug_assert!(kind != EPHEMERAL, "kind 0 means: not stored");
        self.push_slot(kind, payload, topics.into_iter().collect())
    }

    /// Takes a position that leaves no entry in the log, for rows that carry it; readers waiting for one of
    /// the topics are woken. Like every position it is never given again, not even after a crash.
    pub fn mark(&mut self, topics: impl IntoIterator<Item = Topic>) -> Slot {
        self.push_slot(EPHEMERAL, Bytes::new(), topics.into_iter().collect())
    }

    /// Tells every process over the same data something of the moment, and wakes the readers waiting for one of the
    /// topics; see [`Ear`](crate::Ear). `ear` says whose it is: 1 typing, 2 presence. It takes a position that leaves
    /// no entry in the log.
    ///
    /// What is longer than [`MOST_TOLD`](crate::MOST_TOLD) is told to nobody.
    pub fn tell(&mut self, ear: u8, told: &[u8], topics: impl IntoIterator<Item = Topic>) -> Slot {
        debug_assert!(told.len() <= MOST_TOLD, "nobody would hear it");
        self.push_slot(EPHEMERAL, framed(ear, told), topics.into_iter().collect())
    }

    /// Writes a row whose key is `prefix` and the position of `slot`.
    pub fn append<K: AppendKey, V: Value, Q: AsKey<K::Prefix> + ?Sized>(
        &mut self,
        table: &Table<K, V>,
        prefix: &Q,
        slot: Slot,
        value: &V,
    ) {
        self.raw.ops.push(RawOp::Append {
            table: table.raw(),
            prefix: encode_key(prefix),
            slot: slot.0,
            offset: K::OFFSET,
            value: value.encode(),
        });
    }

    /// Writes a row that holds the position of `slot` beside its value.
    pub fn put_stamped<K: Key, V: Value, Q: AsKey<K> + ?Sized>(
        &mut self,
        table: &Table<K, Stamped<V>>,
        key: &Q,
        slot: Slot,
        value: &V,
    ) {
        let value = value.encode();
        let mut stamped = BytesMut::with_capacity(8 + value.len());
        stamped.put_u64(0);
        stamped.put_slice(&value);
        self.raw.ops.push(RawOp::PutStamped {
            table: table.raw(),
            key: encode_key(key),
            slot: slot.0,
            value: stamped.freeze(),
        });
    }

    /// Wakes the readers of a further topic by a log entry: where that stamps a row that they find by the topic, so
    /// that the topic has moved wherever the row can be met.
    pub fn touch_with(&mut self, slot: Slot, topic: Topic) {
        if let Some(slot) = usize::try_from(slot.0).ok().and_then(|slot| self.raw.slots.get_mut(slot)) {
            slot.topics.push(topic);
        }
    }

    /// Wakes the readers waiting for these topics, without a log entry.
    ///
    /// They count as moved at the position of the last log entry of this batch or, if it has
    /// none, at a position of their own that no entry has.
    pub fn touch(&mut self, topics: impl IntoIterator<Item = Topic>) {
        self.touched.extend(topics);
    }

    /// Removes the entries of the log after one position and up to another.
    pub(crate) fn trim_log(&mut self, after: Position, through: Position) {
        self.raw.ops.push(RawOp::TrimLog { after, through });
    }

    /// Notes how far a durable reader of the log has come.
    pub fn set_cursor(&mut self, name: &str, position: Position) {
        self.put(&CURSORS, name, &position);
    }

    /// What goes to the back end.
    pub(crate) fn into_raw(mut self) -> RawBatch {
        if self.touched.is_empty() {
            return self.raw;
        }
        let entry = self.raw.slots.iter().rposition(|slot| slot.kind != EPHEMERAL);
        let slot = entry.or_else(|| self.raw.slots.len().checked_sub(1));
        match slot.and_then(|at| self.raw.slots.get_mut(at)) {
            Some(slot) => slot.topics.append(&mut self.touched),
            None => {
                let touched = std::mem::take(&mut self.touched);
                self.push_slot(EPHEMERAL, Bytes::new(), touched);
            }
        }
        self.raw
    }

    pub(crate) fn push_op(&mut self, op: RawOp) {
        self.raw.ops.push(op);
    }

    fn push_slot(&mut self, kind: u8, payload: Bytes, topics: Vec<Topic>) -> Slot {
        let slot = Slot(u32::try_from(self.raw.slots.len()).unwrap_or(u32::MAX));
        self.raw.slots.push(RawSlot { kind, payload, topics });
        slot
    }

    fn must_be(&mut self, table: RawTable, key: Bytes, expected: Option<Bytes>) -> Precondition {
        let which = Precondition(u32::try_from(self.raw.requires.len()).unwrap_or(u32::MAX));
        self.raw.requires.push(RawRequire { table, key, expected });
        which
    }
}

/// The kind of a slot that takes a position but leaves no entry in the log.
pub const EPHEMERAL: u8 = 0;
