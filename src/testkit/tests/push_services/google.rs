//! Google's push service, and where its accounts log in.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use rustls::pki_types::alg_id::{RSA_ENCRYPTION, RSA_PKCS1_SHA256};
use testkit::GatewayKind;

use super::*;

const APP: &str = "jp.example.android";

/// The account of an app's maker that was made for tests, and the public half of its key (PKCS#1).
const ACCOUNT: &str = include_str!("../../../gateway/tests/account.json");
const PUBLIC: &str = "MIIBCgKCAQEA0aC4SYC9vamFtWZONOTyHSUeivSieSETJqBbPbIM6RYNscRGadEfbZNz2U6HddtwuCcFLA/lU486VQYov18IgJIwb+C2Fv95fBKdAKueQPnifPo5AuU9HxHDgxzIyGlbOGzo5OvOsB2gucH1s/OXjwMe+1PC0ZEoJjl7pLbM1HD5hKEXVcsf3tCLla3r7yhtS2dU1rI/g5Uqhn5mQpraJeBkcNx5/kczNrAz5/UNxRtjdOmvWmVrEkWswBKKuQlqsP8h3nGfRQ6DHdEd8hCNdjOAIhWcLfAmfX6CQLt5cWCvqFzL52obrZqJ6YFA5az7JuCDvpLX0GvmlE30Am15KwIDAQAB";

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
const HOUR: u64 = 60 * 60;

/// What stands in for it.
struct Google {
    service: Service,
    state: Arc<Mutex<State>>,
    _directory: tempfile::TempDir,
}

struct State {
    origin: String,
    /// What it says to who asks as he should; to who logs in, if it is not to let him.
    says: Said,
    says_at_the_door: Option<Said>,
    wrong: Vec<String>,
    /// Tokens that were given, and when they end.
    tokens: BTreeMap<String, u64>,
    /// What was taken.
    taken: Vec<Value>,
}

impl Google {
    async fn new() -> (Self, Net, Server) {
        let place = Place::new().await;
        let directory = tempfile::tempdir().unwrap();
        let mut account: Value = serde_json::from_str(ACCOUNT).unwrap();
        account["token_uri"] = json!(format!("{}/token", place.origin));
        let file = directory.path().join("account.json");
        std::fs::write(&file, account.to_string()).unwrap();
        let app = GatewayAppConfig {
            account_file: Some(file),
            service: Some(place.origin.clone()),
            ..GatewayAppConfig::new(APP, GatewayKind::Fcm)
        };
        let (net, server) = server(vec![app]).await;
        let state = State {
            origin: place.origin.clone(),
            says: (200, json!({ "name": "projects/kanazawa-push/messages/1" })),
            says_at_the_door: None,
            wrong: Vec::new(),
            tokens: BTreeMap::new(),
            taken: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shown = state.clone();
        let service = place.serve(&net, ANY, move |asked| shown.lock().answer(asked));
        (Self { service, state, _directory: directory }, net, server)
    }

    fn will(&self, status: u16, code: &str) {
        self.state.lock().says = (status, failure(status, code));
    }

    fn will_take(&self) {
        self.state.lock().says = (200, json!({}));
    }

    /// What it took, if nobody asked as he should not.
    fn taken(&self) -> Vec<Value> {
        let state = self.state.lock();
        assert!(state.wrong.is_empty(), "{:#?}", state.wrong);
        state.taken.clone()
    }

    fn logins(&self) -> usize {
        self.state.lock().tokens.len()
    }
}

fn failure(status: u16, code: &str) -> Value {
    json!({ "error": { "code": status, "message": "m", "status": code, "details": [
        { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code } ] } })
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Said {
        let (is_login, checked) = match &*asked.path {
            "/token" => (true, self.check_login(asked)),
            _ => (false, self.check_message(asked)),
        };
        match checked {
            Err((status, why)) => {
                self.wrong.push(format!("{why}: {asked:?}"));
                (status, failure(status, why))
            }
            Ok(()) if is_login => self.says_at_the_door.clone().unwrap_or_else(|| {
                let token = format!("ya29.{}", self.tokens.len());
                self.tokens.insert(token.clone(), asked.at + HOUR - 1);
                (200, json!({ "access_token": token, "expires_in": HOUR - 1, "token_type": "Bearer" }))
            }),
            Ok(()) => {
                if self.says.0 == 200 {
                    self.taken.push(asked.json()["message"].take());
                }
                self.says.clone()
            }
        }
    }

    /// RFC 7523, section 3.
    fn check_login(&self, asked: &Asked) -> Result<(), (u16, &'static str)> {
        if asked.method != Method::POST || asked.header("content-type") != "application/x-www-form-urlencoded"
        {
            return Err((400, "invalid_request"));
        }
        let grant = (400, "invalid_grant");
        let body = std::str::from_utf8(&asked.body).map_err(|_| grant)?;
        let assertion = body.strip_prefix(&format!("grant_type={GRANT}&assertion=")).ok_or(grant)?;
        let (signed, head, claims, signature) = parts_of(assertion).ok_or(grant)?;
        let provider = rustls::crypto::ring::default_provider();
        let mut algorithms = provider.signature_verification_algorithms.all.iter();
        let rs256 = algorithms
            .find(|it| (it.public_key_alg_id(), it.signature_alg_id()) == (RSA_ENCRYPTION, RSA_PKCS1_SHA256))
            .unwrap();
        let public = STANDARD.decode(PUBLIC).unwrap();
        rs256.verify_signature(&public, signed.as_bytes(), &signature).map_err(|_| grant)?;
        let (issued, ends) = (claims["iat"].as_u64().ok_or(grant)?, claims["exp"].as_u64().ok_or(grant)?);
        let expected = json!({ "iss": "push@kanazawa-push.iam.gserviceaccount.com", "scope": SCOPE,
            "aud": format!("{}/token", self.origin), "iat": issued, "exp": ends });
        let is_in_time = issued <= asked.at && asked.at < ends && ends - issued <= HOUR;
        if head != json!({ "alg": "RS256", "typ": "JWT" }) || claims != expected || !is_in_time {
            return Err(grant);
        }
        Ok(())
    }

    fn check_message(&self, asked: &Asked) -> Result<(), (u16, &'static str)> {
        if asked.path != "/v1/projects/kanazawa-push/messages:send" || asked.method != Method::POST {
            return Err((404, "NOT_FOUND"));
        }
        let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if self.tokens.get(token).is_none_or(|ends| asked.at >= *ends) {
            return Err((401, "UNAUTHENTICATED"));
        }
        let odd = (400, "INVALID_ARGUMENT");
        let body = asked.json();
        let names = |value: &Value| {
            let object = value.as_object()?;
            Some(object.keys().cloned().collect::<Vec<_>>())
        };
        if names(&body) != Some(vec!["message".to_owned()])
            || names(&body["message"]).is_none_or(|names| names != ["android", "data", "token"])
            || asked.header("content-type") != "application/json"
        {
            return Err(odd);
        }
        let message = &body["message"];
        let data = message["data"].as_object().ok_or(odd)?;
        let is_reserved = |name: &str| {
            ["from", "message_type", "collapse_key"].contains(&name)
                || name.starts_with("google")
                || name.starts_with("gcm")
        };
        let length = data.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len));
        let android = &message["android"];
        let lasts = android["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse::<u64>().ok());
        if data.values().any(|value| !value.is_string())
            || data.keys().any(|name| is_reserved(name))
            || length.sum::<usize>() > 4_096
            || lasts.is_none_or(|lasts| lasts > 28 * 24 * HOUR)
            || !["normal", "high"].contains(&android["priority"].as_str().unwrap_or_default())
        {
            return Err(odd);
        }
        Ok(())
    }
}

fn android(key: &str) -> Value {
    pusher(APP, key, json!({ "default_payload": { "from": "x", "own": "y" } }))
}

#[tokio::test]
async fn a_message_reaches_an_app_of_androids_until_it_is_not_on_the_phone_any_more() {
    let (google, _net, server) = Google::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &android("fcm-1")).await;

    let event = hanako.send(&room, "届いていますか").await;

    google.service.until(|asked| asked.len() == 2).await;
    let message = google.taken().pop().unwrap();
    assert_eq!((&message["token"], &message["android"]["ttl"]), (&json!("fcm-1"), &json!("86400s")));
    let data = &message["data"];
    assert_eq!((&data["event_id"], &data["content_body"]), (&json!(event), &json!("届いていますか")));
    assert_eq!((&data["unread"], &data["own"]), (&json!("1"), &json!("y")));
    // What is too long is told by ids.
    hanako.send(&room, &"あ".repeat(3_000)).await;
    google.service.until(|asked| asked.len() == 3).await;
    assert_eq!(google.taken()[1]["data"]["content_body"], Value::Null);

    google.will(404, "UNREGISTERED");
    hanako.send(&room, "三").await;
    until_none_is_left(&taro).await;
    assert_eq!(google.logins(), 1);
}

#[tokio::test]
async fn google_is_told_again_after_a_while_where_it_does_not_take_a_message_and_no_pusher_goes() {
    let (google, net, server) = Google::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &android("fcm-1")).await;
    for (status, code) in [
        (503, "UNAVAILABLE"),
        (429, "QUOTA_EXCEEDED"),
        (500, "INTERNAL"),
        (403, "THIRD_PARTY_AUTH_ERROR"),
        (401, "UNAUTHENTICATED"),
    ] {
        google.will(status, code);
        let (before, taken) = (google.service.asked().len(), google.taken().len());
        let event = hanako.send(&room, code).await;
        google.service.later(&net, |asked| asked.len() >= before + 2).await;
        google.will_take();
        let state = google.state.clone();
        google.service.later(&net, |_| state.lock().taken.len() > taken).await;
        let told = google.taken().split_off(taken);
        assert!(told.iter().all(|message| message["data"]["event_id"] == json!(event)), "{code} {told:#?}");
    }
    assert_eq!(count(&taro).await, 1);
}

#[tokio::test]
async fn the_account_logs_in_anew_before_its_token_ends_and_after_one_is_taken_no_more() {
    let (google, net, server) = Google::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &android("fcm-1")).await;
    for number in 1..=20 {
        hanako.send(&room, "一").await;
        until_counted(&server, "taken", number).await;
        net.advance(Duration::from_secs(7 * 60));
    }
    assert_eq!((google.taken().len(), google.logins()), (20, 3));

    google.will(401, "UNAUTHENTICATED");
    hanako.send(&room, "二").await;
    until_counted(&server, "failed", 1).await;
    google.will_take();
    let state = google.state.clone();
    google.service.later(&net, |_| state.lock().taken.len() == 21).await;
    assert!(google.logins() >= 4);
}

#[tokio::test]
async fn where_the_account_is_not_let_in_what_waits_is_told_once_it_is() {
    let (google, net, server) = Google::new().await;
    let (hanako, taro, room) = two(&server).await;
    set(&taro, &android("fcm-1")).await;
    google.state.lock().says_at_the_door = Some((400, json!({ "error": "invalid_grant" })));
    let event = hanako.send(&room, "一").await;
    google.service.later(&net, |asked| asked.len() >= 2).await;
    assert!(google.service.asked().iter().all(|asked| asked.path == "/token"));
    google.state.lock().says_at_the_door = None;
    let state = google.state.clone();
    google.service.later(&net, |_| !state.lock().taken.is_empty()).await;
    assert_eq!(
        (google.taken()[0]["data"]["event_id"].as_str(), count(&taro).await),
        (Some(event.as_str()), 1)
    );
}
