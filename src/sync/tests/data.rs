//! Account data, receipts, typing.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use room::read::receipts::{NewReceipt, ReceiptKind};
use serde_json::{Value, json};

use super::town::{client, joined, town, town_on, user};

fn of_type<'a>(events: &'a Value, kind: &str) -> Option<&'a Value> {
    events.as_array()?.iter().find(|event| event["type"] == kind)
}

#[tokio::test]
async fn account_data_reaches_other_devices_once() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut desktop = client("hanako").on("DESKTOP");
    let first = desktop.sync(&town).await;
    let rules = of_type(&first["account_data"]["events"], "m.push_rules").unwrap();
    assert!(rules["content"]["global"]["override"].is_array(), "push rules are always there: {rules}");

    let (hanako, content) = (user("hanako"), json!({ "a": 1 }).to_string());
    town.accounts.set_account_data(&hanako, "org.example", content.clone().into()).await.unwrap();
    town.accounts.set_room_account_data(&hanako, &room, "org.room", content.into()).await.unwrap();
    let answer = desktop.sync(&town).await;
    assert_eq!(of_type(&answer["account_data"]["events"], "org.example").unwrap()["content"]["a"], 1);
    let part = joined(&answer, &room);
    assert_eq!(of_type(&part["account_data"]["events"], "org.room").unwrap()["content"]["a"], 1);
    assert!(part.get("timeline").is_none());
    let nothing = desktop.sync(&town).await;
    assert_eq!(nothing.as_object().unwrap().len(), 3, "{nothing}");
}

#[tokio::test]
async fn public_receipts_reach_the_room_and_private_ones_their_user() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let event = town.say("hanako", &room, "一").await;
    let (mut hanako, mut taro) = (client("hanako"), client("taro"));
    hanako.sync(&town).await;
    taro.sync(&town).await;
    let id = user("taro");
    town.rooms.set_receipt(&id, &room, ReceiptKind::Public, None, &event).await.unwrap();
    town.rooms.set_receipt(&id, &room, ReceiptKind::Private, None, &event).await.unwrap();
    town.rooms.set_receipt(&id, &room, ReceiptKind::Public, Some("main"), &event).await.unwrap();

    let kinds = |answer: &Value| -> Vec<(String, Option<String>)> {
        let events = joined(answer, &room)["ephemeral"]["events"].as_array().unwrap().clone();
        let mut kinds: Vec<_> = events
            .iter()
            .flat_map(|receipts| receipts["content"][event.as_str()].as_object().unwrap().clone())
            .map(|(kind, users)| {
                let thread = users[id.as_str()]["thread_id"].as_str().map(str::to_owned);
                (kind, thread)
            })
            .collect();
        kinds.sort();
        kinds
    };
    let public = [("m.read".to_owned(), None), ("m.read".to_owned(), Some("main".to_owned()))];
    assert_eq!(kinds(&hanako.sync(&town).await), public);
    let own = kinds(&taro.sync(&town).await);
    assert_eq!(own.len(), 3);
    assert_eq!(own[2].0, "m.read.private");
    // Also where nothing else has happened in the room, and only there.
    let quiet = town.say("hanako", &room, "静か").await;
    for client in [&mut hanako, &mut taro] {
        client.sync(&town).await;
    }
    town.rooms.set_receipt(&id, &room, ReceiptKind::Private, None, &quiet).await.unwrap();
    let told = taro.sync(&town).await;
    let told = &joined(&told, &room)["ephemeral"]["events"][0]["content"][quiet.as_str()];
    assert!(told["m.read.private"][id.as_str()].is_object(), "{told}");
    assert!(hanako.sync(&town).await.get("rooms").is_none());
    // A first sync is told of all that is there, an older receipt changes nothing.
    assert_eq!(kinds(&client("hanako").sync(&town).await), public);
    let newer = town.say("hanako", &room, "二").await;
    town.rooms.set_receipt(&id, &room, ReceiptKind::Public, None, &newer).await.unwrap();
    hanako.sync(&town).await;
    town.rooms.set_receipt(&id, &room, ReceiptKind::Public, None, &event).await.unwrap();
    assert!(hanako.sync(&town).await.get("rooms").is_none());
}

#[tokio::test]
async fn typing_is_told_ends_by_itself_and_is_told_again() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    town.rooms.set_typing(&user("taro"), &room, Some(Duration::from_secs(5))).await.unwrap();
    let answer = hanako.sync(&town).await;
    let typing = |answer: &Value| {
        let events = &joined(answer, &room)["ephemeral"]["events"];
        of_type(events, "m.typing").unwrap()["content"]["user_ids"].clone()
    };
    assert_eq!(typing(&answer), json!([user("taro")]));
    assert!(hanako.sync(&town).await.get("rooms").is_none());

    hanako.timeout = Duration::from_secs(60);
    let waiting = {
        let (request, syncs) = (hanako.request(), town.syncs.clone());
        tokio::spawn(async move {
            let answer = syncs.sync(request).await.unwrap().gather().await;
            serde_json::from_slice::<Value>(&answer).unwrap()
        })
    };
    // The clock moves only while somebody sleeps, so nothing is slept through.
    while !waiting.is_finished() {
        if town.clock.sleepers() > 0 {
            town.clock.advance(Duration::from_millis(500));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(typing(&waiting.await.unwrap()), json!([]));
}

#[tokio::test]
async fn who_is_told_a_whole_room_is_told_its_receipts_too_however_old() {
    let town = town().await;
    let (room, other) = (town.room("hanako").await, town.room("taro").await);
    let event = town.say("hanako", &room, "一").await;
    town.rooms.set_receipt(&user("hanako"), &room, ReceiptKind::Public, None, &event).await.unwrap();
    let mut taro = client("taro");
    taro.sync(&town).await;

    town.join("taro", &room).await;
    let receipt =
        |answer: &Value| of_type(&joined(answer, &room)["ephemeral"]["events"], "m.receipt").is_some();
    let joined_it = taro.sync(&town).await;
    assert!(receipt(&joined_it), "{joined_it}");

    town.say("taro", &other, "二").await;
    taro.full_state = true;
    let whole = taro.sync(&town).await;
    assert!(joined(&whole, &room).is_object() && joined(&whole, &other).is_object());
}

#[tokio::test]
async fn receipts_of_whatever_names_are_told_each_once_from_memory_and_from_the_store() {
    let town = town().await;
    let room = town.room("hanako").await;
    let info = town.rooms.room(&room).await.unwrap().unwrap();
    let mut reader = client("hanako");
    reader.sync(&town).await;
    let names = ["a", "\"", "\\", "]}", "{\"", "\u{1}", "\u{2028}災", "m.read", "ts"];
    let mut noted = BTreeSet::new();
    for (number, user) in names.iter().enumerate() {
        for (other, thread) in names.iter().enumerate() {
            let event = format!("${}", names[(number + other) % names.len()]);
            let (user, thread) = (format!("@{user}:wajima.test"), format!("${thread}"));
            let receipt = NewReceipt {
                user_id: user.clone().try_into().unwrap(),
                kind: ReceiptKind::Public,
                thread: Some(thread.clone()),
                event_id: event.clone().try_into().unwrap(),
                ts: 5,
            };
            town.rooms.note_receipts(&info, &[receipt], false).await.unwrap();
            noted.insert((event, user, thread));
        }
    }
    assert_eq!(noted.len(), names.len() * names.len());
    for mut reader in [reader, client("hanako")] {
        let answer = reader.sync(&town).await;
        let mut told = Vec::new();
        for receipt in joined(&answer, &room)["ephemeral"]["events"].as_array().unwrap() {
            for (event, kinds) in receipt["content"].as_object().unwrap() {
                for (user, told_of) in kinds["m.read"].as_object().unwrap() {
                    assert_eq!(told_of["ts"], 5);
                    told.push((
                        event.clone(),
                        user.clone(),
                        told_of["thread_id"].as_str().unwrap().to_owned(),
                    ));
                }
            }
        }
        assert_eq!(told.len(), noted.len());
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), noted);
    }
}

/// Many come while answers are made.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_receipt_is_told_once() {
    let town = Arc::new(town().await);
    let room = town.room("hanako").await;
    let mut readers: Vec<_> = (0..4).map(|number| client(&format!("reader{number}"))).collect();
    for reader in &mut readers {
        town.join(reader.user.localpart(), &room).await;
        reader.sync(&town).await;
    }
    let mut events = Vec::new();
    for number in 0..150 {
        events.push(town.say("hanako", &room, &number.to_string()).await);
    }
    let last = events[events.len() - 1].to_string();
    let reading = readers.into_iter().map(|mut reader| {
        let (town, room, last) = (town.clone(), room.clone(), last.clone());
        tokio::spawn(async move {
            let mut told = Vec::new();
            while !told.contains(&last) {
                tokio::task::yield_now().await;
                let answer = reader.sync(&town).await;
                let events = &joined(&answer, &room)["ephemeral"]["events"];
                if let Some(receipts) = of_type(events, "m.receipt") {
                    told.extend(receipts["content"].as_object().unwrap().keys().cloned());
                }
            }
            told
        })
    });
    let reading: Vec<_> = reading.collect();
    for event in &events {
        town.rooms.set_receipt(&user("hanako"), &room, ReceiptKind::Public, None, event).await.unwrap();
    }
    for told in reading {
        let told = told.await.unwrap();
        let once: HashSet<_> = told.iter().collect();
        assert_eq!(once.len(), told.len(), "{told:?}");
    }
}

#[tokio::test]
async fn who_gets_out_while_he_types_types_no_more_for_those_who_sync() {
    for end in ["leave", "kick"] {
        let town = town().await;
        let room = town.room("hanako").await;
        town.join("taro", &room).await;
        town.rooms.set_typing(&user("taro"), &room, Some(Duration::from_secs(30))).await.unwrap();
        let mut hanako = client("hanako");
        hanako.sync(&town).await;

        match end {
            "leave" => town.leave("taro", &room).await,
            _ => town.engine.kick(&user("hanako"), &room, &user("taro"), None).await.unwrap(),
        }

        let answer = hanako.sync(&town).await;
        let events = &joined(&answer, &room)["ephemeral"]["events"];
        assert_eq!(of_type(events, "m.typing").unwrap()["content"]["user_ids"], json!([]), "{end}");
    }
}

#[tokio::test]
async fn who_is_ignored_is_not_shown_typing() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    town.join("jiro", &room).await;
    let ignored = json!({ "ignored_users": { user("taro"): {} } }).to_string().into_bytes().into();
    town.accounts.set_account_data(&user("hanako"), "m.ignored_user_list", ignored).await.unwrap();
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    for name in ["taro", "jiro"] {
        town.rooms.set_typing(&user(name), &room, Some(Duration::from_secs(30))).await.unwrap();
    }
    for answer in [hanako.sync(&town).await, client("hanako").sync(&town).await] {
        let events = &joined(&answer, &room)["ephemeral"]["events"];
        assert_eq!(of_type(events, "m.typing").unwrap()["content"]["user_ids"], json!([user("jiro")]));
    }
}

#[tokio::test]
async fn what_who_is_ignored_has_read_is_not_shown() {
    let town = town().await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    town.join("jiro", &room).await;
    let ignored = json!({ "ignored_users": { user("taro"): {} } }).to_string().into_bytes().into();
    town.accounts.set_account_data(&user("hanako"), "m.ignored_user_list", ignored).await.unwrap();
    let event = town.say("hanako", &room, "一").await;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;

    town.rooms.set_receipt(&user("taro"), &room, ReceiptKind::Public, None, &event).await.unwrap();
    let nothing = hanako.sync(&town).await;
    assert_eq!(nothing.as_object().unwrap().len(), 3, "{nothing}");
    town.rooms.set_receipt(&user("jiro"), &room, ReceiptKind::Public, None, &event).await.unwrap();
    for answer in [hanako.sync(&town).await, client("hanako").sync(&town).await] {
        let events = &joined(&answer, &room)["ephemeral"]["events"];
        let read = &of_type(events, "m.receipt").unwrap()["content"][event.as_str()]["m.read"];
        let readers: Vec<&String> = read.as_object().unwrap().keys().collect();
        assert_eq!(readers, [user("jiro").as_str()]);
    }
}

#[tokio::test]
async fn who_was_shown_typing_before_a_crash_is_not_any_more_once_he_has_sent_what_he_wrote() {
    let disk = store::MemoryDisk::default();
    let town = town_on(&disk).await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    town.rooms.set_typing(&user("taro"), &room, Some(Duration::from_secs(30))).await.unwrap();
    let typing = |answer: &Value| {
        let events = &joined(answer, &room)["ephemeral"]["events"];
        of_type(events, "m.typing").map(|event| event["content"]["user_ids"].clone())
    };
    assert_eq!(typing(&hanako.sync(&town).await), Some(json!([user("taro")])));
    town.tasks.stop(Duration::ZERO).await;

    let town = town_on(&disk).await;
    town.say("taro", &room, "着きました").await;
    assert_eq!(typing(&hanako.sync(&town).await), Some(json!([])));
    town.say("taro", &room, "今から戻ります").await;
    assert_eq!(typing(&hanako.sync(&town).await), None, "once");
}

#[tokio::test]
async fn who_was_shown_typing_before_a_crash_is_not_any_more_though_nothing_else_happens() {
    let disk = store::MemoryDisk::default();
    let town = town_on(&disk).await;
    let room = town.room("hanako").await;
    let other = town.room("hanako").await;
    town.join("taro", &room).await;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    town.rooms.set_typing(&user("taro"), &room, Some(Duration::from_secs(30))).await.unwrap();
    let typing = |answer: &Value| {
        let events = &joined(answer, &room)["ephemeral"]["events"];
        of_type(events, "m.typing").map(|event| event["content"]["user_ids"].clone())
    };
    let mut new = client("hanako").on("TABLET");
    for client in [&mut hanako, &mut new] {
        assert_eq!(typing(&client.sync(&town).await), Some(json!([user("taro")])));
    }
    // It is known after answers that say nothing of it, too.
    hanako.sync(&town).await;
    town.say("hanako", &other, "別の件").await;
    hanako.sync(&town).await;
    town.tasks.stop(Duration::ZERO).await;

    let town = town_on(&disk).await;
    for client in [&mut hanako, &mut new] {
        assert_eq!(typing(&client.sync(&town).await), Some(json!([])));
        assert_eq!(typing(&client.sync(&town).await), None, "once");
        assert!(!client.since.as_ref().unwrap().contains('!'));
    }
}

#[tokio::test]
async fn a_token_that_is_made_up_tells_nobody_whether_somebody_types_elsewhere() {
    let town = town().await;
    let (room, others) = (town.room("hanako").await, town.room("taro").await);
    let serial = town.rooms.room(&others).await.unwrap().unwrap().serial;
    let mut hanako = client("hanako");
    hanako.sync(&town).await;
    town.rooms.set_typing(&user("taro"), &others, Some(Duration::from_secs(30))).await.unwrap();
    for says in [false, true] {
        hanako.since = Some(format!("{}!{}", hanako.since.unwrap(), serial.0));
        if says {
            town.say("hanako", &room, "起").await;
        }
        let answer = hanako.sync(&town).await;
        assert_eq!(joined(&answer, &room).is_object(), says);
        assert!(!answer["next_batch"].as_str().unwrap().contains('!'), "{answer}");
    }
}

#[tokio::test]
async fn typing_ends_in_its_time_however_the_calendar_is_set() {
    let town = town().await;
    let room = town.room("hanako").await;
    let serial = town.rooms.room(&room).await.unwrap().unwrap().serial;
    for back in [true, false] {
        town.rooms.set_typing(&user("hanako"), &room, Some(Duration::from_secs(5))).await.unwrap();
        match back {
            true => town.clock.set_back(Duration::from_secs(3_600)),
            false => town.clock.set_forward(Duration::from_secs(365 * 24 * 3_600)),
        }
        let mut passed = 0;
        while !town.rooms.typing_in(serial).is_empty() {
            // The clock moves only while the task that ends it sleeps.
            if town.clock.sleepers() > 0 {
                town.clock.advance(Duration::from_millis(500));
                passed += 500;
            }
            tokio::task::yield_now().await;
            assert!(passed <= 60_000, "it never ends");
        }
        assert!(passed >= 4_500, "it ended after {passed} ms");
    }
}

#[tokio::test]
async fn filters_hold_back_data_and_ephemeral_events() {
    let town = town().await;
    let room = town.room("hanako").await;
    let filter = json!({
        "account_data": { "types": [] },
        "room": { "ephemeral": { "not_types": ["m.typing"] }, "account_data": { "types": ["m.tag"] } },
    });
    let mut hanako = client("hanako").with_filter(filter);
    assert!(hanako.sync(&town).await.get("account_data").is_none());
    town.rooms.set_typing(&user("hanako"), &room, Some(Duration::from_secs(5))).await.unwrap();
    town.accounts.set_room_account_data(&user("hanako"), &room, "x", "{}".into()).await.unwrap();
    assert!(hanako.sync(&town).await.get("rooms").is_none());
}
