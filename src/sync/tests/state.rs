//! State before and after timelines, lazy members, summaries.

use ruma::RoomId;
use serde_json::{Value, json};

use super::town::{Client, Town, client, joined, members, said, town, user};
use crate::StateAfter;

fn lazy(mut filter: Value) -> Value {
    filter["room"]["state"]["lazy_load_members"] = json!(true);
    filter
}

fn after(mut client: Client) -> Client {
    client.state_after = StateAfter { stable: true, unstable: false };
    client
}

#[tokio::test]
async fn state_and_timeline_together_are_the_state_of_the_room() {
    let town = town().await;
    let room = town.room("hanako").await;
    for number in 0..20 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "乙" })).await;
    let filter = json!({ "room": { "timeline": { "limit": 2 } } });
    let answer = client("hanako").with_filter(filter.clone()).sync(&town).await;
    let part = joined(&answer, &room);
    assert_eq!(said(&part["timeline"]["events"]), ["19", "m.room.topic"]);
    let before = said(&part["state"]["events"]);
    assert!(before.contains(&"m.room.create".to_owned()) && !before.contains(&"m.room.topic".to_owned()));

    let answer = after(client("hanako")).with_filter(filter).sync(&town).await;
    let part = joined(&answer, &room);
    assert!(part.get("state").is_none());
    assert!(said(&part["state_after"]["events"]).contains(&"m.room.topic".to_owned()));
}

#[tokio::test]
async fn the_state_delta_of_a_gap_is_what_the_timeline_left_out() {
    let town = town().await;
    let room = town.room("hanako").await;
    let filter = json!({ "room": { "timeline": { "limit": 2 } } });
    let mut before = client("hanako").with_filter(filter.clone());
    let mut behind = after(client("hanako")).with_filter(filter);
    before.sync(&town).await;
    behind.sync(&town).await;
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "甲" })).await;
    town.join("taro", &room).await;
    for number in 0..3 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    town.set("hanako", &room, "m.room.name", json!({ "name": "新" })).await;
    let answer = before.sync(&town).await;
    let part = joined(&answer, &room);
    let mut state = said(&part["state"]["events"]);
    state.sort();
    assert_eq!(state, ["m.room.member", "m.room.topic"]);
    assert_eq!(said(&part["timeline"]["events"]), ["2", "m.room.name"]);
    assert_eq!(part["summary"]["m.joined_member_count"], 2);

    let answer = behind.sync(&town).await;
    let mut state = said(&joined(&answer, &room)["state_after"]["events"]);
    state.sort();
    assert_eq!(state, ["m.room.member", "m.room.name", "m.room.topic"]);
}

#[tokio::test]
async fn the_unstable_name_of_state_after_is_answered_under_that_name() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut hanako = client("hanako");
    hanako.state_after = StateAfter { stable: false, unstable: true };
    hanako.sync(&town).await;
    town.say("hanako", &room, "一").await;
    let answer = hanako.sync(&town).await;
    let part = joined(&answer, &room);
    assert_eq!(part["org.matrix.msc4222.state_after"]["events"], json!([]));
    assert!(part.get("state_after").is_none() && part.get("state").is_none());
}

#[tokio::test]
async fn full_state_is_sent_at_once_even_when_nothing_is_new() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    hanako.full_state = true;
    hanako.timeout = std::time::Duration::from_secs(1_000);
    let answer = hanako.sync(&town).await;
    let part = joined(&answer, &room);
    assert!(said(&part["state"]["events"]).contains(&"m.room.create".to_owned()));
    assert!(part.get("timeline").is_none(), "{part}");
}

#[tokio::test]
async fn lazy_loading_sends_senders_and_oneself_and_nobody_twice() {
    let town = town().await;
    let room = town.room("hanako").await;
    for name in ["taro", "jiro", "saburo"] {
        town.join(name, &room).await;
    }
    for number in 0..3 {
        town.say("taro", &room, &number.to_string()).await;
    }
    let filter = lazy(json!({ "room": { "timeline": { "limit": 2 } } }));
    let mut hanako = client("hanako").with_filter(filter.clone());
    let first = hanako.sync(&town).await;
    assert_eq!(members(&joined(&first, &room)["state"]["events"]), ["hanako", "taro"]);

    town.say("taro", &room, "又").await;
    let second = hanako.sync(&town).await;
    assert!(joined(&second, &room).get("state").is_none(), "{second}");

    town.say("jiro", &room, "初").await;
    let third = hanako.sync(&town).await;
    assert_eq!(members(&joined(&third, &room)["state"]["events"]), ["jiro"]);

    let mut redundant = filter;
    redundant["room"]["state"]["include_redundant_members"] = json!(true);
    let mut hanako = hanako.with_filter(redundant);
    town.say("taro", &room, "再").await;
    let fourth = hanako.sync(&town).await;
    assert_eq!(members(&joined(&fourth, &room)["state"]["events"]), ["taro"]);
}

#[tokio::test]
async fn a_lost_answer_loses_no_lazy_member() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    for number in 0..12 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    let mut hanako = client("hanako").with_filter(lazy(json!({})));
    hanako.sync(&town).await;
    town.say("taro", &room, "一").await;
    let mut lost = hanako.clone();
    assert_eq!(members(&joined(&lost.sync(&town).await, &room)["state"]["events"]), ["taro"]);
    assert_eq!(members(&joined(&hanako.sync(&town).await, &room)["state"]["events"]), ["taro"]);
    town.say("taro", &room, "二").await;
    assert!(joined(&hanako.sync(&town).await, &room).get("state").is_none());
}

#[tokio::test]
async fn with_lazy_loading_members_who_changed_in_a_gap_are_sent() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut hanako = client("hanako").with_filter(lazy(json!({ "room": { "timeline": { "limit": 1 } } })));
    hanako.sync(&town).await;
    town.leave("taro", &room).await;
    for number in 0..3 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    let answer = hanako.sync(&town).await;
    assert!(members(&joined(&answer, &room)["state"]["events"]).contains(&"taro".to_owned()));
}

#[tokio::test]
async fn a_nameless_room_has_heroes() {
    let town = town().await;
    let wishes = engine::CreateRoom { preset: engine::Preset::PublicChat, ..Default::default() };
    let room = town.engine.create(&super::town::user("hanako"), wishes).await.unwrap();
    town.join("taro", &room).await;
    town.invite("hanako", &room, "jiro").await;
    let answer = client("hanako").sync(&town).await;
    let summary = &joined(&answer, &room)["summary"];
    assert_eq!(summary["m.heroes"], json!(["@taro:kanazawa.test", "@jiro:kanazawa.test"]));
    assert_eq!(summary["m.joined_member_count"], 2);
    assert_eq!(summary["m.invited_member_count"], 1);
}

// C34
#[tokio::test]
async fn the_heroes_of_a_nameless_room_come_with_it_though_they_have_said_nothing() {
    let town = town().await;
    let wishes = engine::CreateRoom { preset: engine::Preset::PublicChat, ..Default::default() };
    let room = town.engine.create(&user("hanako"), wishes).await.unwrap();
    town.join("taro", &room).await;
    town.invite("hanako", &room, "jiro").await;
    for number in 0..20 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    let filter = lazy(json!({ "room": { "timeline": { "limit": 1 } } }));
    for (asking, key) in [(after(client("hanako")), "state_after"), (client("hanako"), "state")] {
        let answer = asking.with_filter(filter.clone()).sync(&town).await;
        let part = joined(&answer, &room);
        assert_eq!(part["summary"]["m.heroes"], json!(["@taro:kanazawa.test", "@jiro:kanazawa.test"]));
        assert_eq!(members(&part[key]["events"]), ["hanako", "jiro", "taro"], "{part}");
    }
}

/// Members that serve a room are no heroes (MSC4171), unless there is nobody else, and members all the same.
#[tokio::test]
async fn a_nameless_room_is_not_called_after_its_bots() {
    let heroes = async |town: &Town, name: &str, room: &RoomId| {
        let answer = client(name).sync(town).await;
        let body = json!({ "lists": { "all": { "timeline_limit": 1 } } });
        let told = super::sliding::glass(name, body).look(town).await;
        let of_sliding: Vec<Value> = told["rooms"][room.as_str()]["heroes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|hero| hero["user_id"].clone())
            .collect();
        let summary = &joined(&answer, room)["summary"];
        assert_eq!(summary["m.heroes"], json!(of_sliding));
        assert_eq!(told["rooms"][room.as_str()]["joined_count"], summary["m.joined_member_count"]);
        (of_sliding, summary["m.joined_member_count"].as_u64().unwrap())
    };
    for kind in ["m.member_hints", "io.element.functional_members"] {
        let town = town().await;
        let wishes = engine::CreateRoom { preset: engine::Preset::PublicChat, ..Default::default() };
        let room = town.engine.create(&user("hanako"), wishes).await.unwrap();
        town.join("bot", &room).await;
        town.join("bridge", &room).await;
        let (bot, bridge) = (json!(user("bot")), json!(user("bridge")));
        assert_eq!(heroes(&town, "hanako", &room).await, (vec![bot.clone(), bridge.clone()], 3));
        let content = json!({ "service_members": [bot, 5, bridge, "@nobody:kanazawa.test"] });
        town.set("hanako", &room, kind, content).await;
        assert_eq!(heroes(&town, "hanako", &room).await.0, [bot, bridge], "there is nobody else");
        town.join("taro", &room).await;
        assert_eq!(heroes(&town, "hanako", &room).await, (vec![json!(user("taro"))], 4));
        assert_eq!(heroes(&town, "bot", &room).await.0, [json!(user("hanako")), json!(user("taro"))]);
        town.leave("taro", &room).await;
        assert_eq!(heroes(&town, "hanako", &room).await.0.len(), 2);
        town.join("taro", &room).await;
        town.set("hanako", &room, kind, json!({ "service_members": "nonsense" })).await;
        assert_eq!(heroes(&town, "hanako", &room).await.0.len(), 3);
    }
}

#[tokio::test]
async fn state_that_the_timeline_filter_hides_is_sent_as_state() {
    let town = town().await;
    let room = town.room("hanako").await;
    let filter = json!({ "room": { "timeline": { "types": ["m.room.message"] } } });
    let mut hanako = client("hanako").with_filter(filter);
    hanako.sync(&town).await;
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "甲" })).await;
    town.say("hanako", &room, "一").await;
    let answer = hanako.sync(&town).await;
    let part = joined(&answer, &room);
    assert_eq!(said(&part["timeline"]["events"]), ["一"]);
    assert_eq!(said(&part["state"]["events"]), ["m.room.topic"]);
}

#[tokio::test]
async fn with_lazy_loading_who_left_meanwhile_is_sent_to_one_who_was_away_or_asks_for_all_state() {
    for (away, full_state) in [(true, false), (false, true)] {
        let town = town().await;
        let room = town.room("hanako").await;
        for name in ["taro", "jiro", "saburo"] {
            town.join(name, &room).await;
        }
        let filter = lazy(json!({ "room": { "timeline": { "limit": 1 } } }));
        let mut taro = client("taro").with_filter(filter);
        taro.sync(&town).await;
        if away {
            town.leave("taro", &room).await;
            taro.sync(&town).await;
        }
        town.leave("jiro", &room).await;
        town.engine.ban(&user("hanako"), &room, &user("saburo"), None).await.unwrap();
        if away {
            town.join("taro", &room).await;
        }
        for number in 0..3 {
            town.say("hanako", &room, &number.to_string()).await;
        }
        taro.full_state = full_state;
        let answer = taro.sync(&town).await;
        let state = &joined(&answer, &room)["state"]["events"];
        for (name, membership) in [("jiro", "leave"), ("saburo", "ban")] {
            let id = user(name).to_string();
            let event = state.as_array().unwrap().iter().find(|event| event["state_key"] == id.as_str());
            assert_eq!(event.unwrap()["content"]["membership"], membership, "away: {away}, {state}");
        }
    }
}

#[tokio::test]
async fn with_lazy_loading_one_who_was_in_and_out_again_unheard_is_sent_all_members() {
    let town = town().await;
    let room = town.room("hanako").await;
    for name in ["taro", "jiro"] {
        town.join(name, &room).await;
    }
    let mut taro = client("taro").with_filter(lazy(json!({ "room": { "timeline": { "limit": 1 } } })));
    taro.sync(&town).await;
    town.leave("taro", &room).await;
    taro.sync(&town).await;
    town.leave("jiro", &room).await;
    town.join("taro", &room).await;
    town.leave("taro", &room).await;
    town.join("taro", &room).await;
    for number in 0..3 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    let answer = taro.sync(&town).await;
    assert_eq!(members(&joined(&answer, &room)["state"]["events"]), ["hanako", "jiro", "taro"]);
}
