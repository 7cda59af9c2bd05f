//! Uploads: a file comes in, is kept, and then its id leads to it.
//!
//! The order is what makes an acknowledged upload last: the file is on stable storage before the batch that leads to it is
//! submitted, and the id is told when that is on disk. What breaks off before leaves a file without a row, which is swept,
//! never a row without a file.

use std::time::Duration;

use base::{Attempts, ByteSize, Timestamp};
use room::FileFacts;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use store::{Batch, CommitError, Order, Range};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Error, Media, QuotaOf,
    files::{Incoming, Whole},
    kinds,
    media::topic,
    places::Place,
    tables::{self, BlobRow, MediaRow, ReservedRow},
};

/// Letters of an id: too many to be guessed.
const ID_LENGTH: usize = 32;

/// For so long an upload waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client says of a file.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its media type.
    pub kind: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// An id that waits for its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The authority whose it is.
    pub server: OwnedServerName,
    /// The media id.
    pub id: String,
    /// Until when.
    pub expires: Timestamp,
}

impl Media {
    /// Gives out an id for a file that comes later.
    ///
    /// # Errors
    /// [`Error::Limited`] when too many of the user's wait, [`Error::Denied`], [`Error::Store`], [`Error::Commit`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create>
    pub async fn reserve(&self, user: &UserId) -> Result<Reserved, Error> {
        let inner = &self.inner;
        let now = inner.clock.now();
        // One more than may be shows that there are too many.
        let most = inner.config.most_reserved;
        let range = Range::prefix(user.as_str());
        let table = &tables::RESERVED_OF;
        let waiting = inner.store.scan(table, range, Order::Ascending, most.saturating_add(1)).await?;

        let server = user.server_name();
        let mut batch = Batch::new();
        let mut count = 0;
        for ((by, id), expires_ms) in waiting {
            if expires_ms > now.millis() {
                count += 1;
                continue;
            }
            batch.delete(table, &(by.as_str(), id.as_str()));
            batch.delete(&tables::RESERVED, &(server.as_str(), id.as_str()));
        }
        if count >= most {
            return Err(Error::Limited { limit: "media_waiting", retry_after: Duration::from_secs(60) });
        }
        let id = inner.random.token(ID_LENGTH);
        let expires = now + inner.config.reserved_for;
        let row = ReservedRow { by: user.as_str().to_owned(), expires_ms: expires.millis() };
        batch.insert(&tables::RESERVED, &(server.as_str(), id.as_str()), &row);
        batch.put(table, &(user.as_str(), id.as_str()), &expires.millis());
        inner.store.commit(batch).await?;
        Ok(Reserved { server: server.to_owned(), id, expires })
    }

    /// Begins an upload, whose id is given at its end.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Quota`] and [`Error::Denied`] as far as the client has said what comes,
    /// [`Error::Limited`], [`Error::NoRoom`], [`Error::Files`], [`Error::Store`].
    pub async fn upload(&self, user: &UserId, about: About) -> Result<Upload, Error> {
        let server = user.server_name().to_owned();
        self.begin(user, server, None, about).await
    }

    /// Begins the upload of a file whose id was given out.
    ///
    /// # Errors
    /// As [`Media::upload`]; [`Error::AlreadyUploaded`], [`Error::NotTheirs`], and [`Error::NotFound`] for an id that was
    /// never given out or has run out.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid>
    pub async fn upload_late(
        &self,
        user: &UserId,
        server: &ServerName,
        id: &str,
        about: About,
    ) -> Result<Upload, Error> {
        if server != user.server_name() {
            return Err(Error::NotTheirs);
        }
        let reserved = self.find_reserved(user, server, id).await?;
        let late = Some((id.to_owned(), reserved));
        self.begin(user, server.to_owned(), late, about).await
    }

    async fn find_reserved(
        &self,
        user: &UserId,
        server: &ServerName,
        id: &str,
    ) -> Result<ReservedRow, Error> {
        let (store, key) = (&self.inner.store, (server.as_str(), id));
        if let Some(row) = store.get(&tables::RESERVED, &key).await? {
            return match row {
                row if row.by != user.as_str() => Err(Error::NotTheirs),
                row if row.expires_ms <= self.inner.clock.now().millis() => Err(Error::NotFound),
                row => Ok(row),
            };
        }
        // After the other: the batch that takes that away writes this one.
        match store.get(&tables::MEDIA, &key).await? {
            Some(_) => Err(Error::AlreadyUploaded),
            None => Err(Error::NotFound),
        }
    }

    async fn begin(
        &self,
        user: &UserId,
        server: OwnedServerName,
        late: Option<(String, ReservedRow)>,
        about: About,
    ) -> Result<Upload, Error> {
        let inner = &self.inner;
        let (kind, name) = (kinds::kind(about.kind.as_deref()), kinds::name(about.name.as_deref()));
        let facts = FileFacts { kind: &kind, name: name.as_deref(), size: about.size, sha256: None };
        inner.policy.upload(user, &facts).map_err(Error::Denied)?;
        let limit = inner.config.largest_upload;
        if about.size.is_some_and(|size| size > limit.as_u64()) {
            return Err(Error::TooLarge(limit));
        }
        let place = self.take_place(user).await?;
        self.within_quotas(user, about.size.unwrap_or(0)).await?;
        inner.files.has_room(about.size.unwrap_or(0)).await?;
        let incoming = inner.files.receive(limit).await?;
        Ok(Upload {
            media: self.clone(),
            user: user.to_owned(),
            server,
            late,
            kind,
            name,
            incoming,
            _place: place,
        })
    }

    /// A place among the uploads that are under way, in turn.
    async fn take_place(&self, user: &UserId) -> Result<UploadPlace, Error> {
        let full = |limit| Error::Limited { limit, retry_after: Duration::from_secs(5) };
        let inner = &self.inner;
        let of_all = inner.uploads.clone().try_acquire_owned().map_err(|_| full("uploads"))?;
        let mut of_user = inner.uploading.find(user).ok_or_else(|| full("uploads_of_user"))?;
        if !of_user.wait(&inner.clock, PATIENCE).await {
            return Err(full("uploads_of_user"));
        }
        Ok(UploadPlace { _of_user: of_user, _of_all: of_all })
    }

    /// Refuses when so many bytes more would be too many. Uploads that end at the same moment may pass the bound
    /// together, by no more than a user's few files.
    async fn within_quotas(&self, user: &UserId, more: u64) -> Result<(), Error> {
        let config = &self.inner.config;
        let authority = user.server_name().as_str();
        let bounds =
            [(QuotaOf::User, config.of_user, user.as_str()), (QuotaOf::Authority, config.of_authority, "")];
        let bounded: Vec<(QuotaOf, ByteSize, &str)> =
            bounds.into_iter().filter_map(|(of, bound, who)| Some((of, bound?, who))).collect();
        let keys: Vec<(&str, &str)> = bounded.iter().map(|(_, _, who)| (authority, *who)).collect();
        let used = self.inner.store.get_many(&tables::USED, &keys).await?;
        for ((of, bound, _), used) in bounded.into_iter().zip(used) {
            let used = u64::try_from(used.unwrap_or_default().0).unwrap_or(0);
            if used.saturating_add(more) > bound.as_u64() {
                return Err(Error::Quota { of, bound });
            }
        }
        Ok(())
    }

    /// Gives a whole file its rows: those of an id, and that of what it holds.
    ///
    /// `with` adds what else belongs into the batch. It fails with [`Error::AlreadyUploaded`] where the id leads to a
    /// file.
    pub(crate) async fn store_file(
        &self,
        server: &ServerName,
        id: &str,
        whole: &Whole,
        row: &MediaRow,
        with: impl Fn(&mut Batch),
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let mut attempts = Attempts::default();
        let mut kept: Option<String> = None;
        let outcome = loop {
            let mut batch = Batch::new();
            let is_new = match self.blob_with(whole, &mut kept, &mut batch).await {
                Ok(is_new) => is_new,
                Err(error) => break Err(error),
            };
            batch.insert(&tables::MEDIA, &(server.as_str(), id), row);
            with(&mut batch);
            batch.touch([topic(server.as_str(), id)]);
            match inner.store.commit(batch).await {
                Ok(_) if is_new => return Ok(()),
                Ok(_) => break Ok(()),
                Err(CommitError::Conflict { .. }) => {
                    match inner.store.get(&tables::MEDIA, &(server.as_str(), id)).await {
                        Ok(Some(_)) => break Err(Error::AlreadyUploaded),
                        Ok(None) => {}
                        Err(error) => break Err(error.into()),
                    }
                    if !attempts.again(&inner.random).await {
                        break Err(Error::Contended);
                    }
                }
                // It may have been written: what the row leads to stays, and is swept if nothing does.
                Err(CommitError::Unknown) => return Err(Error::Commit(CommitError::Unknown)),
                Err(error) => break Err(error.into()),
            }
        };
        // No row leads to a file of ours: the same content was there, or nothing was written.
        if let Some(place) = kept {
            inner.files.remove(&place).await?;
        }
        outcome
    }

    /// The row of what a file holds, with one use more; whether it leads to this file and not to an equal one that was
    /// there.
    pub(crate) async fn blob_with(
        &self,
        whole: &Whole,
        kept: &mut Option<String>,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let inner = &self.inner;
        let known = inner.store.get(&tables::BLOBS, &whole.sha256).await?;
        if let Some(known) = &known
            && inner.files.is_there(&known.place, known.size).await?
        {
            let used = BlobRow { uses: known.uses.saturating_add(1), ..known.clone() };
            batch.replace(&tables::BLOBS, &whole.sha256, known, &used);
            return Ok(false);
        }
        let place = match kept {
            Some(place) => place.clone(),
            None => kept.insert(inner.files.keep(whole).await?).clone(),
        };
        match known {
            // Its file was lost; here it is again.
            Some(known) => {
                let mended = BlobRow { place, uses: known.uses.saturating_add(1), ..known.clone() };
                batch.replace(&tables::BLOBS, &whole.sha256, &known, &mended);
            }
            None => {
                let row = BlobRow { place, size: whole.size, uses: 1, withheld: false };
                batch.insert(&tables::BLOBS, &whole.sha256, &row);
            }
        }
        Ok(true)
    }
}

/// One of the uploads that may be under way.
struct UploadPlace {
    _of_user: Place,
    _of_all: OwnedSemaphorePermit,
}

/// A file that a user uploads. Dropped half-way, nothing of it stays.
pub struct Upload {
    media: Media,
    user: OwnedUserId,
    server: OwnedServerName,
    late: Option<(String, ReservedRow)>,
    kind: String,
    name: Option<String>,
    incoming: Incoming,
    _place: UploadPlace,
}

impl Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoRoom`], [`Error::Files`]; then the upload is over.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.incoming.write(bytes).await
    }

    /// Keeps the file, and gives its id; both are on disk then.
    ///
    /// # Errors
    /// [`Error::Quota`], [`Error::Denied`], [`Error::AlreadyUploaded`], [`Error::NotFound`] for an id that has run out
    /// meanwhile, [`Error::NoRoom`], [`Error::Files`], [`Error::Store`], [`Error::Commit`].
    pub async fn finish(self) -> Result<(OwnedServerName, String), Error> {
        let Self { media, user, server, late, kind, name, incoming, _place } = self;
        let whole = incoming.finish().await?;
        let facts = FileFacts {
            kind: &kind,
            name: name.as_deref(),
            size: Some(whole.size),
            sha256: Some(&whole.sha256),
        };
        media.inner.policy.upload(&user, &facts).map_err(Error::Denied)?;
        media.within_quotas(&user, whole.size).await?;
        if let Some((id, _)) = &late {
            // It may have run out, or be another's, since.
            media.find_reserved(&user, &server, id).await?;
        }

        let id = late.as_ref().map_or_else(|| media.inner.random.token(ID_LENGTH), |(id, _)| id.clone());
        let row = MediaRow {
            sha256: whole.sha256,
            size: whole.size,
            kind,
            name,
            by: Some(user.as_str().to_owned()),
            created_ms: media.inner.clock.now().millis(),
            seen_day: 0,
        };
        let with = |batch: &mut Batch| {
            let more = i64::try_from(whole.size).unwrap_or(i64::MAX);
            batch.add(&tables::USED, &(server.as_str(), user.as_str()), more);
            batch.add(&tables::USED, &(server.as_str(), ""), more);
            if let Some((id, reserved)) = &late {
                batch.require(&tables::RESERVED, &(server.as_str(), id.as_str()), Some(reserved));
                batch.delete(&tables::RESERVED, &(server.as_str(), id.as_str()));
                batch.delete(&tables::RESERVED_OF, &(user.as_str(), id.as_str()));
            }
        };
        media.store_file(&server, &id, &whole, &row, with).await?;
        media.inner.uploaded_bytes.inc_by(whole.size);
        Ok((server, id))
    }
}
