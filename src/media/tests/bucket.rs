//! Files in a bucket of a store that speaks S3 over HTTP, in this process.

use std::net::SocketAddr;

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::{net::TcpListener, task::JoinSet};

use super::*;
use crate::{S3Config, files::Patience};

/// A store with one bucket, whose files outlive its stops.
struct Shop {
    directory: TempDir,
    address: SocketAddr,
    serving: Option<JoinSet<()>>,
}

impl Shop {
    async fn new() -> Shop {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("yakuba")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut shop = Shop { directory, address, serving: None };
        shop.serve(listener);
        shop
    }

    fn serve(&mut self, listener: TcpListener) {
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(self.directory.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("key", "the secret of the key"));
        let service = service.build();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service.clone();
                connections.spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    server.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        self.serving = Some(serving);
    }

    async fn stop(&mut self) {
        self.serving.take().unwrap().shutdown().await;
    }

    async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn bucket(&self) -> S3Config {
        S3Config {
            endpoint: format!("http://{}", self.address),
            region: "us-east-1".to_owned(),
            bucket: "yakuba".to_owned(),
            prefix: "media".to_owned(),
            path_style: true,
            key_id: "key".to_owned(),
            secret: "the secret of the key".to_owned(),
            ca: None,
        }
    }

    async fn place(&self) -> Place {
        Self::place_in(self.bucket()).await
    }

    async fn place_in(bucket: S3Config) -> Place {
        let bucket = Some(bucket);
        let files =
            FilesConfig { directory: PathBuf::new(), reserve: ByteSize::mib(1), synced: true, bucket };
        Place::with(files).await.unwrap()
    }

    /// All objects of the bucket.
    fn objects(&self) -> Vec<PathBuf> {
        let Ok(shelves) = fs::read_dir(self.directory.path().join("yakuba/media")) else { return Vec::new() };
        // Beside them is the mark of whose they are.
        let shelves = shelves.map(|shelf| shelf.unwrap().path()).filter(|shelf| shelf.is_dir());
        let objects = shelves.flat_map(|shelf| fs::read_dir(shelf).unwrap());
        objects.map(|object| object.unwrap().path()).collect()
    }
}

/// What no two places have alike.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|number| u8::try_from(number * 7 % 251).unwrap()).collect()
}

#[tokio::test]
async fn a_file_in_a_bucket_comes_back_as_it_was_in_whole_and_in_parts() {
    let shop = Shop::new().await;
    let place = shop.place().await;
    // In one piece, and in several parts with a short one at the end.
    for size in [1, 70_000, 20 << 20] {
        let content = bytes(size);
        let id = place.keep(&content).await;
        assert!(place.read(&id).await.unwrap() == content, "{size}");
        let opened = place.media.open_file(asked(&id)).await.unwrap();
        let end = u64::try_from(size).unwrap();
        for part in [0..end, end - 1..end, end / 3..end / 2 + 1] {
            let parts: Vec<_> = opened.read(Some(part.clone())).await.unwrap().try_collect().await.unwrap();
            let within = usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap();
            assert!(parts.concat() == content[within], "{size}: {part:?}");
        }
    }
    // Nothing stays where files come in.
    assert_eq!(fs::read_dir(place.directory.path().join("incoming")).unwrap().count(), 0);
    assert!(!place.directory.path().join("files").exists());
}

#[tokio::test]
async fn keys_with_signs_and_japanese_letters_are_signed_as_they_are_sent() {
    let shop = Shop::new().await;
    for prefix in ["a+b c&=", "媒体"] {
        let place = Shop::place_in(S3Config { prefix: prefix.to_owned(), ..shop.bucket() }).await;
        // In one piece, and in several parts.
        for size in [70_000, 20 << 20] {
            let content = bytes(size);
            let id = place.keep(&content).await;
            assert!(place.read(&id).await.unwrap() == content, "{prefix}: {size}");
        }
    }
}

#[tokio::test]
async fn equal_files_are_one_object_that_goes_with_the_last_use() {
    let shop = Shop::new().await;
    let place = shop.place().await;
    let (first, second) = (place.keep(b"bytes").await, place.keep(b"bytes").await);
    assert_eq!(shop.objects().len(), 1);
    place.media.remove(server_name!("a.test"), &first).await.unwrap();
    assert_eq!(place.read(&second).await.unwrap(), b"bytes");
    place.media.remove(server_name!("a.test"), &second).await.unwrap();
    place.sweep(false).await;
    assert!(shop.objects().is_empty());
}

#[tokio::test]
async fn while_the_store_is_away_files_are_refused_and_none_is_lost() {
    let mut shop = Shop::new().await;
    let place = shop.place().await;
    let id = place.keep(b"bytes").await;
    shop.stop().await;
    let away =
        |outcome: Result<(), Error>| assert!(matches!(outcome, Err(Error::Away { .. })), "{outcome:?}");
    away(place.read(&id).await.map(drop));
    let mut upload = place.media.upload(anna(), About::default()).await.unwrap();
    upload.write(&bytes(20 << 20)).await.unwrap();
    away(upload.finish().await.map(drop));
    place.media.remove(server_name!("a.test"), &id).await.ok();
    assert_eq!(fs::read_dir(place.directory.path().join("incoming")).unwrap().count(), 0);

    shop.start_again().await;
    let again = place.keep(b"other bytes").await;
    assert_eq!(place.read(&again).await.unwrap(), b"other bytes");
    // What was to be removed meanwhile goes with the next sweep.
    place.sweep(false).await;
    assert_eq!(shop.objects().len(), 1);
}

#[tokio::test]
async fn what_was_sent_and_got_no_row_is_swept_and_nothing_else() {
    let shop = Shop::new().await;
    let place = shop.place().await;
    let id = place.keep(b"bytes").await;
    let lost = place.media.inner.files.receive(ByteSize::mib(1)).await.unwrap();
    let mut lost = lost;
    lost.write(b"a process died before its row was written").await.unwrap();
    place.media.inner.files.keep(&lost.finish().await.unwrap()).await.unwrap();
    assert_eq!(shop.objects().len(), 2);
    place.sweep(true).await;
    assert_eq!(shop.objects().len(), 2, "its row may still come");
    place.hand.advance(2 * DAY);
    place.sweep(true).await;
    assert_eq!(shop.objects().len(), 1);
    assert_eq!(place.read(&id).await.unwrap(), b"bytes");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_told() {
    let shop = Shop::new().await;
    crate::look_at_bucket(&shop.bucket()).await.unwrap();
    let wrong = [
        S3Config { secret: "another".to_owned(), ..shop.bucket() },
        S3Config { endpoint: "https://127.0.0.1:1".to_owned(), ..shop.bucket() },
    ];
    for bucket in wrong {
        assert!(crate::look_at_bucket(&bucket).await.is_err(), "{bucket:?}");
    }
    assert!(!format!("{:?}", shop.bucket()).contains("secret of"));
}

#[tokio::test]
async fn a_file_that_the_bucket_changed_is_not_given_whole_and_is_counted() {
    let shop = Shop::new().await;
    let place = shop.place().await;
    let content = bytes(300_000);
    let id = place.keep(&content).await;
    let object = shop.objects().remove(0);
    let mut changed = content.clone();
    changed[5] ^= 1;
    fs::write(&object, &changed).unwrap();
    let opened = place.media.open_file(asked(&id)).await.unwrap();
    let mut body = opened.read(None).await.unwrap();
    let mut got = 0;
    let ended = loop {
        match body.try_next().await {
            Ok(Some(piece)) => got += piece.len(),
            ended => break ended,
        }
    };
    assert!(ended.is_err() && got < content.len(), "{got}");
    assert_eq!(place.media.inner.damaged.get(), 1);
    fs::write(&object, &content).unwrap();
    assert_eq!(place.read(&id).await.unwrap(), content);
    assert_eq!(place.media.inner.damaged.get(), 1);
}

#[tokio::test]
async fn a_bucket_is_one_stores_and_another_takes_nothing_away_there() {
    let shop = Shop::new().await;
    let (first, second) = (shop.place().await, shop.place().await);
    let id = first.keep(b"bytes").await;
    first.media.claim_bucket().await.unwrap();
    first.media.claim_bucket().await.unwrap();
    assert!(matches!(second.media.claim_bucket().await, Err(Error::Foreign)));
    second.hand.advance(2 * DAY);
    assert!(matches!(second.media.sweep(true).await, Err(Error::Foreign)));
    assert_eq!(first.read(&id).await.unwrap(), b"bytes");
}

#[tokio::test]
async fn a_bucket_that_hangs_is_not_waited_for_by_the_minute() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let bucket = S3Config {
        endpoint: format!("http://{address}"),
        region: "us-east-1".to_owned(),
        bucket: "yakuba".to_owned(),
        prefix: "media".to_owned(),
        path_style: true,
        key_id: "key".to_owned(),
        secret: "the secret of the key".to_owned(),
        ca: None,
    };
    let directory = tempfile::tempdir().unwrap();
    let files = FilesConfig {
        directory: directory.path().to_owned(),
        reserve: ByteSize::mib(1),
        synced: true,
        bucket: Some(bucket),
    };
    let patience = Patience { turn: Duration::from_millis(200), sending: Duration::from_millis(300) };
    let files = Files::open_patiently(files, &Random::seeded(5), patience).unwrap();
    let began = std::time::Instant::now();
    let keep = async || {
        let mut incoming = files.receive(ByteSize::mib(1)).await.unwrap();
        incoming.write(b"bytes").await.unwrap();
        let kept = files.keep(&incoming.finish().await.unwrap()).await;
        assert!(matches!(kept, Err(Error::Away { .. })), "{kept:?}");
    };
    // More than may be sent at once: the last ones get no turn.
    futures_util::future::join_all((0..20).map(|_| keep())).await;
    // A request to the bucket may take a minute.
    assert!(began.elapsed() < Duration::from_secs(40));
}
