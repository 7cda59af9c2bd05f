//! Attempts that failed, for the audit log: gathered, since strangers make them.
//!
//! A failed attempt has no commit of its own, and must not get one: whoever wants to fill the disk would only
//! have to guess. Equal attempts are counted in memory and written together, twice a minute and at a stop,
//! so a crash loses the counts of half a minute. How many rows that makes is bounded for each authority and
//! for all: in the long run 17,280 and 172,800 a day. Attempts on accounts that exist have a bound of their own, so
//! that a flood of others hides none of them. Where they go beyond it, they are told of each account without the
//! addresses, with a bound again; beyond that, of each address without the accounts, with one more; and what is left
//! is counted without either.
//!
//! A count is never too small while the process lives. Where the storage's answer to a row was lost, the row is
//! written again, so the same attempts may be counted twice.
//!
//! A name that nobody has is not written: people type their passwords there, and strangers whatever they like.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use audit::{Action, Actor, Deed, written};
use base::{Buckets, Clock, Rate, Timestamp};
use parking_lot::Mutex;
use ruma::{OwnedServerName, OwnedUserId, ServerName};
use store::Batch;

use crate::{Accounts, Error};

/// Rows of each [`Kind`] in one authority's log, and in all together.
const OF_AUTHORITY: Rate = Rate { per_second: 0.05, burst: 250 };
const OF_ALL: Rate = Rate { per_second: 0.5, burst: 1_000 };

/// Different attempts that are kept in memory, however long nothing can be written.
const MOST_KEPT: usize = 5_000;

/// Rows that are written with one batch.
const AT_ONCE: usize = 500;

/// Something that was tried in vain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    /// In whose log it belongs.
    pub(crate) authority: OwnedServerName,
    /// What was tried.
    pub(crate) what: Action,
    /// By whom.
    pub(crate) by: Actor,
    /// On whom, if there is such an account.
    pub(crate) whom: Option<OwnedUserId>,
    /// Why it failed: a word that never changes.
    pub(crate) reason: &'static str,
}

/// How much a row tells. Each kind has rows of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// An account and from where.
    Account,
    /// An account.
    AccountAlone,
    /// From where, on some account.
    AddressAlone,
    /// Nothing of an account: nobody has the name, or it is of many.
    Nobody,
}

impl Attempt {
    /// The rows that can tell of it, the best first.
    fn rows(self) -> Vec<(Kind, Self)> {
        if self.whom.is_none() {
            return vec![(Kind::Nobody, self)];
        }
        let alone = Self { by: self.by.clone().from_anywhere(), ..self.clone() };
        let from = self.by.from();
        let address = from.map(|from| Self { by: Actor::stranger(Some(from)), whom: None, ..self.clone() });
        let mut rows = vec![(Kind::Account, self), (Kind::AccountAlone, alone)];
        rows.extend(address.map(|address| (Kind::AddressAlone, address)));
        rows
    }
}

/// How often, and when.
#[derive(Clone, Copy, Debug)]
struct Times {
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Times {
    fn add(&mut self, more: Times) {
        self.count = self.count.saturating_add(more.count);
        self.first = self.first.min(more.first);
        self.last = self.last.max(more.last);
    }
}

/// The attempts that were not written yet.
pub(crate) struct Failures {
    clock: Clock,
    of_authority: Buckets,
    of_all: Buckets,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    /// Those that have a row to come.
    told: HashMap<Attempt, Times>,
    /// The others.
    rest: BTreeMap<OwnedServerName, Times>,
}

impl Failures {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            of_authority: Buckets::new(OF_AUTHORITY),
            of_all: Buckets::new(OF_ALL),
            gathered: Mutex::default(),
        }
    }

    /// Counts an attempt.
    pub(crate) fn note(&self, attempt: Attempt) {
        let now = self.clock.now();
        let once = Times { count: 1, first: now, last: now };
        let authority = attempt.authority.clone();
        let mut gathered = self.gathered.lock();
        for (kind, row) in attempt.rows() {
            if let Some(times) = gathered.told.get_mut(&row) {
                return times.add(once);
            }
            if gathered.told.len() < MOST_KEPT && self.may_write(&authority, kind) {
                gathered.told.insert(row, once);
                return;
            }
        }
        gathered.add_to_rest(authority, once);
    }

    /// Takes a row from what may be written.
    fn may_write(&self, authority: &ServerName, kind: Kind) -> bool {
        let now = self.clock.instant();
        let which = (authority, kind);
        if self.of_authority.take(&which, now).is_err() {
            return false;
        }
        let free = self.of_all.take(&kind, now).is_ok();
        if !free {
            self.of_authority.put_back(&which, now);
        }
        free
    }

    /// Takes what is to be written now.
    fn take(&self) -> Vec<(Attempt, Times)> {
        let mut gathered = self.gathered.lock();
        let mut taken: Vec<_> = mem::take(&mut gathered.told).into_iter().collect();
        let rest = mem::take(&mut gathered.rest);
        for (authority, times) in rest {
            let attempt = the_rest_at(authority);
            if self.may_write(&attempt.authority, Kind::Nobody) {
                taken.push((attempt, times));
            } else {
                gathered.rest.insert(attempt.authority, times);
            }
        }
        taken
    }

    /// Takes back what could not be written. Its rows were counted already.
    fn put_back(&self, taken: Vec<(Attempt, Times)>) {
        let mut gathered = self.gathered.lock();
        for (attempt, times) in taken {
            if let Some(known) = gathered.told.get_mut(&attempt) {
                known.add(times);
            } else if gathered.told.len() < MOST_KEPT {
                gathered.told.insert(attempt, times);
            } else {
                gathered.add_to_rest(attempt.authority, times);
            }
        }
    }
}

impl Gathered {
    fn add_to_rest(&mut self, authority: OwnedServerName, times: Times) {
        self.rest.entry(authority).and_modify(|known| known.add(times)).or_insert(times);
    }
}

/// What stands for attempts that are counted and not told.
fn the_rest_at(authority: OwnedServerName) -> Attempt {
    let (what, by) = (Action::SignInFailed, Actor::stranger(None));
    Attempt { authority, what, by, whom: None, reason: "too_many_to_tell" }
}

impl Accounts {
    /// Counts an attempt that failed, for the audit log.
    pub(crate) fn note_failure(&self, attempt: Attempt) {
        self.inner.failures.note(attempt);
    }

    /// Writes the attempts that failed since the last time.
    pub(crate) async fn write_failures(&self) -> Result<(), Error> {
        let mut taken = self.inner.failures.take();
        while !taken.is_empty() {
            let some = taken.split_off(taken.len().saturating_sub(AT_ONCE));
            let mut batch = Batch::new();
            for (attempt, times) in &some {
                let whom = attempt.whom.as_ref().map_or("", |user| user.as_str());
                Deed::new(attempt.what, &attempt.by, whom, times.last)
                    .after("reason", attempt.reason)
                    .after("times", times.count.to_string())
                    .after("since", written(times.first))
                    .write(&mut batch, &attempt.authority);
            }
            if let Err(error) = self.commit(batch).await {
                self.inner.failures.put_back(taken);
                self.inner.failures.put_back(some);
                return Err(error);
            }
        }
        Ok(())
    }
}
