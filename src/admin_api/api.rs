//! What the handlers share.

use std::{collections::HashSet, sync::Arc};

use account::Accounts;
use base::{Clock, Random, Tasks};
use engine::Engine;
use media::Media;
use parking_lot::Mutex;
use push::Push;
use room::Rooms;
use store::Store;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::peers::Peers;

/// So many requests look through everything at a time; whoever wants to as well waits.
const WALKS: usize = 2;

/// What the handlers are made of.
pub struct Parts {
    /// The version of the program.
    pub version: &'static str,
    /// The store.
    pub store: Store,
    /// The accounts.
    pub accounts: Accounts,
    /// What writes rooms.
    pub engine: Engine,
    /// Files of users.
    pub media: Media,
    /// Pushers.
    pub push: Push,
    /// How we get along with other servers.
    pub peers: Arc<dyn Peers>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Who runs what goes on behind an answer.
    pub tasks: Tasks,
}

/// The state of the handlers.
pub struct AdminApi {
    pub(crate) version: &'static str,
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) engine: Engine,
    pub(crate) rooms: Rooms,
    pub(crate) media: Media,
    pub(crate) push: Push,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    /// Deletions that this process works on.
    pub(crate) working: Mutex<HashSet<String>>,
    walks: Semaphore,
}

impl AdminApi {
    /// The state of the handlers, from the parts of the process.
    pub fn new(parts: Parts) -> Self {
        let Parts { version, store, accounts, engine, media, push, peers, clock, random, tasks } = parts;
        Self {
            version,
            store,
            accounts,
            rooms: engine.rooms().clone(),
            engine,
            media,
            push,
            peers,
            clock,
            random,
            tasks,
            working: Mutex::default(),
            walks: Semaphore::new(WALKS),
        }
    }

    /// The right to look through all users, rooms or files, given out in turn.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody ever closes it.
        self.walks.acquire().await.ok()
    }
}
