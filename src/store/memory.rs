//! A back end in memory, for tests and as the model of the others.
//!
//! What a disk would hold is a value of its own ([`MemoryDisk`]), so that a test can drop the
//! back end, as a crash would, and open the same disk again.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use crate::{
    backend::{Backend, Change, RawBatch, RawCommitted, RawRange, RawRow, RowKey},
    error::{CommitError, Error},
    log::decode_page,
    position::Position,
    stage::{Needs, Staged, Write},
    table::{Order, TableId},
    verify::Report,
};

/// How many ephemeral positions are reserved at a time.
const EPHEMERAL_BLOCK: u64 = 4_096;

/// What survives a crash.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<RwLock<Data>>);

#[derive(Default)]
struct Data {
    tables: BTreeMap<TableId, BTreeMap<Bytes, Bytes>>,
    log: BTreeMap<Position, Bytes>,
    last_entry: Position,
    /// Positions up to here may have been given to something ephemeral.
    reserved: Position,
}

/// A back end that keeps everything in memory.
pub struct MemoryBackend {
    disk: MemoryDisk,
    head: RwLock<Position>,
}

impl MemoryBackend {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::open(&MemoryDisk::default())
    }

    /// One over what an earlier one left behind.
    #[must_use]
    pub fn open(disk: &MemoryDisk) -> Self {
        let head = {
            let data = disk.0.read();
            data.last_entry.max(data.reserved)
        };
        Self { disk: disk.clone(), head: RwLock::new(head) }
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn disk(&self) -> MemoryDisk {
        self.disk.clone()
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        let data = self.disk.0.read();
        Ok(keys.iter().map(|row| data.tables.get(&row.table.id)?.get(&row.key).cloned()).collect())
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        let data = self.disk.0.read();
        Ok(ranges.iter().map(|range| scan_one(&data, range, order, limit)).collect())
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        let mut data = self.disk.0.write();
        let mut head = self.head.write();
        let needs = Needs::of(&batches);
        let found = needs.keys().iter().map(|row| data.tables.get(&row.table.id)?.get(&row.key).cloned());
        let found = found.collect();
        let staged = needs.stage(found, *head, data.last_entry);
        *head = staged.head;
        data.apply(staged)
    }

    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        let data = self.disk.0.read();
        let rows = data.log.range((Bound::Excluded(after), Bound::Unbounded)).take(limit);
        decode_page(after, rows.map(|(position, bytes)| (*position, bytes)))
    }

    async fn head(&self) -> Result<Position, Error> {
        Ok(*self.head.read())
    }

    async fn verify(&self, mut report: Report) -> Result<Report, Error> {
        let data = self.disk.0.read();
        for (table, rows) in &data.tables {
            rows.iter().for_each(|(key, value)| report.row(*table, key, value));
        }
        data.log.iter().for_each(|(position, bytes)| report.entry(*position, bytes));
        Ok(report)
    }
}

impl Data {
    fn apply(&mut self, staged: Staged<'_>) -> Vec<Result<RawCommitted, CommitError>> {
        for write in staged.writes {
            match write {
                Write::Put { table, key, value } => {
                    let rows = self.tables.entry(table.id).or_default();
                    rows.insert(Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
                }
                Write::Delete { table, key } => {
                    self.tables.entry(table.id).or_default().remove(key);
                }
                Write::TrimLog { after, through } => {
                    self.log.retain(|position, _| *position <= after || *position > through);
                }
                Write::DeleteRange { table, start, end } => {
                    let rows = self.tables.entry(table.id).or_default();
                    rows.retain(|key, _| key < start || end.is_some_and(|end| key >= end));
                }
            }
        }
        self.log.extend(staged.entries.into_iter().map(|entry| (entry.position, entry.bytes)));
        self.last_entry = staged.last_entry;
        if staged.head > self.last_entry.max(self.reserved) {
            self.reserved = staged.head.plus(EPHEMERAL_BLOCK);
        }
        staged.results
    }
}

fn scan_one(data: &Data, range: &RawRange, order: Order, limit: usize) -> Vec<RawRow> {
    let Some(rows) = data.tables.get(&range.table.id) else { return Vec::new() };
    if range.end.as_ref().is_some_and(|end| *end <= range.start) {
        return Vec::new();
    }
    let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let rows = rows.range::<Bytes, _>((Bound::Included(&range.start), end));
    let row = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
    match order {
        Order::Ascending => rows.take(limit).map(row).collect(),
        Order::Descending => rows.rev().take(limit).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;
    use crate::conformance::Place;

    #[derive(Default)]
    struct MemoryPlace(MemoryDisk);

    impl Place for MemoryPlace {
        fn open(&self) -> Pin<Box<dyn Future<Output = Arc<dyn Backend>> + Send + '_>> {
            let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::open(&self.0));
            Box::pin(std::future::ready(backend))
        }
    }

    crate::conformance_tests!(std::future::ready(MemoryPlace::default()));
}
