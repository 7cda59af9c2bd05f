//! Data that older versions made are opened, brought up to today's form, and whole.
//!
//! `data/schema-1.tar.gz` was made by the server of commit 99d36da: `data`, `keys`, and in `facts.json` what the test asks
//! for. It is not made again: a later schema gets a file of its own.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared modules")]

mod alone;
mod demo;

use std::{path::Path, process::Command};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::alone::Server;

/// A server over what an archive holds, and the archive's facts.
fn over(archive: &str, directory: &Path) -> (Server, Value) {
    let server = Server::new(directory);
    for made in ["data", "keys"] {
        std::fs::remove_dir_all(directory.join(made)).unwrap();
    }
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/blackbox/data").join(archive);
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(directory).status().unwrap();
    assert!(unpacked.success());
    let facts = std::fs::read(directory.join("facts.json")).unwrap();
    (server, serde_json::from_slice(&facts).unwrap())
}

async fn get(server: &Server, token: &str, path: &str) -> Value {
    let (status, answer) =
        server.call(Method::GET, &format!("/_matrix/client/v3{path}"), token, None).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

/// The tags of a room by an answer to a sync, sorted; nothing where it does not tell them.
fn tags(answer: &Value, room: &str) -> Vec<String> {
    let data = answer["rooms"]["join"][room]["account_data"]["events"].as_array();
    let tags = data.into_iter().flatten().find(|event| event["type"] == "m.tag");
    let tags = tags.and_then(|event| event["content"]["tags"].as_object());
    tags.into_iter().flat_map(|tags| tags.keys().cloned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_the_first_schema_are_whole_and_what_moved_in_them_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, facts) = over("schema-1.tar.gz", directory.path());
    assert!(server.command("verify").status().unwrap().success());
    server.start().await;
    let token = facts["token"].as_str().unwrap();
    let room = |number: usize| facts["rooms"][number].as_str().unwrap();

    // Where the client of then goes on.
    let since = facts["since"].as_str().unwrap();
    let news = get(&server, token, &format!("/sync?since={since}")).await;
    assert_eq!(tags(&news, room(0)), ["m.favourite", "u.later"]);
    assert!(tags(&news, room(1)).is_empty(), "{news}");
    let timeline = news["rooms"]["join"][room(1)]["timeline"]["events"].as_array().unwrap();
    assert_eq!(timeline.iter().map(|event| &event["content"]["body"]).collect::<Vec<_>>(), ["同期の後"]);

    let all = get(&server, token, "/sync").await;
    let mut joined: Vec<_> = all["rooms"]["join"].as_object().unwrap().keys().collect();
    joined.sort();
    let mut wanted = [room(0), room(1)];
    wanted.sort_unstable();
    assert_eq!(joined, wanted);
    assert!(all["rooms"]["invite"][room(2)].is_object());
    assert_eq!(tags(&all, room(1)), ["u.work"]);
    let ephemeral = &all["rooms"]["join"][room(0)]["ephemeral"]["events"][0]["content"];
    for (kind, event) in [("m.read", &facts["read"]), ("m.read.private", &facts["privately"])] {
        assert!(ephemeral[event.as_str().unwrap()][kind]["@taro:kanazawa.test"].is_object(), "{ephemeral}");
    }
    let messages = server.messages(room(0), token).await;
    assert_eq!((messages.len(), messages.contains_key("通達3")), (30, false));

    let sought = Some(json!({ "search_term": "nako" }));
    let (_, found) =
        server.call(Method::POST, "/_matrix/client/v3/user_directory/search", token, sought).await.unwrap();
    assert_eq!(found["results"][0]["user_id"], "@hanako:kanazawa.test", "{found}");

    // What was said before there was an index is found, once it is built.
    let sought = json!({ "search_term": "同期の", "filter": { "rooms": [room(1)] } });
    let sought = json!({ "search_categories": { "room_events": sought } });
    let found = async {
        loop {
            let asked = server.call(Method::POST, "/_matrix/client/v3/search", token, Some(sought.clone()));
            let (_, answer) = asked.await.unwrap();
            let results = answer["search_categories"]["room_events"].clone();
            if results["count"] != 0 {
                return results;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(60), found).await.unwrap();
    assert_eq!(found["results"][0]["result"]["content"]["body"], "同期の後", "{found}");

    // It goes on from there.
    let next = all["next_batch"].as_str().unwrap();
    let tag = format!("/_matrix/client/v3/user/@taro:kanazawa.test/rooms/{}/tags/u.new", room(1));
    server.call(Method::PUT, &tag, token, Some(json!({}))).await.unwrap();
    let news = get(&server, token, &format!("/sync?since={next}")).await;
    assert_eq!(
        (tags(&news, room(0)).len(), tags(&news, room(1))),
        (0, vec!["u.new".into(), "u.work".into()])
    );
    server.end("TERM");
    assert!(server.command("verify").status().unwrap().success());
}
