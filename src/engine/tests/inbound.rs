//! The way in, with peers that hang, lie and flood.

use base::Clock;
use bytes::Bytes;
use pdu::{Draft, Pdu, RoomVersion};
use room::{
    Error, EventSerial, RoomSerial,
    tables::{EVENT_META, EVENTS, Membership, Verdict},
};
use ruma::{OwnedEventId, OwnedServerName, RoomId, ServerName};
use serde_json::{json, value::RawValue};
use std::time::Duration;

use super::net::{Net, Server, authority, message, state, user, within};
use crate::{
    InboxLimits, InboxTotals,
    tables::{INBOX, InboxRow, WAITING, WaitingRow, Why},
};

fn server(name: &str) -> OwnedServerName {
    OwnedServerName::try_from(name).unwrap()
}

pub(super) fn invented(name: &str) -> OwnedEventId {
    // As long as a hash: the form of an id is checked.
    OwnedEventId::try_from(format!("${name:x<43}")).unwrap()
}

/// An event that stands where its sender likes.
pub(super) fn forge(
    version: RoomVersion,
    room: &RoomId,
    draft: &Draft,
    prev: &[OwnedEventId],
    auth: &[OwnedEventId],
) -> Pdu {
    let at = ruma::MilliSecondsSinceUnixEpoch(1_700_000_000_000_u64.try_into().unwrap());
    let unsigned = pdu::build(version, draft, Some(room), prev, auth, 100, at).unwrap();
    pdu::sign(unsigned, &authority(draft.sender.server_name().as_str())).unwrap().into_pdu()
}

/// A message that stands on an event that nobody has, with the right auth events.
async fn on_nothing(of: &Server, room: &RoomId, sender: &str, prev: &str) -> Pdu {
    let auth = auth_of(of, room, sender).await;
    forge(RoomVersion::V11, room, &message(&user(sender), prev), &[invented(prev)], &auth)
}

/// The auth events of a message of this user.
pub(super) async fn auth_of(of: &Server, room: &RoomId, sender: &str) -> Vec<OwnedEventId> {
    let state = of.state(room).await;
    let is_auth = |(kind, key, _): &&(String, String, OwnedEventId)| {
        matches!(kind.as_str(), "m.room.create" | "m.room.power_levels")
            || (kind == "m.room.member" && key == sender)
    };
    state.iter().filter(is_auth).map(|(.., id)| id.clone()).collect()
}

impl Server {
    async fn take(&self, origin: &str, pdu: &Pdu) -> Result<Vec<crate::PduAnswer>, Error> {
        self.engine.receive_transaction(&server(origin), &[pdu.to_raw()]).await
    }

    /// Waits until something is so.
    async fn until(&self, what: impl AsyncFn() -> bool) {
        let wait = async {
            while !what().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it never was so");
    }

    /// The first of those that wait.
    async fn first_waiting(&self) -> Option<WaitingRow> {
        let rows = self.store.scan(&WAITING, store::Range::all(), store::Order::Ascending, 1).await.unwrap();
        rows.into_iter().map(|(_, row)| row).next()
    }

    async fn tries_of_first(&self) -> u8 {
        self.first_waiting().await.map_or(0, |row| row.tries)
    }

    async fn why_parked(&self) -> Vec<Why> {
        self.engine.parked(100).await.unwrap().into_iter().map(|parked| parked.reason).collect()
    }
}

#[tokio::test]
async fn events_of_a_server_that_is_not_in_the_room_make_nobody_ask_anybody() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    net.know_key("x.test");
    // As one would who came in while we did not listen.
    let mut auth = auth_of(&a, &room, "@eve:x.test").await;
    auth.push(invented("join"));
    let eve = user("@eve:x.test");
    let stray = forge(RoomVersion::V11, &room, &message(&eve, "stray"), &[invented("stray")], &auth);
    a.receive("x.test", &[stray.to_raw()]).await;
    // Nor when a member relays it, or a member's event comes by the stranger.
    a.receive("b.test", &[stray.to_raw()]).await;
    let relayed = on_nothing(&a, &room, "@taro:b.test", "relayed").await;
    a.receive("x.test", &[relayed.to_raw()]).await;
    assert_eq!(net.asked(), [] as [String; 0]);
    assert_eq!(a.why_parked().await, [Why::Stranger; 3]);
}

#[tokio::test]
async fn what_names_too_many_events_is_asked_for_once_whatever_stands_on_it() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let base = on_nothing(&a, &room, "@taro:b.test", "base").await;
    let mut overfull: serde_json::Value = serde_json::from_str(base.json_str()).unwrap();
    let ids: Vec<_> = (0..=pdu::MAX_PREV_EVENTS).map(|place| invented(&format!("prev{place}"))).collect();
    overfull["prev_events"] = json!(ids);
    let overfull = RawValue::from_string(overfull.to_string()).unwrap();
    let mut prev = Pdu::id_of_overfull(RoomVersion::V11, &overfull).unwrap();
    let auth = auth_of(&a, &room, "@taro:b.test").await;
    let mut told = vec![overfull];
    for place in 0..5 {
        let said = message(&taro, &format!("{place}"));
        let child = forge(RoomVersion::V11, &room, &said, &[prev], &auth);
        prev = child.event_id().to_owned();
        told.push(child.to_raw());
    }
    net.tell_missing(told.clone());
    a.receive("b.test", &told[1..]).await;
    let asked = net.asked();
    let count = |request: &str| asked.iter().filter(|asked| asked.starts_with(request)).count();
    // Nobody can know the state behind it, but who has what names it may know the state before that.
    assert_eq!(count("event "), 0, "{asked:?}");
    assert!(count("state_ids") <= 5 && count("get_missing_events") <= 5, "{asked:?}");
    let late = message(&taro, "late");
    let late = forge(
        RoomVersion::V11,
        &room,
        &late,
        &[Pdu::id_of_overfull(RoomVersion::V11, &told[0]).unwrap()],
        &auth,
    );
    a.receive("b.test", &[late.to_raw()]).await;
    assert_eq!(net.asked()[asked.len()..], ["state_ids b.test"]);
}

#[tokio::test]
async fn a_server_outside_the_room_that_brings_an_event_of_ours_is_not_asked_for_what_that_lacks() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    net.know_key("x.test");
    // Ours by its signature, as after we were put back to an older copy of our data.
    let lost = on_nothing(&a, &room, "@hanako:a.test", "lost").await;
    a.receive("x.test", &[lost.to_raw()]).await;
    let asked = net.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.ends_with(" b.test")), "{asked:?}");
}

#[tokio::test]
async fn sixteen_rooms_whose_answers_hang_do_not_hold_up_the_seventeenth() {
    let net = Net::default();
    let (a, b, c) =
        (net.server(&["a.test"]).await, net.server(&["b.test"]).await, net.server(&["c.test"]).await);
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:c.test"));
    let honest = a.public_room(&hanako).await;
    c.join(&jiro, &honest, "a.test").await.unwrap();
    let mut hung = Vec::new();
    for index in 0..40 {
        let room = a.public_room(&hanako).await;
        b.join(&taro, &room, "a.test").await.unwrap();
        c.join(&jiro, &room, "a.test").await.unwrap();
        let lost = on_nothing(&a, &room, "@taro:b.test", &format!("lost{index}")).await;
        hung.push((room, lost));
    }
    net.silence("b.test");
    for (_, lost) in &hung {
        a.take("b.test", lost).await.unwrap();
    }
    a.until(async || net.asked().iter().any(|asked| asked.ends_with("b.test"))).await;
    // The rooms that nobody hangs in, and what lacks nothing in those where somebody does.
    c.say(&jiro, &honest, "間に合った").await;
    c.say(&jiro, &hung[0].0, "ここも").await;
    let pdus = c.outgoing("a.test").await;
    let pdus: Vec<Box<RawValue>> = pdus.into_iter().filter(|pdu| pdu.get().contains("m.text")).collect();
    a.engine.receive_transaction(&server("c.test"), &pdus).await.unwrap();
    a.until(async || a.bodies(&honest).await == ["間に合った"] && a.bodies(&hung[0].0).await == ["ここも"])
        .await;
    // A server is asked a few things at a time, however many rooms want something of it.
    let asked = net.asked().iter().filter(|asked| asked.ends_with("b.test")).count();
    assert!(asked <= 5, "{asked} requests hang");
}

#[tokio::test]
async fn what_nobody_can_give_is_tried_a_few_times_and_parked_with_a_reason() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let net = Net::default();
    net.set_clock(clock);
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let lost = on_nothing(&a, &room, "@taro:b.test", "lost").await;
    a.take("b.test", &lost).await.unwrap();
    a.until(async || {
        // Whatever wait there is, it passes.
        hand.advance(Duration::from_secs(30));
        !a.engine.parked(1).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(a.why_parked().await, [Why::NoPrevious]);
    assert_eq!(a.engine.inbox_totals(), InboxTotals { waiting: 0, parked: 1 });
    let parked = a.engine.parked(1).await.unwrap().remove(0);
    assert_eq!((parked.event_id, parked.origin), (lost.event_id().to_owned(), server("b.test")));
    // Later, too, there is an end to it.
    a.until(async || {
        hand.advance(Duration::from_secs(24 * 60 * 60));
        a.tries_of_first().await == 9
    })
    .await;
    let asked = net.asked();
    let missing = asked.iter().filter(|asked| asked.starts_with("get_missing_events")).count();
    assert!(missing <= 9, "asked {missing} times");
    for _ in 0..12 {
        hand.advance(Duration::from_secs(24 * 60 * 60));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((net.asked(), a.tries_of_first().await), (asked, 9));
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_within_half_a_minute_and_the_event_waits() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.say(&taro, &room, "一").await;
    b.say(&taro, &room, "二").await;
    let pdus = b.outgoing("a.test").await;
    net.silence("b.test");
    let idle = hand.sleepers();
    a.engine.receive_transaction(&server("b.test"), &pdus[1..]).await.unwrap();
    within(&hand, idle, 30, a.until(async || a.tries_of_first().await > 0)).await;
    // The request had its end before the attempt had.
    assert_eq!(a.first_waiting().await.unwrap().why, Why::NoPrevious);
    assert_eq!(a.bodies(&room).await, [] as [String; 0]);
    // It answers again: with the next attempt all is there.
    net.unsilence("b.test");
    a.until(async || {
        hand.advance(Duration::from_secs(30));
        a.bodies(&room).await == ["一", "二"]
    })
    .await;
    assert_eq!(a.engine.inbox_totals(), InboxTotals::default());
}

#[tokio::test]
async fn a_server_that_answers_each_request_just_in_time_has_half_a_minute_in_all() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    // It lacks whatever an event can lack, so much is asked for, one after the other.
    let mut auth = auth_of(&a, &room, "@taro:b.test").await;
    auth.push(invented("right"));
    let lost = forge(RoomVersion::V11, &room, &message(&taro, "lost"), &[invented("lost")], &auth);
    net.slow_down("b.test", Duration::from_secs(7));
    let idle = hand.sleepers();
    a.take("b.test", &lost).await.unwrap();
    // A second or two pass before it begins.
    within(&hand, idle, 32, a.until(async || a.tries_of_first().await > 0)).await;
    assert_eq!(a.first_waiting().await.unwrap().why, Why::Unanswered);
    assert!(net.asked().len() > 3, "{:?}", net.asked());
}

#[tokio::test]
async fn what_meets_a_damaged_row_is_parked_and_keeps_no_other_event_from_its_place() {
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.join(&jiro, &room, "a.test").await.unwrap();
    b.deliver(&a).await;
    let tip = [a.say(&hanako, &room, "前").await];
    let mut pdus = Vec::new();
    for sender in [&taro, &jiro] {
        let auth = auth_of(&a, &room, sender.as_str()).await;
        pdus.push(forge(RoomVersion::V11, &room, &message(sender, "後"), &tip, &auth));
    }
    // 太郎's join is damaged on disk, and in no memory.
    let timeline = a.timeline(&room).await;
    let join = timeline.iter().find(|event| event.state_key() == Some(taro.as_str())).unwrap();
    let raw = EVENT_META.raw();
    let rows = store::Table::<(RoomSerial, EventSerial), Bytes>::new(raw.id.0, "damaged", raw.tuning);
    let mut batch = store::Batch::new();
    batch.put(&rows, &(join.room(), join.serial()), &Bytes::from_static(b"nonsense"));
    a.store.commit(batch).await.unwrap();
    let disk = a.crash().await;
    let a = net.server_on(&["a.test"], &disk).await;

    let raw: Vec<Box<RawValue>> = pdus.iter().map(Pdu::to_raw).collect();
    a.engine.receive_transaction(&server("b.test"), &raw).await.unwrap();
    a.until(async || {
        hand.advance(Duration::from_secs(5));
        a.rooms.event(&room, pdus[1].event_id()).await.unwrap().is_some()
    })
    .await;
    a.until(async || {
        hand.advance(Duration::from_secs(5));
        !a.why_parked().await.is_empty()
    })
    .await;
    assert_eq!(a.why_parked().await, [Why::Fault]);
    assert_eq!(a.engine.parked(1).await.unwrap()[0].event_id, pdus[0].event_id());
    assert_eq!(a.engine.inbox_totals(), InboxTotals { waiting: 0, parked: 1 });
}

#[tokio::test]
async fn a_waiting_event_gets_its_place_when_what_it_lacked_arrives() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.say(&taro, &room, "一").await;
    b.say(&taro, &room, "二").await;
    b.say(&taro, &room, "三").await;
    let pdus = b.outgoing("a.test").await;
    net.cut(true);
    a.receive("b.test", &pdus[1..]).await;
    assert_eq!(a.bodies(&room).await, [] as [String; 0]);
    a.receive("b.test", &pdus[..1]).await;
    a.until(async || a.bodies(&room).await == ["一", "二", "三"]).await;
    a.until(async || a.engine.inbox_totals() == InboxTotals::default()).await;
}

#[tokio::test]
async fn a_message_that_overtakes_its_servers_join_waits_for_it() {
    let net = Net::default();
    let (a, b, c) =
        (net.server(&["a.test"]).await, net.server(&["b.test"]).await, net.server(&["c.test"]).await);
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:c.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    c.join(&jiro, &room, "b.test").await.unwrap();
    c.say(&jiro, &room, "来ました").await;
    // c's message comes before b has told of c's join.
    c.deliver(&a).await;
    assert_eq!(a.bodies(&room).await, [] as [String; 0]);
    assert_eq!(net.asked(), [] as [String; 0]);
    b.deliver(&a).await;
    a.until(async || a.bodies(&room).await == ["来ました"]).await;
    assert_eq!(a.membership(&jiro, &room).await, Some(Membership::Join));
    a.until(async || a.engine.inbox_totals() == InboxTotals::default()).await;
}

#[tokio::test]
async fn waiting_events_are_taken_up_after_a_restart() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.say(&taro, &room, "一").await;
    b.say(&taro, &room, "二").await;
    let pdus = b.outgoing("a.test").await;
    net.cut(true);
    a.receive("b.test", &pdus[1..]).await;
    assert_eq!(a.engine.inbox_totals().waiting, 1);
    let disk = a.crash().await;
    let a = net.server_on(&["a.test"], &disk).await;
    assert_eq!(a.engine.inbox_totals().waiting, 1);
    a.receive("b.test", &pdus[..1]).await;
    a.until(async || a.bodies(&room).await == ["一", "二"]).await;
}

#[tokio::test]
async fn what_a_failed_first_join_left_is_dropped_at_the_next_start() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    let info = b.engine.ensure_room(&room, RoomVersion::V11).await.unwrap();
    let pdu = a.timeline(&room).await.pop().unwrap().pdu().json().clone();
    let mut batch = store::Batch::new();
    for serial in 0..3 {
        let row = InboxRow { origin: "a.test".to_owned(), pdu: Bytes::clone(&pdu) };
        batch.put(&INBOX, &(info.serial, room::ids::InboxSerial(serial)), &row);
    }
    b.store.commit(batch).await.unwrap();
    let disk = b.crash().await;
    let b = net.server_on(&["b.test"], &disk).await;
    b.settled().await;
    b.until(async || b.engine.inbox_totals() == InboxTotals::default()).await;
}

#[tokio::test]
async fn a_full_inbox_refuses_the_transaction_as_a_whole_and_others_are_let_in() {
    let net = Net::default();
    let limits = InboxLimits { peer_in_room: 3, ..InboxLimits::default() };
    let a = net.small_server(&["a.test"], limits).await;
    let (b, c) = (net.server(&["b.test"]).await, net.server(&["c.test"]).await);
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:c.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    c.join(&jiro, &room, "a.test").await.unwrap();
    net.silence("b.test");
    net.silence("c.test");
    for index in 0..2 {
        a.take("b.test", &on_nothing(&a, &room, "@taro:b.test", &format!("b{index}")).await).await.unwrap();
    }
    let both = [
        on_nothing(&a, &room, "@taro:b.test", "b2").await.to_raw(),
        on_nothing(&a, &room, "@taro:b.test", "b3").await.to_raw(),
    ];
    let refused = a.engine.receive_transaction(&server("b.test"), &both).await;
    assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
    assert_eq!(a.engine.inbox_totals().waiting, 2, "nothing of it was taken");
    a.take("b.test", &on_nothing(&a, &room, "@taro:b.test", "b2").await).await.unwrap();
    a.take("c.test", &on_nothing(&a, &room, "@jiro:c.test", "c0").await).await.unwrap();
    assert_eq!(a.engine.inbox_totals().waiting, 4);
}

#[tokio::test]
async fn a_known_event_costs_no_row_and_no_signature() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.say(&taro, &room, "一").await;
    let pdus = b.outgoing("a.test").await;
    a.receive("b.test", &pdus).await;
    let verified = net.keys_wanted();
    let answers = a.engine.receive_transaction(&server("b.test"), &pdus).await.unwrap();
    assert!(answers.iter().all(|answer| answer.result.is_ok()));
    assert_eq!(a.engine.inbox_totals(), InboxTotals::default());
    let rows = a.store.scan(&INBOX, store::Range::all(), store::Order::Ascending, 1).await.unwrap();
    assert!(rows.is_empty());
    assert_eq!(net.keys_wanted(), verified);
}

#[tokio::test]
async fn a_copy_in_the_inbox_of_an_event_that_got_its_place_meanwhile_is_dropped_unverified() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    b.say(&taro, &room, "一").await;
    a.receive("b.test", &b.outgoing("a.test").await).await;
    let said = a.timeline(&room).await.pop().unwrap();
    // It came through the door while the first had no place yet.
    let copy = InboxRow { origin: "b.test".to_owned(), pdu: said.pdu().json().clone() };
    let mut batch = store::Batch::new();
    batch.put(&INBOX, &(said.room(), room::ids::InboxSerial(u64::MAX)), &copy);
    a.store.commit(batch).await.unwrap();
    let disk = a.crash().await;
    let verified = net.keys_wanted();
    let a = net.server_on(&["a.test"], &disk).await;
    a.settled().await;
    a.until(async || a.engine.inbox_totals() == InboxTotals::default()).await;
    assert_eq!(net.keys_wanted(), verified);
    assert_eq!(a.bodies(&room).await, ["一"]);
}

#[tokio::test]
async fn an_event_that_names_an_auth_event_of_another_room_is_refused_and_takes_no_other_with_it() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    let other = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let elsewhere =
        a.state(&other).await.into_iter().find(|(kind, ..)| kind == "m.room.power_levels").unwrap();
    let tip = a.timeline(&room).await.pop().unwrap().event_id().to_owned();
    let auth = auth_of(&a, &room, "@taro:b.test").await;

    let mut wrong = auth.clone();
    wrong.push(elsewhere.2);
    let wrong = forge(RoomVersion::V11, &room, &message(&taro, "違反"), &[tip], &wrong);
    let right =
        forge(RoomVersion::V11, &room, &message(&taro, "正しい"), &[wrong.event_id().to_owned()], &auth);
    a.receive("b.test", &[wrong.to_raw(), right.to_raw()]).await;
    assert_eq!(a.bodies(&room).await, ["正しい"]);
    let stored = a.rooms.event(&room, wrong.event_id()).await.unwrap().unwrap();
    assert_eq!(stored.meta().verdict, Verdict::Rejected);
    assert_eq!(a.engine.inbox_totals(), InboxTotals::default());
}

#[tokio::test]
async fn an_auth_event_of_another_room_that_must_be_fetched_refuses_the_event_too() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let other = b.public_room(&taro).await;
    let elsewhere = b.timeline(&other).await.pop().unwrap();
    net.tell_chain("b.test", vec![elsewhere.pdu().to_raw()]);
    let tip = a.timeline(&room).await.pop().unwrap().event_id().to_owned();
    let auth = auth_of(&a, &room, "@taro:b.test").await;
    let mut wrong = auth.clone();
    wrong.push(elsewhere.event_id().to_owned());
    let wrong = forge(RoomVersion::V11, &room, &message(&taro, "違反"), &[tip], &wrong);
    let right =
        forge(RoomVersion::V11, &room, &message(&taro, "正しい"), &[wrong.event_id().to_owned()], &auth);
    a.receive("b.test", &[wrong.to_raw(), right.to_raw()]).await;
    a.until(async || a.bodies(&room).await == ["正しい"]).await;
    a.until(async || a.engine.inbox_totals() == InboxTotals::default()).await;
}

#[tokio::test]
async fn of_an_answer_only_what_was_asked_for_is_kept_and_nothing_that_is_refused() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let info = a.rooms.room(&room).await.unwrap().unwrap();
    let auth = auth_of(&a, &room, "@taro:b.test").await;
    let tip = [a.timeline(&room).await.pop().unwrap().event_id().to_owned()];
    // Rightly signed, and allowed, and yet nobody asked for them.
    let unasked: Vec<Pdu> = (0..50)
        .map(|index| forge(RoomVersion::V11, &room, &message(&taro, &index.to_string()), &tip, &auth))
        .collect();
    let asked = forge(RoomVersion::V11, &room, &message(&taro, "asked"), &tip, &auth);
    let beyond = state(&taro, "m.room.name", "", &json!({ "name": "乗っ取り" }));
    let beyond = forge(RoomVersion::V11, &room, &beyond, &tip, &auth);
    let count = async || {
        let range = store::Range::prefix(&info.serial);
        a.store.scan(&EVENTS, range, store::Order::Ascending, usize::MAX).await.unwrap().len()
    };
    let before = count().await;
    let mut answer: Vec<Box<RawValue>> = unasked.iter().map(Pdu::to_raw).collect();
    answer.push(asked.to_raw());
    answer.push(beyond.to_raw());
    let wanted = [asked.event_id().to_owned(), beyond.event_id().to_owned()];
    let refused = a.engine.import_outliers(&info, answer, &wanted).await.unwrap();
    assert_eq!(count().await, before + 1);
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), [beyond.event_id().to_owned()]);
}

#[tokio::test]
async fn what_its_own_auth_events_forbid_is_refused_before_its_ancestors_are_asked_for() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let auth = auth_of(&a, &room, "@taro:b.test").await;
    let beyond = state(&taro, "m.room.name", "", &json!({ "name": "乗っ取り" }));
    let beyond = forge(RoomVersion::V11, &room, &beyond, &[invented("nowhere")], &auth);
    a.receive("b.test", &[beyond.to_raw()]).await;
    assert_eq!(net.asked(), [] as [String; 0]);
    assert_eq!(a.engine.inbox_totals(), InboxTotals::default());
    let _: &ServerName = hanako.server_name();
}

#[tokio::test]
async fn for_an_event_from_tomorrow_keys_are_wanted_that_hold_tomorrow() {
    const HOUR: u64 = 3_600_000;
    let net = Net::default();
    let hand = net.steer_clock();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    b.join(&taro, &room, "a.test").await.unwrap();
    let now = 1_700_000_000_000;
    for (ahead, wanted) in [(48 * HOUR, 48 * HOUR), (24 * 365 * HOUR, 24 * 7 * HOUR)] {
        let extremities =
            b.rooms.forward_extremities(&b.rooms.room(&room).await.unwrap().unwrap()).await.unwrap();
        let auth = auth_of(&a, &room, "@hanako:a.test").await;
        let at = ruma::MilliSecondsSinceUnixEpoch((now + ahead).try_into().unwrap());
        let draft = message(&hanako, "明日から");
        let unsigned =
            pdu::build(RoomVersion::V11, &draft, Some(&room), &extremities, &auth, 100, at).unwrap();
        let pdu = pdu::sign(unsigned, &authority("a.test")).unwrap().into_pdu();
        b.take("a.test", &pdu).await.unwrap();
        b.settled().await;
        assert_eq!(net.keys_until(), base::Timestamp(now + wanted));
    }
    drop(hand);
}

#[tokio::test]
async fn all_that_comes_during_a_join_is_there_after_it() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro) = (user("@hanako:a.test"), user("@taro:b.test"));
    let room = a.public_room(&hanako).await;
    let held = net.hold_joins().await;
    let said: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    let meanwhile = async {
        a.until(async || a.membership(&taro, &room).await == Some(Membership::Join)).await;
        a.outgoing("b.test").await;
        for body in &said {
            a.say(&hanako, &room, body).await;
        }
        for part in a.outgoing("b.test").await.chunks(50) {
            let answers = b.engine.receive_transaction(&server("a.test"), part).await.unwrap();
            assert!(answers.iter().all(|answer| answer.result.is_ok()), "{answers:?}");
        }
        drop(held);
    };
    let (joined, ()) = tokio::join!(b.join(&taro, &room, "a.test"), meanwhile);
    joined.unwrap();
    b.until(async || b.engine.inbox_totals() == InboxTotals::default()).await;
    assert_eq!(b.bodies(&room).await, said);
    assert_eq!(net.asked(), [] as [String; 0]);
}

#[tokio::test]
async fn a_flood_during_a_join_is_refused_as_a_whole_where_it_becomes_too_much() {
    let net = Net::default();
    let a = net.server(&["a.test"]).await;
    let b = net.small_server(&["b.test"], InboxLimits { peer_in_room: 3, ..InboxLimits::default() }).await;
    let hanako = user("@hanako:a.test");
    let room = a.public_room(&hanako).await;
    b.engine.ensure_room(&room, RoomVersion::V11).await.unwrap();
    let _mark = b.engine.mark_joining(&room);
    for number in 0..4 {
        a.say(&hanako, &room, &number.to_string()).await;
    }
    let said: Vec<_> =
        a.timeline(&room).await.iter().rev().take(4).map(|event| event.pdu().to_raw()).collect();
    let refused = b.engine.receive_transaction(&server("a.test"), &said).await;
    assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
    b.engine.receive_transaction(&server("a.test"), &said[..3]).await.unwrap();
}

#[tokio::test]
async fn what_came_during_a_join_that_somebody_gave_up_is_worked_on_if_another_one_got_in() {
    let net = Net::default();
    let (a, b) = (net.server(&["a.test"]).await, net.server(&["b.test"]).await);
    let (hanako, taro, jiro) = (user("@hanako:a.test"), user("@taro:b.test"), user("@jiro:b.test"));
    let room = a.public_room(&hanako).await;
    net.silence("x.test");
    {
        let via = [server("x.test")];
        // Not as clients do it, whose joins go on when they are gone.
        let mut hangs =
            std::pin::pin!(b.engine.join_by_one_of(&jiro, &room, &via, crate::Joining::default()));
        assert!(futures_util::poll!(&mut hangs).is_pending());
        assert!(b.engine.0.workers.is_joining(&room));
        b.join(&taro, &room, "a.test").await.unwrap();
        a.say(&hanako, &room, "着いた").await;
        let said = a.timeline(&room).await.pop().unwrap().pdu().to_raw();
        b.engine.receive_transaction(&server("a.test"), &[said]).await.unwrap();
        assert_eq!(b.engine.inbox_totals().waiting, 1);
    }
    b.until(async || b.bodies(&room).await == ["着いた"]).await;
    b.until(async || b.engine.inbox_totals() == InboxTotals::default()).await;
}
