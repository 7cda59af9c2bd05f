//! Relations and threads over HTTP.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::town::{Answer, Person, Town};

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

async fn react(person: &Person<'_>, room: &str, txn: &str, (to, key): (&str, &str)) -> Answer {
    let content = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": to, "key": key } });
    person.put(&format!("/rooms/{room}/send/m.reaction/{txn}"), content).await
}

#[tokio::test]
async fn nobody_says_the_same_of_an_event_twice_until_he_takes_it_back() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    let (one, two) = (hanako.say(&room, "one", "one").await, hanako.say(&room, "two", "two").await);
    let first = react(&taro, &room, "a", (&one, "👍")).await.ok();
    // Others, of other events and other ones are not the same, nor is what is no reaction.
    for (who, txn, what) in
        [(&hanako, "b", (&*one, "👍")), (&taro, "c", (&*two, "👍")), (&taro, "d", (&*one, "👎"))]
    {
        react(who, &room, txn, what).await.ok();
    }
    let content = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": one, "key": "👍" } });
    taro.put(&format!("/rooms/{room}/send/org.example.mark/e"), content.clone()).await.ok();
    let spelled = content.to_string().replace("m.annotation", "m.\\u0061nnotation").into_bytes();
    for _ in 0..2 {
        react(&taro, &room, "f", (&one, "👍")).await.fails(400, "M_DUPLICATE_ANNOTATION");
        let path = format!("/rooms/{room}/send/m.reaction/g");
        taro.send("PUT", &path, spelled.clone()).await.fails(400, "M_DUPLICATE_ANNOTATION");
        // The same request is answered as it was.
        assert_eq!(react(&taro, &room, "a", (&one, "👍")).await.ok(), first);
    }
    let first = first["event_id"].as_str().unwrap();
    taro.put(&format!("/rooms/{room}/redact/{first}/h"), json!({})).await.ok();
    react(&taro, &room, "i", (&one, "👍")).await.ok();
    react(&taro, &room, "j", (&one, "👍")).await.fails(400, "M_DUPLICATE_ANNOTATION");
}

#[tokio::test]
async fn of_equal_reactions_that_are_sent_at_once_one_is_taken() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let event = hanako.say(&room, "one", "one").await;
    for key in ["👍", "👎", "🎉"] {
        let txns: Vec<String> = (0..10).map(|number| format!("{key}{number}")).collect();
        let answers = join_all(txns.iter().map(|txn| react(&hanako, &room, txn, (&event, key)))).await;
        let taken = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(taken, 1);
        let refused = answers.iter().filter(|answer| answer.body["errcode"] == "M_DUPLICATE_ANNOTATION");
        assert_eq!(refused.count(), 9);
    }
}
