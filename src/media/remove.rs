//! Taking files away: an id loses its file, and what no id leads to any more loses its bytes.

use base::Attempts;
use ruma::ServerName;
use store::{Batch, CommitError, Order, Range};

use crate::{
    Error, Media,
    tables::{self, BlobRow, Sha256},
};

impl Media {
    /// Removes the file of an id; whether there was one. Its bytes go when nothing else leads to them, now or with the
    /// next sweep.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`], [`Error::Commit`]; then it is still there.
    pub async fn remove(&self, server: &ServerName, id: &str) -> Result<bool, Error> {
        let inner = &self.inner;
        let key = (server.as_str(), id);
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = inner.store.get(&tables::MEDIA, &key).await? else { return Ok(false) };
            let blob = inner.store.get(&tables::BLOBS, &row.sha256).await?;
            let mut batch = Batch::new();
            batch.require(&tables::MEDIA, &key, Some(&row));
            batch.delete(&tables::MEDIA, &key);
            if row.by.is_none() {
                batch.delete(&tables::COPIES, &(row.seen_day, server.as_str(), id));
            }
            if let Some(by) = &row.by {
                let less = i64::try_from(row.size).unwrap_or(i64::MAX).saturating_neg();
                batch.add(&tables::USED, &(server.as_str(), by.as_str()), less);
                batch.add(&tables::USED, &(server.as_str(), ""), less);
            }
            let mut doomed: Vec<String> =
                blob.and_then(|blob| unused(&mut batch, row.sha256, blob)).into_iter().collect();
            if !doomed.is_empty() {
                // After the file's own row: whoever adds one demands that as it was.
                let range = Range::prefix(&row.sha256);
                let thumbs = inner.store.scan(&tables::THUMBS, range, Order::Ascending, usize::MAX).await?;
                for (key, thumb) in thumbs {
                    batch.require(&tables::THUMBS, &key, Some(&thumb));
                    batch.delete(&tables::THUMBS, &key);
                    batch.put(&tables::DOOMED, thumb.place.as_str(), &());
                    doomed.push(thumb.place);
                }
            }
            match inner.store.commit(batch).await {
                Ok(_) => {
                    for place in doomed {
                        // If this fails, the sweep does it.
                        self.remove_doomed(&place).await.ok();
                    }
                    return Ok(true);
                }
                Err(CommitError::Conflict { .. }) if attempts.again(&inner.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Shows what a file holds to nobody, under whatever id, or to everybody again; whether there is such a file.
    ///
    /// # Errors
    /// As [`Media::remove`].
    pub async fn withhold(&self, server: &ServerName, id: &str, withheld: bool) -> Result<bool, Error> {
        let inner = &self.inner;
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = inner.store.get(&tables::MEDIA, &(server.as_str(), id)).await? else {
                return Ok(false);
            };
            let Some(blob) = inner.store.get(&tables::BLOBS, &row.sha256).await? else { return Ok(false) };
            let mut batch = Batch::new();
            batch.replace(&tables::BLOBS, &row.sha256, &blob, &BlobRow { withheld, ..blob.clone() });
            match inner.store.commit(batch).await {
                Ok(_) => return Ok(true),
                Err(CommitError::Conflict { .. }) if attempts.again(&inner.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes a file that no row leads to, and the row that says so.
    pub(crate) async fn remove_doomed(&self, place: &str) -> Result<(), Error> {
        self.inner.files.remove(place).await?;
        let mut batch = Batch::new();
        batch.delete(&tables::DOOMED, place);
        self.inner.store.commit(batch).await?;
        Ok(())
    }
}

/// Takes one use from what a file holds; gives its place if that was the last one. What is withheld stays known, so that
/// it is withheld when it comes again.
fn unused(batch: &mut Batch, sha256: Sha256, blob: BlobRow) -> Option<String> {
    if blob.uses > 1 || blob.withheld {
        let left = BlobRow { uses: blob.uses.saturating_sub(1), ..blob.clone() };
        batch.replace(&tables::BLOBS, &sha256, &blob, &left);
        return None;
    }
    batch.require(&tables::BLOBS, &sha256, Some(&blob));
    batch.delete(&tables::BLOBS, &sha256);
    batch.put(&tables::DOOMED, blob.place.as_str(), &());
    Some(blob.place)
}
