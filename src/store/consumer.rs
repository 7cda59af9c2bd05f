//! Consumers: readers of the log whose work one process at a time does.
//!
//! A consumer has a name, a durable cursor and a lag that is measured. Of several processes over the same
//! data one holds it, for a [`Term`]; the others stand by. Everything that a holder writes as such demands the
//! row of its term ([`Term::fenced`]), and every term writes another row: so who was thought dead and
//! comes back is refused by the store, whatever he still believes.
//!
//! Clocks of two machines are never compared. The holder counts a row up every second. Who stands by looks at
//! it as often, and takes over after some looks that found the same number, on the condition that it
//! still is that one. A holder that was slow for so long has lost nothing but its term.
//!
//! Data that no other process may open are held at once, without a row and without a condition.
//!
//! Reading order: [`Consumer::run`], then [`Term`].

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use base::{CancellationToken, Clock, Gauge, Metrics, Random};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    backend::Change,
    batch::Batch,
    committer::{Committed, Receipt},
    error::{CommitError, Error},
    position::{Position, Topic},
    reads::Reads,
    schema::META,
    store::{CURSORS, Store},
    table::{Table, Tuning},
    trim::{READERS, TRIMMED},
};

/// Who holds a consumer; key: its name.
pub(crate) static LEASES: Table<String, LeaseRow> = Table::new(5, "store.leases", Tuning::Small);

/// What the holder of a consumer counts up to show that he is there; key: the consumer's name.
pub(crate) static BEATS: Table<String, u64> = Table::new(6, "store.beats", Tuning::Small);

/// What a consumer has missed because the log was trimmed beyond its cursor, until it has made up for it; key: its name.
pub(crate) static MISSED: Table<String, Missed> = Table::new(8, "store.missed", Tuning::Small);

/// How often a holder shows that he is there, and how often others look.
const BEAT: Duration = Duration::from_secs(1);

/// After so many looks without a beat between them the holder is taken for dead.
const LOOKS: u32 = 5;

/// How long after its work failed a consumer begins again.
const PAUSE: Duration = Duration::from_secs(1);

/// Row of [`LEASES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRow {
    /// Names the holder; none after one has gone in order.
    pub(crate) holder: Option<u64>,
    /// Counts the terms.
    pub(crate) term: u64,
}
crate::row!(LeaseRow, schema = 1);

/// A stretch of the log of which a consumer has read nothing and which is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Up to here it has read.
    pub after: Position,
    /// From behind here on it reads.
    pub through: Position,
}
crate::row!(Missed, schema = 1);

/// A reader of the log with a name. Cheap to clone; clones are the same reader.
#[derive(Clone)]
pub struct Consumer {
    store: Store,
    clock: Clock,
    name: &'static str,
    /// Names this process among those that may hold it.
    holder: u64,
    /// Whether it reads the log at all.
    reads_log: bool,
    lag: Gauge,
    held: Gauge,
}

/// What a new holder has: the row of its term, the cursor, what was missed.
type Won = (Option<LeaseRow>, Position, Option<Missed>);

/// What who stands by sees of the holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sight {
    lease: Option<LeaseRow>,
    beat: Option<u64>,
}

/// The time for which this process does a consumer's work. Clones are the same term.
#[derive(Clone)]
pub struct Term {
    store: Store,
    name: &'static str,
    /// The row that everything written in this term demands; none where nobody else can have the data.
    lease: Option<LeaseRow>,
    cursor: Position,
    missed: Option<Missed>,
    ended: CancellationToken,
    is_lost: Arc<AtomicBool>,
    lag: Gauge,
}

impl Consumer {
    /// A reader of the log with this name, of which there is one in a process.
    ///
    /// The log is not trimmed before it has read it, for as long as `crate::trim` says. One with a new name begins where
    /// the log begins; so does one that was forgotten, since it was passed over and no program that trims the log had it.
    #[must_use]
    pub fn new(store: &Store, name: &'static str, clock: &Clock, metrics: &Metrics) -> Self {
        store.note_reader(name);
        Self { reads_log: true, ..Self::without_log(store, name, clock, metrics) }
    }

    /// Work that one process at a time does and that reads no log: it has no cursor, and nothing waits for it.
    #[must_use]
    pub fn without_log(store: &Store, name: &'static str, clock: &Clock, metrics: &Metrics) -> Self {
        let lag = metrics.gauge_family(
            "yakuba_store_consumer_lag_positions",
            "Positions of the log that a consumer has not read, while this process holds it",
        );
        let held = metrics
            .gauge_family("yakuba_store_consumers_held", "Whether this process does the work of a consumer");
        Self {
            store: store.clone(),
            clock: clock.clone(),
            name,
            holder: Random::os().u64(),
            reads_log: false,
            lag: lag.with(&[("consumer", name)]),
            held: held.with(&[("consumer", name)]),
        }
    }

    /// Does the work in each term that this process gets, until `stop`.
    ///
    /// The work has to end soon after [`Term::ended`]; until it does, the term is not given away in order. One that
    /// fails is begun again, in another term.
    pub async fn run<W, F, E>(&self, stop: CancellationToken, work: W)
    where
        W: Fn(Term) -> F,
        F: Future<Output = Result<(), E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        while let Some(won) = stop.run_until_cancelled(self.win()).await {
            let outcome = match won {
                Ok(won) => self.hold(won, &stop, &work).await,
                Err(error) => {
                    if !error.stops_writes() {
                        warn!(reader = self.name, error = ?error, "the holder cannot be looked up");
                    }
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                warn!(reader = self.name, error = ?error, "a reader of the log failed, trying again");
            }
            stop.run_until_cancelled(self.clock.sleep(PAUSE)).await;
        }
    }

    /// Does the work of one term.
    async fn hold<W, F, E>(
        &self,
        (lease, cursor, missed): Won,
        stop: &CancellationToken,
        work: &W,
    ) -> Result<(), E>
    where
        W: Fn(Term) -> F,
        F: Future<Output = Result<(), E>>,
    {
        let term = Term {
            store: self.store.clone(),
            name: self.name,
            lease,
            cursor,
            missed,
            ended: stop.child_token(),
            is_lost: Arc::default(),
            lag: self.lag.clone(),
        };
        self.held.set(1);
        let _held = Held(&self.held, &self.lag);
        // Also when the work panics: what it has started goes on until then.
        let _ended = term.ended.clone().drop_guard();
        let outcome = {
            let mut working = std::pin::pin!(work(term.clone()));
            tokio::select! {
                outcome = &mut working => outcome,
                () = self.beat(&term) => working.await,
            }
        };
        term.ended.cancel();
        self.give_back(&term).await;
        outcome
    }

    /// Waits until this process holds the consumer; gives the row of the term, if there has to be one, the cursor as
    /// the last holder left it, and what the consumer has missed.
    async fn win(&self) -> Result<Won, CommitError> {
        let mut lease = None;
        if self.store.is_shared() {
            lease = Some(self.take_over().await?);
        }
        // After the lease: nobody else moves it any more.
        let (cursor, missed) = match self.reads_log {
            true => self.find_place(lease.as_ref()).await?,
            false => (self.store.cursor(self.name).await?, None),
        };
        self.store.reach(cursor).await?;
        Ok((lease, cursor, missed))
    }

    /// From where it reads on. Whoever has no place in the log, or one that is gone, gets one where the log begins, for
    /// which the log waits from then on.
    async fn find_place(&self, lease: Option<&LeaseRow>) -> Result<(Position, Option<Missed>), CommitError> {
        loop {
            let mut reads = Reads::new();
            let (cursor, missed) = (reads.get(&CURSORS, self.name), reads.get(&MISSED, self.name));
            let (trimmed, readers) = (reads.get(&META, TRIMMED), reads.get(&META, READERS));
            let mut found = self.store.read(reads).await?;
            let (cursor, missed) = (found.take(cursor)?, found.take(missed)?);
            let (trimmed, readers) = (found.take(trimmed)?, found.take(readers)?);
            let begins = Position(trimmed.unwrap_or(0));
            if let Some(cursor) = cursor
                && cursor >= begins
            {
                return Ok((cursor, missed));
            }
            let mut batch = Batch::new();
            if let Some(lease) = lease {
                batch.require(&LEASES, self.name, Some(lease));
            }
            // What is trimmed meanwhile was decided without this reader.
            batch.require(&META, TRIMMED, trimmed.as_ref());
            batch.require(&META, READERS, readers.as_ref());
            batch.put(&META, READERS, &(readers.unwrap_or(0) + 1));
            batch.require(&CURSORS, self.name, cursor.as_ref());
            batch.set_cursor(self.name, begins);
            let missed = cursor.map(|after| Missed {
                // What it had not made up for when it was passed over again.
                after: missed.map_or(after, |before| before.after),
                through: begins,
            });
            if let Some(missed) = &missed {
                warn!(reader = self.name, position = %missed.after, "the log was trimmed before it was read");
                batch.put(&MISSED, self.name, missed);
            }
            match self.store.commit(batch).await {
                Ok(_) => return Ok((begins, missed)),
                Err(CommitError::Conflict { table, .. }) if table == LEASES.raw().id => {
                    return Err(CommitError::Unknown);
                }
                Err(CommitError::Conflict { .. } | CommitError::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn take_over(&self) -> Result<LeaseRow, CommitError> {
        let mut seen = None;
        let mut looks = 0;
        loop {
            // Before the look: who goes in order wakes us.
            let mut watch = self.store.watch(vec![Topic::consumer(self.name)]);
            let sight = self.look().await?;
            if seen != Some(sight) {
                looks = 0;
                seen = Some(sight);
            }
            let holder = sight.lease.and_then(|lease| lease.holder);
            if holder.is_none_or(|holder| holder == self.holder) || looks >= LOOKS {
                match self.take(sight).await {
                    Ok(lease) => {
                        if holder.is_some() {
                            info!(reader = self.name, term = lease.term, "the holder is gone, taking over");
                        }
                        return Ok(lease);
                    }
                    // Somebody was faster, or it was taken and the answer lost.
                    Err(CommitError::Conflict { .. } | CommitError::Unknown) => continue,
                    Err(error) => return Err(error),
                }
            }
            if self.clock.timeout(BEAT, watch.changed()).await.is_err() {
                looks += 1;
            }
        }
    }

    async fn look(&self) -> Result<Sight, Error> {
        let mut reads = Reads::new();
        let (lease, beat) = (reads.get(&LEASES, self.name), reads.get(&BEATS, self.name));
        let mut found = self.store.read(reads).await?;
        Ok(Sight { lease: found.take(lease)?, beat: found.take(beat)? })
    }

    /// Begins the next term, if all is still as it was seen.
    async fn take(&self, sight: Sight) -> Result<LeaseRow, CommitError> {
        let term = sight.lease.map_or(1, |lease| lease.term + 1);
        let lease = LeaseRow { holder: Some(self.holder), term };
        let mut batch = Batch::new();
        batch.require(&LEASES, self.name, sight.lease.as_ref());
        batch.require(&BEATS, self.name, sight.beat.as_ref());
        batch.put(&LEASES, self.name, &lease);
        batch.put(&BEATS, self.name, &0);
        batch.touch([Topic::consumer(self.name)]);
        self.store.commit(batch).await?;
        Ok(lease)
    }

    /// Shows that the holder is there, until he is not any more.
    async fn beat(&self, term: &Term) {
        if term.lease.is_none() {
            return std::future::pending().await;
        }
        let mut count = 0_u64;
        loop {
            self.clock.sleep(BEAT).await;
            count += 1;
            let mut batch = Batch::new();
            batch.put(&BEATS, self.name, &count);
            match term.commit(batch).await {
                Ok(_) => {}
                Err(CommitError::Conflict { .. }) => return,
                Err(error) if error.stops_writes() => {}
                Err(error) => {
                    warn!(reader = self.name, error = ?error, "the holder could not show that he is there")
                }
            }
        }
    }

    /// Leaves the consumer to others at once, if it is still this process's.
    async fn give_back(&self, term: &Term) {
        let Some(lease) = &term.lease else { return };
        let mut batch = Batch::new();
        batch.replace(&LEASES, self.name, lease, &LeaseRow { holder: None, ..*lease });
        batch.touch([Topic::consumer(self.name)]);
        match self.store.commit(batch).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => {}
            // Then others notice after some seconds.
            Err(error) if error.stops_writes() => {}
            Err(error) => {
                warn!(reader = self.name, error = ?error, "a reader of the log could not be given back")
            }
        }
    }
}

impl Term {
    /// How far the consumer had come when the term began.
    #[must_use]
    pub fn cursor(&self) -> Position {
        self.cursor
    }

    /// What the consumer could not read because the log was trimmed beyond where it had come, if it has not
    /// [made up](Term::made_up) for it. What it does then is its own: whoever keeps an index builds it anew.
    #[must_use]
    pub fn missed(&self) -> Option<Missed> {
        self.missed
    }

    /// Notes in a batch that nothing of what was missed is lacking any more.
    pub fn made_up(&self, batch: &mut Batch) {
        batch.delete(&MISSED, self.name);
    }

    /// Ends the term by the consumer's own will: another begins a moment later. For who meets [`Error::Trimmed`].
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Cancelled when the work has to end: the process stops, or another one has taken over.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Whether another process has taken over.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// A batch that is written while the term is this process's, or not at all.
    #[must_use]
    pub fn fenced(&self, mut batch: Batch) -> Fenced {
        if let Some(lease) = &self.lease {
            batch.require(&LEASES, self.name, Some(lease));
        }
        Fenced(batch)
    }

    /// [`Store::submit`].
    pub fn submit(&self, Fenced(batch): Fenced) -> Submitted<'_> {
        Submitted { term: self, receipt: self.store.submit(batch) }
    }

    /// [`Store::commit`] of a batch that is written in this term or not at all.
    ///
    /// # Errors
    /// See [`CommitError`]. When the term is another's by now, it has [ended](Term::ended).
    pub async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.store.ready().await;
        self.submit(self.fenced(batch)).await
    }

    /// Reads on in the log, as [`Store::changes`] does, and notes how far behind the reader is.
    ///
    /// # Errors
    /// [`Error::Trimmed`] when the reader was passed over: the next term knows what it [missed](Term::missed).
    /// When the back end fails or an entry cannot be read.
    pub async fn changes(&self, after: Position, limit: usize) -> Result<Vec<Change>, Error> {
        let changes = self.store.changes(after, limit).await?;
        let behind = if changes.is_empty() { 0 } else { self.store.head().0.saturating_sub(after.0) };
        self.lag.set(i64::try_from(behind).unwrap_or(i64::MAX));
        Ok(changes)
    }

    /// Reads the next entries of the log, at most so many; none where there is nothing new, or where the reader was passed
    /// over and the term is ended therefore: the next one knows what it [missed](Term::missed).
    ///
    /// # Errors
    /// When the back end fails or an entry cannot be read.
    pub async fn read_on(&self, after: Position, limit: usize) -> Result<Option<Entries>, Error> {
        // Before the read: up to here nothing is left out of what it gives.
        let head = self.store.head();
        let changes = match self.changes(after, limit).await {
            Err(error @ Error::Trimmed { .. }) => {
                self.end();
                warn!(reader = self.name, %error, "the log went before it was read");
                return Ok(None);
            }
            changes => changes?,
        };
        if changes.is_empty() && after >= head {
            return Ok(None);
        }
        let last = changes.last().map_or(after, |change| change.position);
        // Positions without entries too: who waits until all have read the log waits for one of these.
        let through = if changes.len() < limit { last.max(head) } else { last };
        Ok(Some(Entries { changes, through }))
    }

    /// Notes in a batch how far the consumer has come.
    pub fn set_cursor(&self, batch: &mut Batch, position: Position) {
        batch.set_cursor(self.name, position);
    }
}

/// What a reader finds next in the log.
#[derive(Debug)]
pub struct Entries {
    /// The entries, in order.
    pub changes: Vec<Change>,
    /// The position that is read up to with them.
    pub through: Position,
}

/// A batch that demands the row of a term.
#[derive(Debug)]
pub struct Fenced(Batch);

/// A batch on its way that is written in a term or not at all.
pub struct Submitted<'a> {
    term: &'a Term,
    receipt: Receipt,
}

impl Future for Submitted<'_> {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.receipt).poll(context));
        if let Err(CommitError::Conflict { table, .. }) = &outcome
            && *table == LEASES.raw().id
            && !self.term.is_lost.swap(true, Ordering::AcqRel)
        {
            warn!(reader = self.term.name, "another process has taken over");
            self.term.ended.cancel();
        }
        Poll::Ready(outcome)
    }
}

/// Takes back what the metrics say of a holder.
struct Held<'a>(&'a Gauge, &'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(0);
        self.1.set(0);
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({})", self.name)
    }
}

impl std::fmt::Debug for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Term").field("of", &self.name).field("lease", &self.lease).finish_non_exhaustive()
    }
}
