//! A server that is killed with SIGKILL while it takes in what a peer sends: between the answer to a
//! transaction and the events' places, and while events wait for ancestors that the peer gives only late.
//! Whatever was answered with 200 is in the room in the end, once; what cannot be, the operator is told of.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

use hostile::{Conduct, Event, Hosted, Hostile, Plain, encoded};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::CertificateAuthority;

use crate::alone::Server;

const OURS: &str = "kanazawa.test";

/// A server, a peer, and a room that both are in.
struct World {
    server: Server,
    token: String,
    mallory: Hostile,
    /// A server that is in no room.
    stranger: Hostile,
    road: Plain,
    room: Hosted,
    /// What was answered with 200: text to id.
    taken: HashMap<String, String>,
    _files: (TempDir, CertificateAuthority),
}

impl World {
    async fn new() -> Self {
        let authority = CertificateAuthority::new();
        let (mallory, stranger) = (Hostile::new("mallory.test"), Hostile::new("stranger.test"));
        let mut addresses = Vec::new();
        for peer in [&mallory, &stranger] {
            let tls = authority.acceptor(peer.name());
            addresses.push(peer.listen(Ipv4Addr::LOCALHOST.into(), Some(tls)).await);
        }
        let federation = format!(
            r#"
            [federation]
            peers = "everybody"
            private_addresses = "allow"
            ca_files = ["{}"]
            trust = "files"
            dns = false
            [federation.fixed."mallory.test"]
            address = "{}"
            [federation.fixed."stranger.test"]
            address = "{}"
            "#,
            authority.file().display(),
            addresses[0],
            addresses[1],
        );
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::with(directory.path(), &federation);
        server.start().await;
        let token = server.register("hanako").await;
        let wishes = Some(json!({ "preset": "public_chat" }));
        let (_, made) =
            server.call(Method::POST, "/_matrix/client/v3/createRoom", &token, wishes).await.unwrap();
        let room = made["room_id"].as_str().unwrap();
        let road = Plain::to(server.address().parse().unwrap());
        let room = mallory.join(&road, OURS, room.try_into().unwrap(), "eve").await;
        let files = (directory, authority);
        Self { server, token, mallory, stranger, road, room, taken: HashMap::new(), _files: files }
    }

    /// So many messages, each upon the one before.
    fn chain(&mut self, name: &str, count: usize) -> Vec<Event> {
        (0..count).map(|n| self.room.message("eve", &format!("{name} {n}"))).collect()
    }

    fn note(&mut self, events: &[Event]) {
        for event in events {
            let text = event.json["content"]["body"].as_str().unwrap().to_owned();
            self.taken.insert(text, event.id.clone());
        }
    }

    /// Sends these in one transaction, which is taken.
    async fn give(&mut self, events: &[Event]) {
        let pdus: Vec<Value> = events.iter().map(|event| event.json.clone()).collect();
        let answer = self.mallory.send(&self.road, OURS, &pdus).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(pdus.len() == answer.json["pdus"].as_object().unwrap().len(), "{}", answer.text);
        self.note(events);
    }

    async fn kill_and_start(&mut self) {
        self.server.end("KILL");
        self.server.start().await;
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.server.call(Method::GET, path, &self.token, None).await.unwrap()
    }

    /// Waits until this event is in the room.
    async fn until_there(&self, id: &str) {
        let path =
            format!("/_matrix/client/v3/rooms/{}/event/{}", encoded(self.room.id.as_str()), encoded(id));
        let mut since = String::new();
        while self.get(&path).await.0 != StatusCode::OK {
            let sync = format!("/_matrix/client/v3/sync?timeout=10000{since}");
            let next = self.get(&sync).await.1["next_batch"].as_str().unwrap().to_owned();
            since = format!("&since={next}");
        }
    }

    /// All that was taken is there, once, and the data are sound.
    async fn settle(mut self) {
        let all = async {
            for id in self.taken.values() {
                self.until_there(id).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("all is there");
        let found = self.server.messages(self.room.id.as_str(), &self.token).await;
        assert_eq!(found.len(), self.taken.len());
        for (text, id) in &self.taken {
            assert_eq!(found.get(text), Some(&vec![id.clone()]), "{text}");
        }
        self.server.end("TERM");
        assert!(self.server.command("verify").status().unwrap().success(), "verify found something");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_for_ancestors_outlive_kills_and_are_placed_when_those_come() {
    let mut world = World::new().await;
    // The peer does not say what came before; later it sends it.
    let asked = ["/get_missing_events/", "/federation/v1/event/", "/state_ids/", "/state/", "/backfill/"];
    for endpoint in asked {
        world.mallory.on(endpoint, Conduct::Hang);
    }
    let base = world.room.clone();
    let (mut tips, mut kept_back) = (Vec::new(), Vec::new());
    for fork in 0..3 {
        world.room.latest.clone_from(&base.latest);
        let mut chain = world.chain(&format!("fork {fork}"), 4);
        tips.extend(chain.pop());
        kept_back.push(chain);
    }
    world.give(&tips).await;
    // Whoever is asked for what came before knows that the events wait; also after each start.
    let before = "/get_missing_events/";
    world.mallory.until_asked(before, 1).await;
    for _ in 0..4 {
        world.server.end("KILL");
        // A start may ask several times: what counts is asked after this one.
        let asked = world.mallory.asked(before).len();
        world.server.start().await;
        world.mallory.until_asked(before, asked + 1).await;
    }

    for endpoint in asked {
        world.mallory.on(endpoint, Conduct::Honest);
    }
    world.kill_and_start().await;
    for chain in kept_back {
        world.give(&chain).await;
    }
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_many_events_is_taken_whole_whenever_the_server_is_killed() {
    const MANY: usize = 50;
    let mut world = World::new().await;
    for round in 0..9 {
        let events = world.chain(&format!("transaction {round}"), MANY);
        let pdus: Vec<Value> = events.iter().map(|event| event.json.clone()).collect();
        let (uri, body) = world.mallory.pack(&pdus, &[]);
        let send = {
            let (mallory, road) = (world.mallory.clone(), world.road.clone());
            let (uri, body) = (uri.clone(), body.clone());
            async move { mallory.try_ask(&road, OURS, "PUT", &uri, Some(&body)).await }
        };
        // Before it is answered; when it is, and its events have no place yet; when some have.
        let answer = match round % 3 {
            0 => {
                let sending = tokio::spawn(send);
                // A little later each time.
                for _ in 0..round {
                    world.get("/_matrix/client/versions").await;
                }
                world.server.end("KILL");
                sending.await.unwrap()
            }
            1 => {
                let answer = send.await;
                world.server.end("KILL");
                answer
            }
            _ => {
                let answer = send.await;
                world.until_there(&events[round].id).await;
                world.server.end("KILL");
                answer
            }
        };
        world.server.start().await;
        // What has no answer is sent again under the same id.
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => world.mallory.ask(&world.road, OURS, "PUT", &uri, Some(&body)).await,
        };
        assert_eq!(answer.status, 200, "{}", answer.text);
        world.note(&events);
    }
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_placed_is_told_by_status_with_its_reason_also_after_a_kill() {
    let mut world = World::new().await;
    // On what nobody knows, brought by a server that we ask nothing for.
    let known = world.room.latest.clone();
    world.room.latest = vec![format!("$!{:042}", 7)];
    let lost = world.room.message("eve", "どこにも");
    world.room.latest = known;
    let answer = world.stranger.send(&world.road, OURS, std::slice::from_ref(&lost.json)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    world.kill_and_start().await;
    let parked = async {
        loop {
            let mut status = tokio::process::Command::from(world.server.command("status"));
            let output = status.stdout(std::process::Stdio::piped()).output().await.unwrap();
            let status: Value = serde_json::from_slice(&output.stdout).unwrap();
            if status["received"]["parked"] == 1 {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(60), parked).await.expect("it is parked");
    let received = &status["received"];
    assert_eq!(received["waiting"], 0, "{received}");
    let parked = &received["parked_events"][0];
    assert_eq!(parked["room_id"], world.room.id.as_str());
    assert_eq!(parked["event_id"], lost.id.as_str());
    assert_eq!(parked["origin"], "stranger.test");
    assert!(parked["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{parked}");
}
