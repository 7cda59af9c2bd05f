//! Tests of what is believed, and of what is not. The whole way is tested where the pages are, and against a real provider.

#![expect(clippy::unwrap_used, reason = "tests")]

mod sign_outs;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base::{Clock, Random};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use ruma::server_name;
use serde_json::{Map, Value, json};

use crate::{
    Answer, Error, Label, Purpose, Question, Settings, Template, Web, WebError,
    attempt::Attempt,
    id_token,
    jws::{Keys, Unverified},
    metadata::Metadata,
    provider::Provider,
};

const ISSUER: &str = "https://id.example.jp";
const NOW: u64 = 1_700_000_000;

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn p256() -> (EcdsaKeyPair, SystemRandom) {
    let chance = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &chance).unwrap();
    (EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &chance).unwrap(), chance)
}

fn public(key: &EcdsaKeyPair, id: &str) -> Value {
    let point = key.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
    json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": part(1..33), "y": part(33..65) })
}

fn signed(key: &(EcdsaKeyPair, SystemRandom), head: Value, claims: &Value) -> String {
    let text = format!("{}.{}", encoded(&head), encoded(claims));
    let signature = key.0.sign(&key.1, text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn keys(all: Value) -> Keys {
    Keys::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap()
}

fn is_believed(token: &str, keys: &Keys) -> bool {
    Unverified::parse(token).is_ok_and(|token| token.verify(keys).is_some())
}

#[test]
fn a_token_is_believed_by_a_key_and_algorithm_that_fit_and_by_nothing_else() {
    let key = p256();
    let claims = json!({ "sub": "a" });
    let good = signed(&key, json!({ "alg": "ES256", "kid": "1" }), &claims);
    let known = keys(json!([public(&key.0, "1")]));
    assert!(is_believed(&good, &known));
    // A provider need not name keys in tokens, nor say their algorithm.
    assert!(is_believed(&signed(&key, json!({ "alg": "ES256" }), &claims), &known));

    let other = keys(json!([public(&p256().0, "1")]));
    assert!(!is_believed(&good, &other));
    assert!(!is_believed(&good, &keys(json!([public(&key.0, "2")]))));
    for head in [
        json!({ "alg": "none", "kid": "1" }),
        json!({ "alg": "HS256", "kid": "1" }),
        json!({ "alg": "RS256", "kid": "1" }),
        json!({ "alg": "ES384", "kid": "1" }),
        json!({ "alg": "ES256", "kid": "1", "crit": ["b64"] }),
        json!({ "kid": "1" }),
    ] {
        assert!(!is_believed(&signed(&key, head.clone(), &claims), &known), "{head}");
    }
    // Nor by whoever takes what all know of the key for the secret of another way.
    let jwk = public(&key.0, "1");
    let part = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let (x, y) = (part("x"), part("y"));
    let point = [&[4_u8][..], &x, &y].concat();
    let secrets: [&[u8]; 6] = [jwk.to_string().as_bytes(), &x, &y, &point, b"", key.0.public_key().as_ref()]
        .map(|secret| secret.to_vec().leak() as &[u8]);
    for (name, way) in [
        ("HS256", ring::hmac::HMAC_SHA256),
        ("HS384", ring::hmac::HMAC_SHA384),
        ("HS512", ring::hmac::HMAC_SHA512),
    ] {
        for secret in secrets {
            let text = format!("{}.{}", encoded(&json!({ "alg": name, "kid": "1" })), encoded(&claims));
            let tag = ring::hmac::sign(&ring::hmac::Key::new(way, secret), text.as_bytes());
            let token = format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()));
            assert!(!is_believed(&token, &known), "{name}");
        }
    }
    for none in ["none", "None", "NONE", ""] {
        let text = format!("{}.{}", encoded(&json!({ "alg": none, "kid": "1" })), encoded(&claims));
        assert!(!is_believed(&format!("{text}."), &known), "{none:?}");
    }
    let (text, _) = good.rsplit_once('.').unwrap();
    for bad in [format!("{text}."), text.to_owned(), format!("{text}.AAAA"), "..".to_owned(), String::new()] {
        assert!(!is_believed(&bad, &known), "{bad}");
    }
    let moved = encoded(&json!({ "sub": "b" }));
    let parts: Vec<&str> = good.split('.').collect();
    assert!(!is_believed(&format!("{}.{moved}.{}", parts[0], parts[2]), &known));
    // The provider says for what a key is.
    let mut bound = public(&key.0, "1");
    bound["alg"] = json!("ES384");
    assert!(!is_believed(&good, &keys(json!([bound]))));
    bound["alg"] = json!("ES256");
    bound["use"] = json!("enc");
    assert!(Keys::parse(json!({ "keys": [bound] }).to_string().as_bytes()).is_err());
}

#[test]
fn keys_of_other_kinds_check_what_they_can() {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
    let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key());
    // One that cannot be used costs itself alone.
    let known =
        keys(json!([5, { "kty": "oct", "k": "AA" }, { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" },
        { "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x }]));
    let text = format!("{}.{}", encoded(&json!({ "alg": "EdDSA", "kid": "1" })), encoded(&json!({})));
    let token = format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).as_ref()));
    assert!(is_believed(&token, &known));
}

fn settings() -> Settings {
    Settings {
        staff: None,
        issuer: ISSUER.to_owned(),
        client_id: "yakuba".to_owned(),
        client_secret: None,
        subject: "sub".to_owned(),
        scopes: Vec::new(),
        localpart: "{preferred_username}".parse().unwrap(),
        display_name: None,
        email: None,
        acr_values: Vec::new(),
        required_amr: Vec::new(),
        label: Label { japanese: String::new(), english: String::new() },
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "yakuba", "sub": "1", "nonce": "n", "iat": NOW, "exp": NOW + 300,
        "acr": "mfa", "amr": ["pwd", "otp"],
    })
}

fn look(change: impl FnOnce(&mut Value), settings: &Settings) -> Result<id_token::Subject, Error> {
    let mut all = claims();
    change(&mut all);
    id_token::check(all.as_object().unwrap(), settings, "n", NOW)
}

#[test]
fn an_id_token_is_for_us_from_him_now_and_of_this_sign_in() {
    let settings = settings();
    let good = look(|_| {}, &settings).unwrap();
    assert_eq!((good.subject.as_str(), good.acr.as_deref()), ("1", Some("mfa")));
    assert_eq!(good.amr, ["pwd", "otp"]);
    for (name, value) in [
        ("aud", json!(["yakuba"])),
        ("azp", json!("yakuba")),
        ("iat", json!(NOW + 100)),
        ("exp", json!(NOW - 100)),
        ("exp", json!(1_700_000_300.5)),
    ] {
        look(|all| all[name] = value.clone(), &settings).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (name, value) in [
        ("iss", json!("https://id.example.jp/")),
        ("iss", json!("https://evil.example")),
        ("aud", json!("another")),
        ("aud", json!(["yakuba", "another"])),
        ("aud", json!([])),
        ("azp", json!("another")),
        ("nonce", json!("m")),
        ("nonce", json!("")),
        ("nonce", Value::Null),
        ("sub", json!("")),
        ("sub", json!(5)),
        ("sub", json!("x".repeat(256))),
        ("exp", json!(NOW - 121)),
        ("exp", Value::Null),
        ("exp", json!("tomorrow")),
        ("iat", json!(NOW + 121)),
        ("iat", json!(NOW - 601)),
        ("iat", Value::Null),
        ("nbf", json!(NOW + 121)),
    ] {
        let refused = look(|all| all[name] = value.clone(), &settings);
        assert!(matches!(refused, Err(Error::Untrusted(_))), "{name} {value}");
    }
}

#[test]
fn people_are_known_by_another_claim_where_that_is_set_and_by_no_other() {
    let by_oid = Settings { subject: "oid".to_owned(), ..settings() };
    let known = look(|all| all["oid"] = json!("o-1"), &by_oid).unwrap();
    assert_eq!((known.subject.as_str(), known.person.as_str()), ("1", "o-1"));
    assert_eq!(look(|_| {}, &settings()).unwrap().person, "1");
    for oid in [Value::Null, json!(""), json!(["o-1"]), json!("x".repeat(256))] {
        assert!(matches!(look(|all| all["oid"] = oid.clone(), &by_oid), Err(Error::Untrusted(_))), "{oid}");
    }
}

#[test]
fn a_way_of_authentication_that_was_asked_for_has_to_be_told() {
    let strict = Settings { acr_values: vec!["mfa".to_owned()], ..settings() };
    look(|_| {}, &strict).unwrap();
    for acr in [Value::Null, json!("pwd"), json!(["mfa"])] {
        assert!(
            matches!(look(|all| all["acr"] = acr.clone(), &strict), Err(Error::TooWeak { claim: "acr", .. })),
            "{acr}"
        );
    }
}

#[test]
fn methods_of_authentication_that_are_demanded_have_to_be_told_all_of_one_or_another_set() {
    let by = |required: &[&str]| Settings {
        required_amr: required.iter().map(|methods| (*methods).to_owned()).collect(),
        ..settings()
    };
    for required in [&["otp"][..], &["pwd otp"], &["hwk", "otp  pwd"]] {
        look(|_| {}, &by(required)).unwrap_or_else(|error| panic!("{required:?}: {error}"));
    }
    for required in [&["hwk"][..], &["otp hwk", "face"]] {
        let refused = look(|_| {}, &by(required));
        assert!(matches!(refused, Err(Error::TooWeak { claim: "amr", is_told: true })), "{required:?}");
    }
    let strict = by(&["otp"]);
    for amr in [Value::Null, json!([]), json!([5]), json!({ "otp": true })] {
        let refused = look(|all| all["amr"] = amr.clone(), &strict);
        assert!(matches!(refused, Err(Error::TooWeak { claim: "amr", is_told: false })), "{amr}");
    }
    let only_password = look(|all| all["amr"] = json!(["pwd"]), &strict);
    assert!(matches!(only_password, Err(Error::TooWeak { is_told: true, .. })));
    // One demand does not stand for the other.
    let both = Settings { acr_values: vec!["gold".to_owned()], ..strict };
    assert!(matches!(look(|_| {}, &both), Err(Error::TooWeak { claim: "acr", .. })));
}

#[test]
fn a_login_is_known_by_the_name_that_the_provider_gives_it_or_by_none() {
    assert_eq!(look(|all| all["sid"] = json!("s-1"), &settings()).unwrap().session.as_deref(), Some("s-1"));
    for sid in [Value::Null, json!(""), json!(5)] {
        assert_eq!(look(|all| all["sid"] = sid.clone(), &settings()).unwrap().session, None, "{sid}");
    }
    let long = look(|all| all["sid"] = json!("x".repeat(1_025)), &settings());
    assert!(matches!(long, Err(Error::Untrusted(_))));
}

#[test]
fn templates_are_filled_by_claims_and_name_the_one_that_is_missing() {
    let said = json!({
        "preferred_username": "hanako", "email": "hanako@example.jp", "number": 12, "empty": " ",
        "address": { "locality": "金沢市" }, "list": ["a"],
    });
    let said: &Map<String, Value> = said.as_object().unwrap();
    let fill = |text: &str| text.parse::<Template>().unwrap().fill(said);
    for (text, filled) in [
        ("{preferred_username}", "hanako"),
        ("u.{number}", "u.12"),
        ("{email@}", "hanako"),
        ("{address.locality} {preferred_username}", "金沢市 hanako"),
    ] {
        assert_eq!(fill(text).unwrap(), filled);
        assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
    }
    for (text, name) in
        [("{upn}", "upn"), ("x{empty}", "empty"), ("{list}", "list"), ("{address.x}", "address.x")]
    {
        assert!(matches!(fill(text), Err(Error::MissingClaim { claim }) if claim == name), "{text}");
    }
    for bad in ["", "hanako", "{", "{}", "a}", "{a..b}", "{a", "{a{b}}"] {
        assert!(bad.parse::<Template>().is_err(), "{bad}");
    }
}

#[test]
fn what_comes_back_was_sent_away_from_this_browser_for_this_authority_not_long_ago() {
    let (key, here) = ([7; 32], server_name!("kanazawa.test"));
    let attempt = Attempt {
        number: [1; 16],
        began_ms: 1_000,
        purpose: Purpose::SignIn,
        since: 7,
        back: "/_yakuba/account?役場".to_owned(),
    };
    let state = attempt.state(&key, here);
    let back = |state: &str, key: &[u8; 32], authority, now| Attempt::of_state(state, key, authority, now);
    assert_eq!(back(&state, &key, here, 800_000), Some(attempt.clone()));
    assert_eq!(back(&state, &[8; 32], here, 1_000), None);
    assert_eq!(back(&state, &key, server_name!("wajima.test"), 1_000), None);
    assert_eq!(back(&state, &key, here, 901_000), None);
    let link = Attempt { purpose: Purpose::Link, ..attempt.clone() }.state(&key, here);
    let (_, proof) = state.split_once('.').unwrap();
    let (other, _) = link.split_once('.').unwrap();
    assert_eq!(Attempt::back_of(&state).as_deref(), Some("/_yakuba/account?役場"));
    assert_eq!(Attempt::back_of("AAAA.AAAA"), None);
    for forged in [format!("{other}.{proof}"), format!("{other}."), String::new(), ".".to_owned()] {
        assert_eq!(back(&forged, &key, here, 1_000), None, "{forged}");
    }
    let second = Attempt { number: [2; 16], ..attempt.clone() };
    assert_ne!(attempt.nonce(&key), second.nonce(&key));
    assert_ne!(attempt.verifier(&key), second.verifier(&key));
    assert_ne!(attempt.nonce(&key), attempt.verifier(&key));
    assert_eq!(attempt.verifier(&key).len(), 43);
}

#[test]
fn metadata_are_the_issuers_own_and_lead_nowhere_in_the_clear() {
    let good = json!({
        "issuer": ISSUER, "authorization_endpoint": "https://id.example.jp/a",
        "token_endpoint": "https://id.example.jp/t", "jwks_uri": "http://127.0.0.1:5/k",
        "userinfo_endpoint": "http://id.example.jp/u",
    });
    let parse = |said: &Value| Metadata::parse(said.to_string().as_bytes(), ISSUER);
    // What need not be there is left out.
    assert_eq!(parse(&good).unwrap().userinfo_endpoint, None);
    for (name, value) in [
        ("issuer", "https://id.example.jp/"),
        ("token_endpoint", "http://id.example.jp/t"),
        ("token_endpoint", ""),
        ("jwks_uri", "file:///etc/passwd"),
        ("authorization_endpoint", "javascript:alert(1)"),
    ] {
        let mut bad = good.clone();
        bad[name] = json!(value);
        assert!(matches!(parse(&bad), Err(Error::Untrusted(_))), "{name} {value}");
    }
}

/// A provider that can be away, and counts how often it is asked.
#[derive(Default)]
struct Site {
    asked: AtomicUsize,
    is_away: Mutex<bool>,
    /// With what it says so, where it answers that it is not there.
    wish: Mutex<Option<Duration>>,
    keys: Mutex<Value>,
}

#[async_trait::async_trait]
impl Web for Site {
    async fn ask(&self, question: Question) -> Result<Answer, WebError> {
        self.asked.fetch_add(1, Relaxed);
        if *self.is_away.lock() {
            return Err(WebError("away".to_owned()));
        }
        if let Some(wish) = *self.wish.lock() {
            return Ok(Answer { status: 503, retry_after: Some(wish), body: Bytes::new() });
        }
        let body = match question.url.ends_with("/keys") {
            true => json!({ "keys": *self.keys.lock() }),
            false => json!({
                "issuer": ISSUER, "authorization_endpoint": "https://id.example.jp/a",
                "token_endpoint": "https://id.example.jp/t", "jwks_uri": "https://id.example.jp/keys",
            }),
        };
        Ok(Answer { status: 200, retry_after: None, body: Bytes::from(body.to_string()) })
    }
}

fn provider() -> (Arc<Provider>, Arc<Site>, base::ManualClock) {
    let (clock, hand) = Clock::manual(NOW * 1_000);
    let site = Arc::new(Site::default());
    *site.keys.lock() = json!([public(&p256().0, "1")]);
    let provider = Provider::new(ISSUER.to_owned(), site.clone(), clock, Random::seeded(5));
    (Arc::new(provider), site, hand)
}

#[tokio::test]
async fn a_provider_is_asked_once_for_all_and_again_after_an_hour() {
    let (provider, site, hand) = provider();
    let all = (0..20).map(|_| {
        let provider = provider.clone();
        tokio::spawn(async move { provider.get().await.map(drop) })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(site.asked.load(Relaxed), 2);
    hand.advance(Duration::from_secs(3_601));
    provider.get().await.unwrap();
    assert_eq!(site.asked.load(Relaxed), 4);
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_seldom_and_what_is_known_goes_on_for_a_day() {
    let (provider, site, hand) = provider();
    *site.is_away.lock() = true;
    for _ in 0..50 {
        assert!(matches!(provider.get().await, Err(Error::Unavailable(_))));
    }
    assert_eq!(site.asked.load(Relaxed), 1);
    *site.is_away.lock() = false;
    hand.advance(Duration::from_secs(5));
    provider.get().await.unwrap();
    *site.is_away.lock() = true;
    hand.advance(Duration::from_secs(2 * 3_600));
    for _ in 0..50 {
        provider.get().await.unwrap();
    }
    assert_eq!(site.asked.load(Relaxed), 4);
    hand.advance(Duration::from_secs(24 * 3_600));
    assert!(matches!(provider.get().await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_provider_is_left_alone_for_as_long_as_it_wishes_within_bounds() {
    let (provider, site, hand) = provider();
    *site.wish.lock() = Some(Duration::from_secs(120));
    assert!(provider.get().await.is_err());
    *site.wish.lock() = None;
    hand.advance(Duration::from_secs(119));
    assert!(provider.get().await.is_err(), "longer than the first pause");
    hand.advance(Duration::from_secs(2));
    assert!(provider.get().await.is_ok());

    hand.advance(Duration::from_secs(25 * 60 * 60));
    *site.wish.lock() = Some(Duration::from_secs(86_400));
    assert!(provider.get().await.is_err());
    *site.wish.lock() = None;
    hand.advance(Duration::from_secs(301));
    assert!(provider.get().await.is_ok(), "no wish keeps people out for a day");
}

#[tokio::test]
async fn a_token_of_a_new_key_has_the_keys_fetched_and_made_up_names_do_so_seldom() {
    let (provider, site, hand) = provider();
    let new = p256();
    let token = signed(&new, json!({ "alg": "ES256", "kid": "2" }), &json!({}));
    let token = Unverified::parse(&token).unwrap();
    assert!(token.verify(&provider.keys_for(&token).await.unwrap()).is_none());
    *site.keys.lock() = json!([public(&new.0, "2")]);
    for _ in 0..50 {
        assert!(token.verify(&provider.keys_for(&token).await.unwrap()).is_none());
    }
    assert_eq!(site.asked.load(Relaxed), 3);
    hand.advance(Duration::from_secs(30));
    assert!(token.verify(&provider.keys_for(&token).await.unwrap()).is_some());
    assert_eq!(site.asked.load(Relaxed), 4);
}
