//! What is told beside rooms.

use room::read::receipts::ReceiptKind;
use serde_json::{Value, json};

use super::{all_rooms, glass};
use crate::tests::{
    to_device::{send, signed_in},
    town::{Town, town, user},
};

fn with(extensions: Value) -> Value {
    let mut body = all_rooms(1, json!([]));
    body["extensions"] = extensions;
    body
}

fn texts(answer: &Value) -> Vec<String> {
    let events = answer["extensions"]["to_device"]["events"].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["content"]["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn messages_to_the_device_are_told_until_it_says_that_it_has_them_also_after_a_new_start() {
    let town = town().await;
    signed_in(&town, "hanako", &["PHONE"]).await;
    signed_in(&town, "taro", &["DESK"]).await;
    let body = |since: Option<&str>| {
        json!({ "conn_id": "keys", "extensions": {
            "to_device": { "enabled": true, "since": since }, "e2ee": { "enabled": true },
        } })
    };
    let mut hanako = glass("hanako", body(None));
    hanako.look(&town).await;
    send(&town, "hanako", "PHONE", "一").await;
    let answer = hanako.look(&town).await;
    assert_eq!(texts(&answer), ["一"]);
    assert!(answer["extensions"]["e2ee"]["device_one_time_keys_count"].is_object(), "{answer}");
    let next = answer["extensions"]["to_device"]["next_batch"].as_str().unwrap().to_owned();
    // It has not said that it has it.
    hanako.pos = None;
    assert_eq!(texts(&hanako.look(&town).await), ["一"]);
    hanako.body = body(Some(&next));
    assert!(texts(&hanako.look(&town).await).is_empty());
    hanako.body = body(None);
    hanako.pos = None;
    assert!(texts(&hanako.look(&town).await).is_empty(), "it is gone");
}

#[tokio::test]
async fn no_more_messages_come_at_a_time_than_are_asked_for_and_the_others_at_once() {
    let town = town().await;
    signed_in(&town, "hanako", &["PHONE"]).await;
    for text in ["一", "二", "三", "四", "五"] {
        send(&town, "hanako", "PHONE", text).await;
    }
    let body = |since: &Value, limit: u64| {
        let to_device = json!({ "enabled": true, "since": since, "limit": limit });
        json!({ "conn_id": "keys", "extensions": { "to_device": to_device } })
    };
    let mut hanako = glass("hanako", body(&Value::Null, 2));
    // It would wait for ever.
    hanako.timeout = std::time::Duration::from_secs(3_600);
    let mut all = Vec::new();
    for count in [2, 2, 1] {
        let answer = hanako.look(&town).await;
        assert_eq!(texts(&answer).len(), count);
        all.extend(texts(&answer));
        hanako.body = body(&answer["extensions"]["to_device"]["next_batch"], 2);
    }
    assert_eq!(all, ["一", "二", "三", "四", "五"]);
    hanako.pos = None;
    for limit in [0, u64::MAX] {
        send(&town, "hanako", "PHONE", "六").await;
        hanako.body = body(&hanako.body["extensions"]["to_device"]["since"].clone(), limit);
        assert!(!texts(&hanako.ask(&town).await.unwrap()).is_empty(), "{limit}");
    }
}

#[tokio::test]
async fn whose_devices_changed_is_told_though_no_room_is_shown() {
    let town = town().await;
    signed_in(&town, "hanako", &["PHONE"]).await;
    let room = town.room("hanako").await;
    let mut hanako =
        glass("hanako", json!({ "conn_id": "keys", "extensions": { "e2ee": { "enabled": true } } }));
    hanako.look(&town).await;
    let changed = |answer: &Value, what: &str| answer["extensions"]["e2ee"]["device_lists"][what].clone();
    assert!(changed(&hanako.look(&town).await, "changed").is_null());
    town.join("taro", &room).await;
    assert_eq!(changed(&hanako.look(&town).await, "changed"), json!([user("taro")]));
    assert!(changed(&hanako.look(&town).await, "changed").is_null());
    town.leave("taro", &room).await;
    assert_eq!(changed(&hanako.look(&town).await, "left"), json!([user("taro")]));
}

#[tokio::test]
async fn account_data_is_told_once_and_of_rooms_with_the_rooms() {
    let town = town().await;
    let room = town.room("hanako").await;
    let id = user("hanako");
    town.accounts.set_account_data(&id, "m.test", r#"{"a":1}"#.into()).await.unwrap();
    town.accounts
        .set_room_account_data(&id, &room, "m.marked_unread", r#"{"unread":true}"#.into())
        .await
        .unwrap();
    let mut hanako = glass("hanako", with(json!({ "account_data": { "enabled": true } })));
    let answer = hanako.look(&town).await;
    let data = &answer["extensions"]["account_data"];
    let kinds: Vec<&str> =
        data["global"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"m.test") && kinds.contains(&"m.push_rules"), "{kinds:?}");
    assert_eq!(data["rooms"][room.as_str()][0]["type"], "m.marked_unread");
    assert!(hanako.look(&town).await["extensions"]["account_data"].is_null());

    town.accounts
        .set_room_account_data(&id, &room, "m.marked_unread", r#"{"unread":false}"#.into())
        .await
        .unwrap();
    let answer = hanako.look(&town).await;
    let item = &answer["extensions"]["account_data"]["rooms"][room.as_str()][0];
    assert_eq!(item["content"]["unread"], false);
    // Of a room that is not shown it is told when it is.
    hanako.body["lists"] = json!({});
    hanako.look(&town).await;
    town.accounts
        .set_room_account_data(&id, &room, "m.marked_unread", r#"{"unread":true}"#.into())
        .await
        .unwrap();
    assert!(hanako.look(&town).await["extensions"]["account_data"].is_null());
    hanako.body = with(json!({ "account_data": { "enabled": true } }));
    let answer = hanako.look(&town).await;
    let item = &answer["extensions"]["account_data"]["rooms"][room.as_str()][0];
    assert_eq!(item["content"]["unread"], true, "{answer}");
}

async fn read(town: &Town, name: &str, room: &ruma::RoomId, kind: ReceiptKind, event: &ruma::EventId) {
    town.rooms.set_receipt(&user(name), room, kind, None, event).await.unwrap();
}

#[tokio::test]
async fn own_receipts_come_with_a_room_however_old_they_are_and_those_of_others_as_they_fit() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let old = town.say("hanako", &room, "古").await;
    let older = town.say("hanako", &room, "次").await;
    read(&town, "taro", &room, ReceiptKind::Public, &old).await;
    read(&town, "taro", &room, ReceiptKind::Private, &older).await;
    read(&town, "hanako", &room, ReceiptKind::Public, &old).await;
    let newest = town.say("hanako", &room, "新").await;
    let mut taro = glass("taro", with(json!({ "receipts": { "enabled": true } })));
    let answer = taro.look(&town).await;
    let content = answer["extensions"]["receipts"]["rooms"][room.as_str()]["content"].clone();
    assert!(content[old.as_str()]["m.read"][user("taro").as_str()].is_object(), "{content}");
    assert!(content[older.as_str()]["m.read.private"][user("taro").as_str()].is_object());
    assert!(
        content[old.as_str()]["m.read"][user("hanako").as_str()].is_null(),
        "it is told of no such event"
    );
    assert!(taro.look(&town).await["extensions"]["receipts"].is_null());

    read(&town, "hanako", &room, ReceiptKind::Public, &newest).await;
    let answer = taro.look(&town).await;
    let content = &answer["extensions"]["receipts"]["rooms"][room.as_str()]["content"];
    assert!(content[newest.as_str()]["m.read"][user("hanako").as_str()].is_object());
    assert!(super::told(&answer).is_empty(), "nothing else happened: {answer}");
    // How far he has read himself changes what is unread.
    read(&town, "taro", &room, ReceiptKind::Private, &newest).await;
    let answer = taro.look(&town).await;
    assert_eq!(super::of(&answer, &room)["notification_count"], 0, "{answer}");
}

#[tokio::test]
async fn typing_is_told_of_rooms_that_an_extension_is_for() {
    let town = town().await;
    let (one, two) = (town.room("hanako").await, town.room("hanako").await);
    for room in [&one, &two] {
        town.join("taro", room).await;
    }
    let mut body = with(json!({ "typing": { "enabled": true, "lists": [], "rooms": ["*"] } }));
    body["room_subscriptions"] = json!({ one.as_str(): { "timeline_limit": 1 } });
    let mut taro = glass("taro", body);
    taro.look(&town).await;
    let long = std::time::Duration::from_secs(20);
    for room in [&one, &two] {
        town.rooms.set_typing(&user("hanako"), room, Some(long)).await.unwrap();
    }
    let answer = taro.look(&town).await;
    let rooms = answer["extensions"]["typing"]["rooms"].clone();
    assert_eq!(rooms.as_object().unwrap().len(), 1, "{rooms}");
    assert_eq!(rooms[one.as_str()]["content"]["user_ids"], json!([user("hanako")]));
    town.rooms.set_typing(&user("hanako"), &one, None).await.unwrap();
    let rooms = taro.look(&town).await["extensions"]["typing"]["rooms"].clone();
    assert_eq!(rooms[one.as_str()]["content"]["user_ids"], json!([]));
}
