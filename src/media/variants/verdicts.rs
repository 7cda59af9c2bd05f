//! Verdicts as they are kept, and what goes with them.
//!
//! A verdict of a rebuilt file is a use of what that holds. It is written in one batch with that use, and with the demand
//! that the original is still there: so whoever removes that finds the verdict.

use std::collections::BTreeMap;

use base::Attempts;
use store::{Batch, CommitError, Order, Range};

use crate::{
    Error, Media,
    files::Whole,
    sanitising::Key,
    tables::{self, BlobRow, Judgement, Sha256, VerdictRow},
};

/// Verdicts of one file that are looked at: one for each zone's recipe and hint, and a few of an engine of before.
const MOST_OF_ONE: usize = 256;

impl Media {
    /// The verdict on a file by a recipe, unless it was for a while that is over.
    pub(super) async fn find_verdict(&self, key: Key) -> Result<Option<VerdictRow>, Error> {
        let row = self.inner.store.get(&tables::VERDICTS, &key).await?;
        let now = self.inner.clock.now().millis();
        Ok(row.filter(|row| match row.judgement {
            Judgement::Refused { again_ms: Some(again_ms), .. } => now < again_ms,
            Judgement::Refused { again_ms: None, .. } | Judgement::Clean | Judgement::Rebuilt { .. } => true,
        }))
    }

    /// Where the content of a rebuilt file lies; none if that was lost.
    pub(super) async fn find_variant(&self, sha256: &Sha256) -> Result<Option<BlobRow>, Error> {
        let Some(blob) = self.inner.store.get(&tables::BLOBS, sha256).await? else { return Ok(None) };
        let is_there = self.inner.files.is_there(&blob.place, blob.size).await?;
        Ok(is_there.then_some(blob))
    }

    /// Keeps a verdict with the file that it leads to; gives the one that holds, which may be another process's.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the original is gone; [`Error::NoRoom`], [`Error::Files`], [`Error::Store`],
    /// [`Error::Commit`], [`Error::Contended`].
    pub(super) async fn keep_verdict(
        &self,
        key: Key,
        row: VerdictRow,
        whole: Option<Whole>,
    ) -> Result<VerdictRow, Error> {
        let inner = &self.inner;
        let mut attempts = Attempts::default();
        let mut kept: Option<String> = None;
        let outcome = loop {
            let before = match inner.store.get(&tables::VERDICTS, &key).await {
                Ok(before) => before,
                Err(error) => break Err(error.into()),
            };
            if let Some(before) = &before
                && !matches!(before.judgement, Judgement::Refused { .. })
            {
                // Another process was faster. A file of ours is none that a row leads to.
                break Ok((before.clone(), false));
            }
            let original = match inner.store.get(&tables::BLOBS, &key.0).await {
                Ok(Some(original)) => original,
                Ok(None) => break Err(Error::NotFound),
                Err(error) => break Err(error.into()),
            };
            let mut batch = Batch::new();
            batch.require(&tables::BLOBS, &key.0, Some(&original));
            batch.require(&tables::VERDICTS, &key, before.as_ref());
            batch.put(&tables::VERDICTS, &key, &row);
            let is_ours = match &whole {
                Some(whole) => match self.blob_with(whole, &mut kept, &mut batch).await {
                    Ok(is_ours) => is_ours,
                    Err(error) => break Err(error),
                },
                None => false,
            };
            match inner.store.commit(batch).await {
                Ok(_) => break Ok((row, is_ours)),
                Err(CommitError::Conflict { .. }) if attempts.again(&inner.random).await => {}
                // It may have been written: what the row leads to stays, and is swept if nothing does.
                Err(CommitError::Unknown) => return Err(Error::Commit(CommitError::Unknown)),
                Err(error) => break Err(error.into()),
            }
        };
        let is_led_to = matches!(outcome, Ok((_, true)));
        if let Some(place) = kept
            && !is_led_to
        {
            inner.files.remove(&place).await?;
        }
        let (row, _) = outcome?;
        self.forget_older(key.0).await?;
        Ok(row)
    }

    /// Takes a verdict away whose file was lost.
    pub(super) async fn forget_verdict(&self, key: Key, row: &VerdictRow) -> Result<(), Error> {
        self.forget(vec![(key, row.clone())]).await
    }

    /// Takes verdicts of other engines' versions away, which are not asked for any more.
    async fn forget_older(&self, sha256: Sha256) -> Result<(), Error> {
        let range = Range::prefix(&sha256);
        let rows = self.inner.store.scan(&tables::VERDICTS, range, Order::Ascending, MOST_OF_ONE).await?;
        let older: Vec<_> = rows.into_iter().filter(|(_, row)| row.engine != sanitise::VERSION).collect();
        if older.is_empty() { Ok(()) } else { self.forget(older).await }
    }

    async fn forget(&self, rows: Vec<(Key, VerdictRow)>) -> Result<(), Error> {
        let inner = &self.inner;
        let mut attempts = Attempts::default();
        loop {
            let mut batch = Batch::new();
            let mut led_to = Vec::new();
            for (key, row) in &rows {
                batch.require(&tables::VERDICTS, key, Some(row));
                batch.delete(&tables::VERDICTS, key);
                if let Judgement::Rebuilt { sha256, .. } = &row.judgement {
                    led_to.push(*sha256);
                }
            }
            let doomed = self.release(&mut batch, led_to).await?;
            match inner.store.commit(batch).await {
                Ok(_) => {
                    for place in doomed {
                        // If this fails, the sweep does it.
                        self.remove_doomed(&place).await.ok();
                    }
                    return Ok(());
                }
                Err(CommitError::Conflict { .. }) => {
                    // Who took one of them away, took what went with it.
                    let keys: Vec<Key> = rows.iter().map(|(key, _)| *key).collect();
                    let now = inner.store.get_many(&tables::VERDICTS, &keys).await?;
                    let same = now.iter().zip(&rows).all(|(now, (_, row))| now.as_ref() == Some(row));
                    if !same {
                        return Ok(());
                    }
                    if !attempts.again(&inner.random).await {
                        return Err(Error::Contended);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a use from each of these contents; what has none left goes with its thumbnails and its verdicts, and what
    /// only those led to. Gives the places of what goes.
    pub(crate) async fn release(
        &self,
        batch: &mut Batch,
        mut contents: Vec<Sha256>,
    ) -> Result<Vec<String>, Error> {
        let store = &self.inner.store;
        let mut taken: BTreeMap<Sha256, (BlobRow, u32)> = BTreeMap::new();
        let mut doomed = Vec::new();
        while let Some(sha256) = contents.pop() {
            let (blob, count) = match taken.get_mut(&sha256) {
                Some(taken) => taken,
                None => {
                    let Some(blob) = store.get(&tables::BLOBS, &sha256).await? else { continue };
                    taken.entry(sha256).or_insert((blob, 0))
                }
            };
            *count += 1;
            // What is withheld stays known, so that it is withheld when it comes again.
            if blob.withheld || *count != blob.uses.max(1) {
                continue;
            }
            // After the content's own row: whoever adds one of these demands that as it was.
            let thumbs =
                store.scan(&tables::THUMBS, Range::prefix(&sha256), Order::Ascending, usize::MAX).await?;
            for (key, thumb) in thumbs {
                batch.require(&tables::THUMBS, &key, Some(&thumb));
                batch.delete(&tables::THUMBS, &key);
                batch.put(&tables::DOOMED, thumb.place.as_str(), &());
                doomed.push(thumb.place);
            }
            let verdicts =
                store.scan(&tables::VERDICTS, Range::prefix(&sha256), Order::Ascending, usize::MAX).await?;
            for (key, verdict) in verdicts {
                batch.require(&tables::VERDICTS, &key, Some(&verdict));
                batch.delete(&tables::VERDICTS, &key);
                if let Judgement::Rebuilt { sha256, .. } = verdict.judgement {
                    contents.push(sha256);
                }
            }
        }
        for (sha256, (blob, count)) in taken {
            if blob.withheld || count < blob.uses {
                let left = BlobRow { uses: blob.uses.saturating_sub(count), ..blob.clone() };
                batch.replace(&tables::BLOBS, &sha256, &blob, &left);
            } else {
                batch.require(&tables::BLOBS, &sha256, Some(&blob));
                batch.delete(&tables::BLOBS, &sha256);
                batch.put(&tables::DOOMED, blob.place.as_str(), &());
                doomed.push(blob.place);
            }
        }
        Ok(doomed)
    }
}
