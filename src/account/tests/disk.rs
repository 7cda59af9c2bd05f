//! A disk in memory that is full when told so, holds up a read, and says how much was read at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use store::{
    Backend, CommitError, Error, Interposed, MemoryBackend, Order, RawBatch, RawCommitted, RawOp, RawRange,
    RawRow, RowKey, Table, TableId, Touched,
};
use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Disk {
    memory: MemoryBackend,
    full: AtomicBool,
    fails: AtomicBool,
    largest_scan: AtomicUsize,
    audit_reads: AtomicUsize,
    audit_writes: AtomicUsize,
    lonely_rows: AtomicUsize,
    hold: Mutex<Option<Hold>>,
}

struct Hold {
    table: TableId,
    reached: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

/// A read that does not come back before it is let go.
pub(super) struct Held {
    reached: Option<oneshot::Receiver<()>>,
    go_on: oneshot::Sender<()>,
}

impl Held {
    /// Waits until somebody has read and waits for the answer.
    pub(super) async fn reached(&mut self) {
        self.reached.take().unwrap().await.unwrap();
    }

    pub(super) fn let_go(self) {
        self.go_on.send(()).unwrap();
    }
}

impl Disk {
    /// Holds up the next read of a table, with what it has found.
    pub(super) fn hold<K, V>(&self, table: &Table<K, V>) -> Held {
        let (reached, is_reached) = oneshot::channel();
        let (go_on, goes_on) = oneshot::channel();
        *self.hold.lock() = Some(Hold { table: table.raw().id, reached, go_on: goes_on });
        Held { reached: Some(is_reached), go_on }
    }

    /// Leaves no room for writes, or gives it back.
    pub(super) fn fill(&self, full: bool) {
        self.full.store(full, SeqCst);
    }

    /// Fails to write the next group, and no other.
    pub(super) fn fail_next(&self) {
        self.fails.store(true, SeqCst);
    }

    /// How often tables of the audit log were read and written since the last call.
    pub(super) fn take_audit(&self) -> (usize, usize) {
        (self.audit_reads.swap(0, SeqCst), self.audit_writes.swap(0, SeqCst))
    }

    /// How many batches wrote rows of the audit log and nothing else.
    pub(super) fn lonely_rows(&self) -> usize {
        self.lonely_rows.load(SeqCst)
    }

    fn note_reads(&self, tables: impl Iterator<Item = TableId>) {
        self.audit_reads.fetch_add(tables.filter(is_audit).count(), SeqCst);
    }

    /// Bytes of the largest answer to a scan since the last call.
    pub(super) fn take_largest_scan(&self) -> usize {
        self.largest_scan.swap(0, SeqCst)
    }

    fn room(&self) -> Result<(), Error> {
        if self.full.load(SeqCst) { Err(Error::Full("the test's disk is full".to_owned())) } else { Ok(()) }
    }

    async fn wait(&self, mut tables: impl Iterator<Item = TableId>) {
        let hold = self.hold.lock().take_if(|hold| tables.any(|table| table == hold.table));
        if let Some(Hold { reached, go_on, .. }) = hold {
            reached.send(()).unwrap();
            go_on.await.unwrap();
        }
    }
}

#[async_trait]
impl Interposed for Disk {
    fn behind(&self) -> &dyn Backend {
        &self.memory
    }

    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        let found = self.memory.get(keys).await;
        self.note_reads(keys.iter().map(|key| key.table.id));
        self.wait(keys.iter().map(|key| key.table.id)).await;
        found
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        let found = self.memory.scan(ranges, order, limit).await?;
        self.note_reads(ranges.iter().map(|range| range.table.id));
        let bytes = found.iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
        self.largest_scan.fetch_max(bytes, SeqCst);
        self.wait(ranges.iter().map(|range| range.table.id)).await;
        Ok(found)
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        if let Err(full) = self.room() {
            return batches.iter().map(|_| Err(full.clone().into())).collect();
        }
        if self.fails.swap(false, SeqCst) {
            return batches
                .iter()
                .map(|_| Err(Error::backend("commit", "the test's disk failed").into()))
                .collect();
        }
        for batch in batches.iter() {
            self.note_reads(batch.requires.iter().map(|require| require.table.id));
            let written = batch.ops.iter().filter(|op| is_audit(&table_of(op))).count();
            self.audit_writes.fetch_add(written, SeqCst);
            self.lonely_rows.fetch_add(usize::from(written > 0 && written == batch.ops.len()), SeqCst);
        }
        self.memory.commit(batches).await
    }

    async fn heal(&self) -> Result<Touched, Error> {
        self.room()?;
        self.memory.heal().await
    }
}

/// Whether a table is one of the audit log's.
fn is_audit(table: &TableId) -> bool {
    (200..210).contains(&table.0)
}

fn table_of(op: &RawOp) -> TableId {
    match op {
        RawOp::Put { table, .. }
        | RawOp::Delete { table, .. }
        | RawOp::DeleteRange { table, .. }
        | RawOp::Add { table, .. }
        | RawOp::Append { table, .. }
        | RawOp::PutStamped { table, .. } => table.id,
        RawOp::TrimLog { .. } => store::LOG.id,
    }
}
