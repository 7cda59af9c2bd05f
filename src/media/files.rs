//! [`Files`]: the bytes of media, in a directory or in a bucket of an S3-compatible store.
//!
//! A file comes in under a name of its own in `incoming`, a directory in either case, where it is counted and hashed. When it is
//! whole it gets its place: by a rename, or by being sent to the bucket part by part. When [`Files::keep`] returns, content and names are on the
//! disk, or the bucket has acknowledged them, so the row that leads to them may be written. What a crash leaves in `incoming`, or at a place of which no row
//! knows, is swept (`sweep`).
//!
//! A place is named by what the file holds and by chance: no name is ever used again, so whoever removes a file that
//! nothing led to cannot take away one that came later.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{ByteSize, Counter, Random, Timestamp};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt, buffered::BufWriter,
    local::LocalFileSystem, path::Path as Place,
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    task::spawn_blocking,
    time::{error::Elapsed, timeout, timeout_at},
};
use tracing::error;

use crate::{
    Error, S3Config, bucket,
    tables::{self, hex},
};

/// Bytes that are read or written at a time.
const PIECE: usize = 64 << 10;
/// How much is written between two looks at the room that is left.
const LOOK_EACH: u64 = 16 << 20;

/// Parts in which larger files are sent to a bucket, in bytes (no store takes smaller ones), how many at a time, and how many files.
const PART: usize = 6 << 20;
const PARTS_AT_ONCE: usize = 2;
const SENT_AT_ONCE: usize = 8;

/// How long a bucket is waited for. Then it is taken for away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the turn of an upload to be sent there.
    pub(crate) turn: Duration,
    /// For sending it, and what its bytes are worth at [`SLOWEST`].
    pub(crate) sending: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { turn: Duration::from_secs(30), sending: Duration::from_secs(20) }
    }
}

/// Bytes of a file in a second, for which its time to be sent to a bucket is made longer.
const SLOWEST: u64 = 256 << 10;
/// How long it may take to take back what was sent of a file.
const TAKING_BACK: Duration = Duration::from_secs(5);

/// The object that says whose a bucket is.
const MARKER: &str = "yakuba-store";
/// Longest such object that is read.
const LONGEST_MARK: u64 = 256;

/// The bytes of a file, part by part.
pub type Body = BoxStream<'static, io::Result<Bytes>>;

/// The bytes of media. Cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    incoming: PathBuf,
    /// What must stay free on its disk, in bytes.
    reserve: u64,
    /// Whether what is acknowledged outlives a power cut.
    synced: bool,
    storage: Arc<dyn ObjectStore>,
    shelf: Shelf,
    patience: Patience,
    random: Random,
}

/// Where the storage lies.
enum Shelf {
    /// In a directory.
    Directory(PathBuf, Shelves),
    /// In a bucket, to which so many files are sent at a time.
    Bucket(Semaphore),
}

/// Settings of [`Files`].
#[derive(Clone, Debug)]
pub struct FilesConfig {
    /// The directory of files, and of those that come in.
    pub directory: PathBuf,
    /// What must stay free on its disk; with less, nothing more is taken.
    pub reserve: ByteSize,
    /// Whether files are on stable storage before they are acknowledged.
    pub synced: bool,
    /// The bucket that files are kept in; else that directory. Files that come in lie in the directory in either case.
    pub bucket: Option<S3Config>,
}

impl Files {
    /// Keeps files in a directory, which is made if it is missing, or in a bucket, which is not asked yet.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(config: FilesConfig, random: &Random) -> Result<Self, Error> {
        Self::open_patiently(config, random, Patience::default())
    }

    /// The same, waiting so long for a bucket.
    pub(crate) fn open_patiently(
        config: FilesConfig,
        random: &Random,
        patience: Patience,
    ) -> Result<Self, Error> {
        let FilesConfig { directory: root, reserve, synced, bucket } = config;
        let (storage, shelf): (Arc<dyn ObjectStore>, Shelf) = match bucket {
            Some(bucket) => (bucket::open(&bucket)?, Shelf::Bucket(Semaphore::new(SENT_AT_ONCE))),
            None => {
                let files = root.join("files");
                make_directory(&files).map_err(|error| Error::file("kept", error))?;
                let storage =
                    LocalFileSystem::new_with_prefix(&files).map_err(|error| Error::object("kept", error))?;
                (Arc::new(storage), Shelf::Directory(files, Shelves::default()))
            }
        };
        let incoming = root.join("incoming");
        make_directory(&incoming).map_err(|error| Error::file("kept", error))?;
        Ok(Self(Arc::new(Inner {
            incoming,
            reserve: reserve.as_u64(),
            synced,
            storage,
            shelf,
            patience,
            random: random.clone(),
        })))
    }

    /// Begins a file of at most `limit` bytes.
    pub(crate) async fn receive(&self, limit: ByteSize) -> Result<Incoming, Error> {
        self.has_room(0).await?;
        let path = self.0.incoming.join(format!("{}.part", self.0.random.token(24)));
        let file = tokio::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .await
            .map_err(|error| Error::file("written", error))?;
        Ok(Incoming {
            files: self.clone(),
            part: Part(path),
            file,
            hash: Sha256::new(),
            size: 0,
            looked_at: 0,
            limit,
        })
    }

    /// Refuses when the disk would have less than its reserve after so many bytes more.
    pub(crate) async fn has_room(&self, more: u64) -> Result<(), Error> {
        let incoming = self.0.incoming.clone();
        let found = spawn_blocking(move || rustix::fs::statvfs(&incoming)).await;
        let found = found.map_err(io::Error::other).map_err(|error| Error::file("written", error))?;
        let found = found.map_err(|error| Error::file("written", error.into()))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free.saturating_sub(more) < self.0.reserve {
            return Err(Error::NoRoom(format!("{free} bytes are free, {} are kept so", self.0.reserve)));
        }
        Ok(())
    }

    /// What could not be done by the storage.
    fn failed(&self, doing: &'static str, error: object_store::Error) -> Error {
        match (&self.0.shelf, error) {
            (_, object_store::Error::NotFound { path, .. }) => Error::FileGone(path),
            (Shelf::Bucket(_), error) => Error::Away { doing, cause: Arc::new(error) },
            (Shelf::Directory(..), error) => Error::object(doing, error),
        }
    }

    /// Gives a whole file its place; it is on stable storage when this returns.
    pub(crate) async fn keep(&self, whole: &Whole) -> Result<String, Error> {
        let name = hex(&whole.sha256);
        let place = format!("{}/{}-{}", &name[..2], &name[2..], self.0.random.token(8).to_ascii_lowercase());
        self.keep_at(whole, &place).await?;
        Ok(place)
    }

    /// The same at this place, which must be one that was never used.
    pub(crate) async fn keep_at(&self, whole: &Whole, place: &str) -> Result<(), Error> {
        let (from, synced) = (whole.part.0.clone(), self.0.synced);
        let to = match &self.0.shelf {
            Shelf::Directory(directory, _) => directory.join(place),
            Shelf::Bucket(turns) => {
                let late = |late: Elapsed| Error::Away { doing: "written", cause: Arc::new(late) };
                // Each has some parts in memory.
                let _turn = timeout(self.0.patience.turn, turns.acquire()).await.map_err(late)?;
                let within = self.0.patience.sending + Duration::from_secs(whole.size / SLOWEST);
                return self.send(&from, place, within).await;
            }
        };
        let this = self.clone();
        let moved = spawn_blocking(move || {
            if let Shelf::Directory(_, shelves) = &this.0.shelf {
                shelves.have(&to, synced)?;
            }
            put_in_place(&from, &to, synced)
        })
        .await;
        moved
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| Error::file("written", error))
    }

    /// Sends a file to the bucket in its time, in one piece where it is small, else part by part.
    async fn send(&self, from: &Path, place: &str, within: Duration) -> Result<(), Error> {
        let late = |late: Elapsed| Error::Away { doing: "written", cause: Arc::new(late) };
        let end = tokio::time::Instant::now() + within;
        let unread = |error| Error::file("read", error);
        let mut file = tokio::fs::File::open(from).await.map_err(unread)?;
        let storage = self.0.storage.clone();
        let mut writer =
            BufWriter::with_capacity(storage, Place::from(place), PART).with_max_concurrency(PARTS_AT_ONCE);
        let writing = async {
            loop {
                let mut piece = BytesMut::with_capacity(PIECE);
                if file.read_buf(&mut piece).await.map_err(unread)? == 0 {
                    return Ok(());
                }
                writer.put(piece.freeze()).await.map_err(|error| self.failed("written", error))?;
            }
        };
        let written = timeout_at(end, writing).await.map_err(late).flatten();
        if written.is_err() {
            // Where the store is away, it forgets the parts by its own rules.
            timeout(TAKING_BACK, writer.abort()).await.ok();
            return written;
        }
        // What fails here takes the parts back by itself; a writer that was shut down must not be asked to. What came to be
        // there after all has no row, and is swept.
        let shut = timeout_at(end, writer.shutdown()).await.map_err(late)?;
        shut.map_err(|error| Error::Away { doing: "written", cause: Arc::new(error) })
    }

    /// Reads a file, or a part of it that is not empty and lies within it.
    ///
    /// # Errors
    /// [`Error::FileGone`] and [`Error::Files`]. What fails later ends the body with an error.
    pub(crate) async fn read(&self, place: &str, part: Option<Range<u64>>) -> Result<Body, Error> {
        let options = GetOptions { range: part.map(GetRange::Bounded), ..GetOptions::default() };
        let place = Place::from(place);
        let found =
            self.0.storage.get_opts(&place, options).await.map_err(|error| self.failed("read", error))?;
        let range = found.range.clone();
        Ok(match found.payload {
            GetResultPayload::File(mut file, _) => {
                file.seek(SeekFrom::Start(range.start)).map_err(|error| Error::file("read", error))?;
                pieces(file, range)
            }
            GetResultPayload::Stream(stream) => stream.map_err(io::Error::other).boxed(),
        })
    }

    /// As [`Files::read`] of a whole file that holds this. From a bucket, which may be others' as well, it is looked at on its
    /// way: its last bytes come only if all are right, else the body ends with an error.
    pub(crate) async fn read_whole(
        &self,
        place: &str,
        sha256: tables::Sha256,
        damaged: Counter,
    ) -> Result<Body, Error> {
        let body = self.read(place, None).await?;
        Ok(match &self.0.shelf {
            Shelf::Directory(..) => body,
            Shelf::Bucket(_) => checked(body, place.to_owned(), sha256, damaged),
        })
    }

    /// Whether they lie where others may have theirs. A directory is nobody else's.
    pub(crate) fn are_in_bucket(&self) -> bool {
        matches!(self.0.shelf, Shelf::Bucket(_))
    }

    /// Makes a bucket that of the store with this name, or finds that it is.
    ///
    /// # Errors
    /// [`Error::Foreign`] where it is another store's: each would remove the other's files; [`Error::Away`].
    pub(crate) async fn claim(&self, name: &str) -> Result<(), Error> {
        let place = Place::from(MARKER);
        for is_written in [false, true] {
            match self.0.storage.get(&place).await {
                Ok(found) => {
                    let is_short = found.meta.size <= LONGEST_MARK;
                    let mark = match is_short {
                        true => found.bytes().await.map_err(|error| self.failed("read", error))?,
                        false => Bytes::new(),
                    };
                    return if mark == name.as_bytes() { Ok(()) } else { Err(Error::Foreign) };
                }
                Err(object_store::Error::NotFound { .. }) if !is_written => {
                    // Of two that come first at once, the later one's stays, and is read by both.
                    let put = self.0.storage.put(&place, name.to_owned().into_bytes().into()).await;
                    put.map_err(|error| self.failed("written", error))?;
                }
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        Ok(())
    }

    /// Whether a file is at its place, with this size.
    pub(crate) async fn is_there(&self, place: &str, size: u64) -> Result<bool, Error> {
        match self.0.storage.head(&Place::from(place)).await {
            Ok(found) => Ok(found.size == size),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    /// Removes a file, if it is there.
    pub(crate) async fn remove(&self, place: &str) -> Result<(), Error> {
        match self.0.storage.delete(&Place::from(place)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("removed", error)),
        }
    }

    /// The places of all files and since when they are there.
    pub(crate) fn list(&self) -> BoxStream<'static, Result<(String, Timestamp), Error>> {
        let listed = self.0.storage.list(None);
        let this = self.clone();
        let found = listed.map(move |found| {
            let found = found.map_err(|error| this.failed("read", error))?;
            let since = u64::try_from(found.last_modified.timestamp_millis()).unwrap_or_default();
            Ok((found.location.to_string(), Timestamp(since)))
        });
        found.boxed()
    }

    /// Removes what came in and got no place, for so long; says how many those were.
    pub(crate) async fn sweep_incoming(&self, older_than: Duration) -> Result<usize, Error> {
        let incoming = self.0.incoming.clone();
        let swept = spawn_blocking(move || -> io::Result<usize> {
            let mut count = 0;
            for entry in fs::read_dir(incoming)? {
                let entry = entry?;
                // One that got its place meanwhile is gone, and was none of those.
                let age = entry.metadata().and_then(|found| found.modified()).map(|since| since.elapsed());
                if age.is_ok_and(|age| age.is_ok_and(|age| age >= older_than)) {
                    count += usize::from(fs::remove_file(entry.path()).is_ok());
                }
            }
            Ok(count)
        });
        swept
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| Error::file("removed", error))
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("incoming", &self.0.incoming).finish_non_exhaustive()
    }
}

/// The name of a file that comes in; the file goes with it.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // It has its place, or is swept later.
        fs::remove_file(&self.0).ok();
    }
}

/// A file that comes in. Dropped half-way, nothing of it stays.
pub(crate) struct Incoming {
    files: Files,
    part: Part,
    file: tokio::fs::File,
    hash: Sha256,
    size: u64,
    looked_at: u64,
    limit: ByteSize,
}

impl Incoming {
    /// Adds bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.size = self.size.saturating_add(more);
        if self.size > self.limit.as_u64() {
            return Err(Error::TooLarge(self.limit));
        }
        if self.size - self.looked_at > LOOK_EACH {
            self.looked_at = self.size;
            self.files.has_room(0).await?;
        }
        // A large frame holds up the thread for no longer than a piece.
        for piece in bytes.chunks(PIECE) {
            self.hash.update(piece);
            self.file.write_all(piece).await.map_err(|error| Error::file("written", error))?;
        }
        Ok(())
    }

    /// The file is whole.
    pub(crate) async fn finish(mut self) -> Result<Whole, Error> {
        self.file.flush().await.map_err(|error| Error::file("written", error))?;
        Ok(Whole { part: self.part, sha256: self.hash.finalize().into(), size: self.size })
    }
}

/// A whole file that has no place yet.
pub(crate) struct Whole {
    part: Part,
    pub(crate) sha256: tables::Sha256,
    pub(crate) size: u64,
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The directories of files (at most 256, by the first byte of the hash) that this process knows to be on the disk.
#[derive(Default)]
struct Shelves(Mutex<BTreeSet<PathBuf>>);

impl Shelves {
    /// Has the directory of a file; it and its name are on stable storage afterwards, whoever made it.
    fn have(&self, file: &Path, synced: bool) -> io::Result<()> {
        let Some(shelf) = file.parent() else { return Ok(()) };
        // Held while it is made: a second file must not be acknowledged before its directory's name is on the disk.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(shelf) {
            return Ok(());
        }
        make_directory(shelf)?;
        if synced {
            for above in shelf.ancestors().skip(1).take(3) {
                File::open(above)?.sync_all()?;
            }
        }
        known.insert(shelf.to_owned());
        Ok(())
    }
}

/// Moves a file to its place, both on stable storage afterwards.
fn put_in_place(from: &Path, to: &Path, synced: bool) -> io::Result<()> {
    let directory = to.parent().unwrap_or(Path::new("/"));
    if synced {
        // Before the rename: a name that leads to an empty file would outlive a power cut.
        File::open(from)?.sync_all()?;
    }
    fs::rename(from, to)?;
    if synced {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// A body of which the last piece comes when all of it was found to be what it is to be.
fn checked(body: Body, place: String, sha256: tables::Sha256, damaged: Counter) -> Body {
    let begun = (body, Sha256::new(), None::<Bytes>, Some((place, sha256, damaged)));
    futures_util::stream::try_unfold(begun, async |(mut body, mut hash, mut held, mut told)| {
        while let Some(piece) = body.try_next().await? {
            hash.update(&piece);
            if let Some(before) = held.replace(piece) {
                return Ok(Some((before, (body, hash, held, told))));
            }
        }
        if let Some((place, sha256, damaged)) = told.take()
            && <tables::Sha256>::from(hash.finalize_reset()) != sha256
        {
            damaged.inc();
            error!(place, "a file in the bucket does not hold what was put there");
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged"));
        }
        Ok(held.take().map(|last| (last, (body, hash, None, None))))
    })
    .boxed()
}

/// A file that stands at the beginning of the range, piece by piece.
fn pieces(file: File, range: Range<u64>) -> Body {
    let left = range.end.saturating_sub(range.start);
    let begun = (tokio::fs::File::from_std(file), left);
    futures_util::stream::try_unfold(begun, async |(mut file, left)| {
        if left == 0 {
            return Ok(None);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let mut piece = vec![0; most];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        piece.truncate(read);
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        Ok(Some((Bytes::from(piece), (file, left.saturating_sub(read)))))
    })
    .boxed()
}
