//! Engine of several servers.

use pdu::RoomVersion;
use room::{
    Error,
    tables::{GAPS, INVITES, MEMBERSHIPS, Membership, TIMELINE, Verdict},
};
use ruma::OwnedServerName;
use serde_json::{Value, json, value::RawValue};
use store::Position;

use super::net::{Net, Server, state, user};
use crate::CreateRoom;

async fn pair(net: &Net) -> (Server, Server) {
    (net.server(&["a.test"]).await, net.server(&["b.test"]).await)
}

#[tokio::test]
async fn two_servers_share_a_room_of_every_version() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    for version in RoomVersion::SUPPORTED {
        let room = a.room_of(&hanako, version).await;
        a.say(&hanako, &room, "一").await;
        b.join(&taro, &room, "a.test").await.unwrap();
        assert_eq!(a.membership(&taro, &room).await, Some(Membership::Join), "version {version}");
        assert_eq!(b.membership(&hanako, &room).await, Some(Membership::Join));
        assert_eq!(a.state(&room).await, b.state(&room).await, "version {version}");

        a.say(&hanako, &room, "二").await;
        b.say(&taro, &room, "三").await;
        a.deliver(&b).await;
        b.deliver(&a).await;
        b.say(&taro, &room, "四").await;
        b.deliver(&a).await;
        let mut said = a.bodies(&room).await;
        assert_eq!(said.remove(0), "一");
        assert_eq!(said[2], "四");
        assert_eq!(b.bodies(&room).await.len(), 3);
        assert_eq!(a.state(&room).await, b.state(&room).await, "version {version}");
    }
}

#[tokio::test]
async fn history_from_before_the_join_is_fetched_in_order() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    for index in 0..30 {
        a.say(&hanako, &room, &index.to_string()).await;
    }
    b.join(&taro, &room, "a.test").await.unwrap();
    b.say(&taro, &room, "着いた").await;
    let mut rounds = 0;
    while b.engine.backfill(&room, 10).await.unwrap() > 0 {
        rounds += 1;
        assert!(rounds < 20);
    }
    let mut expected: Vec<String> = (0..30).map(|index: i32| index.to_string()).collect();
    expected.push("着いた".to_owned());
    assert_eq!(b.bodies(&room).await, expected);
    let timeline = b.timeline(&room).await;
    assert_eq!(timeline[0].kind(), "m.room.create");
    let room_serial = timeline[0].room();
    let gaps = b.store.scan(&GAPS, store::Range::prefix(&room_serial), store::Order::Ascending, 9).await;
    assert!(gaps.unwrap().is_empty());
    // What was fetched is the past: the tip did not move, and nothing of it is in the log.
    let head = b.rooms.get_head(&b.rooms.room(&room).await.unwrap().unwrap()).await.unwrap();
    assert_eq!(head.extremities.len(), 1);
}

#[tokio::test]
async fn missing_events_are_fetched_and_stand_before_what_followed() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    for index in 0..45 {
        a.say(&hanako, &room, &index.to_string()).await;
    }
    let pdus = a.outgoing("b.test").await;
    b.receive("a.test", &pdus[pdus.len() - 1..]).await;
    let expected: Vec<String> = (0..45).map(|index: i32| index.to_string()).collect();
    assert_eq!(b.bodies(&room).await, expected);
    // The rest comes later, and is known.
    b.receive("a.test", &pdus).await;
    assert_eq!(b.bodies(&room).await, expected);
    assert_eq!(a.state(&room).await, b.state(&room).await);
}

#[tokio::test]
async fn a_gap_that_cannot_be_filled_takes_the_state_from_there() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    a.engine.send(&room, state(&hanako, "m.room.topic", "", &json!({ "topic": "新" })), None).await.unwrap();
    a.say(&hanako, &room, "一").await;
    a.say(&hanako, &room, "二").await;
    let pdus = a.outgoing("b.test").await;
    net.mute(true);
    b.receive("a.test", &pdus[pdus.len() - 1..]).await;
    assert_eq!(b.bodies(&room).await, ["二"]);
    let serial = b.rooms.room(&room).await.unwrap().unwrap().serial;
    let range = store::Range::prefix(&serial);
    let rows = b.store.scan(&TIMELINE, range, store::Order::Descending, 2).await.unwrap();
    // The join has one before it, too: nothing of the past is here.
    assert_eq!(rows.iter().map(|(_, row)| row.gap).collect::<Vec<_>>(), [true, true]);
    // Our own tip and the new one: two extremities, and a topic that only the gap could have told.
    assert!(b.state(&room).await.iter().any(|(kind, ..)| kind == "m.room.topic"));
    net.mute(false);
    b.engine.backfill(&room, 50).await.unwrap();
    assert!(b.bodies(&room).await.contains(&"一".to_owned()));
    b.say(&taro, &room, "三").await;
    b.deliver(&a).await;
    a.deliver(&b).await;
    assert_eq!(a.state(&room).await, b.state(&room).await);
}

#[tokio::test]
async fn an_invite_crosses_servers_and_can_be_accepted_or_refused() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    for version in [RoomVersion::V6, RoomVersion::V11, RoomVersion::V12] {
        let wishes =
            CreateRoom { version: Some(version), name: Some("会議".to_owned()), ..CreateRoom::default() };
        let room = a.engine.create(&hanako, wishes).await.unwrap();
        a.invite(&hanako, &room, &taro).await.unwrap();
        assert_eq!(a.membership(&taro, &room).await, Some(Membership::Invite));
        let info = b.rooms.room(&room).await.unwrap().unwrap();
        let kept = b.store.get(&INVITES, &(info.serial, taro.as_str())).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&kept.stripped).contains("会議"));
        let row = b.store.get(&MEMBERSHIPS, &(taro.as_str(), info.serial)).await.unwrap().unwrap();
        assert_eq!(row.value.membership, Membership::Invite);
        assert!(row.position > Position::START);

        b.engine.leave(&taro, &room, None).await.unwrap();
        assert_eq!(a.membership(&taro, &room).await, Some(Membership::Leave), "version {version}");
        let row = b.store.get(&MEMBERSHIPS, &(taro.as_str(), info.serial)).await.unwrap().unwrap();
        assert_eq!(row.value.membership, Membership::Leave);

        a.invite(&hanako, &room, &taro).await.unwrap();
        // Without being told where: who invited knows.
        b.engine.join(&taro, &room, &[], crate::Joining::default()).await.unwrap();
        assert_eq!(a.membership(&taro, &room).await, Some(Membership::Join));
        assert!(b.store.get(&INVITES, &(info.serial, taro.as_str())).await.unwrap().is_none());
        assert_eq!(a.state(&room).await, b.state(&room).await);
    }
}

#[tokio::test]
async fn an_invite_taken_back_ends_where_the_room_is_not() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    a.engine.kick(&hanako, &room, &taro, None).await.unwrap();
    a.deliver(&b).await;
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    let row = b.store.get(&MEMBERSHIPS, &(taro.as_str(), info.serial)).await.unwrap().unwrap();
    assert_eq!(row.value.membership, Membership::Leave);
    assert_eq!(row.value.sender, hanako);
}

#[tokio::test]
async fn an_invite_that_cannot_be_delivered_is_not_in_the_room() {
    let net = Net::default();
    let (a, _b) = pair(&net).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    net.cut(true);
    let refused = a.invite(&hanako, &room, &user("@taro:b.test")).await;
    assert!(matches!(refused, Err(Error::Remote(_))));
    assert_eq!(a.membership(&user("@taro:b.test"), &room).await, None);
}

#[tokio::test]
async fn an_invite_from_outside_can_be_refused_when_its_server_is_gone() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    net.cut(true);
    b.engine.leave(&taro, &room, None).await.unwrap();
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    let row = b.store.get(&MEMBERSHIPS, &(taro.as_str(), info.serial)).await.unwrap().unwrap();
    assert_eq!(row.value.membership, Membership::Leave);
    // An event all the same, by which the user's devices learn of it.
    let event = b.rooms.load_event(info.serial, row.value.event.unwrap()).await.unwrap().unwrap();
    assert_eq!((event.sender(), event.membership()), (&*taro, Some(Membership::Leave)));
    assert!(!event.meta().is_placed());
}

#[tokio::test]
async fn forked_rooms_come_together_again() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let levels = json!({ "users": { "@hanako:a.test": 100, "@taro:b.test": 50 } });
    a.engine.send(&room, state(&hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    a.deliver(&b).await;
    // Both set the topic without having heard of each other.
    a.engine.send(&room, state(&hanako, "m.room.topic", "", &json!({ "topic": "甲" })), None).await.unwrap();
    b.engine.send(&room, state(&taro, "m.room.topic", "", &json!({ "topic": "乙" })), None).await.unwrap();
    a.deliver(&b).await;
    b.deliver(&a).await;
    assert_eq!(a.state(&room).await, b.state(&room).await);
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    assert_eq!(a.rooms.get_head(&info).await.unwrap().extremities.len(), 2);
    a.say(&hanako, &room, "まとめ").await;
    assert_eq!(a.rooms.get_head(&info).await.unwrap().extremities.len(), 1);
    a.deliver(&b).await;
    assert_eq!(a.state(&room).await, b.state(&room).await);
}

#[tokio::test]
async fn a_bad_pdu_does_not_stall_the_room() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    a.say(&hanako, &room, "一").await;
    a.say(&hanako, &room, "二").await;
    let mut pdus = a.outgoing("b.test").await;
    let mut forged: Value = serde_json::from_str(pdus.last().unwrap().get()).unwrap();
    forged["depth"] = 7.into();
    let mut unsigned: Value = serde_json::from_str(pdus.last().unwrap().get()).unwrap();
    unsigned["signatures"] = json!({});
    let raw = |value: &Value| RawValue::from_string(value.to_string()).unwrap();
    pdus.insert(0, raw(&forged));
    pdus.insert(1, raw(&unsigned));
    pdus.insert(2, raw(&json!({ "room_id": room, "type": 5 })));
    pdus.insert(3, raw(&json!("nonsense")));
    b.receive("a.test", &pdus).await;
    assert_eq!(b.bodies(&room).await, ["一", "二"]);
}

#[tokio::test]
async fn a_changed_content_is_taken_as_redacted() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    a.say(&hanako, &room, "真").await;
    let pdus = a.outgoing("b.test").await;
    let mut forged: Value = serde_json::from_str(pdus.last().unwrap().get()).unwrap();
    forged["content"]["body"] = "偽".into();
    b.receive("a.test", &[RawValue::from_string(forged.to_string()).unwrap()]).await;
    assert_eq!(b.bodies(&room).await, [""]);
}

#[tokio::test]
async fn what_the_rules_forbid_is_kept_but_not_shown() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    // Built by the rules of form, signed, but beyond the sender's power.
    let draft = state(&taro, "m.room.name", "", &json!({ "name": "乗っ取り" }));
    let event = {
        let guard = b.engine.lock(&info).await.unwrap();
        let mut stage = crate::pipeline::Stage::new(&b.engine, &info, guard.live().unwrap());
        let built = stage.build(&draft, None).await.unwrap();
        pdu::sign(built.event, b.engine.authority_of(&taro).unwrap()).unwrap()
    };
    a.receive("b.test", &[event.pdu().to_raw()]).await;
    let stored = a.rooms.event(&room, event.pdu().event_id()).await.unwrap().unwrap();
    assert_eq!(stored.meta().verdict, Verdict::Rejected);
    assert!(stored.order().is_none());
    a.say(&hanako, &room, "無事").await;
    let last = a.timeline(&room).await.pop().unwrap();
    assert!(!last.pdu().prev_events().contains(event.pdu().event_id()));
}

#[tokio::test]
async fn an_event_by_someone_banned_meanwhile_is_soft_failed() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    a.engine.ban(&hanako, &room, &taro, None).await.unwrap();
    let late = b.say(&taro, &room, "まだいる").await;
    b.deliver(&a).await;
    let stored = a.rooms.event(&room, &late).await.unwrap().unwrap();
    assert_eq!(stored.meta().verdict, Verdict::SoftFailed);
    assert_eq!(a.bodies(&room).await, [] as [String; 0]);
    a.deliver(&b).await;
    assert_eq!(b.membership(&taro, &room).await, Some(Membership::Ban));
}

#[tokio::test]
async fn pdus_received_before_a_crash_are_worked_on_after_it() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let disk = b.disk.clone();
    a.say(&hanako, &room, "一").await;
    // A transaction answered, and the process gone before it was worked on: only its rows are there.
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    let mut batch = store::Batch::new();
    for pdu in a.outgoing("b.test").await {
        let row = crate::tables::InboxRow {
            origin: "a.test".to_owned(),
            pdu: bytes::Bytes::from(pdu.get().to_owned()),
        };
        batch.put(&crate::tables::INBOX, &(info.serial, room::ids::InboxSerial(1)), &row);
    }
    b.store.commit(batch).await.unwrap();
    drop(b);
    let b = net.server_on(&["b.test"], &disk).await;
    b.settled().await;
    assert_eq!(b.bodies(&room).await, ["一"]);
}

#[tokio::test]
async fn a_server_kept_out_by_the_acl_is_refused() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let acl = json!({ "allow": ["*"], "deny": ["b.test"] });
    a.engine.send(&room, state(&hanako, "m.room.server_acl", "", &acl), None).await.unwrap();
    b.say(&taro, &room, "やあ").await;
    let pdus = b.outgoing("a.test").await;
    let origin = OwnedServerName::try_from("b.test").unwrap();
    let answers = a.engine.receive_transaction(&origin, &pdus).await.unwrap();
    assert!(matches!(answers[0].result, Err(Error::AclDenied(_))));
}

#[tokio::test]
async fn a_restricted_join_is_granted_by_a_server_in_the_other_room() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let lobby = a.public_room(&hanako).await;
    let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": lobby }],
    });
    a.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rules), None).await.unwrap();
    assert!(b.join(&taro, &room, "a.test").await.is_err());
    b.join(&taro, &lobby, "a.test").await.unwrap();
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Join));
    assert_eq!(a.state(&room).await, b.state(&room).await);
    let join = b.timeline(&room).await.pop().unwrap();
    let event: Value = serde_json::from_str(join.pdu().json_str()).unwrap();
    assert!(event["signatures"]["a.test"].is_object() && event["signatures"]["b.test"].is_object());
}

#[tokio::test]
async fn a_second_local_user_joins_without_the_network() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let b = net.server(&["b.test", "c.test"]).await;
    let room = a.public_room(&user("@hanako:a.test")).await;
    b.join(&user("@taro:b.test"), &room, "a.test").await.unwrap();
    net.cut(true);
    b.join(&user("@jiro:c.test"), &room, "a.test").await.unwrap();
    net.cut(false);
    b.deliver(&a).await;
    assert_eq!(a.membership(&user("@jiro:c.test"), &room).await, Some(Membership::Join));
    assert_eq!(a.state(&room).await, b.state(&room).await);
}

#[tokio::test]
async fn who_left_can_come_back_after_the_room_moved_on() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    a.engine.send(&room, state(&hanako, "m.room.topic", "", &json!({ "topic": "新" })), None).await.unwrap();
    a.say(&hanako, &room, "留守中").await;
    a.deliver(&b).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(a.state(&room).await, b.state(&room).await);
    let serial = b.rooms.room(&room).await.unwrap().unwrap().serial;
    assert_eq!(b.rooms.member_counts(&[serial]).await.unwrap()[0].joined, 2);
    assert_eq!(b.rooms.summaries(&[serial]).await.unwrap()[0].topic.as_deref(), Some("新"));
    b.say(&taro, &room, "ただいま").await;
    b.deliver(&a).await;
    assert_eq!(a.bodies(&room).await, ["留守中", "ただいま"]);
}

#[tokio::test]
async fn redactions_cross_servers_also_before_their_event() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let said = a.say(&hanako, &room, "秘密").await;
    a.engine.redact(&hanako, &room, &said, None, None).await.unwrap();
    // Message and redaction in one transaction.
    let mut pdus = Vec::new();
    let timeline = a.timeline(&room).await;
    pdus.extend(timeline.iter().rev().take(2).rev().map(|event| event.pdu().to_raw()));
    b.receive("a.test", &pdus).await;
    assert_eq!(b.bodies(&room).await, [""]);
}

#[tokio::test]
async fn a_knock_crosses_servers_and_is_answered_by_an_invite() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    let via = [OwnedServerName::try_from("a.test").unwrap()];
    assert!(b.engine.knock(&taro, &room, &via, &crate::Profile::default(), None).await.is_err());
    let rules = json!({ "join_rule": "knock" });
    a.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rules), None).await.unwrap();
    b.engine.knock(&taro, &room, &via, &crate::Profile::default(), Some("入れて")).await.unwrap();
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Knock));
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    let row = b.store.get(&MEMBERSHIPS, &(taro.as_str(), info.serial)).await.unwrap().unwrap();
    assert_eq!(row.value.membership, Membership::Knock);
    a.invite(&hanako, &room, &taro).await.unwrap();
    b.engine.join(&taro, &room, &[], crate::Joining::default()).await.unwrap();
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Join));
}

#[tokio::test]
async fn two_users_of_a_server_join_at_once() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let users: Vec<_> = (0..4).map(|index| user(&format!("@u{index}:b.test"))).collect();
    let joins = users.iter().map(|one| b.join(one, &room, "a.test"));
    for joined in futures_util::future::join_all(joins).await {
        joined.unwrap();
    }
    b.deliver(&a).await;
    a.deliver(&b).await;
    for one in &users {
        assert_eq!(a.membership(one, &room).await, Some(Membership::Join));
        assert_eq!(b.membership(one, &room).await, Some(Membership::Join));
    }
    assert_eq!(a.state(&room).await, b.state(&room).await);
}

#[tokio::test]
async fn a_large_room_is_joined() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let room = a.public_room(&user("@hanako:a.test")).await;
    for index in 0..600 {
        a.join(&user(&format!("@u{index}:a.test")), &room, "a.test").await.unwrap();
    }
    b.join(&user("@taro:b.test"), &room, "a.test").await.unwrap();
    assert_eq!(a.state(&room).await, b.state(&room).await);
    let serial = b.rooms.room(&room).await.unwrap().unwrap().serial;
    assert_eq!(b.rooms.member_counts(&[serial]).await.unwrap()[0].joined, 602);
}

struct TakesNone;

#[async_trait::async_trait]
impl crate::ports::Invitees for TakesNone {
    async fn takes_invites(&self, _: &ruma::UserId, _: &ruma::UserId) -> Result<bool, Error> {
        Ok(false)
    }
}

#[tokio::test]
async fn an_invite_from_outside_is_refused_for_who_takes_none() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.engine.ask_before_invites(std::sync::Arc::new(TakesNone));
    let refused = a.invite(&hanako, &room, &taro).await;
    assert!(matches!(refused, Err(Error::Remote(_))), "{refused:?}");
    assert_eq!(a.membership(&taro, &room).await, None);
    assert!(b.rooms.room(&room).await.unwrap().is_none(), "nothing is kept of it");
}
