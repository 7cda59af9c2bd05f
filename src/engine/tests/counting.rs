//! A store in memory that counts what is read of it, and can keep readers of the auth graph waiting.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use room::tables::EVENTS;
use store::{
    Backend, Error, Interposed, MemoryBackend, MemoryDisk, Order, RawRange, RawRow, RowKey, TableId,
};

use crate::graph::AUTH;

/// What was read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicUsize,
    rows: AtomicUsize,
    events: AtomicUsize,
    /// Who reads the table waits while somebody holds it.
    gate: Arc<tokio::sync::RwLock<()>>,
    /// How many came to the gate.
    came: AtomicUsize,
    /// The table behind the gate, by its number; 0: the auth graph.
    gated: AtomicU16,
}

/// How often the store was asked, how many rows it was asked for or gave, and how many whole events it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) calls: usize,
    pub(super) rows: usize,
    pub(super) events: usize,
}

impl Count {
    fn now(&self) -> Cost {
        let read = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        Cost { calls: read(&self.0.calls), rows: read(&self.0.rows), events: read(&self.0.events) }
    }

    /// What some work reads.
    pub(super) async fn of<T>(&self, work: impl Future<Output = T>) -> (T, Cost) {
        let before = self.now();
        let done = work.await;
        let after = self.now();
        let cost = Cost {
            calls: after.calls - before.calls,
            rows: after.rows - before.rows,
            events: after.events - before.events,
        };
        (done, cost)
    }

    /// Nobody reads of the auth graph until this is dropped.
    pub(super) async fn shut_graph(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.0.gate.clone().write_owned().await
    }

    /// Nobody reads of this table until that is dropped; counts anew who comes.
    pub(super) async fn shut(&self, table: TableId) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.0.gated.store(table.0, Ordering::SeqCst);
        self.0.came.store(0, Ordering::SeqCst);
        self.0.gate.clone().write_owned().await
    }

    /// How often somebody wanted to read of the auth graph, or of what was shut.
    pub(super) fn came_for_graph(&self) -> usize {
        self.0.came.load(Ordering::SeqCst)
    }

    async fn add(&self, tables: impl Iterator<Item = TableId>) {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let tables: Vec<TableId> = tables.collect();
        let events = tables.iter().filter(|table| **table == EVENTS.raw().id).count();
        self.0.events.fetch_add(events, Ordering::SeqCst);
        let gated = match self.0.gated.load(Ordering::SeqCst) {
            0 => AUTH.raw().id,
            table => TableId(table),
        };
        if tables.contains(&gated) {
            self.0.came.fetch_add(1, Ordering::SeqCst);
            drop(self.0.gate.read().await);
        }
    }
}

/// Counts what is read of the data on a disk.
pub(super) struct Counting {
    pub(super) inner: MemoryBackend,
    pub(super) count: Count,
}

impl Counting {
    pub(super) fn open(disk: &MemoryDisk) -> (Self, Count) {
        let count = Count::default();
        (Self { inner: MemoryBackend::open(disk), count: count.clone() }, count)
    }
}

#[async_trait]
impl Interposed for Counting {
    fn behind(&self) -> &dyn Backend {
        &self.inner
    }

    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        self.count.add(keys.iter().map(|key| key.table.id)).await;
        self.count.0.rows.fetch_add(keys.len(), Ordering::SeqCst);
        self.inner.get(keys).await
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        self.count.add(ranges.iter().map(|range| range.table.id)).await;
        let found = self.inner.scan(ranges, order, limit).await?;
        // Also who finds nothing has looked.
        self.count.0.rows.fetch_add(found.iter().map(|rows| rows.len().max(1)).sum(), Ordering::SeqCst);
        Ok(found)
    }
}
