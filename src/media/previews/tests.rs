//! Pages of strangers, and what is told of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use base::{ByteSize, Clock, ManualClock, Metrics, Random, Tasks};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{ImageFormat, RgbImage};
use parking_lot::Mutex;
use pdu::{Authorities, Authority};
use room::{AllowAll, FileReader, Gives, Zone};
use ruma::{UserId, server_name, user_id};
use serde_json::{Value, json};
use store::{MemoryBackend, Order, Range, Store};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::{Asked, Body, Config, Files, FilesConfig, NoElsewhere, Parts};

/// The pages that there are, and how often somebody came.
#[derive(Default)]
struct Pages {
    pages: Mutex<HashMap<String, (&'static str, Vec<u8>)>>,
    moved: Mutex<HashMap<String, String>>,
    visits: AtomicUsize,
    /// Whoever comes waits for it, while there is one.
    door: Mutex<Option<Arc<Notify>>>,
}

#[async_trait]
impl Browse for Pages {
    async fn get(&self, url: &str, bounds: FetchBounds) -> Result<Page, FetchError> {
        self.visits.fetch_add(1, Ordering::SeqCst);
        let door = self.door.lock().clone();
        if let Some(door) = door {
            door.notified().await;
        }
        let url = self.moved.lock().get(url).cloned().unwrap_or_else(|| url.to_owned());
        if url.ends_with("forbidden.png") {
            return Err(FetchError::Failed("403 Forbidden".to_owned()));
        }
        let (kind, bytes) = self.pages.lock().get(&url).cloned().ok_or(FetchError::NotFound)?;
        let kind = Some(kind).filter(|kind| !kind.is_empty()).map(str::to_owned);
        let parts: Vec<_> = bytes.chunks(1_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        let is_whole = bytes.len() <= bounds.size.as_usize();
        let end = (!is_whole).then(|| Err(std::io::Error::other("too large")));
        let parts: Body = stream::iter(parts.into_iter().chain(end)).boxed();
        Ok(Page { url, kind, body: parts })
    }
}

struct Place {
    media: Media,
    pages: Arc<Pages>,
    store: Store,
    hand: ManualClock,
    _directory: TempDir,
    _tasks: Tasks,
}

fn anna() -> &'static UserId {
    user_id!("@anna:a.test")
}

fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::new(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

impl Place {
    async fn new() -> Place {
        Place::with(true).await
    }

    async fn with(previews: bool) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let (tasks, random) = (Tasks::new(&metrics), Random::seeded(3));
        let (clock, hand) = Clock::manual(1_800_000_000_000);
        let backend = Arc::new(MemoryBackend::default());
        let store = Store::open(backend, Default::default(), &tasks, &metrics).await.unwrap();
        let files = FilesConfig {
            directory: directory.path().to_owned(),
            reserve: ByteSize::mib(1),
            synced: false,
            bucket: None,
        };
        let authority = |name: &ruma::ServerName| Authority::new(name.to_owned(), "1", &[7; 32]).unwrap();
        let ours = [server_name!("a.test"), server_name!("b.test")].map(authority);
        let pages = Arc::new(Pages::default());
        let media = Media::open(Parts {
            store: store.clone(),
            files: Files::open(files, &random).unwrap(),
            config: Config { previews, ..Config::default() },
            authorities: Arc::new(Authorities::new(ours)),
            elsewhere: Arc::new(NoElsewhere),
            browse: pages.clone(),
            worker: sanitise::Worker::new("unused", Vec::new(), sanitise::Bounds::default()),
            policy: Arc::new(AllowAll),
            clock,
            random,
            tasks: &tasks,
            metrics: &metrics,
        });
        Place { media, pages, store, hand, _directory: directory, _tasks: tasks }
    }

    fn page(&self, url: &str, kind: &'static str, bytes: impl Into<Vec<u8>>) {
        self.pages.pages.lock().insert(url.to_owned(), (kind, bytes.into()));
    }

    async fn told(&self, url: &str) -> Result<Value, Error> {
        Ok(serde_json::from_str(&self.media.preview(anna(), url).await?).unwrap())
    }

    fn visits(&self) -> usize {
        self.pages.visits.load(Ordering::SeqCst)
    }

    async fn rows(&self) -> (usize, usize) {
        let (order, most) = (Order::Ascending, usize::MAX);
        let pages = self.store.scan(&tables::PREVIEWS, Range::all(), order, most).await.unwrap();
        let pictures = self.store.scan(&tables::PREVIEW_PICTURES, Range::all(), order, most).await.unwrap();
        (pages.len(), pictures.len())
    }

    async fn open(&self, uri: &str) -> Result<crate::Opened, Error> {
        self.open_in(None, uri).await
    }

    async fn open_in(&self, zone: Option<&Zone>, uri: &str) -> Result<crate::Opened, Error> {
        let id = uri.strip_prefix("mxc://a.test/").unwrap();
        let reader = FileReader::User(anna());
        let (server, wait) = (server_name!("a.test"), Some(Duration::ZERO));
        self.media.open_file(Asked { reader, server, id, wait, zone, from: None }).await
    }
}

#[tokio::test]
async fn a_page_is_told_with_its_picture_which_is_a_file_for_some_days() {
    let place = Place::new().await;
    let page = r#"<html prefix="og: http://ogp.me/ns#"><head><title>no</title>
        <meta property="og:title" content="The Rock" /><meta property="og:type" content="video.movie" />
        <meta property="og:url" content="http://www.imdb.com/title/tt0117500/" />
        <meta property="og:image" content="test.png" /></head></html>"#;
    let picture = picture(279, 129);
    place.page("http://page.test/a/test.html?x=1", "text/html", page);
    place.page("http://page.test/a/test.png", "image/png", picture.clone());

    let told = place.told("http://page.test/a/test.html?x=1#there").await.unwrap();
    let uri = told["og:image"].as_str().unwrap().to_owned();
    assert_eq!(
        told,
        json!({
            "og:title": "The Rock", "og:type": "video.movie", "og:url": "http://www.imdb.com/title/tt0117500/",
            "og:image": uri, "og:image:type": "image/png", "og:image:width": 279, "og:image:height": 129,
            "matrix:image:size": picture.len(),
        })
    );
    let opened = place.open(&uri).await.unwrap();
    assert_eq!((opened.size, opened.kind.as_str()), (u64::try_from(picture.len()).unwrap(), "image/png"));
    // In a zone that demands sanitised files it is a file like others; one without settings is given nothing.
    let zone = Zone::new("lgwan", Gives::Sanitised);
    assert!(matches!(place.open_in(Some(&zone), &uri).await, Err(Error::Unjudged(_))));
    // Told again, nobody is asked.
    assert_eq!(place.told("http://page.test/a/test.html?x=1").await.unwrap(), told);
    assert_eq!(place.visits(), 2);

    place.hand.advance(KEPT);
    place.media.sweep_previews().await.unwrap();
    assert_eq!(place.rows().await, (0, 1));
    place.hand.advance(Duration::from_secs(u64::from(PICTURE_DAYS + 1) * 24 * 60 * 60));
    place.media.sweep_previews().await.unwrap();
    assert_eq!(place.rows().await, (0, 0));
    assert!(matches!(place.open(&uri).await, Err(Error::NotFound)));
    let used = place.store.get(&tables::USED, &("a.test", KEEPER)).await.unwrap().unwrap_or_default();
    assert_eq!(used.0, 0);
}

#[tokio::test]
async fn a_picture_that_cannot_be_had_costs_the_picture_alone() {
    let place = Place::new().await;
    place.page("https://page.test/huge.png", "image/png", vec![0; LARGEST_PICTURE.as_usize() + 1]);
    place.page("https://page.test/text.png", "image/png", "no picture");
    place.page("https://page.test/x.svg", "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>");
    // C96
    let addresses = [
        "gone.png",
        "forbidden.png",
        "huge.png",
        "text.png",
        "x.svg",
        "ftp://page.test/a",
        "http://u:p@page.test/",
        "",
        "//",
    ];
    for (number, address) in addresses.into_iter().enumerate() {
        let page = format!("<title>t</title><meta property=og:image content='{address}'>");
        let url = format!("https://page.test/{number}");
        place.page(&url, "text/html; charset=utf-8", page);
        place.hand.advance(Duration::from_secs(60));
        assert_eq!(place.told(&url).await.unwrap(), json!({ "og:title": "t" }), "{address}");
    }
    assert_eq!(place.rows().await.1, 0);
}

#[tokio::test]
async fn what_is_no_page_and_what_says_nothing_are_told_as_that() {
    let place = Place::new().await;
    place.page("https://page.test/dir/%E5%9B%B3.png", "image/png", picture(3, 2));
    let told = place.told("https://page.test/dir/図.png").await.unwrap();
    assert_eq!((&told["og:image:width"], &told["og:image:type"]), (&json!(3), &json!("image/png")));
    place.page("https://page.test/file.pdf", "application/pdf", "%PDF");
    assert_eq!(place.told("https://page.test/file.pdf").await.unwrap(), json!({}));
    place.page("https://page.test/empty", "text/html", "");
    assert_eq!(place.told("https://page.test/empty").await.unwrap(), json!({}));
    place.page("https://page.test/none", "", "<title>t</title>");
    assert_eq!(place.told("https://page.test/none").await.unwrap()["og:title"], "t");
    // A page without an end.
    let long = format!("<title>t</title><meta name=description content=d>{}", "x".repeat(PAGE_BYTES * 3));
    place.page("https://page.test/long", "text/html", long);
    let told = place.told("https://page.test/long").await.unwrap();
    assert_eq!(told, json!({ "og:title": "t", "og:description": "d" }));
    // Where it has moved to counts for what it names.
    place.pages.moved.lock().insert("https://old.test/".to_owned(), "https://page.test/new/".to_owned());
    place.page("https://page.test/new/", "text/html", "<meta property=og:image content=p.png>");
    place.page("https://page.test/new/p.png", "image/png", picture(5, 5));
    assert_eq!(place.told("https://old.test/").await.unwrap()["og:image:width"], 5);
    // And where the page says so, to that.
    for (number, (base, at)) in [
        ("/sub/", "https://page.test/sub/p.png"),
        ("https://other.test/x/y", "https://other.test/x/p.png"),
        ("data:text/html,x", "https://page.test/based/p.png"),
    ]
    .into_iter()
    .enumerate()
    {
        let width = 20 + u32::try_from(number).unwrap();
        place.page(at, "image/png", picture(width, 4));
        let page = format!(
            "<base target=_top><base href='{base}'><base href='/no/'><meta property=og:image content=p.png>"
        );
        let address = format!("https://page.test/based/{number}");
        place.page(&address, "text/html", page);
        assert_eq!(place.told(&address).await.unwrap()["og:image:width"], width, "{base}");
    }
}

#[tokio::test]
async fn what_is_no_address_is_refused_before_anybody_is_asked() {
    let place = Place::new().await;
    let long = format!("https://page.test/{}", "x".repeat(LONGEST_URL));
    for url in
        ["", "page.test", "file:///etc/passwd", "javascript:1", "https://", "https://u:p@page.test/", &long]
    {
        assert!(matches!(place.told(url).await, Err(Error::Invalid(_))), "{url}");
    }
    assert_eq!(place.visits(), 0);
    let off = Place::with(false).await;
    assert!(matches!(off.told("https://page.test/").await, Err(Error::NoPreviews)));
}

#[tokio::test]
async fn what_could_not_be_had_is_not_asked_for_again_at_once() {
    let place = Place::new().await;
    for _ in 0..3 {
        assert!(matches!(place.told("https://page.test/").await, Err(Error::Elsewhere(_))));
    }
    assert_eq!(place.visits(), 1);
    place.page("https://page.test/", "text/html", "<title>t</title>");
    place.hand.advance(KEPT_FAILURE);
    assert_eq!(place.told("https://page.test/").await.unwrap()["og:title"], "t");
}

#[tokio::test]
async fn a_page_is_fetched_once_for_all_who_ask_at_the_time_and_apart_for_each_authority() {
    let place = Place::new().await;
    place.page("https://page.test/", "text/html", "<title>t</title>");
    let door = Arc::new(Notify::new());
    *place.pages.door.lock() = Some(door.clone());
    let users = ["@anna:a.test", "@bob:a.test", "@carl:b.test"].map(|user| UserId::parse(user).unwrap());
    let asked = futures_util::future::join_all(
        users.iter().map(|user| place.media.preview(user, "https://page.test/")),
    );
    let opened = async {
        while place.visits() < 2 {
            tokio::task::yield_now().await;
        }
        *place.pages.door.lock() = None;
        door.notify_waiters();
    };
    let (told, ()) = futures_util::future::join(asked, opened).await;
    assert!(told.into_iter().all(|said| &*said.unwrap() == r#"{"og:title":"t"}"#));
    assert_eq!(place.visits(), 2);
}

#[tokio::test]
async fn a_page_whose_turn_does_not_come_is_asked_for_later_and_does_not_count_as_one_that_could_not_be_had()
{
    let place = Place::new().await;
    let door = Arc::new(Notify::new());
    *place.pages.door.lock() = Some(door.clone());
    place.page("https://page.test/late", "text/html", "<title>t</title>");
    let ask = |page: String| {
        let media = place.media.clone();
        tokio::spawn(async move { media.preview(anna(), &format!("https://page.test/{page}")).await })
    };
    let mut all = Vec::new();
    for number in 0..OF_USER_AT_ONCE {
        all.push(ask(number.to_string()));
        while place.visits() <= number {
            tokio::task::yield_now().await;
        }
    }
    let late = ask("late".to_owned());
    while place.media.inner.looking.under_way.lock().len() <= OF_USER_AT_ONCE {
        tokio::task::yield_now().await;
    }
    let refused = loop {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        if late.is_finished() {
            break late.await.unwrap();
        }
        place.hand.advance(Duration::from_secs(1));
    };
    assert!(matches!(refused, Err(Error::Limited { limit: "previews_of_user", .. })), "{refused:?}");
    *place.pages.door.lock() = None;
    door.notify_waiters();
    for asked in all {
        drop(asked.await.unwrap());
    }
    assert!(place.told("https://page.test/late").await.is_ok());
}

#[tokio::test]
async fn one_user_has_few_pages_looked_at_at_a_time_and_in_the_long_run() {
    let place = Place::new().await;
    let door = Arc::new(Notify::new());
    *place.pages.door.lock() = Some(door.clone());
    let ask = |number: usize| {
        let media = place.media.clone();
        async move { media.preview(anna(), &format!("https://page.test/{number}")).await }
    };
    let most = OF_USER_AT_ONCE + crate::places::WAITING;
    let first: Vec<_> = (0..most).map(|number| tokio::spawn(ask(number))).collect();
    let under_way = || place.media.inner.looking.under_way.lock().len();
    while place.visits() < OF_USER_AT_ONCE || under_way() < most {
        tokio::task::yield_now().await;
    }
    let refused = ask(most).await;
    assert!(matches!(refused, Err(Error::Limited { limit: "previews_of_user", .. })), "{refused:?}");
    assert_eq!(place.visits(), OF_USER_AT_ONCE, "the others wait");
    // Others are not kept from it.
    *place.pages.door.lock() = None;
    let bob = user_id!("@bob:a.test");
    place.page("https://page.test/b", "text/html", "<title>b</title>");
    assert!(place.media.preview(bob, "https://page.test/b").await.is_ok());
    door.notify_waiters();
    for asked in first {
        assert!(matches!(asked.await.unwrap(), Err(Error::Elsewhere(_))));
    }
    assert_eq!(place.visits(), most + 1);

    let mut number = 100;
    let limited = loop {
        match ask(number).await {
            Err(Error::Elsewhere(_)) => number += 1,
            other => break other,
        }
        assert!(number < 200);
    };
    assert!(matches!(limited, Err(Error::Limited { limit: "previews", .. })), "{limited:?}");
    place.hand.advance(Duration::from_secs(10));
    assert!(matches!(ask(500).await, Err(Error::Elsewhere(_))));
}
