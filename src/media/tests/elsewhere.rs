//! Files of other servers, some of which never come to an end.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use tokio::sync::Notify;

use super::*;
use crate::{FetchBounds, FetchError, Fetched};

/// `hang.test` never answers, `slow.test` sends what it has when it is told to, `endless.test` sends without end, `cut.test`
/// breaks off after what its file is called; all others have every file.
#[derive(Default)]
struct Peers {
    asked: AtomicUsize,
    hanging: AtomicUsize,
    slow: AtomicUsize,
    go: Arc<Notify>,
}

#[async_trait]
impl Elsewhere for Peers {
    async fn fetch(
        &self,
        _: &ServerName,
        server: &ServerName,
        id: &str,
        _: FetchBounds,
    ) -> Result<Fetched, FetchError> {
        if server == "hang.test" {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mebibyte = Bytes::from(vec![7; 1 << 20]);
        if server == "endless.test" {
            let body = stream::repeat_with(move || Ok(mebibyte.clone())).boxed();
            return Ok(Fetched { kind: None, disposition: None, body });
        }
        if server == "cut.test" {
            let parts: usize = id.parse().unwrap();
            let cut = Err(std::io::Error::other("cut"));
            let body = stream::iter(std::iter::repeat_n(mebibyte, parts).map(Ok).chain([cut])).boxed();
            return Ok(Fetched { kind: None, disposition: None, body });
        }
        let bytes = Bytes::copy_from_slice(id.as_bytes());
        if server == "slow.test" {
            self.slow.fetch_add(1, Ordering::SeqCst);
            let go = self.go.clone();
            let body = stream::once(async move {
                go.notified().await;
                Ok(bytes)
            });
            return Ok(Fetched { kind: None, disposition: None, body: body.boxed() });
        }
        Ok(Fetched { kind: None, disposition: None, body: stream::iter([Ok(bytes)]).boxed() })
    }
}

#[tokio::test]
async fn a_server_that_never_answers_has_few_places_and_keeps_no_other_away() {
    let peers = Arc::new(Peers::default());
    let files =
        FilesConfig { directory: PathBuf::new(), reserve: ByteSize::mib(1), synced: false, bucket: None };
    let place = Place::beside(peers.clone(), files).await.unwrap();
    let open = |server: &'static str, id: String| {
        let media = place.media.clone();
        async move {
            let (reader, from) = (FileReader::User(anna()), Some(server_name!("a.test")));
            let server = <&ServerName>::try_from(server).unwrap();
            media.open_file(Asked { reader, server, id: &id, wait: None, zone: None, from }).await
        }
    };
    // More than are fetched at a time from all servers together.
    let waiting: Vec<_> =
        (0..100).map(|number| tokio::spawn(open("hang.test", format!("h{number}")))).collect();
    while peers.hanging.load(Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    for number in 0..10 {
        let opened = open("good.test", format!("good{number}")).await.unwrap();
        assert_eq!(opened.size, 5);
    }
    assert_eq!(peers.hanging.load(Ordering::SeqCst), 4);
    waiting.iter().for_each(|waiting| waiting.abort());
}

#[tokio::test]
async fn who_says_how_long_he_waits_for_a_file_elsewhere_waits_no_longer_until_it_begins_to_come() {
    let peers = Arc::new(Peers::default());
    let files =
        FilesConfig { directory: PathBuf::new(), reserve: ByteSize::mib(1), synced: false, bucket: None };
    let place = Place::beside(peers.clone(), files).await.unwrap();
    let open = |server: &'static str, wait: Duration| {
        let media = place.media.clone();
        tokio::spawn(async move {
            let (reader, from) = (FileReader::User(anna()), Some(server_name!("a.test")));
            let server = <&ServerName>::try_from(server).unwrap();
            media.open_file(Asked { reader, server, id: "file", wait: Some(wait), zone: None, from }).await
        })
    };
    let patient = open("hang.test", Duration::from_secs(30));
    let hasty = open("hang.test", Duration::from_millis(300));
    while peers.hanging.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    place.hand.advance(Duration::from_millis(300));
    assert!(matches!(hasty.await.unwrap(), Err(Error::NotYetUploaded)));
    assert!(!patient.is_finished());
    assert!(matches!(open("hang.test", Duration::ZERO).await.unwrap(), Err(Error::NotYetUploaded)));
    place.hand.advance(Duration::from_secs(30));
    assert!(matches!(patient.await.unwrap(), Err(Error::NotYetUploaded)));
    // They shared one fetch, which goes on without them.
    assert_eq!(peers.hanging.load(Ordering::SeqCst), 1);

    let opened = open("slow.test", Duration::from_millis(300));
    while peers.slow.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    place.hand.advance(Duration::from_secs(10));
    peers.go.notify_one();
    assert_eq!(opened.await.unwrap().unwrap().size, 4);
}

#[tokio::test]
async fn what_cost_much_and_came_to_nothing_is_not_fetched_for_each_who_asks() {
    let peers = Arc::new(Peers::default());
    let files =
        FilesConfig { directory: PathBuf::new(), reserve: ByteSize::mib(1), synced: false, bucket: None };
    let place = Place::beside(peers.clone(), files).await.unwrap();
    let open = async |server: &str, id: &str| {
        let (reader, from) = (FileReader::User(anna()), Some(server_name!("a.test")));
        let server = <&ServerName>::try_from(server).unwrap();
        let asked = Asked { reader, server, id, wait: None, zone: None, from };
        let told = place.media.open_file(asked).await.map(|_| ()).map_err(|error| error.to_string());
        (told, peers.asked.load(Ordering::SeqCst))
    };
    let too_large = Err("another server's file is larger than 3 MiB".to_owned());
    let broken = |why: &str| Err(format!("another server gave no file: {why}"));
    assert_eq!(open("endless.test", "a").await, (too_large.clone(), 1));
    assert_eq!(open("endless.test", "a").await, (too_large.clone(), 1));
    assert_eq!(open("endless.test", "b").await, (too_large.clone(), 2), "another of its files");
    assert_eq!(open("other.test", "a").await, (Ok(()), 3), "and another server's of this name");
    assert_eq!(open("cut.test", "2").await, (broken("cut"), 4));
    assert_eq!(open("cut.test", "2").await, (broken("it broke off a moment ago"), 4));
    // What came was little, so it is tried again at once.
    assert_eq!(open("cut.test", "1").await, (broken("cut"), 5));
    assert_eq!(open("cut.test", "1").await, (broken("cut"), 6));

    place.hand.advance(Duration::from_secs(61));
    assert_eq!(open("cut.test", "2").await, (broken("cut"), 7));
    assert_eq!(open("endless.test", "a").await, (too_large.clone(), 7));
    place.hand.advance(Duration::from_secs(60 * 60));
    assert_eq!(open("endless.test", "a").await, (too_large, 8));
}
