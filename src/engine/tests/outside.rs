//! Engine that we are not in: invites and knocks, and their end.

use std::time::Duration;

use base::ManualClock;
use pdu::RoomVersion;
use room::{
    Error,
    tables::{INVITES, MEMBERSHIPS, Membership, MembershipRow},
};
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{Value, json, value::RawValue};

use super::net::{Net, Server, state, user, within};
use crate::{
    CreateRoom, InboxLimits, Joining, Profile, ReceivedInvite,
    pipeline::Stage,
    tables::{FAREWELLS, WITHDRAWALS, WithdrawalRow},
};

async fn pair(net: &Net) -> (Server, Server) {
    (net.server(&["a.test"]).await, net.server(&["b.test"]).await)
}

async fn outside(server: &Server, who: &OwnedUserId, room: &OwnedRoomId) -> Option<MembershipRow> {
    let info = server.rooms.room(room).await.unwrap()?;
    let row = server.store.get(&MEMBERSHIPS, &(who.as_str(), info.serial)).await.unwrap();
    row.map(|row| row.value)
}

/// A signed invite of 太郎 (b.test), as a.test would send it; nothing becomes of it there.
pub(super) async fn invite_event(a: &Server, room: &OwnedRoomId, taro: &OwnedUserId) -> Box<RawValue> {
    let info = a.rooms.room(room).await.unwrap().unwrap();
    let guard = a.engine.lock(&info).await.unwrap();
    let mut stage = Stage::new(&a.engine, &info, guard.live().unwrap());
    let draft =
        state(&user("@hanako:a.test"), "m.room.member", taro.as_str(), &json!({ "membership": "invite" }));
    stage.author(&draft, None, None).await.unwrap().event.pdu().to_raw()
}

pub(super) fn invite_of(
    room: &OwnedRoomId,
    version: &str,
    event: &RawValue,
    told: &[Value],
) -> ReceivedInvite {
    let parsed = pdu::Pdu::parse_raw(RoomVersion::parse(version).unwrap(), event).unwrap();
    let raw = |event: &Value| RawValue::from_string(event.to_string()).unwrap();
    ReceivedInvite {
        room_id: room.clone(),
        event_id: parsed.event_id().to_owned(),
        version: version.to_owned(),
        event: event.to_owned(),
        invite_room_state: told.iter().map(raw).collect(),
    }
}

#[tokio::test]
async fn an_invite_with_a_wrong_room_version_does_not_keep_anybody_out() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V11).await;
    let event = invite_event(&a, &room, &taro).await;
    let a_test = "a.test".try_into().unwrap();
    b.engine.receive_invite(a_test, invite_of(&room, "6", &event, &[])).await.unwrap();
    assert_eq!(b.rooms.room(&room).await.unwrap().unwrap().version, RoomVersion::V6);

    // Who invites rightly is heard, and who wants to come in comes in.
    a.invite(&hanako, &room, &taro).await.unwrap();
    b.engine.receive_invite(a_test, invite_of(&room, "6", &event, &[])).await.unwrap();
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(b.membership(&taro, &room).await, Some(Membership::Join));
    assert_eq!(b.rooms.room(&room).await.unwrap().unwrap().version, RoomVersion::V11);
    assert_eq!(a.state(&room).await, b.state(&room).await);

    // From now on the version is what the create event says.
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    let event = invite_event(&a, &room, &taro).await;
    let refused = b.engine.receive_invite(a_test, invite_of(&room, "6", &event, &[])).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    b.join(&taro, &room, "a.test").await.unwrap();
}

#[tokio::test]
async fn a_look_at_a_room_that_we_are_not_in_does_not_keep_a_wrong_version_of_it() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V11).await;
    let event = invite_event(&a, &room, &taro).await;
    let invite = invite_of(&room, "6", &event, &[]);
    b.engine.receive_invite("a.test".try_into().unwrap(), invite).await.unwrap();

    // As for a space that names the room.
    let looker = room::read::space::Looker::Server("a.test".try_into().unwrap());
    b.rooms.room_summaries(std::slice::from_ref(&room), looker).await.unwrap();
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(b.rooms.room(&room).await.unwrap().unwrap().version, RoomVersion::V11);
}

#[tokio::test]
async fn what_an_invite_tells_of_a_room_has_the_form_that_clients_count_on() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V11).await;
    let event = invite_event(&a, &room, &taro).await;
    let told = |kind: &str, key: &str, content: Value| json!({ "type": kind, "state_key": key, "sender": hanako, "content": content });
    let huge = "長".repeat(500_000);
    let state = [
        told("m.room.name", "", json!({ "name": huge })),
        told("m.room.name", "", json!({ "name": "会議" })),
        told("m.room.name", "", json!({ "name": "二つ目" })),
        told("m.room.topic", "", json!({ "topic": 5 })),
        told("m.room.avatar", "", json!(["mxc://a.test/x"])),
        told("m.room.member", hanako.as_str(), json!({ "membership": "join", "displayname": {} })),
        told("m.room.member", "@mallory:a.test", json!({ "membership": "join" })),
        told("org.example.advert", "", json!({ "text": "買って" })),
        told("m.room.join_rules", "x", json!({ "join_rule": "public" })),
        json!({ "type": 5 }),
        json!("text"),
    ];
    b.engine
        .receive_invite("a.test".try_into().unwrap(), invite_of(&room, "11", &event, &state))
        .await
        .unwrap();
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    let kept = b.store.get(&INVITES, &(info.serial, taro.as_str())).await.unwrap().unwrap();
    let kept: Value = serde_json::from_slice(&kept.stripped).unwrap();
    let expected = json!([
        told("m.room.name", "", json!({ "name": "会議" })),
        told("m.room.topic", "", json!({})),
        told("m.room.member", hanako.as_str(), json!({ "membership": "join" })),
    ]);
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn a_version_12_invite_needs_the_create_event_that_the_room_is_named_after() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V12).await;
    let other = a.room_of(&hanako, RoomVersion::V12).await;
    let event = invite_event(&a, &room, &taro).await;
    let create = async |room: &OwnedRoomId| -> Value {
        let create = a.timeline(room).await.remove(0);
        serde_json::from_str(create.pdu().json_str()).unwrap()
    };
    let (right, wrong) = (create(&room).await, create(&other).await);
    let stripped = json!({
        "type": "m.room.create", "state_key": "", "sender": hanako, "content": right["content"],
    });
    let a_test = "a.test".try_into().unwrap();
    for told in [vec![], vec![wrong], vec![stripped]] {
        let refused = b.engine.receive_invite(a_test, invite_of(&room, "12", &event, &told)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    b.engine.receive_invite(a_test, invite_of(&room, "12", &event, &[right])).await.unwrap();
}

#[tokio::test]
async fn a_leave_says_only_what_the_user_says() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    net.forge(|template| template["content"]["displayname"] = "馬鹿".into());
    b.engine.leave(&taro, &room, None).await.unwrap();
    let leave = a.timeline(&room).await.pop().unwrap();
    assert_eq!(leave.pdu().content_str(), r#"{"membership":"leave"}"#);
}

/// What 太郎's own list of rooms says of a room.
async fn listed(server: &Server, who: &OwnedUserId, room: &OwnedRoomId) -> Option<Membership> {
    let rooms = server.rooms.memberships(who).await.unwrap();
    rooms.rooms.iter().find(|row| row.room_id == *room).map(|row| row.membership)
}

#[tokio::test]
async fn a_users_list_of_rooms_hears_of_what_happened_to_him_while_we_were_not_in_the_room() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
    let room = a.public_room(&hanako).await;
    assert_eq!(listed(&b, &taro, &room).await, None);
    a.invite(&hanako, &room, &taro).await.unwrap();
    assert_eq!(listed(&b, &taro, &room).await, Some(Membership::Invite));
    b.join(&taro, &room, "a.test").await.unwrap();
    assert_eq!(listed(&b, &taro, &room).await, Some(Membership::Join));
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.deliver(&a).await;
    a.settled().await;
    assert_eq!(listed(&b, &taro, &room).await, Some(Membership::Leave));

    a.engine.ban(&hanako, &room, &taro, None).await.unwrap();
    // The state with which a colleague comes in says so, and nothing else does.
    b.join(&jiro, &room, "a.test").await.unwrap();
    assert_eq!(listed(&b, &taro, &room).await, Some(Membership::Ban));
}

#[tokio::test]
async fn what_comes_from_outside_too_late_changes_nothing_for_one_who_has_come_in() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    let event = invite_event(&a, &room, &taro).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    let invite = pdu::Pdu::parse_raw(info.version, &event).unwrap();
    b.engine.end_outside(&info, &taro, Membership::Leave, &invite).await.unwrap();
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Join);

    // Once nobody of ours is in it, it counts.
    b.engine.leave(&taro, &room, None).await.unwrap();
    b.engine.end_outside(&info, &taro, Membership::Ban, &invite).await.unwrap();
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Ban);
}

#[tokio::test]
async fn a_refused_invite_is_told_again_until_the_other_server_answers() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    let idle = hand.sleepers();
    net.silence("a.test");
    // The user is rid of it within seconds.
    within(&hand, idle, 9, b.engine.leave(&taro, &room, None)).await.unwrap();
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Leave);
    let waiting = async |server: &Server| {
        server.store.scan(&FAREWELLS, store::Range::all(), store::Order::Ascending, 9).await.unwrap().len()
    };
    assert_eq!(waiting(&b).await, 1);

    // A restart in between loses nothing.
    let disk = b.disk.clone();
    let b = net.server_on(&["b.test"], &disk).await;
    net.unsilence("a.test");
    let mut looks = 0;
    while a.membership(&taro, &room).await != Some(Membership::Leave) {
        // Not all the time: what is asked for must have time to be answered.
        if looks % 1_000 == 0 {
            hand.advance(Duration::from_secs(40));
        }
        looks += 1;
        tokio::task::yield_now().await;
    }
    while waiting(&b).await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_invite_accepted_again_is_not_refused_later() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.engine.create(&hanako, CreateRoom::default()).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    net.cut(true);
    b.engine.leave(&taro, &room, None).await.unwrap();
    net.cut(false);
    b.join(&taro, &room, "a.test").await.unwrap();
    let serial = b.rooms.room(&room).await.unwrap().unwrap().serial;
    let row = b.store.get(&FAREWELLS, &(serial, taro.as_str())).await.unwrap().unwrap();
    b.engine.tell_again(serial, taro.to_string(), row).await.unwrap();
    assert!(b.store.get(&FAREWELLS, &(serial, taro.as_str())).await.unwrap().is_none());
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Join));
}

/// A room of 花子 (a.test) with 三郎 (c.test) as moderator, who invited or withdraws.
async fn moderated(a: &Server, c: &Server, version: RoomVersion) -> (OwnedRoomId, OwnedUserId, OwnedUserId) {
    let (hanako, saburo) = (user("@hanako:a.test"), user("@saburo:c.test"));
    let room = a.room_of(&hanako, version).await;
    c.join(&saburo, &room, "a.test").await.unwrap();
    let mut users = json!({ "@saburo:c.test": 50 });
    if !version.has_hashed_room_id() {
        users["@hanako:a.test"] = 100.into();
    }
    let levels = json!({ "users": users });
    a.engine.send(&room, state(&hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    a.deliver(c).await;
    (room, hanako, saburo)
}

/// 太郎 (b.test) is invited by 花子, and b.test hears that 三郎 takes the invite back.
async fn withdrawn(net: &Net) -> (Server, Server, Server, OwnedRoomId, OwnedUserId) {
    let (a, b) = pair(net).await;
    let c = net.server(&["c.test"]).await;
    let taro = user("@taro:b.test");
    let (room, hanako, saburo) = moderated(&a, &c, RoomVersion::V11).await;
    a.invite(&hanako, &room, &taro).await.unwrap();
    a.deliver(&c).await;
    c.engine.kick(&saburo, &room, &taro, None).await.unwrap();
    c.deliver(&b).await;
    (a, b, c, room, taro)
}

async fn withdrawals(server: &Server) -> Option<WithdrawalRow> {
    let rows = server.store.scan(&WITHDRAWALS, store::Range::all(), store::Order::Ascending, 9);
    rows.await.unwrap().pop().map(|(_, row)| row)
}

/// Lets time pass until the withdrawals are as wanted.
async fn withdrawals_until(
    server: &Server,
    hand: &ManualClock,
    wanted: impl Fn(Option<WithdrawalRow>) -> bool,
) {
    let mut looks = 0;
    while !wanted(withdrawals(server).await) {
        // Not all the time: what is asked must have time to be answered.
        if looks % 1_000 == 0 {
            hand.advance(Duration::from_secs(40));
        }
        looks += 1;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn another_moderators_withdrawal_of_an_invite_is_heard_also_before_the_inviters_server_knows() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b, c, room, taro) = withdrawn(&net).await;
    // For the inviter's server the invite stands.
    withdrawals_until(&b, &hand, |row| row.is_some_and(|row| row.tries > 0)).await;
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Invite);
    // A restart in between loses nothing.
    let disk = b.disk.clone();
    let b = net.server_on(&["b.test"], &disk).await;
    c.deliver(&a).await;
    withdrawals_until(&b, &hand, |row| row.is_none()).await;
    let ended = outside(&b, &taro, &room).await.unwrap();
    assert_eq!((ended.membership, ended.sender), (Membership::Leave, user("@saburo:c.test")));
}

#[tokio::test]
async fn a_colleagues_withdrawal_of_an_invite_is_heard() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = pair(&net).await;
    let (hanako, jiro, taro) = (user("@hanako:a.test"), user("@jiro:a.test"), user("@taro:b.test"));
    let room = a.public_room(&jiro).await;
    a.join(&hanako, &room, "a.test").await.unwrap();
    let levels = json!({ "users": { "@jiro:a.test": 100, "@hanako:a.test": 50 } });
    a.engine.send(&room, state(&jiro, "m.room.power_levels", "", &levels), None).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    a.engine.kick(&jiro, &room, &taro, None).await.unwrap();
    a.deliver(&b).await;
    withdrawals_until(&b, &hand, |row| row.is_none()).await;
    let ended = outside(&b, &taro, &room).await.unwrap();
    assert_eq!((ended.membership, ended.sender), (Membership::Leave, jiro));
}

/// A member event about 太郎 by somebody of c.test, who is not in the room.
fn strangers(room: &OwnedRoomId, taro: &OwnedUserId, membership: &str) -> pdu::Pdu {
    strangers_of("c.test", room, taro, membership)
}

fn strangers_of(server: &str, room: &OwnedRoomId, taro: &OwnedUserId, membership: &str) -> pdu::Pdu {
    let sender = user(&format!("@dare:{server}"));
    let draft = state(&sender, "m.room.member", taro.as_str(), &json!({ "membership": membership }));
    let prev = [ruma::OwnedEventId::try_from(format!("${}", "p".repeat(43))).unwrap()];
    let at = ruma::MilliSecondsSinceUnixEpoch(1_700_000_000_000_u64.try_into().unwrap());
    let unsigned = pdu::build(RoomVersion::V11, &draft, Some(room), &prev, &prev, 100, at).unwrap();
    pdu::sign(unsigned, &super::net::authority(server)).unwrap().into_pdu()
}

#[tokio::test]
async fn a_stranger_ends_no_knock_and_who_is_in_the_room_does() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = pair(&net).await;
    let _c = net.server(&["c.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V11).await;
    let rule = json!({ "join_rule": "knock" });
    a.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rule), None).await.unwrap();
    let via = ["a.test".try_into().unwrap()];
    b.engine.knock(&taro, &room, &via, &Profile::default(), None).await.unwrap();
    for membership in ["ban", "leave"] {
        let origin = ruma::server_name!("c.test");
        b.engine.receive_transaction(origin, &[strangers(&room, &taro, membership).to_raw()]).await.unwrap();
        assert!(withdrawals(&b).await.is_some());
        withdrawals_until(&b, &hand, |row| row.is_none()).await;
        assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Knock);
    }
    a.engine.kick(&hanako, &room, &taro, None).await.unwrap();
    a.deliver(&b).await;
    withdrawals_until(&b, &hand, |row| row.is_none()).await;
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Leave);
}

#[tokio::test]
async fn withdrawals_of_one_server_leave_room_for_those_of_others() {
    let net = Net::default();
    let _hand = net.steer_clock();
    let (a, b) = pair(&net).await;
    let c = net.server(&["c.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let mut kept = 0;
    for _ in 0..40 {
        let room = a.room_of(&hanako, RoomVersion::V11).await;
        a.invite(&hanako, &room, &taro).await.unwrap();
        let leave = strangers(&room, &taro, "leave").to_raw();
        let answers = b.engine.receive_transaction(ruma::server_name!("c.test"), &[leave]).await.unwrap();
        kept += answers.iter().filter(|answer| answer.result.is_ok()).count();
    }
    assert_eq!(kept, 32);
    let jiro = user("@jiro:a.test");
    let room = a.public_room(&jiro).await;
    a.join(&hanako, &room, "a.test").await.unwrap();
    let levels = json!({ "users": { "@jiro:a.test": 100, "@hanako:a.test": 50 } });
    a.engine.send(&room, state(&jiro, "m.room.power_levels", "", &levels), None).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    a.engine.kick(&jiro, &room, &taro, None).await.unwrap();
    let kick = a.outgoing("b.test").await.pop().unwrap();
    let answers = b.engine.receive_transaction(ruma::server_name!("a.test"), &[kick]).await.unwrap();
    answers[0].result.as_ref().unwrap();
    drop(c);
}

#[tokio::test]
async fn what_is_told_of_a_room_is_short_and_invites_of_one_server_have_an_end() {
    let net = Net::default();
    let (_a, b) = pair(&net).await;
    let _c = net.server(&["c.test"]).await;
    let taro = user("@taro:b.test");
    let long = "長".repeat(10_000);
    let told = [
        json!({ "type": "m.room.topic", "state_key": "", "sender": "@dare:c.test",
            "content": { "topic": long, "m.topic": { "m.text": [{ "body": long }] } } }),
        json!({ "type": "m.room.name", "state_key": "", "sender": "@dare:c.test", "content": { "name": "短い" } }),
    ];
    let mut taken = 0;
    for number in 0..110 {
        let room = OwnedRoomId::try_from(format!("!{number}:c.test")).unwrap();
        let invite = invite_of(&room, "11", &strangers(&room, &taro, "invite").to_raw(), &told);
        taken += usize::from(b.engine.receive_invite(ruma::server_name!("c.test"), invite).await.is_ok());
    }
    assert_eq!(taken, 100);
    let rows = b.store.scan(&INVITES, store::Range::all(), store::Order::Ascending, 999).await.unwrap();
    for (_, row) in rows {
        let told: Vec<Value> = serde_json::from_slice(&row.stripped).unwrap();
        assert!(row.stripped.len() < 2_048 && told.iter().any(|event| event["content"]["name"] == "短い"));
        assert!(
            told.iter()
                .any(|event| event["content"]["topic"].as_str().is_some_and(|topic| topic.len() > 500))
        );
    }
}

#[tokio::test]
async fn an_invite_that_was_refused_does_not_come_again_by_being_sent_again() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V11).await;
    let event = invite_event(&a, &room, &taro).await;
    for membership in [Membership::Invite, Membership::Leave] {
        b.engine.receive_invite(hanako.server_name(), invite_of(&room, "11", &event, &[])).await.unwrap();
        assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, membership);
        if membership == Membership::Invite {
            b.engine.leave(&taro, &room, None).await.unwrap();
        }
    }
    // Another invite is another matter.
    a.invite(&hanako, &room, &taro).await.unwrap();
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Invite);
}

#[tokio::test]
async fn a_strangers_invite_takes_the_place_of_no_other() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = pair(&net).await;
    let _c = net.server(&["c.test"]).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V11).await;
    a.invite(&hanako, &room, &taro).await.unwrap();
    let origin = ruma::server_name!("c.test");
    let told = [
        json!({ "type": "m.room.name", "state_key": "", "sender": "@dare:c.test", "content": { "name": "罠" } }),
    ];
    let false_one = invite_of(&room, "11", &strangers(&room, &taro, "invite").to_raw(), &told);
    b.engine.receive_invite(origin, false_one).await.unwrap();
    let row = outside(&b, &taro, &room).await.unwrap();
    assert_eq!((row.membership, row.sender), (Membership::Invite, hanako));
    b.engine.receive_transaction(origin, &[strangers(&room, &taro, "leave").to_raw()]).await.unwrap();
    withdrawals_until(&b, &hand, |row| row.is_none()).await;
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Invite);
    b.engine.join(&taro, &room, &[], Joining::default()).await.unwrap();
}

#[tokio::test]
async fn a_withdrawal_that_the_inviting_server_knows_nothing_of_is_none() {
    let net = Net::default();
    let hand = net.steer_clock();
    // Only b.test hears of it.
    let (_a, b, _c, room, taro) = withdrawn(&net).await;
    assert!(withdrawals(&b).await.is_some());
    withdrawals_until(&b, &hand, |row| row.is_none()).await;
    assert_eq!(outside(&b, &taro, &room).await.unwrap().membership, Membership::Invite);
}

#[tokio::test]
async fn a_knock_is_taken_back_also_where_the_rooms_id_names_no_server() {
    for version in [RoomVersion::V11, RoomVersion::V12] {
        let net = Net::default();
        let (a, b) = pair(&net).await;
        let c = net.server(&["c.test"]).await;
        let taro = user("@taro:b.test");
        let (room, hanako, saburo) = moderated(&a, &c, version).await;
        let rule = json!({ "join_rule": "knock" });
        a.engine.send(&room, state(&hanako, "m.room.join_rules", "", &rule), None).await.unwrap();
        a.deliver(&c).await;
        // The creator's server is gone when 太郎 knocks through c.test.
        net.forget("a.test");
        let via = ["c.test".try_into().unwrap()];
        b.engine.knock(&taro, &room, &via, &Profile::default(), None).await.unwrap();
        assert_eq!(c.membership(&taro, &room).await, Some(Membership::Knock));
        b.engine.leave(&taro, &room, None).await.unwrap();
        assert_eq!(c.membership(&taro, &room).await, Some(Membership::Leave), "version {version}");

        // And joins without being told where, when the door is open.
        b.engine.knock(&taro, &room, &[], &Profile::default(), None).await.unwrap();
        c.invite(&saburo, &room, &taro).await.unwrap();
        b.engine.leave(&taro, &room, None).await.unwrap();
        c.invite(&saburo, &room, &taro).await.unwrap();
        b.engine.join(&taro, &room, &[], Joining::default()).await.unwrap();
        assert_eq!(c.membership(&taro, &room).await, Some(Membership::Join));
    }
}

#[tokio::test]
async fn withdrawals_of_many_servers_hold_up_neither_those_of_others_nor_what_comes_with_them() {
    let net = Net::default();
    let _hand = net.steer_clock();
    let a = net.server(&["a.test"]).await;
    let b = net.small_server(&["b.test"], InboxLimits { withdrawals: 4, ..InboxLimits::default() }).await;
    let (hanako, jiro, taro) = (user("@hanako:a.test"), user("@jiro:a.test"), user("@taro:b.test"));
    for flood in ["x0.test", "x1.test", "x2.test", "x0.test"] {
        net.know_key(flood);
        let room = a.room_of(&hanako, RoomVersion::V11).await;
        a.invite(&hanako, &room, &taro).await.unwrap();
        let leave = strangers_of(flood, &room, &taro, "leave").to_raw();
        let answers = b.engine.receive_transaction(flood.try_into().unwrap(), &[leave]).await.unwrap();
        answers[0].result.as_ref().unwrap();
    }
    let joined = a.public_room(&hanako).await;
    b.join(&taro, &joined, "a.test").await.unwrap();
    let room = a.public_room(&jiro).await;
    a.join(&hanako, &room, "a.test").await.unwrap();
    let levels = json!({ "users": { "@jiro:a.test": 100, "@hanako:a.test": 50 } });
    a.engine.send(&room, state(&jiro, "m.room.power_levels", "", &levels), None).await.unwrap();
    a.invite(&hanako, &room, &taro).await.unwrap();
    a.outgoing("b.test").await;
    a.engine.kick(&jiro, &room, &taro, None).await.unwrap();
    a.say(&hanako, &joined, "届け").await;

    let pdus = a.outgoing("b.test").await;
    assert_eq!(pdus.len(), 2);
    let answers = b.engine.receive_transaction(ruma::server_name!("a.test"), &pdus).await.unwrap();
    assert!(answers.iter().all(|answer| answer.result.is_ok()), "{answers:?}");
    b.settled().await;
    assert_eq!(b.bodies(&joined).await, ["届け"]);
    let rows = b.store.scan(&WITHDRAWALS, store::Range::all(), store::Order::Ascending, 99).await.unwrap();
    let mut origins: Vec<&str> = rows.iter().map(|(_, row)| row.origin.as_str()).collect();
    origins.sort_unstable();
    assert_eq!(origins, ["a.test", "x0.test", "x1.test", "x2.test"], "who had most has lost one");
}

#[tokio::test]
async fn a_leave_by_the_rules_of_another_room_version_is_not_signed() {
    let net = Net::default();
    let (a, b) = pair(&net).await;
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.room_of(&hanako, RoomVersion::V11).await;
    a.invite(&hanako, &room, &taro).await.unwrap();
    let wrong = invite_event(&a, &room, &taro).await;
    b.engine.receive_invite(hanako.server_name(), invite_of(&room, "6", &wrong, &[])).await.unwrap();
    let info = b.rooms.room(&room).await.unwrap().unwrap();
    assert_eq!(info.version, RoomVersion::V6);
    b.engine.leave(&taro, &room, None).await.unwrap();
    let left = outside(&b, &taro, &room).await.unwrap();
    assert_eq!(left.membership, Membership::Leave);
    // Whatever is kept of it reads as it was written, and the leave is told again later.
    if let Some(event) = left.event {
        let stored = b.rooms.load_uncached(&[(info.serial, event)]).await.unwrap().remove(0).unwrap();
        let read = pdu::Pdu::parse(info.version, stored.pdu().json()).unwrap();
        assert_eq!(read.event_id(), stored.meta().event_id);
    }
    assert!(b.store.get(&FAREWELLS, &(info.serial, taro.as_str())).await.unwrap().is_some());
    assert_eq!(a.membership(&taro, &room).await, Some(Membership::Invite));
}

#[tokio::test]
async fn a_large_invite_is_refused_before_it_is_read() {
    let net = Net::default();
    let (_a, b) = pair(&net).await;
    let room = OwnedRoomId::try_from("!room:a.test").unwrap();
    let invite = ReceivedInvite {
        room_id: room,
        event_id: ruma::OwnedEventId::try_from(format!("${}", "p".repeat(43))).unwrap(),
        version: "11".to_owned(),
        event: RawValue::from_string(format!("[{}0]", "0,".repeat(20_000))).unwrap(),
        invite_room_state: Vec::new(),
    };
    let refused = b.engine.receive_invite(ruma::server_name!("a.test"), invite).await;
    assert!(matches!(refused, Err(Error::TooLarge)), "{refused:?}");
}
