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

use base::{Backoff, CancellationToken, Clock, Instant, Random, Tasks};
use bytes::Bytes;
use pdu::{Authorities, Authority};
use ruma::{OwnedServerName, ServerName};
use store::{Batch, CommitError, Moved, Order, Position, Range, Receipt, Store, Value};

use crate::{
    Error,
    chain::{day_of, hex},
    chained::chained_topic,
    day::Day,
    deed::topic,
    seal::seal,
    tables::{CHAINS, ChainRow, LINKS, LinkRow, RECORDS, SEALS, SealRow, decode},
};

/// Records of one authority that are chained with one batch, and authorities that are looked at together.
const PAGE: usize = 500;
const AT_ONCE: usize = 32;

/// How long records gather before they are chained.
const GATHER: Duration = Duration::from_secs(1);

/// How often the calendar is looked at, where nothing is written, to seal a day that is over.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// The first and the longest pause after a failure, of all or of one authority.
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
    /// Those whose chain could not be carried on.
    damaged: HashMap<OwnedServerName, Damaged>,
    /// The day on which everything was looked at last.
    day: Day,
}

/// How far an authority was looked at.
struct Seen {
    through: Position,
    /// The day that has to be sealed when it is over.
    open: Option<Day>,
    /// How its chain ended.
    chain: ChainRow,
}

/// Something is wrong with what one authority has in the store.
struct Damaged {
    /// When to look again, and how long that was put off.
    again: Instant,
    pause: Duration,
}

/// How a chain ends.
enum End {
    /// There, as it was read.
    At(ChainRow),
    /// Not as it must be, by what was seen of it or what else is there.
    Wrong,
    /// Another process was at it meanwhile.
    Moving,
}

impl Follower {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(store: &Store, authorities: &Arc<Authorities>, clock: &Clock) -> Self {
        let (store, authorities) = (store.clone(), authorities.clone());
        let (seen, damaged) = (HashMap::new(), HashMap::new());
        Self { store, authorities, clock: clock.clone(), seen, damaged, day: Day(0) }
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
            let look = self.until_next_look();
            let next = async {
                match done.or_else(|error| if error.is_damage() { Ok(()) } else { Err(error) }) {
                    Ok(()) => {
                        backoff.reset();
                        tokio::select! {
                            () = watch.changed() => {}
                            () = clock.sleep(look) => {}
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

    /// When to look though nothing was written: soon where something is damaged, which may pass.
    fn until_next_look(&self) -> Duration {
        let now = self.clock.instant();
        self.damaged.values().map(|damaged| damaged.again.since(now)).fold(LOOK, Duration::min)
    }

    /// Gives a link to every record up to the head, and a seal to every day that is over.
    ///
    /// # Errors
    /// See [`Error`]; what was done until then is done. Damage of one authority is told when all others are done; that
    /// one is left alone for a while then.
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
        // What cannot be read of one authority holds up no other.
        let (mut alone, sound): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|authority| self.damaged.contains_key(authority.name()));
        for some in sound.chunks(AT_ONCE) {
            match self.extend(some, head, today).await {
                Err(error) if error.is_damage() => alone.extend_from_slice(some),
                done => done?,
            }
        }
        let mut damaged = None;
        for one in alone {
            match self.extend(std::slice::from_ref(&one), head, today).await {
                Err(error) if error.is_damage() => {
                    self.put_off(one.name(), &error);
                    damaged = Some(error);
                }
                done => done?,
            }
        }
        damaged.map_or(Ok(()), Err)
    }

    /// Leaves an authority alone for a while, and says so the first time.
    fn put_off(&mut self, name: &ServerName, why: &dyn std::fmt::Display) {
        let now = self.clock.instant();
        let pause = self.damaged.get(name).map_or(AGAIN_FIRST, |known| (known.pause * 2).min(AGAIN_LATER));
        let damaged = Damaged { again: now + pause, pause };
        if self.damaged.insert(name.to_owned(), damaged).is_none() {
            tracing::error!(authority = %name, %why, "the audit log cannot be chained; `yakuba audit verify` tells more");
        }
    }

    fn is_due(&mut self, name: &ServerName, head: Position, today: Day) -> bool {
        if let Some(damaged) = self.damaged.get(name) {
            return self.clock.instant() >= damaged.again;
        }
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
                let step = match step {
                    Ok(step) => step,
                    Err(End::Moving) => {
                        next.push(authority);
                        continue;
                    }
                    Err(_) => {
                        self.put_off(
                            authority.name(),
                            &"the end of the chain is gone or another than it was",
                        );
                        continue;
                    }
                };
                let is_done = match step.receipt {
                    None => step.is_last,
                    Some(receipt) => match receipt.await {
                        Ok(_) => {
                            tell(&step.seals, authority.name());
                            step.is_last
                        }
                        // Links and seals of what has none yet: the end of the chain was set back.
                        Err(CommitError::Conflict { table, .. }) if table != CHAINS.raw().id => {
                            self.put_off(
                                authority.name(),
                                &"there are links or seals behind the chain's end",
                            );
                            continue;
                        }
                        // Another process was faster, or it is not known: look again.
                        Err(CommitError::Conflict { .. } | CommitError::Unknown) => {
                            next.push(authority);
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    },
                };
                self.note(authority.name(), step.chain, if is_done { head } else { Position::START });
                if !is_done {
                    next.push(authority);
                }
            }
            left = next;
        }
        Ok(())
    }

    /// Remembers how a chain ends, and through where it was looked at.
    fn note(&mut self, name: &ServerName, chain: ChainRow, through: Position) {
        let open = (chain.sealed < chain.number).then_some(chain.day);
        self.seen.insert(name.to_owned(), Seen { through, open, chain });
        if self.damaged.remove(name).is_some() {
            tracing::info!(authority = %name, "the audit log is chained again");
        }
    }

    /// The ends of chains as they were read, each held against what was seen of it and against what must be there: who
    /// changes rows and takes the links and seals away, or sets the end back, would have them made anew here.
    async fn ends(&self, names: &[&str], ends: &[Option<Bytes>]) -> Result<Vec<End>, Error> {
        let mut found = Vec::with_capacity(names.len());
        let (mut empty, mut links) = (Vec::new(), Vec::new());
        for (at, (name, end)) in names.iter().zip(ends).enumerate() {
            let seen = <&ServerName>::try_from(*name).ok().and_then(|name| self.seen.get(name));
            let seen = seen.map(|seen| &seen.chain).filter(|chain| chain.number > 0);
            found.push(match (end.as_ref().map(decode::<ChainRow>), seen) {
                (None, None) => {
                    empty.push(at);
                    End::At(ChainRow::start())
                }
                (Some(Some(chain)), seen) if seen.is_none_or(|seen| chain.may_follow(seen)) => {
                    let linked = seen.unwrap_or(&chain);
                    if linked.number > 0 {
                        let link = LinkRow { position: linked.position, hash: linked.hash };
                        links.push((at, (*name, linked.number), link));
                    }
                    End::At(chain)
                }
                (None | Some(_), _) => End::Wrong,
            });
        }
        let keys: Vec<_> = links.iter().map(|(_, key, _)| *key).collect();
        let there = self.store.get_many(&LINKS, &keys).await?;
        for ((at, _, expected), link) in links.into_iter().zip(there) {
            if link.as_ref().and_then(decode::<LinkRow>) != Some(expected)
                && let Some(found) = found.get_mut(at)
            {
                *found = End::Wrong;
            }
        }
        self.look_for_rests(names, &empty, &mut found).await?;
        Ok(found)
    }

    /// Looks whether chains that seem not to have begun have links or seals.
    async fn look_for_rests(&self, names: &[&str], empty: &[usize], found: &mut [End]) -> Result<(), Error> {
        let names_of = || empty.iter().filter_map(|at| names.get(*at).copied());
        let (of_links, of_seals) = (names_of().map(Range::prefix), names_of().map(Range::prefix));
        let links = self.store.scan_many(&LINKS, of_links.collect(), Order::Ascending, 1).await?;
        let seals = self.store.scan_many(&SEALS, of_seals.collect(), Order::Ascending, 1).await?;
        for ((at, links), seals) in empty.iter().zip(links).zip(seals) {
            let (Some(name), Some(found)) = (names.get(*at), found.get_mut(*at)) else { continue };
            if !links.is_empty() || !seals.is_empty() {
                // Or another process has begun it since its end was read.
                let is_there = self.store.get(&CHAINS, *name).await?.is_some();
                *found = if is_there { End::Moving } else { End::Wrong };
            }
        }
        Ok(())
    }

    /// One page of records of each authority, submitted with their links; where nothing can be done, the end that is
    /// why.
    async fn steps(
        &self,
        some: &[Arc<Authority>],
        head: Position,
        today: Day,
    ) -> Result<Vec<(Arc<Authority>, Result<Step, End>)>, Error> {
        let names: Vec<&str> = some.iter().map(|authority| authority.name().as_str()).collect();
        let ends = self.store.get_many(&CHAINS, &names).await?;
        let chains = self.ends(&names, &ends).await?;
        let ranges = names.iter().zip(&chains).map(|(name, chain)| {
            let after = if let End::At(chain) = chain { chain.position } else { head };
            Range::prefix(*name).after(&(*name, after)).through(&(*name, head))
        });
        let pages = self.store.scan_many(&RECORDS, ranges.collect(), Order::Ascending, PAGE).await?;
        let ahead = self.ahead(&names, &chains, today).await?;
        let mut steps = Vec::with_capacity(some.len());
        for (((authority, end), chain), page) in some.iter().zip(ends).zip(chains).zip(pages) {
            let step = match chain {
                End::At(chain) => {
                    let is_ahead = ahead.contains(authority.name().as_str());
                    Ok(self.step(authority, end, chain, page, today, is_ahead).await)
                }
                end => Err(end),
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
        chains: &[End],
        today: Day,
    ) -> Result<HashSet<&'a str>, Error> {
        let is_ahead = |end: &End| matches!(end, End::At(chain) if chain.day > today);
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
        let (name, mut batch) = (authority.name().as_str(), Batch::new());
        // The first that is demanded: another process that was faster fails this, and not what comes behind.
        batch.require(&CHAINS, name, end.as_ref());
        let (made, before) = (self.clock.now(), chain.clone());
        let mut work = Work { authority, chain, made, batch, seals: Vec::new() };
        for ((_, position), record) in page {
            work.link(position, &record);
        }
        if is_last && (is_ahead || work.chain.day < today) {
            work.seal();
        }
        let Work { chain, mut batch, seals, .. } = work;
        if chain == before {
            return Step { chain, is_last, receipt: None, seals };
        }
        batch.put(&CHAINS, name, &chain.encode());
        // Whoever keeps rows elsewhere waits for their links.
        batch.touch([chained_topic(authority.name())]);
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
        self.batch.insert(&LINKS, &(name.as_str(), self.chain.number), &link.encode());
    }

    /// Seals the open day, if anything happened on it.
    fn seal(&mut self) {
        if self.chain.sealed < self.chain.number {
            let (name, open) = (self.authority.name().as_str(), self.chain.day);
            let seal = seal(self.authority, &self.chain, self.made);
            self.batch.insert(&SEALS, &(name, open), &seal.encode());
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
