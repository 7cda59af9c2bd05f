//! Making rooms over HTTP: how much at once, and what may be said of the new room.

use serde_json::{Value, json};

use crate::town::Town;

fn rules(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({ "type": "org.x", "state_key": number.to_string(), "content": {} }))
        .collect()
}

#[tokio::test]
async fn a_room_may_begin_with_8000_state_events() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({ "initial_state": rules(8_000) })).await;
    hanako.get(&format!("/rooms/{room}/state/org.x/0")).await.ok();
    hanako.get(&format!("/rooms/{room}/state/org.x/7999")).await.ok();
    hanako.say(&room, "1", "hello").await;
}

#[tokio::test]
async fn lists_of_a_new_room_are_bounded() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let refused = hanako.post("/createRoom", json!({ "initial_state": rules(10_001) })).await;
    let error = refused.fails(400, "M_INVALID_PARAM");
    assert!(error["error"].as_str().unwrap().contains("initial_state"), "{error}");
    let users: Vec<String> = (0..1_001).map(|number| format!("@u{number}:hs1")).collect();
    hanako.post("/createRoom", json!({ "invite": users })).await.fails(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn a_new_room_calls_only_its_own_alias_its_own() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    hanako.create_room(json!({ "room_alias_name": "other" })).await;
    let wish = |content: Value| {
        json!({ "room_alias_name": "mine",
            "initial_state": [{ "type": "m.room.canonical_alias", "content": content }] })
    };
    for content in [
        json!({ "alias": "#other:hs1" }),
        json!({ "alias": "#nowhere:hs1" }),
        json!({ "alias": "#mine:hs1", "alt_aliases": ["#x:hs3"] }),
    ] {
        hanako.post("/createRoom", wish(content)).await.fails(400, "M_BAD_ALIAS");
    }
    hanako.post("/createRoom", wish(json!({ "alias": "mine" }))).await.fails(400, "M_INVALID_PARAM");
    hanako.post("/createRoom", wish(json!({ "alias": 5 }))).await.fails(400, "M_BAD_JSON");
    let room = hanako.create_room(wish(json!({ "alt_aliases": ["#mine:hs1"] }))).await;
    let set = hanako.get(&format!("/rooms/{room}/state/m.room.canonical_alias")).await.ok();
    assert_eq!(set, json!({ "alt_aliases": ["#mine:hs1"] }));
}
