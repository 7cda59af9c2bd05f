//! Servers that never answer, servers of no room, and calendars that are set while a peer is away.

use std::{collections::BTreeSet, time::Duration};

use base::{Clock, ManualClock};
use federation::{SenderConfig, tables::OWED};
use hostile::{Conduct, Hostile};
use http::StatusCode;
use ruma::RoomId;
use serde_json::json;
use store::{Order, Range};

use crate::net::{Net, Node, name, sender_config, user};

const A: &str = "kanazawa.test";
const B: &str = "wajima.test";
const ALICE: &str = "@alice:kanazawa.test";
const BOB: &str = "@bob:wajima.test";
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

async fn ban(node: &Node, room: &RoomId, number: usize) {
    let target = user(&format!("@x:s{number}.test"));
    node.engine.ban(&user(ALICE), room, &target, None).await.unwrap();
}

fn transactions(net: &Net, server: &str) -> usize {
    let start = format!("{server} PUT /_matrix/federation/v1/send/");
    net.asked().iter().filter(|line| line.starts_with(&start)).count()
}

/// Lets time pass in small steps until something is so, but no more time than this.
pub(crate) async fn within(hand: &ManualClock, most: Duration, step: Duration, what: impl AsyncFn() -> bool) {
    let mut passed = Duration::ZERO;
    while !what().await {
        assert!(passed < most, "not within {most:?}");
        // Whoever is woken has to come to its next sleep before time goes on.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        hand.advance(step);
        passed += step;
    }
}

#[tokio::test]
async fn a_message_leaves_in_its_time_however_the_calendar_is_set() {
    let net = Net::default();
    // Near enough to the clock of the other server, which believes no keys of another time.
    let (clock, hand) = Clock::manual(Clock::system().now().millis());
    let a = Node::with(&net, A, sender_config(), clock).await;
    let b = Node::start(&net, &[B]).await;
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    let short = Duration::from_millis(10);
    for (number, set) in
        [&(|| hand.set_back(Duration::from_secs(20))) as &dyn Fn(), &|| hand.set_back(HOUR), &|| {
            hand.set_forward(YEAR)
        }]
        .into_iter()
        .enumerate()
    {
        net.cut(B);
        let before = transactions(&net, B);
        a.say(ALICE, &room, &format!("message {number}")).await;
        within(&hand, HOUR, short, async || transactions(&net, B) > before).await;
        set();
        let tried = transactions(&net, B);
        within(&hand, Duration::from_secs(5), short, async || transactions(&net, B) > tried).await;
        let peers = a.sender.peers();
        let peer = peers.iter().find(|peer| peer.server == name(B)).unwrap();
        assert_eq!(peer.owed_rooms, 0, "it has not failed for a minute");
        net.mend(B);
        within(&hand, Duration::from_secs(10), short, async || b.said(&room).await.len() > number).await;
    }
}

#[tokio::test]
async fn a_message_leaves_with_the_first_sign_of_life_however_the_calendar_is_set() {
    let net = Net::default();
    let (clock, hand) = Clock::manual(Clock::system().now().millis());
    // Nobody waits here for the end of a wait.
    let config = SenderConfig { first_retry: 12 * HOUR, longest_retry: 12 * HOUR, ..sender_config() };
    let a = Node::with(&net, A, config, clock).await;
    let b = Node::start(&net, &[B]).await;
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    let is_failing = async || a.sender.peers().iter().any(|peer| peer.failing_since.is_some());
    // The peer's keys are good by both calendars.
    let sets: [&dyn Fn(); 2] = [&|| hand.set_back(HOUR), &|| hand.set_forward(2 * HOUR)];
    for (number, set) in sets.into_iter().enumerate() {
        let (question, answer) = (format!("question {number}"), format!("answer {number}"));
        net.cut(B);
        a.say(ALICE, &room, &answer).await;
        within(&hand, HOUR, Duration::from_millis(10), is_failing).await;
        set();
        net.mend(B);

        b.say(BOB, &room, &question).await;
        a.until(&room, async || a.said(&room).await.contains(&question)).await;
        // So much has to lie between two attempts.
        hand.advance(Duration::from_secs(1));

        b.until(&room, async || b.said(&room).await.contains(&answer)).await;
        a.until(&room, async || a.sender.is_idle()).await;
    }
}

#[tokio::test]
async fn names_that_never_answer_take_no_place_of_a_peer() {
    let net = Net::default();
    let config = SenderConfig { healthy: 8, suspect: 4, strangers: 2, ..sender_config() };
    let a = Node::with(&net, A, config, Clock::system()).await;
    let b = Node::start(&net, &[B]).await;
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    for number in 0..40 {
        net.deafen(&format!("s{number}.test"));
        ban(&a, &room, number).await;
    }
    a.until(&room, async || net.asked().iter().any(|line| line.starts_with('s'))).await;
    // To a peer in good health, and to one that was away for a moment.
    let quick = Duration::from_secs(10);
    a.say(ALICE, &room, "one").await;
    tokio::time::timeout(quick, b.until_said(&room, &["one"])).await.unwrap();
    net.cut(B);
    let tried = transactions(&net, B);
    a.say(ALICE, &room, "two").await;
    a.until(&room, async || transactions(&net, B) > tried).await;
    net.mend(B);
    tokio::time::timeout(quick, b.until_said(&room, &["one", "two"])).await.unwrap();
    let under_way: usize = (0..40).map(|number| transactions(&net, &format!("s{number}.test"))).sum();
    assert!(under_way <= 2, "{under_way} requests to invented names");
}

#[tokio::test]
async fn names_that_never_answer_are_given_up_and_nothing_is_kept_for_them() {
    let net = Net::default();
    let (clock, hand) = Clock::manual(1_800_000_000_000);
    let a = Node::with(&net, A, sender_config(), clock).await;
    let room = a.create_room(ALICE).await;
    for number in 0..10 {
        ban(&a, &room, number).await;
    }
    a.until(&room, async || a.sender.peers().len() == 10).await;
    let owed = async || a.store.scan(&OWED, Range::all(), Order::Ascending, 100).await.unwrap().len();
    within(&hand, 3 * HOUR, Duration::from_secs(5), async || owed().await == 10).await;
    within(&hand, 30 * HOUR, Duration::from_secs(60), async || a.sender.peers().is_empty()).await;
    assert_eq!(owed().await, 0);
    let most = (0..10).map(|number| transactions(&net, &format!("s{number}.test"))).max().unwrap();
    assert!((5..100).contains(&most), "{most} attempts");
    assert!(a.sender.is_idle());
}

#[tokio::test]
async fn names_that_answer_and_take_nothing_are_given_up_like_those_that_never_answer() {
    let net = Net::default();
    let (clock, hand) = Clock::manual(1_800_000_000_000);
    let a = Node::with(&net, A, sender_config(), clock).await;
    let room = a.create_room(ALICE).await;
    let page = || Conduct::Say(StatusCode::OK, json!("welcome to our web site"));
    for (number, conduct) in
        [Conduct::refuse(500, "M_UNKNOWN"), Conduct::refuse(404, "M_UNRECOGNIZED"), page()]
            .into_iter()
            .enumerate()
    {
        let wildcard = Hostile::new(&format!("s{number}.test"));
        wildcard.on("/send/", conduct);
        net.add(&wildcard);
        ban(&a, &room, number).await;
    }
    a.until(&room, async || net.asked().iter().filter(|line| line.contains("/send/")).count() >= 3).await;
    within(&hand, 30 * HOUR, Duration::from_secs(60), async || a.sender.peers().is_empty()).await;
}

#[tokio::test]
async fn of_very_many_names_that_never_answer_few_are_kept_and_tried_again() {
    let net = Net::default();
    let (clock, hand) = Clock::manual(1_800_000_000_000);
    let config = SenderConfig { most_strangers: 5, ..sender_config() };
    let a = Node::with(&net, A, config, clock).await;
    let room = a.create_room(ALICE).await;
    for number in 0..30 {
        ban(&a, &room, number).await;
    }
    let head = a.store.head();
    a.until(&room, async || a.sender.position() >= head).await;
    within(&hand, Duration::from_secs(60), Duration::from_millis(100), async || a.sender.peers().len() <= 5)
        .await;

    let before = net.asked().len();
    let tried = || net.asked().split_off(before);
    within(&hand, 20 * HOUR, Duration::from_secs(60), async || tried().len() >= 40).await;
    let names: BTreeSet<String> =
        tried().iter().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
    assert!((1..=5).contains(&names.len()), "{names:?}");
}

#[tokio::test]
async fn in_a_room_just_joined_all_servers_are_told_what_is_said_though_none_of_them_ever_called() {
    let net = Net::default();
    let host = Hostile::new("host.test");
    net.add(&host);
    let room = host.found("eve", "12").id;
    let guests: Vec<String> = (0..6).map(|number| format!("s{number}.test")).collect();
    for guest in &guests {
        let guest = Hostile::new(guest);
        net.add(&guest);
        guest.join(&net, "host.test", &room, "eve").await;
    }
    let config = SenderConfig { most_strangers: 2, ..sender_config() };
    let a = Node::with(&net, A, config, Clock::system()).await;
    a.join(ALICE, &room, "host.test").await;
    a.say(ALICE, &room, "hello").await;
    a.until(&room, async || guests.iter().all(|guest| transactions(&net, guest) > 0)).await;
}

#[tokio::test]
async fn a_name_that_is_given_up_at_a_start_is_not_served_for_another_authority() {
    let net = Net::default();
    let (clock, hand) = Clock::manual(1_800_000_000_000);
    let a = Node::with_names(&net, &[A, "suzu.test"], sender_config(), clock).await;
    for who in [ALICE, "@dave:suzu.test"] {
        let room = a.create_room(who).await;
        for number in 0..3 {
            let target = user(&format!("@x:s{number}.test"));
            a.engine.ban(&user(who), &room, &target, None).await.unwrap();
        }
    }
    let owed = async |a: &Node| a.store.scan(&OWED, Range::all(), Order::Ascending, 100).await.unwrap().len();
    within(&hand, 3 * HOUR, Duration::from_secs(5), async || owed(&a).await == 6).await;

    let config = SenderConfig { most_strangers: 1, ..sender_config() };
    let a = a.crash_and_restart_with(config).await;
    let minute = Duration::from_secs(60);
    within(&hand, minute, Duration::from_millis(100), async || {
        a.sender.peers().len() == 1 && owed(&a).await == 2
    })
    .await;
}

#[tokio::test]
async fn who_is_in_no_room_with_us_is_not_greeted_and_not_remembered() {
    let net = Net::default();
    let (a, b) = (Node::start(&net, &[A]).await, Node::start(&net, &[B]).await);
    let room = a.create_room(ALICE).await;
    b.join(BOB, &room, A).await;
    let mallory = Hostile::new("mallory.test");
    net.add(&mallory);
    let asked = mallory.ask(&net, A, "GET", "/_matrix/federation/v1/publicRooms", None).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    let is_noted = async |a: &Node, server: &str| {
        a.store.get(&federation::tables::PEERS, server).await.unwrap().is_some()
    };
    a.until(&room, async || is_noted(&a, "mallory.test").await && is_noted(&a, B).await).await;

    let greeted = transactions(&net, B);
    let a = a.crash_and_restart().await;
    a.until(&room, async || !is_noted(&a, "mallory.test").await).await;
    a.until(&room, async || transactions(&net, B) > greeted).await;
    assert!(mallory.asked("/send/").is_empty());
    assert!(is_noted(&a, B).await);
}

#[tokio::test]
async fn after_a_start_each_authority_greets_the_peers_of_its_own_rooms() {
    let net = Net::default();
    let (second, third) = ("suzu.test", "nanao.test");
    let a = Node::start(&net, &[A, second, third]).await;
    let peer = Hostile::new("peer.test");
    net.add(&peer);
    let room = a.create_room(ALICE).await;
    for (authority, room) in [(A, room.clone()), (second, a.create_room("@dave:suzu.test").await)] {
        peer.join(&net, authority, &room, "eve").await;
    }
    let noted = async || {
        a.store.get(&federation::tables::PEERS, "peer.test").await.unwrap().is_some() && a.sender.is_idle()
    };
    a.until(&room, noted).await;

    let before = peer.asked("/send/").len();
    let greeted = || {
        let asked = peer.asked("/send/").split_off(before);
        asked
            .iter()
            .filter_map(|asked| asked.body["origin"].as_str().map(str::to_owned))
            .collect::<BTreeSet<_>>()
    };
    let a = a.crash_and_restart().await;
    a.until(&room, async || greeted().len() >= 2 && a.sender.is_idle()).await;
    assert_eq!(greeted(), BTreeSet::from([A.to_owned(), second.to_owned()]));
}
