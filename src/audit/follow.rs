//! Carrying the chains on, behind those who write records.
//!
//! Everything up to the head of the store is there, so the records between a chain's end and the head are
//! all that there ever will be in that stretch. They get their links in one batch with the chain's new end, in place
//! of the end that was read: of two processes that do the same, one does it and the other looks again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base::{Backoff, CancellationToken, Clock, Random, Tasks};
use bytes::Bytes;
use pdu::{Authorities, Authority};
use ruma::{OwnedServerName, ServerName};
use store::{Batch, CommitError, Moved, Order, Position, Range, Receipt, Store, Value};

use crate::{
    Error,
    chain::{day_of, hex},
    day::Day,
    deed::topic,
    seal::seal,
    tables::{CHAINS, ChainRow, LINKS, RECORDS, SEALS, SealRow, decode},
};

/// Records of one authority that are chained with one batch, and authorities that are looked at together.
const PAGE: usize = 500;
const AT_ONCE: usize = 32;

/// How long records gather before they are chained.
const GATHER: Duration = Duration::from_secs(1);

/// How often the calendar is looked at, where nothing is written, to seal a day that is over.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// The first and the longest pause after a failure.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LATER: Duration = Duration::from_secs(60);

/// Starts to carry on the chains of these authorities, until the tasks are stopped; then everything that is
/// written by then gets its link.
pub fn follow(store: &Store, authorities: &Arc<Authorities>, clock: &Clock, random: &Random, tasks: &Tasks) {
    let (store, authorities) = (store.clone(), authorities.clone());
    let (clock, random, stopping) = (clock.clone(), random.clone(), tasks.shutdown_token());
    tasks.spawn_restarting("audit.follow", move || {
        let follower = Follower::new(&store, &authorities, &clock);
        follower.run(random.clone(), stopping.clone())
    });
}

/// Carries on the chains of some authorities.
pub struct Follower {
    store: Store,
    authorities: Arc<Authorities>,
    clock: Clock,
    seen: HashMap<OwnedServerName, Seen>,
    /// The day on which everything was looked at last.
    day: Day,
}

/// How far an authority was looked at.
struct Seen {
    through: Position,
    /// The day that has to be sealed when it is over.
    open: Option<Day>,
    /// How long its chain was.
    number: u64,
}

impl Follower {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(store: &Store, authorities: &Arc<Authorities>, clock: &Clock) -> Self {
        let (store, authorities) = (store.clone(), authorities.clone());
        Self { store, authorities, clock: clock.clone(), seen: HashMap::new(), day: Day(0) }
    }

    /// Carries the chains on until it is asked to stop, and once more then.
    async fn run(mut self, random: Random, stopping: CancellationToken) {
        let topics = self.authorities.iter().map(|authority| topic(authority.name())).collect();
        // Before the first look: what is written after it wakes this.
        let mut watch = self.store.watch(topics);
        let clock = self.clock.clone();
        let mut backoff = Backoff::new(AGAIN_FIRST, AGAIN_LATER);
        loop {
            let is_last = stopping.is_cancelled();
            let done = self.catch_up().await;
            if is_last {
                return;
            }
            let next = async {
                match done {
                    Ok(()) => {
                        backoff.reset();
                        tokio::select! {
                            () = watch.changed() => {}
                            () = clock.sleep(LOOK) => {}
                        }
                        clock.sleep(GATHER).await;
                    }
                    Err(error) => {
                        if backoff.failures() == 0 {
                            tracing::warn!(%error, "the audit log could not be chained, will try again");
                        }
                        clock.sleep(backoff.next(&random)).await;
                    }
                }
            };
            stopping.run_until_cancelled(next).await;
        }
    }

    /// Gives a link to every record up to the head, and a seal to every day that is over.
    ///
    /// # Errors
    /// See [`Error`]; what was done until then is done.
    pub async fn catch_up(&mut self) -> Result<(), Error> {
        let head = self.store.head();
        let today = Day::of(self.clock.now());
        if self.day != today {
            // Once a day nothing is taken for granted: a replica that lags far behind is not told of each row.
            self.seen.values_mut().for_each(|seen| seen.through = Position::START);
            self.day = today;
        }
        let authorities = self.authorities.clone();
        let due = authorities.iter().filter(|authority| self.is_due(authority.name(), head, today));
        let due: Vec<Arc<Authority>> = due.cloned().collect();
        let mut damaged = None;
        for some in due.chunks(AT_ONCE) {
            let Err(error) = self.extend(some, head, today).await else { continue };
            if !error.is_damage() {
                return Err(error);
            }
            // What cannot be read of one authority holds up no other.
            for one in some {
                match self.extend(std::slice::from_ref(one), head, today).await {
                    Err(error) if error.is_damage() => damaged = Some(error),
                    done => done?,
                }
            }
        }
        damaged.map_or(Ok(()), Err)
    }

    fn is_due(&mut self, name: &ServerName, head: Position, today: Day) -> bool {
        let Some(seen) = self.seen.get_mut(name) else { return true };
        if seen.open.is_some_and(|open| open != today)
            || self.store.moved(topic(name), seen.through) == Moved::Maybe
        {
            return true;
        }
        // Who never does anything is not asked about times that are forgotten by now.
        seen.through = head;
        false
    }

    /// Brings the chains of some authorities up to the head.
    async fn extend(&mut self, some: &[Arc<Authority>], head: Position, today: Day) -> Result<(), Error> {
        let mut left = some.to_vec();
        while !left.is_empty() {
            let mut next = Vec::new();
            for (authority, step) in self.steps(&left, head, today).await? {
                let Some(step) = step else {
                    tracing::error!(authority = %authority.name(), "the end of the audit log's chain is gone or cannot be read; `yakuba audit verify` tells more");
                    let number = self.seen.get(authority.name()).map_or(0, |seen| seen.number);
                    self.note(authority.name(), Seen { through: head, open: None, number });
                    continue;
                };
                let is_done = match step.receipt {
                    None => step.is_last,
                    Some(receipt) => match receipt.await {
                        Ok(_) => {
                            tell(&step.seals, authority.name());
                            step.is_last
                        }
                        // Another process was faster, or it is not known: look again.
                        Err(CommitError::Conflict { .. } | CommitError::Unknown) => false,
                        Err(error) => return Err(error.into()),
                    },
                };
                if is_done {
                    let open = (step.chain.sealed < step.chain.number).then_some(step.chain.day);
                    self.note(authority.name(), Seen { through: head, open, number: step.chain.number });
                } else {
                    next.push(authority);
                }
            }
            left = next;
        }
        Ok(())
    }

    fn note(&mut self, name: &ServerName, seen: Seen) {
        self.seen.insert(name.to_owned(), seen);
    }

    /// The end of a chain, if it can be read and was not taken back since it was seen: who changes rows and takes the
    /// links and seals away would have them made anew here.
    fn end_of(&self, name: &str, end: Option<&Bytes>) -> Option<ChainRow> {
        let chain = end.map_or_else(|| Some(ChainRow::start()), decode)?;
        let seen = <&ServerName>::try_from(name).ok().and_then(|name| self.seen.get(name));
        Some(chain).filter(|chain| seen.is_none_or(|seen| seen.number <= chain.number))
    }

    /// One page of records of each authority, submitted with their links; nothing for one whose chain's end is gone or
    /// cannot be read.
    async fn steps(
        &self,
        some: &[Arc<Authority>],
        head: Position,
        today: Day,
    ) -> Result<Vec<(Arc<Authority>, Option<Step>)>, Error> {
        let names: Vec<&str> = some.iter().map(|authority| authority.name().as_str()).collect();
        let ends = self.store.get_many(&CHAINS, &names).await?;
        let chains: Vec<Option<ChainRow>> =
            names.iter().zip(&ends).map(|(name, end)| self.end_of(name, end.as_ref())).collect();
        let ranges = names.iter().zip(&chains).map(|(name, chain)| {
            let after = chain.as_ref().map_or(head, |chain| chain.position);
            Range::prefix(*name).after(&(*name, after)).through(&(*name, head))
        });
        let pages = self.store.scan_many(&RECORDS, ranges.collect(), Order::Ascending, PAGE).await?;
        let ahead = self.ahead(&names, &chains, today).await?;
        let mut steps = Vec::with_capacity(some.len());
        for (((authority, end), chain), page) in some.iter().zip(ends).zip(chains).zip(pages) {
            let step = match chain {
                Some(chain) => {
                    let is_ahead = ahead.contains(authority.name().as_str());
                    Some(self.step(authority, end, chain, page, today, is_ahead).await)
                }
                None => None,
            };
            steps.push((authority.clone(), step));
        }
        Ok(steps)
    }

    /// Those whose open day lies ahead of the calendar and that have got no seal on this day yet: a calendar that was
    /// set forward once, be it for a moment, must not keep seals away until it is as late again. One that is a day
    /// behind may be that of another machine.
    async fn ahead<'a>(
        &self,
        names: &[&'a str],
        chains: &[Option<ChainRow>],
        today: Day,
    ) -> Result<HashSet<&'a str>, Error> {
        let is_ahead = |chain: &Option<ChainRow>| chain.as_ref().is_some_and(|chain| chain.day > today);
        let ahead = names.iter().zip(chains).filter(|(_, chain)| is_ahead(chain)).map(|(name, _)| *name);
        let ahead: Vec<&str> = ahead.collect();
        let ranges = ahead.iter().map(|name| Range::prefix(*name)).collect();
        let seals = self.store.scan_many(&SEALS, ranges, Order::Descending, 1).await?;
        let made = seals.iter().map(|seals| {
            let seal = seals.first().and_then(|(_, seal)| decode::<SealRow>(seal));
            seal.map_or(Day(0), |seal| Day::of(seal.made))
        });
        let turned = ahead.into_iter().zip(made).filter(|(_, made)| *made < today || today.next() < *made);
        Ok(turned.map(|(name, _)| name).collect())
    }

    async fn step(
        &self,
        authority: &Authority,
        end: Option<Bytes>,
        chain: ChainRow,
        page: Vec<((String, Position), Bytes)>,
        today: Day,
        is_ahead: bool,
    ) -> Step {
        let is_last = page.len() < PAGE;
        let (made, batch) = (self.clock.now(), Batch::new());
        let mut work = Work { authority, chain, made, batch, seals: Vec::new() };
        for ((_, position), record) in page {
            work.link(position, &record);
        }
        if is_last && (is_ahead || work.chain.day < today) {
            work.seal();
        }
        let Work { chain, mut batch, seals, .. } = work;
        if batch.is_empty() {
            return Step { chain, is_last, receipt: None, seals };
        }
        let name = authority.name().as_str();
        match end {
            None => batch.insert(&CHAINS, name, &chain.encode()),
            Some(end) => batch.replace(&CHAINS, name, &end, &chain.encode()),
        };
        self.store.ready().await;
        Step { chain, is_last, receipt: Some(self.store.submit(batch)), seals }
    }
}

/// A step of one chain.
struct Step {
    /// Its end after the step.
    chain: ChainRow,
    /// Whether nothing is left to do.
    is_last: bool,
    receipt: Option<Receipt>,
    /// The seals made in it.
    seals: Vec<(Day, SealRow)>,
}

/// Tells of seals in the server's own log: where that is kept elsewhere, so is what shows later that nothing before
/// was made anew.
fn tell(seals: &[(Day, SealRow)], authority: &ServerName) {
    for (day, seal) in seals {
        tracing::info!(%authority, %day, rows = seal.last, chain = hex(&seal.hash), "sealed the audit log");
    }
}

/// A step in the making.
struct Work<'a> {
    authority: &'a Authority,
    chain: ChainRow,
    made: base::Timestamp,
    batch: Batch,
    seals: Vec<(Day, SealRow)>,
}

impl Work<'_> {
    fn link(&mut self, position: Position, record: &Bytes) {
        if day_of(record).is_some_and(|day| self.chain.day < day) {
            self.seal();
        }
        let name = self.authority.name();
        let link = self.chain.take(name, position, record);
        self.batch.put(&LINKS, &(name.as_str(), self.chain.number), &link.encode());
    }

    /// Seals the open day, if anything happened on it.
    fn seal(&mut self) {
        if self.chain.sealed < self.chain.number {
            let (name, open) = (self.authority.name().as_str(), self.chain.day);
            let seal = seal(self.authority, &self.chain, self.made);
            self.batch.put(&SEALS, &(name, open), &seal.encode());
            self.seals.push((open, seal));
            self.chain.close_day();
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("authorities", &self.authorities.len()).finish_non_exhaustive()
    }
}
