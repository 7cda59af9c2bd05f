//! Rooms that lack members: what they can do, what they cannot, and how the members come.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};

use audit::Actor;
use base::Metrics;
use pdu::{Draft, RoomVersion};
use room::{
    Error,
    read::{
        federation::Missing,
        lacking::{LACKING, TOLD_SERVERS, UNSETTLED},
        members::MemberFilter,
        room::RoomInfo,
        view::Viewer,
    },
    tables::{EVENT_META, Head, Members, Membership, RELATIONS, THREAD_SENDERS, THREADS, Verdict},
};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::TimelineEventType,
};
use serde_json::json;
use std::sync::Arc;
use store::{MemoryDisk, Order, Range};

use super::{
    chains::counting,
    entering::{HANAKO, JIRO, MOST, TARO, asked, assert_whole, member, projected, watched},
    inbound::{auth_of, forge},
    net::{Net, Server, message, state, user, within},
    projections::words_of,
};
use crate::{CreateRoom, NoDebts, entering::SLICE, purge::slices::swaths, tables::WAITING};

fn name(server: &str) -> OwnedServerName {
    OwnedServerName::try_from(server).unwrap()
}

pub(super) async fn info(server: &Server, room: &RoomId) -> Arc<RoomInfo> {
    server.engine.rooms().room(room).await.unwrap().unwrap()
}

pub(super) async fn head(server: &Server, room: &RoomId) -> Head {
    server.rooms.get_head(&*info(server, room).await).await.unwrap()
}

pub(super) async fn lacks(server: &Server, room: &RoomId) -> bool {
    let serial = info(server, room).await.serial;
    let by_row = server.rooms.lacking().await.unwrap().lacks(serial);
    let by_head = head(server, room).await.members != Members::Whole;
    assert_eq!(by_row, by_head);
    by_row
}

/// Brings the members, whoever else does the same.
pub(super) async fn fill(server: &Server, room: &RoomId) {
    let info = info(server, room).await;
    while lacks(server, room).await {
        match server.engine.fill(&info).await {
            Ok(()) | Err(Error::Contended) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn unsettled(server: &Server) -> usize {
    server.store.scan(&UNSETTLED, Range::all(), Order::Ascending, usize::MAX).await.unwrap().len()
}

/// A large room at `a`, and `b` in it, where it lacks its members.
pub(super) async fn partly(net: &Net) -> (Server, Server, OwnedRoomId) {
    let (a, room) = asked(net).await;
    let b = net.server(&["b.test"]).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    // What was before is not sent.
    a.outgoing("b.test").await;
    assert!(lacks(&b, &room).await);
    (a, b, room)
}

pub(super) async fn verdict(server: &Server, room: &RoomId, event: &EventId) -> (Verdict, bool) {
    let event = server.rooms.event(room, event).await.unwrap().unwrap();
    (event.meta().verdict, event.meta().partial)
}

#[tokio::test]
async fn who_is_told_no_members_is_in_at_once_and_they_come_in_slices() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let (b, watch) = watched(&net, &MemoryDisk::default(), usize::MAX).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    assert!(lacks(&b, &room).await);
    assert_eq!(b.rooms.joined_rooms(&user(TARO)).await.unwrap(), std::slice::from_ref(&room));
    let known = projected(&b, &room).await.0;
    assert!(known.len() < 10 && known[TARO] == Membership::Join, "{known:?}");
    b.say(&user(TARO), &room, "着きました").await;
    b.deliver(&a).await;
    assert_eq!(a.bodies(&room).await.last().unwrap(), "着きました");

    net.tell_members();
    watch.batches.lock().clear();
    fill(&b, &room).await;
    assert!(watch.largest() <= MOST, "{:?}", watch.batches.lock());
    assert!(watch.batches.lock().len() > 3 * 3, "outliers, the state, projections each come in slices");
    assert_whole(&a, &b, &room).await;
    assert_eq!(unsettled(&b).await, 0);
    let serial = info(&b, &room).await.serial;
    let told = b.store.scan(&TOLD_SERVERS, Range::all(), Order::Ascending, 9).await.unwrap();
    assert_eq!(told, []);
    let row = b.store.get(&LACKING, &serial).await.unwrap().unwrap();
    assert!(row.value.filling.is_none() && row.position.0 > 0);
    for meta in b.store.scan(&EVENT_META, Range::prefix(&serial), Order::Ascending, 999).await.unwrap() {
        assert!(!meta.1.value.partial);
    }
}

#[tokio::test]
async fn a_crash_between_any_two_batches_loses_nothing_and_the_next_one_goes_on() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let mut crashes = 0;
    for most in 0.. {
        let disk = MemoryDisk::default();
        net.keep_members();
        let (b, watch) = watched(&net, &disk, usize::MAX).await;
        b.join(&user(TARO), &room, "a.test").await.unwrap();
        a.outgoing("b.test").await;
        let gone = member(most % (3 * SLICE));
        a.engine.leave(&gone, &room, None).await.unwrap();
        a.deliver(&b).await;
        net.tell_members();
        watch.most.store(watch.batches.lock().len() + most, Ordering::SeqCst);
        let filled = b.engine.fill(&info(&b, &room).await).await;
        if filled.is_ok() && !lacks(&b, &room).await {
            assert_whole(&a, &b, &room).await;
            break;
        }
        crashes += 1;
        b.crash().await;
        let b = net.server_on(&["b.test"], &disk).await;
        assert!(lacks(&b, &room).await);
        b.say(&user(TARO), &room, "まだです").await;
        fill(&b, &room).await;
        b.deliver(&a).await;
        assert_whole(&a, &b, &room).await;
        assert_eq!(b.membership(&gone, &room).await, Some(Membership::Leave));
        b.engine.leave(&user(TARO), &room, None).await.unwrap();
        b.deliver(&a).await;
        b.crash().await;
        a.join(&gone, &room, "a.test").await.unwrap();
    }
    assert!(crashes > 10, "{crashes}");
}

#[tokio::test]
async fn two_processes_over_the_same_data_fill_a_room_together() {
    let net = Net::default();
    let (a, b, room) = partly(&net).await;
    let other = net.server_over(&["b.test"], &b.disk, b.store.clone()).await;
    net.tell_members();
    tokio::join!(fill(&b, &room), fill(&other, &room), async {
        for number in 0..20 {
            let server = if number % 2 == 0 { &b } else { &other };
            server.say(&user(TARO), &room, &number.to_string()).await;
            tokio::task::yield_now().await;
        }
    });
    b.deliver(&a).await;
    assert_whole(&a, &b, &room).await;
    assert!(!lacks(&other, &room).await);
    assert_eq!(b.bodies(&room).await.len(), 20);
}

#[tokio::test]
async fn who_is_not_held_by_anybody_is_filled_by_whoever_looks() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    net.tell_members();
    // Whoever asked in vain pauses.
    let mut lacked = HashSet::new();
    b.engine.fill_what_lacks(&mut lacked).await.unwrap();
    for _ in 0..1_000 {
        if !lacks(&b, &room).await {
            break;
        }
        hand.advance(Duration::from_secs(60));
        b.engine.fill_what_lacks(&mut lacked).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn what_members_say_who_are_lacking_is_taken_and_what_they_become_stands() {
    let net = Net::default();
    let (a, b, room) = partly(&net).await;
    let (one, other, third) = (member(1), member(2), member(4));
    let said = a.say(&one, &room, "こちら本庁").await;
    a.engine.leave(&other, &room, None).await.unwrap();
    a.engine.ban(&user(HANAKO), &room, &third, None).await.unwrap();
    let later = a.say(&one, &room, "以上").await;
    let tip = head(&b, &room).await.extremities.remove(0).event_id;
    a.deliver(&b).await;
    assert_eq!(b.bodies(&room).await, ["こちら本庁", "以上"]);
    // Also on a branch: that he is not in the current state says nothing.
    let branch =
        forge(RoomVersion::V11, &room, &message(&one, "枝"), &[tip], &auth_of(&a, &room, one.as_str()).await);
    for server in [&a, &b] {
        server.receive("aa.test", &[branch.to_raw()]).await;
        assert_eq!(verdict(server, &room, branch.event_id()).await.0, Verdict::Accepted);
    }
    assert_eq!(verdict(&b, &room, &said).await, (Verdict::Accepted, true));
    let timeline = b.timeline(&room).await;

    net.tell_members();
    fill(&b, &room).await;
    assert_whole(&a, &b, &room).await;
    assert_eq!(b.membership(&other, &room).await, Some(Membership::Leave));
    assert_eq!(b.membership(&third, &room).await, Some(Membership::Ban));
    let ids = |events: &[Arc<room::read::event::StoredEvent>]| -> Vec<_> {
        events.iter().map(|event| event.event_id().to_owned()).collect()
    };
    assert_eq!(ids(&b.timeline(&room).await), ids(&timeline));
    // Each has the states that the other server has.
    for id in [&said, &later] {
        assert_eq!(verdict(&b, &room, id).await, (Verdict::Accepted, false));
        let mut states = Vec::new();
        for server in [&a, &b] {
            let event = server.rooms.event(&room, id).await.unwrap().unwrap();
            let before = server.rooms.all_state(event.room(), event.meta().before).await.unwrap();
            let mut ids: Vec<_> = before.iter().map(|event| event.event_id().to_owned()).collect();
            ids.sort();
            states.push(ids);
        }
        assert_eq!(states[0], states[1]);
    }
}

#[tokio::test]
async fn who_turns_out_not_to_have_been_allowed_is_rejected_and_leaves_the_timeline() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let c = net.server(&["c.test"]).await;
    let (goro, rokuro) = (user("@goro:c.test"), user("@rokuro:c.test"));
    c.join(&goro, &room, "a.test").await.unwrap();
    c.join(&rokuro, &room, "a.test").await.unwrap();
    c.deliver(&a).await;
    a.deliver(&c).await;
    let was_in = c.rooms.membership(&goro, &room).await.unwrap().unwrap();
    let was_in = c.rooms.load_event(info(&c, &room).await.serial, was_in.event.unwrap()).await.unwrap();
    a.engine.ban(&user(HANAKO), &room, &goro, None).await.unwrap();
    let b = net.server(&["b.test"]).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    // What was before is not sent.
    a.outgoing("b.test").await;
    a.deliver(&c).await;

    c.outgoing("b.test").await;

    // What he says stands on a state in which he is kept out, but by what he names for it he is in.
    let tip = head(&b, &room).await.extremities.remove(0).event_id;
    let mut auth: Vec<_> = a
        .state(&room)
        .await
        .into_iter()
        .filter(|(kind, ..)| matches!(kind.as_str(), "m.room.create" | "m.room.power_levels"))
        .map(|(.., id)| id)
        .collect();
    auth.push(was_in.unwrap().event_id().to_owned());
    let lie = forge(RoomVersion::V11, &room, &message(&goro, "まだいる"), &[tip], &auth);
    b.receive("c.test", &[lie.to_raw()]).await;
    assert_eq!(verdict(&b, &room, lie.event_id()).await, (Verdict::Accepted, true));
    let answer = json!({
        "msgtype": "m.text",
        "body": "返事",
        "m.relates_to": { "rel_type": "m.thread", "event_id": lie.event_id() },
    });
    let answer = Draft::message(&goro, TimelineEventType::RoomMessage, &answer).unwrap();
    let answer = forge(RoomVersion::V11, &room, &answer, &[lie.event_id().to_owned()], &auth);
    b.receive("c.test", &[answer.to_raw()]).await;
    let right = c.say(&rokuro, &room, "本当にいる").await;
    c.deliver(&b).await;
    c.deliver(&a).await;
    assert_eq!(b.bodies(&room).await, ["まだいる", "返事", "本当にいる"]);
    let indexed = async || {
        let related = b.store.scan(&RELATIONS, Range::all(), Order::Ascending, 9).await.unwrap().len();
        let threads = b.store.scan(&THREADS, Range::all(), Order::Ascending, 9).await.unwrap().len();
        let senders = b.store.scan(&THREAD_SENDERS, Range::all(), Order::Ascending, 9).await.unwrap();
        (related, threads, senders.iter().map(|(_, count)| count.0).sum::<i64>())
    };
    assert_eq!(indexed().await, (1, 1, 1));
    assert_eq!(words_of(&b).await, ["まだいる", "本当にいる", "返事"]);

    net.tell_members();
    fill(&b, &room).await;
    assert_eq!(verdict(&b, &room, lie.event_id()).await, (Verdict::Rejected, false));
    assert_eq!(verdict(&b, &room, &right).await, (Verdict::Accepted, false));
    assert_eq!(b.bodies(&room).await, ["本当にいる"]);
    // Nor do indexes know of it any more.
    assert_eq!(indexed().await, (0, 0, 0));
    assert_eq!(words_of(&b).await, ["本当にいる"]);
    assert_eq!(b.membership(&goro, &room).await, Some(Membership::Ban));
    assert_eq!(b.state(&room).await, a.state(&room).await);
}

#[tokio::test]
async fn what_a_state_without_members_does_not_allow_waits_for_them() {
    let net = Net::default();
    // No time passes in which it would be tried again.
    let _hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    let one = member(1);
    let auth = auth_of(&a, &room, one.as_str()).await;
    a.engine.leave(&one, &room, None).await.unwrap();
    a.deliver(&b).await;
    let left = head(&b, &room).await.extremities.remove(0).event_id;
    let lie = forge(RoomVersion::V11, &room, &message(&one, "まだいる"), &[left], &auth);
    b.receive("a.test", &[lie.to_raw()]).await;
    let waiting = async || b.store.scan(&WAITING, Range::all(), Order::Ascending, 9).await.unwrap().len();
    assert_eq!(waiting().await, 1);
    let known = b.rooms.event(&room, lie.event_id()).await.unwrap();
    assert!(known.is_none_or(|event| !event.meta().is_placed()));

    net.tell_members();
    fill(&b, &room).await;
    // Whoever made the room whole takes it up.
    let judged = async {
        while waiting().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), judged).await.unwrap();
    assert_eq!(verdict(&b, &room, lie.event_id()).await, (Verdict::Rejected, false));
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn nobody_is_told_who_is_in_a_room_while_that_is_not_known() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    let (taro, server) = (user(TARO), name("a.test"));
    let (info, viewer) = (info(&b, &room).await, Viewer::user(&taro));
    let lacking = |error: Error| assert!(matches!(error, Error::MembersLacking(_)), "{error:?}");
    // At once, inside the server and to other servers.
    lacking(b.rooms.all_members(&info).await.unwrap_err());
    lacking(b.rooms.joined_users(&info).await.unwrap_err());
    lacking(b.rooms.joined_profiles(&info).await.unwrap_err());
    lacking(b.rooms.room_for_server(&server, &room).await.unwrap_err());
    let last = b.timeline(&room).await.pop().unwrap();
    lacking(b.rooms.event_for_server(&server, last.event_id()).await.unwrap_err());
    lacking(b.engine.state_for_server(&server, &room, last.event_id()).await.unwrap_err());
    lacking(b.engine.state_ids_for_server(&server, &room, last.event_id()).await.unwrap_err());
    lacking(b.rooms.room_for_hearer(&name("never-heard.test"), &room).await.unwrap_err());
    assert_eq!(b.rooms.joined_users_of(&[info.serial]).await.unwrap(), [Vec::<OwnedUserId>::new()]);
    // Who is known is counted.
    let counts = b.rooms.member_counts(&[info.serial]).await.unwrap();
    let shown = b.rooms.public_room(&room).await.unwrap();
    let known = projected(&b, &room).await.0.values().filter(|is| **is == Membership::Join).count() as u64;
    assert!(counts[0].joined == known && u64::from(shown.num_joined_members) == known && known < 10);
    assert_eq!(b.rooms.have_at_most(&[info.serial], 1_000).await.unwrap(), [false]);
    // As if we were not in the room.
    for membership in [Membership::Join, Membership::Knock, Membership::Leave] {
        let (c, goro) = (name("c.test"), user("@goro:c.test"));
        let made = b.engine.make_member_template(&c, &room, &goro, membership, &[]).await;
        let refused = made.unwrap_err();
        assert!(matches!(refused, Error::NotFound(_)), "{refused:?}");
    }
    let raw = last.pdu().to_raw();
    let refused = b.engine.accept_join(&server, &room, last.event_id(), &raw, true).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused:?}");
    let refused = b.engine.accept_leave(&server, &room, last.event_id(), &raw).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused:?}");
    let refused = b.engine.accept_knock(&server, &room, last.event_id(), &raw).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused:?}");
    // What was sent can be asked for all the same, by whom we were told of.
    let ids = [last.event_id().to_owned()];
    assert!(!b.rooms.backfill_for_server(&server, &room, &ids, 5).await.unwrap().is_empty());
    let question = Missing { earliest: &[], latest: &ids, limit: 5, min_depth: 0 };
    b.rooms.missing_events_for_server(&server, &room, &question).await.unwrap();
    b.engine.auth_chain_for_server(&server, &room, last.event_id()).await.unwrap();
    // Our users are waited for, but not for ever.
    let ask = async |what: u8| match what {
        0 => b.rooms.member_list(&viewer, &room, None, MemberFilter::default()).await.map(drop),
        1 => b.rooms.joined_members(&taro, &room).await.map(drop),
        2 => b.rooms.state_list(&viewer, &room).await.map(drop),
        _ => b.rooms.state_event(&viewer, &room, "m.room.member", member(1).as_str()).await.map(drop),
    };
    for what in 0..4 {
        lacking(within(&hand, hand.sleepers(), 20, ask(what)).await.unwrap_err());
    }
    // What is known is told at once.
    b.rooms.state_event(&viewer, &room, "m.room.name", "").await.unwrap();
    b.rooms.state_event(&viewer, &room, "m.room.member", TARO).await.unwrap();

    net.tell_members();
    let (listed, ()) = tokio::join!(ask(0), fill(&b, &room));
    listed.unwrap();
    for what in 1..4 {
        ask(what).await.unwrap();
    }
    b.rooms.room_for_server(&server, &room).await.unwrap();
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn who_speaks_or_hears_in_a_whole_room_does_not_read_what_others_lack() {
    let net = Net::default();
    let (a, count) = counting(&net, "a.test", &MemoryDisk::default()).await;
    let b = net.server(&["b.test"]).await;
    let room = a.public_room(&user(HANAKO)).await;
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    a.deliver(&b).await;
    b.say(&user(TARO), &room, "一").await;
    b.deliver(&a).await;
    let gate = count.shut(LACKING.raw().id).await;
    a.say(&user(HANAKO), &room, "二").await;
    b.say(&user(TARO), &room, "三").await;
    b.deliver(&a).await;
    a.rooms.joined_users(&*info(&a, &room).await).await.unwrap();
    assert_eq!((count.came_for_graph(), a.bodies(&room).await.len()), (0, 3));
    drop(gate);
}

#[tokio::test]
async fn servers_are_there_as_we_were_told_until_the_members_say_it() {
    let net = Net::default();
    let (_a, b, room) = partly(&net).await;
    let serial = info(&b, &room).await.serial;
    let is_there = async |server: &str| {
        let server = name(server);
        let now = b.rooms.servers_now(&[serial]).await.unwrap().remove(&serial).unwrap();
        let listed = b.rooms.servers_in_room(serial).await.unwrap().contains(&server);
        assert_eq!(now.includes(&server), listed);
        assert_eq!(now.iter().any(|there| *there == server), listed);
        assert_eq!(b.rooms.is_server_in_room(&server, serial).await.unwrap(), listed);
        listed
    };
    assert!(is_there("a.test").await && is_there("aa.test").await && is_there("b.test").await);
    assert!(!is_there("c.test").await);
    let mut known = Arc::new(b.rooms.servers_now(&[serial]).await.unwrap().remove(&serial).unwrap());
    net.tell_members();
    fill(&b, &room).await;
    assert!(is_there("a.test").await && is_there("aa.test").await && is_there("b.test").await);
    assert!(!is_there("c.test").await);
    b.rooms.note_told(serial, &mut known).await.unwrap();
    let mut old = known.clone();
    let current = head(&b, &room).await.current;
    b.rooms.move_servers(serial, Arc::make_mut(&mut known), current).await.unwrap();
    assert_eq!(*known, b.rooms.servers_now(&[serial]).await.unwrap().remove(&serial).unwrap());
    // Also when the state on which they were told is gone: nothing names it any more.
    assert!(b.engine.reclaim_state(&room).await.unwrap().deleted > 0);
    let gone = b.rooms.move_servers(serial, Arc::make_mut(&mut old), current).await.unwrap();
    assert_eq!((old, gone), (known, Vec::new()));
}

#[tokio::test]
async fn whether_somebody_is_in_a_lobby_cannot_be_told_while_it_lacks_members() {
    let net = Net::default();
    let (_a, b, lobby) = partly(&net).await;
    let taro = user(TARO);
    let room = b.engine.create(&taro, CreateRoom::default()).await.unwrap();
    let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
    let rule = json!({ "join_rule": "restricted", "allow": allow });
    b.engine.send(&room, state(&taro, "m.room.join_rules", "", &rule), None).await.unwrap();
    let make = async |who: &OwnedUserId| {
        let versions = [RoomVersion::V11.id(), RoomVersion::V12.id()];
        let server = who.server_name().to_owned();
        b.engine.make_member_template(&server, &room, who, Membership::Join, &versions).await
    };
    let (member, stranger) = (member(1), user("@stranger:c.test"));
    assert!(matches!(make(&member).await.unwrap_err(), Error::UnableToAuthoriseJoin));
    net.tell_members();
    fill(&b, &lobby).await;
    make(&member).await.unwrap();
    assert!(matches!(make(&stranger).await.unwrap_err(), Error::Forbidden(_)));
}

#[tokio::test]
async fn who_has_left_is_not_asked_for_members_and_comes_back_to_a_whole_room() {
    let net = Net::default();
    let (a, b, room) = partly(&net).await;
    b.engine.leave(&user(TARO), &room, None).await.unwrap();
    b.deliver(&a).await;
    assert_eq!(a.membership(&user(TARO), &room).await, Some(Membership::Leave));
    net.tell_members();
    let before = net.asked().len();
    b.engine.fill(&info(&b, &room).await).await.unwrap();
    assert_eq!(net.asked().len(), before);
    assert!(lacks(&b, &room).await);

    b.join(&user(JIRO), &room, "a.test").await.unwrap();
    a.outgoing("b.test").await;
    assert!(!lacks(&b, &room).await);
    assert_whole(&a, &b, &room).await;
    assert_eq!(unsettled(&b).await, 0);

    // And once more without them.
    b.engine.leave(&user(JIRO), &room, None).await.unwrap();
    b.deliver(&a).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    // What was before is not sent.
    a.outgoing("b.test").await;
    assert!(lacks(&b, &room).await);
    net.tell_members();
    fill(&b, &room).await;
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn a_room_is_purged_whether_it_lacks_members_or_not() {
    let net = Net::default();
    let (_a, b, room) = partly(&net).await;
    b.say(&user(TARO), &room, "さようなら").await;
    let serial = info(&b, &room).await.serial;
    b.engine.start_purging(Arc::new(NoDebts), &Metrics::new());
    b.engine.purge(&room, true, &Actor::operator("uid 1000")).await.unwrap();
    let gone = async {
        loop {
            let mut left = BTreeMap::new();
            for swath in swaths(serial) {
                let rows = b.store.rows_of(&swath, None, 9).await.unwrap().len();
                left.extend((rows > 0).then(|| (swath.table(), rows)));
            }
            let is_known = b.store.get(&LACKING, &serial).await.unwrap().is_some();
            if left.is_empty() && !is_known {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    assert!(!b.rooms.lacking().await.unwrap().lacks(serial));
}

#[tokio::test]
async fn what_we_were_let_in_by_stands_whatever_is_told_with_the_members() {
    let net = Net::default();
    let (a, room) = asked(&net).await;
    let hanako = user(HANAKO);
    let named = async |name: &str| {
        a.engine.send(&room, state(&hanako, "m.room.name", "", &json!({ "name": name })), None).await.unwrap()
    };
    let (old, new) = (named("旧").await, named("新").await);
    let b = net.server(&["b.test"]).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    a.outgoing("b.test").await;
    let join = b.timeline(&room).await.pop().unwrap();
    let state: Vec<_> = a.state(&room).await.into_iter().filter(|(_, key, _)| key != TARO).collect();
    assert!(state.iter().any(|(.., id)| *id == new));
    let lie = state.iter().map(|(.., id)| if *id == new { old.clone() } else { id.clone() });
    net.tell_state(join.event_id(), lie.collect());
    net.tell_members();
    fill(&b, &room).await;
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn who_tells_a_state_that_does_not_allow_our_join_is_not_believed() {
    let net = Net::default();
    let (a, b, room) = partly(&net).await;
    let join = b.timeline(&room).await.pop().unwrap();
    net.tell_state(join.event_id(), vec![member_event(&a, &room, &member(1)).await]);
    net.tell_members();
    let before = b.state(&room).await;
    match b.engine.fill(&info(&b, &room).await).await {
        Ok(()) | Err(Error::Contended) => {}
        Err(error) => panic!("{error:?}"),
    }
    assert!(lacks(&b, &room).await);
    assert_eq!(b.state(&room).await, before);
}

pub(super) async fn member_event(server: &Server, room: &RoomId, who: &UserId) -> OwnedEventId {
    let mut state = server.state(room).await.into_iter();
    state.find(|(kind, key, _)| kind == "m.room.member" && key == who.as_str()).unwrap().2
}
