//! Rooms that lack members, where others are slow, lie, or do the same.

use std::{sync::Arc, time::Duration};

use pdu::RoomVersion;
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
    tables::Verdict,
};
use ruma::{OwnedServerName, RoomId, ServerName, UserId};
use serde_json::json;
use store::{Order, Range};

use super::{
    entering::{HANAKO, TARO, asked, assert_whole, member},
    inbound::{auth_of, forge},
    lacking::{fill, head, info, lacks, member_event, partly, verdict},
    net::{Net, Server, message, state, user, within},
    reading::query,
};
use crate::tables::{WAITING, WaitingRow, Why};

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
