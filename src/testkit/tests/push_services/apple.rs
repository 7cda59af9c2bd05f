//! Apple's push service.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use parking_lot::Mutex;
use testkit::GatewayKind;

use super::*;

const APP: &str = "jp.example.ios.prod";
const TOPIC: &str = "jp.example.ios";
const KEY_ID: &str = "KEY4567890";
const TEAM_ID: &str = "TEAM567890";

/// A key that was made for tests, and its public half.
const KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/tests/apns.p8");
const PUBLIC: &str =
    "BIn+zrbQfoBgux9obJmfYOBpaL2gbUm7j3swekvXFglIkfK8dA7QTvtpRqMEJPkfK4po9UozdnznSnRpYVqCwuc=";

/// Apple bears a new token each so many seconds, and takes one for so many.
const LEAST: u64 = 20 * 60;
const MOST: u64 = 60 * 60;

const ENDED: &str = "ExpiredProviderToken";

/// What stands in for it.
struct Apple {
    service: Service,
    state: Arc<Mutex<State>>,
}

struct State {
    /// What it says to who asks as he should.
    says: Said,
    wrong: Vec<String>,
    /// Tokens of this moment and before it have ended, whatever their hour.
    ended: u64,
    /// Moments of the tokens that were shown, and when they came first.
    tokens: Vec<(u64, u64)>,
    /// What was taken: to which device, and what.
    taken: Vec<(String, Value)>,
}

impl Apple {
    async fn with(most_of_connection: usize) -> (Self, Net, Server) {
        let place = Place::new().await;
        let (net, server) = server(vec![app(APP, &place.origin)]).await;
        let state = State {
            says: (200, Value::Null),
            wrong: Vec::new(),
            ended: 0,
            tokens: Vec::new(),
            taken: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shown = state.clone();
        let service = place.serve(&net, most_of_connection, move |asked| shown.lock().answer(asked));
        (Self { service, state }, net, server)
    }

    async fn new() -> (Self, Net, Server) {
        Self::with(ANY).await
    }

    fn will(&self, status: u16, body: Value) {
        self.state.lock().says = (status, body);
    }

    /// What it took, if nobody asked as he should not.
    fn taken(&self) -> Vec<(String, Value)> {
        let state = self.state.lock();
        assert!(state.wrong.is_empty(), "{:#?}", state.wrong);
        state.taken.clone()
    }
}

fn app(id: &str, service: &str) -> GatewayAppConfig {
    GatewayAppConfig {
        key_file: Some(PathBuf::from(KEY_FILE)),
        key_id: Some(KEY_ID.to_owned()),
        team_id: Some(TEAM_ID.to_owned()),
        topic: Some(TOPIC.to_owned()),
        service: Some(service.to_owned()),
        ..GatewayAppConfig::new(id, GatewayKind::Apns)
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Said {
        match self.check(asked) {
            Ok(device) => {
                if self.says.0 == 200 {
                    self.taken.push((device, asked.json()));
                }
                self.says.clone()
            }
            Err((status, reason)) if reason == ENDED && asked.at < self.ended + MOST => {
                (status, json!({ "reason": reason }))
            }
            Err((status, reason)) => {
                self.wrong.push(format!("{reason}: {asked:?}"));
                (status, json!({ "reason": reason }))
            }
        }
    }

    /// To which device it goes, if it is asked as Apple wishes to be.
    fn check(&mut self, asked: &Asked) -> Result<String, (u16, &'static str)> {
        if asked.version != Version::HTTP_2 {
            return Err((400, "NotHttp2"));
        }
        if asked.method != Method::POST {
            return Err((405, "MethodNotAllowed"));
        }
        let device = asked.path.strip_prefix("/3/device/").ok_or((404, "BadPath"))?;
        if device.len() != 64 || !device.bytes().all(|byte| b"0123456789abcdef".contains(&byte)) {
            return Err((400, "BadDeviceToken"));
        }
        self.check_token(asked)?;
        let known = ["apns-topic", "apns-push-type", "apns-priority", "apns-expiration", "apns-collapse-id"];
        for name in asked.headers.keys().filter(|name| name.as_str().starts_with("apns-")) {
            if !known.contains(&name.as_str()) || asked.headers.get_all(name).iter().count() != 1 {
                return Err((400, "DuplicateHeaders"));
            }
        }
        if asked.header("apns-topic") != TOPIC {
            return Err((400, "BadTopic"));
        }
        let ends: u64 = asked.header("apns-expiration").parse().map_err(|_| (400, "BadExpirationDate"))?;
        if ends <= asked.at || ends > asked.at + 30 * 24 * 3_600 {
            return Err((400, "BadExpirationDate"));
        }
        if asked.headers.contains_key("apns-collapse-id")
            && !(1..=64).contains(&asked.header("apns-collapse-id").len())
        {
            return Err((400, "BadCollapseId"));
        }
        if asked.body.len() > 4_096 {
            return Err((413, "PayloadTooLarge"));
        }
        let payload = asked.json();
        let aps = payload["aps"].as_object().ok_or((400, "PayloadEmpty"))?;
        let is_shown = ["alert", "badge", "sound"].iter().any(|name| aps.contains_key(*name));
        match (asked.header("apns-push-type"), asked.header("apns-priority")) {
            ("alert", "5" | "10") if is_shown => {}
            ("background", "5") if !is_shown && aps.get("content-available") == Some(&json!(1)) => {}
            _ => return Err((400, "BadPriority")),
        }
        Ok(device.to_owned())
    }

    fn check_token(&mut self, asked: &Asked) -> Result<(), (u16, &'static str)> {
        let token = asked.header("authorization").strip_prefix("bearer ");
        let token = token.ok_or((403, "MissingProviderToken"))?;
        let invalid = (403, "InvalidProviderToken");
        let (signed, head, claims, signature) = parts_of(token).ok_or(invalid)?;
        let public = STANDARD.decode(PUBLIC).unwrap();
        let key = VerifyingKey::from_sec1_bytes(&public).unwrap();
        let signature = Signature::from_slice(&signature).map_err(|_| invalid)?;
        key.verify(signed.as_bytes(), &signature).map_err(|_| invalid)?;
        let issued = claims["iat"].as_u64().ok_or(invalid)?;
        if head != json!({ "alg": "ES256", "kid": KEY_ID })
            || claims != json!({ "iss": TEAM_ID, "iat": issued })
            || issued > asked.at
        {
            return Err(invalid);
        }
        if asked.at >= issued + MOST || issued <= self.ended {
            return Err((403, ENDED));
        }
        if !self.tokens.iter().any(|known| known.0 == issued) {
            if self.tokens.last().is_some_and(|last| asked.at < last.1 + LEAST) {
                return Err((429, "TooManyProviderTokenUpdates"));
            }
            self.tokens.push((issued, asked.at));
        }
        Ok(())
    }
}

/// The pusher of an app of Element for a device.
fn element(device: u8) -> Value {
    pusher(
        APP,
        &STANDARD.encode([device; 32]),
        json!({ "format": "event_id_only", "default_payload": {
            "aps": { "mutable-content": 1, "alert": { "loc-key": "Notification", "loc-args": [] } } } }),
    )
}

#[tokio::test]
async fn a_message_reaches_an_app_of_apples_until_it_is_not_on_the_phone_any_more() {
    let (apple, net, server) = Apple::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &element(7)).await;

    let event = hanako.send(&room, "届いていますか").await;

    apple.service.until(|asked| asked.len() == 1).await;
    let (device, payload) = apple.taken().pop().unwrap();
    assert_eq!(device, "07".repeat(32));
    assert_eq!(
        payload,
        json!({ "room_id": room, "event_id": event, "unread_count": 1, "aps": { "badge": 1,
            "mutable-content": 1, "alert": { "loc-key": "Notification", "loc-args": [] } } })
    );
    // What is read on another device takes the number away.
    taro.call(Method::POST, &format!("/rooms/{room}/receipt/m.read/{event}"), Some(&json!({}))).await;
    apple.service.until(|asked| asked.len() == 2).await;
    assert_eq!(apple.taken()[1].1, json!({ "aps": { "badge": 0 } }));

    // The text goes to whom it may.
    let mut whole = element(8);
    whole["data"] = json!({ "url": whole["data"]["url"] });
    set(&taro, &whole).await;
    hanako.send(&room, "二").await;
    apple.service.until(|asked| asked.len() == 4).await;
    let taken = apple.taken();
    let (_, payload) = taken.iter().find(|(device, _)| device.starts_with("08")).unwrap();
    assert_eq!(payload["aps"]["alert"]["loc-args"].as_array().unwrap().last().unwrap(), "二");

    apple.will(410, json!({ "reason": "Unregistered", "timestamp": net.now().millis() }));
    hanako.send(&room, "三").await;
    until_none_is_left(&taro).await;
}

#[tokio::test]
async fn apple_is_told_again_after_a_while_where_it_does_not_take_a_message_and_no_pusher_goes() {
    let (apple, net, server) = Apple::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &element(7)).await;
    for (status, reason) in
        [(503, "ServiceUnavailable"), (429, "TooManyRequests"), (403, "InvalidProviderToken"), (500, "")]
    {
        apple.will(status, json!({ "reason": reason }));
        let (before, taken) = (apple.service.asked().len(), apple.taken().len());
        let event = hanako.send(&room, reason).await;
        apple.service.later(&net, |asked| asked.len() >= before + 2).await;
        apple.will(200, Value::Null);
        let state = apple.state.clone();
        apple.service.later(&net, |_| state.lock().taken.len() > taken).await;
        let told = apple.taken().split_off(taken);
        assert!(told.iter().all(|(_, payload)| payload["event_id"] == json!(event)), "{reason} {told:#?}");
    }
    assert_eq!(count(&taro).await, 1);
}

#[tokio::test]
async fn the_token_is_renewed_in_time_and_no_more_often_than_apple_bears() {
    let (apple, net, server) = Apple::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &element(7)).await;
    for number in 1..=26 {
        hanako.send(&room, "一").await;
        until_counted(&server, "taken", number).await;
        net.advance(Duration::from_secs(7 * 60));
    }
    assert_eq!(apple.taken().len(), 26);
    let tokens = apple.state.lock().tokens.len();
    assert!((4..=9).contains(&tokens), "{tokens}");
}

#[tokio::test]
async fn one_that_apple_holds_for_too_old_is_renewed_at_once() {
    let (apple, net, server) = Apple::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &element(7)).await;
    hanako.send(&room, "一").await;
    until_counted(&server, "taken", 1).await;
    // Their clock is ahead of ours: what we hold for good has ended there.
    net.advance(Duration::from_secs(25 * 60));
    let first = apple.state.lock().tokens[0].0;
    apple.state.lock().ended = first;
    let event = hanako.send(&room, "二").await;
    apple.service.until(|asked| asked.len() == 3).await;
    let taken = apple.taken();
    assert_eq!((taken.len(), &taken[1].1["event_id"]), (2, &json!(event)));
}

#[tokio::test]
async fn many_are_told_over_one_connection() {
    const USERS: usize = 20;
    let (apple, _net, server) = Apple::new().await;
    let hanako = server.user("hanako").await;
    let room = hanako.create_room(Preset::PublicChat).await;
    for number in 0..USERS {
        let user = server.user(&format!("user{number}")).await;
        user.join(&room, "kanazawa.test").await;
        set(&user, &element(u8::try_from(number).unwrap())).await;
    }
    hanako.send(&room, "全員へ").await;
    let asked = apple.service.until(|asked| asked.len() == USERS).await;
    assert_eq!(apple.taken().len(), USERS);
    assert!(asked.iter().all(|asked| asked.connection == 0), "{asked:#?}");
}

#[tokio::test]
async fn connections_that_apple_ends_lose_nothing() {
    const MESSAGES: usize = 12;
    let (apple, _net, server) = Apple::with(3).await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &element(7)).await;
    for number in 1..=MESSAGES {
        hanako.send(&room, &number.to_string()).await;
        apple.service.until(|asked| asked.len() == number).await;
    }
    assert_eq!(apple.taken().len(), MESSAGES);
    let connections = apple.service.asked().last().unwrap().connection + 1;
    assert!((2..=MESSAGES / 3).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_service_in_our_own_network_is_not_asked_and_one_without_a_certificate_for_it_neither() {
    let (inside, other, in_the_clear) =
        (Place::at("127.0.9.1").await, Place::new().await, Place::at("127.1.0.3").await);
    let elsewhere = other.origin.replace("127.1.0.1", "127.1.0.2");
    let apps = vec![
        app("inside", &inside.origin),
        app("elsewhere", &elsewhere),
        app("clear", &in_the_clear.origin.replace("https", "http")),
    ];
    let (net, server) = server(apps).await;
    let taro = server.user("taro").await;
    // It listens where another one is looked for, with its own certificate.
    let (_, port) = elsewhere.rsplit_once(':').unwrap();
    let wrong = TcpListener::bind(format!("127.1.0.2:{port}")).await.unwrap();
    drop(other);
    let services = [
        inside.serve(&net, ANY, |_| (200, Value::Null)),
        Place { listener: wrong, origin: elsewhere }.serve_as("127.1.0.1", &net, ANY, |_| (200, Value::Null)),
        in_the_clear.serve(&net, ANY, |_| (200, Value::Null)),
    ];
    for app in ["inside", "elsewhere", "clear"] {
        let device = json!({ "app_id": app, "pushkey": STANDARD.encode([7; 32]) });
        let told =
            json!({ "notification": { "event_id": "$e", "room_id": "!r:a.test", "devices": [device] } });
        let (status, _) = taro.ask(Method::POST, "/_matrix/push/v1/notify", Some(&told)).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{app}");
    }
    assert!(services.iter().all(|service| service.asked().is_empty()));
}
