//! Events by the time that they claim.

use std::time::Duration;

use base::ManualClock;
use room::{
    Error, index_times,
    read::{timeline::Direction, times::TIMES, view::Viewer},
};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, UInt, UserId, server_name};
use serde_json::json;
use store::{Batch, Order, Range};

use super::net::{Net, Server, state, user};

const HANAKO: &str = "@hanako:a.test";
const TARO: &str = "@taro:b.test";
const START: u64 = 1_700_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn at(millis: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::try_from(millis).unwrap())
}

async fn from(server: &Server, who: &UserId, room: &RoomId, millis: u64) -> Option<OwnedEventId> {
    let found = server.engine.event_at_time(&Viewer::user(who), room, at(millis), Direction::Forward).await;
    found.unwrap().map(|event| event.event_id().to_owned())
}

async fn up_to(server: &Server, who: &UserId, room: &RoomId, millis: u64) -> Option<OwnedEventId> {
    let found = server.engine.event_at_time(&Viewer::user(who), room, at(millis), Direction::Backward).await;
    found.unwrap().map(|event| event.event_id().to_owned())
}

/// Says something a minute later than what was said before.
async fn say_later(server: &Server, hand: &ManualClock, room: &RoomId, body: &str) -> OwnedEventId {
    hand.advance(MINUTE);
    server.say(&user(HANAKO), room, body).await
}

#[tokio::test]
async fn an_event_is_found_from_a_time_on_and_up_to_it() {
    let net = Net::default();
    let hand = net.steer_clock();
    let a = net.server(&["a.test"]).await;
    let hanako = user(HANAKO);
    let room = a.public_room(&hanako).await;
    let first = say_later(&a, &hand, &room, "一").await;
    let second = a.say(&hanako, &room, "同じ時").await;
    let third = say_later(&a, &hand, &room, "二").await;
    let (early, late) = (START + 60_000, START + 120_000);

    assert_eq!(from(&a, &hanako, &room, START + 1).await, Some(first.clone()));
    assert_eq!(from(&a, &hanako, &room, early).await, Some(first), "of one time, the first in the timeline");
    assert_eq!(up_to(&a, &hanako, &room, early).await, Some(second.clone()), "of one time, the last");
    assert_eq!(up_to(&a, &hanako, &room, late - 1).await, Some(second));
    assert_eq!(from(&a, &hanako, &room, early + 1).await, Some(third.clone()));
    assert_eq!(up_to(&a, &hanako, &room, late + 9).await, Some(third));
    assert_eq!(from(&a, &hanako, &room, late + 1).await, None);
    assert_eq!(up_to(&a, &hanako, &room, START - 1).await, None);
}

#[tokio::test]
async fn what_claims_to_be_older_than_what_was_before_it_is_found_at_its_time() {
    let net = Net::default();
    let hand = net.steer_clock();
    let a = net.server(&["a.test"]).await;
    let hanako = user(HANAKO);
    hand.set_forward(YEAR);
    let room = a.public_room(&hanako).await;
    say_later(&a, &hand, &room, "今").await;
    hand.set_back(YEAR);
    let old = a.say(&hanako, &room, "移した昔の文").await;
    hand.set_forward(YEAR);
    say_later(&a, &hand, &room, "後").await;

    assert_eq!(from(&a, &hanako, &room, 0).await, Some(old.clone()));
    assert_eq!(up_to(&a, &hanako, &room, START + 600_000).await, Some(old.clone()));

    // And so in data from before times were noted, also when they are gone through twice.
    let mut batch = Batch::new();
    batch.delete_all(&TIMES);
    a.store.commit(batch).await.unwrap();
    assert_eq!(from(&a, &hanako, &room, 0).await, None);
    for _ in 0..2 {
        index_times(&a.store).await.unwrap();
        assert_eq!(from(&a, &hanako, &room, 0).await, Some(old.clone()));
    }
    let rows = a.store.scan(&TIMES, Range::all(), Order::Ascending, 100).await.unwrap();
    assert_eq!(rows.len(), a.timeline(&room).await.len());
}

#[tokio::test]
async fn nobody_is_told_of_what_he_may_not_see() {
    let net = Net::default();
    let hand = net.steer_clock();
    let a = net.server(&["a.test"]).await;
    let (hanako, jiro, stranger) = (user(HANAKO), user("@jiro:a.test"), user("@saburo:a.test"));
    let room = a.public_room(&hanako).await;
    let hides = state(&hanako, "m.room.history_visibility", "", &json!({ "history_visibility": "joined" }));
    a.engine.send(&room, hides, None).await.unwrap();
    // More than are read at a time.
    for number in 0..120 {
        say_later(&a, &hand, &room, &number.to_string()).await;
    }
    hand.advance(MINUTE);
    a.join(&jiro, &room, "a.test").await.unwrap();
    let heard = say_later(&a, &hand, &room, "次郎も聞く").await;
    let joined = START + 121 * 60_000;
    let last = START + 122 * 60_000;

    assert_eq!(
        up_to(&a, &jiro, &room, joined - 1).await,
        Some(up_to(&a, &jiro, &room, START).await.unwrap())
    );
    assert_eq!(from(&a, &jiro, &room, START + 60_000).await, up_to(&a, &jiro, &room, joined).await);
    assert_eq!(up_to(&a, &jiro, &room, last).await, Some(heard.clone()));
    a.engine.leave(&jiro, &room, None).await.unwrap();
    let after = say_later(&a, &hand, &room, "もう聞かない").await;
    assert_ne!(up_to(&a, &jiro, &room, last + 999_999).await, Some(after.clone()));
    assert_eq!(from(&a, &jiro, &room, last + 1).await, None);
    assert_eq!(up_to(&a, &hanako, &room, last + 999_999).await, Some(after));

    let (viewer, time) = (Viewer::user(&stranger), at(START));
    let refused = a.engine.event_at_time(&viewer, &room, time, Direction::Forward).await;
    assert!(matches!(refused, Err(Error::NotJoined { .. } | Error::NotAllowed(_))), "{refused:?}");
}

#[tokio::test]
async fn what_was_before_we_came_is_fetched_for_who_looks_for_it() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user(HANAKO), user(TARO));
    let room = a.public_room(&hanako).await;
    let first = say_later(&a, &hand, &room, "一").await;
    // More than one answer of another server holds.
    for number in 0..150 {
        say_later(&a, &hand, &room, &number.to_string()).await;
    }
    hand.advance(MINUTE);
    b.join(&taro, &room, "a.test").await.unwrap();

    assert_eq!(from(&b, &taro, &room, START + 60_000).await, Some(first.clone()));
    assert_eq!(up_to(&b, &taro, &room, START + 60_000).await, Some(first));

    // A server that is in the room may ask as well, and no other.
    let of =
        async |server| a.rooms.event_at_time_for_server(server, &room, at(START), Direction::Forward).await;
    assert!(of(server_name!("b.test")).await.unwrap().is_some());
    assert!(matches!(of(server_name!("c.test")).await, Err(Error::NotAllowed(_))));
}
