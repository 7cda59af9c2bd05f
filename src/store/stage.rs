//! The decisions of a group commit: which batches hold, what they write, which positions they get.
//!
//! A back end collects the rows that matter ([`Needs::of`]), reads them at once, lets
//! [`Needs::stage`] decide, and writes the outcome in one atomic write. Only rows that a
//! precondition or a counter looks at are followed through the group; all others pass by.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;

use crate::{
    backend::{RawBatch, RawCommitted, RawOp, RowKey},
    batch::EPHEMERAL,
    error::{CommitError, Error, Precondition},
    log::encode_entry,
    position::Position,
    table::{RawTable, TableId},
};

/// The rows that a group's decisions depend on.
pub struct Needs<'a> {
    batches: &'a [RawBatch],
    index: HashMap<(TableId, &'a [u8]), usize>,
    keys: Vec<RowKey>,
}

/// A write that was decided on; to be applied in order.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are what the variants say")]
pub enum Write<'a> {
    /// Write a row.
    Put { table: RawTable, key: Cow<'a, [u8]>, value: Cow<'a, [u8]> },
    /// Remove a row.
    Delete { table: RawTable, key: &'a [u8] },
    /// Remove the rows from `start` up to before `end`.
    DeleteRange { table: RawTable, start: &'a [u8], end: Option<&'a [u8]> },
    /// Remove the entries of the log, and what is beside them, after one position and up to another.
    TrimLog { after: Position, through: Position },
}

/// A log entry that was decided on.
#[derive(Debug)]
pub struct Entry {
    /// Its position.
    pub position: Position,
    /// Its stored form.
    pub bytes: Bytes,
}

/// The outcome of a group.
#[derive(Debug)]
pub struct Staged<'a> {
    /// One result per batch, true once the writes are durable.
    pub results: Vec<Result<RawCommitted, CommitError>>,
    /// The rows to write, in order.
    pub writes: Vec<Write<'a>>,
    /// The log entries to write.
    pub entries: Vec<Entry>,
    /// The last position given, ephemeral or not.
    pub head: Position,
    /// The position of the last log entry.
    pub last_entry: Position,
}

impl<'a> Needs<'a> {
    /// Collects the rows that preconditions and counters look at, each once.
    #[must_use]
    pub fn of(batches: &'a [RawBatch]) -> Self {
        let mut needs = Self { batches, index: HashMap::new(), keys: Vec::new() };
        for batch in batches {
            for require in &batch.requires {
                needs.need(require.table, &require.key);
            }
            for op in &batch.ops {
                if let RawOp::Add { table, key, .. } = op {
                    needs.need(*table, key);
                }
            }
        }
        needs
    }

    fn need(&mut self, table: RawTable, key: &'a Bytes) {
        let next = self.keys.len();
        if *self.index.entry((table.id, key)).or_insert(next) == next {
            self.keys.push(RowKey { table, key: key.clone() });
        }
    }

    /// The rows to read.
    #[must_use]
    pub fn keys(&self) -> &[RowKey] {
        &self.keys
    }

    /// Decides, given the rows of [`Needs::keys`], the last position given and the last log entry.
    #[must_use]
    pub fn stage(self, found: Vec<Option<Bytes>>, head: Position, last_entry: Position) -> Staged<'a> {
        let mut group = Group {
            index: self.index,
            keys: &self.keys,
            rows: found,
            out: Staged {
                results: Vec::with_capacity(self.batches.len()),
                writes: Vec::new(),
                entries: Vec::new(),
                head,
                last_entry,
            },
        };
        for batch in self.batches {
            let result = match group.judge(batch) {
                Ok(()) => Ok(group.apply(batch)),
                Err(refused) => Err(refused),
            };
            group.out.results.push(result);
        }
        group.out
    }
}

struct Group<'a, 'n> {
    index: HashMap<(TableId, &'a [u8]), usize>,
    keys: &'n [RowKey],
    rows: Vec<Option<Bytes>>,
    out: Staged<'a>,
}

impl<'a> Group<'a, '_> {
    fn judge(&self, batch: &RawBatch) -> Result<(), CommitError> {
        for (which, require) in (0..).zip(&batch.requires) {
            if *self.row(require.table, &require.key) != require.expected {
                return Err(CommitError::Conflict { which: Precondition(which), table: require.table.id });
            }
        }
        for op in &batch.ops {
            if let RawOp::Add { table, key, .. } = op
                && self.row(*table, key).as_ref().is_some_and(|row| row.len() != 8)
            {
                return Err(Error::NotACounter(table.id).into());
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: &'a RawBatch) -> RawCommitted {
        let count = u32::try_from(batch.slots.len()).unwrap_or(u32::MAX);
        let first = if count == 0 { self.out.head } else { self.out.head.plus(1) };
        for op in &batch.ops {
            self.apply_op(op, first);
        }
        for (position, slot) in (first.0..).map(Position).zip(&batch.slots) {
            self.out.head = position;
            if slot.kind != EPHEMERAL {
                self.out.entries.push(Entry { position, bytes: encode_entry(self.out.last_entry, slot) });
                self.out.last_entry = position;
            }
        }
        RawCommitted { first, count }
    }

    fn apply_op(&mut self, op: &'a RawOp, first: Position) {
        match op {
            RawOp::Put { table, key, value } => {
                self.set(*table, key, Some(value));
                self.put(*table, Cow::Borrowed(key), Cow::Borrowed(value));
            }
            RawOp::Delete { table, key } => {
                self.set(*table, key, None);
                self.out.writes.push(Write::Delete { table: *table, key });
            }
            RawOp::DeleteRange { table, start, end } => {
                for (row, key) in self.rows.iter_mut().zip(self.keys) {
                    let inside = key.key >= *start && end.as_ref().is_none_or(|end| key.key < *end);
                    if key.table.id == table.id && inside {
                        *row = None;
                    }
                }
                self.out.writes.push(Write::DeleteRange { table: *table, start, end: end.as_deref() });
            }
            RawOp::Add { table, key, delta } => self.add(*table, key, *delta),
            RawOp::TrimLog { after, through } => {
                // The last entry stays: by it the positions go on after a crash, and who reads on finds that some are
                // missing.
                let last_kept = Position(self.out.last_entry.0.saturating_sub(1));
                let through = last_kept.min(*through);
                if through > *after {
                    self.out.writes.push(Write::TrimLog { after: *after, through });
                }
            }
            RawOp::Append { table, prefix, slot, offset, value } => {
                let place = first.plus(u64::from(*slot)).plus(*offset);
                let mut key = Vec::with_capacity(prefix.len() + 8);
                key.extend_from_slice(prefix);
                key.extend_from_slice(&place.0.to_be_bytes());
                self.set(*table, &key, Some(value));
                self.put(*table, Cow::Owned(key), Cow::Borrowed(value));
            }
            RawOp::PutStamped { table, key, slot, value } => {
                let mut stamped = value.to_vec();
                if let Some(place) = stamped.first_chunk_mut::<8>() {
                    *place = first.plus(u64::from(*slot)).0.to_be_bytes();
                }
                if self.index.contains_key(&(table.id, key.as_ref())) {
                    self.set(*table, key, Some(&Bytes::copy_from_slice(&stamped)));
                }
                self.put(*table, Cow::Borrowed(key), Cow::Owned(stamped));
            }
        }
    }

    fn add(&mut self, table: RawTable, key: &'a Bytes, delta: i64) {
        let row = self.row(table, key).as_ref();
        let before = row.and_then(|row| row.as_ref().try_into().ok()).map_or(0, i64::from_be_bytes);
        match before.saturating_add(delta) {
            0 => {
                self.set(table, key, None);
                self.out.writes.push(Write::Delete { table, key });
            }
            after => {
                let value = Bytes::copy_from_slice(&after.to_be_bytes());
                self.set(table, key, Some(&value));
                self.put(table, Cow::Borrowed(key), Cow::Owned(value.to_vec()));
            }
        }
    }

    fn row(&self, table: RawTable, key: &[u8]) -> &Option<Bytes> {
        self.index.get(&(table.id, key)).and_then(|at| self.rows.get(*at)).unwrap_or(&None)
    }

    fn set(&mut self, table: RawTable, key: &[u8], value: Option<&Bytes>) {
        if self.index.is_empty() {
            return;
        }
        if let Some(row) = self.index.get(&(table.id, key)).and_then(|at| self.rows.get_mut(*at)) {
            *row = value.cloned();
        }
    }

    fn put(&mut self, table: RawTable, key: Cow<'a, [u8]>, value: Cow<'a, [u8]>) {
        self.out.writes.push(Write::Put { table, key, value });
    }
}
