//! A room is purged by the command while the server is killed with SIGKILL again and again: the room is here as ever
//! until it is gone for everybody, in the end nothing is wrong with the data, and another room has lost nothing.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests; their figures are printed")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{path::Path, process::Stdio, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{alone::Server, demo::yakuba};

const MESSAGES: usize = 400;
/// More kills than it can take: each start gets on by a slice at least.
const MOST_KILLS: u32 = 200;

/// What `yakuba room …` says in English, and whether it succeeded.
fn room(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = yakuba();
    command.arg("room").args(arguments).arg("--config").arg(directory.join("yakuba.toml")).env("LC_ALL", "C");
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

async fn new_room(server: &Server, token: &str) -> String {
    let body = json!({ "preset": "public_chat", "room_alias_name": null });
    let (status, answer) =
        server.call(Method::POST, "/_matrix/client/v3/createRoom", token, Some(body)).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["room_id"].as_str().unwrap().to_owned()
}

async fn say(server: &Server, room: &str, token: &str, n: usize) -> StatusCode {
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{n}");
    let content = json!({ "msgtype": "m.text", "body": format!("連絡{n}") });
    server.call(Method::PUT, &path, token, Some(content)).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_goes_whole_however_often_the_server_is_killed_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut server = Server::new(directory);
    server.start().await;
    let (hanako, taro) = (server.register("hanako").await, server.register("taro").await);
    let (goes, stays) = (new_room(&server, &hanako).await, new_room(&server, &hanako).await);
    let (status, _) = server
        .call(Method::POST, &format!("/_matrix/client/v3/join/{goes}"), &taro, Some(json!({})))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);
    for n in 0..MESSAGES {
        assert_eq!(say(&server, &goes, &hanako, n).await, StatusCode::OK);
    }
    assert_eq!(say(&server, &stays, &hanako, 0).await, StatusCode::OK);

    let (done, said) = room(directory, &["purge", &goes]);
    assert!(!done && said.contains("--force"), "{said}");
    let (done, said) = room(directory, &["purge", "!nowhere:kanazawa.test"]);
    assert!(!done && said.contains("no such room"), "{said}");
    let (done, said) = room(directory, &["purge", &goes, "--force"]);
    assert!(done, "{said}");

    let mut kills = 0;
    let mut chance: u64 = 0x9E37_79B9_7F4A_7C15;
    loop {
        let (done, said) = room(directory, &["purges"]);
        assert!(done, "{said}");
        if said.contains("no room is being purged") {
            break;
        }
        assert!(kills < MOST_KILLS, "it does not get on: {said}");
        // Who sends to other servers has to live for a moment to note how far it has read.
        if kills > 2 && said.contains("other servers are told") {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis((chance >> 33) % 60)).await;
        server.end("KILL");
        kills += 1;
        server.start().await;
        // Never half of it: the state is refused or whole.
        let path = format!("/_matrix/client/v3/rooms/{goes}/state/m.room.create/");
        let (status, answer) = server.call(Method::GET, &path, &taro, None).await.unwrap();
        assert!(status == StatusCode::OK || status.is_client_error(), "{status} {answer}");
    }

    assert_ne!(say(&server, &goes, &hanako, MESSAGES).await, StatusCode::OK);
    assert_eq!(say(&server, &stays, &hanako, 1).await, StatusCode::OK);
    assert_eq!(server.messages(&stays, &hanako).await.len(), 2);
    server.end("TERM");
    assert!(server.command("verify").status().unwrap().success(), "verify found something");
    eprintln!("{kills} kills until the room was gone");
}
