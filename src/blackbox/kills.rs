//! The crash harness: a server under load is killed with SIGKILL again and again, at random points.
//! Afterwards every acknowledged event is there once, the log has no gap, and `yakuba verify` finds
//! nothing wrong. The same of messages to devices, while their device reads them.
//!
//! `KILLS=200 cargo test --test kills` is the long run; without it there are 12.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests; their figures are printed")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared module")]

mod alone;
mod demo;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use serde_json::json;

use crate::alone::{Server, call};

const WRITERS: usize = 8;

/// What the server acknowledged: body to event id.
type Acknowledged = Arc<Mutex<HashMap<String, String>>>;

/// Sends numbered messages until told to stop; one that got no answer is sent again with the same
/// transaction id once the server is back, as clients do, so it must not appear twice.
async fn write(
    writer: usize,
    url: String,
    token: String,
    room: String,
    acknowledged: Acknowledged,
    stop: Arc<AtomicBool>,
) {
    let http = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = format!("w{writer} n{n}");
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/w{writer}n{n}");
        let content = json!({ "msgtype": "m.text", "body": body });
        match call(&http, &url, Method::PUT, &path, &token, Some(content)).await {
            Some((StatusCode::OK, answer)) => {
                let id = answer["event_id"].as_str().unwrap().to_owned();
                acknowledged.lock().unwrap().insert(body, id);
                n += 1;
            }
            Some((status, answer)) => panic!("{status} {answer}"),
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_repeats_what_was_acknowledged() {
    let kills: u32 = std::env::var("KILLS").map_or(12, |n| n.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;

    let token = server.register("hanako").await;
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let (_, answer) = server
            .call(Method::POST, "/_matrix/client/v3/createRoom", &token, Some(json!({})))
            .await
            .unwrap();
        rooms.push(answer["room_id"].as_str().unwrap().to_owned());
    }

    let acknowledged = Acknowledged::default();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let room = rooms[writer % rooms.len()].clone();
            tokio::spawn(write(
                writer,
                server.url.clone(),
                token.clone(),
                room,
                acknowledged.clone(),
                stop.clone(),
            ))
        })
        .collect();

    // Points from "still starting" to "long under way"; a fixed walk so that a failure can be repeated.
    let mut chance: u64 = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..kills {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis((chance >> 33) % 400)).await;
        server.end("KILL");
        server.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }

    let mut stored: HashMap<String, Vec<String>> = HashMap::new();
    for room in &rooms {
        for (body, ids) in server.messages(room, &token).await {
            stored.entry(body).or_default().extend(ids);
        }
    }
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > kills as usize, "too little was written to mean anything");
    for (body, id) in &*acknowledged {
        assert_eq!(stored.get(body), Some(&vec![id.clone()]), "{body} was acknowledged");
    }
    for (body, ids) in &stored {
        assert_eq!(ids.len(), 1, "{body} is there {} times", ids.len());
    }
    server.end("TERM");
    let verified = server.command("verify").status().unwrap();
    assert!(verified.success(), "verify found something");
    eprintln!("{kills} kills, {} acknowledged events, all present once", acknowledged.len());
}

/// Sends numbered messages to all devices of somebody until told to stop, as [`write`] does to a room.
async fn write_to_devices(
    writer: usize,
    url: String,
    token: String,
    told: Acknowledged,
    stop: Arc<AtomicBool>,
) {
    let http = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = format!("w{writer} n{n}");
        let path = format!("/_matrix/client/v3/sendToDevice/test/w{writer}n{n}");
        let content = json!({ "messages": { "@taro:kanazawa.test": { "*": { "body": body } } } });
        match call(&http, &url, Method::PUT, &path, &token, Some(content)).await {
            Some((StatusCode::OK, _)) => {
                told.lock().unwrap().insert(body, String::new());
                n += 1;
            }
            Some((status, answer)) => panic!("{status} {answer}"),
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

/// Reads what waits for a device, page by page, and goes on from each answer that arrives.
struct Reader {
    token: String,
    since: Option<String>,
    told: Vec<String>,
}

impl Reader {
    /// Whether there was something; nothing if no answer came.
    async fn read(&mut self, server: &Server) -> Option<bool> {
        let since = self.since.as_ref().map(|since| format!("&since={since}")).unwrap_or_default();
        let path = format!("/_matrix/client/v3/sync?timeout=0{since}");
        let (status, answer) = server.call(Method::GET, &path, &self.token, None).await?;
        assert_eq!(status, StatusCode::OK, "{answer}");
        self.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
        let events = answer["to_device"]["events"].as_array().cloned().unwrap_or_default();
        self.told.extend(events.iter().map(|event| event["content"]["body"].as_str().unwrap().to_owned()));
        Some(!events.is_empty())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_repeats_a_message_to_a_device() {
    let kills: u32 = std::env::var("KILLS").map_or(6, |n| n.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    let token = server.register("hanako").await;
    let mut taro = Reader { token: server.register("taro").await, since: None, told: Vec::new() };
    let (acknowledged, stop) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
            tokio::spawn(write_to_devices(writer, server.url.clone(), token.clone(), acknowledged, stop))
        })
        .collect();
    let mut chance: u64 = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..kills {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let until = tokio::time::Instant::now() + Duration::from_millis((chance >> 33) % 400);
        while tokio::time::Instant::now() < until {
            taro.read(&server).await;
        }
        server.end("KILL");
        server.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    while taro.read(&server).await.unwrap() {}

    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > kills as usize, "too little was sent to mean anything");
    let mut told: HashMap<&str, usize> = HashMap::new();
    for body in &taro.told {
        *told.entry(body).or_default() += 1;
    }
    for body in acknowledged.keys() {
        assert_eq!(told.get(body.as_str()), Some(&1), "{body} was acknowledged");
    }
    assert!(told.values().all(|times| *times == 1), "nothing is told twice to who goes on from its answers");
    // Of each sender in the order in which he sent them.
    for writer in 0..4 {
        let own = format!("w{writer} n");
        let numbers: Vec<usize> =
            taro.told.iter().filter_map(|body| body.strip_prefix(&own)?.parse().ok()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    server.end("TERM");
    assert!(server.command("verify").status().unwrap().success(), "verify found something");
    eprintln!("{kills} kills, {} acknowledged messages to a device, all told once", acknowledged.len());
}
