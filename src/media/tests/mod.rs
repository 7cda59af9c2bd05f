//! The content repository over a store in memory and a directory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bucket;
mod elsewhere;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base::{ByteSize, Clock, ManualClock, Metrics, Random, Tasks};
use futures_util::TryStreamExt;
use pdu::{Authorities, Authority};
use room::{AllowAll, FileReader};
use ruma::{ServerName, UserId, server_name, user_id};
use store::{Batch, MemoryBackend, Order, Range, Store};
use tempfile::TempDir;

use crate::{
    About, Asked, Config, Elsewhere, Error, Files, FilesConfig, Media, Method, NoBrowse, NoElsewhere, Parts,
    Wanted, tables,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Place {
    media: Media,
    store: Store,
    directory: TempDir,
    hand: ManualClock,
    _tasks: Tasks,
}

impl Place {
    async fn new() -> Place {
        Place::with(FilesConfig {
            directory: PathBuf::new(),
            reserve: ByteSize::mib(1),
            synced: true,
            bucket: None,
        })
        .await
        .unwrap()
    }

    async fn with(files: FilesConfig) -> Result<Place, Error> {
        Place::beside(Arc::new(NoElsewhere), files).await
    }

    /// With these for other servers.
    async fn beside(elsewhere: Arc<dyn Elsewhere>, files: FilesConfig) -> Result<Place, Error> {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let (tasks, random) = (Tasks::new(&metrics), Random::seeded(3));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let (clock, hand) = Clock::manual(u64::try_from(now.as_millis()).unwrap());
        let backend = Arc::new(MemoryBackend::default());
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let files = FilesConfig { directory: directory.path().to_owned(), ..files };
        let authority = Authority::new(server_name!("a.test").to_owned(), "1", &[7; 32]).unwrap();
        let media = Media::open(Parts {
            store: store.clone(),
            files: Files::open(files, &random)?,
            config: Config { most_reserved: 3, largest_remote: ByteSize::mib(3), ..Config::default() },
            authorities: Arc::new(Authorities::new([authority])),
            elsewhere,
            browse: Arc::new(NoBrowse),
            worker: sanitise::Worker::new("unused", Vec::new(), sanitise::Bounds::default()),
            policy: Arc::new(AllowAll),
            clock,
            random,
            tasks: &tasks,
            metrics: &metrics,
        });
        Ok(Place { media, store, directory, hand, _tasks: tasks })
    }

    async fn keep(&self, bytes: &[u8]) -> String {
        let mut upload = self.media.upload(anna(), About::default()).await.unwrap();
        upload.write(bytes).await.unwrap();
        upload.finish().await.unwrap().1
    }

    async fn read(&self, id: &str) -> Result<Vec<u8>, Error> {
        let opened = self.media.open_file(asked(id)).await?;
        let parts: Vec<_> = opened.read(None).await?.try_collect().await.unwrap();
        Ok(parts.concat())
    }

    /// Sweeps, while the clock runs.
    async fn sweep(&self, compare: bool) {
        let run = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.hand.advance(Duration::from_millis(5));
            }
        };
        tokio::select! {
            swept = self.media.sweep(compare) => swept.unwrap(),
            () = run => {}
        }
    }

    /// All files that are kept.
    fn files(&self) -> Vec<PathBuf> {
        let shelves = fs::read_dir(self.directory.path().join("files")).unwrap();
        let files = shelves.flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }
}

fn anna() -> &'static UserId {
    user_id!("@anna:a.test")
}

fn asked(id: &str) -> Asked<'_> {
    let server: &ServerName = server_name!("a.test");
    Asked { reader: FileReader::User(anna()), server, id, wait: Some(Duration::ZERO), zone: None, from: None }
}

fn age(file: &PathBuf, age: Duration) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test]
async fn files_that_no_row_leads_to_go_once_they_are_old_and_others_stay() {
    let place = Place::new().await;
    let mut picture = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(400, 300).write_to(&mut picture, image::ImageFormat::Png).unwrap();
    let id = place.keep(picture.get_ref()).await;
    let wanted = Wanted { width: 32, height: 32, method: Method::Crop, animated: false };
    place.media.thumbnail(asked(&id), wanted).await.unwrap();
    let kept = place.files();
    assert_eq!(kept.len(), 2);
    // As an upload and a thumbnail leave them that broke off before their rows.
    let mut strays = Vec::new();
    for file in &kept {
        let name = file.to_str().unwrap();
        let stray = PathBuf::from(name.rsplit_once('-').unwrap().0.to_owned() + "-00000000");
        fs::write(&stray, "stray").unwrap();
        strays.push(stray);
    }
    place.sweep(true).await;
    assert_eq!(place.files().len(), 2 + strays.len());
    for file in kept.iter().chain(&strays) {
        age(file, 2 * DAY);
    }
    place.sweep(false).await;
    assert_eq!(place.files().len(), 2 + strays.len());
    place.sweep(true).await;
    let mut left = place.files();
    left.sort();
    let mut kept = kept;
    kept.sort();
    assert_eq!(left, kept);
    assert_eq!(&place.read(&id).await.unwrap(), picture.get_ref());
}

#[tokio::test]
async fn what_an_upload_left_half_way_is_swept_when_it_is_old() {
    let place = Place::new().await;
    let part = place.directory.path().join("incoming/x.part");
    fs::write(&part, "half").unwrap();
    place.sweep(false).await;
    assert!(part.exists());
    age(&part, 2 * DAY);
    place.sweep(false).await;
    assert!(!part.exists());
}

#[tokio::test]
async fn a_removal_that_a_crash_cut_short_is_ended_by_the_sweep() {
    let place = Place::new().await;
    let id = place.keep(b"bytes").await;
    let (sha256, blob) =
        place.store.scan(&tables::BLOBS, Range::all(), Order::Ascending, 1).await.unwrap().pop().unwrap();
    let mut batch = Batch::new();
    batch.delete(&tables::MEDIA, &("a.test", id.as_str()));
    batch.delete(&tables::BLOBS, &sha256);
    batch.put(&tables::DOOMED, blob.place.as_str(), &());
    place.store.commit(batch).await.unwrap();
    // The same comes again meanwhile, and is not what is removed.
    let again = place.keep(b"bytes").await;
    assert_eq!(place.files().len(), 2);
    place.sweep(false).await;
    assert_eq!(place.files().len(), 1);
    assert_eq!(place.read(&again).await.unwrap(), b"bytes");
    assert!(place.store.scan(&tables::DOOMED, Range::all(), Order::Ascending, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn ids_that_waited_in_vain_are_forgotten_and_count_no_more() {
    let place = Place::new().await;
    for _ in 0..3 {
        place.media.reserve(anna()).await.unwrap();
    }
    assert!(matches!(place.media.reserve(anna()).await, Err(Error::Limited { .. })));
    place.hand.advance(DAY);
    place.media.reserve(anna()).await.unwrap();
    place.media.reserve(anna()).await.unwrap();
    place.hand.advance(DAY);
    place.sweep(false).await;
    assert!(place.store.scan(&tables::RESERVED, Range::all(), Order::Ascending, 1).await.unwrap().is_empty());
    assert!(
        place.store.scan(&tables::RESERVED_OF, Range::all(), Order::Ascending, 1).await.unwrap().is_empty()
    );
}

#[tokio::test]
async fn a_disk_with_too_little_room_takes_nothing_and_is_read() {
    let full = FilesConfig {
        directory: PathBuf::new(),
        reserve: ByteSize::bytes(u64::MAX),
        synced: false,
        bucket: None,
    };
    let place = Place::with(full).await.unwrap();
    assert!(matches!(place.media.upload(anna(), About::default()).await, Err(Error::NoRoom(_))));
    assert!(matches!(place.read("nothing").await, Err(Error::NotFound)));
}

#[tokio::test]
async fn a_missing_file_is_told() {
    let place = Place::new().await;
    place.keep(b"one").await;
    place.keep(b"two").await;
    let missing = async || crate::missing_files(&place.store, place.media.files()).await.unwrap();
    assert_eq!(missing().await.count, 0);
    fs::write(&place.files()[0], "longer than it was").unwrap();
    fs::remove_file(&place.files()[1]).unwrap();
    let found = missing().await;
    assert_eq!((found.count, found.places.len()), (2, 2));
}
