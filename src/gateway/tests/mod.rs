//! What push services are posted, and what becomes of their answers.

mod apple;
mod browser;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Clock, ManualClock, Metrics};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use self::browser::Browser;
use crate::{
    Answer, ApnsApp, ApnsKey, App, FcmAccount, Gateway, Kind, Outcome, PRODUCTION, Parts, Post, Protocol,
    Services, Settings, Unreached, VapidKey,
};

const APP: &str = "jp.example.web";
const PHONE: &str = "jp.example.phone";
const GOOGLE: &str = "jp.example.android";
const IPHONE: &str = "jp.example.ios.prod";
const IPAD: &str = "jp.example.ipad.prod";

/// A service account as Google's console gives it, with a key that was made for these tests.
const ACCOUNT: &[u8] = include_bytes!("account.json");

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
        self.answers.lock().pop_front().unwrap_or(Ok(answer(201, None, "")))
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
        let mut apps = vec![
            app(APP, Kind::WebPush, &["push.example"]),
            app(PHONE, Kind::UnifiedPush, &[]),
            app(GOOGLE, Kind::Fcm(Arc::new(FcmAccount::parse(ACCOUNT).unwrap())), &[]),
        ];
        apps.extend(apple::apps().map(|(id, kind)| app(id, kind, &[])));
        let gateway = Gateway::new(Parts {
            settings: Settings {
                apps,
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
        self.will_say(status, retry_after, "");
    }

    fn will_say(&self, status: u16, retry_after: Option<u64>, body: &'static str) {
        self.services.answers.lock().push_back(Ok(answer(status, retry_after, body)));
    }

    fn posts(&self) -> Vec<Post> {
        std::mem::take(&mut *self.services.posts.lock())
    }
}

fn answer(status: u16, retry_after: Option<u64>, body: &'static str) -> Answer {
    Answer { status, retry_after: retry_after.map(Duration::from_secs), body: body.into() }
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
async fn a_phone_is_told_nothing_of_other_phones() {
    let town = Town::new();
    let device = |host: &str| json!({ "app_id": PHONE, "pushkey": format!("https://{host}/up"), "data": {} });
    let mut told = message(device("one.example"), "一");
    told["devices"] = json!([device("one.example"), device("two.example")]);
    assert_eq!(town.tell(told).await, taken(&[]));
    for (post, host) in town.posts().iter().zip(["one.example", "two.example"]) {
        assert_eq!(post.url, format!("https://{host}/up"));
        let told: Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(told["notification"], message(device(host), "一"));
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
    told["devices"] = (0..8).map(|_| browser.device(&json!({}))).collect();
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

const LOGGED_IN: &str = r#"{"access_token":"ya29.first","expires_in":3599,"token_type":"Bearer"}"#;

fn android() -> Value {
    json!({ "app_id": GOOGLE, "pushkey": "fcm-token-1", "data": { "default_payload": {
        "from": "x", "message_type": "x", "collapse_key": "x", "google.x": "x", "gcm.x": "x", "own": "y" } } })
}

/// The claims of what was posted to log in, if its signature is that of the account.
fn asserted(post: &Post) -> Value {
    assert_eq!(post.url, "https://oauth2.googleapis.com/token");
    assert_eq!(header(post, "content-type"), "application/x-www-form-urlencoded");
    let body = std::str::from_utf8(&post.body).unwrap();
    let jwt = body
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let account: Value = serde_json::from_slice(ACCOUNT).unwrap();
    let pem = account["private_key"].as_str().unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref())
        .verify(signed.as_bytes(), &bytes(signature))
        .unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let head: Value = serde_json::from_slice(&bytes(head)).unwrap();
    assert_eq!(head, json!({ "typ": "JWT", "alg": "RS256" }));
    serde_json::from_slice(&bytes(claims)).unwrap()
}

#[tokio::test]
async fn an_android_app_is_told_by_an_account_that_logs_in_seldom() {
    let town = Town::new();
    town.will_say(200, None, LOGGED_IN);

    assert_eq!(town.tell(message(android(), "届いていますか")).await, taken(&[]));

    let posts = town.posts();
    let claims = asserted(&posts[0]);
    assert_eq!(
        claims,
        json!({ "iss": "push@kanazawa-push.iam.gserviceaccount.com", "aud": "https://oauth2.googleapis.com/token",
            "scope": "https://www.googleapis.com/auth/firebase.messaging", "iat": 1_800_000_000, "exp": 1_800_003_600 })
    );
    assert_eq!(posts[1].url, "https://fcm.googleapis.com/v1/projects/kanazawa-push/messages:send");
    assert_eq!(header(&posts[1], "authorization"), "Bearer ya29.first");
    let told: Value = serde_json::from_slice(&posts[1].body).unwrap();
    assert_eq!(
        told["message"],
        json!({ "token": "fcm-token-1", "android": { "priority": "high", "ttl": "86400s" },
            "data": { "own": "y", "event_id": "$e", "room_id": "!r:kanazawa.test", "type": "m.room.message",
                "sender": "@hanako:kanazawa.test", "sender_display_name": "花子", "room_name": "防災課",
                "content_msgtype": "m.text", "content_body": "届いていますか", "unread": "2", "prio": "high" } })
    );
    // Until five minutes before it ends.
    town.clock.advance(Duration::from_secs(3_200));
    assert_eq!(town.tell(message(android(), "二")).await, taken(&[]));
    assert_eq!(town.posts().len(), 1);
    town.clock.advance(Duration::from_secs(150));
    town.will_say(200, None, r#"{"access_token":"ya29.second","expires_in":3599}"#);
    assert_eq!(town.tell(message(android(), "三")).await, taken(&[]));
    assert_eq!(header(&town.posts()[1], "authorization"), "Bearer ya29.second");
    // One that is taken no more is not shown again.
    town.will_answer(401, None);
    assert_eq!(town.tell(message(android(), "四")).await, Outcome::NotNow(None));
    town.posts();
    town.will_say(200, None, r#"{"access_token":"ya29.third","expires_in":3599}"#);
    assert_eq!(town.tell(message(android(), "四")).await, taken(&[]));
    assert_eq!(header(&town.posts()[1], "authorization"), "Bearer ya29.third");
}

#[tokio::test]
async fn what_is_too_long_for_google_is_told_by_ids_and_only_what_is_gone_is_rejected() {
    let town = Town::new();
    town.will_say(200, None, LOGGED_IN);
    assert_eq!(town.tell(message(android(), &"あ".repeat(2_000))).await, taken(&[]));
    let told: Value = serde_json::from_slice(&town.posts()[1].body).unwrap();
    assert_eq!(
        told["message"]["data"],
        json!({ "own": "y", "event_id": "$e", "room_id": "!r:kanazawa.test", "unread": "2", "prio": "high" })
    );
    let mut large = android();
    large["data"]["default_payload"]["own"] = json!("x".repeat(5_000));
    town.tell(message(large, "一")).await;
    let told: Value = serde_json::from_slice(&town.posts()[0].body).unwrap();
    let ids = json!({ "event_id": "$e", "room_id": "!r:kanazawa.test", "unread": "2", "prio": "high" });
    assert_eq!(told["message"]["data"], ids);
    let mut low = message(android(), "一");
    low["prio"] = json!("low");
    town.tell(low).await;
    let told: Value = serde_json::from_slice(&town.posts()[0].body).unwrap();
    assert_eq!(told["message"]["android"]["priority"], "normal");
    let failure = |code: &str| {
        let text = json!({ "error": { "code": 400, "status": "X", "details": [
            { "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [] },
            { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code } ] } });
        &*Box::leak(text.to_string().into_boxed_str())
    };
    for (status, code) in [(404, "UNREGISTERED"), (403, "SENDER_ID_MISMATCH")] {
        town.will_say(status, None, failure(code));
        assert_eq!(town.tell(message(android(), "一")).await, taken(&["fcm-token-1"]), "{code}");
    }
    town.will_say(400, None, failure("INVALID_ARGUMENT"));
    assert!(matches!(town.tell(message(android(), "一")).await, Outcome::Refused(_)));
    for (status, code, wait) in [
        (429, "QUOTA_EXCEEDED", Some(60)),
        (503, "UNAVAILABLE", Some(120)),
        (500, "INTERNAL", None),
        (403, "THIRD_PARTY_AUTH_ERROR", None),
    ] {
        town.will_say(status, wait, failure(code));
        let told = town.tell(message(android(), "一")).await;
        assert_eq!(told, Outcome::NotNow(wait.map(Duration::from_secs)), "{code}");
    }
    for odd in ["", "[]", "<html>", r#"{"error":{"details":[7]}}"#] {
        town.will_say(404, None, odd);
        assert!(matches!(town.tell(message(android(), "一")).await, Outcome::Refused(_)), "{odd}");
    }
}

#[tokio::test]
async fn where_google_lets_nobody_in_nothing_is_lost_and_no_key_is_rejected() {
    for (status, body) in [
        (401, "{}"),
        (401, LOGGED_IN),
        (200, "{}"),
        (200, r#"{"access_token":""}"#),
        (200, r#"{"access_token":"a\nb"}"#),
        (503, ""),
    ] {
        let town = Town::new();
        town.will_say(status, None, body);
        assert_eq!(town.tell(message(android(), "一")).await, Outcome::NotNow(None), "{body}");
        assert_eq!(town.posts().len(), 1);
    }
    let account: Value = serde_json::from_slice(ACCOUNT).unwrap();
    for (key, value) in [
        ("private_key", "x"),
        ("project_id", "a/b"),
        ("project_id", ""),
        ("token_uri", "http://oauth2.example"),
    ] {
        let mut other = account.clone();
        other[key] = json!(value);
        assert!(FcmAccount::parse(other.to_string().as_bytes()).is_none(), "{key}");
    }
    assert_eq!(
        Town::new().gateway.service_of(GOOGLE, "k", None).as_deref(),
        Some("https://fcm.googleapis.com")
    );
}

#[tokio::test]
async fn a_token_of_googles_is_believed_for_an_hour_at_most_and_for_one_if_it_says_nothing() {
    for ends in [r#","expires_in":864000"#, r#","expires_in":"x""#, ""] {
        let town = Town::new();
        let answer = &*Box::leak(format!(r#"{{"access_token":"ya29.a"{ends}}}"#).into_boxed_str());
        town.will_say(200, None, answer);
        for (minute, posts) in [(0, 2), (50, 1), (4, 1), (2, 2)] {
            town.clock.advance(Duration::from_secs(minute * 60));
            if (minute, posts) == (2, 2) {
                town.will_say(200, None, answer);
            }
            assert_eq!(town.tell(message(android(), "一")).await, taken(&[]));
            assert_eq!(town.posts().len(), posts, "{ends} {minute}");
        }
        // The calendar was a day too far.
        town.clock.set_back(Duration::from_secs(86_400));
        town.will_say(200, None, answer);
        town.tell(message(android(), "一")).await;
        assert_eq!(town.posts().len(), 2, "{ends}");
    }
}

#[test]
fn a_token_of_googles_that_is_refused_takes_no_newer_one_with_it() {
    let account = FcmAccount::parse(ACCOUNT).unwrap();
    let now = base::Timestamp(1_800_000_000_000);
    account.keep_token(br#"{"access_token":"new"}"#, now).unwrap();
    account.forget_token("old");
    assert_eq!(account.kept_token(now).as_deref(), Some("new"));
    account.forget_token("new");
    assert_eq!(account.kept_token(now), None);
}

#[tokio::test]
async fn of_many_devices_none_is_rejected_that_is_to_be_told_again_and_the_longest_wait_is_kept() {
    let (town, browser) = (Town::new(), Browser::new());
    let device = || browser.device(&json!({}));
    let tell = async |devices: usize| {
        let mut told = message(device(), "一");
        told["devices"] = (0..devices).map(|_| device()).collect();
        town.tell(told).await
    };
    // Whoever asks again is told of the one that is gone then.
    town.will_answer(410, None);
    town.will_answer(503, Some(60));
    town.will_answer(503, Some(7));
    assert_eq!(tell(3).await, Outcome::NotNow(Some(Duration::from_secs(60))));
    town.will_answer(410, None);
    town.will_answer(400, None);
    assert_eq!(tell(2).await, taken(&[&browser.key()]));
    town.posts();
    assert!(matches!(tell(9).await, Outcome::Refused(_)));
    assert!(town.posts().is_empty());
}

#[tokio::test]
async fn what_cannot_be_the_address_of_a_push_service_is_rejected_unasked() {
    let town = Town::new();
    let long = format!("https://ntfy.example/{}", "x".repeat(2_048));
    for address in ["https://:secret@ntfy.example/up", "data:text/plain,x", &long] {
        let device = json!({ "app_id": PHONE, "pushkey": address });
        assert_eq!(town.tell(message(device, "一")).await, taken(&[address]), "{address}");
    }
    assert!(town.posts().is_empty());
    // As much as a phone is told without its being encrypted for it.
    let device = json!({ "app_id": PHONE, "pushkey": "https://ntfy.example/up" });
    let bare = json!({ "notification": message(device.clone(), "") }).to_string().len();
    for (more, is_whole) in [(0, true), (1, false)] {
        town.tell(message(device.clone(), &"a".repeat(4_096 - bare + more))).await;
        let told: Value = serde_json::from_slice(&town.posts().pop().unwrap().body).unwrap();
        assert_eq!(told["notification"]["content"].is_object(), is_whole, "{more}");
    }
    let service = |app: &str, key: &str, endpoint| town.gateway.service_of(app, key, endpoint);
    assert_eq!(service(PHONE, "https://ntfy.example:8443/up", None).unwrap(), "https://ntfy.example:8443");
    assert_eq!(service(APP, "k", Some("https://push.example/x")).unwrap(), "https://push.example");
    assert_eq!((service(APP, "k", None), service("x", "https://a.test/", None)), (None, None));
}
