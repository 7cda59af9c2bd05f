//! Answers that let us into a room, from a server that lies.

use std::{sync::Arc, time::Duration};

use room::{Error, RemoteError, tables::EVENT_IDS};
use serde_json::{Value, json, value::RawValue};
use store::{Order, Range};

use super::{
    entering::{asked, assert_nothing_is_entered, assert_whole, half_way, serial},
    entering_together::until,
    net::{Net, state, user},
};
use crate::{ports::Joined, purge::slices::swaths};

const HANAKO: &str = "@hanako:a.test";
const TARO: &str = "@taro:b.test";

fn raw(json: &Value) -> Box<RawValue> {
    RawValue::from_string(json.to_string()).unwrap()
}

fn parsed(event: &RawValue) -> Value {
    serde_json::from_str(event.get()).unwrap()
}

/// Keeps of an answer the events that are so.
fn keep(joined: &mut Joined, is_so: impl Fn(&Value) -> bool) {
    for list in [&mut joined.state, &mut joined.auth_chain] {
        list.retain(|event| is_so(&parsed(event)));
    }
}

#[tokio::test]
async fn doubles_nonsense_and_events_of_other_rooms_change_nothing() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let other = a.public_room(&user(HANAKO)).await;
    let others: Vec<_> = a.timeline(&other).await.iter().map(|event| event.pdu().to_raw()).collect();
    let large = json!({ "type": "x", "content": { "text": "字".repeat(40_000) } });
    net.forge_joined(Some(Arc::new(move |joined| {
        let nonsense = [json!({}), json!([]), json!(5), json!(null), large.clone()];
        for list in [&mut joined.state, &mut joined.auth_chain] {
            let own = std::mem::take(list);
            list.extend(own.iter().rev().cloned());
            list.extend(others.iter().cloned());
            list.extend(nonsense.iter().map(raw));
            list.extend(own);
        }
    })));
    let b = net.server(&["b.test"]).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    assert_whole(&a, &b, &room).await;
    assert!(b.rooms.room(&other).await.unwrap().is_none());
}

#[tokio::test]
async fn of_several_events_of_one_key_the_last_is_the_state() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let hanako = user(HANAKO);
    let name = |text: &str| state(&hanako, "m.room.name", "", &json!({ "name": text }));
    let older = a.engine.send(&room, name("旧"), None).await.unwrap();
    a.engine.send(&room, name("新"), None).await.unwrap();
    let events = a.timeline(&room).await;
    let event = events.iter().find(|event| event.event_id() == older).unwrap().pdu().to_raw();
    net.forge_joined(Some(Arc::new(move |joined| joined.state.push(event.clone()))));
    let b = net.server(&["b.test"]).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    let told = b.state(&room).await.into_iter().find(|(kind, ..)| kind == "m.room.name").unwrap();
    assert_eq!(told.2, older);
    assert!(b.engine.verify_state(&room).await.unwrap().broken.is_empty());
    assert_nothing_is_entered(&b.store).await;
}

#[tokio::test]
async fn an_answer_without_the_create_event_lets_nobody_in_and_the_next_one_does() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, room) = asked(&net).await;
    let b = net.server(&["b.test"]).await;
    for _ in 0..2 {
        net.forge_joined(Some(Arc::new(|joined| keep(joined, |event| event["type"] != "m.room.create"))));
        let refused = b.join(&user(TARO), &room, "a.test").await;
        assert!(matches!(refused, Err(Error::Remote(RemoteError::BadAnswer { .. }))), "{refused:?}");
        // A state that holds all but what lets him in.
        net.forge_joined(Some(Arc::new(|joined| {
            joined.state.retain(|event| parsed(event)["type"] != "m.room.join_rules");
        })));
        b.join(&user(TARO), &room, "a.test").await.unwrap_err();
        hand.advance(Duration::from_secs(3_600));
        until(async || half_way(&b).await == 0).await;
        b.engine.void_what_is_left().await.unwrap();
        for swath in swaths(serial(&b, &room).await) {
            let rows = b.store.rows_of(&swath, None, usize::MAX).await.unwrap();
            assert!(rows.is_empty(), "{}: {}", swath.table(), rows.len());
        }
        let ids = b.store.scan(&EVENT_IDS, Range::all(), Order::Ascending, 9).await.unwrap();
        assert_eq!(ids, [], "what nobody came into is gone");
    }
    net.forge_joined(None);
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn an_answer_that_lacks_what_its_events_stand_on_breaks_nothing() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let lacking: [fn(&Value) -> bool; 3] = [
        |event| event["type"] == "m.room.power_levels",
        |event| event["state_key"] == HANAKO,
        |event| event["type"] == "m.room.member",
    ];
    for lacks in lacking {
        net.forge_joined(Some(Arc::new(move |joined| keep(joined, |event| !lacks(event)))));
        let b = net.server(&["b.test"]).await;
        match b.join(&user(TARO), &room, "a.test").await {
            Ok(()) => assert!(b.engine.verify_state(&room).await.unwrap().broken.is_empty()),
            Err(_) => {
                net.forge_joined(None);
                b.join(&user(TARO), &room, "a.test").await.unwrap();
                assert_whole(&a, &b, &room).await;
            }
        }
        b.crash().await;
    }
}
