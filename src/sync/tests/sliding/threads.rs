//! What is told of subscriptions to threads.

use account::{ThreadCause, ThreadSubscription};
use ruma::{EventId, RoomId};
use serde_json::{Value, json};

use super::{Glass, glass};
use crate::tests::town::{Town, client, town, user};

const NAME: &str = "io.element.msc4308.thread_subscriptions";

fn with(limit: Value) -> Glass {
    glass("hanako", json!({ "extensions": { NAME: { "enabled": true, "limit": limit } } }))
}

fn told(answer: &Value) -> &Value {
    &answer["extensions"][NAME]
}

impl Town {
    async fn subscribe(&self, room: &RoomId, thread: &EventId) {
        let (hanako, cause) = (user("hanako"), ThreadCause::Choice);
        self.accounts.subscribe_to_thread(&hanako, room, thread, cause).await.unwrap();
    }
}

/// The steps of Complement's TestMSC4308ThreadSubscriptionsSlidingSync.
#[tokio::test]
async fn subscriptions_are_told_at_first_and_as_they_change() {
    let town = town().await;
    let room = town.room("hanako").await;
    let (first, second) = (town.say("hanako", &room, "一").await, town.say("hanako", &room, "二").await);
    let mut before = with(json!(2));
    assert!(told(&before.look(&town).await).is_null());
    town.subscribe(&room, &first).await;
    let mut after = with(Value::Null);
    for glass in [&mut before, &mut after] {
        let answer = glass.look(&town).await;
        let subscription = &told(&answer)["subscribed"][room.as_str()][first.as_str()];
        assert_eq!(subscription["automatic"], false, "{answer}");
        assert!(subscription["bump_stamp"].is_u64());
        assert!(told(&glass.look(&town).await).is_null(), "once");
    }
    let stamp = |answer: &Value, what: &str| {
        told(answer)[what][room.as_str()][first.as_str()]["bump_stamp"].as_u64().unwrap()
    };
    let subscribed = stamp(&with(Value::Null).look(&town).await, "subscribed");
    let cause = ThreadCause::Event(Some(town.store.head()));
    town.accounts.subscribe_to_thread(&user("hanako"), &room, &second, cause).await.unwrap();
    town.accounts.unsubscribe_from_thread(&user("hanako"), &room, &first).await.unwrap();
    let answer = before.look(&town).await;
    assert!(stamp(&answer, "unsubscribed") > subscribed);
    assert_eq!(told(&answer)["subscribed"][room.as_str()][second.as_str()]["automatic"], true);
    assert!(told(&answer)["subscribed"][room.as_str()].get(first.as_str()).is_none(), "{answer}");
    // Whoever begins anew may have known of it.
    let answer = with(Value::Null).look(&town).await;
    assert!(stamp(&answer, "unsubscribed") > subscribed);
    assert!(told(&answer).get("prev_batch").is_none());
    // Who does not ask is told nothing, and another user neither.
    assert!(glass("hanako", json!({})).look(&town).await["extensions"].get(NAME).is_none());
    let mut taro = with(Value::Null);
    taro.user = user("taro");
    assert!(told(&taro.look(&town).await).is_null());
}

#[tokio::test]
async fn a_client_that_waits_hears_of_a_subscription_at_once() {
    let town = town().await;
    crate::tests::to_device::signed_in(&town, "hanako", &["PHONE"]).await;
    let room = town.room("hanako").await;
    let first = town.say("hanako", &room, "一").await;
    let mut hanako = with(Value::Null);
    hanako.look(&town).await;
    hanako.timeout = std::time::Duration::from_secs(20);
    let (answer, ()) = tokio::join!(hanako.ask(&town), town.subscribe(&room, &first));
    assert!(told(&answer.unwrap())["subscribed"][room.as_str()][first.as_str()].is_object());
}

#[tokio::test]
async fn what_there_is_no_room_for_is_found_by_going_on() {
    let town = town().await;
    let room = town.room("hanako").await;
    let mut threads = Vec::new();
    for number in 0..7 {
        threads.push(town.say("hanako", &room, &number.to_string()).await);
        town.subscribe(&room, &threads[number]).await;
    }
    let id = user("hanako");
    let answer = with(json!(3)).look(&town).await;
    assert_eq!(told(&answer)["subscribed"][room.as_str()].as_object().unwrap().len(), 3);
    assert!(told(&answer)["prev_batch"].as_str().unwrap().starts_with("t1_"));
    // The pages that the list has behind that.
    let head = town.store.head();
    let start = store::Position::START;
    let (page, rest) = town.accounts.thread_changes(&id, start, head, 3).await.unwrap();
    let newest: Vec<_> = page.iter().map(|change| change.thread.clone()).collect();
    assert_eq!(newest, [threads[6].clone(), threads[5].clone(), threads[4].clone()]);
    let before = store::Position(rest.unwrap().0 - 1);
    // One of them changes meanwhile: it is told once more, and not in the list behind.
    town.accounts.unsubscribe_from_thread(&id, &room, &threads[2]).await.unwrap();
    let (page, rest) = town.accounts.thread_changes(&id, start, before, 10).await.unwrap();
    let behind: Vec<_> = page.iter().map(|change| change.thread.clone()).collect();
    assert_eq!(behind, [threads[3].clone(), threads[1].clone(), threads[0].clone()]);
    assert!(page.iter().all(|change| change.subscription == Some(ThreadSubscription::Manual)));
    assert_eq!(rest, None);
}

#[tokio::test]
async fn a_thread_rings_as_it_is_subscribed_to() {
    let town = town().await;
    let room = town.room("taro").await;
    town.join("hanako", &room).await;
    let root = town.say("taro", &room, "一").await;
    let reply = async |text: &str| {
        let content = json!({ "msgtype": "m.text", "body": text,
            "m.relates_to": { "rel_type": "m.thread", "event_id": root } });
        let draft = pdu::Draft::message(&user("taro"), "m.room.message".into(), &content).unwrap();
        town.engine.send(&room, draft, None).await.unwrap()
    };
    let count = async || {
        let answer = client("hanako").sync(&town).await;
        answer["rooms"]["join"][room.as_str()]["unread_notifications"]["notification_count"].as_u64()
    };
    reply("二").await;
    assert_eq!(count().await, Some(2), "she knows of no subscriptions");
    let other = town.say("taro", &room, "三").await;
    town.subscribe(&room, &other).await;
    assert_eq!(count().await, Some(2), "the thread is none of hers");
    reply("hanako?").await;
    assert_eq!(count().await, Some(3), "but she is mentioned");
    town.subscribe(&room, &root).await;
    assert_eq!(count().await, Some(4));
    town.accounts.unsubscribe_from_thread(&user("hanako"), &room, &root).await.unwrap();
    assert_eq!(count().await, Some(3));
}
