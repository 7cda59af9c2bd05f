//! Disks in memory that survive crashes, and the switch that makes a crash.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use store::{
    Backend, Change, CommitError, EPHEMERAL, Error, MemoryBackend, MemoryDisk, Order, Position, RawBatch,
    RawCommitted, RawRange, RawRow, RawSlot, Report, RowKey, Touched,
};
use tempfile::TempDir;
use tokio::sync::watch;

/// What a server's data lie on. Several processes may have it open if it is shared.
#[derive(Default)]
pub(crate) struct Disk {
    data: MemoryDisk,
    shared: bool,
    full: Arc<AtomicBool>,
    open: Mutex<Weak<Shared>>,
    files: OnceLock<Arc<TempDir>>,
}

impl Disk {
    pub(crate) fn shared() -> Self {
        Self { shared: true, ..Self::default() }
    }

    /// Writes registrations of application services onto it; where they are.
    pub(crate) fn keep_services(&self, registrations: &[String]) -> Vec<PathBuf> {
        let files = self.files();
        let path = |number: usize| files.path().join(format!("service-{number}.yaml"));
        let write = |(number, registration): (usize, &String)| {
            std::fs::write(path(number), registration).expect("a registration is written");
            path(number)
        };
        registrations.iter().enumerate().map(write).collect()
    }

    /// The directory of files on it.
    pub(crate) fn files(&self) -> Arc<TempDir> {
        self.files.get_or_init(|| Arc::new(tempfile::tempdir().expect("a directory"))).clone()
    }

    /// Opens it for one process.
    pub(crate) fn plug_in(&self) -> Arc<Plug> {
        let inner: Arc<dyn Backend> =
            if self.shared { self.open_shared() } else { Arc::new(self.open_alone()) };
        let full = self.full.clone();
        Arc::new(Plug { inner, on: AtomicBool::new(true), full, hears: watch::Sender::new(true) })
    }

    /// Leaves no room for writes, or gives it back.
    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, SeqCst);
    }

    fn open_alone(&self) -> MemoryBackend {
        MemoryBackend::open(&self.data)
    }

    fn open_shared(&self) -> Arc<Shared> {
        let mut open = self.open.lock();
        if let Some(shared) = open.upgrade() {
            return shared;
        }
        let (head, _) = watch::channel(Position::default());
        let shared = Arc::new(Shared {
            memory: self.open_alone(),
            one: tokio::sync::Mutex::default(),
            touched: Mutex::default(),
            head,
        });
        *open = Arc::downgrade(&shared);
        shared
    }
}

/// A process's access to its disk. Pulled, it reads and writes nothing any more: whatever the
/// process still does, the disk stays as it was at that moment.
pub(crate) struct Plug {
    inner: Arc<dyn Backend>,
    on: AtomicBool,
    full: Arc<AtomicBool>,
    /// Whether the process hears of what others have written.
    hears: watch::Sender<bool>,
}

impl Plug {
    pub(crate) fn hear(&self, hears: bool) {
        self.hears.send_replace(hears);
    }

    fn room(&self) -> Result<(), Error> {
        if self.full.load(SeqCst) { Err(Error::Full("the test's disk is full".to_owned())) } else { Ok(()) }
    }

    pub(crate) fn pull(&self) {
        self.on.store(false, SeqCst);
    }

    fn check(&self) -> Result<(), Error> {
        if self.on.load(SeqCst) { Ok(()) } else { Err(Error::Closed) }
    }
}

#[async_trait]
impl Backend for Plug {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        self.check()?;
        self.inner.get(keys).await
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        self.check()?;
        self.inner.scan(ranges, order, limit).await
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        if self.check().is_err() {
            return batches.iter().map(|_| Err(CommitError::Unknown)).collect();
        }
        if let Err(full) = self.room() {
            return batches.iter().map(|_| Err(full.clone().into())).collect();
        }
        let count = batches.len();
        let answers = self.inner.commit(batches).await;
        // The process died between the write and the answer.
        if self.check().is_err() { (0..count).map(|_| Err(CommitError::Unknown)).collect() } else { answers }
    }

    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        self.check()?;
        self.inner.changes(after, limit).await
    }

    async fn head(&self) -> Result<Position, Error> {
        self.check()?;
        self.inner.head().await
    }

    async fn heal(&self) -> Result<Touched, Error> {
        self.room()?;
        self.inner.heal().await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn touched(&self, after: Position, limit: usize) -> Result<Touched, Error> {
        self.check()?;
        self.inner.touched(after, limit).await
    }

    async fn moved_on(&self, after: Position) -> Result<(), Error> {
        self.check()?;
        self.inner.moved_on(after).await?;
        self.hears.subscribe().wait_for(|hears| *hears).await.map_err(|_| Error::Closed)?;
        Ok(())
    }

    async fn verify(&self, report: Report) -> Result<Report, Error> {
        self.check()?;
        self.inner.verify(report).await
    }
}

/// One back end for several processes: what a database server would be.
struct Shared {
    memory: MemoryBackend,
    /// Commits of all processes, one after the other.
    one: tokio::sync::Mutex<()>,
    touched: Mutex<Vec<(Position, RawSlot)>>,
    head: watch::Sender<Position>,
}

#[async_trait]
impl Backend for Shared {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        self.memory.get(keys).await
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        self.memory.scan(ranges, order, limit).await
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        let _one = self.one.lock().await;
        let answers = self.memory.commit(batches.clone()).await;
        let mut touched = self.touched.lock();
        for (batch, answer) in batches.iter().zip(&answers) {
            let Ok(committed) = answer else { continue };
            for (slot, offset) in batch.slots.iter().zip(0..) {
                touched.push((Position(committed.first.0 + offset), slot.clone()));
            }
        }
        if let Some((last, _)) = touched.last() {
            self.head.send_replace(*last);
        }
        answers
    }

    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        self.memory.changes(after, limit).await
    }

    async fn head(&self) -> Result<Position, Error> {
        let _one = self.one.lock().await;
        self.memory.head().await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn touched(&self, after: Position, limit: usize) -> Result<Touched, Error> {
        // A commit under way is in memory before it is in the list.
        let _one = self.one.lock().await;
        let touched = self.touched.lock();
        let slots: Vec<_> = touched.iter().filter(|(position, _)| *position > after).take(limit).collect();
        let is_told = |slot: &RawSlot| slot.kind == EPHEMERAL && !slot.payload.is_empty();
        let told = slots.iter().filter(|(_, slot)| is_told(slot));
        Ok(Touched {
            positions: slots.iter().map(|(at, slot)| (*at, slot.topics.clone())).collect(),
            told: told.map(|(at, slot)| (*at, slot.payload.clone())).collect(),
            ..Touched::nothing(slots.last().map_or(after, |(at, _)| *at))
        })
    }

    async fn moved_on(&self, after: Position) -> Result<(), Error> {
        let mut head = self.head.subscribe();
        head.wait_for(|head| *head > after).await.map_err(|_| Error::Closed)?;
        Ok(())
    }

    async fn verify(&self, report: Report) -> Result<Report, Error> {
        self.memory.verify(report).await
    }
}
