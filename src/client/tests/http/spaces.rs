//! Spaces and summaries over HTTP.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use client::Elsewhere;
use room::{
    RemoteError,
    read::{
        directory::{DirectoryPage, DirectoryQuery},
        space::SpaceAnswer,
    },
};
use ruma::{RoomId, ServerName, UserId};
use serde_json::{Map, Value, json};

use crate::town::{Person, Town};

/// A server `hs3` with any number of open rooms, and `hung`, which never answers.
struct Others;

#[async_trait]
impl Elsewhere for Others {
    async fn profile(
        &self,
        _: &ServerName,
        _: &UserId,
        _: Option<&str>,
    ) -> Result<Map<String, Value>, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn public_rooms(
        &self,
        _: &ServerName,
        _: &ServerName,
        _: &DirectoryQuery,
    ) -> Result<DirectoryPage, RemoteError> {
        Err(RemoteError::Off)
    }

    async fn space(
        &self,
        _: &ServerName,
        server: &ServerName,
        room_id: &RoomId,
        _: bool,
    ) -> Result<SpaceAnswer, RemoteError> {
        if server == "hung" {
            std::future::pending::<()>().await;
        }
        let answer =
            json!({ "room": { "room_id": room_id, "num_joined_members": 1, "join_rule": "public" } });
        Ok(serde_json::from_value(answer).unwrap())
    }
}

async fn child(person: &Person<'_>, space: &str, room: &str, content: Value) {
    person.put(&format!("/rooms/{space}/state/m.space.child/{room}"), content).await.ok();
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_space_is_walked_depth_first_and_page_by_page() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = json!({ "preset": "public_chat", "creation_content": { "type": "m.space" } });
    let root = hanako.create_room(space.clone()).await;
    let below = hanako.create_room(space).await;
    let open = hanako.create_room(json!({ "preset": "public_chat", "name": "open" })).await;
    let closed = hanako.create_room(json!({ "preset": "private_chat" })).await;
    let via = json!({ "via": ["hs1"] });
    child(&hanako, &root, &below, json!({ "via": ["hs1"], "order": "a" })).await;
    child(&hanako, &root, &closed, json!({ "via": ["hs1"], "order": "b", "suggested": true })).await;
    child(&hanako, &root, "!gone:hs3", via.clone()).await;
    child(&hanako, &below, &open, via.clone()).await;
    child(&hanako, &below, &root, via).await;
    let path = format!("/_matrix/client/v1/rooms/{root}/hierarchy");

    let all = hanako.get(&path).await.ok();
    assert_eq!(ids(&all), [&root, &below, &open, &closed]);
    assert_eq!(all["rooms"][0]["children_state"].as_array().unwrap().len(), 3);
    assert_eq!(all["rooms"][2]["name"], "open");
    assert!(all.get("next_batch").is_none());
    assert_eq!(ids(&taro.get(&path).await.ok()), [&root, &below, &open]);
    assert_eq!(ids(&hanako.get(&format!("{path}?max_depth=1")).await.ok()), [&root, &below, &closed]);
    assert_eq!(ids(&hanako.get(&format!("{path}?suggested_only=true")).await.ok()), [&root, &closed]);
    let first = hanako.get(&format!("{path}?limit=3")).await.ok();
    let next = first["next_batch"].as_str().unwrap();
    assert_eq!(ids(&hanako.get(&format!("{path}?limit=3&from={next}")).await.ok()), [&closed]);
    let closed = format!("/_matrix/client/v1/rooms/{closed}/hierarchy");
    taro.get(&closed).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_summary_is_for_those_who_may_join() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = hanako.create_room(json!({ "preset": "public_chat" })).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": space }]);
    let rules = json!({ "join_rule": "restricted", "allow": allow });
    let restricted = hanako
        .create_room(json!({ "initial_state": [{ "type": "m.room.join_rules", "content": rules }] }))
        .await;
    let path = format!("/_matrix/client/v1/room_summary/{restricted}");

    let shown = hanako.get(&path).await.ok();
    assert_eq!(shown["allowed_room_ids"], json!([space]));
    assert_eq!((&shown["membership"], &shown["num_joined_members"]), (&json!("join"), &json!(1)));
    taro.get(&path).await.fails(404, "M_NOT_FOUND");
    taro.post(&format!("/join/{space}"), json!({})).await.ok();
    assert_eq!(taro.get(&path).await.ok()["membership"], "leave");
    let open = format!("/_matrix/client/v1/room_summary/{space}");
    let shown = town.ask("GET", &open, Value::Null).await.ok();
    assert!(shown.get("allowed_room_ids").is_none() && shown.get("membership").is_none());
    let old = format!("/_matrix/client/unstable/im.nheko.summary/rooms/{space}/summary");
    assert_eq!(taro.get(&old).await.ok()["room_id"], space);
    let mutual = format!("/_matrix/client/v1/mutual_rooms?user_id={}", hanako.id);
    assert_eq!(taro.get(&mutual).await.ok()["joined"], json!([space]));
}

/// All pages of a hierarchy; none of the rooms may come twice.
async fn walk(person: &Person<'_>, space: &str, limit: usize) -> (BTreeSet<String>, usize) {
    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy?limit={limit}");
    let (mut seen, mut pages, mut from) = (BTreeSet::new(), 0, String::new());
    loop {
        let page = person.get(&format!("{path}{from}")).await.ok();
        pages += 1;
        assert!(pages < 100, "a walk has an end");
        for room in ids(&page) {
            assert!(seen.insert(room.to_owned()), "{room} came twice");
        }
        match page["next_batch"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => return (seen, pages),
        }
    }
}

async fn space_of(person: &Person<'_>, rooms: usize, via: impl Fn(usize) -> Value) -> String {
    let children: Vec<Value> = (0..rooms)
        .map(|number| {
            json!({ "type": "m.space.child", "state_key": format!("!r{number:03}:hs3"), "content": { "via": via(number) } })
        })
        .collect();
    let wishes = json!({ "creation_content": { "type": "m.space" }, "initial_state": children });
    person.create_room(wishes).await
}

#[tokio::test]
async fn a_space_of_many_rooms_elsewhere_is_walked_to_its_end() {
    let town = Town::beside(Arc::new(Others)).await;
    let hanako = town.user("hanako").await;
    let space = space_of(&hanako, 120, |_| json!(["hs3"])).await;

    for limit in [7, 50, 100] {
        let (seen, pages) = walk(&hanako, &space, limit).await;
        assert_eq!(seen.len(), 121, "{limit}");
        assert!(pages >= 121 / limit);
    }
    // A page that is asked for twice is the same page, and a lost walk begins anew where it was.
    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy?limit=10");
    let next = hanako.get(&path).await.ok()["next_batch"].as_str().unwrap().to_owned();
    let page = hanako.get(&format!("{path}&from={next}")).await.ok();
    assert_eq!(ids(&hanako.get(&format!("{path}&from={next}")).await.ok()), ids(&page));
    assert_eq!(ids(&hanako.get(&format!("{path}&from=h2_10_999999")).await.ok()), ids(&page));
    hanako.get(&format!("{path}&from=nonsense")).await.fails(400, "M_INVALID_PARAM");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_hides_only_its_own_rooms() {
    let town = Town::beside(Arc::new(Others)).await;
    let hanako = town.user("hanako").await;
    let via = |number: usize| if number.is_multiple_of(5) { json!(["hung"]) } else { json!(["hung", "hs3"]) };
    let space = space_of(&hanako, 60, via).await;
    let (seen, _) = walk(&hanako, &space, 100).await;
    assert_eq!(seen.len(), 1 + 60 - 12);
}

#[tokio::test]
async fn an_odd_entry_hides_neither_a_child_nor_a_restricted_room() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let space = hanako
        .create_room(json!({ "preset": "public_chat", "creation_content": { "type": "m.space" } }))
        .await;
    let allow = json!([5, { "type": "m.room_membership", "room_id": space }, { "type": [] }, null]);
    let rules = json!({ "join_rule": "restricted", "allow": allow });
    let restricted = hanako
        .create_room(json!({ "initial_state": [{ "type": "m.room.join_rules", "content": rules }] }))
        .await;
    child(&hanako, &space, &restricted, json!({ "via": ["hs1", 7], "suggested": null, "order": 3 })).await;
    taro.post(&format!("/join/{space}"), json!({})).await.ok();

    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy");
    assert_eq!(ids(&taro.get(&path).await.ok()), [&space, &restricted]);
    taro.post(&format!("/join/{restricted}"), json!({})).await.ok();
}

/// What is known of a room whose members of ours all left is what it was then.
#[tokio::test]
async fn a_room_that_all_of_us_left_has_no_summary() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "preset": "public_chat", "name": "old" })).await;
    let path = format!("/_matrix/client/v1/room_summary/{room}");
    assert_eq!(hanako.get(&path).await.ok()["name"], "old");
    hanako.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
    hanako.get(&path).await.fails(404, "M_NOT_FOUND");
    town.ask("GET", &path, Value::Null).await.fails(404, "M_NOT_FOUND");
}
