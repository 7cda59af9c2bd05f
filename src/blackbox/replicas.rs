//! Two processes over one PostgreSQL and a peer that counts: the one that sends is killed with SIGKILL again and
//! again while both are spoken through. The peer gets every acknowledged event, each in one transaction alone;
//! one that may not have arrived comes again as it was, by the same id, as which a peer takes it once.
//!
//! `KILLS=50 cargo test --test replicas` is the long run; without it there are 4.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests; their figures are printed")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
#[path = "../store_postgres/tests/cluster.rs"]
mod cluster;
mod demo;

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hostile::{Conduct, Hostile, Plain, encoded};
use http::Request;
use parking_lot::Mutex;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::CertificateAuthority;
use tokio::sync::watch;

use crate::{
    alone::{Server, call},
    cluster::Cluster,
};

const OURS: &str = "kanazawa.test";

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the peer got.
#[derive(Default)]
struct Book {
    /// Every transaction, by its path.
    transactions: HashMap<String, Bytes>,
    /// In how many transactions each text was.
    heard: HashMap<String, usize>,
    /// How many came again as they were.
    again: usize,
    /// Those that came again and were others.
    changed: Vec<String>,
}

impl Book {
    fn note(&mut self, path: String, body: Bytes) {
        match self.transactions.get(&path) {
            Some(first) if *first == body => self.again += 1,
            Some(_) => self.changed.push(path),
            None => {
                let transaction: Value = serde_json::from_slice(&body).unwrap_or_default();
                for text in texts_of(&transaction) {
                    *self.heard.entry(text).or_default() += 1;
                }
                self.transactions.insert(path, body);
            }
        }
    }
}

/// Two replicas and a peer in a room of theirs.
struct World {
    replicas: [Server; 2],
    token: String,
    book: watch::Sender<Book>,
    room: String,
    _files: (TempDir, TempDir, CertificateAuthority, Cluster, Hostile),
}

impl World {
    async fn new() -> Self {
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
        let authority = CertificateAuthority::new();
        let peer = Hostile::new("mallory.test");
        let address = peer.listen(Ipv4Addr::LOCALHOST.into(), Some(authority.acceptor(peer.name()))).await;
        let more = format!(
            r#"
            [store]
            backend = "postgres"
            url = "{}"
            [federation]
            peers = "everybody"
            private_addresses = "allow"
            ca_files = ["{}"]
            trust = "files"
            dns = false
            [federation.fixed."mallory.test"]
            address = "{address}"
            "#,
            cluster.url(),
            authority.file().display(),
        );
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut replicas = [one.path(), other.path()].map(|directory| Server::with(directory, &more));
        share_keys(one.path(), other.path());
        replicas[0].start_with(&["--begin"]).await;
        replicas[1].start().await;
        let token = replicas[0].register("hanako").await;
        let wishes = Some(json!({ "preset": "public_chat" }));
        let made = replicas[0].call(Method::POST, "/_matrix/client/v3/createRoom", &token, wishes).await;
        let room = made.unwrap().1["room_id"].as_str().unwrap().to_owned();
        let road = Plain::to(replicas[0].address().parse().unwrap());
        peer.join(&road, OURS, room.as_str().try_into().unwrap(), "eve").await;
        let book = watch::Sender::new(Book::default());
        let noted = book.clone();
        let note = move |request: &Request<Bytes>| {
            let (path, body) = (request.uri().path().to_owned(), request.body().clone());
            noted.send_modify(|book| book.note(path, body));
            json!({ "pdus": {} })
        };
        peer.on("/send/", Conduct::lie(note));
        Self { replicas, token, book, room: encoded(&room), _files: (one, other, authority, cluster, peer) }
    }

    async fn say(&self, through: usize, text: &str) -> String {
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{}", self.room, encoded(text));
        let content = json!({ "msgtype": "m.text", "body": text });
        let said = self.replicas[through].call(Method::PUT, &path, &self.token, Some(content)).await;
        let (status, answer) = said.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["event_id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, through: usize, path: &str) -> Value {
        let answer = self.replicas[through].call(Method::GET, path, &self.token, None).await;
        let (status, answer) = answer.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// Which of them sends, as it says itself.
    async fn sender(&self) -> usize {
        let held = "yakuba_store_consumers_held{consumer=\"federation.sender\"} 1";
        let find = async {
            loop {
                for (number, replica) in self.replicas.iter().enumerate() {
                    if replica.text("/metrics").await.contains(held) {
                        return number;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("one of them sends")
    }

    /// Waits until the peer has got these texts.
    async fn until_heard(&self, texts: &[String]) {
        let mut book = self.book.subscribe();
        let heard = book.wait_for(|book| texts.iter().all(|text| book.heard.contains_key(text)));
        let heard = tokio::time::timeout(PATIENCE, heard).await.is_ok();
        assert!(heard, "the peer did not get all of {texts:?}");
    }
}

/// Both are one server: they have one key.
fn share_keys(one: &Path, other: &Path) {
    for file in std::fs::read_dir(one.join("keys")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), other.join("keys").join(file.file_name())).unwrap();
    }
}

fn texts_of(transaction: &Value) -> Vec<String> {
    let pdus = transaction["pdus"].as_array().cloned().unwrap_or_default();
    pdus.iter().filter_map(|pdu| pdu["content"]["body"].as_str()).map(str::to_owned).collect()
}

/// Speaks through one replica until told to stop; what got no answer is said again, by the same transaction id.
async fn speak(
    url: String,
    name: String,
    token: String,
    room: String,
    acknowledged: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
) {
    let http = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = format!("{name}-{number}");
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{text}");
        let content = json!({ "msgtype": "m.text", "body": text });
        match call(&http, &url, Method::PUT, &path, &token, Some(content)).await {
            Some((StatusCode::OK, _)) => {
                acknowledged.lock().push(text);
                number += 1;
                // As people speak, not as fast as it goes: how much there is to count does not follow the machine.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Some((status, answer)) => panic!("{status} {answer}"),
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_may_be_killed_and_the_peer_gets_all_and_nothing_twice() {
    let kills: usize = std::env::var("KILLS").map_or(4, |kills| kills.parse().unwrap());
    let mut world = World::new().await;
    let acknowledged: Arc<Mutex<Vec<String>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let speakers: Vec<_> = (0..4)
        .map(|speaker| {
            let url = world.replicas[speaker % 2].url.clone();
            let (token, room) = (world.token.clone(), world.room.clone());
            tokio::spawn(speak(url, format!("s{speaker}"), token, room, acknowledged.clone(), stop.clone()))
        })
        .collect();

    let mut longest = Duration::ZERO;
    for kill in 0..kills {
        let sender = world.sender().await;
        let before = format!("before-{kill}");
        world.say(sender, &before).await;
        world.until_heard(std::slice::from_ref(&before)).await;
        world.replicas[sender].end("KILL");
        let killed = Instant::now();
        let after = format!("after-{kill}");
        world.say(1 - sender, &after).await;
        world.until_heard(std::slice::from_ref(&after)).await;
        longest = longest.max(killed.elapsed());
        acknowledged.lock().extend([before, after]);
        world.replicas[sender].start().await;
    }
    stop.store(true, Ordering::Relaxed);
    for speaker in speakers {
        speaker.await.unwrap();
    }
    let acknowledged = acknowledged.lock().clone();
    world.until_heard(&acknowledged).await;
    let book = world.book.borrow();
    assert!(book.changed.is_empty(), "what comes again is what came: {:?}", book.changed);
    let twice: Vec<_> = book.heard.iter().filter(|(_, transactions)| **transactions != 1).collect();
    assert!(twice.is_empty(), "in more than one transaction: {twice:?}");
    let again = book.again;
    eprintln!(
        "{kills} kills, {} events acknowledged, none lost, none in two transactions; {again} transactions came again as \
         they were; the other one sent after {longest:?} at most",
        acknowledged.len(),
    );
    assert!(longest < Duration::from_secs(10), "it took {longest:?} to go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_redacted_at_one_is_gone_at_the_other_and_a_client_may_change_between_them() {
    let world = World::new().await;
    let said = world.say(0, "mistake").await;
    let event = format!("/_matrix/client/v3/rooms/{}/event/{}", world.room, encoded(&said));
    assert_eq!(world.get(1, &event).await["content"]["body"], "mistake");
    let path = format!("/_matrix/client/v3/rooms/{}/redact/{}/1", world.room, encoded(&said));
    let redacted = world.replicas[0].call(Method::PUT, &path, &world.token, Some(json!({}))).await;
    assert_eq!(redacted.unwrap().0, StatusCode::OK);
    let began = Instant::now();
    while world.get(1, &event).await["content"] != json!({}) {
        assert!(began.elapsed() < Duration::from_secs(1), "still there");
    }
    eprintln!("a redaction at one was gone at the other after {:?}", began.elapsed());

    let sync = |through: usize, since: String| {
        let world = &world;
        async move { world.get(through, &format!("/_matrix/client/v3/sync?timeout=0{since}")).await }
    };
    let next = |answer: &Value| format!("&since={}", answer["next_batch"].as_str().unwrap());
    let mut since = next(&sync(0, String::new()).await);
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    for round in 0..100 {
        let text = format!("round-{round}");
        world.say(round % 2, &text).await;
        said.push(text);
        for through in [round % 2, 1 - round % 2] {
            let answer = sync(through, since).await;
            let rooms = answer["rooms"]["join"].as_object().cloned().unwrap_or_default();
            for room in rooms.values() {
                let events = room["timeline"]["events"].as_array().cloned().unwrap_or_default();
                heard.extend(
                    events.iter().filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())),
                );
            }
            since = next(&answer);
        }
    }
    assert_eq!(heard, said);
}
