//! The built-in push gateway, from a message to the push service, over HTTP.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use ruma::OwnedRoomId;
use serde_json::{Value, json};
use testkit::{GatewayAppConfig, GatewayKind, Log, Net, Preset, Server, User};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

const WEB: &str = "jp.example.web";
const PHONE: &str = "jp.example.phone";

/// The keys of a subscription: those of RFC 8291.
const KEY: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const SECRET: &str = "BTBZMqHH6r4Tts7J_aSIgg";

/// A request that a push service had.
#[derive(Clone, Debug)]
struct Posted {
    head: String,
    body: Vec<u8>,
}

impl Posted {
    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|known| known.eq_ignore_ascii_case(line))
    }
}

/// A push service that answers with a status and a `Retry-After`, once it may.
struct Service {
    address: String,
    answer: Arc<Mutex<(u16, Option<u64>)>>,
    may_answer: Arc<watch::Sender<bool>>,
    posted: watch::Receiver<Vec<Posted>>,
}

impl Service {
    async fn at(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, posted) = watch::channel(Vec::new());
        let answer = Arc::new(Mutex::new((201, None)));
        let (shown, sender) = (answer.clone(), Arc::new(sender));
        let may_answer = Arc::new(watch::Sender::new(true));
        let may = may_answer.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, shown.clone(), may.subscribe(), sender.clone()));
            }
        });
        Self { address, answer, may_answer, posted }
    }

    async fn new() -> Self {
        Self::at("127.1.0.1").await
    }

    fn will(&self, status: u16, retry_after: Option<u64>) {
        *self.answer.lock() = (status, retry_after);
    }

    fn count(&self) -> usize {
        self.posted.borrow().len()
    }

    async fn posted(&self, count: usize) -> Vec<Posted> {
        let mut posted = self.posted.clone();
        let found = tokio::time::timeout(PATIENCE, posted.wait_for(|posted| posted.len() >= count)).await;
        found.unwrap_or_else(|_| panic!("only {:#?}", self.posted.borrow())).unwrap().clone()
    }
}

async fn serve(
    mut socket: TcpStream,
    answer: Arc<Mutex<(u16, Option<u64>)>>,
    mut may_answer: watch::Receiver<bool>,
    posted: Arc<watch::Sender<Vec<Posted>>>,
) {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.unwrap();
            if bytes.len() >= end + 4 + length {
                let rest = bytes.split_off(end + 4 + length);
                let body = std::mem::replace(&mut bytes, rest).split_off(end + 4);
                let (status, retry_after) = *answer.lock();
                posted.send_modify(|posted| posted.push(Posted { head, body }));
                if may_answer.wait_for(|may| *may).await.is_err() {
                    return;
                }
                let more = retry_after.map(|wait| format!("Retry-After: {wait}\r\n")).unwrap_or_default();
                let text = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: 0\r\n\r\n");
                if socket.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
        }
        let mut part = [0; 4_096];
        match socket.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
        }
    }
}

async fn net() -> (Net, Server) {
    let net = Net::with_push_gateway(vec![
        GatewayAppConfig::new(WEB, GatewayKind::WebPush),
        GatewayAppConfig::new(PHONE, GatewayKind::UnifiedPush),
    ]);
    let server = net.server("kanazawa.test").await;
    (net, server)
}

fn pusher(app: &str, key: &str, data: Value) -> Value {
    let mut data = data;
    data["url"] = json!("https://kanazawa.test/_matrix/push/v1/notify");
    json!({ "app_id": app, "pushkey": key, "kind": "http", "app_display_name": "App",
        "device_display_name": "Browser", "lang": "ja", "append": true, "data": data })
}

fn browser(service: &Service) -> Value {
    subscription(service, "a")
}

/// A browser's subscription at a push service, by the end of its address.
fn subscription(service: &Service, end: &str) -> Value {
    let endpoint = format!("http://{}/wpush/v2/{end}", service.address);
    pusher(WEB, KEY, json!({ "endpoint": endpoint, "auth": SECRET, "events_only": true }))
}

async fn set(user: &User, pusher: &Value) {
    user.call(Method::POST, "/pushers/set", Some(pusher)).await;
}

async fn count(user: &User) -> usize {
    user.call(Method::GET, "/pushers", None).await["pushers"].as_array().unwrap().len()
}

/// Hanako, who says something; Taro, who is told of it.
async fn two(server: &Server) -> (User, User, OwnedRoomId) {
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = hanako.create_room(Preset::PrivateChat).await;
    hanako.invite(&room, taro.id()).await;
    taro.join(&room, "kanazawa.test").await;
    (hanako, taro, room)
}

#[tokio::test]
async fn a_browser_is_told_over_its_push_service_until_that_knows_it_no_more() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let service = Service::new().await;
    set(&taro, &browser(&service)).await;

    hanako.send(&room, "届いていますか").await;

    let posted = service.posted(1).await.pop().unwrap();
    assert!(posted.head.starts_with("POST /wpush/v2/a HTTP/1.1\r\n"), "{}", posted.head);
    assert!(posted.has("content-encoding: aes128gcm") && posted.has("ttl: 86400"), "{}", posted.head);
    assert!(
        posted.has("urgency: high") && posted.head.contains("authorization: vapid t="),
        "{}",
        posted.head
    );
    assert_eq!(&posted.body[16..21], [0, 0, 16, 0, 65]);

    service.will(410, None);
    hanako.send(&room, "二").await;
    service.posted(2).await;
    let mut left = count(&taro).await;
    while left > 0 {
        tokio::task::yield_now().await;
        left = count(&taro).await;
    }
}

#[tokio::test]
async fn a_browser_that_subscribed_anew_outlives_that_its_old_subscription_is_gone() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let (old, new) = (Service::new().await, Service::new().await);
    old.will(410, None);
    old.may_answer.send_replace(false);
    set(&taro, &subscription(&old, "old")).await;
    hanako.send(&room, "一").await;
    old.posted(1).await;

    // The same key, as when a push service gives out another address.
    set(&taro, &subscription(&new, "new")).await;
    old.may_answer.send_replace(true);

    new.posted(1).await;
    hanako.send(&room, "二").await;
    new.posted(2).await;
    assert_eq!((count(&taro).await, old.count()), (1, 1));
}

#[tokio::test]
async fn a_service_that_refuses_what_we_send_keeps_its_browser_and_is_named_to_the_operator() {
    let log = Log::new();
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let service = Service::new().await;
    service.will(400, None);
    set(&taro, &browser(&service)).await;
    hanako.send(&room, "一").await;
    service.posted(1).await;
    service.will(201, None);
    hanako.send(&room, "二").await;
    while service.count() < 2 {
        net.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&taro).await, 1);
    let lines = log.with("a push service refuses a message");
    let place = format!("status=400 service=\"http://{}\"", service.address);
    assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains(&place), "{lines:#?}");
    // Where it is posted to is as good as a key.
    assert_eq!(log.with("/wpush/v2/a"), Vec::<String>::new());
}

#[tokio::test]
async fn a_service_that_wishes_to_be_left_alone_is_and_the_others_are_not() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let (busy, other, phone) = (Service::new().await, Service::new().await, Service::new().await);
    busy.will(429, Some(300));
    set(&taro, &browser(&busy)).await;
    let jiro = server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    set(&jiro, &browser(&other)).await;
    let tablet = taro.another_device().await;
    let endpoint = format!("http://{}/upX?up=1", phone.address);
    set(&tablet, &pusher(PHONE, &endpoint, json!({}))).await;

    // Others' browsers at the same service; the last one subscribes when it is known to be busy.
    let mut others = Vec::new();
    for name in ["saburo", "shiro", "goro"] {
        let user = server.user(name).await;
        hanako.invite(&room, user.id()).await;
        user.join(&room, "kanazawa.test").await;
        others.push(user);
    }
    set(&others[0], &subscription(&busy, "0")).await;
    set(&others[1], &subscription(&busy, "1")).await;

    hanako.send(&room, "一").await;
    busy.posted(3).await;
    let told = phone.posted(1).await.pop().unwrap();
    assert!(told.head.starts_with("POST /upX?up=1 HTTP/1.1\r\n"), "{}", told.head);
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["notification"]["content"]["body"], "一");
    for number in 2..=3 {
        hanako.send(&room, "次").await;
        other.posted(number).await;
        phone.posted(number).await;
    }
    set(&others[2], &subscription(&busy, "2")).await;
    net.advance(Duration::from_secs(250));
    hanako.send(&room, "三").await;
    other.posted(4).await;
    assert_eq!(busy.count(), 3);
    busy.will(201, None);
    net.advance(Duration::from_secs(60));
    let told = busy.posted(3 + 4).await;
    for end in ["a", "0", "1", "2"] {
        let line = format!("POST /wpush/v2/{end} ");
        assert!(told[3..].iter().any(|posted| posted.head.starts_with(&line)), "{end}");
    }
    assert_eq!((count(&taro).await, count(&jiro).await), (2, 1));
    for other in &others {
        assert_eq!(count(other).await, 1);
    }
}

/// A push service that takes connections and never answers; how many it has.
async fn silent() -> (String, watch::Receiver<Vec<TcpStream>>) {
    let listener = TcpListener::bind(("127.1.0.9", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, held) = watch::channel(Vec::new());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            sender.send_modify(|held| held.push(socket));
        }
    });
    (address, held)
}

#[tokio::test]
async fn strangers_whose_services_are_silent_wait_in_turns_and_keep_nobodys_message() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let (service, (address, held)) = (Service::new().await, silent().await);
    set(&taro, &browser(&service)).await;
    let device = json!({ "app_id": PHONE, "pushkey": format!("http://{address}/up") });
    let told = json!({ "notification": { "devices": [device] } });
    let path = "/_matrix/push/v1/notify";
    let asks = (0..200).map(|_| hanako.ask(Method::POST, path, Some(&told)));
    let mut flood = std::pin::pin!(futures_util::future::join_all(asks));
    let honest = async {
        let mut filled = held.clone();
        filled.wait_for(|held| held.len() >= 32).await.unwrap();
        hanako.send(&room, "届いていますか").await;
        service.posted(1).await;
    };
    tokio::select! {
        _ = &mut flood => panic!("what the silent one was asked has ended"),
        done = tokio::time::timeout(PATIENCE, honest) => done.unwrap(),
    }
    assert_eq!(held.borrow().len(), 32);
}

/// A notification of a device whose push service is at this address.
fn told_at(address: &str) -> Value {
    let device = json!({ "app_id": PHONE, "pushkey": format!("http://{address}/up") });
    json!({ "notification": { "devices": [device] } })
}

/// What a homeserver at this address is answered.
async fn from(user: &User, ip: &str, told: &Value) -> StatusCode {
    let headers = [("x-forwarded-for", ip), ("content-type", "application/json")];
    let body = told.to_string().into();
    user.ask_bytes(Method::POST, "/_matrix/push/v1/notify", &headers, body).await.status()
}

/// Requests that are being answered.
fn in_flight(server: &Server) -> usize {
    let shown = server.look(|house| house.metrics.render());
    let line = shown.lines().find_map(|line| line.strip_prefix("yakuba_web_requests_in_flight "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_asks_from_elsewhere_waits_for_one_turn_however_many_wait_from_one_place() {
    let (net, server) = net().await;
    let taro = server.user("taro").await;
    let (service, (address, held)) = (Service::new().await, silent().await);
    let (silent, answers) = (told_at(&address), told_at(&service.address));
    let asks = (0..200).map(|_| from(&taro, "203.0.113.1", &silent));
    let flood = futures_util::future::join_all(asks);
    let other = async {
        let mut filled = held.clone();
        filled.wait_for(|held| held.len() >= 32).await.unwrap();
        let asking = from(&taro, "203.0.113.2", &answers);
        let passing = async {
            // Until it is there with them; then those that are silent are given up, twice at most.
            while in_flight(&server) < 201 {
                tokio::task::yield_now().await;
            }
            for round in 2..=3 {
                net.advance(Duration::from_secs(11));
                filled.wait_for(|held| held.len() >= round * 32).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            status = asking => status,
            () = passing => unreachable!("time passes for ever"),
        }
    };
    tokio::select! {
        _ = flood => panic!("all that wait have had their turn"),
        status = tokio::time::timeout(PATIENCE, other) => assert_eq!(status.unwrap(), StatusCode::OK),
    }
    assert_eq!(service.count(), 1);
    assert!(held.borrow().len() <= 3 * 32, "{}", held.borrow().len());
}

#[tokio::test]
async fn when_too_many_wait_the_next_is_told_to_come_again_and_what_is_too_large_is_not_read() {
    let (_net, server) = net().await;
    let taro = server.user("taro").await;
    let (address, held) = silent().await;
    let silent = told_at(&address);
    let mut asks: futures_util::stream::FuturesUnordered<_> =
        (0..600).map(|_| from(&taro, "203.0.113.1", &silent)).collect();
    let mut refused = 0;
    while refused < 600 - 32 - 512 {
        let next = tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut asks)).await;
        assert_eq!(next.unwrap(), Some(StatusCode::TOO_MANY_REQUESTS));
        refused += 1;
    }
    assert_eq!(held.borrow().len(), 32);
    let mut large = told_at(&address);
    large["notification"]["content"] = json!({ "body": "x".repeat(128 * 1024) });
    assert_eq!(from(&taro, "203.0.113.9", &large).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_gateway_elsewhere_is_told_itself_though_we_serve_its_app_too() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let (elsewhere, service) = (Service::new().await, Service::new().await);
    let mut set_elsewhere = browser(&service);
    set_elsewhere["data"]["url"] = json!(format!("http://{}/_matrix/push/v1/notify", elsewhere.address));
    set(&taro, &set_elsewhere).await;

    hanako.send(&room, "一").await;

    let posted = elsewhere.posted(1).await.pop().unwrap();
    assert!(posted.head.starts_with("POST /_matrix/push/v1/notify HTTP/1.1"), "{}", posted.head);
    assert_eq!(service.count(), 0);
}

#[tokio::test]
async fn other_homeservers_are_served_for_our_apps_alone_and_nothing_of_our_own_network_is_reached() {
    let (_net, server) = net().await;
    let taro = server.user("taro").await;
    let (service, inside) = (Service::new().await, Service::at("127.0.9.1").await);
    let path = "/_matrix/push/v1/notify";
    let (status, body) = taro.ask(Method::GET, path, None).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["unifiedpush"]), (StatusCode::OK, &json!({ "gateway": "matrix" })));
    assert_eq!(body["webpush"]["application_server_key"].as_str().unwrap().len(), 87);

    let tell = async |app: &str, service: &Service| {
        let mut device = browser(service);
        device["app_id"] = json!(app);
        let told =
            json!({ "notification": { "event_id": "$e", "room_id": "!r:a.test", "devices": [device] } });
        let (status, body) = taro.ask(Method::POST, path, Some(&told)).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    assert_eq!(tell(WEB, &service).await, (StatusCode::OK, json!({ "rejected": [] })));
    service.posted(1).await;
    assert_eq!(tell("com.example", &service).await, (StatusCode::OK, json!({ "rejected": [KEY] })));
    let (status, body) = tell(WEB, &inside).await;
    assert_eq!((status, &body["errcode"]), (StatusCode::BAD_GATEWAY, &json!("M_UNKNOWN")));
    assert!(body["retry_after_ms"].as_u64().is_some());
    assert_eq!((service.count(), inside.count()), (1, 0));
}

#[tokio::test]
async fn a_gateway_that_takes_us_for_a_push_service_is_refused_and_so_is_what_hides_texts_in_texts() {
    let (_net, server) = net().await;
    let taro = server.user("taro").await;
    let service = Service::new().await;
    let path = "/_matrix/push/v1/notify";
    let device = json!({ "app_id": PHONE, "pushkey": format!("http://{}/up", service.address) });
    let told = json!({ "notification": { "event_id": "$e", "room_id": "!r:a.test", "devices": [device] } });
    let plain = [("content-type", "application/json")];
    let ask = async |headers: &[(&str, &str)], body: String| {
        taro.ask_bytes(Method::POST, path, headers, body.into()).await.status()
    };
    assert_eq!(ask(&plain, told.to_string()).await, StatusCode::OK);
    let posted = service.posted(1).await.pop().unwrap();
    assert!(posted.has("yakuba-push-gateway: 1"), "{}", posted.head);

    // So one that was told to post to us has that on it.
    let marked = [plain[0], ("yakuba-push-gateway", "1")];
    assert_eq!(ask(&marked, told.to_string()).await, StatusCode::BAD_REQUEST);
    let mut hidden = told;
    hidden["notification"]["content"] = json!({ "$serde_json::private::RawValue": "{}" });
    assert_eq!(ask(&plain, hidden.to_string()).await, StatusCode::BAD_REQUEST);
    assert_eq!(service.count(), 1);
}
