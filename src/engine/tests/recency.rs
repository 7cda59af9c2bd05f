//! By what lists of rooms are ordered.

use std::sync::Arc;

use base::{Metrics, Tasks};
use room::{
    read::recency::{Latest, RECENCY, note_recency},
    tables::Membership,
};
use ruma::{OwnedRoomId, UserId};
use serde_json::json;
use store::{Batch, MemoryDisk, Options, Position, Range, Stamped, Store};

use super::{
    counting::Counting,
    net::{Net, Server, state, user},
};

/// By which position clients order a room.
async fn recency(server: &Server, who: &UserId, room: &OwnedRoomId) -> Position {
    recent(server, who, room).await.bump
}

/// Where a room stands among a user's rooms.
async fn recent(server: &Server, who: &UserId, room: &OwnedRoomId) -> Latest {
    let rooms = server.engine.rooms().memberships(who).await.unwrap();
    let all: Vec<_> = rooms.rooms.iter().collect();
    let at = all.iter().position(|row| row.room_id == *room).unwrap();
    server.engine.rooms().recency(&all).await.unwrap()[at]
}

/// Where the newest event of a room stands.
async fn newest(server: &Server, room: &OwnedRoomId) -> Position {
    let info = server.engine.rooms().room(room).await.unwrap().unwrap();
    let range = Range::prefix(&info.serial);
    let rows = server.store.scan(&room::tables::TIMELINE, range, store::Order::Descending, 1).await.unwrap();
    rows[0].0.1.position().unwrap()
}

#[tokio::test]
async fn what_people_say_moves_a_room_up_and_nothing_else_does() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let (hanako, jiro) = (user("@hanako:a.test"), user("@jiro:a.test"));
    let (one, two) = (a.public_room(&hanako).await, a.public_room(&hanako).await);
    assert!(recency(&a, &hanako, &one).await < recency(&a, &hanako, &two).await);

    a.say(&hanako, &one, "訓練です").await;
    let said = recency(&a, &hanako, &one).await;
    assert_eq!(said, newest(&a, &one).await);
    assert!(said > recency(&a, &hanako, &two).await);
    // Who comes in, and a topic, moves it nowhere for clients, but it is what happened last.
    a.join(&jiro, &two, "a.test").await.unwrap();
    let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": "題" }));
    a.engine.send(&two, topic, None).await.unwrap();
    assert!(said > recency(&a, &hanako, &two).await);
    assert_eq!(recent(&a, &hanako, &one).await.active, said);
    assert_eq!(recent(&a, &hanako, &two).await.active, newest(&a, &two).await);
    let place = state(&hanako, "org.matrix.msc3672.beacon_info", hanako.as_str(), &json!({}));
    a.engine.send(&two, place, None).await.unwrap();
    assert_eq!(recency(&a, &hanako, &two).await, newest(&a, &two).await);

    // Who is out of a room hears nothing of it by where it stands.
    a.engine.leave(&jiro, &two, None).await.unwrap();
    let left = newest(&a, &two).await;
    a.say(&hanako, &two, "内輪の話").await;
    assert_eq!(recent(&a, &jiro, &two).await, Latest { active: left, bump: left });
    assert_eq!(recency(&a, &hanako, &two).await, newest(&a, &two).await);
}

#[tokio::test]
async fn what_comes_behind_what_is_here_moves_a_room_nowhere() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    for index in 0..5 {
        a.say(&hanako, &room, &index.to_string()).await;
    }
    b.join(&taro, &room, "a.test").await.unwrap();
    // By coming in it moves up, though what was said before has not come.
    let joined = recency(&b, &taro, &room).await;
    assert_eq!(joined, newest(&b, &room).await);
    while b.bodies(&room).await.len() < 5 {
        b.engine.backfill(&room, 50).await.unwrap();
    }
    assert_eq!(recency(&b, &taro, &room).await, joined);

    a.outgoing("b.test").await;
    for body in ["前", "後"] {
        a.say(&hanako, &room, body).await;
    }
    let news = a.outgoing("b.test").await;
    net.mute(true);
    b.receive("a.test", &news[1..]).await;
    let second = recency(&b, &taro, &room).await;
    assert!(second > joined);
    b.receive("a.test", &news[..1]).await;
    assert!(b.bodies(&room).await.contains(&"前".to_owned()));
    assert_eq!(recency(&b, &taro, &room).await, second);

    // Who comes in again is not told of the last time.
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(recency(&b, &taro, &room).await, newest(&b, &room).await);
}

#[tokio::test]
async fn many_rooms_are_put_in_order_by_one_read() {
    let net = Net::default();
    let disk = MemoryDisk::default();
    let (metrics, (backend, count)) = (Metrics::new(), Counting::open(&disk));
    let tasks = Tasks::new(&metrics);
    let store = Store::open(Arc::new(backend), Options::default(), &tasks, &metrics).await.unwrap();
    let a = net.server_over(&["a.test"], &disk, store).await;
    let hanako = user("@hanako:a.test");
    for _ in 0..40 {
        let room = a.public_room(&hanako).await;
        a.say(&hanako, &room, "一").await;
    }
    let rooms = a.engine.rooms().memberships(&hanako).await.unwrap();
    let joined: Vec<_> = rooms.with(Membership::Join).collect();
    let (order, cost) = count.of(a.engine.rooms().recency(&joined)).await;
    let order = order.unwrap();
    assert!(order.is_sorted_by_key(|recent| recent.active), "each room was made after the one before it");
    assert_eq!(cost.calls, 1);
}

#[tokio::test]
async fn in_data_of_before_it_was_noted_it_is_found_and_what_is_newer_stays() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let (hanako, jiro) = (user("@hanako:a.test"), user("@jiro:a.test"));
    let rooms = [a.public_room(&hanako).await, a.public_room(&hanako).await, a.public_room(&hanako).await];
    a.say(&hanako, &rooms[0], "一").await;
    a.join(&jiro, &rooms[0], "a.test").await.unwrap();
    for index in 0..40 {
        let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": index.to_string() }));
        a.engine.send(&rooms[1], topic, None).await.unwrap();
    }
    let before = [recency(&a, &hanako, &rooms[0]).await, recency(&a, &hanako, &rooms[1]).await];
    let last = a.engine.rooms().room(&rooms[2]).await.unwrap().unwrap().serial;
    let mut batch = Batch::new();
    batch.delete_all(&RECENCY);
    batch.put(&RECENCY, &last, &Stamped { position: Position(99_999), value: () });
    a.store.commit(batch).await.unwrap();
    assert_ne!(recency(&a, &hanako, &rooms[0]).await, before[0], "without a row it is where she came in");

    for _ in 0..2 {
        note_recency(&a.store).await.unwrap();
        assert_eq!(recency(&a, &hanako, &rooms[0]).await, before[0]);
        // What moved it up is far behind: it stands about there.
        let found = recency(&a, &hanako, &rooms[1]).await;
        assert!(found > before[1] && found < newest(&a, &rooms[1]).await);
        assert_eq!(recency(&a, &hanako, &rooms[2]).await, Position(99_999));
    }
}
