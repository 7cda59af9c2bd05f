//! What push gateways are told, over HTTP.

#![expect(clippy::unwrap_used, reason = "tests")]

mod devices;
mod outages;

use std::{sync::Arc, time::Duration};

use http::Method;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, RoomId};
use serde_json::{Value, json};
use testkit::{Net, Preset, Server, User, Wire};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for what time had to pass for.
const MOMENT: Duration = Duration::from_millis(500);

const HOUR: Duration = Duration::from_secs(3_600);

/// What a proxy in front of a gateway that fails says.
const PAGE: &str = "<html><title>Forbidden by the proxy</title></html>";

/// How a gateway answers.
#[derive(Clone, Debug)]
enum Conduct {
    Takes,
    Rejects(&'static str),
    /// Once it is told to.
    RejectsAfter(&'static str, watch::Receiver<bool>),
    Fails(u16),
    /// With these headers.
    FailsWith(u16, &'static str),
    /// Takes it, and says this.
    Says(&'static [u8]),
    /// For this key alone.
    FailsFor(&'static str),
    Redirects(String),
    Hangs,
}

/// What it was told.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// With a 200.
    taken: Vec<Value>,
    /// All requests.
    requests: usize,
    connections: usize,
}

/// A push gateway that records what it is told.
struct Gateway {
    address: String,
    conduct: Arc<Mutex<Conduct>>,
    heard: watch::Receiver<Heard>,
}

impl Gateway {
    async fn at(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, heard) = watch::channel(Heard::default());
        let conduct = Arc::new(Mutex::new(Conduct::Takes));
        let (shown, sender) = (conduct.clone(), Arc::new(sender));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(hear(socket, shown.clone(), sender.clone()));
            }
        });
        Self { address, conduct, heard }
    }

    async fn new() -> Self {
        Self::at("127.1.0.1").await
    }

    fn url(&self) -> String {
        format!("http://{}/_matrix/push/v1/notify", self.address)
    }

    fn will(&self, conduct: Conduct) {
        *self.conduct.lock() = conduct;
    }

    fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    async fn until(&self, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.clone();
        let found = tokio::time::timeout(PATIENCE, heard.wait_for(|heard| wanted(heard))).await;
        found.unwrap_or_else(|_| panic!("only {:#?}", self.heard())).unwrap().clone()
    }

    /// As [`Gateway::until`], while time passes: a wait may begin a moment after it is heard what failed.
    async fn later(&self, net: &Net, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.clone();
        for _ in 0..1_000 {
            net.advance(HOUR / 6);
            let found = tokio::time::timeout(MOMENT, heard.wait_for(|heard| wanted(heard))).await;
            if let Ok(found) = found {
                return found.unwrap().clone();
            }
        }
        panic!("only {:#?}", self.heard());
    }

    /// What it was told in the end, when it was told so often.
    async fn taken(&self, count: usize) -> Vec<Value> {
        self.until(|heard| heard.taken.len() >= count).await.taken
    }
}

/// Serves a connection: as many requests as come over it.
async fn hear(mut socket: TcpStream, conduct: Arc<Mutex<Conduct>>, heard: Arc<watch::Sender<Heard>>) {
    heard.send_modify(|heard| heard.connections += 1);
    let mut bytes = Vec::new();
    while let Some(body) = request(&mut socket, &mut bytes).await {
        let conduct = conduct.lock().clone();
        let is_taken = match conduct {
            Conduct::Takes | Conduct::Says(_) | Conduct::Rejects(_) | Conduct::RejectsAfter(..) => true,
            Conduct::FailsFor(key) => !body.contains(key),
            Conduct::Fails(_) | Conduct::FailsWith(..) | Conduct::Redirects(_) | Conduct::Hangs => false,
        };
        heard.send_modify(|heard| {
            heard.requests += 1;
            if is_taken {
                heard.taken.push(serde_json::from_str::<Value>(&body).unwrap()["notification"].take());
            }
        });
        let (status, more, body) = match conduct {
            Conduct::Takes => (200, String::new(), "{}".to_owned()),
            Conduct::Rejects(key) => (200, String::new(), json!({ "rejected": [key] }).to_string()),
            Conduct::RejectsAfter(key, mut may) => {
                let _ended = may.wait_for(|may| *may).await;
                (200, String::new(), json!({ "rejected": [key] }).to_string())
            }
            Conduct::Fails(status) => (status, String::new(), PAGE.to_owned()),
            Conduct::FailsWith(status, headers) => (status, headers.to_owned(), PAGE.to_owned()),
            Conduct::Says(body) => {
                let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", body.len());
                if socket.write_all(&[head.as_bytes(), body].concat()).await.is_err() {
                    return;
                }
                continue;
            }
            Conduct::FailsFor(_) if !is_taken => (502, String::new(), String::new()),
            Conduct::FailsFor(_) => (200, String::new(), "{}".to_owned()),
            Conduct::Redirects(to) => (302, format!("Location: {to}\r\n"), String::new()),
            Conduct::Hangs => std::future::pending().await,
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: {length}\r\n\r\n{body}");
        // Whoever has given up finds it closed.
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The body of the next request.
async fn request(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            assert!(head.starts_with("POST /_matrix/push/v1/notify HTTP/1.1\r\n"), "{head}");
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.unwrap();
            if bytes.len() >= end + 4 + length {
                let rest = bytes.split_off(end + 4 + length);
                let body = String::from_utf8(std::mem::replace(bytes, rest).split_off(end + 4)).unwrap();
                return Some(body);
            }
        }
        let mut part = [0; 4_096];
        match socket.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
        }
    }
}

async fn net() -> (Net, Server) {
    let net = Net::with(Wire::Tls, 7);
    let server = net.server("kanazawa.test").await;
    (net, server)
}

fn pusher(key: &str, url: &str) -> Value {
    json!({ "app_id": "jp.example.app", "pushkey": key, "kind": "http", "app_display_name": "App",
        "device_display_name": "Phone", "lang": "ja", "data": { "url": url, "brand": "b" } })
}

async fn set(user: &User, pusher: &Value) {
    user.call(Method::POST, "/pushers/set", Some(pusher)).await;
}

async fn keys(user: &User) -> Vec<String> {
    let answer = user.call(Method::GET, "/pushers", None).await;
    let pushers = answer["pushers"].as_array().unwrap();
    pushers.iter().map(|pusher| pusher["pushkey"].as_str().unwrap().to_owned()).collect()
}

async fn room_of(owner: &User, members: &[&User]) -> OwnedRoomId {
    let room = owner.create_room(Preset::PrivateChat).await;
    for member in members {
        owner.invite(&room, member.id()).await;
        member.join(&room, "kanazawa.test").await;
    }
    room
}

/// Hanako, who has said what must not be told; Taro with one room and a pusher, who has taken part.
async fn two(server: &Server) -> (User, User, OwnedRoomId) {
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = room_of(&hanako, &[&taro]).await;
    (hanako, taro, room)
}

async fn read(user: &User, room: &RoomId, event: &str) {
    user.call(Method::POST, &format!("/rooms/{room}/receipt/m.read/{event}"), Some(&json!({}))).await;
}

#[tokio::test]
async fn a_message_is_told_with_what_the_specification_says_of_it() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    hanako.set_state(&room, "m.room.name", "", &json!({ "name": "防災課" })).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;

    let event = hanako.send(&room, "届いていますか").await;

    let told = gateway.taken(1).await.pop().unwrap();
    assert_eq!(told["event_id"], event.as_str());
    assert_eq!(told["room_id"], room.as_str());
    assert_eq!(told["type"], "m.room.message");
    assert_eq!(told["sender"], hanako.id().as_str());
    assert_eq!(told["room_name"], "防災課");
    assert_eq!(told["content"]["body"], "届いていますか");
    assert_eq!(told["counts"], json!({ "unread": 1 }));
    // A room of two makes a sound.
    assert_eq!(told["prio"], "high");
    let since = net.now().millis() / 1_000;
    let device = &told["devices"][0];
    assert!(device["pushkey_ts"].as_u64().is_some_and(|ts| ts <= since && ts + 600 > since), "{device}");
    assert_eq!((device["app_id"].as_str(), device["pushkey"].as_str()), (Some("jp.example.app"), Some("k1")));
    assert_eq!(device["data"], json!({ "brand": "b" }));
    assert_eq!(device["tweaks"]["sound"], "default");
}

#[tokio::test]
async fn a_rejected_key_goes_and_the_others_of_its_user_stay() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let (gone, other) = (Gateway::new().await, Gateway::new().await);
    gone.will(Conduct::Rejects("k1"));
    set(&taro, &pusher("k1", &gone.url())).await;
    set(&taro, &pusher("k2", &other.url())).await;

    hanako.send(&room, "一").await;

    gone.taken(1).await;
    other.taken(1).await;
    hanako.send(&room, "二").await;
    other.taken(2).await;
    let mut left = keys(&taro).await;
    while left.len() > 1 {
        tokio::task::yield_now().await;
        left = keys(&taro).await;
    }
    assert_eq!(left, ["k2"]);
    hanako.send(&room, "三").await;
    other.taken(3).await;
    assert!(gone.heard().requests <= 2, "{:?}", gone.heard());
}

#[tokio::test]
async fn a_pusher_that_is_refused_for_a_week_goes_and_no_sooner() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let refused_for = async |days: u32, often: u32| {
        for number in 1..=often {
            let before = gateway.heard().requests;
            net.advance(24 * HOUR * days / often);
            gateway.later(&net, |heard| heard.requests > before).await;
            assert_eq!(keys(&taro).await, ["k1"], "after {number} of {often} in {days} days");
        }
    };
    gateway.will(Conduct::Fails(410));
    hanako.send(&room, "一").await;
    // Often, but not for long; then for long, but not often.
    refused_for(1, 25).await;
    gateway.will(Conduct::Takes);
    gateway.later(&net, |heard| heard.taken.len() == 1).await;
    gateway.will(Conduct::Fails(410));
    hanako.send(&room, "二").await;
    refused_for(12, 12).await;
    for status in [408, 429, 503] {
        gateway.will(Conduct::Fails(status));
        refused_for(4, 4).await;
    }
    gateway.will(Conduct::Fails(410));

    while !keys(&taro).await.is_empty() {
        net.advance(HOUR);
        tokio::time::sleep(MOMENT).await;
    }
}

#[tokio::test]
async fn a_gateway_that_fails_for_an_hour_is_told_the_newest_state_once_and_loses_nothing() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    gateway.will(Conduct::Fails(503));
    set(&taro, &pusher("k1", &gateway.url())).await;

    let mut last = hanako.send(&room, "0").await;
    for number in 1..400 {
        last = hanako.send(&room, &number.to_string()).await;
    }
    for _ in 0..6 {
        let before = gateway.heard().requests;
        gateway.later(&net, |heard| heard.requests > before).await;
    }
    assert!(gateway.heard().requests < 60, "{}", gateway.heard().requests);
    gateway.will(Conduct::Takes);

    let told = gateway.later(&net, |heard| !heard.taken.is_empty()).await.taken.pop().unwrap();
    assert_eq!((told["event_id"].as_str(), &told["counts"]["unread"]), (Some(last.as_str()), &json!(400)));
    hanako.send(&room, "後").await;
    let told = gateway.taken(2).await;
    assert_eq!((told.len(), &told[1]["counts"]["unread"]), (2, &json!(401)));
}

#[tokio::test]
async fn a_gateway_that_hangs_keeps_nobody_else_waiting_and_is_asked_again() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let (hangs, other) = (Gateway::new().await, Gateway::new().await);
    hangs.will(Conduct::Hangs);
    set(&taro, &pusher("k1", &hangs.url())).await;
    set(&taro, &pusher("k2", &other.url())).await;

    hanako.send(&room, "一").await;
    hangs.until(|heard| heard.requests == 1).await;
    for number in 2..=3 {
        hanako.send(&room, "次").await;
        other.taken(number).await;
    }

    hangs.will(Conduct::Takes);
    // Past the deadline, and the wait after it.
    let heard = hangs.later(&net, |heard| !heard.taken.is_empty()).await;
    assert_eq!(heard.taken[0]["counts"]["unread"], 3);
}

#[tokio::test]
async fn what_fails_for_one_user_keeps_no_other_of_the_gateway_waiting() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let mallory = server.user("mallory").await;
    room_of(&mallory, &[]).await;
    hanako.invite(&room, mallory.id()).await;
    mallory.join(&room, "kanazawa.test").await;
    let gateway = Gateway::new().await;
    gateway.will(Conduct::FailsFor("evil"));
    set(&taro, &pusher("k1", &gateway.url())).await;
    // Two that the gateway fails for, and one that has it asked as it does not speak.
    for key in ["evil1", "evil2"] {
        set(&mallory, &pusher(key, &gateway.url())).await;
    }
    set(&mallory, &pusher("k2", &gateway.url().replace("http:", "https:"))).await;

    // No time passes, so whoever waits for his turn after a failure of theirs is told nothing.
    for number in 1..=20 {
        hanako.send(&room, &number.to_string()).await;
        let taken = gateway.taken(number).await;
        assert_eq!(taken[number - 1]["counts"]["unread"], number);
    }
    // Theirs are tried again in their own time.
    let before = gateway.heard().requests;
    gateway.will(Conduct::Takes);
    let heard = gateway.later(&net, |heard| heard.taken.len() >= 22).await;
    assert!(heard.requests > before);
}

#[tokio::test]
async fn of_a_gateway_that_is_gone_one_pusher_at_a_time_is_tried_and_then_all_are_told() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    gateway.will(Conduct::Fails(502));
    set(&taro, &pusher("k0", &gateway.url())).await;
    for number in 1..40 {
        let user = server.user(&format!("user{number}")).await;
        hanako.invite(&room, user.id()).await;
        user.join(&room, "kanazawa.test").await;
        set(&user, &pusher(&format!("k{number}"), &gateway.url())).await;
    }
    hanako.send(&room, "一").await;
    // Those that were begun before three had failed.
    gateway.until(|heard| heard.requests >= 3).await;
    for _ in 0..5 {
        let before = gateway.heard().requests;
        let after = gateway.later(&net, |heard| heard.requests > before).await.requests;
        assert!(after - before <= 16, "{before} and {after}");
    }
    assert!(gateway.heard().requests < 40, "{}", gateway.heard().requests);
    gateway.will(Conduct::Takes);
    let heard = gateway.later(&net, |heard| heard.taken.len() >= 40).await;
    assert_eq!(heard.taken.len(), 40);
}

#[tokio::test]
async fn the_number_is_corrected_when_a_room_is_muted_or_a_sender_ignored() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let ignored = format!("/user/{}/account_data/m.ignored_user_list", taro.id());
    let mute = format!("/pushrules/global/room/{room}");
    let ignore = json!({ "ignored_users": { (hanako.id().as_str()): {} } });
    let mut count = 0;
    for (path, body) in [(&mute, json!({ "actions": [] })), (&ignored, ignore)] {
        hanako.send(&room, "一").await;
        count += 1;
        assert!(gateway.taken(count).await[count - 1]["counts"]["unread"].as_u64() > Some(0));

        taro.call(Method::PUT, path, Some(&body)).await;

        count += 1;
        assert_eq!(gateway.taken(count).await[count - 1]["counts"], json!({ "unread": 0 }), "{path}");
        if *path == mute {
            taro.call(Method::DELETE, path, None).await;
        }
    }
}

#[tokio::test]
async fn a_locked_account_is_told_nothing() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let jiro = server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    let (locked, other) = (Gateway::new().await, Gateway::new().await);
    set(&taro, &pusher("k1", &locked.url())).await;
    set(&jiro, &pusher("k2", &other.url())).await;
    hanako.send(&room, "一").await;
    locked.taken(1).await;
    other.taken(1).await;

    let accounts = server.look(|house| house.accounts.clone());
    let by = audit::Actor::operator("test");
    accounts.set_locked(taro.id(), true, &by).await.unwrap();
    hanako.send(&room, "二").await;
    other.taken(2).await;
    accounts.set_locked(taro.id(), false, &by).await.unwrap();
    let last = hanako.send(&room, "三").await;
    let told = locked.taken(2).await;
    assert_eq!((told.len(), &told[1]["event_id"]), (2, &json!(last)));
    assert_eq!(told[1]["counts"]["unread"], 3);
}

#[tokio::test]
async fn a_pusher_that_was_set_anew_outlives_the_old_gateways_refusal() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let (old, new) = (Gateway::new().await, Gateway::new().await);
    let (answers, waits) = watch::channel(false);
    old.will(Conduct::RejectsAfter("k1", waits));
    set(&taro, &pusher("k1", &old.url())).await;
    let event = hanako.send(&room, "一").await;
    old.until(|heard| heard.requests == 1).await;

    set(&taro, &pusher("k1", &new.url())).await;
    answers.send(true).unwrap();

    assert_eq!(new.taken(1).await[0]["event_id"], event.as_str());
    assert_eq!(keys(&taro).await, ["k1"]);
}

#[tokio::test]
async fn what_was_read_before_it_leaves_is_not_told_and_the_number_is_corrected() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let second = room_of(&hanako, &[&taro]).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let event = hanako.send(&room, "一").await;
    gateway.taken(1).await;

    read(&taro, &room, event.as_str()).await;
    let told = gateway.taken(2).await;
    assert_eq!(told[1]["counts"], json!({ "unread": 0 }));
    assert!(told[1].get("event_id").is_none() && told[1].get("room_id").is_none(), "{}", told[1]);

    // Of another room what comes next is no reason to leave it out: it is that it was read.
    gateway.will(Conduct::Fails(503));
    let event = hanako.send(&room, "二").await;
    gateway.until(|heard| heard.requests == 3).await;
    read(&taro, &room, event.as_str()).await;
    let other = hanako.send(&second, "三").await;
    gateway.will(Conduct::Takes);
    let told = gateway.later(&net, |heard| heard.taken.len() >= 3).await.taken;
    assert_eq!(
        (told[2]["event_id"].as_str(), &told[2]["counts"]["unread"]),
        (Some(other.as_str()), &json!(1))
    );
    read(&taro, &second, other.as_str()).await;
    let told = gateway.later(&net, |heard| heard.taken.len() >= 4).await.taken;
    assert_eq!((told[3].get("event_id"), &told[3]["counts"]["unread"]), (None, &json!(0)));
    assert_eq!(told.len(), 4);
}

#[tokio::test]
async fn a_room_that_was_left_or_closed_to_its_user_counts_no_more() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let second = room_of(&hanako, &[&taro]).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    hanako.send(&room, "一").await;
    assert_eq!(gateway.taken(1).await[0]["counts"]["unread"], 1);
    hanako.send(&second, "二").await;
    assert_eq!(gateway.taken(2).await[1]["counts"]["unread"], 2);

    taro.leave(&room).await;
    assert_eq!(gateway.taken(3).await[2]["counts"]["unread"], 1);
    hanako.ban(&second, taro.id()).await;
    assert_eq!(gateway.taken(4).await[3]["counts"]["unread"], 0);
}

#[tokio::test]
async fn ids_alone_are_told_where_no_more_is_wished() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    let mut pusher = pusher("k1", &gateway.url());
    pusher["data"]["format"] = json!("event_id_only");
    set(&taro, &pusher).await;

    let event = hanako.send(&room, "ひみつ").await;

    let told = gateway.taken(1).await.pop().unwrap();
    let names: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    let mut names = names;
    names.sort_unstable();
    assert_eq!(names, ["counts", "devices", "event_id", "prio", "room_id"]);
    assert_eq!(told["event_id"], event.as_str());
    assert!(told["devices"][0].get("tweaks").is_none(), "{told}");
}

#[tokio::test]
async fn a_gateway_in_our_own_network_is_not_told_unless_its_range_is_allowed() {
    let (net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    // The first is where no gateway may be, by address and by redirect.
    let (inside, allowed) = (Gateway::at("127.0.9.1").await, Gateway::new().await);
    let redirecting = Gateway::new().await;
    redirecting.will(Conduct::Redirects(inside.url()));
    set(&taro, &pusher("k1", &inside.url())).await;
    set(&taro, &pusher("k2", &redirecting.url())).await;
    set(&taro, &pusher("k3", &allowed.url())).await;

    hanako.send(&room, "一").await;

    allowed.taken(1).await;
    redirecting.until(|heard| heard.requests == 1).await;
    redirecting.later(&net, |heard| heard.requests >= 2).await;
    assert_eq!(inside.heard().requests, 0);
}

#[tokio::test]
async fn a_phone_that_changes_hands_tells_its_new_owner_only_unless_both_wish_it() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let jiro = server.user("jiro").await;
    hanako.invite(&room, jiro.id()).await;
    jiro.join(&room, "kanazawa.test").await;
    let gateway = Gateway::new().await;
    let mut shared = pusher("k1", &gateway.url());
    set(&taro, &shared).await;
    shared["append"] = json!(true);
    set(&jiro, &shared).await;
    assert_eq!((keys(&taro).await.len(), keys(&jiro).await.len()), (1, 1));
    hanako.send(&room, "一").await;
    gateway.taken(2).await;

    shared["append"] = json!(false);
    set(&jiro, &shared).await;
    assert_eq!((keys(&taro).await.len(), keys(&jiro).await.len()), (0, 1));
    hanako.send(&room, "二").await;
    gateway.taken(3).await;
    hanako.send(&room, "三").await;
    assert_eq!(gateway.taken(4).await.len(), 4);
}

#[tokio::test]
async fn an_encrypted_message_is_told_without_what_it_holds() {
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnAC", "session_id": "s",
        "m.mentions": { "user_ids": [taro.id()] } });

    let path = format!("/rooms/{room}/send/m.room.encrypted/e1");
    hanako.call(Method::PUT, &path, Some(&content)).await;

    let told = gateway.taken(1).await.pop().unwrap();
    assert_eq!((told["type"].as_str(), told["prio"].as_str()), (Some("m.room.encrypted"), Some("high")));
    assert!(told.get("content").is_none() && !told.to_string().contains("AwgAEnAC"), "{told}");
}

#[tokio::test]
async fn of_an_encrypted_room_of_many_each_message_is_told_by_its_rule_whoever_is_mentioned_within() {
    let (_net, server) = net().await;
    let (hanako, taro, _) = two(&server).await;
    let room = room_of(&hanako, &[&taro, &server.user("jiro").await]).await;
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    for (number, mentions) in [json!({ "user_ids": [taro.id()] }), json!({})].into_iter().enumerate() {
        let content = json!({ "ciphertext": "AwgAEnAC", "m.mentions": mentions });
        let path = format!("/rooms/{room}/send/m.room.encrypted/e{number}");
        let sent = hanako.call(Method::PUT, &path, Some(&content)).await;
        let told = gateway.taken(number + 1).await.pop().unwrap();
        assert_eq!((&told["type"], &told["event_id"]), (&json!("m.room.encrypted"), &sent["event_id"]));
        assert!(told.get("content").is_none() && !told.to_string().contains("AwgAEnAC"), "{told}");
    }
}

#[tokio::test]
async fn an_invitation_rings() {
    let (_net, server) = net().await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let room = hanako.create_room(Preset::PrivateChat).await;

    hanako.invite(&room, taro.id()).await;

    let told = gateway.taken(1).await.pop().unwrap();
    assert_eq!(
        (told["type"].as_str(), told["user_is_target"].as_bool()),
        (Some("m.room.member"), Some(true))
    );
}

#[tokio::test]
async fn an_invitation_to_a_room_elsewhere_rings() {
    let (net, server) = net().await;
    let wajima = net.server("wajima.test").await;
    let (hanako, taro) = (wajima.user("hanako").await, server.user("taro").await);
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let room = hanako.create_room(Preset::PrivateChat).await;

    hanako.invite(&room, taro.id()).await;

    let told = gateway.taken(1).await.pop().unwrap();
    assert_eq!(
        (told["room_id"].as_str(), told["sender"].as_str()),
        (Some(room.as_str()), Some(hanako.id().as_str()))
    );
    assert_eq!(
        (told["type"].as_str(), told["user_is_target"].as_bool()),
        (Some("m.room.member"), Some(true))
    );
    assert_eq!(told["content"]["membership"], "invite");
}

/// What the test itself knows of a room.
struct Known {
    id: OwnedRoomId,
    events: Vec<OwnedEventId>,
    /// So many of them are read, or from before he was there.
    read: usize,
    is_in: bool,
}

#[tokio::test]
async fn the_number_that_is_told_is_what_is_found_by_looking_at_everything() {
    const STEPS: usize = 120;
    let (_net, server) = net().await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let mut rooms = Vec::new();
    for _ in 0..4 {
        let id = hanako.create_room(Preset::PublicChat).await;
        taro.join(&id, "kanazawa.test").await;
        rooms.push(Known { id, events: Vec::new(), read: 0, is_in: true });
    }
    let gateway = Gateway::new().await;
    set(&taro, &pusher("k1", &gateway.url())).await;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let mut last = 0;
    for step in 0..STEPS {
        let room = &mut rooms[random(4)];
        match random(8) {
            0..4 => {
                room.events.push(hanako.send(&room.id, &step.to_string()).await);
            }
            4..6 if room.is_in && room.read < room.events.len() => {
                room.read += 1 + random(room.events.len() - room.read);
                read(&taro, &room.id, room.events[room.read - 1].as_str()).await;
            }
            6 if room.is_in => {
                room.is_in = false;
                taro.leave(&room.id).await;
            }
            7 if room.is_in => {
                // What he says himself has read what was before.
                taro.send(&room.id, "はい").await;
                room.read = room.events.len();
            }
            _ if !room.is_in => {
                room.is_in = true;
                room.read = room.events.len();
                taro.join(&room.id, "kanazawa.test").await;
            }
            _ => {}
        }
        let unread = |room: &Known| if room.is_in { room.events.len() - room.read } else { 0 };
        let count: usize = rooms.iter().map(unread).sum();
        if count != last {
            let is_told = |told: &Value| told["counts"]["unread"] == json!(count);
            gateway.until(|heard| heard.taken.last().is_some_and(is_told)).await;
            last = count;
        }
    }
    // A pusher has one request under way at a time.
    assert_eq!(gateway.heard().connections, 1);
}

#[tokio::test]
async fn gateways_that_hang_leave_room_for_those_that_answer() {
    /// Connections to gateways that have not answered.
    const MOST: usize = 128;
    const HANGING: usize = 12;
    const USERS: usize = 12;
    let (_net, server) = net().await;
    let (hanako, taro, room) = two(&server).await;
    let good = Gateway::new().await;
    set(&taro, &pusher("k", &good.url())).await;
    hanako.send(&room, "零").await;
    good.taken(1).await;
    // So many that they would take every connection, were there one lot of them.
    let mut hanging = Vec::new();
    for _ in 0..HANGING {
        let gateway = Gateway::new().await;
        gateway.will(Conduct::Hangs);
        hanging.push(gateway);
    }
    for number in 0..USERS {
        let user = server.user(&format!("user{number}")).await;
        hanako.invite(&room, user.id()).await;
        user.join(&room, "kanazawa.test").await;
        for (place, gateway) in hanging.iter().enumerate() {
            set(&user, &pusher(&format!("k{number}-{place}"), &gateway.url())).await;
        }
    }

    hanako.send(&room, "一").await;
    let open = || hanging.iter().map(|gateway| gateway.heard().connections).sum::<usize>();
    while open() < MOST {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    good.taken(2).await;
    for number in 3..=5 {
        hanako.send(&room, "次").await;
        good.taken(number).await;
    }

    // More would be, had one of them been given up.
    assert_eq!(open(), MOST);
    // The first one was made before it was known to answer, and may have made room.
    assert!(good.heard().connections <= 2, "{}", good.heard().connections);
}
