//! A few connections that are made again when they end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::{Backoff, Random, Tasks};
use store::Error;
use tokio::sync::Mutex;

use crate::{
    session::{Session, connect, meaning},
    settings::Settings,
    tls::Way,
};

/// How often something is tried that a lost connection stops: with the waits some ten seconds where a connection is refused,
/// and longer where nobody answers.
const ATTEMPTS: usize = 10;

/// The connections of a back end. Readers are shared: requests on one are pipelined.
pub(crate) struct Pool {
    pub(crate) settings: Settings,
    pub(crate) way: Way,
    tasks: Tasks,
    random: Random,
    readers: Vec<Mutex<Option<Arc<Session>>>>,
    next: AtomicUsize,
    writer: Mutex<Option<Session>>,
    closed: AtomicBool,
}

impl Pool {
    pub(crate) fn new(settings: Settings, way: Way, tasks: Tasks) -> Self {
        let readers = (0..settings.readers.max(1)).map(|_| Mutex::default()).collect();
        Self {
            settings,
            way,
            tasks,
            random: Random::os(),
            readers,
            next: AtomicUsize::new(0),
            writer: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all connections once nobody uses them.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for reader in &self.readers {
            reader.lock().await.take();
        }
        self.writer.lock().await.take();
    }

    /// A reader, made anew if its connection has ended.
    async fn reader(&self) -> Result<Arc<Session>, Error> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        let mut lane = self.readers[at].lock().await;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        match lane.as_ref() {
            Some(session) if !session.client.is_closed() => Ok(session.clone()),
            _ => {
                let session = Arc::new(connect(&self.way, &self.settings, &self.tasks, false).await?);
                *lane = Some(session.clone());
                Ok(session)
            }
        }
    }

    /// Reads, again on another connection when one is lost, within bounds.
    pub(crate) async fn read<T, F>(
        &self,
        doing: &'static str,
        read: impl Fn(Arc<Session>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        let mut backoff = self.backoff();
        let mut last = Error::Closed;
        for _ in 0..ATTEMPTS {
            match self.reader().await {
                Ok(session) => match read(session.clone()).await {
                    Ok(found) => return Ok(found),
                    Err(error) if session.is_lost(&error) => last = meaning(doing, error, true),
                    Err(error) => return Err(meaning(doing, error, false)),
                },
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) => last = error,
            }
            tokio::time::sleep(backoff.next(&self.random)).await;
        }
        Err(last)
    }

    /// Takes the writer, so that whoever is stopped half-way takes its transaction with it.
    pub(crate) async fn take_writer(&self) -> Result<Session, Error> {
        let mut backoff = self.backoff();
        let mut last = Error::Closed;
        for _ in 0..ATTEMPTS {
            if self.is_closed() {
                return Err(Error::Closed);
            }
            match self.writer.lock().await.take() {
                Some(session) if !session.client.is_closed() => return Ok(session),
                _ => match connect(&self.way, &self.settings, &self.tasks, true).await {
                    Ok(session) => return Ok(session),
                    Err(error @ (Error::NewerSchema { .. } | Error::Refused(_))) => return Err(error),
                    Err(error) => last = error,
                },
            }
            tokio::time::sleep(backoff.next(&self.random)).await;
        }
        Err(last)
    }

    /// Puts the writer back after a transaction that ended in order.
    pub(crate) async fn return_writer(&self, session: Session) {
        if !self.is_closed() {
            *self.writer.lock().await = Some(session);
        }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
    }
}
