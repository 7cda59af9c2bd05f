//! Checking the audit log of one authority: its rows, its chain and its seals, from the first to the last.
//!
//! Everything is read in pages, each row once. The walk ends at the first place where something does not fit or
//! cannot be read. Where a record has gone, its stub stands for it, and the row that tells of it has to come later.

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    time::Duration,
};

use base::Timestamp;
use bytes::Bytes;
use pdu::Authority;
use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use store::{Order, Position, Range, Store, Value};

use crate::{
    Noted,
    chain::{Essence, hex},
    claims::Claims,
    day::Day,
    deed::Record,
    error::is_damage,
    gone::{STUBS, StubRow},
    seal::{LastSeal, is_genuine, is_key_of},
    tables::{CHAINS, ChainRow, LINKS, LinkRow, RECORDS, SEALS, SealRow, decode},
};

/// Rows that are read at a time.
const PAGE: usize = 500;

/// The clocks of machines that write together differ by less.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// Late seals, clocks that went back, and unknown keys that are told.
const MOST_LATE: usize = 100;
const MOST_KEYS: usize = 10;

/// What the check of an authority's audit log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Whose log.
    pub authority: OwnedServerName,
    /// How many rows were found right.
    pub rows: u64,
    /// How many of them have gone, since they were kept long enough.
    #[serde(default)]
    pub gone: u64,
    /// How many seals were found right.
    pub seals: u64,
    /// Of those, the ones that were made two days or more after their day was over: no server ran then, or the seals
    /// were made anew. The first hundred of them.
    pub late: Vec<LateSeal>,
    /// How many were made so late.
    pub late_count: u64,
    /// Of an authority that is not configured, the keys of the seals that were found right: whether they were its keys,
    /// nobody knows here. The first ten of them.
    pub unknown_keys: Vec<String>,
    /// The last of them.
    pub last_seal: Option<LastSeal>,
    /// The last link that was found right: who keeps it elsewhere can tell later whether it was so.
    pub chain: Noted,
    /// Rows whose clock is more than a minute behind that of a row before them: it was set back, or two machines have
    /// different ones. Their order is that of their numbers all the same. The first hundred of them.
    #[serde(default)]
    pub set_back: Vec<SetBack>,
    /// How many there are.
    #[serde(default)]
    pub set_back_count: u64,
    /// Rows that have no link yet.
    pub waiting: u64,
    /// The first place where something does not fit.
    pub wrong: Option<Wrong>,
}

/// A seal that was made long after its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateSeal {
    /// Of which day.
    pub day: Day,
    /// When it was made, as it says itself.
    pub made: Timestamp,
}

/// A row whose clock is behind that of a row before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBack {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub at: Timestamp,
    /// The latest that was said before it.
    pub after: Timestamp,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// What is the matter.
    pub fault: Fault,
    /// At which row, counted from 1; for what was added, the row before which it stands.
    pub number: u64,
    /// Where in the order of commits, if that is known.
    pub position: Option<Position>,
    /// Of which day, where it is about a seal.
    pub day: Option<Day>,
    /// What the storage says of it, if it does.
    pub cause: Option<String>,
}

/// What can be the matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The row is another than the one that was chained, or its link is another.
    RowChanged,
    /// The row is gone.
    RowMissing,
    /// A row is there that was never chained, or that has gone.
    RowAdded,
    /// Rows have gone that may not have, or the row that tells of some says what is not so.
    GoneWrongly,
    /// The link is gone, or cannot be read.
    LinkMissing,
    /// The note of how far the chain has come is gone, or says something else than the chain.
    EndChanged,
    /// A seal, or a note, knows more rows than there are.
    CutOff,
    /// The chain was another one when its value was noted.
    NotAsNoted,
    /// The storage cannot give back what was stored.
    Unreadable,
    /// A day has no seal, or one that cannot be read.
    SealMissing,
    /// The seal is of other rows than those that are there.
    SealOfOthers,
    /// The seal's signature does not hold.
    SealForged,
    /// The seal's key is none of the authority's as configured, whether present or old. Of one that is not configured
    /// the keys are only told.
    SealKeyUnknown,
}

/// Checks the audit log of an authority. `keys` is its configuration; without one, as of an authority that was given
/// up, no key is known, and the seals prove only what whoever knows the keys that are told makes of it. `noted` is what
/// an earlier check found.
///
/// # Errors
/// When the store cannot be read; what is wrong with the log is in the answer.
pub async fn verify(
    store: &Store,
    name: &ServerName,
    keys: Option<&Authority>,
    noted: Option<Noted>,
) -> Result<Findings, store::Error> {
    let mut walk = Walk {
        store,
        name,
        keys,
        chain: ChainRow::start(),
        seals: VecDeque::new(),
        next_day: Day(0),
        last_day: None,
        sealed: None,
        seal_count: 0,
        late: Vec::new(),
        late_count: 0,
        set_back: Vec::new(),
        set_back_count: 0,
        latest: Timestamp(0),
        unknown_keys: Vec::new(),
        noted,
        through: Position::START,
        began: store.head(),
        claims: Claims::new(),
    };
    let mut wrong = match walk.run().await {
        Err(error) if is_damage(&error) => Some(walk.unreadable(&error)),
        walked => walked?,
    };
    let waiting = match walk.waiting().await {
        Err(error) if is_damage(&error) => {
            wrong.get_or_insert_with(|| walk.unreadable(&error));
            0
        }
        counted => {
            let (count, found) = counted?;
            wrong = wrong.or(found).or_else(|| walk.unclaimed());
            count
        }
    };
    Ok(Findings {
        authority: name.to_owned(),
        rows: walk.chain.number,
        gone: walk.claims.gone,
        seals: walk.seal_count,
        late: walk.late,
        late_count: walk.late_count,
        set_back: walk.set_back,
        set_back_count: walk.set_back_count,
        unknown_keys: walk.unknown_keys,
        last_seal: walk.sealed,
        chain: Noted { number: walk.chain.number, hash: walk.chain.hash },
        waiting,
        wrong,
    })
}

/// The ends of a log, all as of one moment.
struct Ends {
    chain: Option<ChainRow>,
    link: Option<u64>,
    seal: Option<(Day, Bytes)>,
}

impl Ends {
    async fn read(store: &Store, name: &ServerName) -> Result<Self, store::Error> {
        let mut before = store.get(&CHAINS, name.as_str()).await?;
        loop {
            let (links, seals) = (Range::prefix(name.as_str()), Range::prefix(name.as_str()));
            let link = store.scan(&LINKS, links, Order::Descending, 1).await?.pop();
            let seal = store.scan(&SEALS, seals, Order::Descending, 1).await?.pop();
            let after = store.get(&CHAINS, name.as_str()).await?;
            // Whoever carries a chain on changes all of them with one commit.
            if before == after {
                let chain = before.as_ref().and_then(decode);
                return Ok(Self {
                    chain,
                    link: link.map(|((_, number), _)| number),
                    seal: seal.map(|((_, day), seal)| (day, seal)),
                });
            }
            before = after;
        }
    }
}

/// The walk along a chain.
struct Walk<'a> {
    store: &'a Store,
    name: &'a ServerName,
    keys: Option<&'a Authority>,
    /// The chain as it must be, up to here.
    chain: ChainRow,
    /// Seals ahead, some of them.
    seals: VecDeque<(Day, Bytes)>,
    /// From which day on seals were not read yet, and the last to read.
    next_day: Day,
    last_day: Option<Day>,
    sealed: Option<LastSeal>,
    seal_count: u64,
    late: Vec<LateSeal>,
    late_count: u64,
    set_back: Vec<SetBack>,
    set_back_count: u64,
    /// The latest that a row has said.
    latest: Timestamp,
    unknown_keys: Vec<String>,
    noted: Option<Noted>,
    /// The last row that has a link.
    through: Position,
    /// Up to where there was something when the check began.
    began: Position,
    /// What is said of records that have gone.
    claims: Claims,
}

impl Walk<'_> {
    /// Counts the rows that have no link yet, and looks at what they say of those that have gone: a slice and its row are one
    /// commit, and the link comes later.
    async fn waiting(&mut self) -> Result<(u64, Option<Wrong>), store::Error> {
        let (name, mut last, mut count, mut wrong) = (self.name.as_str(), self.through, 0, None);
        loop {
            let range = Range::prefix(name).after(&(name, last));
            let rows = self.store.scan(&RECORDS, range, Order::Ascending, PAGE).await?;
            for ((_, position), record) in &rows {
                let record = Record::decode(record).ok();
                let is_true = record.is_none_or(|record| self.claims.record(&record, *position > self.began));
                if !is_true && wrong.is_none() {
                    wrong = Some(Wrong {
                        number: self.chain.number + 1 + count,
                        ..self.wrong(Fault::GoneWrongly, Some(*position))
                    });
                }
                count += 1;
            }
            match rows.last() {
                Some(((_, position), _)) if rows.len() == PAGE => last = *position,
                _ => return Ok((count, wrong)),
            }
        }
    }

    /// The first of the records that have gone and that no row tells of.
    fn unclaimed(&self) -> Option<Wrong> {
        let number = self.claims.first_unclaimed()?;
        Some(Wrong { number, ..self.wrong(Fault::RowMissing, None) })
    }

    async fn run(&mut self) -> Result<Option<Wrong>, store::Error> {
        let ends = Ends::read(self.store, self.name).await?;
        self.last_day = ends.seal.as_ref().map(|(day, _)| *day);
        self.through = ends.chain.as_ref().map_or(Position::START, |chain| chain.position);
        self.read_seals().await?;
        let Some(end) = &ends.chain else {
            let is_empty = ends.link.is_none() && ends.seal.is_none();
            let wrong = (!is_empty).then(|| self.wrong(Fault::EndChanged, None));
            return Ok(wrong.or_else(|| self.cut_off()));
        };
        let mut limit = PAGE;
        while self.chain.number < end.number {
            match self.page(end, limit).await {
                Ok(None) => {}
                Ok(Some(wrong)) => return Ok(Some(wrong)),
                // Some row of the page: which one is found with shorter pages.
                Err(error) if is_damage(&error) && limit > 1 => limit /= 2,
                Err(error) => return Err(error),
            }
        }
        let wrong = self.end(end, ends.link).or_else(|| self.cut_off());
        // What stays of records that there never were.
        let behind = Range::prefix(self.name.as_str()).after(&(self.name.as_str(), end.number));
        let behind = self.store.scan(&STUBS, behind, Order::Ascending, 1).await?;
        Ok(wrong.or_else(|| (!behind.is_empty()).then(|| self.wrong(Fault::GoneWrongly, None))))
    }

    /// Checks a page of links with their records, or with what stays of them.
    async fn page(&mut self, end: &ChainRow, limit: usize) -> Result<Option<Wrong>, store::Error> {
        let name = self.name.as_str();
        let links = Range::prefix(name).after(&(name, self.chain.number)).through(&(name, end.number));
        let links = self.store.scan(&LINKS, links, Order::Ascending, limit).await?;
        let Some(((_, last), _)) = links.last() else {
            return Ok(Some(self.wrong(Fault::LinkMissing, None)));
        };
        let (records, mut stubs) = self.rows(end, *last, links.len()).await?;
        let mut records = records.into_iter().map(|((_, position), record)| (position, record));
        // Nothing has the number 0, so what is found there was added.
        let first = stubs.keys().next().copied();
        if first.is_some_and(|first| first <= self.chain.number) {
            return Ok(Some(self.wrong(Fault::GoneWrongly, None)));
        }
        for ((_, number), link) in links {
            if number != self.chain.number + 1 {
                return Ok(Some(self.wrong(Fault::LinkMissing, None)));
            }
            let row = match stubs.remove(&number) {
                Some(stub) => self.stub(&link, &stub),
                None => self.row(&link, records.next()),
            };
            let wrong = row.or_else(|| self.note()).or_else(|| self.seal());
            if let Some(wrong) = wrong {
                return Ok(Some(wrong));
            }
            if self.seals.is_empty() {
                self.read_seals().await?;
            }
        }
        Ok(None)
    }

    /// Records from here on, so many at most, and the stubs from here through a number: those that were there together.
    async fn rows(
        &self,
        end: &ChainRow,
        last: u64,
        limit: usize,
    ) -> Result<(Vec<((String, Position), Bytes)>, BTreeMap<u64, Bytes>), store::Error> {
        let name = self.name.as_str();
        let mut before = self.stubs(last).await?;
        loop {
            let records = match self.chain.number {
                // Nothing is ever written at position 0, so what is found there was added.
                0 => Range::prefix(name),
                _ => Range::prefix(name).after(&(name, self.chain.position)),
            };
            let records = records.through(&(name, end.position));
            let records = self.store.scan(&RECORDS, records, Order::Ascending, limit).await?;
            let after = self.stubs(last).await?;
            // Records go, and stubs come, with one commit.
            if before == after {
                return Ok((records, after));
            }
            before = after;
        }
    }

    async fn stubs(&self, last: u64) -> Result<BTreeMap<u64, Bytes>, store::Error> {
        let name = self.name.as_str();
        let range = match self.chain.number {
            0 => Range::prefix(name),
            number => Range::prefix(name).after(&(name, number)),
        };
        let stubs = self.store.scan(&STUBS, range.through(&(name, last)), Order::Ascending, PAGE + 1).await?;
        Ok(stubs.into_iter().map(|((_, number), stub)| (number, stub)).collect())
    }

    /// Checks what stays of the next record against its link.
    fn stub(&mut self, link: &Bytes, stub: &Bytes) -> Option<Wrong> {
        let Some(link) = decode::<LinkRow>(link) else {
            return Some(self.wrong(Fault::LinkMissing, None));
        };
        let Some(stub) = decode::<StubRow>(stub).filter(|_| link.position > self.chain.position) else {
            return Some(self.wrong(Fault::RowChanged, Some(link.position)));
        };
        // A link of the first form cannot be computed any more; the row that tells of it has a hash over it.
        let next = self.chain.next(self.name, link.position);
        if !stub.is_former && next.link(&Essence::left(&stub)) != link.hash {
            return Some(self.wrong(Fault::RowChanged, Some(link.position)));
        }
        // It went when it was sealed, so its seal says of which day it was at the latest.
        let number = self.chain.number + 1;
        let seal = self.seals.front().and_then(|(day, seal)| Some((*day, decode::<SealRow>(seal)?)));
        let Some((day, _)) = seal.filter(|(_, seal)| seal.last >= number) else {
            return Some(self.wrong(Fault::GoneWrongly, Some(link.position)));
        };
        if !self.claims.stub(number, &link, &stub, day) {
            return Some(self.wrong(Fault::GoneWrongly, Some(link.position)));
        }
        self.chain.pass(&link, Some(day));
        None
    }

    /// Checks the next record against its link.
    fn row(&mut self, link: &Bytes, record: Option<(Position, Bytes)>) -> Option<Wrong> {
        let Some(link) = decode::<LinkRow>(link) else {
            return Some(self.wrong(Fault::LinkMissing, record.map(|(position, _)| position)));
        };
        let Some((position, bytes)) = record else {
            return Some(self.wrong(Fault::RowMissing, Some(link.position)));
        };
        let fits = self.chain.next(self.name, position).form(&bytes, &link.hash).is_some();
        if !fits || position != link.position {
            let fault = match position.cmp(&link.position) {
                // The hash is right, so the link's own place is not.
                _ if fits => Fault::RowChanged,
                std::cmp::Ordering::Less => Fault::RowAdded,
                std::cmp::Ordering::Equal => Fault::RowChanged,
                std::cmp::Ordering::Greater => Fault::RowMissing,
            };
            let at = if fault == Fault::RowMissing { link.position } else { position };
            return Some(self.wrong(fault, Some(at)));
        }
        let record = Record::decode(&bytes).ok();
        let at = record.as_ref().map(|record| record.at);
        if at.is_some_and(|at| self.chain.is_due(Day::of(at))) {
            return Some(self.seal_wrong(Fault::SealMissing, self.chain.day));
        }
        if record.is_some_and(|record| !self.claims.record(&record, position > self.began)) {
            return Some(self.wrong(Fault::GoneWrongly, Some(position)));
        }
        self.chain.pass(&link, at.map(Day::of));
        if let Some(at) = at {
            self.look_at_clock(at);
        }
        None
    }

    /// Notes where a clock has gone back.
    fn look_at_clock(&mut self, at: Timestamp) {
        let after = self.latest;
        self.latest = after.max(at);
        if at + CLOCKS_DIFFER < after {
            self.set_back_count += 1;
            if self.set_back.len() < MOST_LATE {
                self.set_back.push(SetBack { number: self.chain.number, at, after });
            }
        }
    }

    /// Checks the row before against the note, if that is of it.
    fn note(&self) -> Option<Wrong> {
        let noted = self.noted.filter(|noted| noted.number == self.chain.number)?;
        let number = noted.number;
        (noted.hash != self.chain.hash).then(|| Wrong { number, ..self.wrong(Fault::NotAsNoted, None) })
    }

    /// Checks that there are as many rows as the note knows.
    fn cut_off(&self) -> Option<Wrong> {
        let noted = self.noted.filter(|noted| noted.number > self.chain.number);
        noted.map(|_| self.wrong(Fault::CutOff, None))
    }

    /// Checks the seal that ends with the row before, if there is one.
    fn seal(&mut self) -> Option<Wrong> {
        let (day, bytes) = self.seals.front()?;
        let day = *day;
        let Some(seal) = decode::<SealRow>(bytes) else {
            return Some(self.seal_wrong(Fault::SealMissing, day));
        };
        if seal.last > self.chain.number {
            return None;
        }
        if !is_genuine(self.name, day, &seal) {
            return Some(self.seal_wrong(Fault::SealForged, day));
        }
        let expected = (self.chain.sealed + 1, self.chain.number, self.chain.hash, self.chain.day);
        if (seal.first, seal.last, seal.hash, day) != expected {
            return Some(self.seal_wrong(Fault::SealOfOthers, day));
        }
        match self.keys {
            Some(authority) if is_key_of(authority, &seal) => {}
            Some(_) => return Some(self.seal_wrong(Fault::SealKeyUnknown, day)),
            None => self.unknown_key(&seal),
        }
        self.seals.pop_front();
        self.chain.close_day();
        self.seal_count += 1;
        self.claims.seal(Day::of(seal.made));
        if Day::of(seal.made) > day.next().next() {
            self.late_count += 1;
            if self.late.len() < MOST_LATE {
                self.late.push(LateSeal { day, made: seal.made });
            }
        }
        self.sealed = Some(LastSeal { day, number: seal.last });
        None
    }

    fn unknown_key(&mut self, seal: &SealRow) {
        let key = format!("{} {}", seal.key_id, hex(&seal.public_key));
        if self.unknown_keys.len() < MOST_KEYS && !self.unknown_keys.contains(&key) {
            self.unknown_keys.push(key);
        }
    }

    /// Checks that the chain ends where the note of its end and the last seal say.
    fn end(&self, end: &ChainRow, last_link: Option<u64>) -> Option<Wrong> {
        if let Some((day, seal)) = self.seals.front() {
            let fault = match decode::<SealRow>(seal) {
                Some(seal) if !is_genuine(self.name, *day, &seal) => Fault::SealForged,
                Some(_) => Fault::CutOff,
                None => Fault::SealMissing,
            };
            return Some(self.seal_wrong(fault, *day));
        }
        if self.chain.sealed < end.sealed {
            // The note of the end knows a seal that is not there.
            return Some(self.seal_wrong(Fault::SealMissing, self.chain.day));
        }
        let fits = self.chain == *end && last_link.unwrap_or(0) == end.number;
        (!fits).then(|| self.wrong(Fault::EndChanged, None))
    }

    async fn read_seals(&mut self) -> Result<(), store::Error> {
        let Some(last) = self.last_day.filter(|last| *last >= self.next_day) else { return Ok(()) };
        let name = self.name.as_str();
        let range = Range::prefix(name).from(&(name, self.next_day)).through(&(name, last));
        for ((_, day), seal) in self.store.scan(&SEALS, range, Order::Ascending, PAGE).await? {
            self.next_day = day.next();
            self.seals.push_back((day, seal));
        }
        if self.seals.is_empty() {
            self.last_day = None;
        }
        Ok(())
    }

    /// Something is wrong with the row after those that were found right.
    fn wrong(&self, fault: Fault, position: Option<Position>) -> Wrong {
        Wrong { fault, number: self.chain.number + 1, position, day: None, cause: None }
    }

    fn unreadable(&self, error: &store::Error) -> Wrong {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let cause = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
        Wrong { cause: Some(cause), ..self.wrong(Fault::Unreadable, None) }
    }

    /// Something is wrong with a seal behind the rows that were found right.
    fn seal_wrong(&self, fault: Fault, day: Day) -> Wrong {
        Wrong { fault, number: self.chain.number, position: None, day: Some(day), cause: None }
    }
}
