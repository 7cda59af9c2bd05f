//! Scanners in zones: what they say of a file, what they put in its place, and when they are asked again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use parking_lot::Mutex;
use server::config::{FilesSetting, ZoneConfig};
use testkit::User;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    World, download, files_of, get, holds, icap, is_refused, said,
    samples::{self, Fate, Sample, eicar},
    zone,
};

/// So long a verdict that a scanner had a part in holds.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A clamd that knows one signature, and may be told to say something else.
#[derive(Clone)]
pub(crate) struct Scanner {
    pub(crate) address: SocketAddr,
    /// What it says instead of what it finds.
    says: Arc<Mutex<Option<&'static str>>>,
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Scanner {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scanner = Self { address, says: Arc::default(), asked: Arc::default() };
        let shown = scanner.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let shown = shown.clone();
                tokio::spawn(async move {
                    shown.asked.fetch_add(1, Ordering::Relaxed);
                    let mut command = [0; 10];
                    stream.read_exact(&mut command).await?;
                    let mut file = Vec::new();
                    loop {
                        let mut part = vec![0; usize::try_from(stream.read_u32().await?).unwrap()];
                        stream.read_exact(&mut part).await?;
                        if part.is_empty() {
                            break;
                        }
                        file.extend(part);
                    }
                    let found = holds(&file, &eicar());
                    let usual = if found { "stream: Eicar-Signature FOUND\0" } else { "stream: OK\0" };
                    let says = shown.says.lock().unwrap_or(usual);
                    stream.write_all(says.as_bytes()).await
                });
            }
        });
        scanner
    }
}

#[tokio::test]
async fn a_scanner_that_finds_something_or_does_not_say_lets_nothing_pass() {
    let scanner = Scanner::new().await;
    let clamd = Some(scanner.address.to_string());
    let with = |files, wait| ZoneConfig { clamd: clamd.clone(), scanner_wait_seconds: wait, ..zone(files) };
    let down = ZoneConfig { clamd: Some("127.0.0.1:1".to_owned()), ..with(FilesSetting::Scanned, 0) };
    let world = World::with([
        ("lgwan", with(FilesSetting::Sanitised, 0)),
        ("scanned", with(FilesSetting::Scanned, 0)),
        ("down", down),
    ])
    .await;
    let (lgwan, scanned) = (world.in_zone("lgwan").await, world.in_zone("scanned").await);
    let infected = Sample { name: "a.txt", kind: "text/plain", bytes: eicar(), fate: Fate::Refused };
    let infected = world.upload(&infected).await;
    is_refused(&download(&lgwan, &infected).await, "infected");
    is_refused(&download(&scanned, &infected).await, "infected");
    is_refused(&get(&lgwan, &format!("/_matrix/media/v3/download/{infected}")).await, "infected");
    // Not sanitised, but looked at.
    let harmful = samples::all(11).swap_remove(2);
    let id = world.upload(&harmful).await;
    assert_eq!(download(&scanned, &id).await.body(), &harmful.bytes);

    *scanner.says.lock() = Some("INSTREAM size limit exceeded. ERROR\0");
    let large = world.upload(&samples::all(13).swap_remove(2)).await;
    is_refused(&download(&lgwan, &large).await, "too-large-to-scan");
    *scanner.says.lock() = Some("stream: Can't allocate memory ERROR\0");
    let unknown = world.upload(&samples::all(12).swap_remove(2)).await;
    for user in [&lgwan, &scanned, &world.in_zone("down").await] {
        is_not_scanned(user, &unknown).await;
    }
    // Nothing of that is kept.
    *scanner.says.lock() = None;
    assert_eq!(download(&lgwan, &unknown).await.status(), 200);
}

/// Sees that a file is given to nobody as long as no scanner says what it is.
async fn is_not_scanned(user: &User, id: &str) {
    let shown = download(user, id).await;
    assert_eq!((shown.status().as_u16(), said(&shown)["errcode"].as_str()), (503, Some("M_UNKNOWN")));
    assert!(said(&shown)["error"].as_str().unwrap().starts_with("ウイルス検査がまだできない"));
}

/// A town whose zones ask one scanner, and one whose zone asks none.
async fn aging() -> (Scanner, World, [User; 3]) {
    let scanner = Scanner::new().await;
    let clamd = Some(scanner.address.to_string());
    let scans = |files| ZoneConfig { clamd: clamd.clone(), scanner_wait_seconds: 0, ..zone(files) };
    let zones = [
        ("lgwan", scans(FilesSetting::Sanitised)),
        ("scanned", scans(FilesSetting::Scanned)),
        ("alone", zone(FilesSetting::Sanitised)),
    ];
    let world = World::with(zones).await;
    let users = [world.in_zone("lgwan").await, world.in_zone("scanned").await, world.in_zone("alone").await];
    (scanner, world, users)
}

#[tokio::test]
async fn a_file_that_a_scanner_let_pass_is_shown_to_it_again_after_a_day() {
    let (scanner, world, [lgwan, scanned, alone]) = aging().await;
    // A picture, so that there are small ones of it.
    let picture = samples::all(13).into_iter().find(|sample| sample.kind == "image/jpeg").unwrap();
    let id = world.upload(&picture).await;
    let before = download(&lgwan, &id).await;
    assert_eq!(before.status(), StatusCode::OK);
    for user in [&scanned, &alone] {
        assert_eq!(download(user, &id).await.status(), StatusCode::OK);
    }
    let thumbnail = format!("/_matrix/client/v1/media/thumbnail/{id}?width=32&height=32");
    assert_eq!(get(&lgwan, &thumbnail).await.status(), StatusCode::OK);

    // Its signatures are newer now; within the day nobody asks it.
    *scanner.says.lock() = Some("stream: Newly-Known FOUND\0");
    let asked = scanner.asked.load(Ordering::Relaxed);
    world.net.advance(DAY - Duration::from_secs(60));
    assert_eq!(download(&lgwan, &id).await.body(), before.body());
    assert_eq!(scanner.asked.load(Ordering::Relaxed), asked);
    world.net.advance(Duration::from_secs(60));
    for user in [&lgwan, &scanned] {
        // Not as what somebody has from before either, nor a part of it, nor a picture.
        for header in [("if-none-match", "*"), ("range", "bytes=0-10")] {
            let path = format!("/_matrix/client/v1/media/download/{id}");
            let shown = user.ask_bytes(http::Method::GET, &path, &[header], bytes::Bytes::new()).await;
            is_refused(&shown, "infected");
        }
        is_refused(&get(user, &thumbnail).await, "infected");
    }
    // What no scanner had a part in is as it was, and what one refused is refused for a day.
    assert_eq!(download(&alone, &id).await.status(), StatusCode::OK);
    let asked = scanner.asked.load(Ordering::Relaxed);
    is_refused(&download(&lgwan, &id).await, "infected");
    assert_eq!(scanner.asked.load(Ordering::Relaxed), asked);
    // What it takes back is given again, as it was.
    *scanner.says.lock() = None;
    world.net.advance(DAY);
    assert_eq!(download(&lgwan, &id).await.body(), before.body());
}

#[tokio::test]
async fn a_scanner_that_is_down_when_it_is_asked_again_lets_nothing_pass_as_at_first() {
    let (scanner, world, [lgwan, scanned, alone]) = aging().await;
    let id = world.upload(&samples::all(14).swap_remove(0)).await;
    let before = download(&lgwan, &id).await;
    for user in [&scanned, &alone] {
        assert_eq!(download(user, &id).await.status(), StatusCode::OK);
    }
    world.net.advance(DAY);
    *scanner.says.lock() = Some("stream: Can't allocate memory ERROR\0");
    for user in [&lgwan, &scanned, &lgwan] {
        is_not_scanned(user, &id).await;
    }
    assert_eq!(download(&alone, &id).await.status(), StatusCode::OK);
    // It is back.
    *scanner.says.lock() = None;
    assert_eq!(download(&lgwan, &id).await.body(), before.body());
    assert_eq!(download(&scanned, &id).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn many_who_ask_at_the_end_of_the_day_have_one_judgement_made_and_nothing_is_kept_twice() {
    let (scanner, world, [lgwan, ..]) = aging().await;
    let id = world.upload(&samples::all(15).swap_remove(0)).await;
    let before = download(&lgwan, &id).await;
    let (files, asked) = (files_of(&world), scanner.asked.load(Ordering::Relaxed));
    world.net.advance(DAY);
    let many = (0..10).map(|_| {
        let (lgwan, id) = (lgwan.clone(), id.clone());
        tokio::spawn(async move { download(&lgwan, &id).await })
    });
    for shown in many.collect::<Vec<_>>() {
        assert_eq!(shown.await.unwrap().body(), before.body());
    }
    assert_eq!((files_of(&world), scanner.asked.load(Ordering::Relaxed)), (files, asked + 1));
}

#[tokio::test]
async fn what_an_icap_server_says_of_a_file_is_what_becomes_of_it() {
    let (address, seen) = icap::serve().await;
    let with = |files| ZoneConfig { icap: Some(format!("icap://{address}/avscan")), ..zone(files) };
    let zones = [("lgwan", with(FilesSetting::Sanitised)), ("scanned", with(FilesSetting::Scanned))];
    let world = World::with(zones).await;
    for zone in ["lgwan", "scanned"] {
        let user = world.in_zone(zone).await;
        let ask = async |word: &str| {
            let bytes = format!("a text that is {word} by the ICAP server").into_bytes();
            let id =
                world.upload(&Sample { name: "a.txt", kind: "text/plain", bytes, fate: Fate::Clean }).await;
            download(&user, &id).await
        };
        let clean = ask("clean").await;
        assert_eq!(clean.status(), 200, "{zone}: {:?}", said(&clean));
        assert!(clean.body().starts_with(b"a text that is clean"), "{zone}");
        assert_eq!(ask("changed").await.body(), "new text", "{zone}");
        is_refused(&ask("refused").await, "infected");
        let before = seen.load(Ordering::Relaxed);
        for times in 1..3 {
            let broken = ask("broken off").await;
            assert_eq!(
                (broken.status().as_u16(), said(&broken)["errcode"].as_str()),
                (503, Some("M_UNKNOWN"))
            );
            // Nothing of it is kept: the next asks again.
            assert_eq!(seen.load(Ordering::Relaxed), before + times, "{zone}");
        }
    }
}

#[tokio::test]
async fn what_an_icap_server_puts_in_the_place_of_a_file_is_judged_by_what_it_holds() {
    let (address, _) = icap::serve().await;
    let clamd = Scanner::new().await;
    let icap = Some(format!("icap://{address}/avscan"));
    let with = |files| ZoneConfig { icap: icap.clone(), ..zone(files) };
    let both = ZoneConfig { clamd: Some(clamd.address.to_string()), ..with(FilesSetting::Scanned) };
    let world = World::with([("lgwan", with(FilesSetting::Sanitised)), ("both", both)]).await;
    let (lgwan, both) = (world.in_zone("lgwan").await, world.in_zone("both").await);
    let ask = async |user: &User, word: &str| {
        let bytes = format!("a text that the ICAP server makes {word} of").into_bytes();
        let id = world.upload(&Sample { name: "a.txt", kind: "text/plain", bytes, fate: Fate::Clean }).await;
        download(user, &id).await
    };
    // Of another type than the file was, whatever its name still says.
    is_refused(&ask(&lgwan, "a program").await, "program");
    is_refused(&ask(&lgwan, "a page").await, "page");
    let picture = ask(&lgwan, "a picture").await;
    assert_eq!(picture.status(), StatusCode::OK, "{:?}", said(&picture));
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert!(!holds(picture.body(), icap::COMMENT) && image::load_from_memory(picture.body()).is_ok());
    // Who looked at the file before looks at the one in its place as well.
    assert_eq!(ask(&both, "changed").await.body(), "new text");
    is_refused(&ask(&both, "infected").await, "infected");
    // One that never ends is given up at its bound.
    for user in [&lgwan, &both] {
        let shown = ask(user, "endless").await;
        assert_eq!((shown.status().as_u16(), said(&shown)["errcode"].as_str()), (503, Some("M_UNKNOWN")));
    }
}
