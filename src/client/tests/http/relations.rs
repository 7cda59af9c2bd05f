//! Relations and threads over HTTP.

use serde_json::{Value, json};

use super::town::{Person, Town};

pub(crate) async fn relate(person: &Person<'_>, room: &str, txn: &str, to: (&str, &str)) -> String {
    let body = json!({
        "msgtype": "m.text", "body": txn, "m.relates_to": { "rel_type": to.0, "event_id": to.1 },
    });
    let path = format!("/rooms/{room}/send/m.room.message/{txn}");
    person.put(&path, body).await.ok()["event_id"].as_str().unwrap().to_owned()
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["chunk"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn relations_and_threads_are_listed() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "private_chat" })).await;
    let root = hanako.say(&room, "root", "root").await;
    let reply = relate(&hanako, &room, "reply", ("m.thread", &root)).await;
    let reference = relate(&hanako, &room, "reference", ("m.reference", &root)).await;
    let indirect = relate(&hanako, &room, "indirect", ("m.annotation", &reply)).await;

    let relations = format!("/_matrix/client/v1/rooms/{room}/relations/{root}");
    assert_eq!(ids(&hanako.get(&relations).await.ok()), [&reference, &reply]);
    assert_eq!(ids(&hanako.get(&format!("{relations}?dir=f&limit=1")).await.ok()), [&reply]);
    assert_eq!(ids(&hanako.get(&format!("{relations}/m.thread")).await.ok()), [&reply]);
    assert!(ids(&hanako.get(&format!("{relations}/m.thread/m.sticker")).await.ok()).is_empty());
    let deep = hanako.get(&format!("{relations}?recurse=true")).await.ok();
    assert_eq!(ids(&deep), [&indirect, &reference, &reply]);
    assert_eq!(deep["recursion_depth"], 3);
    hanako.get(&format!("{relations}?from=x")).await.fails(400, "M_INVALID_PARAM");
    taro.get(&relations).await.fails(404, "M_NOT_FOUND");

    let threads = format!("/_matrix/client/v1/rooms/{room}/threads");
    let answer = hanako.get(&threads).await.ok();
    assert_eq!(ids(&answer), [&root]);
    let thread = &answer["chunk"][0]["unsigned"]["m.relations"]["m.thread"];
    assert_eq!((&thread["count"], &thread["latest_event"]["event_id"]), (&json!(1), &json!(reply)));
    taro.get(&threads).await.fails(403, "M_FORBIDDEN");

    let event = hanako.get(&format!("/rooms/{room}/event/{root}")).await.ok();
    assert_eq!(event["unsigned"]["m.relations"]["m.reference"]["chunk"][0]["event_id"], reference);
}

#[tokio::test]
async fn a_thread_does_not_begin_in_a_thread() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let root = hanako.say(&room, "root", "root").await;
    let reply = relate(&hanako, &room, "reply", ("m.thread", &root)).await;
    let body = json!({ "body": "x", "m.relates_to": { "rel_type": "m.thread", "event_id": reply } });
    let path = format!("/rooms/{room}/send/m.room.message/nested");
    hanako.put(&path, body).await.fails(400, "M_UNKNOWN");
}
