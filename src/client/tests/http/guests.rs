//! Guests: what they may, where they come in, what becomes of them.

use std::time::Duration;

use account::{GUEST_LIFETIME, Settings};
use base::{Clock, ManualClock};
use serde_json::{Value, json};

use crate::town::{PASSWORD, Person, Town, open_registration};

const REGISTER: &str = "/_matrix/client/v3/register";
const GUEST: &str = "/_matrix/client/v3/register?kind=guest";

async fn town() -> (Town, ManualClock) {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let settings = Settings { guests: true, ..open_registration() };
    (Town::posting(clock, settings).await, hand)
}

async fn guest(town: &Town) -> Person<'_> {
    let session = town.ask("POST", GUEST, json!({ "initial_device_display_name": "x" })).await.ok();
    town.person("hs1", &session)
}

/// A room that anybody may join, and guests if it says so. Many are made at one moment in the same words.
async fn room(owner: &Person<'_>, guest_access: Value) -> String {
    owner
        .create_room(json!({ "preset": "public_chat", "initial_state": [
            { "type": "m.room.guest_access", "content": { "guest_access": guest_access } },
            { "type": "m.room.history_visibility", "content": { "history_visibility": "world_readable" } },
        ] }))
        .await
}

/// Waits until somebody is in a room, or is not, while time passes.
async fn until_joined(hand: &ManualClock, owner: &Person<'_>, room: &str, user: &str, is_joined: bool) {
    loop {
        let members = owner.get(&format!("/rooms/{room}/joined_members")).await.ok();
        if members["joined"].get(user).is_some() == is_joined {
            return;
        }
        hand.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn there_are_no_guests_where_nobody_has_set_that() {
    let town = Town::new().await;
    town.ask("POST", GUEST, json!({})).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
}

/// C80, C82.
#[tokio::test]
async fn a_guest_may_what_is_listed_and_nothing_else() {
    let (town, _hand) = town().await;
    let owner = town.user("hanako").await;
    let (open, closed) = (room(&owner, json!("can_join")).await, room(&owner, json!("forbidden")).await);
    let said = owner.say(&open, "1", "ようこそ").await;
    let guest = guest(&town).await;
    let who = guest.get("/account/whoami").await.ok();
    assert_eq!((&who["is_guest"], &who["device_id"]), (&json!(true), &json!(guest.device)));
    assert_ne!(owner.get("/account/whoami").await.ok()["is_guest"], true);

    // Without being in the room, which all the world may read.
    assert_eq!(guest.get(&format!("/rooms/{open}/event/{said}")).await.ok()["event_id"], said);
    guest.get(&format!("/rooms/{open}/messages?dir=b")).await.ok();
    guest.get(&format!("/rooms/{open}/state")).await.ok();
    guest.get("/devices").await.ok();
    guest.get("/_matrix/client/versions").await.ok();
    guest.post(&format!("/rooms/{open}/join"), json!({})).await.ok();
    guest.say(&open, "1", "こんにちは").await;
    guest.put(&format!("/profile/{}/displayname", guest.id), json!({ "displayname": "客" })).await.ok();
    guest.post("/keys/query", json!({ "device_keys": {} })).await.ok();

    for (method, path) in [
        ("GET", "/room_keys/version".to_owned()),
        ("POST", "/createRoom".to_owned()),
        ("POST", format!("/rooms/{open}/invite")),
        ("POST", format!("/knock/{closed}")),
        ("GET", "/joined_rooms".to_owned()),
        ("GET", "/publicRooms".to_owned()),
        ("POST", "/user_directory/search".to_owned()),
        ("PUT", format!("/profile/{}/avatar_url", guest.id)),
        ("DELETE", format!("/profile/{}/displayname", guest.id)),
        ("DELETE", format!("/devices/{}", guest.device)),
        ("POST", "/account/password".to_owned()),
        ("POST", "/account/deactivate".to_owned()),
        ("POST", "/_matrix/media/v3/upload".to_owned()),
        ("POST", "/_matrix/client/v1/login/get_token".to_owned()),
    ] {
        guest.ask(method, &path, json!({})).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    // Knocking is no more open as plain state.
    let knocked = owner
        .create_room(json!({ "preset": "private_chat", "initial_state": [
        { "type": "m.room.join_rules", "content": { "join_rule": "knock" } },
        { "type": "m.room.guest_access", "content": { "guest_access": "forbidden" } },
    ] }))
        .await;
    let path = format!("/rooms/{knocked}/state/m.room.member/{}", guest.id);
    guest.put(&path, json!({ "membership": "knock" })).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
    // Nor is inviting, or another name or picture in one room.
    let member = |user: &str| format!("/rooms/{open}/state/m.room.member/{user}");
    let picture = json!({ "membership": "join", "displayname": "x", "avatar_url": "mxc://hs1/x" });
    for (path, content) in [
        (member(&guest.id), picture.clone()),
        (format!("{}?org.matrix.msc4140.delay=1000", member(&guest.id)), picture),
        (member("@taro:hs1"), json!({ "membership": "invite" })),
        (member("@taro:hs1"), json!({ "membership": "ban" })),
        (format!("/rooms/{open}/state/m.room.third_party_invite/x"), json!({ "display_name": "x" })),
    ] {
        guest.put(&path, content).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    // What rooms allow them otherwise they say, and they go.
    let levels = json!({ "users": {}, "events": { "x.state": 0 }, "state_default": 50 });
    let said = owner.put(&format!("/rooms/{open}/state/m.room.power_levels/"), levels).await;
    said.ok();
    guest.put(&format!("/rooms/{open}/state/x.state/"), json!({ "a": 1 })).await.ok();
    guest.put(&member(&guest.id), json!({ "membership": "leave" })).await.ok();
    guest.post("/logout", json!({})).await.ok();
    guest.get("/devices").await.fails(401, "M_UNKNOWN_TOKEN");
}

/// C81.
#[tokio::test]
async fn nobody_else_hears_of_guests() {
    let (town, _hand) = town().await;
    let (owner, taro) = (town.user("hanako").await, town.user("taro").await);
    let room = owner.create_room(json!({ "preset": "private_chat" })).await;
    let mut unknown = town.user("jiro").await;
    unknown.token = "unknown".to_owned();
    unknown.get(&format!("/rooms/{room}/messages?dir=b")).await.fails(401, "M_UNKNOWN_TOKEN");
    taro.get(&format!("/rooms/{room}/messages?dir=b")).await.fails(403, "M_FORBIDDEN");
    taro.post(&format!("/rooms/{room}/join"), json!({})).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_guest_comes_in_where_the_room_says_so_by_whatever_way_and_goes_when_it_says_so_no_more() {
    let (town, hand) = town().await;
    let owner = town.user("hanako").await;
    let guest = guest(&town).await;
    for access in [json!("forbidden"), json!(null), json!(["can_join"])] {
        let closed = room(&owner, access).await;
        owner.post(&format!("/rooms/{closed}/invite"), json!({ "user_id": guest.id })).await.ok();
        guest.post(&format!("/rooms/{closed}/join"), json!({})).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
        guest.post(&format!("/join/{closed}"), json!({})).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
        let state = format!("/rooms/{closed}/state/m.room.member/{}", guest.id);
        let join = json!({ "membership": "join" });
        guest.put(&state, join).await.fails(403, "M_GUEST_ACCESS_FORBIDDEN");
        guest.post(&format!("/rooms/{closed}/leave"), json!({})).await.ok();
    }
    let (first, second) = (room(&owner, json!("can_join")).await, room(&owner, json!("can_join")).await);
    let taro = town.user("taro").await;
    for room in [&first, &second] {
        guest.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
        taro.post(&format!("/rooms/{room}/join"), json!({})).await.ok();
    }
    let access = format!("/rooms/{first}/state/m.room.guest_access/");
    owner.put(&access, json!({ "guest_access": "forbidden" })).await.ok();
    until_joined(&hand, &owner, &first, &guest.id, false).await;
    let member = owner.get(&format!("/rooms/{first}/state/m.room.member/{}", guest.id)).await.ok();
    assert_eq!(member["membership"], "leave");
    // A redaction takes the word back as well.
    let state = owner.get(&format!("/rooms/{second}/state")).await.ok();
    let state = state.as_array().unwrap().clone();
    let event = state.iter().find(|event| event["type"] == "m.room.guest_access").unwrap();
    let event = event["event_id"].as_str().unwrap();
    owner.put(&format!("/rooms/{second}/redact/{event}/1"), json!({})).await.ok();
    until_joined(&hand, &owner, &second, &guest.id, false).await;
    for room in [&first, &second] {
        let members = owner.get(&format!("/rooms/{room}/joined_members")).await.ok();
        assert!(members["joined"].get(&taro.id).is_some(), "others stay: {members}");
    }
}

#[tokio::test]
async fn a_guest_becomes_an_account_with_its_name_and_rooms() {
    let (town, hand) = town().await;
    let owner = town.user("hanako").await;
    let open = room(&owner, json!("can_join")).await;
    let (guest, other) = (guest(&town).await, guest(&town).await);
    guest.post(&format!("/rooms/{open}/join"), json!({})).await.ok();
    let name = guest.id.trim_start_matches('@').split(':').next().unwrap().to_owned();
    let ask = |name: &str, token: &str, password: Value| {
        let body = json!({
            "username": name, "guest_access_token": token, "password": password,
            "auth": { "type": "m.login.dummy" }, "device_id": guest.device,
        });
        town.ask("POST", REGISTER, body)
    };
    for (name, token, password) in [
        ("someone", &guest.token, json!(PASSWORD)),
        (&name, &other.token, json!(PASSWORD)),
        (&name, &owner.token, json!(PASSWORD)),
        ("hanako", &owner.token, json!(PASSWORD)),
        (&name, &"unknown".to_owned(), json!(PASSWORD)),
    ] {
        ask(name, token, password).await.fails(403, "M_FORBIDDEN");
    }
    ask(&name, &guest.token, json!(null)).await.fails(400, "M_MISSING_PARAM");
    let session = ask(&name, &guest.token, json!(PASSWORD)).await.ok();
    let account = town.person("hs1", &session);
    // Its device may stay, with its keys; its token does not.
    assert_eq!((&account.id, &account.device), (&guest.id, &guest.device));
    assert_ne!(account.get("/account/whoami").await.ok()["is_guest"], true);
    account.get("/joined_rooms").await.ok()["joined_rooms"]
        .as_array()
        .unwrap()
        .iter()
        .find(|room| **room == open)
        .unwrap();
    guest.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    ask(&name, &guest.token, json!(PASSWORD)).await.fails(403, "M_FORBIDDEN");
    // It is in the room as everybody is, and does not run out.
    let access = format!("/rooms/{open}/state/m.room.guest_access/");
    owner.put(&access, json!({ "guest_access": "forbidden" })).await.ok();
    hand.advance(GUEST_LIFETIME + Duration::from_secs(60 * 60));
    let login = json!({ "type": "m.login.password", "user": name, "password": PASSWORD });
    let other_name = other.id.clone();
    loop {
        // The other guest ends: then this one was looked at.
        if other.get("/devices").await.status == 401 {
            break;
        }
        hand.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    town.ask("POST", "/_matrix/client/v3/login", login).await.ok();
    until_joined(&hand, &owner, &open, &account.id, true).await;
    owner.get(&format!("/profile/{other_name}")).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn there_are_only_so_many_guests_of_an_address_and_their_places_become_free() {
    let (town, hand) = town().await;
    for _ in 0..50 {
        town.ask_from("192.0.2.7", "POST", GUEST, json!({})).await.ok();
    }
    let told = town.ask_from("192.0.2.7", "POST", GUEST, json!({})).await.fails(429, "M_LIMIT_EXCEEDED");
    assert!(told["retry_after_ms"].as_u64().unwrap() > 0, "{told}");
    town.ask_from("192.0.2.8", "POST", GUEST, json!({})).await.ok();
    hand.advance(GUEST_LIFETIME);
    loop {
        if town.ask_from("192.0.2.7", "POST", GUEST, json!({})).await.status == 200 {
            break;
        }
        hand.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_has_a_large_network_has_a_larger_share_of_the_guests_and_not_all() {
    let (town, _hand) = town().await;
    let from = async |network: u32| {
        let address = format!("2001:db8:0:{network:x}::1");
        town.ask_from(&address, "POST", GUEST, json!({})).await.status
    };
    // Ten of each /64 of one /56.
    for number in 0..100 {
        assert_eq!(from(number / 10).await, 200, "{number}");
    }
    assert_eq!(from(0x20).await, 429);
    // The rest of the /48 has its own.
    for number in 0..100 {
        assert_eq!(from((1 + number) << 8).await, 200, "{number}");
    }
    assert_eq!(from(0x9900).await, 429);
    assert_eq!(town.ask_from("2001:db8:1::1", "POST", GUEST, json!({})).await.status, 200);
}

#[tokio::test]
async fn a_guest_that_signs_out_is_gone_and_its_place_is_free() {
    let (town, _hand) = town().await;
    let ask = async || town.ask_from("192.0.2.7", "POST", GUEST, json!({})).await;
    let guests = futures_util::future::join_all((0..50).map(|_| ask())).await;
    ask().await.fails(429, "M_LIMIT_EXCEEDED");
    let owner = town.user("hanako").await;
    for (guest, path) in guests.into_iter().zip(["/logout", "/logout/all"]) {
        let guest = town.person("hs1", &guest.ok());
        guest.post(path, json!({})).await.ok();
        owner.get(&format!("/profile/{}", guest.id)).await.fails(404, "M_NOT_FOUND");
        ask().await.ok();
        ask().await.fails(429, "M_LIMIT_EXCEEDED");
    }
}
