//! Rooms whose graph frays, by chance or because somebody wants it to.

use pdu::Draft;
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde_json::{json, value::RawValue};

use super::net::{Net, Server, message, state, user};
use crate::{
    Root,
    pipeline::{MAX_DEPTH, Stage},
    tables::{Head, Membership},
};

/// The tip of a room, from which somebody forks it later.
async fn tip(server: &Server, room: &RoomId) -> Head {
    let info = server.rooms.room(room).await.unwrap().unwrap();
    server.rooms.get_head(&info).await.unwrap()
}

/// An event on an old tip of the room, with this depth.
async fn fork(server: &Server, room: &RoomId, tip: &Head, draft: &Draft, depth: u64) -> Box<RawValue> {
    let info = server.rooms.room(room).await.unwrap().unwrap();
    let guard = server.rooms.lock(&info).await.unwrap();
    let mut stage = Stage::new(&server.rooms, &info, guard.live().unwrap());
    stage.stand_on(tip.current);
    stage.head = tip.clone();
    for extremity in &mut stage.head.extremities {
        extremity.depth = depth - 1;
    }
    stage.author(draft, None, None).await.unwrap().event.pdu().to_raw()
}

/// A room of 花子 (a.test) with 太郎 (b.test) in it, who forks it where `tip` is; since then 次郎, of b.test too,
/// was banned, and the topic was set.
struct Frayed {
    a: Server,
    b: Server,
    room: OwnedRoomId,
    tip: Head,
    hanako: OwnedUserId,
    taro: OwnedUserId,
    jiro: OwnedUserId,
}

impl Frayed {
    async fn new(net: &Net) -> Self {
        let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
        let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
        let room = a.public_room(&hanako).await;
        b.join(&taro, &room, "a.test").await.unwrap();
        b.join(&jiro, &room, "a.test").await.unwrap();
        b.deliver(&a).await;
        a.deliver(&b).await;
        let tip = tip(&b, &room).await;
        let topic = state(&hanako, "m.room.topic", "", &json!({ "topic": "避難所" }));
        a.rooms.send(&room, topic, None).await.unwrap();
        a.rooms.ban(&hanako, &room, &jiro, None).await.unwrap();
        Self { a, b, room, tip, hanako, taro, jiro }
    }

    async fn forks(&self, drafts: impl Iterator<Item = Draft>, depth: u64) -> Vec<Box<RawValue>> {
        let mut forks = Vec::new();
        for draft in drafts {
            forks.push(fork(&self.b, &self.room, &self.tip, &draft, depth).await);
        }
        forks
    }

    /// That the ban and the topic are what the server knows.
    async fn assert_holds(&self, server: &Server) {
        assert_eq!(server.membership(&self.jiro, &self.room).await, Some(Membership::Ban));
        assert!(server.state(&self.room).await.iter().any(|(kind, ..)| kind == "m.room.topic"));
        let tip = tip(server, &self.room).await;
        assert!(tip.extremities.len() <= 20, "{} extremities", tip.extremities.len());
    }
}

#[tokio::test]
async fn forks_are_merged_behind_the_scenes() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let (a, room) = (&frayed.a, &frayed.room);
    let forks = frayed.forks((0..30).map(|index| message(&frayed.taro, &index.to_string())), 9).await;
    a.receive("b.test", &forks).await;
    assert_eq!(a.bodies(room).await.len(), 30);
    assert!(tip(a, room).await.extremities.len() <= 10);
    assert!(a.timeline(room).await.iter().all(|event| event.kind() != "org.matrix.dummy_event"));
    frayed.assert_holds(a).await;
    a.say(&frayed.hanako, room, "まとめ").await;
    assert_eq!(tip(a, room).await.extremities.len(), 1);
}

#[tokio::test]
async fn events_on_an_old_one_undo_nothing_whatever_depth_they_claim() {
    for depth in [MAX_DEPTH, 2] {
        let net = Net::default();
        let frayed = Frayed::new(&net).await;
        let before = frayed.a.state(&frayed.room).await;
        let forks = frayed.forks((0..45).map(|index| message(&frayed.taro, &index.to_string())), depth).await;
        frayed.a.receive("b.test", &forks).await;
        frayed.assert_holds(&frayed.a).await;
        assert_eq!(frayed.a.state(&frayed.room).await, before);
    }
}

#[tokio::test]
async fn forks_undo_nothing_where_nobody_here_may_merge_them() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let (a, room, taro) = (&frayed.a, &frayed.room, &frayed.taro);
    let saburo = user("@saburo:c.test");
    let c = net.server(&["c.test"]).await;
    let levels = json!({ "users": { "@hanako:a.test": 100 }, "events_default": 50 });
    a.rooms.send(room, state(&frayed.hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    c.join(&saburo, room, "a.test").await.unwrap();
    // Only his own membership can 太郎 change, and everybody can.
    let named = |index: u32| {
        let content = json!({ "membership": "join", "displayname": index.to_string() });
        state(taro, "m.room.member", taro.as_str(), &content)
    };
    let forks = frayed.forks((0..45).map(named), MAX_DEPTH).await;
    c.receive("b.test", &forks).await;
    frayed.assert_holds(&c).await;
    assert_ne!(tip(&c, room).await.beside, Root::EMPTY);

    // What is said from here now stands on those of them that it names, for others as for us.
    let farewell = json!({ "membership": "join", "displayname": "三郎" });
    let farewell = state(&saburo, "m.room.member", saburo.as_str(), &farewell);
    c.rooms.send(room, farewell, None).await.unwrap();
    frayed.assert_holds(&c).await;
    a.receive("b.test", &forks).await;
    c.deliver(a).await;
    frayed.assert_holds(a).await;
    a.say(&frayed.hanako, room, "まとめ").await;
    a.deliver(&c).await;
    assert_eq!(a.state(room).await, c.state(room).await);
    frayed.assert_holds(&c).await;
}

#[tokio::test]
async fn events_from_before_the_join_put_nothing_back_when_they_are_sent_again() {
    let net = Net::default();
    let (a, c) = (net.server(&["a.test"]).await, net.server(&["c.test"]).await);
    let (hanako, saburo) = (user("@hanako:a.test"), user("@saburo:c.test"));
    let room = a.public_room(&hanako).await;
    c.join(&saburo, &room, "a.test").await.unwrap();
    // All that happened before he came, one by one; then the door is closed.
    let past: Vec<_> = a.timeline(&room).await.iter().map(|event| event.pdu().to_raw()).collect();
    c.receive("a.test", &past).await;
    assert_eq!(tip(&c, &room).await.extremities.len(), 1);
    let rule = json!({ "join_rule": "knock" });
    a.rooms.send(&room, state(&hanako, "m.room.join_rules", "", &rule), None).await.unwrap();
    a.deliver(&c).await;
    assert_eq!(c.membership(&saburo, &room).await, Some(Membership::Join));
    assert_eq!(a.state(&room).await, c.state(&room).await);
}
