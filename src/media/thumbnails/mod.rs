//! Thumbnails: small pictures of large ones.
//!
//! They belong to what a file holds and not to its ids, so equal files have them once. They are made when somebody asks, in
//! few fixed sizes, kept like files, and made again when they are lost. A picture was made by a stranger: its sizes are
//! looked at before anything is decoded, and what is decoded at a time has a bound in memory and in number.

mod make;
mod size;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use base::ByteSize;
use futures_util::TryStreamExt;
use store::{Batch, CommitError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::size::{Method, Wanted};
use self::{make::Picture, size::Variant};
use crate::{
    Asked, Error, Media, Opened,
    tables::{self, ThumbRow},
};

/// Largest file that a thumbnail is made of.
pub(crate) const LARGEST_SOURCE: ByteSize = ByteSize::mib(32);
/// Most points of a picture that a thumbnail is made of.
pub(crate) const MOST_PIXELS: u64 = 50_000_000;
/// An animated picture is given as it is, where that is asked for, up to this size: nothing is decoded for it.
const LARGEST_ANIMATED: u64 = 4 << 20;

/// Thumbnails that are made at a time, and the memory that all of them may take, in MiB.
const AT_ONCE: usize = 2;
const MEMORY_MIB: u32 = 384;
/// How many may wait for their turn.
const WAITING: usize = 256;

/// The right to make thumbnails.
pub(crate) struct Making {
    waiting: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(WAITING)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            memory: Arc::new(Semaphore::new(MEMORY_MIB.try_into().unwrap_or(Semaphore::MAX_PERMITS))),
        }
    }
}

impl Making {
    /// Waits for the turn, behind no more than may wait.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        let busy = || Error::Limited { limit: "thumbnails", retry_after: Duration::from_secs(2) };
        let _waiting = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        // Nobody closes it.
        self.turns.clone().acquire_owned().await.map_err(|_| busy())
    }

    /// Waits until there is room for so many bytes.
    async fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).saturating_add(1).min(MEMORY_MIB);
        let gone = |_| Error::NoThumbnail("The server is stopping");
        self.memory.clone().acquire_many_owned(mib).await.map_err(gone)
    }
}

impl Media {
    /// Opens a small picture of a file for somebody; see [`Media::open_file`]. It is no larger than the picture itself, and
    /// as large as is wanted if there is a size for that.
    ///
    /// # Errors
    /// As [`Media::open_file`]; [`Error::NoThumbnail`] where the file is no picture that can be read,
    /// [`Error::TooLarge`], [`Error::Limited`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#thumbnails>
    pub async fn thumbnail(&self, asked: Asked<'_>, wanted: Wanted) -> Result<Opened, Error> {
        if wanted.width == 0 || wanted.height == 0 {
            return Err(Error::Invalid("a thumbnail is at least one point wide and high"));
        }
        let source = self.open_file(asked).await?;
        let variant = wanted.variant();
        if wanted.animated && source.size <= LARGEST_ANIMATED && make::may_be_animated(&source.kind) {
            // Files in memory are bounded by the turns.
            let _turn = self.inner.making.turn().await?;
            if make::is_animated(&self.load(&source).await?) {
                return Ok(source);
            }
        }
        if let Some(thumb) = self.find_thumb(&source, variant).await? {
            return Ok(thumb);
        }
        if source.size > LARGEST_SOURCE.as_u64() {
            return Err(Error::TooLarge(LARGEST_SOURCE));
        }
        let _turn = self.inner.making.turn().await?;
        // Who was before us may have made it.
        if let Some(thumb) = self.find_thumb(&source, variant).await? {
            return Ok(thumb);
        }
        self.make_thumb(&source, variant).await
    }

    async fn find_thumb(&self, source: &Opened, variant: Variant) -> Result<Option<Opened>, Error> {
        let inner = &self.inner;
        let Some(row) = inner.store.get(&tables::THUMBS, &(source.sha256, variant.number())).await? else {
            return Ok(None);
        };
        // One that was lost is made again.
        let is_there = inner.files.is_there(&row.place, row.size).await?;
        Ok(is_there.then(|| source.thumb(row)))
    }

    async fn make_thumb(&self, source: &Opened, variant: Variant) -> Result<Opened, Error> {
        let inner = &self.inner;
        let file = self.load(source).await?;
        let unmade = |failed: base::TaskFailed| Error::Files { doing: "made", cause: Arc::new(failed) };
        let (file, picture) = inner
            .tasks
            .spawn_blocking("picture header", move || {
                let picture = Picture::look(&file);
                (file, picture)
            })
            .await
            .map_err(unmade)?;
        let picture = picture?;
        let _room = inner.making.room(picture.memory()).await?;
        let work = move || picture.shrink(&file, variant);
        let made = inner.tasks.spawn_blocking("thumbnail", work).await.map_err(unmade)??;

        let mut incoming = inner.files.receive(LARGEST_SOURCE).await?;
        incoming.write(&made.bytes).await?;
        let whole = incoming.finish().await?;
        let place = source.thumb_place(variant.number(), &inner.random.token(8));
        inner.files.keep_at(&whole, &place).await?;
        let row = ThumbRow { place, size: whole.size, sha256: whole.sha256, kind: made.kind.to_owned() };
        match self.note_thumb(source, variant, &row).await {
            Ok(()) => Ok(source.thumb(row)),
            Err(error) => {
                // If this fails, the sweep does it.
                inner.files.remove(&row.place).await.ok();
                Err(error)
            }
        }
    }

    /// Leads from the file to its thumbnail, as long as there is the file.
    async fn note_thumb(&self, source: &Opened, variant: Variant, row: &ThumbRow) -> Result<(), Error> {
        let inner = &self.inner;
        let key = (source.sha256, variant.number());
        let mut attempts = base::Attempts::default();
        loop {
            let Some(blob) = inner.store.get(&tables::BLOBS, &source.sha256).await? else {
                return Err(Error::NotFound);
            };
            let before = inner.store.get(&tables::THUMBS, &key).await?;
            let mut batch = Batch::new();
            batch.require(&tables::BLOBS, &source.sha256, Some(&blob));
            batch.require(&tables::THUMBS, &key, before.as_ref());
            batch.put(&tables::THUMBS, &key, row);
            if let Some(before) = &before {
                batch.put(&tables::DOOMED, before.place.as_str(), &());
            }
            match inner.store.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. }) if attempts.again(&inner.random).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A small file in memory.
    async fn load(&self, source: &Opened) -> Result<Vec<u8>, Error> {
        let failed = |error| Error::file("read", error);
        let mut body = source.read(None).await?;
        let mut bytes =
            Vec::with_capacity(usize::try_from(source.size.min(LARGEST_SOURCE.as_u64())).unwrap_or(0));
        while let Some(part) = body.try_next().await.map_err(failed)? {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }
}
