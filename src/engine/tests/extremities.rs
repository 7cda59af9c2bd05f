//! Engine whose graph frays, by chance or because somebody wants it to.

use pdu::{Draft, Pdu, RoomVersion};
use room::{
    EventSerial, Root,
    tables::{Extremity, GAPS, Head, Membership, Verdict},
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId};
use serde_json::{json, value::RawValue};

use super::net::{Net, Server, message, state, user};
use crate::{
    inbound::receive::Arrival,
    pipeline::{MAX_DEPTH, Stage},
};

/// The tip of a room, from which somebody forks it later.
async fn tip(server: &Server, room: &RoomId) -> Head {
    let info = server.rooms.room(room).await.unwrap().unwrap();
    server.rooms.get_head(&info).await.unwrap()
}

/// An event on an old tip of the room, with this depth, whether the room allows it or not.
async fn fork(server: &Server, room: &RoomId, tip: &Head, draft: &Draft, depth: u64) -> Box<RawValue> {
    fork_at(server, room, tip, draft, depth, None).await
}

/// As [`fork`], with a time that it claims to be of.
async fn fork_at(
    server: &Server,
    room: &RoomId,
    tip: &Head,
    draft: &Draft,
    depth: u64,
    at: Option<u64>,
) -> Box<RawValue> {
    let info = server.rooms.room(room).await.unwrap().unwrap();
    let guard = server.engine.lock(&info).await.unwrap();
    let mut stage = Stage::new(&server.engine, &info, guard.live().unwrap());
    stage.stand_on(tip.current);
    stage.head = tip.clone();
    for extremity in &mut stage.head.extremities {
        extremity.depth = depth - 1;
    }
    let built = stage.build(draft, at).await.unwrap();
    pdu::sign(built.event, server.engine.authority_of(&draft.sender).unwrap()).unwrap().pdu().to_raw()
}

/// An event that b.test has made and keeps to itself.
struct Made {
    id: OwnedEventId,
    raw: Box<RawValue>,
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
        a.engine.send(&room, topic, None).await.unwrap();
        a.engine.ban(&hanako, &room, &jiro, None).await.unwrap();
        Self { a, b, room, tip, hanako, taro, jiro }
    }

    async fn forks(&self, drafts: impl Iterator<Item = Draft>, depth: u64) -> Vec<Box<RawValue>> {
        let mut forks = Vec::new();
        for draft in drafts {
            forks.push(fork(&self.b, &self.room, &self.tip, &draft, depth).await);
        }
        forks
    }

    /// The extremities of a.test.
    async fn tips(&self) -> Vec<OwnedEventId> {
        tip(&self.a, &self.room).await.extremities.iter().map(|tip| tip.event_id.clone()).collect()
    }

    /// An event on these, made with the state that b.test had at `tip`.
    async fn on(&self, prev: &[OwnedEventId], draft: &Draft) -> Made {
        self.claiming(prev, draft, 9, None).await
    }

    /// The same with a depth and a time that it claims.
    async fn claiming(&self, prev: &[OwnedEventId], draft: &Draft, depth: u64, at: Option<u64>) -> Made {
        let mut tip = self.tip.clone();
        let named = prev.iter().map(|id| Extremity {
            serial: EventSerial(0),
            event_id: id.clone(),
            depth: 0,
            after: tip.current,
        });
        tip.extremities = named.collect();
        let raw = fork_at(&self.b, &self.room, &tip, draft, depth, at).await;
        let id = Pdu::parse_raw(RoomVersion::V11, &raw).unwrap().event_id().to_owned();
        Made { id, raw }
    }

    async fn say_on(&self, prev: &[OwnedEventId], body: &str) -> Made {
        self.on(prev, &message(&self.taro, body)).await
    }

    /// What 太郎 does not have the power for.
    async fn forbidden_on(&self, prev: &[OwnedEventId]) -> Made {
        self.on(prev, &state(&self.taro, "m.room.name", "", &json!({ "name": "乗っ取り" }))).await
    }

    async fn receive(&self, event: &Made) {
        self.a.receive("b.test", std::slice::from_ref(&event.raw)).await;
    }

    /// The room's state before the ban and the topic; or of that only what 太郎 needs to speak.
    async fn old_state(&self, is_short: bool) -> Vec<OwnedEventId> {
        let needed = |kind: &str, key: &str| {
            matches!(kind, "m.room.create" | "m.room.join_rules") || key == self.taro.as_str()
        };
        let info = self.b.rooms.room(&self.room).await.unwrap().unwrap();
        let state = self.b.rooms.all_state(info.serial, self.tip.current).await.unwrap();
        let told = state.iter().filter(|event| !is_short || needed(event.kind(), event.state_key().unwrap()));
        told.map(|event| event.event_id().to_owned()).collect()
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
async fn what_is_missing_is_asked_for_whatever_depth_the_tip_claims() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let Frayed { a, b, room, taro, .. } = &frayed;
    let deep = frayed.claiming(&frayed.tips().await, &message(taro, "深"), MAX_DEPTH, None).await;
    frayed.receive(&deep).await;
    assert_eq!(frayed.tips().await, [deep.id]);
    // Beside it, and not deep at all.
    b.say(taro, room, "一").await;
    b.say(taro, room, "二").await;
    let sent = b.outgoing("a.test").await;
    a.receive("b.test", &sent[sent.len() - 1..]).await;
    assert_eq!(a.bodies(room).await, ["深", "一", "二"]);
}

#[tokio::test]
async fn forks_undo_nothing_where_nobody_here_may_merge_them() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let (a, room, taro) = (&frayed.a, &frayed.room, &frayed.taro);
    let saburo = user("@saburo:c.test");
    let c = net.server(&["c.test"]).await;
    let levels = json!({ "users": { "@hanako:a.test": 100 }, "events_default": 50 });
    a.engine.send(room, state(&frayed.hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
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
    c.engine.send(room, farewell, None).await.unwrap();
    frayed.assert_holds(&c).await;
    a.receive("b.test", &forks).await;
    c.deliver(a).await;
    frayed.assert_holds(a).await;
    a.say(&frayed.hanako, room, "まとめ").await;
    a.deliver(&c).await;
    assert_eq!(a.state(room).await, c.state(room).await);
    frayed.assert_holds(&c).await;
}

fn invented() -> OwnedEventId {
    OwnedEventId::try_from(format!("$!{:042}", 7)).unwrap()
}

#[tokio::test]
async fn a_state_that_somebody_tells_takes_nothing_away_from_what_we_know() {
    for (is_short, names_ours) in [(false, true), (true, true), (false, false), (true, false)] {
        let net = Net::default();
        let frayed = Frayed::new(&net).await;
        let before = frayed.a.state(&frayed.room).await;
        let mut prev = vec![invented()];
        prev.extend(frayed.tips().await.into_iter().filter(|_| names_ours));
        let lie = frayed.say_on(&prev, "嘘").await;
        net.tell_state(&lie.id, frayed.old_state(is_short).await);
        frayed.receive(&lie).await;
        assert_eq!(frayed.a.bodies(&frayed.room).await, ["嘘"], "it was placed on what was told");
        frayed.assert_holds(&frayed.a).await;
        assert_eq!(frayed.a.state(&frayed.room).await, before);
        frayed.receive(&frayed.say_on(&[lie.id], "続き").await).await;
        frayed.assert_holds(&frayed.a).await;
        assert_eq!(frayed.a.state(&frayed.room).await, before);
    }
}

#[tokio::test]
async fn an_event_that_was_held_back_takes_nothing_away_when_it_comes() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let before = frayed.a.state(&frayed.room).await;
    let held = frayed.say_on(&frayed.tips().await, "後").await;
    let lie = frayed.say_on(std::slice::from_ref(&held.id), "先").await;
    net.tell_state(&lie.id, frayed.old_state(false).await);
    for event in [&lie, &held, &frayed.say_on(std::slice::from_ref(&lie.id), "続き").await] {
        frayed.receive(event).await;
        frayed.assert_holds(&frayed.a).await;
        assert_eq!(frayed.a.state(&frayed.room).await, before);
    }
    assert_eq!(frayed.a.bodies(&frayed.room).await, ["先", "後", "続き"]);
}

#[tokio::test]
async fn what_waited_for_a_liar_takes_nothing_away_when_what_it_waited_for_comes() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let before = frayed.a.state(&frayed.room).await;
    let truth: Vec<OwnedEventId> = before.iter().map(|(_, _, id)| id.clone()).collect();
    let first = frayed.say_on(&frayed.tips().await, "一").await;
    let second = frayed.say_on(std::slice::from_ref(&first.id), "二").await;
    let third = frayed.say_on(std::slice::from_ref(&second.id), "三").await;
    let lie = frayed.say_on(std::slice::from_ref(&third.id), "嘘").await;
    net.tell_state(&lie.id, frayed.old_state(false).await);
    net.tell_state(&second.id, truth);
    // The third stands on the lie's word alone, and the second on the third.
    for event in [&lie, &second, &third, &first] {
        frayed.receive(event).await;
        frayed.assert_holds(&frayed.a).await;
        assert_eq!(frayed.a.state(&frayed.room).await, before);
    }
}

#[tokio::test]
async fn an_event_that_gave_another_its_right_takes_nothing_away_when_it_is_sent_again() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let Frayed { a, b, room, taro, .. } = &frayed;
    let old = frayed.old_state(false).await;
    a.deliver(b).await;
    let named = json!({ "membership": "join", "displayname": "太" });
    b.engine.send(room, state(taro, "m.room.member", taro.as_str(), &named), None).await.unwrap();
    let right = b.outgoing("a.test").await;
    let mut head = tip(b, room).await;
    head.extremities[0].event_id = invented();
    let lie = fork(b, room, &head, &message(taro, "嘘"), 9).await;
    net.tell_state(Pdu::parse_raw(RoomVersion::V11, &lie).unwrap().event_id(), old);
    a.receive("b.test", &[lie]).await;
    frayed.assert_holds(a).await;
    a.receive("b.test", &right).await;
    frayed.assert_holds(a).await;
    assert_eq!(a.timeline(room).await.last().unwrap().event_id(), right_id(&right), "it has its place");
}

fn right_id(right: &[Box<RawValue>]) -> OwnedEventId {
    assert_eq!(right.len(), 1);
    Pdu::parse_raw(RoomVersion::V11, &right[0]).unwrap().event_id().to_owned()
}

#[tokio::test]
async fn refused_events_do_not_lead_from_a_told_state_to_what_it_lacks() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let before = frayed.a.state(&frayed.room).await;
    // By somebody who is banned, and was not yet by what is told.
    let held = frayed.on(&frayed.tips().await, &message(&frayed.jiro, "後")).await;
    let lie = frayed.on(std::slice::from_ref(&held.id), &message(&frayed.jiro, "先")).await;
    net.tell_state(&lie.id, frayed.old_state(false).await);
    for (event, verdict) in [(&lie, Verdict::SoftFailed), (&held, Verdict::Rejected)] {
        frayed.receive(event).await;
        let placed = frayed.a.rooms.event(&frayed.room, &event.id).await.unwrap().unwrap();
        assert_eq!(placed.meta().verdict, verdict);
    }
    frayed.receive(&frayed.say_on(&[lie.id], "続き").await).await;
    frayed.assert_holds(&frayed.a).await;
    assert_eq!(frayed.a.state(&frayed.room).await, before);
}

#[tokio::test]
async fn an_event_counts_though_somebody_named_it_before_it_came_and_told_a_state_without_it() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let taro = &frayed.taro;
    let named = json!({ "membership": "join", "displayname": "太" });
    let late = state(taro, "m.room.member", taro.as_str(), &named);
    let late = frayed.on(&frayed.tips().await, &late).await;
    let lie = frayed.say_on(std::slice::from_ref(&late.id), "嘘").await;
    net.tell_state(&lie.id, frayed.old_state(false).await);
    frayed.receive(&lie).await;
    frayed.receive(&late).await;
    frayed.assert_holds(&frayed.a).await;
    assert!(frayed.a.state(&frayed.room).await.iter().any(|(_, _, id)| *id == late.id));
}

#[tokio::test]
async fn an_event_that_comes_late_is_no_extremity_where_the_told_state_was_true() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let late = frayed.say_on(&frayed.tips().await, "後").await;
    let child = frayed.say_on(std::slice::from_ref(&late.id), "先").await;
    let truth = frayed.a.state(&frayed.room).await.into_iter().map(|(_, _, id)| id);
    net.tell_state(&child.id, truth.collect());
    frayed.receive(&child).await;
    frayed.receive(&late).await;
    assert_eq!(frayed.tips().await, [child.id]);
}

/// 太郎 takes a name, by a clock that is wrong: resolved with any older state, the older one wins.
async fn named_long_ago(frayed: &Frayed, prev: &[OwnedEventId], name: &str) -> Made {
    let content = json!({ "membership": "join", "displayname": name });
    let draft = state(&frayed.taro, "m.room.member", frayed.taro.as_str(), &content);
    frayed.claiming(prev, &draft, 9, Some(1)).await
}

#[tokio::test]
async fn an_event_that_comes_late_is_no_extremity_where_its_state_would_undo_what_stands_on_it() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let tips = frayed.tips().await;
    let late = [frayed.say_on(&tips, "後").await, frayed.say_on(&tips, "後の後").await];
    let beside = named_long_ago(&frayed, std::slice::from_ref(&late[0].id), "脇").await;
    let named: Vec<OwnedEventId> = late.iter().map(|late| late.id.clone()).collect();
    let child = named_long_ago(&frayed, &named, "太").await;
    let truth: Vec<OwnedEventId> =
        frayed.a.state(&frayed.room).await.into_iter().map(|(_, _, id)| id).collect();
    for event in [&beside, &child] {
        net.tell_state(&event.id, truth.clone());
        frayed.receive(event).await;
    }
    // The first to name it is not the one that tells what to do with the other.
    frayed.receive(&late[1]).await;
    assert!(frayed.tips().await.contains(&late[1].id), "nobody knows yet");
    frayed.receive(&late[0]).await;
    let mut left = frayed.tips().await;
    left.sort();
    let mut wanted = vec![beside.id, child.id.clone()];
    wanted.sort();
    assert_eq!(left, wanted);
    frayed.assert_holds(&frayed.a).await;

    // What is said on both is said in the order in which others know them.
    let end = frayed.say_on(&wanted, "以上").await;
    frayed.receive(&end).await;
    assert_eq!(frayed.tips().await, [end.id]);
}

#[tokio::test]
async fn what_came_late_gives_way_though_the_last_that_was_missing_is_refused() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let old: Vec<OwnedEventId> = frayed.tip.extremities.iter().map(|tip| tip.event_id.clone()).collect();
    let truth = frayed.a.state(&frayed.room).await.into_iter().map(|(_, _, id)| id);
    let late = frayed.say_on(&frayed.tips().await, "後").await;
    // 次郎 says it where he is not banned yet.
    let refused = frayed.on(&old, &message(&frayed.jiro, "後の後")).await;
    let child = frayed.say_on(&[late.id.clone(), refused.id.clone()], "先").await;
    net.tell_state(&child.id, truth.collect());
    for event in [&child, &late, &refused] {
        frayed.receive(event).await;
        frayed.assert_holds(&frayed.a).await;
    }
    let refused = frayed.a.rooms.event(&frayed.room, &refused.id).await.unwrap().unwrap();
    assert_eq!(refused.meta().verdict, Verdict::SoftFailed);
    assert_eq!(frayed.tips().await, [child.id]);
}

#[tokio::test]
async fn what_gives_way_by_a_refused_event_and_changes_the_state_goes_with_the_next_that_is_shown() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let old: Vec<OwnedEventId> = frayed.tip.extremities.iter().map(|tip| tip.event_id.clone()).collect();
    let truth = frayed.a.state(&frayed.room).await.into_iter().map(|(_, _, id)| id);
    let late = frayed.say_on(&frayed.tips().await, "後").await;
    let refused = frayed.on(&old, &message(&frayed.jiro, "後の後")).await;
    let child = named_long_ago(&frayed, &[late.id.clone(), refused.id.clone()], "太").await;
    net.tell_state(&child.id, truth.collect());
    for event in [&child, &late] {
        frayed.receive(event).await;
    }
    let before = frayed.a.state(&frayed.room).await;
    assert!(!before.iter().any(|(_, _, id)| *id == child.id), "resolved with the older one");
    frayed.receive(&refused).await;
    // Nobody would be told that it changes.
    assert_eq!(frayed.a.state(&frayed.room).await, before);

    let end = frayed.say_on(std::slice::from_ref(&child.id), "以上").await;
    frayed.receive(&end).await;
    assert_eq!(frayed.tips().await, [end.id]);
    assert!(frayed.a.state(&frayed.room).await.iter().any(|(_, _, id)| *id == child.id));
    frayed.assert_holds(&frayed.a).await;
}

/// An event that others name before it comes, and a soft-failed one on it, of which is told what is true.
async fn late_and_soft_failed(net: &Net, frayed: &Frayed) -> (Made, Made) {
    let old: Vec<OwnedEventId> = frayed.tip.extremities.iter().map(|tip| tip.event_id.clone()).collect();
    let late = frayed.say_on(&old, "後").await;
    // 次郎 says it where he is not banned yet.
    let refused = frayed.on(std::slice::from_ref(&late.id), &message(&frayed.jiro, "先")).await;
    net.tell_state(&refused.id, frayed.old_state(false).await);
    frayed.receive(&refused).await;
    let placed = frayed.a.rooms.event(&frayed.room, &refused.id).await.unwrap().unwrap();
    assert_eq!(placed.meta().verdict, Verdict::SoftFailed);
    (late, refused)
}

#[tokio::test]
async fn what_a_soft_failed_event_lacked_is_no_extremity_when_it_comes_after_what_stands_on_that() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let (late, refused) = late_and_soft_failed(&net, &frayed).await;
    let mut named = frayed.tips().await;
    named.push(refused.id);
    let end = frayed.say_on(&named, "以上").await;
    for event in [&end, &late] {
        frayed.receive(event).await;
        assert_eq!(frayed.tips().await, std::slice::from_ref(&end.id));
        frayed.assert_holds(&frayed.a).await;
    }
}

#[tokio::test]
async fn what_a_soft_failed_event_lacked_is_no_extremity_when_it_came_before_what_stands_on_that() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let (late, refused) = late_and_soft_failed(&net, &frayed).await;
    frayed.receive(&late).await;
    let mut named = frayed.tips().await;
    named.retain(|id| *id != late.id);
    assert_eq!(named.len(), 1, "late is an extremity as yet");
    named.push(refused.id);
    let end = frayed.say_on(&named, "以上").await;
    frayed.receive(&end).await;
    assert_eq!(frayed.tips().await, [end.id]);
    frayed.assert_holds(&frayed.a).await;
}

#[tokio::test]
async fn many_that_name_a_missing_event_do_not_keep_out_whom_it_is_behind() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let truth: Vec<OwnedEventId> =
        frayed.a.state(&frayed.room).await.into_iter().map(|(_, _, id)| id).collect();
    let late = frayed.say_on(&frayed.tips().await, "後").await;
    let mut prev = vec![invented(), late.id.clone()];
    for index in 0..25 {
        let lie = frayed.say_on(&prev, &format!("嘘{index}")).await;
        net.tell_state(&lie.id, frayed.old_state(false).await);
        frayed.receive(&lie).await;
        prev[0] = lie.id;
    }
    let child = frayed.say_on(std::slice::from_ref(&late.id), "先").await;
    net.tell_state(&child.id, truth);
    frayed.receive(&child).await;
    frayed.receive(&late).await;
    let tips = frayed.tips().await;
    assert!(tips.contains(&child.id) && !tips.contains(&late.id), "{tips:?}");
    frayed.assert_holds(&frayed.a).await;
}

#[tokio::test]
async fn an_event_that_comes_with_what_waits_for_it_is_no_extremity() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let (engine, room) = (&frayed.a.engine, frayed.a.rooms.room(&frayed.room).await.unwrap().unwrap());
    let Head { current: before, .. } = tip(&frayed.a, &frayed.room).await;
    let tips = frayed.tips().await;
    let late = [frayed.say_on(&tips, "後").await, frayed.say_on(&tips, "後の後").await];
    let named: Vec<OwnedEventId> = late.iter().map(|late| late.id.clone()).collect();
    let child = named_long_ago(&frayed, &named, "太").await;
    let beside = named_long_ago(&frayed, &named[..1], "脇").await;
    // In one batch: nothing of one is on disk when the next is placed.
    let mut wanted = vec![child.id, beside.id];
    let [first, second] = late;
    let raws = [child.raw, beside.raw, second.raw, first.raw];
    let origin = OwnedServerName::try_from("b.test").unwrap();
    let events = engine.verify_raw(&room, &raws).await.unwrap();
    let mut arrivals: Vec<Arrival> =
        events.into_iter().map(|event| Arrival::new(event, origin.clone())).collect();
    for arrival in &mut arrivals[..2] {
        arrival.before = Some(before);
    }
    engine.place_arrivals(&room, &arrivals).await.unwrap();
    let mut left = frayed.tips().await;
    left.sort();
    wanted.sort();
    assert_eq!(left, wanted);
    for id in named {
        assert_eq!(frayed.a.store.get(&GAPS, &(room.serial, id.as_str())).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_stood_on_the_tip_before_we_left_does_not_speak_for_it_when_we_are_back() {
    let net = Net::default();
    let frayed = Frayed::new(&net).await;
    let Frayed { a, b, room, taro, .. } = &frayed;
    let (c, saburo) = (net.server(&["c.test"]).await, user("@saburo:c.test"));
    c.join(&saburo, room, "a.test").await.unwrap();
    a.deliver(b).await;

    // Known to b.test alone: a name, something said beside it, and what stands on both.
    let tips: Vec<OwnedEventId> =
        tip(b, room).await.extremities.into_iter().map(|tip| tip.event_id).collect();
    let content = json!({ "membership": "join", "displayname": "太" });
    b.engine.send(room, state(taro, "m.room.member", taro.as_str(), &content), None).await.unwrap();
    let truth: Vec<OwnedEventId> = b.state(room).await.into_iter().map(|(_, _, id)| id).collect();
    let named = b.timeline(room).await.pop().unwrap();
    let said = frayed.say_on(&tips, "脇").await;
    let child = frayed.say_on(&[named.event_id().to_owned(), said.id.clone()], "上").await;
    net.tell_state(&child.id, truth);
    net.mute(true);
    c.receive("b.test", std::slice::from_ref(&child.raw)).await;
    assert!(c.bodies(room).await.contains(&"上".to_owned()));

    // Nobody but c.test has heard of that when 三郎 is put out, and comes back.
    a.engine.kick(&frayed.hanako, room, &saburo, None).await.unwrap();
    a.deliver(&c).await;
    assert_eq!(c.membership(&saburo, room).await, Some(Membership::Leave));
    c.join(&saburo, room, "a.test").await.unwrap();
    c.receive("b.test", &[named.pdu().to_raw()]).await;
    c.receive("b.test", std::slice::from_ref(&said.raw)).await;
    let state = c.state(room).await;
    assert!(state.iter().any(|(_, _, id)| *id == named.event_id()), "his name is lost");
}

#[tokio::test]
async fn a_long_chain_of_refused_events_is_not_walked_for_every_event_on_it() {
    for (length, extremities) in [(20, 1), (150, 2)] {
        let net = Net::default();
        let frayed = Frayed::new(&net).await;
        let mut chain: Vec<Made> = Vec::new();
        let mut prev = frayed.tips().await;
        for _ in 0..length {
            let refused = frayed.forbidden_on(&prev).await;
            prev = vec![refused.id.clone()];
            chain.push(refused);
        }
        let chain: Vec<_> = chain.into_iter().map(|made| made.raw).collect();
        frayed.a.receive("b.test", &chain).await;
        frayed.receive(&frayed.say_on(&prev, "先").await).await;
        assert_eq!(frayed.tips().await.len(), extremities);
        frayed.assert_holds(&frayed.a).await;
    }
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
    a.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rule), None).await.unwrap();
    a.deliver(&c).await;
    assert_eq!(c.membership(&saburo, &room).await, Some(Membership::Join));
    assert_eq!(a.state(&room).await, c.state(&room).await);
}
