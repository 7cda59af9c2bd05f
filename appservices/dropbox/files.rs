//! [`Files`]: what lies on the disk until it is in the room.
//!
//! A file grows at its end only. Bytes are acknowledged once they are on the disk and its row says so; what a crash left behind
//! that is cut off before the file is gone on with. One request at a time writes to a file: a newer one ends the older one, whose
//! connection is dead as a rule, and waits until that has acknowledged what it got.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::{AsyncSeekExt, AsyncWriteExt},
    sync::{OwnedMutexGuard, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    drops::{Drops, Error},
    kind::{HEAD, Kind, is_run_by_name},
    rows::{Link, Refused, Upload, UploadState},
    secret::hex,
};

/// Bytes after which what came is acknowledged, at the latest.
const STRETCH: u64 = 8 << 20;

/// Nothing comes for so long: the sender is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// An older request has so long to acknowledge what it got.
const HAND_OVER: Duration = Duration::from_secs(20);

/// Files that are hashed at a time.
const HASHING: usize = 2;

/// Files on the disk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Files(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    drops: Drops,
    writers: Mutex<HashMap<String, Writer>>,
    hashing: Semaphore,
}

/// Who writes to a file, and who waits to.
struct Writer {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Ends the one that came last.
    stop: CancellationToken,
    /// How many hold or wait.
    count: usize,
}

/// The right to write to a file.
struct Turn {
    files: Files,
    stop: CancellationToken,
    _held: OwnedMutexGuard<()>,
    _place: Place,
}

/// Being counted among those who write and wait, until it is dropped.
struct Place {
    files: Files,
    file: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut writers = self.files.0.writers.lock();
        if let Some(writer) = writers.get_mut(&self.file) {
            writer.count -= 1;
            if writer.count == 0 {
                writers.remove(&self.file);
            }
        }
    }
}

/// What became of bytes that were sent.
#[derive(Debug)]
pub(crate) enum Appended {
    /// All of them are on the disk; the file has so many now.
    All(u64),
    /// They are for another place of the file, which has so many.
    Elsewhere(u64),
    /// They are more than the file was to have.
    TooMany,
    /// The sender stopped, or came again: so many are on the disk.
    Cut(u64),
    /// Another request would not end.
    Busy,
}

impl Files {
    /// Files in a directory, which is made.
    pub(crate) fn open(directory: PathBuf, drops: Drops) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let (writers, hashing) = (Mutex::default(), Semaphore::new(HASHING));
        Ok(Self(Arc::new(Inner { directory, drops, writers, hashing })))
    }

    /// Where a file lies.
    pub(crate) fn path(&self, link: &str, id: &str) -> PathBuf {
        self.0.directory.join(format!("{link}.{id}"))
    }

    /// Makes an empty file; its name is on the disk when this returns.
    pub(crate) async fn create(&self, link: &str, id: &str) -> Result<(), Error> {
        let (path, directory) = (self.path(link, id), self.0.directory.clone());
        blocking(move || {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            fs::File::open(directory)?.sync_all()
        })
        .await?;
        Ok(())
    }

    /// Takes a file from the disk.
    pub(crate) async fn remove(&self, link: &str, id: &str) {
        match tokio::fs::remove_file(self.path(link, id)).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It goes at the next tidying.
            Err(error) => warn!(%error, "a file could not be removed"),
        }
    }

    /// Whether somebody writes to a file, or waits to.
    pub(crate) fn is_written(&self, link: &str, id: &str) -> bool {
        self.0.writers.lock().contains_key(&format!("{link}.{id}"))
    }

    async fn turn(&self, file: String) -> Option<Turn> {
        let (turn, stop) = {
            let mut writers = self.0.writers.lock();
            let writer = writers.entry(file.clone()).or_insert_with(|| Writer {
                turn: Arc::default(),
                stop: CancellationToken::new(),
                count: 0,
            });
            writer.stop.cancel();
            writer.stop = CancellationToken::new();
            writer.count += 1;
            (writer.turn.clone(), writer.stop.clone())
        };
        let place = Place { files: self.clone(), file };
        let held = timeout(HAND_OVER, turn.lock_owned()).await.ok()?;
        Some(Turn { files: self.clone(), stop, _held: held, _place: place })
    }

    /// How far a file has come; whoever writes to it is ended first, so that the number stays true.
    pub(crate) async fn offset(&self, link: &str, id: &str) -> Result<Option<Upload>, Error> {
        let Some(_turn) = self.turn(format!("{link}.{id}")).await else { return Ok(None) };
        self.0.drops.upload(link, id).await.map(Some)
    }

    /// Appends what comes at this place of a file.
    pub(crate) async fn append<E>(
        &self,
        (link, hash): (&Link, &str),
        id: &str,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Appended, Error> {
        let Some(turn) = self.turn(format!("{hash}.{id}")).await else { return Ok(Appended::Busy) };
        let upload = self.0.drops.upload(hash, id).await?;
        match upload.state {
            UploadState::Receiving => {}
            UploadState::Refused { reason } => return Err(Error::Refused(reason)),
            UploadState::Whole { .. } | UploadState::Sent { .. } => {
                return Ok(Appended::Elsewhere(upload.length));
            }
        }
        if offset != upload.offset {
            return Ok(Appended::Elsewhere(upload.offset));
        }
        let appended = turn.write(hash, id, &upload, body).await?;
        if let Appended::All(now) | Appended::Cut(now) = appended
            && offset < HEAD as u64
            && now >= upload.length.min(HEAD as u64)
        {
            self.look_at_beginning(link, hash, id, &upload.original_name).await?;
        }
        Ok(appended)
    }

    /// Refuses a file that cannot be of a kind that the link is for, before all of it was sent in vain.
    async fn look_at_beginning(&self, link: &Link, hash: &str, id: &str, name: &str) -> Result<(), Error> {
        use tokio::io::AsyncReadExt;
        let mut head = Vec::with_capacity(HEAD);
        File::open(self.path(hash, id)).await?.take(HEAD as u64).read_to_end(&mut head).await?;
        let kind = Kind::by_head(&head);
        // An archive may turn out to be a document; its end tells.
        if kind == Kind::Zip || is_taken(link, kind, name) {
            return Ok(());
        }
        self.refuse(hash, id, Refused::Kind).await?;
        Err(Error::Refused(Refused::Kind))
    }

    /// Refuses a file, or gives it up.
    pub(crate) async fn refuse(&self, hash: &str, id: &str, reason: Refused) -> Result<(), Error> {
        self.0.drops.refuse(hash, id, reason).await?;
        let upload = self.0.drops.upload(hash, id).await?;
        if matches!(upload.state, UploadState::Refused { .. }) {
            self.remove(hash, id).await;
        }
        Ok(())
    }

    /// The sender takes a file back that is not whole.
    ///
    /// # Errors
    /// [`Error::Received`] when it is.
    pub(crate) async fn take_back(&self, hash: &str, id: &str) -> Result<(), Error> {
        let _turn = self.turn(format!("{hash}.{id}")).await;
        self.refuse(hash, id, Refused::TakenBack).await?;
        match self.0.drops.upload(hash, id).await?.state {
            UploadState::Whole { .. } | UploadState::Sent { .. } => Err(Error::Received),
            UploadState::Receiving | UploadState::Refused { .. } => Ok(()),
        }
    }

    /// Compares a file that has all its bytes with the hash that the sender computed, if he did, and takes it.
    ///
    /// # Errors
    /// [`Error::Lacking`] when bytes are lacking, [`Error::Refused`] when it is not what was sent, or of another kind.
    pub(crate) async fn finish(
        &self,
        (link, hash): (&Link, &str),
        id: &str,
        claimed: Option<&str>,
    ) -> Result<Upload, Error> {
        let Some(_turn) = self.turn(format!("{hash}.{id}")).await else { return Err(Error::Full) };
        let upload = self.0.drops.upload(hash, id).await?;
        match upload.state {
            UploadState::Receiving if upload.offset == upload.length => {}
            UploadState::Receiving => return Err(Error::Lacking(upload.offset)),
            UploadState::Refused { reason } => return Err(Error::Refused(reason)),
            UploadState::Whole { .. } | UploadState::Sent { .. } => return Ok(upload),
        }
        let path = self.path(hash, id);
        let permit = self.0.hashing.acquire().await;
        let (sha256, kind) = blocking(move || judge(&path)).await?;
        drop(permit);
        let refused = match claimed {
            Some(claimed) if !claimed.eq_ignore_ascii_case(&sha256) => Some(Refused::Hash),
            _ if !is_taken(link, kind, &upload.original_name) => Some(Refused::Kind),
            _ => None,
        };
        if let Some(reason) = refused {
            self.refuse(hash, id, reason).await?;
            return Err(Error::Refused(reason));
        }
        self.0.drops.finish(hash, id, sha256, kind).await
    }

    /// Gives up what was begun so long ago, and of which nothing came; how many.
    pub(crate) async fn give_up_unbegun(&self, idle: Duration) -> Result<usize, Error> {
        let mut count = 0;
        for name in self.names().await? {
            let Some((link, id)) = name.split_once('.') else { continue };
            let upload = match self.0.drops.upload(link, id).await {
                Err(Error::NoUpload) => continue,
                upload => upload?,
            };
            let is_idle =
                self.0.drops.clock().now().since(upload.touched) >= idle && !self.is_written(link, id);
            if upload.state == UploadState::Receiving && upload.offset == 0 && is_idle {
                self.refuse(link, id, Refused::GivenUp).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// What lies on the disk.
    async fn names(&self) -> Result<Vec<String>, Error> {
        let directory = self.0.directory.clone();
        let names = blocking(move || {
            let names = fs::read_dir(directory)?
                .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
            names.collect::<io::Result<Vec<String>>>()
        });
        Ok(names.await?)
    }

    /// Takes from the disk what no row leads to, and gives up what was not gone on with.
    pub(crate) async fn tidy(&self) -> Result<(), Error> {
        let mut count = 0;
        for name in self.names().await? {
            let Some((link, id)) = name.split_once('.') else { continue };
            match self.0.drops.upload(link, id).await {
                Ok(upload) if upload.state == UploadState::Receiving => {
                    let idle = self.0.drops.clock().now().since(upload.touched);
                    if idle >= self.0.drops.settings().abandon_after.0 {
                        self.refuse(link, id, Refused::GivenUp).await?;
                        count += 1;
                    }
                }
                Ok(upload) if matches!(upload.state, UploadState::Whole { .. }) => {}
                Ok(_) | Err(Error::NoUpload) => {
                    self.remove(link, id).await;
                    count += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if count > 0 {
            info!(count, "files were given up or are not needed any more");
        }
        Ok(())
    }
}

impl Turn {
    async fn write<E>(
        &self,
        hash: &str,
        id: &str,
        upload: &Upload,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Appended, Error> {
        let mut file = File::options().write(true).open(self.files.path(hash, id)).await?;
        // What was written and not acknowledged before a crash may be anything.
        file.set_len(upload.offset).await?;
        file.seek(io::SeekFrom::Start(upload.offset)).await?;
        let mut acknowledged = upload.offset;
        let written = self.write_on((hash, id, upload.length), &mut file, &mut acknowledged, body).await;
        if !matches!(written, Ok(Appended::All(_) | Appended::Cut(_))) {
            // A full disk has no room for what nobody counts on.
            file.set_len(acknowledged).await?;
        }
        written
    }

    async fn write_on<E>(
        &self,
        (hash, id, whole): (&str, &str, u64),
        file: &mut File,
        acknowledged: &mut u64,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Appended, Error> {
        let drops = &self.files.0.drops;
        let mut offset = *acknowledged;
        let is_cut = loop {
            let next = timeout(SILENCE, body.next());
            let part = match self.stop.run_until_cancelled(next).await {
                Some(Ok(Some(Ok(part)))) => part,
                Some(Ok(None)) => break false,
                Some(Ok(Some(Err(_))) | Err(_)) | None => break true,
            };
            let length = part.len() as u64;
            if length > whole - offset {
                // What is still under way to the disk comes before it is cut.
                file.flush().await?;
                return Ok(Appended::TooMany);
            }
            file.write_all(&part).await?;
            offset += length;
            if offset - *acknowledged >= STRETCH {
                file.flush().await?;
                file.sync_data().await?;
                drops.advance(hash, id, offset).await?;
                *acknowledged = offset;
            }
        };
        if offset > *acknowledged {
            file.flush().await?;
            file.sync_data().await?;
            drops.advance(hash, id, offset).await?;
        }
        Ok(if is_cut { Appended::Cut(offset) } else { Appended::All(offset) })
    }
}

/// Whether a link takes a file of this kind. Programs are taken by none, and nothing that would be run by the name that it keeps.
fn is_taken(link: &Link, kind: Kind, name: &str) -> bool {
    let keeps_name = kind.endings().is_empty();
    if kind == Kind::Program || keeps_name && is_run_by_name(name) {
        return false;
    }
    link.groups.is_empty() || kind.group().is_some_and(|group| link.groups.contains(&group))
}

/// Hash and kind of a file.
fn judge(path: &Path) -> io::Result<(String, Kind)> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut part = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut part)? {
            0 => break,
            count => hash.update(&part[..count]),
        }
    }
    Ok((hex(&hash.finalize()), Kind::by_content(&mut file)?))
}

/// Work that waits for the disk, away from the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
