//! Rooms that lack members, where others are slow, lie, or do the same.

use std::{sync::Arc, time::Duration};

use pdu::{Draft, RoomVersion};
use room::{
    Error,
    ids::InboxSerial,
    read::{
        filter::{EventFilter, LazyMembers},
        lacking::{Filling, LACKING},
        messages::PageQuery,
        receipts::{NewReceipt, ReceiptKind},
        timeline::Direction,
        view::{Look, Viewer},
    },
    tables::{Place, TIMELINE, Verdict},
};
use ruma::{
    OwnedEventId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId, events::TimelineEventType,
};
use serde_json::json;
use store::{Order, Range};

use super::{
    entering::{HANAKO, TARO, asked, assert_whole, member},
    inbound::{auth_of, forge},
    lacking::{fill, head, info, lacks, member_event, partly, verdict},
    net::{Net, Server, message, state, user, within},
    reading::query,
};
use crate::{
    entering::permit::Permit,
    tables::{WAITING, WaitingRow, Why},
};

async fn filling(server: &Server, room: &RoomId) -> Option<Filling> {
    let serial = info(server, room).await.serial;
    server.store.get(&LACKING, &serial).await.unwrap().and_then(|row| row.value.filling)
}

#[tokio::test]
async fn what_waits_at_one_process_is_taken_up_when_another_has_brought_the_members() {
    let net = Net::default();
    // No time passes in which it would be tried again, or in which the first one would bring them.
    let _hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    // What comes from now on waits in the memory of the first one alone.
    let other = net.server_over(&["b.test"], &b.disk, b.store.clone()).await;
    let one = member(1);
    let auth = auth_of(&a, &room, one.as_str()).await;
    a.engine.leave(&one, &room, None).await.unwrap();
    a.deliver(&b).await;
    let left = head(&b, &room).await.extremities.remove(0).event_id;
    let lie = forge(RoomVersion::V11, &room, &message(&one, "まだいる"), &[left], &auth);
    b.receive("a.test", &[lie.to_raw()]).await;
    let waiting = async || b.store.scan(&WAITING, Range::all(), Order::Ascending, 9).await.unwrap().len();
    assert_eq!(waiting().await, 1);

    net.tell_members();
    fill(&other, &room).await;
    let judged = async {
        while waiting().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), judged).await.unwrap();
    assert_eq!(verdict(&b, &room, lie.event_id()).await, (Verdict::Rejected, false));
}

#[tokio::test]
async fn what_waited_for_the_members_is_taken_up_at_the_next_start_though_nothing_was_tried_any_more() {
    let net = Net::default();
    let _hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    let one = member(1);
    let auth = auth_of(&a, &room, one.as_str()).await;
    a.engine.leave(&one, &room, None).await.unwrap();
    a.deliver(&b).await;
    let left = head(&b, &room).await.extremities.remove(0).event_id;
    let lie = forge(RoomVersion::V11, &room, &message(&one, "まだいる"), &[left], &auth);
    net.tell_members();
    fill(&b, &room).await;
    // As a process leaves it that dies when it has written the last members.
    let row = WaitingRow {
        origin: "a.test".to_owned(),
        pdu: lie.json().clone(),
        tries: u8::MAX,
        why: Why::NoState,
        since: 0,
    };
    let mut batch = store::Batch::new();
    batch.put(&WAITING, &(info(&b, &room).await.serial, InboxSerial(1)), &row);
    b.store.commit(batch).await.unwrap();
    let b = net.server_on(&["b.test"], &b.crash().await).await;
    let judged = async {
        while !b.store.scan(&WAITING, Range::all(), Order::Ascending, 9).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), judged).await.unwrap();
    assert_eq!(verdict(&b, &room, lie.event_id()).await, (Verdict::Rejected, false));
}

#[tokio::test]
async fn what_servers_say_of_whom_nothing_is_known_stays_until_the_members_have_come() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, room) = asked(&net).await;
    let c = net.server(&["c.test"]).await;
    let goro = user("@goro:c.test");
    c.join(&goro, &room, "a.test").await.unwrap();
    c.deliver(&a).await;
    net.forge_joined(Some(Arc::new(|joined| joined.servers_in_room.clear())));
    let b = net.server(&["b.test"]).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    a.outgoing("b.test").await;
    a.deliver(&c).await;
    c.outgoing("b.test").await;
    c.say(&goro, &room, "ここにいる").await;
    c.deliver(&b).await;
    let pass = async |minutes: u64| {
        for _ in 0..minutes {
            hand.advance(Duration::from_secs(60));
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
        }
    };
    pass(3 * 60).await;
    let waiting = async || b.store.scan(&WAITING, Range::all(), Order::Ascending, 9).await.unwrap().len();
    assert_eq!((waiting().await, b.bodies(&room).await.len()), (1, 0));

    net.tell_members();
    while lacks(&b, &room).await {
        pass(1).await;
    }
    let shown = async {
        while b.bodies(&room).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), shown).await.unwrap();
    assert_eq!(b.bodies(&room).await, ["ここにいる"]);
}

#[tokio::test]
async fn who_names_servers_that_never_answer_neither_holds_up_others_nor_keeps_the_members_from_us() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, room) = asked(&net).await;
    let c = net.server(&["c.test"]).await;
    let (hanako, goro) = (user(HANAKO), user("@goro:c.test"));
    c.join(&goro, &room, "a.test").await.unwrap();
    c.deliver(&a).await;
    let levels = json!({ "users": { HANAKO: 100, "@goro:c.test": 50 } });
    a.engine.send(&room, state(&hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    a.deliver(&c).await;
    // By what he has said of the room it is known that he is, or was, in it.
    c.engine
        .send(&room, state(&goro, "m.room.topic", "", &json!({ "topic": "避難所" })), None)
        .await
        .unwrap();
    c.deliver(&a).await;
    let dead: Vec<_> = (0..30).map(|number| format!("dead{number}.test")).collect();
    let told: Vec<OwnedServerName> =
        dead.iter().map(|name| OwnedServerName::try_from(name.as_str()).unwrap()).collect();
    net.forge_joined(Some(Arc::new(move |joined| joined.servers_in_room = told.clone())));
    let b = net.server(&["b.test"]).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    // What was before is not sent.
    a.outgoing("b.test").await;
    a.deliver(&c).await;
    while filling(&b, &room).await.unwrap().tries == 0 {
        tokio::task::yield_now().await;
    }
    net.tell_members();
    dead.iter().map(String::as_str).chain(["a.test", "c.test"]).for_each(|name| net.silence(name));

    let pass = async |is_so: &dyn Fn(Option<Filling>) -> bool| {
        let mut seconds = 0;
        while !is_so(filling(&b, &room).await) {
            assert!(seconds < 3 * 60 * 60, "it never is so");
            hand.advance(Duration::from_secs(1));
            seconds += 1;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        seconds
    };
    let before = net.asked().len();
    let seconds = pass(&|filling| filling.unwrap().tries == 2).await;
    assert!(net.asked().len() > before && seconds < 3 * 60, "{seconds}");
    net.unsilence("c.test");
    pass(&|filling| filling.is_none()).await;
    assert!(!lacks(&b, &room).await);
    net.unsilence("a.test");
    assert_whole(&a, &b, &room).await;
}

#[tokio::test]
async fn around_an_event_senders_are_as_they_name_themselves_and_all_members_are_waited_for() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    let one = member(1);
    let said = a.say(&one, &room, "こちら本庁").await;
    a.deliver(&b).await;
    let (taro, hers) = (user(TARO), member_event(&a, &room, &one).await);
    let viewer = Viewer::user(&taro);
    let filter = |lazy| {
        let mut filter = EventFilter::default();
        filter.lazy = lazy;
        filter
    };
    let context = async |lazy| b.rooms.context(&viewer, &room, &said, 5, &filter(lazy)).await;
    let lacking = within(&hand, hand.sleepers(), 20, context(LazyMembers::Off)).await.unwrap_err();
    assert!(matches!(lacking, Error::MembersLacking(_)), "{lacking:?}");
    let is_hers = |looks: &[Look]| looks.iter().filter(|look| look.event.event_id() == hers).count();
    assert_eq!(is_hers(&context(LazyMembers::On).await.unwrap().state), 1);
    let query = PageQuery { filter: filter(LazyMembers::On), ..query(Direction::Backward, 5) };
    let page = b.rooms.messages(&viewer, &room, &query).await.unwrap();
    assert_eq!(is_hers(&page.state), 1);

    net.tell_members();
    fill(&b, &room).await;
    for lazy in [LazyMembers::Off, LazyMembers::On] {
        assert_eq!(is_hers(&context(lazy).await.unwrap().state), 1);
    }
}

#[tokio::test]
async fn receipts_of_those_who_are_lacking_are_taken_of_servers_that_are_there() {
    let net = Net::default();
    let (a, b, room) = partly(&net).await;
    let said = a.say(&member(1), &room, "こちら本庁").await;
    a.deliver(&b).await;
    let serial = info(&b, &room).await.serial;
    let read = async |who: &UserId, origin: &ServerName| {
        let (user_id, event_id, kind) = (who.to_owned(), said.clone(), ReceiptKind::Public);
        let receipt = NewReceipt { user_id, kind, thread: None, event_id, ts: 1 };
        b.rooms.receive_receipts(origin, &room, vec![receipt]).await.unwrap();
        b.rooms.receipt(serial, who, kind, None).await.unwrap().is_some()
    };
    let stranger = user("@stranger:stranger.test");
    let known = member(2);
    assert!(read(&known, known.server_name()).await);
    assert!(!read(&stranger, stranger.server_name()).await);
    assert!(!read(&member(3), stranger.server_name()).await, "of its own users alone");
    net.tell_members();
    fill(&b, &room).await;
    assert!(read(&member(3), member(3).server_name()).await);
    let nobody = user("@nobody:a.test");
    assert!(!read(&nobody, nobody.server_name()).await);
}

#[tokio::test]
async fn who_comes_in_behind_another_leaves_what_that_one_was_told_of_the_servers() {
    let net = Net::default();
    let (_a, b, room) = partly(&net).await;
    let room = info(&b, &room).await;
    let mut told = b.rooms.told_servers(room.serial).await.unwrap();
    assert!(told.len() > 1, "{told:?}");
    // As two join at once, one of them through somebody who would have us speak to nobody but him.
    let liar = OwnedServerName::try_from("liar.test").unwrap();
    b.engine.bring_told_servers(&room, &mut Permit::in_room(), &liar, Vec::new()).await.unwrap();
    assert_eq!(b.rooms.told_servers(room.serial).await.unwrap(), told);
    b.engine.leave(&user(TARO), &room.room_id, None).await.unwrap();
    b.engine.bring_told_servers(&room, &mut Permit::in_room(), &liar, Vec::new()).await.unwrap();
    told = b.rooms.told_servers(room.serial).await.unwrap();
    assert_eq!(told, [liar]);
}

#[tokio::test]
async fn what_is_fetched_of_the_time_in_which_members_were_lacking_gets_its_states_too() {
    let net = Net::default();
    // No time passes in which the members would be brought.
    let _hand = net.steer_clock();
    let (a, b, room) = partly(&net).await;
    net.tell_members();
    net.mute(true);
    let first = a.say(&member(1), &room, "一").await;
    a.outgoing("b.test").await;
    let second = a.say(&member(1), &room, "二").await;
    a.deliver(&b).await;
    assert_eq!(b.bodies(&room).await, ["二"]);
    let taro = user(TARO);
    b.engine.messages(&Viewer::user(&taro), &room, &query(Direction::Backward, 50)).await.unwrap();
    assert_eq!(verdict(&b, &room, &first).await, (Verdict::Accepted, true));
    let event = b.rooms.event(&room, &first).await.unwrap().unwrap();
    assert!(matches!(event.meta().place, Place::History(_)));

    fill(&b, &room).await;
    assert_whole(&a, &b, &room).await;
    let event = b.rooms.event(&room, &first).await.unwrap().unwrap();
    let key = (event.room(), event.order().unwrap());
    let row = b.store.get(&TIMELINE, &key).await.unwrap().unwrap();
    assert_eq!((row.current, event.meta().partial), (event.meta().after, false));
    let whole = a.rooms.event(&room, &second).await.unwrap().unwrap().meta().before;
    let whole = a.rooms.all_state(info(&a, &room).await.serial, whole).await.unwrap().len();
    assert_eq!(b.rooms.all_state(event.room(), row.current).await.unwrap().len(), whole);
}

#[tokio::test]
async fn who_may_have_been_put_out_of_a_room_empties_nothing_in_it_until_the_members_have_come() {
    let net = Net::default();
    // No time passes in which it would be tried again.
    let _hand = net.steer_clock();
    let (a, room) = asked(&net).await;
    let c = net.server(&["c.test"]).await;
    let (hanako, goro, rokuro) = (user(HANAKO), user("@goro:c.test"), user("@rokuro:c.test"));
    c.join(&goro, &room, "a.test").await.unwrap();
    c.join(&rokuro, &room, "a.test").await.unwrap();
    c.deliver(&a).await;
    let levels = json!({ "users": { HANAKO: 100, "@goro:c.test": 50, "@rokuro:c.test": 50 } });
    a.engine.send(&room, state(&hanako, "m.room.power_levels", "", &levels), None).await.unwrap();
    let (was_in, stays) = (member_event(&a, &room, &goro).await, member_event(&a, &room, &rokuro).await);
    a.engine.ban(&hanako, &room, &goro, None).await.unwrap();
    let b = net.server(&["b.test"]).await;
    net.keep_members();
    b.join(&user(TARO), &room, "a.test").await.unwrap();
    a.outgoing("b.test").await;

    let kept = b.say(&user(TARO), &room, "消してはいけない").await;
    let removed = b.say(&user(TARO), &room, "消してよい").await;
    let rules = a.state(&room).await.into_iter();
    let rules = rules.filter(|(kind, ..)| ["m.room.create", "m.room.power_levels"].contains(&kind.as_str()));
    let rules: Vec<_> = rules.map(|(.., id)| id).collect();
    let redaction = |sender: &OwnedUserId, member: &OwnedEventId, target: &OwnedEventId| {
        let auth = [rules.clone(), vec![member.clone()]].concat();
        let draft = Draft {
            kind: TimelineEventType::RoomRedaction,
            state_key: None,
            content: crate::draft::raw(&json!({})),
            sender: sender.clone(),
            redacts: Some(target.clone()),
        };
        forge(RoomVersion::V11, &room, &draft, std::slice::from_ref(&removed), &auth)
    };
    let (wrong, right) = (redaction(&goro, &was_in, &kept), redaction(&rokuro, &stays, &removed));
    b.receive("c.test", &[wrong.to_raw(), right.to_raw()]).await;
    assert_eq!(b.bodies(&room).await, ["消してはいけない", "消してよい"]);

    net.tell_members();
    fill(&b, &room).await;
    let judged = async {
        while !b.store.scan(&WAITING, Range::all(), Order::Ascending, 9).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), judged).await.unwrap();
    assert_eq!(verdict(&b, &room, wrong.event_id()).await.0, Verdict::Rejected);
    assert_eq!(verdict(&b, &room, right.event_id()).await.0, Verdict::Accepted);
    let redacted_by =
        async |id: &OwnedEventId| b.rooms.event(&room, id).await.unwrap().unwrap().meta().redacted_by;
    assert!(redacted_by(&kept).await.is_none() && redacted_by(&removed).await.is_some());
}
