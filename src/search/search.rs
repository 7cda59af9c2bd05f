//! The crate's one handle.

use std::{sync::Arc, time::Duration};

use base::{Clock, Gauge, Metrics, Tasks};
use room::Rooms;
use store::{Consumer, Order, Range, Store};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    Error,
    tables::{DOCUMENTS, NAME, PAGES},
};

/// Searches under way in a process. Each holds some megabytes, and works for some tens of milliseconds.
const AT_ONCE: usize = 4;

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
    places: Semaphore,
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
        let places = Semaphore::new(AT_ONCE);
        Self(Arc::new(Inner { rooms, store, clock, tasks: tasks.clone(), consumer, places, left }))
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

    /// A place among those who search.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, Error> {
        let place = self.0.clock.timeout(PATIENCE, self.0.places.acquire()).await;
        place.ok().and_then(Result::ok).ok_or(Error::Busy)
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
