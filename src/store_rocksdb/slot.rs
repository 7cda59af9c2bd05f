//! The place of the open database, which can be opened again while others read.

use std::{sync::Arc, time::Duration};

use rocksdb::DB;
use store::Error;
use tokio::sync::watch;

/// How long a reader waits for a database that is being opened again.
const REOPENING: Duration = Duration::from_secs(30);

/// How long is waited for reads under way before the database is let go.
const READS: Duration = Duration::from_secs(2);
const READS_LOOK: Duration = Duration::from_millis(5);

/// Holds the database that reads and writes go to.
pub(crate) struct Slot(watch::Sender<State>);

#[derive(Clone)]
enum State {
    Open(Arc<DB>),
    /// It is let go and opened again; readers wait.
    Reopening,
    /// It could not be opened again, for this reason.
    Broken(Error),
    Closed,
}

impl State {
    fn db(&self) -> Result<Arc<DB>, Error> {
        match self {
            Self::Open(db) => Ok(db.clone()),
            Self::Reopening => Err(Error::unavailable("read", "the database is being opened again")),
            Self::Broken(error) => Err(error.clone()),
            Self::Closed => Err(Error::Closed),
        }
    }
}

impl Slot {
    pub(crate) fn new(db: DB) -> Self {
        Self(watch::Sender::new(State::Open(Arc::new(db))))
    }

    /// The database as it is now.
    pub(crate) fn get_now(&self) -> Result<Arc<DB>, Error> {
        self.0.borrow().db()
    }

    /// The database, after a reopening under way.
    pub(crate) async fn get(&self) -> Result<Arc<DB>, Error> {
        if let State::Open(db) = &*self.0.borrow() {
            return Ok(db.clone());
        }
        let mut seen = self.0.subscribe();
        let settled = seen.wait_for(|state| !matches!(state, State::Reopening));
        match tokio::time::timeout(REOPENING, settled).await {
            Ok(Ok(state)) => state.db(),
            Ok(Err(_)) | Err(_) => self.get_now(),
        }
    }

    /// Takes the database out for good.
    pub(crate) fn close(&self) -> Option<Arc<DB>> {
        match self.0.send_replace(State::Closed) {
            State::Open(db) => Some(db),
            State::Reopening | State::Broken(_) | State::Closed => None,
        }
    }

    /// Lets the database go when nobody reads it any more, and opens it again; readers wait until
    /// the new one is [shown](Fresh::show). When it cannot be opened, they get one that only reads.
    ///
    /// Blocks: call it off the async threads.
    pub(crate) fn renew(
        &self,
        open: impl FnOnce() -> Result<DB, Error>,
        open_for_reading: impl FnOnce() -> Result<DB, Error>,
    ) -> Result<Fresh<'_>, Error> {
        let mut old = None;
        let taken = self.0.send_if_modified(|state| match state {
            State::Open(db) => {
                old = Some(db.clone());
                *state = State::Reopening;
                true
            }
            State::Broken(_) => {
                *state = State::Reopening;
                true
            }
            State::Reopening | State::Closed => false,
        });
        if !taken {
            return self.get_now().and(Err(Error::Closed));
        }
        if let Some(kept) = old.and_then(let_go) {
            self.settle(State::Open(kept));
            return Err(Error::unavailable("open the database again", "it is still being read"));
        }
        match open() {
            Ok(db) => Ok(Fresh { slot: self, db: Some(db) }),
            Err(error) => {
                let reading = open_for_reading().map(|db| State::Open(Arc::new(db)));
                self.settle(reading.unwrap_or_else(|_| State::Broken(error.clone())));
                Err(error)
            }
        }
    }

    /// Ends a reopening, unless the store was closed meanwhile.
    fn settle(&self, next: State) {
        self.0.send_if_modified(|state| {
            let reopening = matches!(state, State::Reopening);
            if reopening {
                *state = next;
            }
            reopening
        });
    }
}

/// A database that was opened again and is not shown to readers yet.
pub(crate) struct Fresh<'a> {
    slot: &'a Slot,
    db: Option<DB>,
}

impl Fresh<'_> {
    pub(crate) fn db(&self) -> &DB {
        self.db.as_ref().expect("it is taken out at the end only")
    }

    /// Gives it to the readers, as does the end of this value.
    pub(crate) fn show(self) {}
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            self.slot.settle(State::Open(Arc::new(db)));
        }
    }
}

/// Waits until nobody else holds the database, and closes it; gives it back when somebody goes on.
pub(crate) fn let_go(mut db: Arc<DB>) -> Option<Arc<DB>> {
    for _ in 0..READS.as_millis() / READS_LOOK.as_millis() {
        match Arc::try_unwrap(db) {
            Ok(_) => return None,
            Err(held) => db = held,
        }
        std::thread::sleep(READS_LOOK);
    }
    Some(db)
}
