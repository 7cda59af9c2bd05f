//! Sliding sync over HTTP: what is no request, whose connection it is, and what is too much.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use audit::Actor;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Net, Preset, User};

const SLIDING: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
const THREADS: &str = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions";

/// A list of the newest room.
fn window() -> Value {
    json!({ "lists": { "all": { "ranges": [[0, 0]], "timeline_limit": 1, "required_state": [] } } })
}

async fn slide(user: &User, query: &str, body: &Value) -> (StatusCode, Value) {
    let (status, text) = user.ask(Method::POST, &format!("{SLIDING}{query}"), Some(body)).await;
    (status, serde_json::from_str(&text).unwrap())
}

async fn fails(user: &User, query: &str, body: &str, errcode: &str) {
    let (status, text) = user.ask_text(Method::POST, &format!("{SLIDING}{query}"), Some(body)).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST, "{query} {body} {text}");
    assert_eq!(answer["errcode"], errcode, "{query} {body} {text}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_as_one_and_costs_no_connection() {
    let net = Net::new();
    let hanako = net.server("kanazawa.test").await.user("hanako").await;
    hanako.create_room(Preset::PrivateChat).await;
    let (_, first) = slide(&hanako, "", &window()).await;
    let pos = first["pos"].as_str().unwrap().to_owned();

    for body in ["", "{", "\u{feff}{}", "{\"lists\":"] {
        fails(&hanako, "", body, "M_NOT_JSON").await;
    }
    for body in [
        r#"{"lists":5}"#,
        r#"{"lists":{"a":{}}}"#,
        r#"{"lists":{"a":{"timeline_limit":-1}}}"#,
        r#"{"lists":{"a":{"timeline_limit":1,"ranges":[[0,-1]]}}}"#,
        r#"{"lists":{"a":{"timeline_limit":1,"ranges":[[0]]}}}"#,
        r#"{"lists":{"a":{"timeline_limit":1,"required_state":[["m.room.name"]]}}}"#,
        r#"{"room_subscriptions":{"nonsense":{"timeline_limit":1}}}"#,
        r#"{"room_subscriptions":{"!a:kanazawa.test":5}}"#,
        r#"{"extensions":{"to_device":{"enabled":"yes"}}}"#,
        r#"{"extensions":{"io.element.msc4308.thread_subscriptions":{"enabled":true,"limit":-1}}}"#,
        r#"{"conn_id":5}"#,
    ] {
        fails(&hanako, "", body, "M_BAD_JSON").await;
    }
    // C26: a subscription says how much it wants, and who does not is told what is missing.
    let body = json!({ "room_subscriptions": { "!a:kanazawa.test": { "required_state": [] } } });
    let (status, answer) = slide(&hanako, "", &body).await;
    assert_eq!((status, &answer["errcode"]), (StatusCode::BAD_REQUEST, &json!("M_BAD_JSON")));
    assert!(answer["error"].as_str().unwrap().contains("timeline_limit"), "{answer}");
    for body in [
        r#"{"lists":{"a":{"timeline_limit":1,"ranges":[[1,0]]}}}"#.to_owned(),
        json!({ "conn_id": "x".repeat(129) }).to_string(),
        r#"{"extensions":{"to_device":{"enabled":true,"since":"x"}}}"#.to_owned(),
    ] {
        fails(&hanako, "", &body, "M_INVALID_PARAM").await;
    }
    fails(&hanako, "?set_presence=here", "{}", "M_INVALID_PARAM").await;
    for pos in ["nonsense", "p1_", "p1_1_2_3_4", "0", "%00"] {
        fails(&hanako, &format!("?pos={pos}"), "{}", "M_UNKNOWN_POS").await;
    }
    let (status, _) = hanako.ask_text(Method::POST, &format!("{SLIDING}?timeout=x"), Some("{}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let (status, again) = slide(&hanako, &format!("?pos={pos}"), &window()).await;
    assert_eq!((status, &again["rooms"]), (StatusCode::OK, &json!({})), "it goes on");
}

// C28
#[tokio::test]
async fn a_room_that_was_purged_and_joined_again_has_a_place_that_what_was_said_before_does_not_move() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let room = hanako.create_room(Preset::PublicChat).await;
    for number in 0..30 {
        hanako.send(&room, &format!("以前 {number}")).await;
    }
    taro.join(&room, "kanazawa.test").await;
    taro.leave(&room).await;
    hanako.sync_until(|seen| seen.room(&room).membership(taro.id().as_str()) == Some("leave")).await;
    let engine = wajima.look(|house| house.engine.clone());
    engine.purge(&room, false, &Actor::operator("test")).await.unwrap();
    while !engine.purges().await.unwrap().is_empty() {
        net.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    taro.join(&room, "kanazawa.test").await;
    let stamp = async |query: &str| {
        let (_, answer) = slide(&taro, query, &window()).await;
        let stamp = answer["rooms"][room.as_str()]["bump_stamp"].clone();
        (stamp, format!("?pos={}", answer["pos"].as_str().unwrap()))
    };
    let (first, query) = stamp("").await;
    assert!(first.is_u64(), "{first}");
    // What was said before comes after it, behind it.
    assert!(taro.history(&room).await.contains(&"以前 0".to_owned()));
    let (then, _) = stamp(&query).await;
    assert!(then.is_null() || then == first, "{first} {then}");
    assert_eq!(stamp("").await.0, first);
}

#[tokio::test]
async fn a_connection_is_its_devices_and_nobody_elses() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let (hanako, taro) = (kanazawa.user("hanako").await, kanazawa.user("taro").await);
    let desktop = hanako.another_device().await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    let (_, first) = slide(&hanako, "", &window()).await;
    assert!(first["rooms"][room.as_str()].is_object(), "{first}");
    let query = format!("?pos={}", first["pos"].as_str().unwrap());
    for other in [&taro, &desktop] {
        fails(other, &query, &window().to_string(), "M_UNKNOWN_POS").await;
    }
    let mut renamed = window();
    renamed["conn_id"] = json!("another");
    fails(&hanako, &query, &renamed.to_string(), "M_UNKNOWN_POS").await;
    // It may stand in the body as well, and what others tried has changed nothing.
    let mut body = window();
    body["pos"] = first["pos"].clone();
    let text = hanako.send(&room, "続き").await;
    let (status, answer) = slide(&hanako, "", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["rooms"][room.as_str()]["timeline"][0]["event_id"], text.as_str());
    let (_, theirs) = slide(&taro, "", &window()).await;
    assert_eq!((&theirs["rooms"], &theirs["lists"]["all"]["count"]), (&json!({}), &json!(0)));
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_what_is_large_is_answered() {
    let net = Net::new();
    let hanako = net.server("kanazawa.test").await.user("hanako").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    let list = json!({ "timeline_limit": 1 });
    let lists = |count: usize| {
        let lists: serde_json::Map<String, Value> =
            (0..count).map(|number| (number.to_string(), list.clone())).collect();
        json!({ "lists": lists })
    };
    let subscriptions = |count: usize| {
        let rooms: serde_json::Map<String, Value> =
            (0..count).map(|number| (format!("!r{number}:kanazawa.test"), list.clone())).collect();
        json!({ "room_subscriptions": rooms })
    };
    let pairs = |count: usize| {
        let pairs: Vec<Value> = (0..count).map(|number| json!(["m.test", number.to_string()])).collect();
        json!({ "lists": { "all": { "timeline_limit": 1, "required_state": pairs } } })
    };
    let ranges = |count: usize| {
        let ranges: Vec<Value> = (0..count).map(|number| json!([number, number])).collect();
        json!({ "lists": { "all": { "timeline_limit": 1, "ranges": ranges } } })
    };
    for (enough, too_much) in [
        (lists(100), lists(101)),
        (subscriptions(100), subscriptions(101)),
        (pairs(200), pairs(201)),
        (ranges(200), ranges(201)),
    ] {
        let (status, answer) = slide(&hanako, "", &enough).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        fails(&hanako, "", &too_much.to_string(), "M_INVALID_PARAM").await;
    }
    let all = json!({ "lists": { "all": { "timeline_limit": u64::MAX, "ranges": [[0, u64::MAX]] } } });
    let (status, answer) = slide(&hanako, "", &all).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["rooms"][room.as_str()].is_object());
    let (status, _) = slide(&hanako, "?timeout=18446744073709551615", &all).await;
    assert_eq!(status, StatusCode::OK, "a first answer comes at once");
}

#[tokio::test]
async fn subscriptions_to_threads_are_listed_page_by_page() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let (hanako, taro) = (kanazawa.user("hanako").await, kanazawa.user("taro").await);
    let room = hanako.create_room(Preset::PrivateChat).await;
    let extension = json!({ "enabled": true, "limit": 2 });
    let body = json!({ "extensions": { "io.element.msc4308.thread_subscriptions": extension } });
    let (_, before) = slide(&hanako, "", &body).await;
    let to = before["pos"].as_str().unwrap().to_owned();
    let mut threads = Vec::new();
    for number in 0..5 {
        let thread = hanako.send(&room, &number.to_string()).await;
        let path =
            format!("/_matrix/client/unstable/io.element.msc4306/rooms/{room}/thread/{thread}/subscription");
        let (status, answer) = hanako.ask(Method::PUT, &path, Some(&json!({}))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        threads.push((thread, path));
    }
    let (status, _) = hanako.ask(Method::DELETE, &threads[0].1, None).await;
    assert_eq!(status, StatusCode::OK);
    let (_, answer) = slide(&hanako, &format!("?pos={to}"), &body).await;
    let told = &answer["extensions"]["io.element.msc4308.thread_subscriptions"];
    assert!(told["unsubscribed"][room.as_str()][threads[0].0.as_str()].is_object(), "{answer}");
    assert!(told["subscribed"][room.as_str()][threads[4].0.as_str()].is_object(), "{answer}");

    let mut from = told["prev_batch"].as_str().unwrap().to_owned();
    let mut found = Vec::new();
    loop {
        let path = format!("{THREADS}?dir=b&limit=2&from={from}&to={to}");
        let (status, text) = hanako.ask(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let page: Value = serde_json::from_str(&text).unwrap();
        let of_room = page["subscribed"][room.as_str()].as_object().cloned().unwrap_or_default();
        found.extend(of_room.into_iter().map(|(thread, _)| thread));
        match page["end"].as_str() {
            Some(end) => end.clone_into(&mut from),
            None => break,
        }
    }
    found.sort_unstable();
    let mut expected: Vec<&str> = threads[1..4].iter().map(|(thread, _)| thread.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);

    let (_, all) = hanako.ask(Method::GET, &format!("{THREADS}?dir=b"), None).await;
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["subscribed"][room.as_str()].as_object().unwrap().len(), 4);
    let (_, theirs) = taro.ask(Method::GET, &format!("{THREADS}?dir=b"), None).await;
    assert_eq!(theirs, "{}");
    for (query, errcode) in [
        ("", "M_MISSING_PARAM"),
        ("?dir=f", "M_INVALID_PARAM"),
        ("?dir=b&limit=0", "M_INVALID_PARAM"),
        ("?dir=b&from=x", "M_INVALID_PARAM"),
        ("?dir=b&to=x", "M_INVALID_PARAM"),
    ] {
        let (status, text) = hanako.ask(Method::GET, &format!("{THREADS}{query}"), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query} {text}");
        assert!(text.contains(errcode), "{query} {text}");
    }
}
