//! Joins and knocks that another server takes, and that come to nothing here.

use std::{sync::Arc, time::Duration};

use base::ManualClock;
use pdu::{Pdu, RoomVersion};
use room::{Error, RemoteError, tables::Membership};
use ruma::{OwnedRoomId, RoomId};
use serde_json::Value;

use super::{
    entering::{HANAKO, TARO, half_way, serial},
    net::{Net, Server, authority, user},
};
use crate::{CreateRoom, Profile, tables::HALF_WAY};

/// Gives others the time to do it, while time passes on the steered clock.
async fn until(hand: &ManualClock, step: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    for look in 0..2_000_000_u32 {
        if is_so().await {
            return;
        }
        // Not all the time: what is asked for must have time to be answered.
        if look % 1_000 == 999 {
            hand.advance(step);
        }
        tokio::task::yield_now().await;
    }
    panic!("it never comes");
}

/// Answers to joins are of no use from now on.
fn spoil(net: &Net) {
    net.forge_joined(Some(Arc::new(|joined| {
        joined
            .state
            .retain(|event| serde_json::from_str::<Value>(event.get()).unwrap()["type"] != "m.room.create");
        joined.auth_chain.clear();
    })));
}

async fn begin(net: &Net) -> (ManualClock, Server, Server, OwnedRoomId) {
    let hand = net.steer_clock();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let room = a.public_room(&user(HANAKO)).await;
    (hand, a, b, room)
}

async fn is_in(server: &Server, room: &RoomId) -> bool {
    server.membership(&user(TARO), room).await == Some(Membership::Join)
}

async fn is_out(server: &Server, room: &RoomId) -> bool {
    server.membership(&user(TARO), room).await == Some(Membership::Leave)
}

/// A join of 太郎 as it would be sent.
async fn join_of(b: &Server, room: &RoomId) -> Pdu {
    let (from, to) = (ruma::server_name!("b.test"), ruma::server_name!("a.test"));
    let remote = &b.engine.0.remote;
    let template = remote.make_join(from, to, room, &user(TARO), &[RoomVersion::V11.id()]).await.unwrap();
    let template = pdu::Template::parse(RoomVersion::V11, &template.event).unwrap();
    b.engine.complete_template(RoomVersion::V11, &template, &authority("b.test")).unwrap()
}

#[tokio::test]
async fn a_join_that_fails_here_ends_where_it_was_taken() {
    let net = Net::default();
    let (hand, a, b, room) = begin(&net).await;
    spoil(&net);
    b.join(&user(TARO), &room, "a.test").await.unwrap_err();
    assert!(is_in(&a, &room).await);
    until(&hand, Duration::from_secs(40), async || is_out(&a, &room).await).await;
    until(&hand, Duration::ZERO, async || half_way(&b).await == 0).await;
    net.forge_joined(None);
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    assert!(is_in(&a, &room).await && is_in(&b, &room).await);
}

#[tokio::test]
async fn a_join_in_which_the_process_dies_ends_where_it_was_taken_once_that_can_be_reached() {
    let net = Net::default();
    let (hand, a, b, room) = begin(&net).await;
    let (_held, taro) = (net.hold_joins().await, user(TARO));
    tokio::select! {
        joined = b.join(&taro, &room, "a.test") => panic!("{joined:?}"),
        () = until(&hand, Duration::ZERO, async || is_in(&a, &room).await) => {}
    }
    let disk = b.crash().await;
    net.cut(true);
    let b = net.server_on(&["b.test"], &disk).await;
    until(&hand, Duration::from_secs(120), async || {
        let key = (serial(&b, &room).await, TARO);
        b.store.get(&HALF_WAY, &key).await.unwrap().is_some_and(|row| row.tries > 2)
    })
    .await;
    assert!(is_in(&a, &room).await);
    net.cut(false);
    until(&hand, Duration::from_secs(120), async || is_out(&a, &room).await).await;
    until(&hand, Duration::ZERO, async || half_way(&b).await == 0).await;
}

#[tokio::test]
async fn a_join_whose_answer_is_lost_may_be_tried_again_and_stays() {
    let net = Net::default();
    let (hand, a, b, room) = begin(&net).await;
    net.lose_joins(true);
    b.join(&user(TARO), &room, "a.test").await.unwrap_err();
    assert!(is_in(&a, &room).await);
    assert_eq!(half_way(&b).await, 1);
    net.lose_joins(false);
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    assert_eq!(half_way(&b).await, 0);
    // Whoever would tell has looked.
    for _ in 0..3 {
        hand.advance(Duration::from_secs(700));
        b.engine.tell_half_way_due().await.unwrap();
    }
    assert!(is_in(&a, &room).await && is_in(&b, &room).await);
}

#[tokio::test]
async fn an_invite_to_which_a_join_never_came_stands_and_one_that_a_join_took_ends() {
    let net = Net::default();
    let (hand, a, b, _) = begin(&net).await;
    let (hanako, taro) = (user(HANAKO), user(TARO));
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
        a.invite(&hanako, &room, &taro).await.unwrap();
        rooms.push(room);
    }
    // One never arrives.
    let info = b.rooms.room(&rooms[0]).await.unwrap().unwrap();
    let event = join_of(&b, &info.room_id).await;
    let mut half = None;
    b.engine.note_half_way(&info, ruma::server_name!("a.test"), &event, &mut half).await.unwrap();
    b.engine.void_half_way(&taro, half).await.unwrap();
    // One is taken.
    spoil(&net);
    b.join(&taro, &rooms[1], "a.test").await.unwrap_err();
    until(&hand, Duration::from_secs(40), async || half_way(&b).await == 0).await;
    assert_eq!(a.membership(&taro, &rooms[0]).await, Some(Membership::Invite));
    assert_eq!(a.membership(&taro, &rooms[1]).await, Some(Membership::Leave));
    let mine = b.rooms.memberships(&taro).await.unwrap();
    let of = |membership| mine.with(membership).map(|row| row.room).collect::<Vec<_>>();
    assert_eq!(of(Membership::Invite), [info.serial]);
    assert_eq!(of(Membership::Leave), [serial(&b, &rooms[1]).await]);
}

#[tokio::test]
async fn a_join_that_comes_after_it_was_given_up_gets_nobody_in() {
    let net = Net::default();
    let (hand, a, b, room) = begin(&net).await;
    let held = net.hold_joins().await;
    let engine = b.engine.clone();
    let (taro, there) = (user(TARO), room.clone());
    let join = tokio::spawn(async move {
        let via = [ruma::server_name!("a.test").to_owned()];
        engine.join(&taro, &there, &via, crate::Joining::default()).await
    });
    until(&hand, Duration::ZERO, async || is_in(&a, &room).await).await;
    until(&hand, Duration::from_secs(120), async || is_out(&a, &room).await).await;
    drop(held);
    let joined = join.await.unwrap();
    assert!(matches!(joined, Err(Error::Contended)), "{joined:?}");
    assert!(!is_in(&b, &room).await && is_out(&a, &room).await);
}

#[tokio::test]
async fn a_refused_join_leaves_nothing_to_be_told() {
    let net = Net::default();
    let (_hand, a, b, _) = begin(&net).await;
    let closed = a.engine.create(&user(HANAKO), CreateRoom::default()).await.unwrap();
    b.join(&user(TARO), &closed, "a.test").await.unwrap_err();
    assert_eq!(half_way(&b).await, 0);
    let room = a.public_room(&user(HANAKO)).await;
    let server = ruma::server_name!("a.test").to_owned();
    let info = b.engine.ensure_room(&room, RoomVersion::V11).await.unwrap();
    let event = join_of(&b, &room).await;
    let lost = RemoteError::Unreachable { server: server.clone(), cause: String::new() };
    let refused = RemoteError::Refused {
        server: server.clone(),
        status: 403,
        code: "M_FORBIDDEN".to_owned(),
        message: String::new(),
        room_version: None,
    };
    for (error, left) in [(lost, 1), (refused, 0)] {
        let mut half = None;
        b.engine.note_half_way(&info, &server, &event, &mut half).await.unwrap();
        b.engine.note_refusal(&user(TARO), &error, &mut half).await.unwrap();
        assert_eq!((half_way(&b).await, half.is_some()), (left, left == 1), "{error}");
        b.engine.end_half_way(&info, &user(TARO)).await.unwrap();
    }
}

#[tokio::test]
async fn a_knock_that_fails_here_ends_where_it_was_taken() {
    let net = Net::default();
    let (hand, a, b, room) = begin(&net).await;
    let hanako = user(HANAKO);
    let rule =
        super::net::state(&hanako, "m.room.join_rules", "", &serde_json::json!({ "join_rule": "knock" }));
    a.engine.send(&room, rule, None).await.unwrap();
    let via = [ruma::server_name!("a.test").to_owned()];
    net.lose_joins(true);
    b.engine.knock(&user(TARO), &room, &via, &Profile::default(), None).await.unwrap_err();
    assert_eq!(a.membership(&user(TARO), &room).await, Some(Membership::Knock));
    until(&hand, Duration::from_secs(40), async || is_out(&a, &room).await).await;
    net.lose_joins(false);
    b.engine.knock(&user(TARO), &room, &via, &Profile::default(), None).await.unwrap();
    until(&hand, Duration::ZERO, async || half_way(&b).await == 0).await;
    hand.advance(Duration::from_secs(700));
    b.engine.tell_half_way_due().await.unwrap();
    assert_eq!(a.membership(&user(TARO), &room).await, Some(Membership::Knock));
}
