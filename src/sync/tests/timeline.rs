//! Timelines, gaps and tokens.

use room::{
    read::token::Token,
    tables::{TIMELINE, TimelineRow},
};
use ruma::{OwnedEventId, UserId};
use serde_json::json;
use store::{Batch, MemoryDisk, Order, Range};

use super::town::{client, joined, said, town, town_on, user};

#[tokio::test]
async fn a_first_sync_tells_of_the_room_and_the_next_only_what_is_new() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.say("hanako", &room, "一").await;
    let mut hanako = client("hanako");
    let first = hanako.sync(&town).await;
    let timeline = &joined(&first, &room)["timeline"];
    assert_eq!(said(&timeline["events"]).last().unwrap(), "一");
    assert_eq!(joined(&first, &room)["summary"]["m.joined_member_count"], 1);

    let nothing = hanako.sync(&town).await;
    assert!(nothing.get("rooms").is_none(), "{nothing}");

    town.say("hanako", &room, "二").await;
    let second = hanako.sync(&town).await;
    let part = joined(&second, &room);
    assert_eq!(said(&part["timeline"]["events"]), ["二"]);
    assert_eq!(part["timeline"]["limited"], false);
    assert!(part.get("state").is_none(), "{part}");
    assert!(part.get("summary").is_none(), "{part}");
    assert!(part["timeline"]["events"][0].get("room_id").is_none());
    assert_eq!(part["timeline"]["events"][0]["unsigned"]["membership"], "join");
}

#[tokio::test]
async fn a_room_whose_beginning_is_sent_is_not_limited() {
    let town = town().await;
    let room = town.room("hanako").await;
    let filter = json!({ "room": { "timeline": { "limit": 50 } } });
    let answer = client("hanako").with_filter(filter).sync(&town).await;
    let part = joined(&answer, &room);
    assert_eq!(part["timeline"]["limited"], false);
    assert_eq!(part["timeline"]["events"][0]["type"], "m.room.create");
    assert!(part.get("state").is_none(), "the timeline holds all of it: {part}");
}

#[tokio::test]
async fn a_gap_is_limited_and_its_token_leads_to_what_was_left_out() {
    let town = town().await;
    let room = town.room("hanako").await;
    let filter = json!({ "room": { "timeline": { "limit": 3 } } });
    let mut hanako = client("hanako").with_filter(filter);
    hanako.sync(&town).await;
    let known = hanako.since.clone().unwrap();
    for number in 0..8 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "訓練" })).await;
    for number in 8..10 {
        town.say("hanako", &room, &number.to_string()).await;
    }
    let answer = hanako.sync(&town).await;
    let timeline = &joined(&answer, &room)["timeline"];
    assert_eq!(said(&timeline["events"]), ["m.room.topic", "8", "9"]);
    assert_eq!(timeline["limited"], true);

    let info = town.rooms.room(&room).await.unwrap().unwrap();
    let stretch = room::read::timeline::Stretch {
        room: info.serial,
        after: known.parse().unwrap(),
        through: timeline["prev_batch"].as_str().unwrap().parse().unwrap(),
    };
    let rows = town.rooms.timeline(stretch, room::read::timeline::Direction::Forward, 100).await.unwrap();
    assert_eq!(rows.len(), 8, "exactly what was left out");
}

#[tokio::test]
async fn what_stands_before_a_gap_is_not_sent_with_what_stands_after_it() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    town.say("hanako", &room, "前").await;
    town.say("hanako", &room, "遠").await;
    // As if it had come from elsewhere, and others before it had not.
    let serial = town.rooms.room(&room).await.unwrap().unwrap().serial;
    let rows = town.store.scan(&TIMELINE, Range::prefix(&serial), Order::Descending, 1).await.unwrap();
    let (key, old) = rows[0];
    let mut batch = Batch::new();
    batch.put(&TIMELINE, &key, &TimelineRow { gap: true, ..old });
    // What is in memory of timelines goes, as when rows are written anew.
    batch.touch([room::read::lacking::lacking_moved()]);
    town.store.commit(batch).await.unwrap();
    town.say("hanako", &room, "後").await;

    let answer = hanako.sync(&town).await;
    let timeline = &joined(&answer, &room)["timeline"];
    assert_eq!(said(&timeline["events"]), ["遠", "後"]);
    assert_eq!(timeline["limited"], true);
    let before = Token::before(key.1).to_string();
    assert_eq!(timeline["prev_batch"], before.as_str());
}

#[tokio::test]
async fn a_room_joined_between_two_syncs_is_limited_though_all_of_it_is_sent() {
    let town = town().await;
    let room = town.room("hanako").await;
    let filter = json!({ "room": { "timeline": { "limit": 50 } } });
    let mut taro = client("taro").with_filter(filter);
    taro.sync(&town).await;
    town.join("taro", &room).await;
    let answer = taro.sync(&town).await;
    let timeline = &joined(&answer, &room)["timeline"];
    assert_eq!(said(&timeline["events"])[0], "m.room.create");
    assert_eq!(timeline["limited"], true);
}

#[tokio::test]
async fn a_token_holds_over_a_restart() {
    let disk = MemoryDisk::default();
    let before = town_on(&disk).await;
    let room = before.room("hanako").await;
    let mut hanako = client("hanako");
    hanako.sync(&before).await;
    before.say("hanako", &room, "前").await;
    before.store.close().await.unwrap();

    let after = town_on(&disk).await;
    after.say("hanako", &room, "後").await;
    let answer = hanako.sync(&after).await;
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["前", "後"]);
    assert!(hanako.sync(&after).await.get("rooms").is_none());
}

#[tokio::test]
async fn a_transaction_id_is_told_to_the_sending_device_only() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut devices = [client("hanako"), client("hanako").on("DESKTOP"), client("taro")];
    town.join("taro", &room).await;
    for device in &mut devices {
        device.sync(&town).await;
    }
    town.say_as("hanako", "PHONE", "m1", &room).await;
    let mut told = Vec::new();
    for device in &mut devices {
        let answer = device.sync(&town).await;
        let unsigned = &joined(&answer, &room)["timeline"]["events"][0]["unsigned"];
        told.push(unsigned.get("transaction_id").cloned());
    }
    assert_eq!(told, [Some(json!("m1")), None, None]);
}

#[tokio::test]
async fn a_state_event_tells_what_it_replaced() {
    let town = town().await;
    let room = town.room("hanako").await;
    let old = town.set("hanako", &room, "m.room.topic", json!({ "topic": "甲" })).await;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "乙" })).await;
    let answer = hanako.sync(&town).await;
    let unsigned = &joined(&answer, &room)["timeline"]["events"][0]["unsigned"];
    assert_eq!(unsigned["prev_content"], json!({ "topic": "甲" }));
    assert_eq!(unsigned["replaces_state"], old.as_str());
}

#[tokio::test]
async fn a_redacted_event_is_sent_empty_with_the_redaction() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event: OwnedEventId = town.say("hanako", &room, "秘").await;
    // Somebody who has it in every cache.
    client("hanako").sync(&town).await;
    let sender: &UserId = &user("hanako");
    town.engine.redact(sender, &room, &event, Some("誤り"), None).await.unwrap();
    let answer = client("hanako").sync(&town).await;
    let events = joined(&answer, &room)["timeline"]["events"].as_array().unwrap().clone();
    let redacted = events.iter().find(|found| found["event_id"] == event.as_str()).unwrap();
    assert_eq!(redacted["content"], json!({}));
    let because = &redacted["unsigned"]["redacted_because"];
    assert_eq!(because["content"]["reason"], "誤り");
    assert_eq!(because["redacts"], event.as_str());
    assert_eq!(because["content"]["redacts"], event.as_str());
}

#[tokio::test]
async fn ignored_users_are_not_heard() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let content = json!({ "ignored_users": { user("taro"): {} } }).to_string();
    town.accounts.set_account_data(&user("hanako"), "m.ignored_user_list", content.into()).await.unwrap();
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    town.say("taro", &room, "騒").await;
    town.say("hanako", &room, "静").await;
    let answer = hanako.sync(&town).await;
    assert_eq!(said(&joined(&answer, &room)["timeline"]["events"]), ["静"]);
}

#[tokio::test]
async fn ignored_users_are_not_heard_in_rooms_that_were_left_but_their_state_is() {
    let town = town().await;
    let room = town.room("hanako").await;
    for name in ["taro", "jiro"] {
        town.join(name, &room).await;
    }
    let content = json!({ "ignored_users": { user("hanako"): {}, "nobody": 3 } }).to_string();
    town.accounts.set_account_data(&user("taro"), "m.ignored_user_list", content.into()).await.unwrap();
    let mut taro = client("taro");
    taro.sync(&town).await;
    town.say("hanako", &room, "騒").await;
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "甲" })).await;
    town.say("jiro", &room, "静").await;
    town.leave("taro", &room).await;
    let answer = taro.sync(&town).await;
    let timeline = &answer["rooms"]["leave"][room.as_str()]["timeline"];
    assert_eq!(said(&timeline["events"]), ["m.room.topic", "静", "m.room.member"]);
}

#[tokio::test]
async fn event_fields_and_event_format_shape_the_events() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut fields =
        client("hanako").with_filter(json!({ "event_fields": ["content.body", "type", "sender"] }));
    let mut federation = client("hanako").with_filter(json!({ "event_format": "federation" }));
    fields.sync(&town).await;
    federation.sync(&town).await;
    let id = town.say("hanako", &room, "一").await;
    town.set("hanako", &room, "m.room.topic", json!({ "topic": "甲" })).await;

    let answer = fields.sync(&town).await;
    let events = &joined(&answer, &room)["timeline"]["events"];
    let hanako = user("hanako");
    assert_eq!(events[0], json!({ "type": "m.room.message", "sender": hanako, "content": { "body": "一" } }));
    assert_eq!(events[1], json!({ "type": "m.room.topic", "sender": hanako, "content": {} }));

    let answer = federation.sync(&town).await;
    let event = &joined(&answer, &room)["timeline"]["events"][0];
    for field in ["hashes", "signatures", "auth_events", "prev_events", "depth", "unsigned"] {
        assert!(event.get(field).is_some(), "{field} in {event}");
    }
    assert_eq!((event["event_id"].as_str(), &event["content"]["body"]), (Some(id.as_str()), &json!("一")));

    let answer = client("hanako").with_filter(json!({ "event_fields": ["state_key"] })).sync(&town).await;
    let part = joined(&answer, &room);
    let all = [part["timeline"]["events"].as_array().unwrap().clone()].concat();
    assert!(
        all.iter().all(|event| event.as_object().unwrap().keys().all(|key| key == "state_key")),
        "{part}"
    );
}

#[tokio::test]
async fn a_room_of_whose_events_the_filter_lets_none_pass_is_not_sent() {
    let off = json!({ "types": [] });
    let filters = [
        json!({ "room": { "timeline": { "types": ["m.room.topic"] }, "state": off } }),
        json!({ "room": { "timeline": off, "state": off } }),
        json!({ "room": { "timeline": { "limit": 0 }, "state": off } }),
        json!({ "room": { "timeline": { "not_senders": [user("hanako"), user("taro")] }, "state": off } }),
    ];
    for filter in filters {
        let town = town().await;
        let room = town.room("hanako").await;
        let mut hanako = client("hanako").with_filter(filter.clone());
        hanako.sync(&town).await;
        town.join("taro", &room).await;
        for number in 0..30 {
            town.say("hanako", &room, &number.to_string()).await;
        }
        let answer = hanako.sync(&town).await;
        assert!(answer.get("rooms").is_none(), "{filter}: {answer}");
        hanako.since = None;
        let all_off = json!({ "timeline": off, "state": off, "ephemeral": off, "account_data": off });
        let first = client("hanako").with_filter(json!({ "room": all_off })).sync(&town).await;
        assert!(joined(&first, &room).is_null(), "{first}");
    }
}

#[tokio::test]
async fn an_answer_reads_as_ruma_reads_it() {
    use ruma::api::IncomingResponseExt as _;
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "一").await;
    town.invite("hanako", &room, "taro").await;
    town.rooms
        .set_receipt(&user("hanako"), &room, room::read::receipts::ReceiptKind::Public, None, &event)
        .await
        .unwrap();
    for name in ["hanako", "taro"] {
        let answer = town.syncs.sync(client(name).request()).await.unwrap().gather().await;
        let response = http::Response::builder().status(200).body(&*answer).unwrap();
        let read =
            ruma::api::client::sync::sync_events::v3::Response::try_from_http_response(response).unwrap();
        assert_eq!(read.rooms.join.len() + read.rooms.invite.len(), 1);
        for part in read.rooms.join.values() {
            assert!(part.timeline.events.iter().all(|event| event.deserialize().is_ok()));
            assert!(part.ephemeral.events.iter().all(|event| event.deserialize().is_ok()));
        }
        assert!(read.account_data.events.iter().all(|event| event.deserialize().is_ok()));
    }
}
