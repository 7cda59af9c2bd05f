//! [`Rooms`]: the handle through which everything about rooms is asked.

use std::sync::Arc;

use audit::{Action, Actor, Deed};
use base::{ByteSize, Clock, Metrics, Random, Tasks};
use pdu::Authorities;
use ruma::{ServerName, UserId};
use store::Store;

use crate::{
    Error, Policy,
    memory::Shares,
    read::{Reader, typing::Typing},
    snapshot::Snapshots,
};

/// What the reading of rooms is made of.
pub struct Parts<'a> {
    /// Where everything is kept.
    pub store: Store,
    /// Memory for all caches of rooms, those of who writes them among these; each has a share.
    pub memory: ByteSize,
    /// Our server names with their keys.
    pub authorities: Arc<Authorities>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Who may do what.
    pub policy: Arc<dyn Policy>,
    /// Who runs its tasks.
    pub tasks: &'a Tasks,
    /// Where it counts.
    pub metrics: &'a Metrics,
}

/// All rooms of this process, as they are stored. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    store: Store,
    authorities: Arc<Authorities>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) tasks: Tasks,
    snapshots: Snapshots,
    reader: Reader,
    pub(crate) retries: base::Counter,
}

impl Rooms {
    /// Opens what is stored of rooms, for readers and for the one who writes them.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be read; [`Error::Commit`].
    pub async fn open(parts: Parts<'_>) -> Result<Self, Error> {
        let Parts { store, memory, authorities, clock, random, policy, tasks, metrics } = parts;
        let (caches, shares) = (metrics.caches(), Shares::of(memory));
        let inner = Inner {
            snapshots: Snapshots::new(store.clone(), caches, shares.chunks, tasks),
            reader: Reader::new(caches, &shares, Typing::listening(&store, &clock, random.u64())),
            retries: metrics.counter("yakuba_room_retries", "Writes done again after a conflict"),
            store,
            authorities,
            clock,
            random,
            policy,
            tasks: tasks.clone(),
        };
        let rooms = Self(Arc::new(inner));
        rooms.index_open_rooms().await?;
        Ok(rooms)
    }

    /// The store below.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Who may do what in this deployment, for the crates above.
    pub fn policy(&self) -> &dyn Policy {
        &*self.0.policy
    }

    /// Caches of readers.
    pub(crate) fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// The trees of room state.
    pub fn snapshots(&self) -> &Snapshots {
        &self.0.snapshots
    }

    /// The server names of this process.
    pub fn authorities(&self) -> &Authorities {
        &self.0.authorities
    }

    /// Whether a user lives on this process.
    pub fn is_local(&self, user: &UserId) -> bool {
        self.0.authorities.is_ours(user.server_name())
    }

    /// Whether a server name is one of this process.
    pub fn is_ours(&self, server: &ServerName) -> bool {
        self.0.authorities.is_ours(server)
    }

    /// A deed at this moment, for the audit log.
    pub fn deed(&self, what: Action, by: &Actor, whom: &str) -> Deed {
        Deed::new(what, by, whom, self.0.clock.now())
    }

    /// Now, in ms since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now().millis()
    }
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms").finish_non_exhaustive()
    }
}
