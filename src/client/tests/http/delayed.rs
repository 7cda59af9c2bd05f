//! Delayed events, as Complement's tests of MSC4140 take their steps.

use std::time::Duration;

use base::{Clock, ManualClock, Metrics};
use serde_json::{Value, json};

use crate::town::{PASSWORD, Person, Town};

const DELAYED: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";

async fn town() -> (Town, ManualClock) {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    town.engine.start_delaying(&Metrics::new());
    (town, hand)
}

/// Waits until something is so.
async fn until(so: impl AsyncFn() -> bool) {
    let wait = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it is never so");
}

impl Person<'_> {
    async fn delay_message(&self, room: &str, txn: &str, delay: &str, body: Value) -> String {
        let path = format!("/rooms/{room}/send/com.example.test/{txn}?org.matrix.msc4140.delay={delay}");
        self.put(&path, body).await.ok()["delay_id"].as_str().unwrap().to_owned()
    }

    async fn delay_state(&self, room: &str, key: &str, delay: &str, body: Value) -> String {
        let path = format!("/rooms/{room}/state/com.example.test/{key}?org.matrix.msc4140.delay={delay}");
        self.put(&path, body).await.ok()["delay_id"].as_str().unwrap().to_owned()
    }

    async fn delayed(&self) -> Vec<Value> {
        self.get(DELAYED).await.ok()["delayed_events"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn delayed_messages_are_sent_in_their_order_when_they_are_due() {
    let (town, hand) = town().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    town.ask("GET", DELAYED, Value::Null).await.fails(401, "M_MISSING_TOKEN");
    assert!(hanako.delayed().await.is_empty());
    let mut first = String::new();
    for (count, delay) in [(1, "700"), (2, "800"), (3, "900")] {
        let id = hanako.delay_message(&room, &format!("t{count}"), delay, json!({ "count": count })).await;
        // The same request again, without a body.
        let again = hanako.delay_message(&room, &format!("t{count}"), delay, Value::Null).await;
        assert_eq!(again, id);
        if count == 1 {
            first = id;
        }
    }
    assert_eq!(hanako.delayed().await.len(), 3);
    assert!(taro.delayed().await.is_empty());
    let one = hanako.get(&format!("{DELAYED}/{first}")).await.ok();
    assert_eq!(
        one,
        json!({
            "delay_id": first, "room_id": room, "type": "com.example.test", "content": { "count": 1 },
            "delay": 700, "running_since": 1_700_000_000_000_u64,
        })
    );
    taro.get(&format!("{DELAYED}/{first}")).await.fails(404, "M_NOT_FOUND");

    for _ in 0..10 {
        hand.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    until(async || hanako.delayed().await.is_empty()).await;
    let page = hanako.get(&format!("/rooms/{room}/messages?dir=b&limit=3")).await.ok();
    let counts: Vec<_> = page["chunk"].as_array().unwrap().iter().map(|event| &event["content"]).collect();
    assert_eq!(counts, [&json!({ "count": 3 }), &json!({ "count": 2 }), &json!({ "count": 1 })]);
}

#[tokio::test]
async fn whoever_knows_its_id_sends_restarts_and_cancels_a_delayed_event() {
    let (town, hand) = town().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let act =
        async |id: &str, action: &str| town.ask("POST", &format!("{DELAYED}/{id}/{action}"), json!({})).await;
    for action in ["cancel", "restart", "send"] {
        act("abc", action).await.fails(404, "M_NOT_FOUND");
        let body = json!({ "action": action });
        town.ask("POST", &format!("{DELAYED}/abc"), body).await.fails(404, "M_NOT_FOUND");
    }
    act("abc", "oops").await.fails(404, "M_UNRECOGNIZED");
    assert_eq!(town.ask("POST", &format!("{DELAYED}/abc"), json!({})).await.status, 400);
    assert_eq!(town.ask("POST", &format!("{DELAYED}/abc"), json!({ "action": "oops" })).await.status, 400);

    let sent = hanako.delay_state(&room, "sent", "100000", json!({ "by": "request" })).await;
    let cancelled = hanako.delay_state(&room, "cancelled", "1500", json!({})).await;
    let restarted = hanako.delay_state(&room, "restarted", "1500", json!({ "by": "time" })).await;
    let event = hanako.get(&format!("{DELAYED}/{sent}")).await.ok();
    assert_eq!((&event["state_key"], &event["content"]), (&json!("sent"), &json!({ "by": "request" })));
    let state = async |key: &str| hanako.get(&format!("/rooms/{room}/state/com.example.test/{key}")).await;
    state("sent").await.fails(404, "M_NOT_FOUND");
    assert_eq!(act(&sent, "send").await.ok(), json!({}));
    assert_eq!(state("sent").await.ok(), json!({ "by": "request" }));
    assert_eq!(act(&cancelled, "cancel").await.ok(), json!({}));
    hand.advance(Duration::from_secs(1));
    let body = json!({ "action": "restart" });
    assert_eq!(town.ask("POST", &format!("{DELAYED}/{restarted}"), body).await.ok(), json!({}));
    hand.advance(Duration::from_secs(1));
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
    state("restarted").await.fails(404, "M_NOT_FOUND");
    hand.advance(Duration::from_millis(500));
    until(async || hanako.delayed().await.is_empty()).await;
    assert_eq!(state("restarted").await.ok(), json!({ "by": "time" }));
    state("cancelled").await.fails(404, "M_NOT_FOUND");

    // Whoever asks again, as its answer was lost, is answered as before; what has ended otherwise is told so.
    for id in [&sent, &restarted] {
        assert_eq!(act(id, "send").await.ok(), json!({}));
        act(id, "cancel").await.fails(409, "M_UNKNOWN");
        act(id, "restart").await.fails(409, "M_UNKNOWN");
    }
    assert_eq!(act(&cancelled, "cancel").await.ok(), json!({}));
    act(&cancelled, "send").await.fails(409, "M_UNKNOWN");
    act(&cancelled, "restart").await.fails(409, "M_UNKNOWN");
    state("cancelled").await.fails(404, "M_NOT_FOUND");
    let overtaken = hanako.delay_state(&room, "contested", "1500", json!({ "by": "hanako" })).await;
    let taro = town.user("taro").await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    let levels = json!({ "users": { taro.id.as_str(): 100 }, "state_default": 0 });
    hanako.put(&format!("/rooms/{room}/state/m.room.power_levels"), levels).await.ok();
    let by = json!({ "by": "taro" });
    taro.put(&format!("/rooms/{room}/state/com.example.test/contested"), by).await.ok();
    act(&overtaken, "send").await.fails(409, "M_UNKNOWN");
}

#[tokio::test]
async fn what_may_not_be_delayed_is_refused_in_the_words_of_the_proposal() {
    let (town, _hand) = town().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "private_chat" })).await;
    let path = |delay: &str| format!("/rooms/{room}/send/m.room.message/t?org.matrix.msc4140.delay={delay}");
    let long = hanako.put(&path("86400001"), json!({})).await.fails(400, "M_UNKNOWN");
    assert_eq!(long["org.matrix.msc4140.errcode"], "M_MAX_DELAY_EXCEEDED");
    assert_eq!(long["org.matrix.msc4140.max_delay"], 86_400_000);
    for wrong in ["-1", "0", "x", "", "1.5"] {
        assert_eq!(hanako.put(&path(wrong), json!({})).await.status, 400, "{wrong}");
    }
    taro.put(&path("1"), json!({})).await.fails(403, "M_FORBIDDEN");
    let nowhere = "/rooms/!no:hs1/send/m.room.message/t?org.matrix.msc4140.delay=1";
    taro.put(nowhere, json!({})).await.fails(403, "M_FORBIDDEN");
    hanako.put(&path("1"), Value::Null).await.fails(400, "M_NOT_JSON");
    let capabilities = hanako.get("/capabilities").await.ok();
    assert_eq!(capabilities["capabilities"]["org.matrix.msc4140.delayed_events"]["enabled"], true);
    let versions = town.ask("GET", "/_matrix/client/versions", Value::Null).await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.msc4140"], true);
}

#[tokio::test]
async fn a_send_that_fails_tells_its_error_and_what_is_delayed_outlives_its_device_but_not_its_account() {
    let (town, hand) = town().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    taro.post(&format!("/join/{room}"), json!({})).await.ok();
    let refused = taro.delay_state(&room, "x", "100000", json!({})).await;
    town.ask("POST", &format!("{DELAYED}/{refused}/send"), json!({})).await.fails(403, "M_FORBIDDEN");
    assert_eq!(taro.delayed().await.len(), 1);
    hanako.delay_message(&room, "t", "1000", json!({ "said": "去る" })).await;
    hanako.post("/logout", json!({})).await.ok();

    taro.post("/account/deactivate", json!({ "auth": taro.proof(PASSWORD) })).await.ok();
    let taro_id = ruma::OwnedUserId::try_from(taro.id.as_str()).unwrap();
    until(async || town.engine.delayed_of(&taro_id).await.unwrap().is_empty()).await;

    hand.advance(Duration::from_secs(1));
    let hanako_id = ruma::OwnedUserId::try_from(hanako.id.as_str()).unwrap();
    until(async || town.engine.delayed_of(&hanako_id).await.unwrap().is_empty()).await;
    let session = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "hanako" }, "password": PASSWORD,
    });
    let session = town.ask("POST", "/_matrix/client/v3/login", session).await.ok();
    let hanako = town.person("hs1", &session);
    let page = hanako.get(&format!("/rooms/{room}/messages?dir=b&limit=50")).await.ok();
    let said = page["chunk"].as_array().unwrap().iter().any(|event| event["content"]["said"] == "去る");
    assert!(said, "{page}");
}
