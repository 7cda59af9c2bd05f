//! When devices were last seen: noted in memory, written now and then.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base::{Address, Timestamp};
use ruma::UserId;
use store::Batch;

use crate::{
    Accounts, Error, Session,
    tables::{self, SeenRow, millis},
};

/// How exact "last seen" is: within this time a device is noted once.
const SEEN_EVERY: Duration = Duration::from_secs(60);
/// How often notes are written to the store.
const WRITE_EVERY: Duration = Duration::from_secs(30);
/// When a cached session last left a note.
#[derive(Debug, Default)]
pub(crate) struct Seen(AtomicU64);

/// Notes of devices seen, waiting to be written; key: user, device.
pub(crate) type SeenNotes = parking_lot::Mutex<HashMap<(String, String), Note>>;

/// When a device was seen, and from where, where that is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) at_ms: u64,
    pub(crate) from: Option<Address>,
}

impl Note {
    /// The same as it is kept: the address as the records of deeds have it, of IPv6 the network.
    pub(crate) fn row(&self) -> SeenRow {
        SeenRow { at_ms: self.at_ms, ip: self.from.map(|from| from.written()) }
    }
}

impl Accounts {
    /// Notes that a session was used, from this address; writes nothing. Whoever moves from one address to another within the
    /// time for which a device is noted once is told of by the first.
    pub(crate) fn note_seen(&self, session: &Session, seen: &Seen, now: Timestamp, from: Option<Address>) {
        let last = seen.0.load(Ordering::Relaxed);
        // In either direction: a calendar that was set back must not keep notes away until it is as late again.
        if now.millis().abs_diff(last) < millis(SEEN_EVERY) {
            return;
        }
        seen.0.store(now.millis(), Ordering::Relaxed);
        let key = (session.user_id.to_string(), session.device_id.to_string());
        self.inner.seen_notes.lock().insert(key, Note { at_ms: now.millis(), from });
    }

    /// Adds to a batch when a user last used devices that end in it, which would be forgotten with them.
    pub(crate) async fn put_last_used(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ended: &[String],
    ) -> Result<(), Error> {
        let keys: Vec<_> = ended.iter().map(|device| (user.to_string(), device.clone())).collect();
        let rows = self.inner.store.get_many(&tables::SEEN, &keys).await?;
        let last = {
            let notes = self.inner.seen_notes.lock();
            let noted = keys.iter().filter_map(|key| Some(notes.get(key)?.at_ms));
            noted.chain(rows.into_iter().flatten().map(|row| row.at_ms)).max()
        };
        let known = self.inner.store.get(&tables::LAST_USED, user.as_str()).await?;
        if let Some(last) = last.filter(|last| known.is_none_or(|known| known < *last)) {
            batch.put(&tables::LAST_USED, user.as_str(), &last);
        }
        Ok(())
    }

    /// Starts the task that writes what is only noted, now and then and once more at shutdown.
    pub(crate) fn start_writing_notes(&self) {
        let accounts = self.clone();
        let stopping = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn("account.notes", async move {
            loop {
                let stop = tokio::select! {
                    () = accounts.inner.clock.sleep(WRITE_EVERY) => false,
                    () = stopping.cancelled() => true,
                };
                if let Err(error) = accounts.write_last_seen().await {
                    tracing::warn!(error = %error, "could not write when devices were last seen");
                }
                if let Err(error) = accounts.write_failures().await {
                    tracing::warn!(error = %error, "could not write yet which attempts failed");
                }
                if stop {
                    return;
                }
            }
        });
    }

    pub(crate) async fn write_last_seen(&self) -> Result<(), Error> {
        let notes = std::mem::take(&mut *self.inner.seen_notes.lock());
        if notes.is_empty() {
            return Ok(());
        }
        // A device that logged out in between must not come back as a row of its own.
        let keys: Vec<_> = notes.keys().cloned().collect();
        let devices = self.inner.store.get_many(&tables::DEVICES, &keys).await?;
        let mut batch = Batch::new();
        for (key, device) in keys.iter().zip(devices) {
            if let (Some(_), Some(note)) = (device, notes.get(key)) {
                batch.put(&tables::SEEN, key, &note.row());
            }
        }
        self.commit(batch).await
    }
}
