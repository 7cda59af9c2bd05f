//! What push services are posted, and what becomes of their answers.

mod browser;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Clock, ManualClock, Metrics};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::browser::Browser;
use crate::{Answer, App, Gateway, Kind, Outcome, Parts, Post, Services, Settings, Unreached, VapidKey};

const APP: &str = "jp.example.web";
const PHONE: &str = "jp.example.phone";

/// Push services that answer as they are told, and otherwise take everything.
#[derive(Default)]
struct Recorded {
    hangs: bool,
    posts: Mutex<Vec<Post>>,
    answers: Mutex<VecDeque<Result<Answer, Unreached>>>,
}

#[async_trait]
impl Services for Recorded {
    async fn post(&self, post: Post, _: Duration) -> Result<Answer, Unreached> {
        self.posts.lock().push(post);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.answers.lock().pop_front().unwrap_or(Ok(Answer { status: 201, retry_after: None }))
    }
}

struct Town {
    gateway: Gateway,
    services: Arc<Recorded>,
    clock: ManualClock,
    _directory: tempfile::TempDir,
}

impl Town {
    fn new() -> Self {
        Self::with(Recorded::default())
    }

    fn with(services: Recorded) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let services = Arc::new(services);
        let (clock, hand) = Clock::manual(1_800_000_000_000);
        let app = |id: &str, kind, hosts: &[&str]| App {
            id: id.to_owned(),
            kind,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        let gateway = Gateway::new(Parts {
            settings: Settings {
                apps: vec![app(APP, Kind::WebPush, &["push.example"]), app(PHONE, Kind::UnifiedPush, &[])],
                subject: "mailto:push@kanazawa.test".to_owned(),
                kept: Duration::from_secs(86_400),
            },
            key: VapidKey::open(&directory.path().join("push.pem")).unwrap(),
            services: services.clone(),
            clock,
            metrics: &Metrics::new(),
        });
        Self { gateway, services, clock: hand, _directory: directory }
    }

    async fn tell(&self, notification: Value) -> Outcome {
        self.gateway.notify(json!({ "notification": notification }).to_string().as_bytes()).await
    }

    fn will_answer(&self, status: u16, retry_after: Option<u64>) {
        let answer = Answer { status, retry_after: retry_after.map(Duration::from_secs) };
        self.services.answers.lock().push_back(Ok(answer));
    }

    fn posts(&self) -> Vec<Post> {
        std::mem::take(&mut *self.services.posts.lock())
    }
}

fn taken(rejected: &[&str]) -> Outcome {
    Outcome::Taken { rejected: rejected.iter().map(|key| (*key).to_owned()).collect() }
}

fn message(device: Value, body: &str) -> Value {
    json!({
        "event_id": "$e", "room_id": "!r:kanazawa.test", "type": "m.room.message", "prio": "high",
        "sender": "@hanako:kanazawa.test", "sender_display_name": "花子", "room_name": "防災課",
        "content": { "msgtype": "m.text", "body": body }, "counts": { "unread": 2 },
        "devices": [device],
    })
}

fn header<'a>(post: &'a Post, name: &str) -> &'a str {
    post.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

#[tokio::test]
async fn a_browser_is_told_what_only_it_can_read_by_whom_it_knows() {
    let (town, browser) = (Town::new(), Browser::new());
    let device = browser.device(&json!({ "default_payload": { "icon": "a.png" } }));

    assert_eq!(town.tell(message(device, "届いていますか")).await, taken(&[]));

    let post = town.posts().pop().unwrap();
    assert_eq!(post.url, "https://push.example/wpush/1");
    assert_eq!((header(&post, "content-encoding"), header(&post, "ttl")), ("aes128gcm", "86400"));
    assert_eq!((header(&post, "urgency"), header(&post, "topic")), ("high", ""));
    let claims = browser::claims(header(&post, "authorization"), town.gateway.public_key());
    assert_eq!(claims["aud"], "https://push.example");
    assert_eq!(claims["sub"], "mailto:push@kanazawa.test");
    let told: Value = serde_json::from_slice(&browser.open(&post.body)).unwrap();
    assert_eq!(
        told,
        json!({ "icon": "a.png", "event_id": "$e", "room_id": "!r:kanazawa.test", "type": "m.room.message",
            "sender": "@hanako:kanazawa.test", "sender_display_name": "花子", "room_name": "防災課", "unread": 2,
            "content": { "msgtype": "m.text", "body": "届いていますか" } })
    );
}

#[tokio::test]
async fn a_token_outlives_no_day_of_the_process() {
    let (town, browser) = (Town::new(), Browser::new());
    let mut tokens = std::collections::BTreeSet::new();
    for hour in 0..50_u64 {
        town.tell(message(browser.device(&json!({})), "一")).await;
        let post = town.posts().pop().unwrap();
        let claims = browser::claims(header(&post, "authorization"), town.gateway.public_key());
        let (ends, now) = (claims["exp"].as_u64().unwrap(), 1_800_000_000 + hour * 3_600);
        assert!(ends > now && ends <= now + 24 * 3_600, "{hour}");
        tokens.insert(header(&post, "authorization").to_owned());
        town.clock.advance(Duration::from_secs(3_600));
    }
    assert!(tokens.len() < 10, "{}", tokens.len());
}

#[tokio::test]
async fn what_is_too_long_is_told_by_ids_and_never_rejected() {
    let (town, browser) = (Town::new(), Browser::new());
    let long = "あ".repeat(2_000);
    let ids = json!({ "event_id": "$e", "room_id": "!r:kanazawa.test", "unread": 2 });

    assert_eq!(town.tell(message(browser.device(&json!({})), &long)).await, taken(&[]));
    let post = town.posts().pop().unwrap();
    assert!(post.body.len() <= 4_096);
    assert_eq!(serde_json::from_slice::<Value>(&browser.open(&post.body)).unwrap(), ids);

    // As much as there may be.
    let empty =
        serde_json::to_vec(&json!({ "content": { "body": "", "msgtype": "m.text" }, "event_id": "$e",
        "room_id": "!r:kanazawa.test", "room_name": "防災課", "sender": "@hanako:kanazawa.test",
        "sender_display_name": "花子", "type": "m.room.message", "unread": 2 }))
        .unwrap();
    for (more, length) in [(0, 4_096), (1, 0)] {
        let body = "a".repeat(3_993 - empty.len() + more);
        town.tell(message(browser.device(&json!({})), &body)).await;
        let post = town.posts().pop().unwrap();
        let told: Value = serde_json::from_slice(&browser.open(&post.body)).unwrap();
        match more {
            0 => assert_eq!((post.body.len(), &told["content"]["body"]), (length, &json!(body))),
            _ => assert_eq!(told, ids),
        }
    }

    // A service that takes less.
    town.will_answer(413, None);
    assert_eq!(town.tell(message(browser.device(&json!({})), "短い")).await, taken(&[]));
    let posts = town.posts();
    assert_eq!(posts.len(), 2);
    assert_eq!(serde_json::from_slice::<Value>(&browser.open(&posts[1].body)).unwrap(), ids);
    town.will_answer(413, None);
    town.will_answer(413, None);
    assert!(matches!(town.tell(message(browser.device(&json!({})), "短い")).await, Outcome::Refused(_)));
}

#[tokio::test]
async fn a_subscription_that_is_gone_is_rejected_and_nothing_else_is() {
    let (town, browser) = (Town::new(), Browser::new());
    let tell = async || town.tell(message(browser.device(&json!({})), "一")).await;
    for status in [404, 410] {
        town.will_answer(status, None);
        assert_eq!(tell().await, taken(&[&browser.key()]));
    }
    town.will_answer(400, None);
    assert!(matches!(tell().await, Outcome::Refused(_)));
    for (status, wait) in [(429, Some(120)), (503, None), (500, None), (401, None), (403, None)] {
        town.will_answer(status, wait);
        assert_eq!(tell().await, Outcome::NotNow(wait.map(Duration::from_secs)));
    }
    town.services.answers.lock().push_back(Err(Unreached("x".to_owned())));
    assert_eq!(tell().await, Outcome::NotNow(None));
    // Where it cannot be delivered to, or nothing can be encrypted.
    let mut elsewhere = browser.device(&json!({}));
    elsewhere["data"]["endpoint"] = json!("https://other.example/x");
    let mut without = browser.device(&json!({}));
    without["data"]["auth"] = json!("x");
    let mut unknown = browser.device(&json!({}));
    unknown["app_id"] = json!("jp.example.other");
    town.posts();
    for device in [elsewhere, without, unknown] {
        assert_eq!(town.tell(message(device, "一")).await, taken(&[&browser.key()]));
    }
    assert!(town.posts().is_empty());
}

#[tokio::test]
async fn a_browser_that_wants_events_alone_is_not_told_numbers_and_one_room_is_one_topic() {
    let (town, browser) = (Town::new(), Browser::new());
    let device = browser.device(&json!({ "events_only": true, "only_last_per_room": true }));
    let number = json!({ "counts": { "unread": 0 }, "devices": [device] });
    assert_eq!(town.tell(number).await, taken(&[]));
    assert!(town.posts().is_empty());

    for body in ["一", "二"] {
        town.tell(message(device.clone(), body)).await;
    }
    let posts = town.posts();
    let topic = header(&posts[0], "topic");
    assert!(
        topic.len() == 32 && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    assert_eq!(topic, header(&posts[1], "topic"));
    assert_ne!(posts[0].body, posts[1].body);
}

#[tokio::test]
async fn a_phone_is_told_the_request_as_it_is_at_its_own_address() {
    let town = Town::new();
    let device = json!({ "app_id": PHONE, "pushkey": "https://ntfy.example/upX?up=1", "data": {} });

    assert_eq!(town.tell(message(device.clone(), "一")).await, taken(&[]));
    let post = town.posts().pop().unwrap();
    assert_eq!(post.url, "https://ntfy.example/upX?up=1");
    let told: Value = serde_json::from_slice(&post.body).unwrap();
    assert_eq!(told["notification"], message(device.clone(), "一"));

    town.tell(message(device.clone(), &"あ".repeat(2_000))).await;
    let post = town.posts().pop().unwrap();
    let told: Value = serde_json::from_slice(&post.body).unwrap();
    assert!(post.body.len() < 4_096);
    assert_eq!(told["notification"]["event_id"], "$e");
    assert_eq!(told["notification"]["counts"]["unread"], 2);
    assert_eq!(told["notification"]["devices"][0]["pushkey"], device["pushkey"]);

    town.will_answer(404, None);
    assert_eq!(town.tell(message(device, "一")).await, taken(&["https://ntfy.example/upX?up=1"]));
    for address in ["ntfy", "ftp://a/b", "https://user@a/b", ""] {
        let device = json!({ "app_id": PHONE, "pushkey": address });
        assert_eq!(town.tell(message(device, "一")).await, taken(&[address]), "{address}");
    }
}

#[tokio::test]
async fn what_is_no_notification_is_refused_and_odd_fields_cost_themselves_alone() {
    let (town, browser) = (Town::new(), Browser::new());
    for body in ["", "[]", "{}", r#"{"notification":{}}"#, r#"{"notification":{"devices":[]}}"#] {
        assert!(matches!(town.gateway.notify(body.as_bytes()).await, Outcome::Refused(_)), "{body}");
    }
    let odd = json!({ "event_id": 7, "counts": [], "prio": {}, "room_id": "!r:kanazawa.test",
        "devices": [browser.device(&json!({ "events_only": "x", "default_payload": 1 }))] });
    assert_eq!(town.tell(odd).await, taken(&[]));
    assert_eq!(town.posts().len(), 1);
}

#[tokio::test]
async fn services_that_hang_hold_a_request_no_longer_than_a_homeserver_waits() {
    let (town, browser) = (Town::with(Recorded { hangs: true, ..Recorded::default() }), Browser::new());
    let mut told = message(browser.device(&json!({})), "一");
    told["devices"] = (0..50).map(|_| browser.device(&json!({}))).collect();
    let passing = async {
        loop {
            town.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };

    let outcome = tokio::select! {
        outcome = town.tell(told) => outcome,
        () = passing => unreachable!("time passes for ever"),
    };

    assert_eq!(outcome, Outcome::NotNow(None));
    assert_eq!(town.posts().len(), 2);
}
