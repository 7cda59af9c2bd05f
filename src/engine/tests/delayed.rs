//! Delayed events: once, in their time, and not against what was said meanwhile.

use std::time::Duration;

use base::{ManualClock, Metrics};
use pdu::Draft;
use room::Error;
use ruma::{OwnedDeviceId, OwnedTransactionId, OwnedUserId, RoomId};
use serde_json::json;
use store::{Batch, Order, Range};

use super::net::{Net, Server, message, state, user};
use crate::{
    DelayLimits, Txn,
    delays::tables::{DELAYED, DELAYED_STATE, DELAYS, DELAYS_DUE, USER_DELAYS},
};

const TEN: Duration = Duration::from_secs(10);

async fn town() -> (Net, ManualClock, Server) {
    let net = Net::default();
    let hand = net.steer_clock();
    let server = net.server(&["a.test"]).await;
    server.engine.start_delaying(&Metrics::new());
    (net, hand, server)
}

fn people() -> (OwnedUserId, OwnedUserId) {
    (user("@hanako:a.test"), user("@taro:a.test"))
}

/// Waits until something is so.
async fn until(so: impl AsyncFn() -> bool) {
    let wait = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it is never so");
}

/// Lets whatever could happen now happen.
async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

impl Server {
    async fn later(&self, room: &RoomId, draft: Draft) -> String {
        self.engine.delay(room, draft, TEN, None).await.unwrap()
    }

    async fn waiting(&self, who: &OwnedUserId) -> Vec<String> {
        let events = self.engine.delayed_of(who).await.unwrap();
        events.into_iter().map(|event| event.delay_id).collect()
    }

    /// Nothing is left of any delayed event.
    async fn is_rid_of_delays(&self) -> bool {
        let all = (Order::Ascending, usize::MAX);
        self.store.scan(&DELAYS, Range::all(), all.0, all.1).await.unwrap().is_empty()
            && self.store.scan(&DELAYED, Range::all(), all.0, all.1).await.unwrap().is_empty()
            && self.store.scan(&DELAYED_STATE, Range::all(), all.0, all.1).await.unwrap().is_empty()
            && self.store.scan(&DELAYS_DUE, Range::all(), all.0, all.1).await.unwrap().is_empty()
            && self.store.scan(&USER_DELAYS, Range::all(), all.0, all.1).await.unwrap().is_empty()
    }

    async fn topic(&self, room: &RoomId) -> Option<String> {
        let info = self.rooms.room(room).await.unwrap().unwrap();
        let event = self.rooms.current_state_event(&info, "m.room.topic", "").await.unwrap()?;
        let content: serde_json::Value = serde_json::from_str(event.pdu().content_str()).unwrap();
        content["topic"].as_str().map(str::to_owned)
    }
}

fn topic(sender: &OwnedUserId, text: &str) -> Draft {
    state(sender, "m.room.topic", "", &json!({ "topic": text }))
}

/// Hanako's room, in which Taro may set the topic too.
async fn shared_room(server: &Server) -> ruma::OwnedRoomId {
    let (hanako, taro) = people();
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let levels = json!({ "users": { hanako.as_str(): 100, taro.as_str(): 100 } });
    server.engine.send(&room, state(&hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    room
}

#[tokio::test]
async fn what_is_delayed_is_sent_in_its_time_and_nothing_is_left_of_it() {
    let (_net, hand, server) = town().await;
    let (hanako, taro) = people();
    let room = server.public_room(&hanako).await;
    let first = server.later(&room, message(&hanako, "一")).await;
    server.later(&room, message(&hanako, "二")).await;
    server.later(&room, topic(&hanako, "後で")).await;
    assert_eq!(server.waiting(&hanako).await.len(), 3);
    assert!(server.waiting(&taro).await.is_empty());
    assert!(matches!(server.engine.delayed_event(&taro, &first).await, Err(Error::NotFound(_))));
    let event = server.engine.delayed_event(&hanako, &first).await.unwrap();
    assert_eq!((event.room_id, event.delay), (room.clone(), TEN));

    settle().await;
    hand.advance(TEN - Duration::from_millis(1));
    settle().await;
    assert!(server.bodies(&room).await.is_empty(), "it is not time yet");
    hand.advance(Duration::from_millis(1));
    until(async || server.is_rid_of_delays().await).await;
    // That it was sent is known for a while to whoever asks again.
    server.engine.send_delayed(&first).await.unwrap();
    assert!(matches!(server.engine.cancel_delayed(&first).await, Err(Error::DelayEnded)));
    let now = base::Timestamp(server.engine.now());
    assert_eq!(server.engine.forget_delayed(now).await.unwrap(), 0);
    assert_eq!(server.engine.forget_delayed(now + Duration::from_millis(1)).await.unwrap(), 3);
    assert!(matches!(server.engine.cancel_delayed(&first).await, Err(Error::NotFound(_))));
    let mut bodies = server.bodies(&room).await;
    // Due in one and the same millisecond: the order is that of their ids.
    bodies.sort();
    assert_eq!(bodies, ["一", "二"]);
    assert_eq!(server.topic(&room).await.as_deref(), Some("後で"));
}

#[tokio::test]
async fn what_is_restarted_waits_anew_and_what_is_cancelled_never_comes_but_the_others_do() {
    let (_net, hand, server) = town().await;
    let (hanako, _) = people();
    let room = server.public_room(&hanako).await;
    let restarted = server.later(&room, message(&hanako, "restarted")).await;
    let cancelled = server.later(&room, message(&hanako, "cancelled")).await;
    server.later(&room, message(&hanako, "plain")).await;
    let sent = server.later(&room, message(&hanako, "sent")).await;
    server.engine.cancel_delayed(&cancelled).await.unwrap();
    server.engine.send_delayed(&sent).await.unwrap();
    // The same again is as good as done, and nothing else is.
    server.engine.cancel_delayed(&cancelled).await.unwrap();
    server.engine.send_delayed(&sent).await.unwrap();
    assert!(matches!(server.engine.send_delayed(&cancelled).await, Err(Error::DelayEnded)));
    assert!(matches!(server.engine.cancel_delayed(&sent).await, Err(Error::DelayEnded)));
    for done in [&cancelled, &sent] {
        assert!(matches!(server.engine.restart_delayed(done).await, Err(Error::DelayEnded)));
    }
    assert!(matches!(server.engine.cancel_delayed(&"x".repeat(32)).await, Err(Error::NotFound(_))));
    settle().await;
    hand.advance(TEN - Duration::from_secs(4));
    server.engine.restart_delayed(&restarted).await.unwrap();
    hand.advance(Duration::from_secs(4));
    until(async || server.bodies(&room).await.len() == 2).await;
    settle().await;
    assert_eq!(server.bodies(&room).await, ["sent", "plain"]);
    hand.advance(Duration::from_secs(6));
    until(async || server.is_rid_of_delays().await).await;
    assert_eq!(server.bodies(&room).await, ["sent", "plain", "restarted"]);
}

#[tokio::test]
async fn a_send_that_fails_says_why_and_the_event_stays_until_it_is_due() {
    let (_net, hand, server) = town().await;
    let (hanako, taro) = people();
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    let id = server.later(&room, topic(&taro, "太郎の")).await;
    assert!(matches!(server.engine.send_delayed(&id).await, Err(Error::Forbidden(_))));
    assert_eq!(server.waiting(&taro).await, [id]);
    settle().await;
    hand.advance(TEN);
    until(async || server.is_rid_of_delays().await).await;
    assert_eq!(server.topic(&room).await, None);
}

#[tokio::test]
async fn delayed_state_stays_when_its_sender_sets_the_same_and_goes_when_another_does() {
    let (_net, _hand, server) = town().await;
    let (hanako, taro) = people();
    let room = shared_room(&server).await;
    let id = server.later(&room, topic(&hanako, "後で")).await;
    let other = state(&hanako, "m.room.topic", "別", &json!({}));
    let beside = server.later(&room, other).await;
    server.engine.send(&room, topic(&hanako, "今"), None).await.unwrap();
    server.engine.send(&room, state(&taro, "m.room.name", "", &json!({ "name": "名" })), None).await.unwrap();
    assert!(server.waiting(&hanako).await.contains(&id), "nobody else has set it");
    server.engine.send(&room, topic(&taro, "太郎の"), None).await.unwrap();
    assert_eq!(server.waiting(&hanako).await, std::slice::from_ref(&beside));
    server.engine.cancel_delayed(&beside).await.unwrap();
    assert!(server.is_rid_of_delays().await);
}

#[tokio::test]
async fn delayed_state_that_another_process_did_not_know_of_is_not_sent_over_what_was_set_there() {
    let (_net, hand, server) = town().await;
    let (hanako, taro) = people();
    let room = shared_room(&server).await;
    server.later(&room, topic(&hanako, "後で")).await;
    // As if it were not known yet where Taro sets the topic.
    let mut batch = Batch::new();
    batch.delete_all(&DELAYED_STATE);
    server.store.commit(batch).await.unwrap();
    server.engine.send(&room, topic(&taro, "太郎の"), None).await.unwrap();
    assert_eq!(server.waiting(&hanako).await.len(), 1);
    settle().await;
    hand.advance(TEN);
    until(async || server.is_rid_of_delays().await).await;
    assert_eq!(server.topic(&room).await.as_deref(), Some("太郎の"));
}

#[tokio::test]
async fn delayed_events_outlive_a_crash_and_are_sent_once_after_it() {
    let (net, hand, server) = town().await;
    let (hanako, _) = people();
    let room = server.public_room(&hanako).await;
    server.later(&room, message(&hanako, "残した言葉")).await;
    let disk = server.crash().await;
    hand.advance(TEN);
    for _ in 0..2 {
        let server = net.server_on(&["a.test"], &disk).await;
        server.engine.start_delaying(&Metrics::new());
        until(async || server.is_rid_of_delays().await).await;
        assert_eq!(server.bodies(&room).await, ["残した言葉"]);
        server.crash().await;
    }
}

#[tokio::test]
async fn of_many_who_send_a_delayed_event_at_once_one_does() {
    let (net, hand, one) = town().await;
    let other = net.server_over(&["a.test"], &one.disk, one.store.clone()).await;
    other.engine.start_delaying(&Metrics::new());
    let (hanako, _) = people();
    let room = one.public_room(&hanako).await;
    let mut bodies = Vec::new();
    for round in 0..10 {
        let body = format!("{round}");
        let id = one.later(&room, message(&hanako, &body)).await;
        settle().await;
        hand.advance(TEN);
        let (first, second) = tokio::join!(one.engine.send_delayed(&id), other.engine.send_delayed(&id));
        for sent in [first, second] {
            assert!(matches!(sent, Ok(()) | Err(Error::NotFound(_))), "{sent:?}");
        }
        until(async || one.is_rid_of_delays().await).await;
        bodies.push(body);
        assert_eq!(one.bodies(&room).await, bodies);
    }
}

#[tokio::test]
async fn a_request_is_served_once_and_what_is_too_long_too_much_or_not_ones_room_is_refused() {
    let (_net, _hand, server) = town().await;
    let (hanako, taro) = people();
    let room = server.public_room(&hanako).await;
    let engine = &server.engine;
    let txn = Txn { device: OwnedDeviceId::from("PHONE"), id: OwnedTransactionId::from("1") };
    let id = engine.delay(&room, message(&hanako, "一"), TEN, Some(&txn)).await.unwrap();
    assert_eq!(engine.delay(&room, message(&hanako, "二"), TEN, Some(&txn)).await.unwrap(), id);
    engine.send_delayed(&id).await.unwrap();
    assert_eq!(engine.delay(&room, message(&hanako, "三"), TEN, Some(&txn)).await.unwrap(), id);
    assert_eq!(server.bodies(&room).await, ["一"]);
    assert!(server.is_rid_of_delays().await);

    let limits = DelayLimits::default();
    let long = limits.longest + Duration::from_millis(1);
    let refused = engine.delay(&room, message(&hanako, "長"), long, None).await;
    assert!(matches!(refused, Err(Error::DelayTooLong(longest)) if longest == limits.longest));
    let refused = engine.delay(&room, message(&taro, "外"), TEN, None).await;
    assert!(matches!(refused, Err(Error::NotJoined { .. })), "{refused:?}");
    let invite = state(&hanako, "m.room.member", "@x:b.test", &json!({ "membership": "invite" }));
    assert!(matches!(engine.delay(&room, invite, TEN, None).await, Err(Error::Invalid(_))));
    let large = message(&hanako, &"大".repeat(30_000));
    assert!(matches!(engine.delay(&room, large, TEN, None).await, Err(Error::TooLarge)));
    for _ in 0..limits.most_of_user {
        server.later(&room, message(&hanako, "多")).await;
    }
    let refused = engine.delay(&room, message(&hanako, "多"), TEN, None).await;
    assert!(matches!(refused, Err(Error::TooManyDelays(Some(TEN)))), "{refused:?}");
    engine.cancel_all_delayed(&hanako).await.unwrap();
    assert!(server.is_rid_of_delays().await);
}

#[tokio::test]
async fn who_is_silenced_says_nothing_any_more_but_goes_out_of_a_call() {
    let (_net, hand, server) = town().await;
    let (hanako, taro) = people();
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    server.later(&room, message(&hanako, "まだ")).await;
    server.later(&room, message(&taro, "他")).await;
    let call = |content| state(&hanako, "org.matrix.msc3401.call.member", "_call", &content);
    server.engine.send(&room, call(json!({ "application": "m.call" })), None).await.unwrap();
    server.later(&room, call(json!({}))).await;
    server.later(&room, state(&hanako, "m.room.topic", "", &json!({ "topic": "後" }))).await;
    server.later(&room, state(&hanako, "m.room.avatar", "", &json!({}))).await;
    server.engine.silence_delayed(&hanako).await.unwrap();
    settle().await;
    hand.advance(TEN);
    until(async || server.is_rid_of_delays().await).await;
    assert_eq!(server.bodies(&room).await, ["他"]);
    let now = server.state(&room).await;
    assert!(now.iter().all(|(kind, ..)| kind != "m.room.topic" && kind != "m.room.avatar"));
    let calls = server.timeline(&room).await;
    let calls = calls.iter().filter(|event| event.kind() == "org.matrix.msc3401.call.member").count();
    assert_eq!(calls, 2, "she is in the call, and then she is not");
}

#[tokio::test]
async fn who_has_left_says_nothing_any_more() {
    let (_net, hand, server) = town().await;
    let (hanako, taro) = people();
    let room = server.public_room(&hanako).await;
    server.join(&taro, &room, "a.test").await.unwrap();
    server.later(&room, message(&taro, "まだ")).await;
    server.engine.leave(&taro, &room, None).await.unwrap();
    settle().await;
    hand.advance(TEN);
    until(async || server.is_rid_of_delays().await).await;
    assert!(server.bodies(&room).await.is_empty());
}
