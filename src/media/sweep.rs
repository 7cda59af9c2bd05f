//! What is left over: uploads that broke off, files that no row leads to, ids that waited in vain.

use std::time::Duration;

use futures_util::StreamExt;
use store::{Batch, Order, Range};
use tracing::{info, warn};

use crate::{
    Error, Media,
    tables::{self, Sha256},
};

/// How often is swept.
const EACH: Duration = Duration::from_secs(60 * 60);
/// All places are compared with the rows each time so many sweeps have been.
const COMPARED_EACH: u32 = 24;
/// What came in, or has its place, for so long without a row gets none any more: no upload takes as long.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows or files that are looked at together, and how much longer than that is rested.
const AT_A_TIME: usize = 256;
const REST: u32 = 4;

impl Media {
    /// Sweeps from now on. Only who serves does.
    pub fn start_sweeping(&self) {
        let media = self.clone();
        let shutdown = self.inner.tasks.shutdown_token();
        self.inner.tasks.spawn_restarting("media sweep", move || {
            let (media, shutdown) = (media.clone(), shutdown.clone());
            async move {
                // The loop never ends by itself.
                shutdown.run_until_cancelled(media.keep_sweeping()).await;
            }
        });
    }

    async fn keep_sweeping(&self) {
        let mut round: u32 = 0;
        loop {
            let outcome = self.sweep(round.is_multiple_of(COMPARED_EACH)).await;
            if let Err(error) = outcome {
                warn!(%error, "left-over media could not be swept, it is tried again later");
            }
            round = round.wrapping_add(1);
            self.inner.clock.sleep(EACH).await;
        }
    }

    /// Takes away what is left over; with `compare`, also files at places of which no row knows.
    pub(crate) async fn sweep(&self, compare: bool) -> Result<(), Error> {
        let parts = self.inner.files.sweep_incoming(OLD).await?;
        self.sweep_doomed().await?;
        self.sweep_reserved().await?;
        self.sweep_previews().await?;
        if let Some(kept) = self.inner.config.remote_kept {
            let count = self.sweep_copies(kept).await?;
            if count > 0 {
                info!(count, "copies of other servers' files that nobody asked for any more were removed");
            }
        }
        let strays = if compare { self.sweep_strays().await? } else { 0 };
        if parts + strays > 0 {
            info!(parts, strays, "files that uploads left behind were removed");
        }
        Ok(())
    }

    async fn sweep_doomed(&self) -> Result<(), Error> {
        loop {
            let began = self.inner.clock.instant();
            let doomed =
                self.inner.store.scan(&tables::DOOMED, Range::all(), Order::Ascending, AT_A_TIME).await?;
            for (place, ()) in &doomed {
                self.remove_doomed(place).await?;
            }
            if doomed.len() < AT_A_TIME {
                return Ok(());
            }
            self.inner.clock.rest_since(began, REST).await;
        }
    }

    async fn sweep_reserved(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let mut range = Range::all();
        loop {
            let began = inner.clock.instant();
            let now = inner.clock.now().millis();
            let rows = inner.store.scan(&tables::RESERVED, range, Order::Ascending, AT_A_TIME).await?;
            let mut batch = Batch::new();
            for ((server, id), row) in rows.iter().filter(|(_, row)| row.expires_ms <= now) {
                batch.delete(&tables::RESERVED, &(server.as_str(), id.as_str()));
                batch.delete(&tables::RESERVED_OF, &(row.by.as_str(), id.as_str()));
            }
            if !batch.is_empty() {
                inner.store.commit(batch).await?;
            }
            let Some((last, _)) = rows.last().filter(|_| rows.len() == AT_A_TIME) else { return Ok(()) };
            range = Range::all().after(last);
            inner.clock.rest_since(began, REST).await;
        }
    }

    /// Removes files to which no row leads, and that are there for long enough that none will.
    async fn sweep_strays(&self) -> Result<usize, Error> {
        let inner = &self.inner;
        // What no row of ours leads to may be another's.
        self.claim_bucket().await?;
        let before = inner.clock.now().before(OLD);
        let mut listed = inner.files.list().chunks(AT_A_TIME);
        let mut count = 0;
        while let Some(found) = listed.next().await {
            let began = inner.clock.instant();
            let found: Vec<_> = found.into_iter().collect::<Result<_, Error>>()?;
            let old = found.into_iter().filter(|(_, since)| *since < before);
            let named = old.filter_map(|(place, _)| Some((content_of(&place)?, place)));
            let (files, thumbs): (Vec<_>, Vec<_>) = named.partition(|((_, variant), _)| variant.is_none());
            let keys: Vec<Sha256> = files.iter().map(|((sha256, _), _)| *sha256).collect();
            let led_to = inner.store.get_many(&tables::BLOBS, &keys).await?;
            let keys: Vec<(Sha256, u8)> =
                thumbs.iter().map(|((sha256, variant), _)| (*sha256, variant.unwrap_or(0))).collect();
            let thumbs_led_to = inner.store.get_many(&tables::THUMBS, &keys).await?;
            let led_to = led_to.into_iter().map(|row| row.map(|row| row.place));
            let led_to = led_to.chain(thumbs_led_to.into_iter().map(|row| row.map(|row| row.place)));
            for ((_, place), led_to) in files.into_iter().chain(thumbs).zip(led_to) {
                if led_to.as_ref() != Some(&place) {
                    inner.files.remove(&place).await?;
                    count += 1;
                }
            }
            inner.clock.rest_since(began, REST).await;
        }
        Ok(count)
    }
}

/// What the file at a place holds, or of what it is a thumbnail of which size; none if it is no place of ours.
fn content_of(place: &str) -> Option<(Sha256, Option<u8>)> {
    let (name, _) = place.split_once('-')?;
    let (name, variant) = match name.split_once('.') {
        Some((name, variant)) => (name, Some(variant.parse().ok()?)),
        None => (name, None),
    };
    let digits = name.replace('/', "");
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut sha256 = [0; 32];
    for (byte, at) in sha256.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some((sha256, variant))
}
