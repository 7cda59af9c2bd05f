//! Taking files away: an id loses its file, and what no id leads to any more loses its bytes.

use audit::{Action, Actor, Deed};
use base::Attempts;
use ruma::{OwnedServerName, ServerName};
use store::{Batch, CommitError};

use crate::{
    Error, Media,
    tables::{self, BlobRow},
};

impl Media {
    /// Removes the file of an id; whether there was one. Its bytes go when nothing else leads to them, now or with the
    /// next sweep.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`], [`Error::Commit`]; then it is still there.
    pub async fn remove(&self, server: &ServerName, id: &str) -> Result<bool, Error> {
        self.remove_noting(server, id, &|_| {}).await
    }

    /// The same by somebody, with a row in the audit log.
    ///
    /// # Errors
    /// As [`Media::remove`].
    pub async fn take_away(&self, server: &ServerName, id: &str, by: &Actor) -> Result<bool, Error> {
        self.remove_noting(server, id, &self.deed(Action::RemoveMedia, server, id, by)).await
    }

    /// What writes a deed to a file into a batch: into the log of the authority whose it is, or of all of ours, where it is
    /// a copy of another server's.
    fn deed(
        &self,
        what: Action,
        server: &ServerName,
        id: &str,
        by: &Actor,
    ) -> impl Fn(&mut Batch) + Send + Sync {
        let deed = Deed::new(what, by, &format!("mxc://{server}/{id}"), self.inner.clock.now());
        let names = self.inner.authorities.iter().map(|authority| authority.name());
        let concerned: Vec<OwnedServerName> =
            names.filter(|name| *name == server || !self.is_ours(server)).map(ToOwned::to_owned).collect();
        move |batch| concerned.iter().for_each(|authority| deed.write(batch, authority))
    }

    async fn remove_noting(
        &self,
        server: &ServerName,
        id: &str,
        note: &(dyn Fn(&mut Batch) + Send + Sync),
    ) -> Result<bool, Error> {
        let inner = &self.inner;
        let key = (server.as_str(), id);
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = inner.store.get(&tables::MEDIA, &key).await? else { return Ok(false) };
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
            let doomed = self.release(&mut batch, vec![row.sha256]).await?;
            note(&mut batch);
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
    pub async fn withhold(
        &self,
        server: &ServerName,
        id: &str,
        withheld: bool,
        by: &Actor,
    ) -> Result<bool, Error> {
        let inner = &self.inner;
        let what = if withheld { Action::WithholdMedia } else { Action::ReleaseMedia };
        let note = self.deed(what, server, id, by);
        let mut attempts = Attempts::default();
        loop {
            let Some(row) = inner.store.get(&tables::MEDIA, &(server.as_str(), id)).await? else {
                return Ok(false);
            };
            let Some(blob) = inner.store.get(&tables::BLOBS, &row.sha256).await? else { return Ok(false) };
            if blob.withheld == withheld {
                return Ok(true);
            }
            let mut batch = Batch::new();
            batch.replace(&tables::BLOBS, &row.sha256, &blob, &BlobRow { withheld, ..blob.clone() });
            note(&mut batch);
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
