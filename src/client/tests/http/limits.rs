//! How often what is answered, with the limits that are set when nothing is.

use base::{Clock, Metrics};
use serde_json::{Value, json};

use crate::town::{PASSWORD, Town};

const LOGIN: &str = "/_matrix/client/v3/login";

fn password(user: &str, password: &str) -> Value {
    json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": user }, "password": password })
}

/// A room that is like no other: where the clock stands still, what one creator makes alike is one room.
fn numbered(number: u64) -> Value {
    json!({ "creation_content": { "number": number } })
}

#[tokio::test]
async fn five_hundred_sign_in_from_one_office_in_a_minute_and_who_guesses_there_is_stopped() {
    // The clock stands still: all of it is one moment.
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::limited(clock).await;
    for number in 0..500 {
        town.account(&format!("shokuin{number}")).await;
    }
    let office = "203.0.113.7";
    for number in 0..500 {
        let name = format!("shokuin{number}");
        // One in ten gets it wrong first.
        if number % 10 == 0 {
            let wrong = town.ask_from(office, "POST", LOGIN, password(&name, "wrong")).await;
            wrong.fails(403, "M_FORBIDDEN");
        }
        town.ask_from(office, "POST", LOGIN, password(&name, PASSWORD)).await.ok();
    }

    let guess = |word: &'static str| town.ask_from(office, "POST", LOGIN, password("shokuin7", word));
    for _ in 0..10 {
        guess("wrong").await.fails(403, "M_FORBIDDEN");
    }
    let refused = guess(PASSWORD).await.fails(429, "M_LIMIT_EXCEEDED");
    assert_eq!(refused["limit"], "wrong_passwords");
    assert!(refused["retry_after_ms"].as_u64().unwrap() > 0);
    town.ask_from(office, "POST", LOGIN, password("shokuin8", PASSWORD)).await.ok();
}

/// C101.
#[tokio::test]
async fn joining_a_room_one_is_in_costs_nothing() {
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::limited(clock).await;
    let hanako = town.account("hanako").await;
    let room = hanako.create_room(json!({ "room_alias_name": "rusui" })).await;
    for _ in 0..250 {
        hanako.post(&format!("/join/{room}"), json!({})).await.ok();
        hanako.post("/join/%23rusui:hs1", json!({ "reason": "still here" })).await.ok();
        hanako.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
    }
    // What costs something still has its limit.
    let mut made = 1;
    while hanako.post("/createRoom", numbered(made)).await.status == 200 {
        made += 1;
    }
    assert_eq!(made, 200);
    // Nobody gains by it: what was given back is what was taken.
    hanako.post("/createRoom", numbered(made)).await.fails(429, "M_LIMIT_EXCEEDED");
}

/// C103.
#[tokio::test]
async fn refusing_invites_and_leaving_rooms_is_not_limited_as_sending_is() {
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::limited(clock).await;
    let (hanako, taro) = (town.account("hanako").await, town.account("taro").await);
    let spoken = taro.create_room(json!({})).await;
    let mut number = 0;
    loop {
        number += 1;
        let said = json!({ "msgtype": "m.text", "body": "a" });
        let said = taro.put(&format!("/rooms/{spoken}/send/m.room.message/{number}"), said).await;
        if said.status == 429 {
            assert_eq!(said.body["limit"], "send");
            break;
        }
    }
    for number in 0..60 {
        let mut wishes = numbered(number);
        (wishes["preset"], wishes["invite"]) = (json!("public_chat"), json!([taro.id]));
        let room = hanako.create_room(wishes).await;
        if number % 2 == 0 {
            taro.post(&format!("/join/{room}"), json!({})).await.ok();
        }
        taro.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
    }
}

// C77
#[tokio::test]
async fn what_is_delayed_stays_when_it_is_asked_for_too_often_at_once() {
    const DELAYED: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::limited(clock).await;
    town.engine.start_delaying(&Metrics::new());
    let hanako = town.account("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let path = format!("/rooms/{room}/state/com.example.test/?org.matrix.msc4140.delay=100000");
    let id = hanako.put(&path, json!({ "by": "request" })).await.ok()["delay_id"].clone();
    let id = id.as_str().unwrap().to_owned();
    let send = |id: &str| {
        let (town, path) = (&town, format!("{DELAYED}/{id}/send"));
        async move { town.ask_from("203.0.113.7", "POST", &path, json!({})).await }
    };
    while send("abc").await.status == 404 {}
    assert_eq!(send(&id).await.fails(429, "M_LIMIT_EXCEEDED")["limit"], "delays");
    let waiting = hanako.get(DELAYED).await.ok();
    assert_eq!(waiting["delayed_events"][0]["delay_id"], id.as_str(), "{waiting}");
    let state = format!("/rooms/{room}/state/com.example.test/");
    hanako.get(&state).await.fails(404, "M_NOT_FOUND");
    hand.advance(std::time::Duration::from_secs(1));
    send(&id).await.ok();
    assert_eq!(hanako.get(&state).await.ok(), json!({ "by": "request" }));
}
