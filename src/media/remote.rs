//! Files of other servers: fetched when somebody asks for one, by one request for all who ask at that time, and kept as a
//! copy until nobody has asked for long. One that cost much and came to nothing is left
//! alone for a while.
//!
//! When a copy was asked for last is known to the day, and written once a day at most.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use store::{Batch, CommitError, Order, Range};
use tokio::sync::{Semaphore, watch};
use tracing::debug;

use crate::{
    Elsewhere, Error, FetchBounds, FetchError, Media, kinds,
    media::{Inner, day},
    refused::{BROKEN_FOR, LITTLE, Refused, TOO_LARGE_FOR},
    tables::{self, MediaRow},
};

/// Files that are fetched at a time, and that are to be; more are refused.
const AT_ONCE: usize = 32;
const MOST: usize = 512;

/// Of one server so many at a time: one that never comes to an end keeps no other's files away.
const OF_ONE_AT_ONCE: usize = 4;

type Fetches = HashMap<(OwnedServerName, String), watch::Receiver<Stage>>;

/// How far a fetch has come.
#[derive(Clone, Debug)]
enum Stage {
    /// Nothing has come yet.
    Asked,
    /// The file is coming.
    Coming,
    /// It came to an end.
    Ended(Result<(), FetchError>),
}

/// What is being fetched.
pub(crate) struct Fetching {
    elsewhere: Arc<dyn Elsewhere>,
    under_way: Arc<Mutex<Fetches>>,
    places: Arc<Semaphore>,
    of_servers: Mutex<HashMap<OwnedServerName, Weak<Semaphore>>>,
    too_large: Mutex<Refused>,
    broken: Mutex<Refused>,
}

impl Fetching {
    pub(crate) fn new(elsewhere: Arc<dyn Elsewhere>) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self {
            elsewhere,
            under_way: Arc::default(),
            places,
            of_servers: Mutex::default(),
            too_large: Mutex::new(Refused::new(TOO_LARGE_FOR)),
            broken: Mutex::new(Refused::new(BROKEN_FOR)),
        }
    }

    /// The places of one server, which are shared as long as somebody has or wants one.
    fn places_of(&self, server: &ServerName) -> Arc<Semaphore> {
        let mut of_servers = self.of_servers.lock();
        if let Some(places) = of_servers.get(server).and_then(Weak::upgrade) {
            return places;
        }
        // There are no more than fetches under way.
        of_servers.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(OF_ONE_AT_ONCE));
        of_servers.insert(server.to_owned(), Arc::downgrade(&places));
        places
    }
}

/// Takes a fetch off the list, however it ends.
struct Entry {
    key: (OwnedServerName, String),
    under_way: Arc<Mutex<Fetches>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.key);
    }
}

impl Media {
    /// The row of another server's file, which is fetched in the name of `from` if it is not here. Where `wait` is said,
    /// the file has to begin to come within it.
    pub(crate) async fn remote(
        &self,
        from: &ServerName,
        server: &ServerName,
        id: &str,
        wait: Option<Duration>,
    ) -> Result<MediaRow, Error> {
        if let Some(row) = self.find_copy(server, id).await? {
            return Ok(row);
        }
        // The task outlives whoever asked first, and whoever does not wait so long.
        let mut stage = self.fetch(from, server, id)?;
        if let Some(wait) = wait {
            let begun = stage.wait_for(|stage| !matches!(stage, Stage::Asked));
            if self.inner.clock.timeout(wait, begun).await.is_err() {
                return Err(Error::NotYetUploaded);
            }
        }
        let ended = stage.wait_for(|stage| matches!(stage, Stage::Ended(_))).await;
        let ended = ended.map(|stage| stage.clone());
        match ended {
            Ok(Stage::Ended(Err(error))) => return Err(error.into()),
            Ok(_) => {}
            Err(_) => return Err(Error::Elsewhere("the fetch was given up".to_owned())),
        }
        self.inner.store.get(&tables::MEDIA, &(server.as_str(), id)).await?.ok_or(Error::NotFound)
    }

    /// Whether there is a copy of another server's file.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn has_copy(&self, server: &str, id: &str) -> Result<bool, Error> {
        Ok(self.inner.store.get(&tables::MEDIA, &(server, id)).await?.is_some())
    }

    /// A copy that is here with its file. One that has lost it is forgotten.
    async fn find_copy(&self, server: &ServerName, id: &str) -> Result<Option<MediaRow>, Error> {
        let inner = &self.inner;
        let Some(row) = inner.store.get(&tables::MEDIA, &(server.as_str(), id)).await? else {
            return Ok(None);
        };
        let blob = inner.store.get(&tables::BLOBS, &row.sha256).await?;
        let is_there = match &blob {
            Some(blob) => blob.withheld || inner.files.is_there(&blob.place, blob.size).await?,
            None => false,
        };
        if !is_there {
            self.remove(server, id).await?;
            return Ok(None);
        }
        let today = day(inner.clock.now());
        if row.seen_day < today {
            let seen = MediaRow { seen_day: today, ..row.clone() };
            let mut batch = Batch::new();
            batch.replace(&tables::MEDIA, &(server.as_str(), id), &row, &seen);
            batch.delete(&tables::COPIES, &(row.seen_day, server.as_str(), id));
            batch.put(&tables::COPIES, &(today, server.as_str(), id), &());
            match inner.store.commit(batch).await {
                // Somebody else has noted it, or taken it away.
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                // It is shown even so: the disk may be full.
                Err(error) => debug!(%error, "the use of a copy could not be noted"),
            }
        }
        Ok(Some(row))
    }

    /// The fetch of a file, begun if none is under way.
    fn fetch(
        &self,
        from: &ServerName,
        server: &ServerName,
        id: &str,
    ) -> Result<watch::Receiver<Stage>, Error> {
        let fetching = &self.inner.fetching;
        let key = (server.to_owned(), id.to_owned());
        let mut under_way = fetching.under_way.lock();
        if let Some(stage) = under_way.get(&key) {
            return Ok(stage.clone());
        }
        // After the other: what is found goes off that list once it is noted here.
        let now = self.inner.clock.instant();
        if fetching.too_large.lock().is_known(&key, now) {
            return Err(Error::TooLargeElsewhere(self.inner.config.largest_remote));
        }
        if fetching.broken.lock().is_known(&key, now) {
            return Err(Error::Elsewhere("it broke off a moment ago".to_owned()));
        }
        if under_way.len() >= MOST {
            return Err(Error::Limited { limit: "remote_media", retry_after: Duration::from_secs(5) });
        }
        let (told, stage) = watch::channel(Stage::Asked);
        under_way.insert(key.clone(), stage.clone());
        drop(under_way);

        let (media, from) = (self.clone(), from.to_owned());
        let entry = Entry { key, under_way: fetching.under_way.clone() };
        self.inner.tasks.spawn("media fetch", async move {
            let (server, id) = &entry.key;
            let came = AtomicU64::new(0);
            let fetched = media.inner.clock.timeout(media.inner.config.remote_time, async {
                // Nobody closes them.
                let of_server = media.inner.fetching.places_of(server);
                let _place_of_server = of_server.acquire().await.ok();
                let _place = media.inner.fetching.places.acquire().await.ok();
                media.fetch_now(&from, server, id, &told, &came).await
            });
            let late = |_| Err(FetchError::Failed("it took too long".to_owned()));
            let outcome = fetched.await.unwrap_or_else(late);
            if let Err(error) = &outcome {
                debug!(%server, %error, "another server's media was not fetched");
            }
            let Inner { fetching, clock, .. } = &*media.inner;
            match &outcome {
                Err(FetchError::TooLarge(_)) => {
                    fetching.too_large.lock().note(entry.key.clone(), clock.instant());
                }
                Err(_) if came.load(Ordering::Relaxed) > LITTLE => {
                    fetching.broken.lock().note(entry.key.clone(), clock.instant());
                }
                Ok(()) | Err(_) => {}
            }
            told.send_replace(Stage::Ended(outcome));
        });
        Ok(stage)
    }

    async fn fetch_now(
        &self,
        from: &ServerName,
        server: &ServerName,
        id: &str,
        told: &watch::Sender<Stage>,
        came: &AtomicU64,
    ) -> Result<(), FetchError> {
        let inner = &self.inner;
        let limit = inner.config.largest_remote;
        let bounds = FetchBounds { deadline: inner.config.remote_time, size: limit };
        let mut fetched = inner.fetching.elsewhere.fetch(from, server, id, bounds).await?;
        told.send_replace(Stage::Coming);
        let mut incoming = inner.files.receive(limit).await.map_err(failed)?;
        while let Some(part) = fetched.body.next().await {
            let part = part.map_err(|error| FetchError::Failed(error.to_string()))?;
            came.fetch_add(u64::try_from(part.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
            incoming.write(&part).await.map_err(failed)?;
        }
        let whole = incoming.finish().await.map_err(failed)?;
        let now = inner.clock.now();
        let today = day(now);
        let row = MediaRow {
            sha256: whole.sha256,
            size: whole.size,
            kind: kinds::kind(fetched.kind.as_deref()),
            name: fetched.disposition.as_deref().and_then(kinds::name_in),
            by: None,
            created_ms: now.millis(),
            seen_day: today,
        };
        let with = |batch: &mut Batch| batch.put(&tables::COPIES, &(today, server.as_str(), id), &());
        match self.store_file(server, id, &whole, &row, with).await {
            // Another process was faster.
            Ok(()) | Err(Error::AlreadyUploaded) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes copies that nobody has asked for since so long; says how many those were.
    pub(crate) async fn sweep_copies(&self, kept: Duration) -> Result<usize, Error> {
        let inner = &self.inner;
        let mut count = 0;
        loop {
            let began = inner.clock.instant();
            let oldest = day(inner.clock.now().before(kept));
            let range = Range::all().before(&(oldest, String::new(), String::new()));
            let old = inner.store.scan(&tables::COPIES, range, Order::Ascending, 256).await?;
            for ((seen_day, server, id), ()) in &old {
                let mut is_gone = false;
                if let Ok(name) = <&ServerName>::try_from(server.as_str()) {
                    is_gone = self.remove_copy(name, id, *seen_day).await?;
                }
                if !is_gone {
                    // It leads nowhere, or was asked for meanwhile.
                    let mut batch = Batch::new();
                    batch.delete(&tables::COPIES, &(*seen_day, server.as_str(), id.as_str()));
                    inner.store.commit(batch).await?;
                }
                count += usize::from(is_gone);
            }
            if old.len() < 256 {
                return Ok(count);
            }
            inner.clock.rest_since(began, 4).await;
        }
    }

    async fn remove_copy(&self, server: &ServerName, id: &str, seen_day: u32) -> Result<bool, Error> {
        match self.inner.store.get(&tables::MEDIA, &(server.as_str(), id)).await? {
            Some(row) if row.by.is_none() && row.seen_day == seen_day => self.remove(server, id).await,
            _ => Ok(false),
        }
    }
}

fn failed(error: Error) -> FetchError {
    match error {
        Error::TooLarge(limit) => FetchError::TooLarge(limit),
        error => FetchError::Failed(error.to_string()),
    }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NotFound => Self::NotFound,
            FetchError::NotYetUploaded => Self::NotYetUploaded,
            FetchError::TooLarge(limit) => Self::TooLargeElsewhere(limit),
            FetchError::Failed(why) => Self::Elsewhere(why),
        }
    }
}
