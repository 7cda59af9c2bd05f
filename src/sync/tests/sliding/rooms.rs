//! What rooms tell.

use account::Actor;
use room::read::{messages::PageQuery, timeline::Direction, token::Token, view::Viewer};
use serde_json::{Value, json};

use super::{all_rooms, glass, of, told};
use crate::{
    Error,
    tests::town::{members, said, town, user},
};

fn lazy() -> Value {
    json!([["m.room.member", "$LAZY"], ["m.room.member", "$ME"]])
}

fn subscription(room: &ruma::RoomId, limit: u64, required: Value) -> Value {
    json!({ "room_subscriptions": { room.as_str(): { "timeline_limit": limit, "required_state": required } } })
}

#[tokio::test]
async fn a_room_is_told_whole_once_and_then_what_is_new() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    town.say("hanako", &room, "一").await;
    let mut taro = glass("taro", all_rooms(2, json!([["m.room.create", ""], ["m.room.name", ""]])));
    let answer = taro.look(&town).await;
    let first = of(&answer, &room);
    assert_eq!(
        (&first["initial"], &first["limited"], &first["num_live"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert_eq!(said(&first["timeline"]), ["m.room.member", "一"]);
    assert_eq!((first["joined_count"].as_u64(), first["invited_count"].as_u64()), (Some(2), Some(0)));
    assert_eq!(said(&first["required_state"]).len(), 2);
    let bump = first["bump_stamp"].as_u64().unwrap();

    town.say("hanako", &room, "二").await;
    let answer = taro.look(&town).await;
    let next = of(&answer, &room);
    assert_eq!(
        (&next["initial"], &next["limited"], &next["num_live"]),
        (&Value::Null, &Value::Null, &json!(1))
    );
    assert_eq!(said(&next["timeline"]), ["二"]);
    assert!(next["required_state"].is_null() && next["joined_count"].is_null());
    assert!(next["bump_stamp"].as_u64().unwrap() > bump);
    assert_eq!(next["notification_count"], 2, "absent would be none: {next}");
    assert!(told(&taro.look(&town).await).is_empty());
}

#[tokio::test]
async fn more_state_that_is_asked_for_comes_at_once() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut hanako = glass("hanako", all_rooms(1, json!([["m.room.name", ""]])));
    hanako.look(&town).await;
    hanako.body = all_rooms(1, json!([["m.room.name", ""], ["m.room.create", ""]]));
    let answer = hanako.look(&town).await;
    assert_eq!(said(&of(&answer, &room)["required_state"]), ["m.room.create"], "{answer}");
    assert!(of(&answer, &room)["timeline"].is_null() && of(&answer, &room)["initial"].is_null());
    // Who wanted less meanwhile may have missed what he wants again.
    hanako.body = all_rooms(1, json!([["m.room.create", ""]]));
    assert!(told(&hanako.look(&town).await).is_empty());
    town.set("hanako", &room, "m.room.name", json!({ "name": "改" })).await;
    hanako.look(&town).await;
    hanako.body = all_rooms(1, json!([["m.room.name", ""], ["m.room.create", ""]]));
    let answer = hanako.look(&town).await;
    assert_eq!(of(&answer, &room)["required_state"][0]["content"]["name"], "改");
    hanako.body = all_rooms(1, json!([["*", "*"]]));
    let answer = hanako.look(&town).await;
    assert!(members(&of(&answer, &room)["required_state"]).contains(&"hanako".to_owned()), "{answer}");
    assert!(told(&hanako.look(&town).await).is_empty());
}

#[tokio::test]
async fn more_of_the_timeline_that_is_asked_for_comes_at_once_and_not_again() {
    let town = town().await;
    let room = town.room("hanako").await;
    for body in ["一", "二", "三"] {
        town.say("hanako", &room, body).await;
    }
    let mut hanako = glass("hanako", all_rooms(1, json!([])));
    hanako.look(&town).await;
    let opened = subscription(&room, 3, json!([]));
    hanako.body["room_subscriptions"] = opened["room_subscriptions"].clone();
    let answer = hanako.look(&town).await;
    let part = of(&answer, &room);
    assert_eq!(said(&part["timeline"]), ["一", "二", "三"]);
    assert_eq!((&part["unstable_expanded_timeline"], &part["num_live"]), (&json!(true), &json!(0)));
    assert!(told(&hanako.look(&town).await).is_empty());
    hanako.body = all_rooms(1, json!([]));
    hanako.look(&town).await;
    hanako.body["room_subscriptions"] = opened["room_subscriptions"].clone();
    assert!(told(&hanako.look(&town).await).is_empty(), "it has them");
    // A hole leaves it with less.
    hanako.body = all_rooms(1, json!([]));
    for body in ["四", "五"] {
        town.say("hanako", &room, body).await;
    }
    assert_eq!(said(&of(&hanako.look(&town).await, &room)["timeline"]), ["五"]);
    hanako.body["room_subscriptions"] = opened["room_subscriptions"].clone();
    assert_eq!(said(&of(&hanako.look(&town).await, &room)["timeline"]), ["三", "四", "五"]);
}

#[tokio::test]
async fn members_who_change_are_told_though_they_say_nothing() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    town.say("hanako", &room, "一").await;
    let mut hanako = glass("hanako", all_rooms(1, lazy()));
    let answer = hanako.look(&town).await;
    assert_eq!(members(&of(&answer, &room)["required_state"]), ["hanako"]);
    town.engine.kick(&user("hanako"), &room, &user("taro"), None).await.unwrap();
    let answer = hanako.look(&town).await;
    let told = &of(&answer, &room)["required_state"];
    assert_eq!(members(told), ["taro"], "{answer}");
    assert_eq!(told[0]["content"]["membership"], "leave");
    assert_eq!(of(&answer, &room)["joined_count"], 1);
    town.say("hanako", &room, "二").await;
    assert!(of(&hanako.look(&town).await, &room)["required_state"].is_null(), "she was told before");
}

#[tokio::test]
async fn who_speaks_is_told_once_and_again_if_that_answer_was_lost() {
    let town = town().await;
    let room = town.room("hanako").await;
    for name in ["taro", "jiro"] {
        town.join(name, &room).await;
    }
    let mut hanako = glass("hanako", all_rooms(5, lazy()));
    hanako.look(&town).await;
    town.say("taro", &room, "一").await;
    let lost = hanako.ask(&town).await.unwrap();
    assert!(of(&lost, &room)["required_state"].is_null(), "he joined a moment ago: {lost}");

    let mut late = glass("hanako", all_rooms(1, lazy()));
    late.device = "DESK".into();
    late.look(&town).await;
    town.say("jiro", &room, "二").await;
    for _ in 0..2 {
        let answer = late.ask(&town).await.unwrap();
        assert_eq!(members(&of(&answer, &room)["required_state"]), ["jiro"]);
    }
    late.look(&town).await;
    town.say("jiro", &room, "三").await;
    assert!(of(&late.look(&town).await, &room)["required_state"].is_null());
}

#[tokio::test]
async fn heroes_are_those_of_rooms_without_a_name_and_the_rooms_own_avatar_is_told() {
    let town = town().await;
    let named = town.room("hanako").await;
    town.set("hanako", &named, "m.room.avatar", json!({ "url": "mxc://kanazawa.test/room" })).await;
    town.clock.advance(std::time::Duration::from_millis(1));
    let nameless = town
        .engine
        .create(
            &user("hanako"),
            engine::CreateRoom { preset: engine::Preset::PublicChat, ..Default::default() },
        )
        .await
        .unwrap();
    for name in ["taro", "jiro"] {
        town.join(name, &named).await;
        town.join(name, &nameless).await;
    }
    // C29: nor has a space with a name any, and a room's own picture is not that of a member.
    town.clock.advance(std::time::Duration::from_millis(1));
    let create = |preset, name: Option<&str>, kind: Option<&str>| engine::CreateRoom {
        preset,
        name: name.map(str::to_owned),
        creation_content: kind
            .map(|kind| json!({ "type": kind }).as_object().unwrap().clone())
            .unwrap_or_default(),
        ..Default::default()
    };
    let wishes = create(engine::Preset::PublicChat, Some("県庁"), Some("m.space"));
    let space = town.engine.create(&user("hanako"), wishes).await.unwrap();
    town.clock.advance(std::time::Duration::from_millis(1));
    let wishes = create(engine::Preset::PublicChat, None, None);
    let pictured = town.engine.create(&user("hanako"), wishes).await.unwrap();
    town.set("hanako", &pictured, "m.room.avatar", json!({ "url": "mxc://kanazawa.test/own" })).await;
    for name in ["taro", "jiro"] {
        town.join(name, &space).await;
        town.join(name, &pictured).await;
        let content = json!({ "membership": "join", "avatar_url": "mxc://kanazawa.test/face" });
        town.set_of(name, &pictured, "m.room.member", user(name).as_str(), content).await;
    }
    let mut hanako = glass("hanako", all_rooms(1, json!([])));
    let answer = hanako.look(&town).await;
    assert_eq!(of(&answer, &space)["name"], "県庁");
    assert!(of(&answer, &space)["heroes"].is_null(), "{}", of(&answer, &space));
    assert_eq!(of(&answer, &pictured)["avatar"], "mxc://kanazawa.test/own");
    assert_eq!(of(&answer, &pictured)["heroes"].as_array().unwrap().len(), 2);
    assert!(of(&answer, &named)["heroes"].is_null());
    assert_eq!(of(&answer, &named)["avatar"], "mxc://kanazawa.test/room");
    assert_eq!(of(&answer, &named)["name"], "石川県 災害連絡");
    assert!(of(&answer, &nameless)["name"].is_null() && of(&answer, &nameless)["avatar"].is_null());
    let heroes = of(&answer, &nameless)["heroes"].as_array().unwrap();
    assert_eq!(heroes.len(), 2);
    assert!(heroes.iter().all(|hero| hero["user_id"] != user("hanako").as_str()));

    town.set("hanako", &named, "m.room.name", json!({})).await;
    let answer = hanako.look(&town).await;
    assert!(of(&answer, &named).get("name").is_some_and(Value::is_null), "taken away: {answer}");
    assert_eq!(of(&answer, &named)["heroes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn broken_metadata_of_one_room_costs_the_others_nothing() {
    let town = town().await;
    let (broken, whole) = (town.room("hanako").await, town.room("hanako").await);
    for (kind, content) in
        [("m.room.name", json!({ "name": { "a": 1 } })), ("m.room.avatar", json!({ "url": 5 }))]
    {
        town.set("hanako", &broken, kind, content).await;
    }
    town.accounts
        .set_account_data(&user("hanako"), "m.direct", r#"{"@a:b":5,"c":[7]}"#.into())
        .await
        .unwrap();
    let answer = glass("hanako", all_rooms(1, json!([["*", "*"]]))).look(&town).await;
    assert_eq!(told(&answer).len(), 2);
    assert_eq!(of(&answer, &whole)["name"], "石川県 災害連絡");
    assert!(of(&answer, &broken)["name"].is_null() && of(&answer, &broken)["avatar"].is_null());
}

#[tokio::test]
async fn after_a_long_sleep_there_is_a_hole_and_the_way_back_through_it() {
    let town = town().await;
    let room = town.room("hanako").await;
    let known = town.say("hanako", &room, "前").await;
    let mut hanako = glass("hanako", all_rooms(20, json!([])));
    hanako.look(&town).await;
    for number in 0..60 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    let answer = hanako.look(&town).await;
    let part = of(&answer, &room);
    let wanted: Vec<String> = (40..60).map(|number| number.to_string()).collect();
    assert_eq!((said(&part["timeline"]), &part["limited"]), (wanted, &json!(true)));
    assert_eq!(part["num_live"], 20);

    let viewer = user("hanako");
    let from: Token = part["prev_batch"].as_str().unwrap().parse().unwrap();
    let query = PageQuery {
        from: Some(from),
        to: None,
        direction: Direction::Backward,
        limit: 41,
        filter: Default::default(),
    };
    let page = town.engine.messages(&Viewer::user(&viewer), &room, &query).await.unwrap();
    assert_eq!(page.chunk.len(), 41);
    assert_eq!(page.chunk.last().unwrap().event.event_id(), known);
}

#[tokio::test]
async fn the_same_place_is_answered_twice_and_an_older_one_not_any_more() {
    let town = town().await;
    let (one, two) = (town.room("hanako").await, town.room("hanako").await);
    let mut hanako = glass("hanako", all_rooms(1, json!([])));
    hanako.look(&town).await;
    let older = hanako.clone();
    town.say("hanako", &one, "一").await;
    hanako.look(&town).await;
    town.say("hanako", &two, "二").await;

    let lost = hanako.ask(&town).await.unwrap();
    assert_eq!(told(&lost), [two.as_str()]);
    let mut changed = hanako.clone();
    changed.body = subscription(&one, 5, json!([["m.room.create", ""]]));
    let answer = changed.look(&town).await;
    assert_eq!(told(&answer), [one.as_str()], "two is not shown any more");
    assert_eq!(said(&of(&answer, &one)["required_state"]), ["m.room.create"]);
    changed.body = all_rooms(1, json!([]));
    let answer = changed.look(&town).await;
    assert_eq!(
        (told(&answer), said(&of(&answer, &two)["timeline"])),
        (vec![two.to_string()], vec!["二".to_owned()])
    );

    assert!(matches!(older.ask(&town).await, Err(Error::UnknownPos)));
    assert!(matches!(hanako.ask(&town).await, Err(Error::UnknownPos)));
    hanako.pos = None;
    assert_eq!(told(&hanako.look(&town).await).len(), 2, "it begins anew");
}

#[tokio::test]
async fn a_place_of_the_future_or_of_somebody_else_is_unknown() {
    let town = town().await;
    town.room("hanako").await;
    let mut hanako = glass("hanako", all_rooms(1, json!([])));
    hanako.look(&town).await;
    let mut taro = glass("taro", all_rooms(1, json!([])));
    taro.pos.clone_from(&hanako.pos);
    assert!(matches!(taro.ask(&town).await, Err(Error::UnknownPos)));
    let mut keys =
        glass("hanako", json!({ "conn_id": "keys", "extensions": { "e2ee": { "enabled": true } } }));
    keys.look(&town).await;
    let pos = keys.pos.clone().unwrap();
    let (number, rest) = pos.strip_prefix("p1_").unwrap().split_once('_').unwrap();
    let ahead = number.parse::<u64>().unwrap() + 1_000;
    keys.pos = Some(format!("p1_{ahead}_{rest}"));
    assert!(matches!(keys.ask(&town).await, Err(Error::UnknownPos)));
}

#[tokio::test]
async fn a_room_that_was_purged_and_joined_again_is_told_anew_and_has_a_place_in_the_order() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut taro = glass("taro", all_rooms(1, json!([["m.room.member", "$ME"]])));
    let first = of(&taro.look(&town).await, &room)["bump_stamp"].as_u64().unwrap();
    town.leave("taro", &room).await;
    taro.look(&town).await;
    assert!(taro.rooms.is_empty());
    town.join("taro", &room).await;
    let answer = taro.look(&town).await;
    assert_eq!(of(&answer, &room)["initial"], true);
    assert!(of(&answer, &room)["bump_stamp"].as_u64().unwrap() >= first);

    for name in ["hanako", "taro"] {
        town.leave(name, &room).await;
    }
    taro.look(&town).await;
    town.engine.purge(&room, false, &Actor::operator("test")).await.unwrap();
    let answer = taro.look(&town).await;
    assert!(told(&answer).is_empty() && taro.rooms.is_empty(), "{answer}");
    assert!(told(&glass("taro", all_rooms(1, json!([]))).look(&town).await).is_empty());
}
