//! Windows over lists of rooms.

use std::collections::BTreeSet;

use pdu::Draft;
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use super::{all_rooms, glass, of, told, window};
use crate::{
    Error,
    tests::town::{Town, said, town, user},
};

async fn rooms(town: &Town, count: usize) -> Vec<OwnedRoomId> {
    let mut rooms = Vec::new();
    for _ in 0..count {
        rooms.push(town.room("hanako").await);
    }
    rooms
}

#[tokio::test]
async fn a_window_shows_the_most_recent_rooms_and_grows_until_all_are_told_once() {
    let town = town().await;
    let rooms = rooms(&town, 12).await;
    town.say("hanako", &rooms[0], "新").await;
    let mut hanako = glass("hanako", window(0, 3));
    let answer = hanako.look(&town).await;
    assert_eq!(answer["lists"]["all"]["count"], 12);
    let first: BTreeSet<String> = told(&answer).into_iter().collect();
    let wanted: BTreeSet<String> =
        [&rooms[0], &rooms[11], &rooms[10], &rooms[9]].iter().map(|room| room.to_string()).collect();
    assert_eq!(first, wanted);
    assert_eq!(of(&answer, &rooms[0])["initial"], true);
    assert_eq!(said(&of(&answer, &rooms[0])["timeline"]), ["新"]);

    hanako.body = window(0, 7);
    assert_eq!(told(&hanako.look(&town).await).len(), 4);
    hanako.body = window(0, 99);
    assert_eq!(told(&hanako.look(&town).await).len(), 4);
    assert_eq!(hanako.rooms.len(), 12);
    assert!(told(&hanako.look(&town).await).is_empty());
}

#[tokio::test]
async fn what_happens_in_a_room_that_is_not_shown_is_told_when_it_is() {
    let town = town().await;
    let rooms = rooms(&town, 4).await;
    let mut hanako = glass("hanako", window(0, 9));
    hanako.look(&town).await;
    let required = window(0, 9)["lists"]["all"]["required_state"].clone();
    let subscribed = json!({ "room_subscriptions": {
        rooms[3].as_str(): { "timeline_limit": 10, "required_state": required },
    } });
    hanako.body = subscribed;
    hanako.look(&town).await;
    let name = town.set("hanako", &rooms[0], "m.room.name", json!({ "name": "改" })).await;
    for body in ["一", "二"] {
        town.say("hanako", &rooms[0], body).await;
    }
    for _ in 0..3 {
        assert!(told(&hanako.look(&town).await).is_empty(), "not shown");
    }
    town.say("hanako", &rooms[3], "見").await;
    assert_eq!(told(&hanako.look(&town).await), [rooms[3].as_str()]);

    hanako.body = window(0, 9);
    let answer = hanako.look(&town).await;
    let room = of(&answer, &rooms[0]);
    assert_eq!((room["limited"].as_bool(), said(&room["timeline"])), (Some(true), vec!["二".to_owned()]));
    assert_eq!(room["required_state"][0]["event_id"], name.as_str());
    assert_eq!((room["name"].as_str(), &room["initial"]), (Some("改"), &Value::Null));
    assert_eq!(told(&answer), [rooms[0].as_str()], "and no other");
    assert!(told(&hanako.look(&town).await).is_empty());
}

#[tokio::test]
async fn a_room_that_moves_up_into_a_window_is_told_and_the_one_that_moves_out_is_not_lost() {
    let town = town().await;
    let rooms = rooms(&town, 3).await;
    let mut hanako = glass("hanako", window(0, 1));
    hanako.look(&town).await;
    town.say("hanako", &rooms[0], "上").await;
    assert_eq!(told(&hanako.look(&town).await), [rooms[0].as_str()]);
    // It is out now, and what it says first moves it in again.
    town.say("hanako", &rooms[1], "再").await;
    let answer = hanako.look(&town).await;
    assert_eq!(told(&answer), [rooms[1].as_str()]);
    assert_eq!(of(&answer, &rooms[1])["initial"], Value::Null, "it was told before");
    assert_eq!(said(&of(&answer, &rooms[1])["timeline"]), ["再"]);
}

#[tokio::test]
async fn whatever_happens_in_a_room_moves_it_up_into_a_window_and_its_bump_stamp_is_of_what_was_said() {
    let town = town().await;
    let rooms = rooms(&town, 4).await;
    town.say("hanako", &rooms[0], "古").await;
    for room in &rooms[1..] {
        town.say("hanako", room, "新").await;
    }
    let mut hanako = glass("hanako", window(0, 1));
    hanako.look(&town).await;
    assert_eq!(
        hanako.rooms.keys().collect::<BTreeSet<_>>(),
        [&rooms[2], &rooms[3]].map(|room| room.to_string()).iter().collect()
    );
    let beside = |mut body: Value| {
        body["conn_id"] = json!("beside");
        glass("hanako", body)
    };
    let all = beside(all_rooms(1, json!([]))).look(&town).await;
    let bump = of(&all, &rooms[0])["bump_stamp"].clone();

    town.set("hanako", &rooms[0], "m.room.topic", json!({ "topic": "題" })).await;
    let answer = hanako.look(&town).await;
    assert_eq!(told(&answer), [rooms[0].as_str()]);
    assert_eq!(of(&answer, &rooms[0])["bump_stamp"], bump);
    assert_eq!(told(&beside(window(0, 0)).look(&town).await), [rooms[0].as_str()], "and a new list");

    let reaction = Draft::message(&user("hanako"), "m.reaction".into(), &json!({})).unwrap();
    town.engine.send(&rooms[1], reaction, None).await.unwrap();
    assert_eq!(told(&hanako.look(&town).await), [rooms[1].as_str()]);
    town.join("taro", &rooms[2]).await;
    assert_eq!(told(&hanako.look(&town).await), [rooms[2].as_str()]);
    assert!(told(&hanako.look(&town).await).is_empty());
}

#[tokio::test]
async fn a_list_of_the_rooms_of_spaces_has_those_that_they_name_and_follows_them() {
    let town = town().await;
    let rooms = rooms(&town, 6).await;
    let [space, other, foreign] = [&rooms[0], &rooms[1], &town.room("taro").await];
    let via = || json!({ "via": ["kanazawa.test"] });
    let child = |room: &OwnedRoomId| ("m.space.child", room.to_string());
    let name = async |who: &str, space: &OwnedRoomId, room: &OwnedRoomId, content: Value| {
        let (kind, key) = child(room);
        town.set_of(who, space, kind, &key, content).await;
    };
    name("hanako", space, &rooms[2], via()).await;
    name("hanako", space, &rooms[3], json!({})).await;
    name("hanako", space, other, via()).await;
    name("hanako", other, &rooms[4], via()).await;
    name("taro", foreign, &rooms[5], via()).await;
    let listed = |spaces: Value| {
        let list = json!({ "timeline_limit": 1, "required_state": [], "filters": { "spaces": spaces } });
        json!({ "lists": { "all": list } })
    };
    let mut hanako = glass("hanako", listed(json!([space])));
    let answer = hanako.look(&town).await;
    let wanted: BTreeSet<String> = [&rooms[2], other].iter().map(|room| room.to_string()).collect();
    assert_eq!(told(&answer).into_iter().collect::<BTreeSet<_>>(), wanted, "not those of spaces in it");
    assert_eq!(answer["lists"]["all"]["count"], 2);
    // A room that the space names now is told, though nothing happened in it; and one of the foreign space is not.
    name("hanako", space, &rooms[5], via()).await;
    let answer = hanako.look(&town).await;
    assert_eq!((told(&answer), &answer["lists"]["all"]["count"]), (vec![rooms[5].to_string()], &json!(3)));
    name("hanako", space, other, json!({})).await;
    let answer = hanako.look(&town).await;
    assert_eq!((told(&answer).len(), &answer["lists"]["all"]["count"]), (0, &json!(2)));
    town.say("hanako", other, "外").await;
    assert!(told(&hanako.look(&town).await).is_empty());

    let both = glass("hanako", listed(json!([space, other, "!unknown:x", foreign]))).look(&town).await;
    assert_eq!(both["lists"]["all"]["count"], 3);
    assert_eq!(glass("hanako", listed(json!([]))).look(&town).await["lists"]["all"]["count"], 0);
    assert_eq!(glass("hanako", listed(json!([foreign]))).look(&town).await["lists"]["all"]["count"], 0);
}

#[tokio::test]
async fn filters_choose_by_what_rooms_are() {
    let town = town().await;
    let rooms = rooms(&town, 3).await;
    town.set("hanako", &rooms[0], "m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })).await;
    let direct = json!({ "@taro:kanazawa.test": [rooms[1]], "broken": 5 });
    town.accounts.set_account_data(&user("hanako"), "m.direct", direct.to_string().into()).await.unwrap();
    town.invite("taro", &town.room("taro").await, "hanako").await;
    let counts = |filters: Value| {
        let town = &town;
        async move {
            let list = json!({ "timeline_limit": 1, "filters": filters });
            let answer = glass("hanako", json!({ "lists": { "all": list } })).look(town).await;
            answer["lists"]["all"]["count"].as_u64().unwrap()
        }
    };
    assert_eq!(counts(json!({})).await, 4);
    assert_eq!(counts(json!({ "is_encrypted": true })).await, 1);
    assert_eq!(counts(json!({ "is_encrypted": false })).await, 3);
    assert_eq!(counts(json!({ "is_dm": true })).await, 1);
    assert_eq!(counts(json!({ "is_invite": true })).await, 1);
    assert_eq!(counts(json!({ "is_invited": false })).await, 3);
    assert_eq!(counts(json!({ "not_room_types": ["m.space"] })).await, 4);
    assert_eq!(counts(json!({ "room_types": ["m.space"] })).await, 0);
    assert_eq!(counts(json!({ "room_types": [null] })).await, 4);
}

#[tokio::test]
async fn a_room_becomes_direct_without_anything_being_said_in_it() {
    let town = town().await;
    let rooms = rooms(&town, 2).await;
    let mut hanako = glass("hanako", all_rooms(1, json!([])));
    assert_eq!(of(&hanako.look(&town).await, &rooms[0])["is_dm"], Value::Null);
    let direct = json!({ "@taro:kanazawa.test": [rooms[0]] });
    town.accounts.set_account_data(&user("hanako"), "m.direct", direct.to_string().into()).await.unwrap();
    let answer = hanako.look(&town).await;
    assert_eq!((told(&answer), &of(&answer, &rooms[0])["is_dm"]), (vec![rooms[0].to_string()], &json!(true)));
    assert!(told(&hanako.look(&town).await).is_empty());
    town.accounts.set_account_data(&user("hanako"), "m.direct", "{}".into()).await.unwrap();
    assert_eq!(of(&hanako.look(&town).await, &rooms[0])["is_dm"], false);
}

#[tokio::test]
async fn an_answer_is_of_bounded_size_and_the_next_one_goes_on() {
    let town = town().await;
    let rooms = rooms(&town, 60).await;
    let long = "石".repeat(18_000);
    for room in &rooms {
        town.say("hanako", room, &long).await;
    }
    let mut hanako = glass("hanako", all_rooms(1, json!([])));
    let answer = hanako.look(&town).await;
    assert!(told(&answer).len() < 60 && answer.to_string().len() < 8 << 20, "{}", told(&answer).len());
    assert!(told(&answer).contains(&rooms[59].to_string()), "the most recent ones first");
    hanako.look_at_all(&town).await;
    assert_eq!(hanako.rooms.len(), 60);
    // Nor is anything lost of rooms that it knows.
    for room in &rooms {
        town.say("hanako", room, &long).await;
    }
    assert!(told(&hanako.look(&town).await).len() < 60);
    hanako.look_at_all(&town).await;
    assert!(hanako.rooms.values().all(|kept| kept.timeline.len() == 2), "each has what is new");
}

#[tokio::test]
async fn a_request_is_bounded_and_says_what_it_lacks() {
    let town = town().await;
    let missing = json!({ "room_subscriptions": { "!a:b": { "required_state": [] } } });
    let error = serde_json::from_value::<crate::SlidingBody>(missing).unwrap_err().to_string();
    assert!(error.contains("timeline_limit"), "{error}");
    let list = || json!({ "timeline_limit": 1 });
    let lists: serde_json::Map<String, Value> = (0..101).map(|n| (n.to_string(), list())).collect();
    let pairs: Vec<[&str; 2]> = vec![["a", "b"]; 201];
    let named = |count: usize| -> serde_json::Map<String, Value> {
        (0..count).map(|n| (format!("!{n}:b"), list())).collect()
    };
    let most = glass("hanako", json!({ "room_subscriptions": named(100) })).ask(&town).await;
    assert!(most.is_ok());
    for body in [
        json!({ "lists": lists }),
        json!({ "lists": { "a": { "timeline_limit": 1, "required_state": pairs } } }),
        json!({ "lists": { "a": { "timeline_limit": 1, "ranges": [[5, 1]] } } }),
        json!({ "lists": { "a": { "timeline_limit": 1, "required_state": [["x".repeat(256), ""]] } } }),
        json!({ "lists": { "a": { "timeline_limit": 1, "filters": { "tags": vec!["u"; 201] } } } }),
        json!({ "lists": { "a": { "timeline_limit": 1, "filters": { "spaces": vec!["!a:b"; 201] } } } }),
        json!({ "room_subscriptions": named(101) }),
        json!({ "conn_id": "x".repeat(500) }),
        json!({ "extensions": { "to_device": { "enabled": true, "since": "x" } } }),
    ] {
        let refused = glass("hanako", body.clone()).ask(&town).await;
        assert!(matches!(refused, Err(Error::BadRequest(_))), "{body}");
    }
    let huge = json!({ "lists": { "a": { "timeline_limit": u64::MAX, "ranges": [[0, u64::MAX], [u64::MAX, u64::MAX]] } } });
    town.room("hanako").await;
    assert_eq!(told(&glass("hanako", huge).look(&town).await).len(), 1);
    let unknown = json!({ "room_subscriptions": { "!nowhere:kanazawa.test": { "timeline_limit": 5 } } });
    assert!(told(&glass("hanako", unknown).look(&town).await).is_empty());
}
