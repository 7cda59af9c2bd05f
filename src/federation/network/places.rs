//! Places: how many requests are under way at a time, to one peer and in all.
//!
//! What we want ourselves waits for a place. What anybody may have us ask has a few places of its own and
//! never waits: whoever fills them, with names that take a connection and never answer, takes nothing from
//! rooms and users, and a question that finds no place fails at once.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    config::NetworkConfig,
    resolver::make_room,
    transport::{Cause, TransportError},
};

/// Destinations whose places are remembered while nobody uses them.
const MOST_DESTINATIONS: usize = 20_000;

/// The places of all requests, by why they are made.
pub(super) struct Places {
    ours: Pool,
    profiles: Pool,
    keys: Pool,
    files: Pool,
}

/// A place; free again when it is dropped.
pub(super) struct Place {
    _of_the_peer: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

struct Pool {
    all: Arc<Semaphore>,
    by_peer: Mutex<HashMap<OwnedServerName, Arc<Semaphore>>>,
    per_peer: usize,
}

impl Places {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let (ours, strangers) = (config.requests_per_peer, config.requests_per_peer / 2);
        Self {
            ours: Pool::new(config.requests, ours),
            profiles: Pool::new(config.profiles, strangers),
            keys: Pool::new(config.unproven_keys, strangers),
            files: Pool::new(config.files, config.files_per_peer),
        }
    }

    /// Takes a place among those to this peer and one among all.
    ///
    /// # Errors
    /// [`TransportError::NoPlace`] where strangers have as many requests under way as they may.
    pub(super) async fn take(&self, destination: &ServerName, cause: Cause) -> Result<Place, TransportError> {
        match cause {
            Cause::Ours => self.ours.wait(destination).await,
            Cause::Profile => self.profiles.take_now(destination),
            Cause::File => self.files.wait(destination).await,
            Cause::UnprovenName => self.keys.take_now(destination),
        }
    }
}

impl Pool {
    fn new(all: usize, per_peer: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.max(1))),
            by_peer: Mutex::default(),
            per_peer: per_peer.max(1),
        }
    }

    async fn wait(&self, destination: &ServerName) -> Result<Place, TransportError> {
        let closed = |_| TransportError::Broken("shutting down".to_owned());
        // The peer's first: a slow peer fills only its own places.
        let of_the_peer = self.of(destination).acquire_owned().await.map_err(closed)?;
        let of_all = self.all.clone().acquire_owned().await.map_err(closed)?;
        Ok(Place { _of_the_peer: of_the_peer, _of_all: of_all })
    }

    fn take_now(&self, destination: &ServerName) -> Result<Place, TransportError> {
        let full = |_| TransportError::NoPlace;
        let of_all = self.all.clone().try_acquire_owned().map_err(full)?;
        let of_the_peer = self.of(destination).try_acquire_owned().map_err(full)?;
        Ok(Place { _of_the_peer: of_the_peer, _of_all: of_all })
    }

    fn of(&self, destination: &ServerName) -> Arc<Semaphore> {
        let mut by_peer = self.by_peer.lock();
        if let Some(peer) = by_peer.get(destination) {
            return peer.clone();
        }
        make_room(&mut by_peer, MOST_DESTINATIONS, |peer| Arc::strong_count(peer) > 1);
        let peer = Arc::new(Semaphore::new(self.per_peer));
        by_peer.insert(destination.to_owned(), peer.clone());
        peer
    }
}
