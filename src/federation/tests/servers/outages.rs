//! Peers that are away, slow, or killed, and a disk that is away.

use std::time::{Duration, Instant};

use federation::tables::{LAST_SENT, LastSentRow, SentRow};
use hostile::{Asked, Conduct, Hostile};
use room::read::{event::StoredEvent, receipts::ReceiptKind};
use web::{ApiError, TokenCheck};

use crate::net::{Net, Node, name, user};

const A: &str = "kanazawa.test";
const B: &str = "wajima.test";
const C: &str = "ishikawa.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";
const CAROL: &str = "@carol:ishikawa.test";

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

async fn say_all(node: &Node, room: &ruma::RoomId, messages: &[String]) {
    for message in messages {
        node.say(ALICE, room, message).await;
    }
}

fn strs(messages: &[String]) -> Vec<&str> {
    messages.iter().map(String::as_str).collect()
}

/// Whether some peer of `node` is behind, that is, has its debts in the store and no queue.
fn is_behind(node: &Node, server: &str) -> bool {
    node.sender.peers().iter().any(|peer| peer.server == name(server) && peer.owed_rooms > 0)
}

#[tokio::test]
async fn a_peer_that_was_away_for_a_moment_gets_everything_once_and_in_order() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    net.cut(B);
    let messages = numbers(120);
    say_all(&a, &room, &messages).await;
    assert!(b.said(&room).await.is_empty());
    net.mend(B);
    b.until_said(&room, &strs(&messages)).await;
    a.until(&room, async || a.sender.is_idle()).await;
    let transactions = net
        .asked()
        .iter()
        .filter(|line| line.starts_with("wajima.test PUT /_matrix/federation/v1/send/"))
        .count();
    assert!(transactions < 60, "{transactions} attempts for 120 events");
}

#[tokio::test]
async fn a_peer_that_was_away_for_long_catches_up_from_the_timeline_when_it_speaks() {
    let net = Net::default();
    let (a, b) = (Node::with_queue(&net, A, 5).await, Node::start(&net, &[B]).await);
    let (first, second) = (a.create_room(ALICE).await, a.create_room(ALICE).await);
    b.join(BOB, &first, A).await;
    b.join(BOB, &second, A).await;
    net.cut(B);
    let messages = numbers(70);
    say_all(&a, &first, &messages).await;
    say_all(&a, &second, &messages[..3]).await;
    a.until(&first, async || is_behind(&a, B)).await;
    net.mend(B);
    b.say(BOB, &first, "we are back").await;
    b.until(&first, async || b.said(&first).await.len() == 71).await;
    b.until_said(&second, &strs(&messages[..3])).await;
    let said = b.said(&first).await;
    let from_a: Vec<&String> = said.iter().filter(|text| *text != "we are back").collect();
    assert_eq!(from_a, messages.iter().collect::<Vec<_>>());
    a.until(&first, async || a.sender.is_idle()).await;

    // And from there on as ever.
    a.say(ALICE, &second, "good").await;
    b.until(&second, async || b.said(&second).await.contains(&"good".to_owned())).await;
}

#[tokio::test]
async fn what_is_owed_to_a_peer_survives_a_kill() {
    let net = Net::default();
    let (a, b) = (Node::with_queue(&net, A, 5).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    net.cut(B);
    let messages = numbers(30);
    say_all(&a, &room, &messages[..20]).await;
    a.until(&room, async || is_behind(&a, B)).await;
    let a = a.crash_and_restart().await;
    say_all(&a, &room, &messages[20..]).await;
    let a = a.crash_and_restart().await;
    net.mend(B);
    b.until_said(&room, &strs(&messages)).await;
    a.until(&room, async || a.sender.is_idle()).await;
}

/// Waits until a node knows that somebody has read up to an event.
async fn until_read(
    node: &Node,
    room: &ruma::RoomId,
    who: &str,
    thread: Option<&str>,
    event: &ruma::EventId,
) {
    let serial = node.rooms.room(room).await.unwrap().unwrap().serial;
    let is_so = async || {
        let found = node.rooms.receipt(serial, &user(who), ReceiptKind::Public, thread).await.unwrap();
        found.is_some_and(|receipt| receipt.event_id == event)
    };
    node.until(room, is_so).await;
}

#[tokio::test]
async fn how_far_users_have_read_is_told_a_peer_that_was_away_for_long_although_we_were_killed_meanwhile() {
    let net = Net::default();
    let (a, b) = (Node::with_queue(&net, A, 5).await, Node::start(&net, &[B]).await);
    let (room, quiet) = (a.create_room(ALICE).await, a.create_room(ALICE).await);
    b.join(BOB, &room, A).await;
    b.join(BOB, &quiet, A).await;
    a.say(ALICE, &room, "before").await;
    a.say(ALICE, &quiet, "quiet").await;
    b.until_said(&quiet, &["quiet"]).await;
    let last = async |node: &Node, room| node.events(room).await.pop().unwrap().event_id().to_owned();
    let alice = user(ALICE);
    net.cut(B);
    // On its way when the peer falls behind.
    let (in_quiet, first) = (last(&a, &quiet).await, last(&a, &room).await);
    let sent = || net.asked().iter().filter(|line| line.starts_with("wajima.test PUT")).count();
    let before = sent();
    a.rooms.set_receipt(&alice, &quiet, ReceiptKind::Public, None, &in_quiet).await.unwrap();
    a.until(&quiet, async || sent() > before).await;
    a.rooms.set_receipt(&alice, &room, ReceiptKind::Public, Some("main"), &first).await.unwrap();
    say_all(&a, &room, &numbers(20)).await;
    a.until(&room, async || is_behind(&a, B)).await;
    // When it is behind.
    let newest = last(&a, &room).await;
    a.rooms.set_receipt(&alice, &room, ReceiptKind::Public, None, &newest).await.unwrap();
    a.rooms.set_receipt(&alice, &room, ReceiptKind::Private, None, &newest).await.unwrap();
    let a = a.crash_and_restart().await;
    net.mend(B);
    until_read(&b, &room, ALICE, None, &newest).await;
    until_read(&b, &room, ALICE, Some("main"), &first).await;
    until_read(&b, &quiet, ALICE, None, &in_quiet).await;
    b.until(&room, async || b.said(&room).await.len() == 21).await;
    a.until(&room, async || a.sender.is_idle()).await;
    let serial = b.rooms.room(&room).await.unwrap().unwrap().serial;
    assert!(b.rooms.receipt(serial, &alice, ReceiptKind::Private, None).await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_in_a_queue_survives_a_kill() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    net.cut(B);
    let messages = numbers(60);
    say_all(&a, &room, &messages).await;
    let a = a.crash_and_restart().await;
    net.mend(B);
    b.until_said(&room, &strs(&messages)).await;
    a.until(&room, async || a.sender.is_idle()).await;
    assert_eq!(b.said(&room).await.len(), 60);
}

#[tokio::test]
async fn a_peer_that_is_killed_loses_nothing_that_it_acknowledged() {
    let net = Net::default();
    let (a, mut b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    let messages = numbers(90);
    for part in messages.chunks(30) {
        say_all(&a, &room, part).await;
        b = b.crash_and_restart().await;
    }
    b.until_said(&room, &strs(&messages)).await;
}

#[tokio::test]
async fn a_silent_peer_does_not_keep_others_waiting() {
    let net = Net::default();
    let (a, b, c) =
        (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await, Node::start(&net, &[C]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    c.join(CAROL, &room, A).await;
    b.until(&room, async || b.membership(&room, CAROL).await.is_some()).await;
    net.silence(C);
    let started = Instant::now();
    a.say(ALICE, &room, "one").await;
    b.until_said(&room, &["one"]).await;
    a.say(ALICE, &room, "two").await;
    b.until_said(&room, &["one", "two"]).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(c);
}

#[tokio::test]
async fn an_event_that_a_peer_refuses_for_good_does_not_stop_those_after_it() {
    for queue in [1_000, 5] {
        let net = Net::default();
        let (a, b) = (Node::with_queue(&net, A, queue).await, Node::start(&net, &[B]).await);
        let room = a.create_room(ALICE).await;
        b.join(BOB, &room, A).await;
        net.refuse_transactions_with("message 7\"");
        net.cut(B);
        let messages = numbers(20);
        say_all(&a, &room, &messages).await;
        net.mend(B);
        let mut expected = strs(&messages);
        expected.remove(7);
        // The peer misses one, and asks for it when it sees the gap.
        b.until(&room, async || b.said(&room).await.len() >= expected.len()).await;
        let said = b.said(&room).await;
        assert!(expected.iter().all(|text| said.iter().any(|known| known == text)), "{said:?}");
        a.until(&room, async || a.sender.is_idle()).await;
    }
}

#[tokio::test]
async fn a_server_that_starts_again_greets_the_peers_it_knows() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    // The peer is written down within a second or so of the first contact.
    b.until(&room, async || {
        let row = b.store.get(&federation::tables::PEERS, A).await.unwrap();
        row.is_some()
    })
    .await;
    net.cut(B);
    a.say(ALICE, &room, "one").await;
    let before = net.asked().len();
    net.mend(B);
    let b = b.crash_and_restart().await;
    b.until_said(&room, &["one"]).await;
    let greeted = |line: &String| line.starts_with("kanazawa.test PUT /_matrix/federation/v1/send/");
    b.until(&room, async || net.asked()[before..].iter().any(greeted)).await;
}

#[tokio::test]
async fn who_asks_while_the_disk_is_away_is_told_to_come_again_and_not_that_he_has_no_right() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let peer = Hostile::new(B);
    net.add(&peer);
    a.take_disk_away();
    let asked = peer.ask(&net, A, "GET", "/_matrix/federation/v1/publicRooms", None).await;
    assert_eq!((asked.status, asked.errcode()), (503, Some("M_UNKNOWN")), "{}", asked.text);
    let user = TokenCheck::authenticate(&a.accounts, "a token", &name(A), None).await;
    assert_eq!(ApiError::from(user.unwrap_err()).status().as_u16(), 503);
}

/// Notes in the store of `node` that a transaction with one event was under way to mallory.test.
async fn note_under_way(node: &Node, event: &StoredEvent, ts: u64, room: Option<&ruma::RoomId>) {
    let position = event.order().unwrap().position().unwrap();
    let under_way = SentRow {
        ts,
        room: room.map(ToString::to_string),
        pdus: vec![(event.room(), event.serial(), position)],
        edus: Vec::new(),
    };
    let row = LastSentRow { through: position, under_way: Some(under_way) };
    let mut batch = store::Batch::new();
    batch.put(&LAST_SENT, &(A.to_owned(), "mallory.test".to_owned()), &row);
    node.store.commit(batch).await.unwrap();
}

/// The transactions with events that a peer gets, once there are so many.
async fn until_told(peer: &Hostile, times: usize) -> Vec<Asked> {
    let mut asked = 0;
    loop {
        asked += 1;
        let told = peer.until_asked("/send/", asked).await;
        asked = told.len();
        let full: Vec<_> = told
            .into_iter()
            .filter(|one| one.body["pdus"].as_array().is_some_and(|pdus| !pdus.is_empty()))
            .collect();
        if full.len() >= times {
            return full;
        }
    }
}

#[tokio::test]
async fn what_a_peer_was_sent_redacted_comes_again_redacted_after_a_crash() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    let hanako = "@hanako:kanazawa.test";
    a.join(hanako, &room, A).await;
    a.say(hanako, &room, "secret").await;
    let mut batch = store::Batch::new();
    a.rooms.put_erasure(&mut batch, &user(hanako));
    a.store.commit(batch).await.unwrap();
    mallory.join(&net, A, &room, "eve").await;
    let events = a.events(&room).await;
    let said = events.iter().find(|event| event.kind() == "m.room.message").unwrap();
    note_under_way(&a, said, 1, Some(&room)).await;

    let _a = a.crash_and_restart().await;
    let told = until_told(&mallory, 1).await;
    assert_eq!(told[0].body["pdus"][0]["content"], serde_json::json!({}));
}

#[tokio::test]
async fn what_was_redacted_while_it_was_under_way_comes_again_as_another_transaction() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    mallory.join(&net, A, &room, "eve").await;
    mallory.on("/send/", Conduct::refuse(500, "M_UNKNOWN"));
    a.say(ALICE, &room, "mistake").await;
    let first = until_told(&mallory, 1).await.remove(0);
    let events = a.events(&room).await;
    let said = events.iter().find(|event| event.kind() == "m.room.message").unwrap();
    note_under_way(&a, said, first.body["origin_server_ts"].as_u64().unwrap(), None).await;
    a.engine.redact(&user(ALICE), &room, said.event_id(), None, None).await.unwrap();

    let _a = a.crash_and_restart().await;
    let before = until_told(&mallory, 1).await.len();
    let again = until_told(&mallory, before + 1).await;
    let is_redacted = |one: &&Asked| one.body["pdus"][0]["content"] == serde_json::json!({});
    let redacted = again.iter().find(is_redacted).expect("it comes again, redacted");
    assert_ne!(redacted.uri, first.uri);
}

#[tokio::test]
async fn who_has_his_data_for_himself_writes_nothing_before_he_sends() {
    let net = Net::default();
    let a = Node::start(&net, &[A]).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let room = a.create_room(ALICE).await;
    mallory.join(&net, A, &room, "eve").await;
    mallory.on("/send/", Conduct::Hang);
    a.say(ALICE, &room, "hello").await;
    until_told(&mallory, 1).await;
    let noted = a.store.scan(&LAST_SENT, store::Range::all(), store::Order::Ascending, 10).await.unwrap();
    assert_eq!(noted, []);
}
