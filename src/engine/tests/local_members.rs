//! Which members of a room are ours.

use room::{
    EventSerial, Root,
    read::room::RoomInfo,
    tables::{LOCAL_MEMBERS, MEMBERS, MEMBERSHIPS, MemberRow, Membership, MembershipRow},
};
use ruma::UserId;
use store::{Batch, Order, Position, Range, Stamped};

use super::net::{Net, Server, user};
use crate::{pipeline::Stage, projections::list_local_members};

async fn listed(server: &Server, room: &RoomInfo) -> Vec<String> {
    let ours = Range::prefix(&room.serial);
    let ours = server.store.scan(&LOCAL_MEMBERS, ours, Order::Ascending, usize::MAX).await.unwrap();
    ours.into_iter().map(|((_, user), ())| user).collect()
}

async fn commit(server: &Server, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    fill(&mut batch);
    server.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn they_are_those_who_are_in_the_room_and_no_others() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, jiro, taro) = (user("@hanako:a.test"), user("@jiro:a.test"), user("@taro:b.test"));
    let room_id = a.public_room(&hanako).await;
    a.join(&jiro, &room_id, "a.test").await.unwrap();
    b.join(&taro, &room_id, "a.test").await.unwrap();
    let (at_a, at_b) =
        (a.rooms.room(&room_id).await.unwrap().unwrap(), b.rooms.room(&room_id).await.unwrap().unwrap());
    assert_eq!(listed(&a, &at_a).await, ["@hanako:a.test", "@jiro:a.test"]);
    assert_eq!(listed(&b, &at_b).await, ["@taro:b.test"]);

    a.engine.kick(&hanako, &room_id, &jiro, None).await.unwrap();
    b.engine.leave(&taro, &room_id, None).await.unwrap();
    assert_eq!(listed(&a, &at_a).await, ["@hanako:a.test"]);
    assert!(listed(&b, &at_b).await.is_empty());
    b.join(&taro, &room_id, "a.test").await.unwrap();
    assert_eq!(listed(&b, &at_b).await, ["@taro:b.test"]);
}

#[tokio::test]
async fn one_of_ours_is_found_among_many_of_others() {
    let server = Net::default().server(&["a.test"]).await;
    let hanako = user("@hanako:a.test");
    let room_id = server.public_room(&hanako).await;
    let room = server.rooms.room(&room_id).await.unwrap().unwrap();
    let stranger = MemberRow { membership: Membership::Join, event: EventSerial(1) };
    commit(&server, |batch| {
        for number in 0..6_000 {
            batch.put(&MEMBERS, &(room.serial, format!("@a{number}:b.test")), &stranger);
        }
    })
    .await;
    let guard = server.engine.lock(&room).await.unwrap();
    let stage = Stage::new(&server.engine, &room, guard.live().unwrap());
    let found = server.engine.find_local_member(&stage, |_: &UserId| true).await.unwrap();
    assert_eq!(found, Some(hanako));
}

#[tokio::test]
async fn in_data_of_before_there_was_a_list_they_are_listed_also_twice() {
    let server = Net::default().server(&["a.test"]).await;
    let room_id = server.public_room(&user("@hanako:a.test")).await;
    let room = server.rooms.room(&room_id).await.unwrap().unwrap();
    let row = |membership| MembershipRow {
        room_id: room_id.clone(),
        membership,
        previous: None,
        event: None,
        sender: user("@hanako:a.test"),
        forgotten: false,
        current: Root::EMPTY,
    };
    commit(&server, |batch| {
        for number in 0..2_100 {
            let membership = if number % 2 == 0 { Membership::Join } else { Membership::Leave };
            let stamped = Stamped { position: Position::START, value: row(membership) };
            batch.put(&MEMBERSHIPS, &(format!("@u{number}:a.test"), room.serial), &stamped);
        }
        batch.delete_all(&LOCAL_MEMBERS);
    })
    .await;
    for _ in 0..2 {
        list_local_members(&server.store).await.unwrap();
        assert_eq!(listed(&server, &room).await.len(), 1_051);
    }
}
