//! The store: typed reads, submitted batches, the log, waiting.
//!
//! Reading order: [`Store::get`] and [`Store::scan`], then [`Store::submit`], then
//! [`Store::changes`], [`Store::watch`] and [`Store::moved`].

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use base::{Metrics, Tasks};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    backend::{Backend, Change, RawRange, RowKey},
    batch::Batch,
    committer::{self, Committed, Queue, Receipt},
    condition::Condition,
    error::{CommitError, Error},
    key::{AsKey, Key, decode_key, encode_key},
    metrics::StoreMetrics,
    moves::Moved,
    position::{Position, Topic},
    reads::{Found, Reads},
    schema::{self, Migration},
    sequence::{Block, Sequence},
    table::{Order, Range, Table, Tuning},
    tell::Ear,
    value::Value,
    verify::{Report, TableCheck},
    watch::{Hub, Watch},
};

/// How far durable readers of the log have come; key: the reader's name.
pub(crate) static CURSORS: Table<String, Position> = Table::new(2, "store.cursors", Tuning::Small);

/// The first number of each sequence that is not reserved; key: the sequence's name.
pub(crate) static SEQUENCES: Table<String, u64> = Table::new(3, "store.sequences", Tuning::Small);

/// Bounds of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// At most so many batches are written with one sync.
    pub group_batches: usize,
    /// At most so many bytes are written with one sync, unless one batch alone is larger.
    pub group_bytes: usize,
    /// [`Store::ready`] waits while more batches wait than this.
    pub queue_batches: usize,
    /// [`Store::ready`] waits while batches of more bytes wait than this.
    pub queue_bytes: usize,
    /// The recent moves of at least so many topics are remembered (some 100 bytes each at most).
    pub remembered_topics: usize,
    /// The steps from schema version 1 on; the version of this program is one more than their number.
    pub migrations: &'static [Migration],
    /// Whether older data are brought up to date; else they are refused and stay as they are.
    pub may_migrate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            group_batches: 1_024,
            group_bytes: 8 << 20,
            queue_batches: 4_096,
            queue_bytes: 32 << 20,
            remembered_topics: 32_768,
            migrations: &[],
            may_migrate: true,
        }
    }
}

/// Rows, batches and the log of changes over a back end. Cloning gives another handle.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    queue: Arc<Queue>,
    hub: Arc<Hub>,
    committer: tokio::sync::watch::Receiver<bool>,
    closed: Arc<Notify>,
    sequences: Mutex<HashMap<String, Arc<Block>>>,
    /// The readers of the log that this program has.
    readers: Mutex<BTreeSet<&'static str>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        self.closed.notify_one();
    }
}

impl Store {
    /// Opens a store and starts its committer.
    ///
    /// The committer ends with [`Store::close`] or with the last handle, not with the shutdown
    /// token of `tasks`: others still have to write when they stop. So close the store before
    /// `tasks` is stopped, or give it a `Tasks` of its own that is stopped last.
    ///
    /// # Errors
    /// When the back end cannot be read, or its data are newer than this program.
    pub async fn open(
        backend: Arc<dyn Backend>,
        options: Options,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let (migrations, may_migrate) = (options.migrations, options.may_migrate);
        let hub = Hub::new(backend.head().await?, options.remembered_topics);
        let queue = Queue::new(options, StoreMetrics::new(metrics));
        let closed = Arc::new(Notify::new());
        let (done, committer) = tokio::sync::watch::channel(false);

        let parts = (queue.clone(), backend.clone(), hub.clone(), Arc::new(done));
        tasks.spawn_restarting("store committer", move || {
            let (queue, backend, hub, done) = parts.clone();
            async move {
                committer::run(queue, backend, hub).await;
                done.send_replace(true);
            }
        });
        if backend.is_shared() {
            tasks.spawn("store follower", committer::follow(backend.clone(), hub.clone(), closed.clone()));
        }
        let sequences = Mutex::default();
        let store = Self {
            inner: Arc::new(Inner {
                backend,
                queue,
                hub,
                committer,
                closed,
                sequences,
                readers: Mutex::default(),
            }),
        };
        schema::bring_up(&store, migrations, may_migrate).await?;
        Ok(store)
    }

    /// Notes that this program has a reader of the log with this name.
    pub(crate) fn note_reader(&self, name: &'static str) {
        self.inner.readers.lock().insert(name);
    }

    /// Whether this program has a reader of the log with this name.
    pub(crate) fn has_reader(&self, name: &str) -> bool {
        self.inner.readers.lock().contains(name)
    }

    /// Takes no more batches, waits for those submitted before, and lets the back end go.
    ///
    /// # Errors
    /// When the back end fails to write out its rest. What was acknowledged is safe all the same.
    pub async fn close(&self) -> Result<(), Error> {
        self.inner.queue.close();
        self.inner.closed.notify_one();
        // An error means that the committer was killed; then there is nothing to wait for.
        self.inner.committer.clone().wait_for(|done| *done).await.ok();
        self.inner.backend.close().await
    }

    /// Reads a row.
    ///
    /// # Errors
    /// When the back end fails or the row cannot be read.
    pub async fn get<K: Key, V: Value, Q: AsKey<K> + ?Sized>(
        &self,
        table: &Table<K, V>,
        key: &Q,
    ) -> Result<Option<V>, Error> {
        let keys = [RowKey { table: table.raw(), key: encode_key(key) }];
        let row = self.inner.backend.get(&keys).await?.pop().flatten();
        row.map(|bytes| decode_value(table, &bytes)).transpose()
    }

    /// Reads rows of one table, in one round trip; the answer follows the order of `keys`.
    ///
    /// # Errors
    /// When the back end fails or a row cannot be read.
    pub async fn get_many<K: Key, V: Value, Q: AsKey<K>>(
        &self,
        table: &Table<K, V>,
        keys: &[Q],
    ) -> Result<Vec<Option<V>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> =
            keys.iter().map(|key| RowKey { table: table.raw(), key: encode_key(key) }).collect();
        let rows = self.inner.backend.get(&keys).await?;
        rows.into_iter().map(|row| row.map(|bytes| decode_value(table, &bytes)).transpose()).collect()
    }

    /// Reads rows of several tables, in one round trip.
    ///
    /// # Errors
    /// When the back end fails.
    pub async fn read(&self, reads: Reads) -> Result<Found, Error> {
        if reads.keys.is_empty() {
            return Ok(Found::default());
        }
        Ok(Found { rows: self.inner.backend.get(&reads.keys).await? })
    }

    /// Reads at most `limit` rows of a range.
    ///
    /// # Errors
    /// When the back end fails or a row cannot be read.
    pub async fn scan<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        range: Range<K>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        Ok(self.scan_many(table, vec![range], order, limit).await?.pop().unwrap_or_default())
    }

    /// Reads at most `limit` rows of each range, in one round trip; one element per range.
    ///
    /// # Errors
    /// When the back end fails or a row cannot be read.
    pub async fn scan_many<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        ranges: Vec<Range<K>>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Vec<(K, V)>>, Error> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let ranges: Vec<_> = ranges
            .into_iter()
            .map(|range| RawRange { table: table.raw(), start: range.start, end: range.end })
            .collect();
        let found = self.inner.backend.scan(&ranges, order, limit).await?;
        found
            .into_iter()
            .map(|rows| {
                rows.into_iter()
                    .map(|(key, value)| Ok((decode_row_key(table, &key)?, decode_value(table, &value)?)))
                    .collect()
            })
            .collect()
    }

    /// Queues a batch now, behind all batches submitted before, and returns at once.
    ///
    /// The receipt answers when the batch is durable and visible, or refused. Dropping it does not
    /// withdraw the batch. A batch sees the effects of those before it, also in its
    /// preconditions, even before they are on disk; if they fail, so does a precondition on them.
    ///
    /// With too many batches waiting the receipt says [`CommitError::Busy`] at once; who can wait
    /// calls [`Store::ready`] first, as [`Store::commit`] does.
    pub fn submit(&self, batch: Batch) -> Receipt {
        self.inner.queue.push(batch.into_raw(), None)
    }

    /// As [`Store::submit`]; `landed` is called once the batch is durable, before anybody is woken by it or told of it,
    /// so that those who are find in memory what it brought. It is not called for a batch that is refused, and of one
    /// of which it is not known whether it was written.
    ///
    /// Where nobody else writes to the data, the calls come in the order of positions, and the head (and what
    /// [`Store::moved`] knows) is still that before the group of batches: what has not moved until then has not moved
    /// up to this batch but by those that `landed` was called for. Over shared data it lies behind the batch already.
    ///
    /// Everybody's commits wait for it: it must be quick, and may not panic.
    pub fn submit_with(&self, batch: Batch, landed: impl FnOnce(&Committed) + Send + 'static) -> Receipt {
        self.inner.queue.push(batch.into_raw(), Some(Box::new(landed)))
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.inner.backend.as_ref()
    }

    /// Whether other processes may write to the same data.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.backend.is_shared()
    }

    /// Whether it takes writes. When it does not, it heals by itself as soon as the back end can.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.inner.queue.condition()
    }

    /// Waits until the committer's queue has room.
    pub async fn ready(&self) {
        self.inner.queue.ready().await;
    }

    /// Commits a batch: submits it when there is room, and waits until it is durable and visible.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.ready().await;
        self.submit(batch).await
    }

    /// Gives a position to something ephemeral and wakes the readers waiting for the topics.
    ///
    /// Nothing is stored, but the position is never given again, not even after a crash.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn publish(&self, topics: impl IntoIterator<Item = Topic>) -> Result<Position, CommitError> {
        let mut batch = Batch::new();
        batch.touch(topics);
        Ok(self.commit(batch).await?.last())
    }

    /// Has an ear hear what is [told](Batch::tell) to ears of this kind from now on, here and by other processes over
    /// the same data. One kind has one ear: a later one takes its place.
    pub fn listen(&self, kind: u8, ear: Arc<dyn Ear>) {
        self.inner.hub.listen(kind, ear);
    }

    /// The last position: everything up to it is durable and visible.
    ///
    /// Rows are never behind it: a read that begins after this call finds everything up to here.
    /// They may be ahead of it, for a moment in one process and for as long as the news from another
    /// takes over shared data. So whoever says "as of a position" takes the head *before* he reads; and
    /// a position that came from elsewhere, in a row or from a client, is first [reached](Store::reach).
    #[must_use]
    pub fn head(&self) -> Position {
        self.inner.hub.head()
    }

    /// Brings the head, and with it the log, watches and moves, up to a position that was met in a row
    /// or given out by another process over the same data; gives the head, which is at or behind it.
    ///
    /// A head before the position after that means that the position was never given: the data were
    /// put back to an older state, or somebody made it up. Costs nothing when the head is there already.
    ///
    /// # Errors
    /// When the back end fails; then the head may still be before the position.
    pub async fn reach(&self, position: Position) -> Result<Position, Error> {
        let hub = &self.inner.hub;
        if hub.head() < position {
            let backend = self.inner.backend.as_ref();
            // What was never given is not waited for: while others write, that would have no end.
            let target = position.min(backend.head().await?);
            if backend.is_shared() {
                committer::catch_up(backend, hub, target).await?;
            } else {
                // What the back end has given becomes visible at once.
                hub.reached(target).await;
            }
        }
        Ok(hub.head())
    }

    /// Reads at most `limit` log entries after a position and up to the head, oldest first.
    ///
    /// The log never shows more than the head, so that whoever reads an entry finds its topics moved.
    ///
    /// # Errors
    /// [`Error::Trimmed`] when an entry that followed the position is gone: nothing is passed over silently.
    /// When the back end fails or an entry cannot be read.
    pub async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        let head = self.head();
        if after >= head {
            return Ok(Vec::new());
        }
        let mut changes = self.inner.backend.changes(after, limit).await?;
        changes.truncate(changes.partition_point(|change| change.position <= head));
        Ok(changes)
    }

    /// Stands ready for commits that touch one of the topics. Make it *before* reading: what is
    /// committed after this call wakes it.
    #[must_use]
    pub fn watch(&self, topics: Vec<Topic>) -> Watch {
        self.inner.hub.watch(topics, Vec::new())
    }

    /// The same for topics of two kinds: where a [crowd](Store::crowd) waits for one of the patient ones, nobody of
    /// it is woken urgently by what touches that.
    #[must_use]
    pub fn watch_patiently(&self, urgent: Vec<Topic>, patient: Vec<Topic>) -> Watch {
        self.inner.hub.watch(urgent, patient)
    }

    /// Stands ready for any commit that gets a position: for who reads all of the log. May wake in vain.
    #[must_use]
    pub fn watch_any(&self) -> Watch {
        self.inner.hub.watch(vec![Topic::ANY], Vec::new())
    }

    /// How many watches are registered for a topic, if they are more than 64; otherwise 0. Who has nothing but that to
    /// tell may let more of it gather before he wakes them all.
    #[must_use]
    pub fn crowd(&self, topic: Topic) -> usize {
        self.inner.hub.crowd(topic)
    }

    /// For how many topics watches are registered, one that several wait for counted for each.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.inner.hub.watched()
    }

    /// Whether a commit after `since` touched the topic. Exact for recent positions.
    ///
    /// Take the [`Store::head`] that the answer is to hold for before asking.
    #[must_use]
    pub fn moved(&self, topic: Topic, since: Position) -> Moved {
        self.inner.hub.moved(topic, since)
    }

    /// [`Store::moved`] of many topics, in their order.
    #[must_use]
    pub fn moved_of(&self, topics: impl Iterator<Item = Topic>, since: Position) -> Vec<Moved> {
        self.inner.hub.moved_of(topics, since)
    }

    /// The topics that commits after `since` touched, in no order, some perhaps several times; for readers of
    /// many topics. `None`: there are more than `limit`, or it is too long ago, so ask for each with
    /// [`Store::moved`].
    ///
    /// Take the [`Store::head`] that the answer is to hold for before asking.
    #[must_use]
    pub fn moved_since(&self, since: Position, limit: usize) -> Option<Vec<Topic>> {
        self.inner.hub.moved_since(since, limit)
    }

    /// A source of numbers that are never given twice, by name.
    #[must_use]
    pub fn sequence(&self, name: &str) -> Sequence {
        let mut sequences = self.inner.sequences.lock();
        let block = sequences.entry(name.to_owned()).or_insert_with(|| Block::new(name));
        Sequence::new(self.clone(), block.clone())
    }

    /// Reads all data and checks that every row can be read and no log entry is missing.
    ///
    /// Rows of tables without a check count as [`Report::unchecked`]. Costs as much as reading the
    /// whole disk space; writers go on meanwhile.
    ///
    /// # Errors
    /// When the back end cannot be read at all; what is wrong with the data is in the report.
    pub async fn verify(&self, checks: &[TableCheck]) -> Result<Report, Error> {
        let mut report = self.inner.backend.verify(Report::new(checks)).await?;
        // Afterwards: the log may be trimmed while it is read.
        report.judge_holes(self.trimmed().await?);
        Ok(report)
    }

    /// How far that durable reader has come that is furthest behind; none where there are none. Readers that the log
    /// does not wait for do not count.
    ///
    /// # Errors
    /// When the back end fails.
    pub async fn slowest_cursor(&self) -> Result<Option<Position>, Error> {
        let readers = self.log_status().await?.readers;
        Ok(readers.into_iter().filter(|reader| !reader.is_passed_over).map(|reader| reader.cursor).min())
    }

    /// How far a durable reader has come; 0 for a new one. See [`Batch::set_cursor`].
    ///
    /// # Errors
    /// When the back end fails.
    pub async fn cursor(&self, name: &str) -> Result<Position, Error> {
        Ok(self.get(&CURSORS, name).await?.unwrap_or_default())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("head", &self.head()).finish_non_exhaustive()
    }
}

fn decode_row_key<K: Key, V>(table: &Table<K, V>, bytes: &[u8]) -> Result<K, Error> {
    decode_key(bytes).map_err(|cause| Error::Corrupt { table: table.name(), cause })
}

fn decode_value<K, V: Value>(table: &Table<K, V>, bytes: &bytes::Bytes) -> Result<V, Error> {
    V::decode(bytes).map_err(|cause| Error::Corrupt { table: table.name(), cause })
}
