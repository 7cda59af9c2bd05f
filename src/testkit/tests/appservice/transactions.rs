//! Events that services are told.

use std::{
    sync::atomic::{AtomicUsize, Ordering as Atomic},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use http::Method;
use ruma::RoomId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Batch, Order, Position, Range, Store, Table, Tuning};
use testkit::{Preset, User};

use super::service::{Conduct, Heard, Record, Service, bridged, town};

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number} 番")).collect()
}

async fn send_all(user: &User, room: &RoomId, texts: &[String]) {
    for text in texts {
        user.send(room, text).await;
    }
}

#[tokio::test]
async fn a_service_is_told_what_happens_where_its_users_are_and_nothing_else() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let elsewhere = hanako.create_room(Preset::PrivateChat).await;
    hanako.send(&elsewhere, "内緒").await;
    let room = hanako.create_room(Preset::PrivateChat).await;
    hanako.send(&room, "誰もいない").await;
    let bot = irc.bot(&server);
    hanako.invite(&room, bot.id()).await;
    bot.join(&room, "kanazawa.test").await;
    hanako.send(&room, "こんにちは").await;
    hanako.kick(&room, bot.id()).await;
    hanako.send(&room, "出て行った").await;
    hanako.invite(&room, bot.id()).await;

    let record = irc.until(|record| record.events().len() >= 5).await;
    let heard = record.transactions().next().unwrap();
    assert_eq!((heard.method.as_str(), heard.token.as_deref()), ("PUT", Some("hs-token-of-the-service-irc")));
    let events = record.events();
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            let content = &event["content"];
            (
                event["type"].as_str().unwrap(),
                content["membership"].as_str().or(content["body"].as_str()).unwrap(),
            )
        })
        .collect();
    let expected = [
        ("m.room.member", "invite"),
        ("m.room.member", "join"),
        ("m.room.message", "こんにちは"),
        ("m.room.member", "leave"),
        ("m.room.member", "invite"),
    ];
    assert_eq!(told, expected);
    for event in &events {
        assert_eq!(event["room_id"], room.as_str());
        assert!(event["event_id"].is_string() && event["origin_server_ts"].is_number(), "{event}");
        assert!(event["unsigned"]["age"].is_number(), "{event}");
    }
    assert_eq!(events[1]["unsigned"]["prev_content"]["membership"], "invite");
}

#[tokio::test]
async fn what_waits_for_a_service_that_was_away_comes_in_order_once_and_with_the_same_ids_until_it_is_taken()
{
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(503));
    let texts = numbered(250);
    send_all(&hanako, &room, &texts[..120]).await;
    irc.later(&net, |record| record.transactions().filter(|heard| !heard.is_taken).count() >= 3).await;
    // What it was told of, and has not taken, is told by the next process.
    server.crash_and_restart().await;
    send_all(&hanako, &room, &texts[120..]).await;
    let before = irc.record().requests.len();
    irc.later(&net, |record| record.requests.len() > before).await;
    let shown = server.look(|house| house.metrics.render());
    let name = "yakuba_appservice_waiting_events{service=\"irc\"} ";
    let waiting: usize = shown.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap();
    assert!(waiting > texts.len() - 120, "{waiting}: what waited before counts as well");
    irc.will(Conduct::Takes);
    let record = irc.later(&net, |record| record.texts().len() >= texts.len()).await;

    assert_eq!(record.texts(), texts);
    assert_eq!(record.most_under_way, 1, "one transaction at a time");
    let ids = |heard: &Heard| -> Vec<Value> {
        heard.body["events"].as_array().unwrap().iter().map(|event| event["event_id"].clone()).collect()
    };
    let mut first: std::collections::BTreeMap<&str, Vec<Value>> = Default::default();
    for heard in record.transactions() {
        let events = ids(heard);
        assert!(events.len() <= 100);
        assert_eq!(
            first.entry(&heard.path).or_insert_with(|| events.clone()),
            &events,
            "the same id, the same events"
        );
    }
    // Nothing new under another id while one was not taken.
    let order: Vec<&str> = record.transactions().map(|heard| heard.path.as_str()).collect();
    let mut changes = order.clone();
    changes.dedup();
    assert_eq!(changes.len(), first.len());
}

#[tokio::test]
async fn a_service_that_answers_too_late_is_told_the_same_again() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Hangs);
    hanako.send(&room, "遅い").await;
    irc.until(|record| record.requests.len() == 2).await;
    hanako.send(&room, "次").await;
    irc.later(&net, |record| record.requests.len() >= 3).await;
    irc.will(Conduct::Takes);
    let record = irc.later(&net, |record| record.texts().len() >= 2).await;

    assert_eq!(record.texts(), ["遅い", "次"]);
    let late: Vec<_> = record
        .transactions()
        .skip(1)
        .filter(|heard| heard.body["events"][0]["content"]["body"] == "遅い")
        .collect();
    assert!(late.len() >= 3, "{late:#?}");
    assert!(late.iter().all(|heard| heard.path == late[0].path && heard.body == late[0].body));
    assert!(record.transactions().last().unwrap().path != late[0].path);
}

#[tokio::test]
async fn a_service_that_pings_is_told_at_once_what_waits_and_its_waits_begin_anew() {
    const TRANSACTIONS: &str = "/_matrix/app/v1/transactions/";
    const SECOND: Duration = Duration::from_secs(1);
    // In real time: less than a wait of those that have become long.
    const SHORT: Duration = Duration::from_secs(20);
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    let bot = irc.bot(&server);
    let ping = async || {
        let path = "/_matrix/client/v1/appservice/irc/ping";
        let (status, body) = bot.ask(Method::POST, path, Some(&json!({}))).await;
        assert_eq!(status, 200, "{body}");
    };
    let tries = |record: &Record| record.transactions().skip(1).count();

    irc.will(Conduct::Fails(503));
    irc.answers("/_matrix/app/v1/ping", 200, json!({}));
    hanako.send(&room, "起動中").await;

    // By now a wait is half a minute at least, and time passes by itself too; after a ping it is over at once.
    let long = tries(&irc.later(&net, |record| tries(record) >= 9).await);
    ping().await;
    let pinged = tokio::time::timeout(SHORT, irc.until(|record| tries(record) > long)).await.unwrap();
    let again = tries(&irc.later(&net, |record| tries(record) >= tries(&pinged) + 8).await);

    // It comes up while a try is on its way that will fail: the next one does not wait either.
    irc.holds(TRANSACTIONS);
    irc.later(&net, |record| tries(record) > again).await;
    ping().await;
    irc.releases();
    let next = irc.until(|record| tries(record) > again + 1);
    let soon = tries(&tokio::time::timeout(SHORT, next).await.unwrap());
    irc.in_steps(&net, SECOND, 10, |record| tries(record) > soon).await;
    // How often it failed is counted on.
    let shown = server.look(|house| house.metrics.render());
    assert!(shown.contains("yakuba_appservice_failing{service=\"irc\"} 1"), "{shown}");

    irc.will(Conduct::Takes);
    ping().await;
    let record = irc.until(|record| record.texts().len() == 1).await;
    assert_eq!(
        (record.texts(), record.most_under_way),
        (vec!["起動中".to_owned()], 2),
        "a try, and the ping beside it"
    );
    let path = &record.transactions().nth(1).unwrap().path;
    assert!(record.transactions().skip(1).all(|heard| heard.path == *path), "the same id until it is taken");
}

#[tokio::test]
async fn a_service_that_always_fails_keeps_no_other_waiting_and_is_shown() {
    let (irc, sms) = (Service::new("irc").await, Service::new("sms").await);
    let (net, server) = town(&[&irc, &sms]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    sms.bot(&server).join(&room, "kanazawa.test").await;
    irc.will(Conduct::Fails(500));
    let texts = numbered(30);
    send_all(&hanako, &room, &texts).await;
    let record = sms.until(|record| record.texts().len() == 30).await;
    assert_eq!(record.texts(), texts);

    let failed = |record: &Record| record.transactions().filter(|heard| !heard.is_taken).count();
    let tried = failed(&irc.later(&net, |record| failed(record) >= 9).await);
    // A service that fails is left alone for longer and longer, whatever else happens.
    send_all(&hanako, &hanako.create_room(Preset::PrivateChat).await, &texts).await;
    assert!(failed(&irc.record()) <= tried + 1, "{}", failed(&irc.record()) - tried);
    let metrics = || server.look(|house| house.metrics.render());
    let shown = metrics();
    assert!(shown.contains("yakuba_appservice_failing{service=\"irc\"} 1"), "{shown}");
    assert!(!shown.contains("yakuba_appservice_failing{service=\"sms\"} 1"), "{shown}");
    let lag = shown.lines().find(|line| line.starts_with("yakuba_appservice_lag_seconds{service=\"irc\"}"));
    assert!(lag.is_some_and(|line| !line.ends_with(" 0")), "{lag:?}");
    irc.will(Conduct::Takes);
    irc.later(&net, |record| record.texts().len() == 30).await;
    sms.bot(&server).send(&room, "ありがとう").await;
    irc.until(|record| record.texts().len() == 31).await;
    assert!(metrics().contains("yakuba_appservice_failing{service=\"irc\"} 0"));
}

#[tokio::test]
async fn ghosts_that_come_and_go_bring_their_service_and_take_it_away() {
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let bot = irc.bot(&server);
    let ghost =
        json!({ "type": "m.login.application_service", "username": "_irc_taro", "inhibit_login": true });
    bot.call(Method::POST, "/register", Some(&ghost)).await;
    let room = hanako.create_room(Preset::PublicChat).await;
    let path = |what: &str| format!("/rooms/{room}/{what}?user_id=@_irc_taro:kanazawa.test");
    hanako.send(&room, "まだ").await;
    bot.call(Method::POST, &path("join"), Some(&json!({}))).await;
    hanako.send(&room, "いる").await;
    bot.call(Method::POST, &path("leave"), Some(&json!({}))).await;
    hanako.send(&room, "もういない").await;
    bot.call(Method::POST, &path("join"), Some(&json!({}))).await;
    hanako.send(&room, "また").await;

    let record = irc.until(|record| record.texts().len() >= 2).await;
    assert_eq!(record.texts(), ["いる", "また"]);
    assert_eq!(record.events().len(), 5);
}

#[tokio::test]
async fn a_ghost_that_sends_a_thousand_messages_in_a_moment_keeps_nobody_waiting() {
    const MESSAGES: usize = 1_000;
    let irc = Service::new("irc").await;
    let (_net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    let bot = irc.bot(&server);
    let ghost =
        json!({ "type": "m.login.application_service", "username": "_irc_taro", "inhibit_login": true });
    bot.call(Method::POST, "/register", Some(&ghost)).await;
    let path = |what: &str| format!("/rooms/{room}/{what}?user_id=@_irc_taro:kanazawa.test");
    bot.call(Method::POST, &path("join"), Some(&json!({}))).await;

    let sent = AtomicUsize::new(0);
    let flood = stream::iter(0..MESSAGES).for_each_concurrent(20, async |number| {
        let said = json!({ "msgtype": "m.text", "body": "ログ" });
        bot.call(Method::PUT, &path(&format!("send/m.room.message/{number}")), Some(&said)).await;
        sent.fetch_add(1, Atomic::Relaxed);
    });
    let people = async {
        while sent.load(Atomic::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        send_all(&hanako, &room, &numbered(20)).await;
        sent.load(Atomic::Relaxed)
    };
    let ((), before) = tokio::join!(flood, people);
    assert!(before < MESSAGES, "a message of somebody else waited for all of them");
    assert_eq!(sent.into_inner(), MESSAGES);

    let record = irc.until(|record| record.texts().len() == MESSAGES + 20).await;
    let people = numbered(20);
    let told: Vec<_> = record.texts().into_iter().filter(|text| people.contains(text)).collect();
    assert_eq!(told, people, "in order");
}

/// What services have still to be told, and what was sent to them last.
static WAITING: Table<(String, u64), u64> = Table::new(310, "appservice.waiting", Tuning::Queue);
static SENDING: Table<String, u64> = Table::new(311, "appservice.sending", Tuning::Small);

/// Has services told again what was written after a position, as if nothing of it had been read.
async fn read_anew(store: &Store, after: Position) {
    let mut batch = Batch::new();
    batch.delete_all(&WAITING);
    batch.delete_all(&SENDING);
    batch.set_cursor("appservice", after);
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn what_was_not_read_when_the_log_was_trimmed_is_told_from_the_rooms() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let (one, other) = (bridged(&irc, &server, &hanako).await, bridged(&irc, &server, &hanako).await);
    let private = hanako.create_room(Preset::PrivateChat).await;
    hanako.send(&one, "前").await;
    irc.until(|record| record.texts().len() == 1).await;
    irc.will(Conduct::Fails(500));
    let store = server.look(|house| house.store.clone());
    let before = store.head();
    let texts = numbered(8);
    for text in &texts {
        hanako.send(&private, "内緒").await;
        hanako.send(if text.starts_with(['0', '3', '5']) { &one } else { &other }, text).await;
    }
    // As if a reader had stood still meanwhile, for longer than a log waits for it.
    irc.until(|record| record.requests.iter().any(|heard| !heard.is_taken)).await;
    drop(store);
    server
        .crash_and_restart_with(async |store| {
            read_anew(store, before).await;
            store.trim_log_now(store.head()).await.unwrap();
        })
        .await;
    irc.will(Conduct::Takes);
    let record = irc.later(&net, |record| record.texts().len() > texts.len()).await;

    assert_eq!(record.texts()[0], "前");
    assert_eq!(record.texts()[1..], texts);
    let store = server.look(|house| house.store.clone());
    let status = store.log_status().await.unwrap();
    assert!(status.readers.iter().all(|reader| !reader.is_passed_over), "{status:?}");
    drop(store);
    // That was made up for once.
    server.crash_and_restart().await;
    hanako.send(&one, "後").await;
    let record = irc.later(&net, |record| record.texts().contains(&"後".to_owned())).await;
    assert_eq!(record.texts()[1..], [texts, vec!["後".to_owned()]].concat());
}

#[tokio::test]
async fn who_was_in_a_room_when_something_was_said_is_told_it_however_late_the_log_is_read() {
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let bot = irc.bot(&server);
    let (came, went) = (hanako.create_room(Preset::PublicChat).await, bridged(&irc, &server, &hanako).await);
    irc.until(|record| record.events().len() == 1).await;
    let before = server.look(|house| house.store.head());
    hanako.send(&came, "来る前").await;
    bot.join(&came, "kanazawa.test").await;
    hanako.send(&came, "来た後").await;
    hanako.send(&went, "出る前").await;
    bot.leave(&went).await;
    hanako.send(&went, "出た後").await;
    let expected = ["来た後", "出る前"];
    irc.until(|record| record.texts().len() == 2 && record.events().len() == 5).await;
    // Read once more by a process that knows nothing of the rooms: all at once, and with more behind what it reads at once.
    for more in [0, 600] {
        for number in 0..more {
            hanako.set_state(&came, "m.room.topic", "", &json!({ "topic": number.to_string() })).await;
        }
        let texts = irc.record().texts().len();
        server.crash_and_restart_with(async |store| read_anew(store, before).await).await;
        let is_told = |record: &Record| record.texts()[texts..].iter().any(|text| text == expected[1]);
        let record = irc.later(&net, is_told).await;
        assert_eq!(record.texts()[texts..], expected, "{more}");
    }
}

/// An event that waits, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ItemRow {
    room: u64,
    event: u64,
    since: u64,
}
store::row!(ItemRow, schema = 1);

static ITEMS: Table<(String, u64), ItemRow> = Table::new(310, "appservice.waiting", Tuning::Queue);

#[tokio::test]
async fn what_waits_after_a_day_is_told_within_minutes_and_costs_a_few_reads_a_hundred() {
    const EVENTS: u64 = 80_000;
    let irc = Service::new("irc").await;
    let (net, server) = town(&[&irc]).await;
    let hanako = server.user("hanako").await;
    let room = bridged(&irc, &server, &hanako).await;
    irc.until(|record| record.events().len() == 1).await;
    irc.will(Conduct::Fails(500));
    send_all(&hanako, &room, &numbered(50)).await;
    irc.until(|record| record.requests.iter().any(|heard| !heard.is_taken)).await;
    let store = server.look(|house| house.store.clone());
    let waiting = async || store.scan(&ITEMS, Range::all(), Order::Ascending, usize::MAX).await.unwrap();
    let mut known = waiting().await;
    while known.len() < 50 {
        known = waiting().await;
    }
    // A day of a busy bridge, without the day: each event stands for many.
    let begin = known.last().unwrap().0.1 + 1_000_000;
    for first in (0..EVENTS).step_by(1_000) {
        let mut batch = Batch::new();
        for (number, (_, item)) in (first..first + 1_000).zip(known.iter().cycle()) {
            batch.put(&ITEMS, &("irc", begin + number), item);
        }
        store.commit(batch).await.unwrap();
    }
    drop(store);
    server.crash_and_restart().await;
    irc.will(Conduct::Takes);
    let began = std::time::Instant::now();
    // A hundred to a transaction.
    let least = usize::try_from(EVENTS / 100).unwrap();
    let taken = |record: &Record| record.transactions().filter(|heard| heard.is_taken).count();
    irc.later(&net, |record| taken(record) > least).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(300), "{:?}", began.elapsed());
    let record = irc.until(|record| record.texts().len() >= usize::try_from(EVENTS).unwrap() + 50).await;
    assert!(taken(&record) <= least + 50, "{} transactions", taken(&record));
    assert_eq!(record.most_under_way, 1);
    let store = server.look(|house| house.store.clone());
    while !store.scan(&ITEMS, Range::all(), Order::Ascending, 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}
