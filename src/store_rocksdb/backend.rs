//! The port over one RocksDB database.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use base::cache::{Held, Holder};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rocksdb::{Cache, CompactOptions, DB, Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use store::{
    Backend, Change, CommitError, Error, LOG, Order, Position, RawBatch, RawCommitted, RawRange, RawRow,
    Report, RowKey, TableId, Touched, Tuning, decode_page,
    stage::{Needs, Staged, Write},
};

use crate::{
    columns::{self, FACTS, column, log_key, log_position, stored_key, table_end},
    rest::Memory,
    settings::{Durability, Settings},
    slot::{Slot, let_go},
    space::{Space, write_error},
    stall::Stall,
};

/// The version of the layout described in `columns`.
const LAYOUT: u64 = 1;
const LAYOUT_FACT: &[u8] = b"layout";

/// Positions up to this one may have been given to something ephemeral.
const RESERVED_FACT: &[u8] = b"reserved";

/// The number of the last group, so that one of unknown outcome is found or known to be missing.
const GROUP_FACT: &[u8] = b"group";

/// How many ephemeral positions are reserved with one write.
const EPHEMERAL_BLOCK: u64 = 4_096;

/// Reads of more rows than this leave the async threads.
const INLINE_ROWS: usize = 256;

/// Most parts in which one long read is done; on smaller machines as many as there are cores.
const MOST_READERS: usize = 4;

/// A RocksDB database in a directory.
///
/// When a write fails, the database goes on reading and takes no more writes: what is on disk is
/// then known only after opening again. [`Backend::heal`] does that behind the port, as soon as the
/// disk takes a write.
pub struct RocksBackend(Arc<Inner>);

struct Inner {
    settings: Settings,
    slot: Slot,
    writer: Mutex<Writer>,
    head: RwLock<Position>,
    memory: Memory,
    /// Parts of a long read that go on side by side.
    readers: usize,
}

/// What the writer knows between two groups.
struct Writer {
    options: WriteOptions,
    space: Space,
    last_entry: Position,
    reserved: Position,
    /// The number of the last group.
    group: u64,
    /// Set when too little was free: then it takes a little more to go on.
    short: bool,
    /// The group whose write failed; nothing more is written until it is known what became of it.
    doubtful: Option<Doubtful>,
}

/// A group of which it is not known whether it is on disk.
struct Doubtful {
    group: u64,
    batches: Arc<Vec<RawBatch>>,
    results: Vec<Result<RawCommitted, CommitError>>,
    head: Position,
}

impl RocksBackend {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it open, [`Error::NewerSchema`] when a newer
    /// program laid it out, [`Error::Full`] when there is no room, else what RocksDB says.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        std::fs::create_dir_all(&settings.path)
            .map_err(|error| Error::backend("make the directory", error))?;
        let memory = Memory::new(columns::memory_bytes(settings));
        let db = open_database(settings, memory.cache())?;

        let mut options = WriteOptions::default();
        options.set_sync(settings.durability == Durability::Fsync);
        options.set_no_slowdown(true);
        check_layout(&db, &options)?;
        let mut writer = Writer {
            options,
            space: Space::new(&settings.path, settings.reserve),
            last_entry: Position::START,
            reserved: Position::START,
            group: 0,
            short: false,
            doubtful: None,
        };
        writer.read_facts(&db)?;
        let head = writer.last_entry.max(writer.reserved);
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            slot: Slot::new(db),
            writer: Mutex::new(writer),
            head: RwLock::new(head),
            memory,
            readers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_READERS),
        })))
    }

    pub(crate) fn db(&self) -> Result<Arc<DB>, Error> {
        self.0.slot.get_now()
    }

    /// Gives none of the next positions to anything.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn pass_over(&self, count: u64) -> Result<(), Error> {
        let db = self.db()?;
        let mut writer = self.0.writer.lock();
        let mut head = self.0.head.write();
        let next = head.plus(count);
        writer.write(&db, WriteBatch::default, Some(next)).map_err(|error| write_error("write", &error))?;
        *head = next;
        Ok(())
    }

    /// Bytes of memory that cached blocks and write buffers take now.
    ///
    /// # Errors
    /// When the database is closed or does not say.
    pub fn memory_used(&self) -> Result<u64, Error> {
        let used = self.db()?.property_int_value(rocksdb::properties::BLOCK_CACHE_USAGE);
        Ok(used.map_err(|error| Error::backend("measure", error))?.unwrap_or(0))
    }

    /// What the database holds in memory, for the list of all caches.
    pub fn memory(&self) -> Weak<dyn Holder> {
        Arc::downgrade(&self.0) as _
    }
}

impl Holder for Inner {
    fn held(&self) -> Held {
        Held { bytes: self.memory.bytes(), entries: 0, most: self.memory.most() }
    }

    fn age(&self) -> u64 {
        self.memory.age()
    }
}

#[async_trait]
impl Backend for RocksBackend {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
        self.0.memory.used();
        let db = self.0.slot.get().await?;
        if keys.len() <= INLINE_ROWS {
            return get_rows(&db, keys);
        }
        // Many are read side by side, as far as there are cores: whoever waits for them waits for the slowest part.
        let each = keys.len().div_ceil(self.0.readers).max(INLINE_ROWS);
        let parts = keys.chunks(each).map(|keys| {
            let (db, keys) = (db.clone(), keys.to_vec());
            blocking(move || get_rows(&db, &keys))
        });
        Ok(futures_util::future::try_join_all(parts).await?.into_iter().flatten().collect())
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        self.0.memory.used();
        let db = self.0.slot.get().await?;
        if ranges.len().saturating_mul(limit) <= INLINE_ROWS {
            return ranges.iter().map(|range| scan_rows(&db, range, order, limit)).collect();
        }
        let ranges = ranges.to_vec();
        blocking(move || ranges.iter().map(|range| scan_rows(&db, range, order, limit)).collect()).await
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        self.0.memory.used();
        let count = batches.len();
        let db = match self.0.slot.get().await {
            Ok(db) => db,
            Err(error) => return vec![Err(error.into()); count],
        };
        let inner = self.0.clone();
        if writes_nothing(&batches) {
            let mut writer = inner.writer.lock();
            if inner.head.read().plus(count as u64) <= writer.reserved {
                return writer.commit(&db, &inner.head, &batches);
            }
        }
        let work = move || Ok(inner.writer.lock().commit(&db, &inner.head, &batches));
        blocking(work).await.unwrap_or_else(|_| vec![Err(CommitError::Unknown); count])
    }

    async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        let db = self.0.slot.get().await?;
        let read = move || -> Result<Vec<Change>, Error> {
            let start = Bytes::copy_from_slice(&after.plus(1).0.to_be_bytes());
            let range = RawRange { table: LOG, start, end: None };
            let rows = scan_rows(&db, &range, Order::Ascending, limit)?;
            let position = |key: &Bytes| Position(key.as_ref().try_into().map_or(0, u64::from_be_bytes));
            decode_page(after, rows.iter().map(|(key, value)| (position(key), value)))
        };
        if limit <= INLINE_ROWS { read() } else { blocking(read).await }
    }

    async fn head(&self) -> Result<Position, Error> {
        // A group that is being written may be read before its positions are noted.
        let inner = self.0.clone();
        blocking(move || {
            let _no_group = inner.writer.lock();
            Ok(*inner.head.read())
        })
        .await
    }

    async fn heal(&self) -> Result<Touched, Error> {
        let inner = self.0.clone();
        blocking(move || inner.heal()).await
    }

    async fn give_back(&self, range: &RawRange) -> Result<(), Error> {
        let db = self.0.slot.get().await?;
        let table = range.table;
        let start = stored_key(table, &range.start);
        let end = range.end.as_ref().map_or_else(|| table_end(table), |end| stored_key(table, end));
        blocking(move || {
            let mut options = CompactOptions::default();
            // What is flushed or compacted by itself meanwhile must not wait for this.
            options.set_exclusive_manual_compaction(false);
            db.compact_range_cf_opt(column(&db, table.tuning), Some(start), Some(end), &options);
            Ok(())
        })
        .await
    }

    async fn verify(&self, report: Report) -> Result<Report, Error> {
        let db = self.0.slot.get().await?;
        blocking(move || verify(&db, report)).await
    }

    async fn close(&self) -> Result<(), Error> {
        let Some(db) = self.0.slot.close() else { return Ok(()) };
        let inner = self.0.clone();
        blocking(move || {
            let finished = inner.finish(&db);
            // A compaction that gives space back would hold the database for longer than that may take.
            db.cancel_all_background_work(false);
            // A read whose task was ended goes on; should the process exit meanwhile, what it uses is torn down
            // under it.
            drop(let_go(db));
            finished
        })
        .await
    }
}

impl Inner {
    /// Writes what a new start need not read again.
    fn finish(&self, db: &DB) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let head = *self.head.read();
        if writer.doubtful.is_none() && writer.reserved > head {
            // The rest of the block was not given to anybody.
            writer
                .write(db, WriteBatch::default, Some(head))
                .map_err(|error| write_error("write", &error))?;
        }
        for tuning in Tuning::ALL {
            db.flush_cf(column(db, tuning)).map_err(|error| write_error("flush", &error))?;
        }
        db.flush().map_err(|error| write_error("flush", &error))
    }

    /// Sees whether there is room, and after a failed write opens the database again.
    fn heal(&self) -> Result<Touched, Error> {
        let nothing = Touched::nothing(Position::START);
        let mut writer = self.writer.lock();
        let careful = writer.short || writer.doubtful.is_some();
        let room = if careful { writer.space.check_again() } else { writer.space.check() };
        writer.short = room.is_err();
        room?;
        if writer.doubtful.is_none() {
            return Ok(nothing);
        }
        writer.space.probe()?;
        let cache = self.memory.cache();
        let fresh = self
            .slot
            .renew(|| open_database(&self.settings, cache), || open_for_reading(&self.settings, cache))?;
        let touched = writer.resume(fresh.db(), &self.head)?;
        fresh.show();
        Ok(touched.unwrap_or(nothing))
    }
}

impl Writer {
    /// Takes up what the database knows of the writer's past.
    fn read_facts(&mut self, db: &DB) -> Result<(), Error> {
        self.reserved = Position(fact(db, RESERVED_FACT)?.unwrap_or(0));
        self.group = fact(db, GROUP_FACT)?.unwrap_or(0);
        self.last_entry = last_entry(db)?;
        Ok(())
    }

    fn commit(
        &mut self,
        db: &DB,
        head: &RwLock<Position>,
        batches: &Arc<Vec<RawBatch>>,
    ) -> Vec<Result<RawCommitted, CommitError>> {
        let refuse = |error: Error| vec![Err(CommitError::Store(error)); batches.len()];
        if self.doubtful.is_some() {
            return refuse(Error::unavailable(
                "write",
                "a write failed before, and the database has not healed",
            ));
        }
        let needs = Needs::of(batches);
        let found = match get_rows(db, needs.keys()) {
            Ok(found) => found,
            Err(error) => return refuse(error),
        };
        let before = *head.read();
        let staged = needs.stage(found, before, self.last_entry);
        // A new block is reserved with the first ephemeral position that no block covers.
        let uncovered = staged.head > staged.last_entry.max(self.reserved);
        let reserve = uncovered.then(|| staged.head.plus(EPHEMERAL_BLOCK));
        if !staged.writes.is_empty() || !staged.entries.is_empty() || reserve.is_some() {
            if let Err(error) = self.space.check() {
                return refuse(error);
            }
            if let Err(error) = self.write(db, || write_batch(db, &staged), reserve) {
                tracing::warn!(error = %error, "a write failed; the database must be opened again");
                let Staged { results, head, .. } = staged;
                self.doubtful = Some(Doubtful { group: self.group, batches: batches.clone(), results, head });
                return vec![Err(CommitError::Unknown); batches.len()];
            }
        }
        self.last_entry = staged.last_entry;
        *head.write() = staged.head;
        staged.results
    }

    fn write(
        &mut self,
        db: &DB,
        contents: impl Fn() -> WriteBatch,
        reserve: Option<Position>,
    ) -> Result<(), rocksdb::Error> {
        self.group += 1;
        let mut stall = Stall::default();
        loop {
            let mut batch = contents();
            batch.put_cf(facts(db), GROUP_FACT, self.group.to_be_bytes());
            if let Some(reserve) = reserve {
                batch.put_cf(facts(db), RESERVED_FACT, reserve.0.to_be_bytes());
            }
            let bytes = batch.size_in_bytes();
            match db.write_opt(batch, &self.options) {
                Ok(()) => break,
                Err(refused) if stall.wait(db, bytes, &refused) => {}
                Err(error) => return Err(error),
            }
        }
        self.reserved = reserve.unwrap_or(self.reserved);
        Ok(())
    }

    /// Goes on with a database that was opened again; says what the doubtful group touched if it was
    /// written after all.
    fn resume(&mut self, db: &DB, head: &RwLock<Position>) -> Result<Option<Touched>, Error> {
        self.read_facts(db)?;
        let Some(doubtful) = self.doubtful.take() else { return Ok(None) };
        if self.group != doubtful.group {
            return Ok(None);
        }
        *head.write() = doubtful.head;
        let committed = doubtful.batches.iter().zip(&doubtful.results);
        let committed = committed.filter_map(|(batch, result)| Some((batch, result.as_ref().ok()?)));
        let positions = committed.flat_map(|(batch, done)| {
            let given = (done.first.0..).map(Position);
            given.zip(&batch.slots).map(|(position, slot)| (position, slot.topics.clone()))
        });
        // What it told has no end that would be missed.
        Ok(Some(Touched { positions: positions.collect(), ..Touched::nothing(doubtful.head) }))
    }
}

fn open_database(settings: &Settings, cache: &Cache) -> Result<DB, Error> {
    let options = columns::database_options(settings, cache);
    let descriptors = columns::descriptors(settings, cache);
    DB::open_cf_descriptors(&options, &settings.path, descriptors)
        .map_err(|error| open_error(&settings.path, &error))
}

/// Opens the database without writing anything, as far as that is possible.
fn open_for_reading(settings: &Settings, cache: &Cache) -> Result<DB, Error> {
    let options = columns::database_options(settings, cache);
    let descriptors = columns::descriptors(settings, cache);
    DB::open_cf_descriptors_read_only(&options, &settings.path, descriptors, false)
        .map_err(|error| open_error(&settings.path, &error))
}

fn write_batch(db: &DB, staged: &Staged<'_>) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for write in &staged.writes {
        match write {
            Write::Put { table, key, value } => {
                batch.put_cf(column(db, table.tuning), stored_key(*table, key), value);
            }
            Write::Delete { table, key } => {
                batch.delete_cf(column(db, table.tuning), stored_key(*table, key))
            }
            Write::DeleteRange { table, start, end } => {
                let end = end.map_or_else(|| table_end(*table), |end| stored_key(*table, end));
                batch.delete_range_cf(column(db, table.tuning), stored_key(*table, start), end);
            }
            Write::TrimLog { after, through } => {
                let (start, end) = (log_key(after.plus(1)), log_key(through.plus(1)));
                batch.delete_range_cf(column(db, LOG.tuning), start, end);
            }
        }
    }
    for entry in &staged.entries {
        batch.put_cf(column(db, LOG.tuning), log_key(entry.position), &entry.bytes);
    }
    batch
}

fn writes_nothing(batches: &[RawBatch]) -> bool {
    batches.iter().all(|batch| {
        batch.ops.is_empty()
            && batch.requires.is_empty()
            && batch.slots.len() <= 1
            && batch.slots.iter().all(|slot| slot.kind == store::EPHEMERAL)
    })
}

fn get_rows(db: &DB, keys: &[RowKey]) -> Result<Vec<Option<Bytes>>, Error> {
    let failed = |error| Error::backend("read rows", error);
    if let [row] = keys {
        let found = db.get_pinned_cf(column(db, row.table.tuning), stored_key(row.table, &row.key));
        return Ok(vec![found.map_err(failed)?.map(|value| Bytes::copy_from_slice(&value))]);
    }
    let mut rows = vec![None; keys.len()];
    for tuning in Tuning::ALL {
        let wanted = keys.iter().enumerate().filter(|(_, row)| row.table.tuning == tuning);
        let (places, stored): (Vec<_>, Vec<_>) =
            wanted.map(|(at, row)| (at, stored_key(row.table, &row.key))).unzip();
        if stored.is_empty() {
            continue;
        }
        let found = db.batched_multi_get_cf(column(db, tuning), &stored, false);
        for (at, value) in places.into_iter().zip(found) {
            rows[at] = value.map_err(failed)?.map(|value| Bytes::copy_from_slice(&value));
        }
    }
    Ok(rows)
}

fn scan_rows(db: &DB, range: &RawRange, order: Order, limit: usize) -> Result<Vec<RawRow>, Error> {
    let table = range.table;
    let start = stored_key(table, &range.start);
    let end = range.end.as_ref().map_or_else(|| table_end(table), |end| stored_key(table, end));
    if limit == 0 || start >= end {
        return Ok(Vec::new());
    }
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(start);
    options.set_iterate_upper_bound(end);
    let mut rows = db.raw_iterator_cf_opt(column(db, table.tuning), options);
    match order {
        Order::Ascending => rows.seek_to_first(),
        Order::Descending => rows.seek_to_last(),
    }
    let mut out = Vec::with_capacity(limit.min(64));
    while let Some((key, value)) = rows.item() {
        out.push((Bytes::copy_from_slice(key.get(2..).unwrap_or_default()), Bytes::copy_from_slice(value)));
        if out.len() == limit {
            break;
        }
        match order {
            Order::Ascending => rows.next(),
            Order::Descending => rows.prev(),
        }
    }
    rows.status().map_err(|error| Error::backend("scan rows", error))?;
    Ok(out)
}

/// Reads every block of every column, with its checksum, without filling the cache.
fn verify(db: &DB, mut report: Report) -> Result<Report, Error> {
    for tuning in Tuning::ALL {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_verify_checksums(true);
        options.set_readahead_size(2 << 20);
        let mode = IteratorMode::From(&[], Direction::Forward);
        for row in db.iterator_cf_opt(column(db, tuning), options, mode) {
            let (key, value) = match row {
                Ok(row) => row,
                Err(error) => {
                    report.problem(format!("{}: {error}", columns::name(tuning)));
                    break;
                }
            };
            match key.split_first_chunk::<2>() {
                None => report.problem(format!("{}: the key {key:02x?} is too short", columns::name(tuning))),
                Some((id, key)) => {
                    check_row(&mut report, tuning, TableId(u16::from_be_bytes(*id)), key, &value)
                }
            }
        }
    }
    Ok(report)
}

fn check_row(report: &mut Report, tuning: Tuning, table: TableId, key: &[u8], value: &[u8]) {
    if (table, tuning) != (LOG.id, LOG.tuning) {
        return report.row(table, key, value);
    }
    match key.try_into() {
        Ok(position) => report.entry(Position(u64::from_be_bytes(position)), value),
        Err(_) => report.problem(format!("log: the key {key:02x?} is no position")),
    }
}

fn check_layout(db: &DB, options: &WriteOptions) -> Result<(), Error> {
    match fact(db, LAYOUT_FACT)? {
        None => db
            .put_cf_opt(facts(db), LAYOUT_FACT, LAYOUT.to_be_bytes(), options)
            .map_err(|error| write_error("write", &error)),
        Some(LAYOUT) => Ok(()),
        Some(found) => {
            let short = |version| u32::try_from(version).unwrap_or(u32::MAX);
            Err(Error::NewerSchema { found: short(found), known: short(LAYOUT) })
        }
    }
}

fn facts(db: &DB) -> &rocksdb::ColumnFamily {
    db.cf_handle(FACTS).expect("every column is opened with the database")
}

fn fact(db: &DB, name: &[u8]) -> Result<Option<u64>, Error> {
    let found = db.get_pinned_cf(facts(db), name).map_err(|error| Error::backend("read rows", error))?;
    found
        .map(|bytes| {
            let cause = store::CodecError::Invalid("not eight bytes");
            let bytes = bytes.as_ref().try_into().map_err(|_| Error::Corrupt { table: "facts", cause })?;
            Ok(u64::from_be_bytes(bytes))
        })
        .transpose()
}

fn last_entry(db: &DB) -> Result<Position, Error> {
    let range = RawRange { table: LOG, start: Bytes::new(), end: None };
    let last = scan_rows(db, &range, Order::Descending, 1)?.pop();
    Ok(last.and_then(|(key, _)| log_position(&stored_key(LOG, &key))).unwrap_or_default())
}

fn open_error(path: &Path, error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    if text.contains("LOCK") && (text.contains("lock hold") || text.contains("temporarily unavailable")) {
        return Error::InUse { place: path.display().to_string() };
    }
    write_error("open the database", error)
}

/// Runs what may wait for the disk on a thread that may wait.
async fn blocking<T, W>(work: W) -> Result<T, Error>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => Err(Error::backend("finish a blocking call", stopped)),
    }
}

#[cfg(test)]
mod tests {
    use store::RawTable;

    use super::*;

    #[test]
    fn a_table_ends_where_the_next_begins() {
        let table = |id| RawTable { id: TableId(id), tuning: Tuning::Point };
        assert!(stored_key(table(7), &[0xff; 40]) < table_end(table(7)));
        assert_eq!(table_end(table(7)), stored_key(table(8), &[]));
        assert!(stored_key(table(u16::MAX), b"key") < table_end(table(u16::MAX)));
    }
}
