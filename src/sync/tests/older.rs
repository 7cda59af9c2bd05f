//! `/events` and what there was before `/sync`.

use std::time::Duration;

use futures_util::StreamExt;
use ruma::{OwnedDeviceId, RoomId, server_name};
use serde_json::{Value, json};

use super::town::{Town, said, town, user};
use crate::{Error, EventsRequest};

fn request(name: &str, room: Option<&RoomId>, from: Option<&str>) -> EventsRequest {
    EventsRequest {
        user: user(name),
        device: OwnedDeviceId::from("PHONE"),
        from: from.map(|from| from.parse::<room::read::token::Token>().unwrap().position()),
        room_id: room.map(ToOwned::to_owned),
        timeout: Duration::ZERO,
    }
}

async fn events(town: &Town, request: &EventsRequest) -> Value {
    serde_json::from_slice(&town.syncs.events(request).await.unwrap()).unwrap()
}

async fn gathered(parts: futures_util::stream::BoxStream<'static, Result<bytes::Bytes, Error>>) -> Value {
    let parts: Vec<_> = parts.map(Result::unwrap).collect().await;
    serde_json::from_slice(&parts.concat()).unwrap()
}

#[tokio::test]
async fn events_of_all_rooms_come_in_their_order_and_each_once() {
    let town = town().await;
    let rooms = [town.room("hanako").await, town.room("hanako").await];
    let start = events(&town, &request("hanako", None, None)).await["end"].as_str().unwrap().to_owned();
    let mut wanted = Vec::new();
    for number in 0..250 {
        let body = number.to_string();
        // Most of them in one.
        town.say("hanako", &rooms[usize::from(number % 5 == 0)], &body).await;
        wanted.push(body);
    }
    let (mut from, mut told) = (start, Vec::new());
    loop {
        let answer = events(&town, &request("hanako", None, Some(&from))).await;
        assert_eq!(answer["start"].as_str(), Some(from.as_str()));
        let some = said(&answer["chunk"]);
        assert!(some.len() <= 100);
        if some.is_empty() {
            break;
        }
        assert!(answer["chunk"][0]["room_id"].is_string());
        told.extend(some);
        answer["end"].as_str().unwrap().clone_into(&mut from);
    }
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn a_room_that_is_open_to_the_world_is_followed_from_outside_and_no_other() {
    let town = town().await;
    let (open, shut) = (town.room("hanako").await, town.room("hanako").await);
    let world = json!({ "history_visibility": "world_readable" });
    town.set("hanako", &open, "m.room.history_visibility", world).await;
    town.say("hanako", &open, "公").await;
    town.say("hanako", &shut, "秘").await;

    let caller = || (user("taro"), OwnedDeviceId::from("PHONE"));
    let authority = server_name!("kanazawa.test");
    let room = gathered(town.syncs.room_as_it_is(caller(), authority, &open, 1).await.unwrap()).await;
    assert_eq!(said(&room["messages"]["chunk"]), ["公"]);
    assert!(said(&room["state"]).contains(&"m.room.create".to_owned()), "{room}");
    assert!(room["membership"].is_null() && room["visibility"] == "private");
    assert!(town.syncs.room_as_it_is(caller(), authority, &shut, 1).await.is_err());

    let mut waiting = request("taro", Some(&open), room["messages"]["end"].as_str());
    waiting.timeout = Duration::from_secs(30);
    let (syncs, sleepers) = (town.syncs.clone(), town.clock.sleepers());
    let waiting = tokio::spawn(async move { syncs.events(&waiting).await.unwrap() });
    while town.clock.sleepers() == sleepers {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    town.say("hanako", &open, "新").await;
    let answer: Value = serde_json::from_slice(&waiting.await.unwrap()).unwrap();
    assert_eq!(said(&answer["chunk"]), ["新"]);
    assert!(town.syncs.events(&request("taro", Some(&shut), None)).await.is_err());

    let event = town.say("hanako", &shut, "秘").await;
    let (hanako, taro) = (user("hanako"), user("taro"));
    let seen = town.syncs.one_event(&room::read::view::Viewer::user(&hanako), &event).await.unwrap();
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert_eq!((&seen["room_id"], &seen["content"]["body"]), (&json!(shut), &json!("秘")));
    assert!(town.syncs.one_event(&room::read::view::Viewer::user(&taro), &event).await.is_err());
}

#[tokio::test]
async fn all_rooms_are_told_as_they_are() {
    let town = town().await;
    for _ in 0..60 {
        let room = town.room("hanako").await;
        town.say("hanako", &room, "話").await;
    }
    let invited = town.room("taro").await;
    town.invite("taro", &invited, "hanako").await;
    let caller = (user("hanako"), OwnedDeviceId::from("PHONE"));
    let all = gathered(town.syncs.all_as_it_is(caller, 1, false).await.unwrap()).await;
    let rooms = all["rooms"].as_array().unwrap();
    assert_eq!(rooms.len(), 61);
    assert_eq!(
        (&rooms[0]["membership"], &rooms[0]["invite"]["sender"]),
        (&json!("invite"), &json!(user("taro")))
    );
    for room in &rooms[1..] {
        assert_eq!(said(&room["messages"]["chunk"]), ["話"]);
        assert!(said(&room["state"]).contains(&"m.room.member".to_owned()));
    }
    assert!(all["end"].is_string() && all["presence"].is_array());
    let nobody = (user("jiro"), OwnedDeviceId::from("PHONE"));
    let none = gathered(town.syncs.all_as_it_is(nobody, 1, true).await.unwrap()).await;
    assert_eq!(none["rooms"], json!([]));
}
