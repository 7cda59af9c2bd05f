//! Every route of the specification, asked with everything that is wrong: no answer is a 500, none is
//! missing, each refusal has its errcode, no task panics, and nothing is stored by half.
//!
//! Requests of servers are refused here for want of a signature; what is wrong in signed ones is walked
//! in `federation/tests/servers/strangers.rs`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests; their figures are printed")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::alone::Server;

/// `METHOD path`, the path with its parameters in braces, a line each.
const ROUTES: &str = include_str!("routes.txt");

/// Bodies that are no JSON, JSON of the wrong shape, or too much.
fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "{",
        "nonsense",
        "[]",
        "3",
        "null",
        "\"text\"",
        "{}",
        "{\"a\":NaN}",
        "{\"\\ud800\":1}",
        "{\"auth\":3}",
        "{\"type\":[]}",
        "{\"type\":\"m.login.password\",\"identifier\":7,\"password\":{}}",
        "{\"user_id\":3,\"reason\":[]}",
        "{\"room_version\":\"99\"}",
        "{\"room_version\":12}",
        "{\"creation_content\":\"x\",\"invite\":\"x\",\"initial_state\":{}}",
        "{\"power_level_content_override\":{\"users\":{\"nobody\":\"x\"}}}",
        "{\"body\":1.5}",
        "{\"body\":9007199254740993}",
        "{\"limit\":-1}",
        "{\"devices\":{\"x\":null}}",
        "{\"one_time_keys\":[],\"device_keys\":1}",
        "{\"messages\":{\"@a:b\":3}}",
        "{\"membership\":\"join\",\"users\":-1}",
    ]
    .iter()
    .map(|body| body.as_bytes().to_vec())
    .collect();
    bodies.push(b"{\"a\":\"\xff\"}".to_vec());
    bodies.push(b"{\"\xc3\x28\":1}".to_vec());
    bodies.push(b"\0\0\0\0".to_vec());
    bodies.push("[".repeat(100_000).into_bytes());
    bodies.push("{\"a\":".repeat(100_000).into_bytes());
    bodies.push(format!("{{\"body\":\"{}\"}}", "あ".repeat(70_000 / 3)).into_bytes());
    bodies.push(format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20)).into_bytes());
    bodies
}

/// What may stand where a path has a parameter.
const PARAMETERS: &[&str] = &[
    "nonsense",
    "%ff%fe",
    "%00",
    "%2e%2e%2f",
    "!a:b:c:d",
    "@:",
    "%24",
    "%F0%9F%98%80",
    "-1",
    "@hanako:kanazawa.test",
    "%23none:kanazawa.test",
    "!none:kanazawa.test",
];

const QUERIES: &[&str] = &[
    "timeout=0&since=nonsense",
    "timeout=-1",
    "since=s99999999999999999999&timeout=0",
    "filter=%7B&timeout=0",
    "from=%ff",
    "dir=x",
    "dir=b&from=-1",
    "dir=b&limit=-1",
    "dir=b&limit=99999999999999999999",
    "limit=%00",
    "at=nonsense",
    "ts=x",
    "server_name=%ff&via=%ff",
    "access_token=x",
    "%ff=%ff",
    "a&&&=&%",
];

/// The walk's own world: an account, a room whose id fills valid paths, an event in it.
struct World {
    http: Client,
    url: String,
    token: String,
    room: String,
    event: String,
    asked: AtomicUsize,
}

impl World {
    /// The path with every parameter right, or every one replaced.
    fn path(&self, template: &str, wrong: Option<&str>) -> String {
        let mut path = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap();
            let right = match name {
                "roomId" | "roomIdOrAlias" => &self.room,
                "eventId" => &self.event,
                "userId" => "@walker:kanazawa.test",
                "roomAlias" => "%23walk:kanazawa.test",
                "eventType" => "m.room.topic",
                "stateKey" => "",
                "receiptType" => "m.read",
                "scope" => "global",
                "kind" => "override",
                "keyName" => "displayname",
                "serverName" => "kanazawa.test",
                _ => "walk",
            };
            path.push_str(before);
            path.push_str(wrong.unwrap_or(right));
            rest = after;
        }
        path + rest
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: Vec<u8>) {
        let method: Method = method.parse().unwrap();
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let what = format!("{method} {path} {shown:?}");
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{what}: no answer: {error:?}"));
        let status = answer.status();
        let is_page = answer
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        let text = answer.text().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!status.is_server_error(), "{what}: {status} {text}");
        if is_page {
            // What a browser shows is checked where pages are made.
            return;
        }
        let json: Result<Value, _> = serde_json::from_str(&text);
        let json = json.unwrap_or_else(|error| panic!("{what}: {status}, {error}: {text}"));
        let is_refusal = json["errcode"].as_str().is_some_and(|code| code.starts_with("M_"));
        // The one refusal without errcode: the stages of user-interactive authentication.
        assert!(
            status.is_success()
                || is_refusal
                || (status == StatusCode::UNAUTHORIZED && json["flows"].is_array()),
            "{what}: {status} {text}"
        );
    }

    /// Everything wrong on one route.
    async fn walk(&self, server: &Server, line: &str) {
        let (method, template) = line.split_once(' ').unwrap();
        // What ends a session or an account is asked by one that nobody needs.
        let ends =
            ["logout", "deactivate", "password", "delete_devices"].iter().any(|word| template.contains(word));
        let token = async || match ends {
            true => {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                server.register(&format!("short-lived-{}", NEXT.fetch_add(1, Ordering::Relaxed))).await
            }
            false => self.token.clone(),
        };
        let right = self.path(template, None);
        if method == "GET" {
            for query in QUERIES {
                self.ask(method, &format!("{right}?{query}"), &token().await, Vec::new()).await;
            }
        } else {
            for body in bodies() {
                self.ask(method, &right, &token().await, body).await;
            }
        }
        if template.contains('{') {
            let long = "a".repeat(6_000);
            for wrong in PARAMETERS.iter().copied().chain([long.as_str()]) {
                let body = if method == "GET" { Vec::new() } else { b"{}".to_vec() };
                self.ask(method, &self.path(template, Some(wrong)), &token().await, body).await;
            }
        }
        self.ask(method, &right, "not-a-token", b"{}".to_vec()).await;
    }
}

async fn post(server: &Server, path: &str, token: &str, body: Value) -> Value {
    let (status, answer) = server.call(Method::POST, path, token, Some(body)).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// State and history of a room as its member sees them, without what follows from the time of asking.
async fn everything(server: &Server, room: &str, token: &str) -> [Vec<Value>; 2] {
    let get = async |path: &str| {
        let mut answer = server.call(Method::GET, path, token, None).await.unwrap().1;
        let events = if answer.is_array() { answer } else { answer["chunk"].take() };
        let Value::Array(mut events) = events else { panic!("no list: {events}") };
        for event in &mut events {
            event.as_object_mut().unwrap().remove("unsigned");
        }
        events
    };
    let state = get(&format!("/_matrix/client/v3/rooms/{room}/state")).await;
    let messages = get(&format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=1000")).await;
    assert!(!state.is_empty() && !messages.is_empty());
    [state, messages]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_wrong_is_a_fault_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    server.start().await;
    let keeper = server.register("keeper").await;
    let kept = post(&server, "/_matrix/client/v3/createRoom", &keeper, json!({ "name": "役場" })).await;
    let kept = kept["room_id"].as_str().unwrap();
    let before = everything(&server, kept, &keeper).await;

    let token = server.register("walker").await;
    let room = post(&server, "/_matrix/client/v3/createRoom", &token, json!({})).await;
    let room = room["room_id"].as_str().unwrap().to_owned();
    let event = everything(&server, &room, &token).await[1][0]["event_id"].as_str().unwrap().to_owned();
    let world = World {
        http: Client::builder().timeout(Duration::from_secs(30)).build().unwrap(),
        url: server.url.clone(),
        token,
        room,
        event,
        asked: AtomicUsize::new(0),
    };
    let lines: Vec<&str> = ROUTES.lines().collect();
    let next = AtomicUsize::new(0);
    let walker = async || {
        while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
            world.walk(&server, line).await;
        }
    };
    tokio::join!(walker(), walker(), walker(), walker());

    assert_eq!(everything(&server, kept, &keeper).await, before, "a room that nobody entered has changed");
    let metrics = server.text("/metrics").await;
    let panics: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("yakuba_base_task_panics") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(panics, Vec::<&str>::new());
    assert!(metrics.contains("yakuba_base_task"), "no metrics: {metrics}");
    server.end("TERM");
    assert!(server.command("verify").status().unwrap().success(), "verify found something");
    eprintln!("{} wrong requests on {} routes", world.asked.load(Ordering::Relaxed), lines.len());
}
