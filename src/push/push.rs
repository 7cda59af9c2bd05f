//! The crate's one handle.

use std::sync::Arc;

use account::Accounts;
use base::{ByteSize, Clock, Metrics};
use room::Rooms;
use ruma::UserId;
use store::Store;

use crate::{
    Error,
    counted::CountsCache,
    facts::FactsCache,
    rules::{Rules, RulesCache},
};

/// Tells users what they are notified of. Cheap to clone; its verbs are spread over the files of this crate by subject.
#[derive(Clone)]
pub struct Push(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    accounts: Accounts,
    store: Store,
    clock: Clock,
    facts: FactsCache,
    rules: RulesCache,
    counts: CountsCache,
}

impl Push {
    /// Over these rooms and accounts, with this much memory for caches: most of it for what was counted.
    pub fn new(
        rooms: Rooms,
        accounts: Accounts,
        store: Store,
        memory: ByteSize,
        clock: Clock,
        metrics: &Metrics,
    ) -> Self {
        let caches = metrics.caches();
        let part = |hundredths: u64| memory.as_u64() / 100 * hundredths;
        Self(Arc::new(Inner {
            rooms,
            accounts,
            store,
            clock,
            facts: FactsCache::new(caches, part(15)),
            rules: RulesCache::new(caches, part(25)),
            counts: CountsCache::new(caches, part(60)),
        }))
    }

    pub(crate) fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn facts(&self) -> &FactsCache {
        &self.0.facts
    }

    /// A user's rules; the same ones until he changes them.
    pub(crate) async fn rules(&self, user: &UserId) -> Result<Arc<Rules>, Error> {
        self.0.rules.of(self.store(), self.accounts(), user).await
    }

    pub(crate) fn counts(&self) -> &CountsCache {
        &self.0.counts
    }
}
