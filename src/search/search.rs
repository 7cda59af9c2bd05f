//! The crate's one handle.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use base::{Clock, Counter, Gauge, Metrics, Tasks, Turn, Turns};
use room::Rooms;
use ruma::UserId;
use store::{Consumer, Order, Range, Store};

use crate::{
    Error,
    tables::{DOCUMENTS, NAME, PAGES},
};

/// Searches under way in a process. Each holds some megabytes, and works for some tens of milliseconds.
const AT_ONCE: usize = 4;

/// How many may wait, each user behind himself: their lanes take turns.
const WAITING: usize = 256;

/// How long one waits for a place among them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Searches what was said in rooms. Cheap to clone; its verbs are spread over the files of this crate by subject.
#[derive(Clone)]
pub struct Search(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    store: Store,
    clock: Clock,
    tasks: Tasks,
    consumer: Consumer,
    turns: Turns<()>,
    lanes: RandomState,
    refused: Counter,
    left: Gauge,
}

/// How far the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Counts how often it was begun to be built.
    pub build: u32,
    /// Whether all that is older than the log is in it.
    pub done: bool,
    /// Positions of the log that are not in it yet, which a search reads from the log itself.
    pub behind: u64,
}

/// How much the index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Segments of all rooms.
    pub segments: usize,
    /// Rows of pages and lists of documents.
    pub rows: usize,
    /// Bytes of their values, before the back end packs them.
    pub bytes: usize,
}

impl Search {
    /// Over these rooms. Nothing is indexed before [`Search::start_indexing`].
    pub fn new(rooms: Rooms, store: Store, clock: Clock, tasks: &Tasks, metrics: &Metrics) -> Self {
        let consumer = Consumer::new(&store, NAME, &clock, metrics);
        let left = metrics.gauge(
            "yakuba_search_building",
            "Whether the index of what was said is being built, by this process",
        );
        let refused = metrics.counter(
            "yakuba_search_refused",
            "Searches for which there was no place in time among those of others",
        );
        Self(Arc::new(Inner {
            rooms,
            store,
            clock,
            tasks: tasks.clone(),
            consumer,
            turns: Turns::new(AT_ONCE, WAITING),
            lanes: RandomState::new(),
            refused,
            left,
        }))
    }

    pub(crate) fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn consumer(&self) -> &Consumer {
        &self.0.consumer
    }

    pub(crate) fn building(&self) -> &Gauge {
        &self.0.left
    }

    /// How much the index holds. All of it is read, page by page: for measurements.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn size(&self) -> Result<Size, Error> {
        const ROWS: usize = 1_000;
        let mut size = Size::default();
        let mut range = Range::all();
        loop {
            let rows = self.store().scan(&DOCUMENTS, range, Order::Ascending, ROWS).await?;
            size.segments += rows.len();
            size.rows += rows.len();
            size.bytes += rows.iter().map(|(_, row)| row.len()).sum::<usize>();
            let Some((last, _)) = rows.last().filter(|_| rows.len() == ROWS) else { break };
            range = Range::all().after(last);
        }
        let mut range = Range::all();
        loop {
            let rows = self.store().scan(&PAGES, range, Order::Ascending, ROWS).await?;
            size.rows += rows.len();
            size.bytes += rows.iter().map(|(_, row)| row.len()).sum::<usize>();
            let Some((last, _)) = rows.last().filter(|_| rows.len() == ROWS) else { return Ok(size) };
            range = Range::all().after(last);
        }
    }

    /// A user's turn among those who search.
    pub(crate) async fn turn(&self, user: &UserId) -> Result<Turn<()>, Error> {
        let turn = self.0.turns.wait(self.0.lanes.hash_one(user));
        let turn = self.0.clock.timeout(PATIENCE, turn).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            self.0.refused.inc();
            Error::Busy
        })
    }

    /// How many wait for their turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.turns.waiting()
    }

    /// Does work that takes long beside the async threads.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.0.tasks.spawn_blocking("search index", work).await;
        done.map_err(|_failed| Error::Room(room::Error::Interrupted))
    }
}
