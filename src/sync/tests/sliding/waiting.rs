//! Waiting, and what it costs that nothing happens.

use std::time::Duration;

use room::read::receipts::ReceiptKind;
use serde_json::{Value, json};

use super::{Glass, all_rooms, glass, of, told, window};
use crate::tests::{
    costs::in_rooms,
    town::{Town, said, town, user},
};

async fn start(town: &Town, glass: &Glass) -> tokio::task::JoinHandle<Value> {
    let (syncs, request) = (town.syncs.clone(), glass.request());
    let sleepers = town.clock.sleepers();
    let waiting =
        tokio::spawn(async move { serde_json::from_slice(&syncs.slide(&request).await.unwrap()).unwrap() });
    while town.clock.sleepers() == sleepers && !waiting.is_finished() {
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test]
async fn a_client_waits_for_the_rooms_that_it_is_shown_and_for_no_others() {
    let town = town().await;
    let (hidden, shown) = (town.room("hanako").await, town.room("hanako").await);
    let subscription = json!({ shown.as_str(): { "timeline_limit": 5 } });
    let mut hanako = glass("hanako", json!({ "room_subscriptions": subscription }));
    hanako.timeout = Duration::from_secs(30);
    hanako.look(&town).await;
    let waiting = start(&town, &hanako).await;
    assert!(!waiting.is_finished());
    town.say("hanako", &hidden, "陰").await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "it is not shown");
    town.say("hanako", &shown, "表").await;
    let answer = waiting.await.unwrap();
    hanako.take(&answer);
    assert_eq!(
        (told(&answer), said(&of(&answer, &shown)["timeline"])),
        (vec![shown.to_string()], vec!["表".to_owned()])
    );
    // What happened elsewhere during the wait is not lost.
    hanako.body = all_rooms(1, json!([]));
    assert_eq!(said(&of(&hanako.look(&town).await, &hidden)["timeline"]), ["陰"]);

    let waiting = start(&town, &hanako).await;
    assert!(!waiting.is_finished());
    town.clock.advance(Duration::from_secs(30));
    let answer = waiting.await.unwrap();
    assert!(told(&answer).is_empty(), "{answer}");
    hanako.take(&answer);
    hanako.body = window(0, 5);
    let asked = start(&town, &hanako).await;
    assert!(asked.await.unwrap()["lists"]["all"]["count"] == 2, "who asks for something else does not wait");
}

#[tokio::test]
async fn a_waiting_client_hears_of_an_invite_and_of_a_room_that_it_is_let_into() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut taro = glass("taro", all_rooms(1, json!([["m.room.member", "$ME"]])));
    taro.timeout = Duration::from_secs(30);
    taro.look(&town).await;
    let waiting = start(&town, &taro).await;
    town.invite("hanako", &room, "taro").await;
    let answer = waiting.await.unwrap();
    taro.take(&answer);
    assert_eq!(of(&answer, &room)["membership"], "invite");
    assert!(of(&answer, &room)["invite_state"].is_array());
    let waiting = start(&town, &taro).await;
    town.join("taro", &room).await;
    let answer = waiting.await.unwrap();
    assert_eq!(of(&answer, &room)["initial"], true);
}

#[tokio::test]
async fn who_was_signed_out_while_he_waited_is_told_nothing() {
    let town = town().await;
    crate::tests::to_device::signed_in(&town, "hanako", &["PHONE"]).await;
    let room = town.room("hanako").await;
    let mut hanako = glass("hanako", all_rooms(1, json!([])));
    hanako.timeout = Duration::from_secs(30);
    hanako.look(&town).await;
    let (syncs, request) = (town.syncs.clone(), hanako.request());
    let sleepers = town.clock.sleepers();
    let waiting = tokio::spawn(async move { syncs.slide(&request).await });
    while town.clock.sleepers() == sleepers {
        tokio::task::yield_now().await;
    }
    town.accounts.log_out_everywhere(&user("hanako"), &account::Actor::operator("test")).await.unwrap();
    town.say("hanako", &room, "秘").await;
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn nothing_new_reads_nothing_however_many_rooms_there_are() {
    let busy = in_rooms(120).await;
    for body in [window(0, 19), window(0, 999)] {
        let mut hanako = glass("hanako", body.clone());
        hanako.look_at_all(&busy.town).await;
        hanako.look(&busy.town).await;
        let before = busy.rows();
        for _ in 0..5 {
            assert!(told(&hanako.look(&busy.town).await).is_empty());
        }
        assert_eq!(busy.rows() - before, 0, "{body}");
        let room = busy.rooms[7].clone();
        busy.town.say("hanako", &room, "一").await;
        let before = busy.rows();
        assert_eq!(told(&hanako.look(&busy.town).await), [room.as_str()]);
        let read = busy.rows() - before;
        assert!(read < 25, "{read} rows for one message with {body}");
    }
}

#[tokio::test]
async fn what_others_read_gathers_for_a_crowd_and_a_message_does_not_wait_for_it() {
    let town = town().await;
    let room = town.room("hanako").await;
    let event = town.say("hanako", &room, "通達").await;
    for name in ["clerk1", "clerk2"] {
        town.join(name, &room).await;
    }
    let mut waiting = Vec::new();
    for number in 0..70 {
        town.join(&format!("reader{number}"), &room).await;
    }
    for number in 0..70 {
        let mut body = all_rooms(1, json!([]));
        body["extensions"] = json!({ "receipts": { "enabled": true } });
        let mut reader = glass(&format!("reader{number}"), body);
        reader.timeout = Duration::from_secs(30);
        reader.look(&town).await;
        waiting.push(start(&town, &reader).await);
    }
    for clerk in ["clerk1", "clerk2"] {
        town.rooms.set_receipt(&user(clerk), &room, ReceiptKind::Public, None, &event).await.unwrap();
        town.clock.advance(Duration::from_millis(100));
    }
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.iter().all(|reader| !reader.is_finished()), "they gather");
    town.clock.advance(Duration::from_millis(2_000));
    for reader in waiting {
        let answer = reader.await.unwrap();
        let receipts =
            &answer["extensions"]["receipts"]["rooms"][room.as_str()]["content"][event.as_str()]["m.read"];
        assert_eq!(receipts.as_object().unwrap().len(), 2, "{answer}");
    }
}
