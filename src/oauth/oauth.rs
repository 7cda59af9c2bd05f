//! The crate's one handle.

use std::{fmt, sync::Arc, time::Duration};

use account::Accounts;
use base::{Address, AddressBuckets, Attempts, Buckets, Clock, Random, Rate};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use ruma::{ServerName, UserId};
use store::{Batch, Store};

use crate::{Error, polls::Poll, tables::Hash};

/// Codes that a signed-in user may type wrong at once, and how many more a second.
const GUESSES: Rate = Rate { per_second: 0.1, burst: 10 };

/// Requests of devices, letterboxes and new clients that one address may make at an authority at once, and how many more a second: an office is behind
/// one, and a stranger must not fill up what there may be of them. Networks of IPv6 have larger shares.
const MAKING: Rate = Rate { per_second: 0.05, burst: 30 };

/// What one user may agree to at once, and how much more a second: nobody fills up what there may be of codes.
const AGREEING: Rate = Rate { per_second: 0.05, burst: 30 };

/// Device codes of which it is remembered when they were last asked for.
const POLLS: usize = 4_096;

/// The authorization servers of all authorities of this process. Cheap to clone.
#[derive(Clone)]
pub struct OAuth {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// When devices asked last: in each process, which is enough to slow them down.
    pub(crate) polls: Cache<Hash, Arc<Mutex<Poll>>>,
    /// What addresses made that waits.
    makers: AddressBuckets,
    /// Codes that users typed wrong.
    pub(crate) guesses: Buckets,
    /// What users agreed to.
    agreements: Buckets,
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").finish_non_exhaustive()
    }
}

impl OAuth {
    /// Over a store and its accounts.
    pub fn new(store: Store, accounts: Accounts, clock: Clock, random: Random) -> OAuth {
        let guesses = Buckets::new(GUESSES);
        let (polls, makers) = (Cache::new(POLLS), AddressBuckets::new(MAKING));
        let agreements = Buckets::new(AGREEING);
        OAuth {
            inner: Arc::new(Inner { store, accounts, clock, random, polls, makers, guesses, agreements }),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.clock.now().millis()
    }

    /// Whether something that was made then is over: in either direction, as a calendar may be set back.
    pub(crate) fn is_over(&self, made_ms: u64, lifetime: Duration) -> bool {
        u128::from(self.now_ms().abs_diff(made_ms)) >= lifetime.as_millis()
    }

    /// Counts what somebody makes who has not shown who he is. Who has no address is counted with all others only.
    pub(crate) fn count_maker(
        &self,
        authority: &ServerName,
        kind: u8,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let Some(from) = from else { return Ok(()) };
        let now = self.inner.clock.instant();
        let counted = self.inner.makers.take(&(authority, kind), from, now);
        let limit = "waiting_sign_ins";
        Ok(counted.map_err(|retry_after| account::Error::Limited { limit, retry_after })?)
    }

    /// Counts what a user agrees to.
    pub(crate) fn count_agreement(&self, user: &UserId) -> Result<(), Error> {
        let counted = self.inner.agreements.take(&user, self.inner.clock.instant());
        let limit = "sign_ins_of_user";
        Ok(counted.map_err(|retry_after| account::Error::Limited { limit, retry_after })?)
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    /// Counts another try of a change that others raced with.
    pub(crate) async fn again(&self, attempts: &mut Attempts) -> Result<(), Error> {
        match attempts.again(&self.inner.random).await {
            true => Ok(()),
            false => Err(Error::Contended),
        }
    }
}
