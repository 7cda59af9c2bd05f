//! What application services are told, over HTTP.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use http::Method;
use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use store::{Batch, Table, Tuning};
use testkit::{Net, Preset, Server, User};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time for what time had to pass for.
const MOMENT: Duration = Duration::from_millis(500);

const MINUTE: Duration = Duration::from_secs(60);

/// How a service answers.
#[derive(Clone, Debug)]
enum Conduct {
    Takes,
    Fails(u16),
    Hangs,
}

/// A request that a service got.
#[derive(Clone, Debug)]
struct Heard {
    method: String,
    path: String,
    token: Option<String>,
    body: Value,
    is_taken: bool,
}

/// What a service got.
#[derive(Clone, Debug, Default)]
struct Record {
    requests: Vec<Heard>,
    under_way: usize,
    most_under_way: usize,
}

impl Record {
    fn transactions(&self) -> impl Iterator<Item = &Heard> {
        self.requests.iter().filter(|heard| heard.path.starts_with("/_matrix/app/v1/transactions/"))
    }

    /// The events of what it has taken, each transaction once as a bridge does.
    fn events(&self) -> Vec<Value> {
        let mut known = std::collections::BTreeSet::new();
        let taken = self.transactions().filter(|heard| heard.is_taken && known.insert(&heard.path));
        taken.flat_map(|heard| heard.body["events"].as_array().cloned().unwrap_or_default()).collect()
    }

    fn texts(&self) -> Vec<String> {
        let events = self.events();
        events.iter().filter_map(|event| Some(event["content"]["body"].as_str()?.to_owned())).collect()
    }
}

/// An application service that records what it is told.
struct Service {
    name: &'static str,
    address: String,
    conduct: Arc<Mutex<Conduct>>,
    record: watch::Receiver<Record>,
}

impl Service {
    async fn new(name: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, record) = watch::channel(Record::default());
        let conduct = Arc::new(Mutex::new(Conduct::Takes));
        let (shown, sender) = (conduct.clone(), Arc::new(sender));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(hear(socket, shown.clone(), sender.clone()));
            }
        });
        Self { name, address, conduct, record }
    }

    fn token(&self) -> String {
        format!("as-token-of-the-service-{}", self.name)
    }

    fn registration(&self) -> String {
        self.registration_with("")
    }

    fn registration_with(&self, more: &str) -> String {
        let Self { name, address, .. } = self;
        format!(
            "id: {name}\nurl: http://{address}\nas_token: {token}\nhs_token: hs-token-of-the-service-{name}\n\
             sender_localpart: {name}bot\nrate_limited: false\n{more}\nnamespaces:\n  users:\n  - exclusive: true\n    \
             regex: '@_{name}_.*'\n  aliases:\n  - exclusive: true\n    regex: '#_{name}_.*'\n  rooms: []\n",
            token = self.token(),
        )
    }

    fn will(&self, conduct: Conduct) {
        *self.conduct.lock() = conduct;
    }

    fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    async fn until(&self, wanted: impl Fn(&Record) -> bool) -> Record {
        let mut record = self.record.clone();
        let found = tokio::time::timeout(PATIENCE, record.wait_for(|record| wanted(record))).await;
        found.unwrap_or_else(|_| panic!("only {:#?}", self.record())).unwrap().clone()
    }

    /// As [`Service::until`], while time passes: a wait may begin a moment after it is heard what failed.
    async fn later(&self, net: &Net, wanted: impl Fn(&Record) -> bool) -> Record {
        let mut record = self.record.clone();
        for _ in 0..200 {
            net.advance(MINUTE);
            let found = tokio::time::timeout(MOMENT, record.wait_for(|record| wanted(record))).await;
            if let Ok(found) = found {
                return found.unwrap().clone();
            }
        }
        panic!("only {:#?}", self.record());
    }

    /// Its own user at a server.
    fn bot(&self, server: &Server) -> User {
        server.service(&format!("{}bot", self.name), &self.token())
    }
}

async fn hear(mut socket: TcpStream, conduct: Arc<Mutex<Conduct>>, record: Arc<watch::Sender<Record>>) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut part = [0; 65_536];
        match socket.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if bytes.len() - end - 4 >= length.unwrap_or(0_usize) {
            break (head, bytes[end + 4..].to_vec());
        }
    };
    let conduct = conduct.lock().clone();
    let mut line = head.lines().next().unwrap().split(' ').map(str::to_owned);
    let heard = Heard {
        method: line.next().unwrap(),
        path: line.next().unwrap(),
        token: head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("authorization: bearer ").map(str::to_owned)),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        is_taken: matches!(conduct, Conduct::Takes),
    };
    record.send_modify(|record| {
        record.under_way += 1;
        record.most_under_way = record.most_under_way.max(record.under_way);
        record.requests.push(heard);
    });
    let status = match conduct {
        Conduct::Takes => 200,
        Conduct::Fails(status) => status,
        Conduct::Hangs => {
            // Until the other side has enough of it.
            socket.read_u8().await.ok();
            record.send_modify(|record| record.under_way -= 1);
            return;
        }
    };
    record.send_modify(|record| record.under_way -= 1);
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    // Whoever has given up finds it closed.
    socket.write_all(answer.as_bytes()).await.ok();
}

async fn town(services: &[&Service]) -> (Net, Server) {
    let net = Net::new();
    let registrations: Vec<String> = services.iter().map(|service| service.registration()).collect();
    let server = net.server_with_services("kanazawa.test", &registrations).await;
    (net, server)
}

/// A room of somebody in which the service's own user is.
async fn bridged(service: &Service, server: &Server, user: &User) -> OwnedRoomId {
    let room = user.create_room(Preset::PublicChat).await;
    let bot = service.bot(server);
    bot.join(&room, "kanazawa.test").await;
    room
}

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
    irc.later(&net, |record| failed(record) >= 9).await;
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

/// What services have still to be told, and what was sent to them last.
static WAITING: Table<(String, u64), u64> = Table::new(310, "appservice.waiting", Tuning::Queue);
static SENDING: Table<String, u64> = Table::new(311, "appservice.sending", Tuning::Small);

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
    let mut batch = Batch::new();
    batch.delete_all(&WAITING);
    batch.delete_all(&SENDING);
    batch.set_cursor("appservice", before);
    store.commit(batch).await.unwrap();
    store.trim_log_now(store.head()).await.unwrap();
    drop(store);
    server.crash_and_restart().await;
    irc.will(Conduct::Takes);
    let record = irc.later(&net, |record| record.texts().len() > texts.len()).await;

    assert_eq!(record.texts()[0], "前");
    assert_eq!(record.texts()[1..], texts);
    let store = server.look(|house| house.store.clone());
    let status = store.log_status().await.unwrap();
    assert!(status.readers.iter().all(|reader| !reader.is_passed_over), "{status:?}");
}
