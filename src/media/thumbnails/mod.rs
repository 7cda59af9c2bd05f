//! Thumbnails: small pictures of large ones.
//!
//! They belong to what a file holds and not to its ids, so equal files have them once. They are made when somebody asks, in
//! few fixed sizes, kept like files, and made again when they are lost. A picture was made by a stranger: its sizes are
//! looked at before anything is decoded, and what is decoded at a time has a bound in memory and in number. Of one that
//! moves a small one is made that moves, where somebody asks for it and no bound is passed.

mod make;
mod moving;
mod size;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc, time::Duration};

use base::ByteSize;
use futures_util::TryStreamExt;
use store::{Batch, CommitError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::size::{Method, Wanted};
use self::{
    make::{Made, Picture},
    moving::{Bounds, Moving},
    size::Variant,
};
use crate::{
    Asked, Error, Media, Opened,
    tables::{self, ThumbRow},
};

/// Largest file that a thumbnail is made of.
pub(crate) const LARGEST_SOURCE: ByteSize = ByteSize::mib(32);
/// Most points of a picture that a thumbnail is made of.
pub(crate) const MOST_PIXELS: u64 = 50_000_000;
/// Largest picture that is given as it is where it is small enough in points.
const LARGEST_AS_IT_IS: u64 = 512 << 10;
/// Largest thumbnail that moves.
const LARGEST_MOVING: u64 = 4 << 20;
/// How long one may take to be made, and how much of a file is read to see whether it moves.
const MOVING_TIME: Duration = Duration::from_secs(8);
const HEAD: u64 = 64 << 10;

/// Thumbnails that are made at a time, and the memory that all of them may take, in MiB.
const AT_ONCE: usize = 2;
const MEMORY_MIB: u32 = 384;
/// How many may wait for their turn.
const WAITING: usize = 256;
/// Those that move take long: one is made at a time, so that still ones are made beside it, and few wait for that.
const MOVING_WAITING: usize = 16;

/// The right to make thumbnails.
pub(crate) struct Making {
    waiting: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    moving_waiting: Arc<Semaphore>,
    moving_turn: Arc<Semaphore>,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(WAITING)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            memory: Arc::new(Semaphore::new(MEMORY_MIB.try_into().unwrap_or(Semaphore::MAX_PERMITS))),
            moving_waiting: Arc::new(Semaphore::new(MOVING_WAITING)),
            moving_turn: Arc::new(Semaphore::new(1)),
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

    /// Waits for the turn of one that moves; none where too many wait for it.
    async fn moving_turn(&self) -> Option<OwnedSemaphorePermit> {
        let _waiting = self.moving_waiting.clone().try_acquire_owned().ok()?;
        self.moving_turn.clone().acquire_owned().await.ok()
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
    /// at least as large as is wanted, as far as there are sizes: a plain picture that is smaller than that, or of which all is wanted larger than any size, is given as it is.
    /// Where it may move it does if the file does, unless that would take too much.
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
        let still = self.still(&source, &wanted).await?;
        let wanted = match still {
            Some(picture) => wanted.fitted(picture.width, picture.height),
            None => wanted,
        };
        let variant = wanted.variant();
        let mut moving_turn = None;
        if wanted.animated && make::may_be_animated(&source.kind) {
            if let Some(thumb) = self.find_thumb(&source, variant.moving()).await? {
                return Ok(thumb);
            }
            match self.moving(&source).await? {
                // It is small enough as it is.
                Some(moving) if source.size <= LARGEST_MOVING && moving.is_within(variant) => {
                    return Ok(source);
                }
                // Where too many wait for this, a still one is better than none.
                Some(_) => moving_turn = self.inner.making.moving_turn().await,
                None => {}
            }
        }
        let variant = if moving_turn.is_some() { variant.moving() } else { variant };
        if let Some(thumb) = self.find_thumb(&source, variant).await?.filter(|_| !wanted.is_beyond()) {
            return Ok(thumb);
        }
        // So small as it is that a smaller one would be no gain, or wanted so large that there is no such size.
        let serves_as_it_is = |picture: &Picture| {
            let is_small = source.size <= LARGEST_AS_IT_IS && wanted.takes(picture.width, picture.height);
            is_small || wanted.is_beyond()
        };
        if !variant.moves && still.as_ref().is_some_and(serves_as_it_is) {
            return Ok(source);
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

    /// A still picture that all can show, as its head says, of which all is wanted in another size than those that there are.
    async fn still(&self, source: &Opened, wanted: &Wanted) -> Result<Option<Picture>, Error> {
        if wanted.method != Method::Scale || wanted.is_a_size() || source.size == 0 {
            return Ok(None);
        }
        let head = self.load(source, Some(0..source.size.min(HEAD))).await?;
        // Of a head that is cut off little may be known.
        let picture = Picture::look(&head).ok().filter(|picture| picture.is_plain(&source.kind));
        Ok(picture.filter(|_| Moving::look(&head).is_none()))
    }

    /// Whether a file moves, as its head says.
    async fn moving(&self, source: &Opened) -> Result<Option<Moving>, Error> {
        if source.size == 0 {
            return Ok(None);
        }
        let head = self.load(source, Some(0..source.size.min(HEAD))).await?;
        Ok(Moving::look(&head))
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
        let file = self.load(source, None).await?;
        let (file, made) = match variant.moves {
            true => self.make_moving(file, variant).await?,
            false => (file, None),
        };
        let made = match made {
            Some(made) => made,
            None => self.make_still(file, variant).await?,
        };

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

    /// Makes one that moves of a file, which is given back; none where it does not or a bound is passed.
    async fn make_moving(&self, file: Vec<u8>, variant: Variant) -> Result<(Vec<u8>, Option<Made>), Error> {
        let inner = &self.inner;
        let Some(moving) = Moving::look(&file).filter(Moving::is_bounded) else { return Ok((file, None)) };
        let _room = inner.making.room(moving.memory()).await?;
        let clock = inner.clock.clone();
        let work = move || {
            let began = clock.instant();
            let is_late = || clock.instant().since(began) > MOVING_TIME;
            let made = moving.shrink(&file, variant, Bounds::default(), is_late);
            (file, made)
        };
        inner.tasks.spawn_blocking("moving thumbnail", work).await.map_err(unmade)
    }

    async fn make_still(&self, file: Vec<u8>, variant: Variant) -> Result<Made, Error> {
        let inner = &self.inner;
        let look = move || {
            let picture = Picture::look(&file);
            (file, picture)
        };
        let (file, picture) = inner.tasks.spawn_blocking("picture header", look).await.map_err(unmade)?;
        let picture = picture?;
        let _room = inner.making.room(picture.memory()).await?;
        let work = move || picture.shrink(&file, variant);
        inner.tasks.spawn_blocking("thumbnail", work).await.map_err(unmade)?
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

    /// A small file in memory, or a part of it.
    async fn load(&self, source: &Opened, part: Option<Range<u64>>) -> Result<Vec<u8>, Error> {
        let failed = |error| Error::file("read", error);
        let size = part.as_ref().map_or(source.size, |part| part.end - part.start);
        let mut body = source.read(part).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(LARGEST_SOURCE.as_u64())).unwrap_or(0));
        while let Some(part) = body.try_next().await.map_err(failed)? {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }
}

fn unmade(failed: base::TaskFailed) -> Error {
    Error::Files { doing: "made", cause: Arc::new(failed) }
}
