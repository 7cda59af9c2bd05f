//! Carrying the chains on, behind those who write records.
//!
//! Everything up to the head of the store is there, so the records between a chain's end and the head are
//! all that there ever will be in that stretch. They get their links in one batch with the chain's new end, in place
//! of the end that was read: of two processes that do the same, one does it and the other looks again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{Backoff, Clock, Random, Tasks};
use bytes::Bytes;
use pdu::{Authorities, Authority};
use ruma::{OwnedServerName, ServerName};
use store::{Batch, CommitError, Moved, Order, Position, Range, Receipt, Store, Value};

use crate::{
    Error,
    chain::day_of,
    day::Day,
    deed::topic,
    seal::seal,
    tables::{CHAINS, ChainRow, LINKS, RECORDS, SEALS, decode},
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
    let (follower, random) = (Follower::new(store, authorities, clock), random.clone());
    let stopping = tasks.shutdown_token();
    let clock = clock.clone();
    tasks.spawn("audit.follow", async move {
        let topics = follower.authorities.iter().map(|authority| topic(authority.name())).collect();
        // Before the first look: what is written after it wakes this.
        let mut watch = follower.store.watch(topics);
        let mut follower = follower;
        let mut backoff = Backoff::new(AGAIN_FIRST, AGAIN_LATER);
        loop {
            let is_last = stopping.is_cancelled();
            if let Err(error) = follower.catch_up().await {
                if backoff.failures() == 0 {
                    tracing::warn!(%error, "the audit log could not be chained, will try again");
                }
                let pause = backoff.next(&random);
                tokio::select! {
                    () = clock.sleep(pause), if !is_last => continue,
                    () = stopping.cancelled() => {}
                }
            } else {
                backoff.reset();
            }
            if is_last {
                return;
            }
            let more = async {
                tokio::select! {
                    () = watch.changed() => {}
                    () = clock.sleep(LOOK) => {}
                }
                clock.sleep(GATHER).await;
            };
            tokio::select! {
                () = more => {}
                () = stopping.cancelled() => {}
            }
        }
    });
}

/// Carries on the chains of some authorities.
pub struct Follower {
    store: Store,
    authorities: Arc<Authorities>,
    clock: Clock,
    seen: HashMap<OwnedServerName, Seen>,
}

/// How far an authority was looked at.
struct Seen {
    through: Position,
    /// The day that has to be sealed when it is over.
    open: Option<Day>,
}

impl Follower {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(store: &Store, authorities: &Arc<Authorities>, clock: &Clock) -> Self {
        let (store, authorities) = (store.clone(), authorities.clone());
        Self { store, authorities, clock: clock.clone(), seen: HashMap::new() }
    }

    /// Gives a link to every record up to the head, and a seal to every day that is over.
    ///
    /// # Errors
    /// See [`Error`]; what was done until then is done.
    pub async fn catch_up(&mut self) -> Result<(), Error> {
        let head = self.store.head();
        let today = Day::of(self.clock.now());
        let authorities = self.authorities.clone();
        let due = authorities.iter().filter(|authority| self.is_due(authority.name(), head, today));
        let due: Vec<Arc<Authority>> = due.cloned().collect();
        for some in due.chunks(AT_ONCE) {
            self.extend(some, head, today).await?;
        }
        Ok(())
    }

    fn is_due(&mut self, name: &ServerName, head: Position, today: Day) -> bool {
        let Some(seen) = self.seen.get_mut(name) else { return true };
        if seen.open.is_some_and(|open| open < today)
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
                    tracing::error!(authority = %authority.name(), "the end of the audit log's chain cannot be read; `yakuba audit verify` tells more");
                    self.note(authority.name(), head, None);
                    continue;
                };
                let is_done = match step.receipt {
                    None => step.is_last,
                    Some(receipt) => match receipt.await {
                        Ok(_) => step.is_last,
                        // Another process was faster, or it is not known: look again.
                        Err(CommitError::Conflict { .. } | CommitError::Unknown) => false,
                        Err(error) => return Err(error.into()),
                    },
                };
                if is_done {
                    let open = (step.chain.sealed < step.chain.number).then_some(step.chain.day);
                    self.note(authority.name(), head, open);
                } else {
                    next.push(authority);
                }
            }
            left = next;
        }
        Ok(())
    }

    fn note(&mut self, name: &ServerName, through: Position, open: Option<Day>) {
        self.seen.insert(name.to_owned(), Seen { through, open });
    }

    /// One page of records of each authority, submitted with their links; nothing for one whose chain's end cannot
    /// be read.
    async fn steps(
        &self,
        some: &[Arc<Authority>],
        head: Position,
        today: Day,
    ) -> Result<Vec<(Arc<Authority>, Option<Step>)>, Error> {
        let names: Vec<&str> = some.iter().map(|authority| authority.name().as_str()).collect();
        let ends = self.store.get_many(&CHAINS, &names).await?;
        let chains: Vec<Option<ChainRow>> =
            ends.iter().map(|end| end.as_ref().map_or_else(|| Some(ChainRow::start()), decode)).collect();
        let ranges = names.iter().zip(&chains).map(|(name, chain)| {
            let after = chain.as_ref().map_or(head, |chain| chain.position);
            Range::prefix(*name).after(&(*name, after)).through(&(*name, head))
        });
        let pages = self.store.scan_many(&RECORDS, ranges.collect(), Order::Ascending, PAGE).await?;
        let mut steps = Vec::with_capacity(some.len());
        for (((authority, end), chain), page) in some.iter().zip(ends).zip(chains).zip(pages) {
            let step = match chain {
                Some(chain) => Some(self.step(authority, end, chain, page, today).await),
                None => None,
            };
            steps.push((authority.clone(), step));
        }
        Ok(steps)
    }

    async fn step(
        &self,
        authority: &Authority,
        end: Option<Bytes>,
        chain: ChainRow,
        page: Vec<((String, Position), Bytes)>,
        today: Day,
    ) -> Step {
        let is_last = page.len() < PAGE;
        let mut work = Work { authority, chain, made: self.clock.now(), batch: Batch::new() };
        for ((_, position), record) in page {
            work.link(position, &record);
        }
        if is_last {
            work.seal_before(today);
        }
        let Work { chain, mut batch, .. } = work;
        if batch.is_empty() {
            return Step { chain, is_last, receipt: None };
        }
        let name = authority.name().as_str();
        match end {
            None => batch.insert(&CHAINS, name, &chain.encode()),
            Some(end) => batch.replace(&CHAINS, name, &end, &chain.encode()),
        };
        self.store.ready().await;
        Step { chain, is_last, receipt: Some(self.store.submit(batch)) }
    }
}

/// A step of one chain.
struct Step {
    /// Its end after the step.
    chain: ChainRow,
    /// Whether nothing is left to do.
    is_last: bool,
    receipt: Option<Receipt>,
}

/// A step in the making.
struct Work<'a> {
    authority: &'a Authority,
    chain: ChainRow,
    made: base::Timestamp,
    batch: Batch,
}

impl Work<'_> {
    fn link(&mut self, position: Position, record: &Bytes) {
        if let Some(day) = day_of(record) {
            self.seal_before(day);
        }
        let name = self.authority.name();
        let link = self.chain.take(name, position, record);
        self.batch.put(&LINKS, &(name.as_str(), self.chain.number), &link.encode());
    }

    /// Seals the open day if it is over on this one.
    fn seal_before(&mut self, day: Day) {
        if self.chain.is_due(day) {
            let (name, open) = (self.authority.name().as_str(), self.chain.day);
            let seal = seal(self.authority, &self.chain, self.made);
            self.batch.put(&SEALS, &(name, open), &seal.encode());
            self.chain.close_day();
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("authorities", &self.authorities.len()).finish_non_exhaustive()
    }
}
