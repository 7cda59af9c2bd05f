//! What the handlers share.

use std::{collections::HashSet, sync::OnceLock};

use account::Accounts;
use base::{Clock, Crowded, Random, Tasks, Turn, Turns, lane_of};
use bytes::Bytes;
use engine::Engine;
use media::Media;
use oversight::Oversight;
use parking_lot::Mutex;
use push::Push;
use room::Rooms;
use ruma::ServerName;
use store::Store;
use web::{ApiError, StatusCode};

/// So many requests look through everything at a time; whoever wants to as well waits, and so many may.
const WALKS: usize = 2;
const MOST_WAITING: usize = 200;

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
    /// What administrators see and do that is no single crate's.
    pub oversight: Oversight,
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
    /// What this API is, for programs, once somebody has asked.
    pub(crate) description: OnceLock<Bytes>,
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) engine: Engine,
    pub(crate) rooms: Rooms,
    pub(crate) media: Media,
    pub(crate) push: Push,
    pub(crate) oversight: Oversight,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    /// Deletions that this process works on.
    pub(crate) working: Mutex<HashSet<String>>,
    /// Whoever orders that a room be deleted does so alone: two who order the same give one order.
    pub(crate) ordering: tokio::sync::Mutex<()>,
    walks: Turns<()>,
}

impl AdminApi {
    /// The state of the handlers, from the parts of the process.
    pub fn new(parts: Parts) -> Self {
        let Parts { version, store, accounts, engine, media, push, oversight, clock, random, tasks } = parts;
        Self {
            version,
            description: OnceLock::new(),
            store,
            accounts,
            rooms: engine.rooms().clone(),
            engine,
            media,
            push,
            oversight,
            clock,
            random,
            tasks,
            working: Mutex::default(),
            ordering: tokio::sync::Mutex::default(),
            walks: Turns::new(WALKS, MOST_WAITING),
        }
    }

    /// The right to look through all users, rooms or files, given out in turn; authorities in rotation, so that one delays
    /// another by no more than what is under way.
    ///
    /// # Errors
    /// 503 `M_LIMIT_EXCEEDED` where too many of it wait.
    pub(crate) async fn turn(&self, authority: &ServerName) -> Result<Turn<()>, ApiError> {
        self.walks.wait(lane_of(authority.as_str())).await.map_err(|Crowded(_)| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "M_LIMIT_EXCEEDED",
                "Too many look through everything already",
            )
        })
    }
}
