//! Trimming: the log grows old, and what everybody has read and nobody will ask for goes.
//!
//! The log is for [consumers](crate::Consumer) and for the stores of other processes, which follow it. Everything else
//! is answered from rows. So an entry goes once it is older than [`Keep::log`] and every consumer with a cursor has read
//! it. A consumer that has not for [`Keep::at_most`] is passed over: it may be one that no program has any more. Should it
//! come back, it is told what it missed (`Term::missed`), and begins behind that. If this program has no reader of that name,
//! and in no other process anybody shows that he holds it, it is forgotten ([`Trimmer::forget`]).
//!
//! Age is the time that servers over the data have run, counted in the store ([`TICK`]): a server that stood still for a
//! month finds its log as it left it, and no calendar that was set wrongly takes anything away. Every so many ticks the
//! head is noted ([`MARKS`]); a mark says how old what is before it is at least.
//!
//! One process at a time trims, in slices, each with the low-water mark in the same batch: whatever is interrupted goes on
//! from there. The last entry of all always stays (`crate::stage`).
//!
//! Reading order: [`Trimmer::start`], [`Trimmer::plan`], [`Trimmer::slice`]; then [`LogStatus`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base::{Clock, Counter, Gauge, Metrics, Tasks};
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{
    batch::Batch,
    consumer::{BEATS, Consumer, LEASES, MISSED, Term},
    error::{CommitError, Error},
    log::LOG,
    position::Position,
    reads::Reads,
    schema::META,
    store::{CURSORS, Store},
    table::{Order, Range, Table, Tuning},
};

/// Where the head of the log was at a tick; key: the tick.
pub(crate) static MARKS: Table<u64, Position> = Table::new(7, "store.marks", Tuning::Small);

/// The fact up to where the log is trimmed.
pub(crate) const TRIMMED: &str = "log.trimmed";

/// The fact how many ticks the log has lived.
const AGE: &str = "log.age";

/// The fact how often a consumer got a cursor out of turn: with a new one no slice is cut that was planned before.
pub(crate) const READERS: &str = "log.readers";

/// In these the age of the log is counted; what a process has lived since its last one is lost when it ends.
const TICK: Duration = Duration::from_secs(10 * 60);

/// So many ticks are between two marks.
const TICKS_PER_MARK: u64 = 6;

/// Entries that go with one commit.
const SLICE: usize = 2_000;

/// A slice does not go over more positions than this, if it has an entry: there may be rows of ephemeral ones.
const SLICE_POSITIONS: u64 = 20_000;

/// After a slice it rests for so many times as long as that took.
const REST: u32 = 3;

/// After so many entries the space that they took is given back.
const GIVE_BACK_AFTER: u64 = 200_000;

/// Marks that are forgotten with one tick.
const OLD_MARKS: usize = 100;

/// How long the log is kept, in time that servers over it run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// No entry goes before it is so old, though all have read it.
    pub log: Duration,
    /// An entry so old goes though a consumer has not read it. Not less than `log`.
    pub at_most: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { log: 7 * DAY, at_most: 30 * DAY }
    }
}

/// Cuts the log of a store behind those who read it.
#[derive(Clone)]
pub(crate) struct Trimmer {
    store: Store,
    keep: Keep,
    clock: Clock,
    counts: Arc<Counts>,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen of readers before.
#[derive(Default)]
struct Seen {
    /// Those for which the log does not wait any more, as far as that was told.
    told: BTreeSet<String>,
    /// Those that nobody here has, when they were looked at the last time: how far they had come, and what their holder
    /// had counted up to.
    strange: BTreeMap<String, (Position, Option<u64>)>,
}

struct Counts {
    trimmed: Counter,
    kept: Gauge,
    passed_over: Gauge,
}

/// How the log is, and who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// Everything up to here is gone.
    pub trimmed: Position,
    /// Those who read it with a durable cursor.
    pub readers: Vec<ReaderStatus>,
}

/// How far a consumer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderStatus {
    /// Its name.
    pub name: String,
    /// Up to where it has read.
    pub cursor: Position,
    /// Whether the log was trimmed beyond that: it will be told, should it come back.
    pub is_passed_over: bool,
}

/// What a look has shown, and what follows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Up to here the log is trimmed already.
    trimmed: Position,
    /// What [`READERS`] said before the cursors were read.
    readers: Option<u64>,
    /// Up to here it may be.
    pub(crate) target: Position,
}

impl Store {
    /// Trims the log for as long as the tasks run, while no other process does. `keep` is as the operator wants it.
    pub fn start_trimming(&self, keep: Keep, clock: &Clock, tasks: &Tasks, metrics: &Metrics) {
        Trimmer::start(self, keep, clock, tasks, metrics);
    }

    /// How the log is, and how far each consumer has come. One read for each of two small tables.
    ///
    /// # Errors
    /// When the back end fails.
    pub async fn log_status(&self) -> Result<LogStatus, Error> {
        // Afterwards: a cursor that is read later is not further behind.
        let trimmed = self.trimmed().await?;
        let cursors = self.scan(&CURSORS, Range::all(), Order::Ascending, usize::MAX).await?;
        let readers = cursors.into_iter().map(|(name, cursor)| ReaderStatus {
            name,
            cursor,
            is_passed_over: cursor < trimmed,
        });
        Ok(LogStatus { trimmed, readers: readers.collect() })
    }

    /// Up to where the log is trimmed; 0 when nothing is gone.
    pub(crate) async fn trimmed(&self) -> Result<Position, Error> {
        Ok(Position(self.get(&META, TRIMMED).await?.unwrap_or(0)))
    }

    /// Removes the log up to a position, whoever may have to read it: for tests of those who do. The last entry stays.
    ///
    /// # Errors
    /// See [`CommitError`].
    #[cfg(any(test, feature = "conformance"))]
    pub async fn trim_log_now(&self, through: Position) -> Result<(), CommitError> {
        let trimmed = self.trimmed().await?;
        let entries = self.changes(trimmed, usize::MAX).await?;
        let last = entries.last().map_or(Position::START, |entry| entry.position);
        let goes = entries.iter().rev().map(|entry| entry.position).find(|at| *at <= through && *at < last);
        if let Some(through) = goes {
            self.commit(trim(trimmed, through)).await?;
        }
        Ok(())
    }
}

/// A batch that trims, if the log is as it was.
fn trim(after: Position, through: Position) -> Batch {
    let mut batch = Batch::new();
    match after {
        Position::START => batch.insert(&META, TRIMMED, &through.0),
        Position(old) => batch.replace(&META, TRIMMED, &old, &through.0),
    };
    batch.trim_log(after, through);
    batch
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| metrics.gauge(name, help);
        Self {
            trimmed: metrics
                .counter("yakuba_store_log_trimmed_entries", "Entries of the log that were removed"),
            kept: gauge(
                "yakuba_store_log_kept_positions",
                "Positions of the log between where it is trimmed and its head, where this process trims it",
            ),
            passed_over: gauge(
                "yakuba_store_consumers_passed_over",
                "Consumers that the log does not wait for any more, where this process trims it",
            ),
        }
    }
}

impl Trimmer {
    fn new(store: &Store, keep: Keep, clock: &Clock, metrics: &Metrics) -> Self {
        let counts = Arc::new(Counts::new(metrics));
        Self { store: store.clone(), keep, clock: clock.clone(), counts, seen: Arc::default() }
    }

    fn start(store: &Store, keep: Keep, clock: &Clock, tasks: &Tasks, metrics: &Metrics) {
        let trimmer = Self::new(store, keep, clock, metrics);
        let consumer = Consumer::without_log(store, "log trimming", clock, metrics);
        let stop = tasks.shutdown_token();
        tasks.spawn_restarting("log trimming", move || {
            let (trimmer, consumer, stop) = (trimmer.clone(), consumer.clone(), stop.clone());
            async move { consumer.run(stop, |term| trimmer.clone().work(term)).await }
        });
    }

    /// Trims for a term.
    async fn work(self, term: Term) -> Result<(), CommitError> {
        let stop = term.ended().clone();
        let mut ungiven = 0;
        let mut done = self.sweep(&term, &mut ungiven).await;
        while stop.run_until_cancelled(self.clock.sleep(TICK)).await.is_some() {
            // What stands in the way now may not later; it is in no hurry.
            if let Err(error) = &done
                && !error.stops_writes()
            {
                warn!(error = ?error, "the log could not be trimmed");
            }
            done = match self.tick(&term).await {
                Ok(()) => match self.forget(&term).await {
                    Ok(()) => self.sweep(&term, &mut ungiven).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
        }
        done
    }

    /// Lets the log grow older by a tick.
    pub(crate) async fn tick(&self, term: &Term) -> Result<(), CommitError> {
        let age = self.store.get(&META, AGE).await?;
        let now = age.unwrap_or(0).saturating_add(1);
        let mut batch = Batch::new();
        match age {
            None => batch.insert(&META, AGE, &now),
            Some(old) => batch.replace(&META, AGE, &old, &now),
        };
        if now.is_multiple_of(TICKS_PER_MARK) {
            batch.put(&MARKS, &now, &self.store.head());
        }
        // Of those that are too old, the newest tells what is.
        if let Some((oldest_used, _)) = self.mark(now, self.keep.at_most).await? {
            let old = Range::all().before(&oldest_used);
            for (tick, _) in self.store.scan(&MARKS, old, Order::Ascending, OLD_MARKS).await? {
                batch.delete(&MARKS, &tick);
            }
        }
        term.commit(batch).await.map(drop)
    }

    /// Forgets readers that were passed over, that this program does not have, and that showed no sign of anybody else
    /// between this look and the one before. What only a newer program has, and an older one trims for so long, begins anew
    /// when that one is back, as a new reader does.
    pub(crate) async fn forget(&self, term: &Term) -> Result<(), CommitError> {
        let status = self.log_of_strangers().await?;
        let before = std::mem::take(&mut self.seen.lock().strange);
        let mut strange = BTreeMap::new();
        for (name, cursor, beat) in status {
            let is = (cursor, beat);
            if before.get(&name) != Some(&is) {
                strange.insert(name, is);
                continue;
            }
            let mut batch = Batch::new();
            batch.require(&CURSORS, name.as_str(), Some(&cursor));
            batch.require(&BEATS, name.as_str(), beat.as_ref());
            batch.delete(&CURSORS, name.as_str());
            batch.delete(&MISSED, name.as_str());
            batch.delete(&BEATS, name.as_str());
            batch.delete(&LEASES, name.as_str());
            match term.commit(batch).await {
                Ok(_) => {
                    info!(reader = name, position = %cursor, "a reader that nobody has any more is forgotten")
                }
                // Somebody has it after all.
                Err(CommitError::Conflict { .. }) if !term.is_lost() => {}
                Err(error) => return Err(error),
            }
        }
        self.seen.lock().strange = strange;
        Ok(())
    }

    /// The readers that were passed over and that this program does not have: how far they have come, and what their
    /// holder counted up to.
    async fn log_of_strangers(&self) -> Result<Vec<(String, Position, Option<u64>)>, Error> {
        let readers = self.store.log_status().await?.readers;
        let strange =
            readers.into_iter().filter(|one| one.is_passed_over && !self.store.has_reader(&one.name));
        let strange: Vec<_> = strange.collect();
        let names: Vec<&str> = strange.iter().map(|reader| reader.name.as_str()).collect();
        let beats = self.store.get_many(&BEATS, &names).await?;
        Ok(strange.iter().zip(beats).map(|(one, beat)| (one.name.clone(), one.cursor, beat)).collect())
    }

    /// Tells once of a reader for which the log does not wait any more, until it is waited for again.
    fn tell_passed_over(&self, passed_over: BTreeMap<String, Position>) {
        let mut seen = self.seen.lock();
        for (name, cursor) in &passed_over {
            if !seen.told.contains(name) {
                warn!(reader = name, position = %cursor, "the log does not wait for this reader any more");
            }
        }
        seen.told = passed_over.into_keys().collect();
    }

    /// The newest mark of an age, if there is one.
    async fn mark(&self, now: u64, age: Duration) -> Result<Option<(u64, Position)>, Error> {
        let ticks = age.as_secs() / TICK.as_secs();
        let Some(tick) = now.checked_sub(ticks) else { return Ok(None) };
        let old = Range::all().through(&tick);
        Ok(self.store.scan(&MARKS, old, Order::Descending, 1).await?.pop())
    }

    /// Removes what may go, slice after slice.
    pub(crate) async fn sweep(&self, term: &Term, ungiven: &mut u64) -> Result<(), CommitError> {
        let mut all = 0;
        while !term.ended().is_cancelled() {
            let began = self.clock.instant();
            let plan = self.plan().await?;
            let count = self.slice(term, &plan).await?;
            if count == 0 {
                break;
            }
            all += count;
            self.counts.trimmed.inc_by(count);
            term.ended().run_until_cancelled(self.clock.rest_since(began, REST)).await;
        }
        if all > 0 {
            info!(count = all, "the log is trimmed");
        }
        *ungiven += all;
        if *ungiven >= GIVE_BACK_AFTER && !term.ended().is_cancelled() {
            // Failing costs space, which comes back with time.
            match self.store.give_log_back().await {
                Ok(()) => *ungiven = 0,
                Err(error) => warn!(error = ?error, "the space of the trimmed log could not be given back"),
            }
        }
        Ok(())
    }

    /// Looks how far the log may be trimmed.
    pub(crate) async fn plan(&self) -> Result<Plan, Error> {
        let mut reads = Reads::new();
        let (age, trimmed, readers) =
            (reads.get(&META, AGE), reads.get(&META, TRIMMED), reads.get(&META, READERS));
        // Before the cursors: one that comes out of turn after this is noticed.
        let mut found = self.store.read(reads).await?;
        let (age, trimmed) = (found.take(age)?.unwrap_or(0), Position(found.take(trimmed)?.unwrap_or(0)));
        let readers = found.take(readers)?;
        let cursors = self.store.scan(&CURSORS, Range::all(), Order::Ascending, usize::MAX).await?;
        let cursors: BTreeMap<String, Position> = cursors.into_iter().collect();
        let passed = cursors.values().filter(|cursor| **cursor < trimmed).count();
        self.counts.passed_over.set(i64::try_from(passed).unwrap_or(i64::MAX));
        let kept = self.store.head().0.saturating_sub(trimmed.0);
        self.counts.kept.set(i64::try_from(kept).unwrap_or(i64::MAX));
        let nothing = Plan { trimmed, readers, target: trimmed };
        let Some((_, mut target)) = self.mark(age, self.keep.log).await? else { return Ok(nothing) };
        let too_old = self.mark(age, self.keep.at_most).await?.map_or(Position::START, |(_, mark)| mark);
        let mut passed_over = BTreeMap::new();
        for (name, cursor) in cursors {
            // Who was passed over before holds nothing.
            if cursor < trimmed {
                passed_over.insert(name, cursor);
                continue;
            }
            if cursor >= target {
                continue;
            }
            if cursor < too_old && self.lacks(cursor, too_old).await? {
                passed_over.insert(name, cursor);
                continue;
            }
            // Who has read all that is so old is as far as that.
            target = target.min(cursor.max(too_old));
        }
        self.tell_passed_over(passed_over);
        Ok(Plan { target: target.max(trimmed), ..nothing })
    }

    /// Whether there are entries between two positions.
    async fn lacks(&self, after: Position, through: Position) -> Result<bool, Error> {
        let next = self.store.changes(after, 1).await?;
        Ok(next.first().is_some_and(|entry| entry.position <= through))
    }

    /// Removes the oldest entries of what may go; says how many. It counts for nothing what others change meanwhile: in
    /// another term, or with another reader, nothing is removed.
    pub(crate) async fn slice(&self, term: &Term, plan: &Plan) -> Result<u64, CommitError> {
        if plan.target <= plan.trimmed {
            return Ok(0);
        }
        // One more: the last entry of all stays.
        let entries = self.store.changes(plan.trimmed, SLICE + 1).await?;
        let Some(first) = entries.first() else { return Ok(0) };
        let end = first.position.plus(SLICE_POSITIONS);
        let goes = |position: Position| position <= plan.target && position <= end;
        let older = entries.split_last().map_or(&[][..], |(_, older)| older);
        let count = older.partition_point(|entry| goes(entry.position));
        let Some(last) = count.checked_sub(1).and_then(|at| older.get(at)) else { return Ok(0) };
        let mut batch = trim(plan.trimmed, last.position);
        batch.require(&META, READERS, plan.readers.as_ref());
        match term.commit(batch).await {
            Ok(_) => Ok(count as u64),
            // Somebody came in between: the next look counts him.
            Err(CommitError::Conflict { .. }) if !term.is_lost() => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// Gives the space back that trimmed entries took; see [`Store::give_back`].
    ///
    /// # Errors
    /// When the back end fails; then nothing but the space is missing.
    pub async fn give_log_back(&self) -> Result<(), Error> {
        let through = self.trimmed().await?;
        let range = crate::backend::RawRange {
            table: LOG,
            start: bytes::Bytes::new(),
            end: Some(bytes::Bytes::copy_from_slice(&through.0.to_be_bytes())),
        };
        self.backend().give_back(&range).await
    }
}

/// A trimmer whose steps a law takes one by one.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn tests_trimmer(store: &Store, keep: Keep) -> Trimmer {
    Trimmer::new(store, keep, &Clock::system(), &Metrics::new())
}
