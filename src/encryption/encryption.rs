//! The crate's one handle and what its verbs share.

use std::{fmt, sync::Arc};

use account::Accounts;
use base::{Attempts, ByteSize, Clock, Metrics, Random};
use room::Rooms;
use store::Store;

use crate::{
    Error, Peers,
    changes::Lists,
    ends::KeyEnds,
    one_time::{Counted, Pending},
    remote::Silent,
};

/// What the server keeps for end-to-end encryption. Cheap to clone; its verbs are spread over the files of this crate by
/// subject.
#[derive(Clone)]
pub struct Encryption {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) lists: Lists,
    pub(crate) counted: Counted,
    pub(crate) pending: Pending,
    pub(crate) silent: Silent,
    pub(crate) tells_names: bool,
}

/// What it is made of.
pub struct Parts<'a> {
    /// Where keys are kept.
    pub store: Store,
    /// Who is in which rooms.
    pub rooms: Rooms,
    /// Whose devices there are.
    pub accounts: Accounts,
    /// The way to other servers.
    pub peers: Arc<dyn Peers>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Whether other servers are told what devices are called.
    pub tells_names: bool,
    /// Memory for caches.
    pub memory: ByteSize,
    /// Where it is counted.
    pub metrics: &'a Metrics,
}

impl Encryption {
    /// Puts the parts together. What ends with a device goes with it from now on.
    pub fn open(parts: Parts<'_>) -> Self {
        let Parts { store, rooms, accounts, peers, clock, random, tells_names, memory, metrics } = parts;
        accounts.add_device_ends(Arc::new(KeyEnds::new(store.clone(), rooms.clone())));
        let lists = Lists::new(store.clone(), rooms.clone());
        let counted = Counted::new(memory, metrics);
        let (pending, silent) = (Pending::default(), Silent::default());
        Self {
            inner: Arc::new(Inner {
                store,
                rooms,
                accounts,
                peers,
                clock,
                random,
                lists,
                counted,
                pending,
                silent,
                tells_names,
            }),
        }
    }

    /// Counts another try of a change that others raced with.
    pub(crate) async fn again(&self, attempts: &mut Attempts) -> Result<(), Error> {
        match attempts.again(&self.inner.random).await {
            true => Ok(()),
            false => Err(Error::Contended),
        }
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").finish_non_exhaustive()
    }
}
