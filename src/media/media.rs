//! [`Media`]: what the verbs of this crate hang on.

use std::sync::Arc;

use base::{Clock, Counter, Metrics, Random, Tasks, Timestamp};
use pdu::Authorities;
use room::Policy;
use ruma::ServerName;
use sanitise::Worker;
use store::{Store, Topic};
use tokio::sync::Semaphore;

use crate::{
    Browse, Config, Elsewhere, Error, Files, places::Places, previews::Looking, remote::Fetching,
    sanitising::Sanitising, tables, thumbnails::Making,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What the content repository is made of.
pub struct Parts<'a> {
    /// Where its rows are.
    pub store: Store,
    /// Where its files are.
    pub files: Files,
    /// Settings.
    pub config: Config,
    /// Our server names.
    pub authorities: Arc<Authorities>,
    /// The way to other servers.
    pub elsewhere: Arc<dyn Elsewhere>,
    /// The way to pages that users link to.
    pub browse: Arc<dyn Browse>,
    /// Who takes files apart that leave to zones.
    pub worker: Worker,
    /// Who may do what.
    pub policy: Arc<dyn Policy>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Who runs our tasks.
    pub tasks: &'a Tasks,
    /// Where we count.
    pub metrics: &'a Metrics,
}

/// The content repository of one process, for all its authorities. Cheap to clone.
#[derive(Clone)]
pub struct Media {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) files: Files,
    pub(crate) config: Config,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) tasks: Tasks,
    /// Uploads that may begin.
    pub(crate) uploads: Arc<Semaphore>,
    /// How many each user has under way; whoever has none is not in it.
    pub(crate) uploading: Places,
    pub(crate) uploaded_bytes: Counter,
    /// Files that a bucket gave back as something else.
    pub(crate) damaged: Counter,
    pub(crate) making: Making,
    pub(crate) fetching: Fetching,
    pub(crate) looking: Looking,
    pub(crate) sanitising: Sanitising,
}

/// Letters of chance in the name of a store.
const NAME_CHARS: usize = 32;

impl Media {
    /// Puts the parts together. Nothing is read yet.
    pub fn open(parts: Parts<'_>) -> Self {
        let Parts {
            store,
            files,
            config,
            authorities,
            elsewhere,
            browse,
            worker,
            policy,
            clock,
            random,
            tasks,
            metrics,
        } = parts;
        let inner = Inner {
            uploads: Arc::new(Semaphore::new(config.uploads)),
            uploading: Places::new(config.uploads_of_user),
            making: Making::default(),
            fetching: Fetching::new(elsewhere),
            looking: Looking::new(browse),
            sanitising: Sanitising::new(&config.zones, worker, metrics),
            uploaded_bytes: metrics
                .counter("yakuba_media_uploaded_bytes", "Bytes of files that were uploaded"),
            damaged: metrics
                .counter("yakuba_media_damaged_files", "Files that a bucket gave back as something else"),
            store,
            files,
            config,
            authorities,
            policy,
            clock,
            random,
            tasks: tasks.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the bucket of files that of our store, as its first user does, or finds that it is.
    ///
    /// # Errors
    /// [`Error::Foreign`] where another store has it, [`Error::Away`], [`Error::Store`].
    pub async fn claim_bucket(&self) -> Result<(), Error> {
        let Inner { store, files, random, .. } = &*self.inner;
        if !files.are_in_bucket() {
            return Ok(());
        }
        let mut attempts = base::Attempts::default();
        loop {
            if let Some(name) = store.get(&tables::STORE_NAME, "").await? {
                return files.claim(&name).await;
            }
            let mut batch = store::Batch::new();
            batch.insert(&tables::STORE_NAME, "", &random.token(NAME_CHARS));
            match store.commit(batch).await {
                Ok(_) => {}
                // Another process was faster.
                Err(store::CommitError::Conflict { .. }) if attempts.again(random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Where its files are.
    pub fn files(&self) -> &Files {
        &self.inner.files
    }

    /// Whether this is one of our server names.
    pub fn is_ours(&self, server: &ServerName) -> bool {
        self.inner.authorities.is_ours(server)
    }
}

/// That the file of an id is there now.
pub(crate) fn topic(server: &str, id: &str) -> Topic {
    Topic::new(48, &format!("{server}/{id}"))
}

/// The day that a moment is in, since 1970.
pub(crate) fn day(at: Timestamp) -> u32 {
    u32::try_from(at.millis() / DAY_MS).unwrap_or(u32::MAX)
}
