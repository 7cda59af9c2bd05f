//! Tests of which logout tokens are believed, and what those cost that are not.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use base::Address;
use ruma::ServerName;

use super::*;
use crate::{BadLogoutToken as Bad, NotSignedOut, Returned, Sent, Upstream};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn here() -> &'static ServerName {
    server_name!("kanazawa.test")
}

fn address(last: u8) -> Option<Address> {
    Some(Address::of([192, 0, 2, last].into()))
}

struct Desk {
    upstream: Upstream,
    site: Arc<Site>,
    hand: base::ManualClock,
    key: (EcdsaKeyPair, SystemRandom),
}

impl Desk {
    fn new() -> Desk {
        let (clock, hand) = Clock::manual(NOW * 1_000);
        let (site, key) = (Arc::new(Site::default()), p256());
        *site.keys.lock() = json!([public(&key.0, "1")]);
        let all = BTreeMap::from([(here().to_owned(), settings())]);
        let upstream = Upstream::new(all, site.clone(), [3; 32], clock, Random::seeded(5));
        Desk { upstream, site, hand, key }
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut all = logout_claims();
        change(&mut all);
        signed(&self.key, json!({ "alg": "ES256", "kid": "1", "typ": "logout+jwt" }), &all)
    }

    async fn read(&self, token: &str) -> Result<crate::LogoutToken, NotSignedOut> {
        self.upstream.read_logout_token(here(), token, address(1)).await
    }

    fn asked(&self) -> usize {
        self.site.asked.load(Relaxed)
    }
}

fn logout_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "yakuba", "sub": "1", "sid": "s-1", "jti": "t-1", "iat": NOW, "exp": NOW + 120,
        "events": { EVENT: {} },
    })
}

#[tokio::test]
async fn a_logout_token_is_from_the_provider_for_us_of_now_and_says_that_somebody_has_signed_out() {
    let desk = Desk::new();
    let told = desk.read(&desk.token(|_| {})).await.unwrap();
    let told = told.sign_out();
    assert_eq!(
        (told.issuer, told.subject, told.session, told.token),
        (ISSUER, Some("1"), Some("s-1"), "t-1")
    );
    // Kept as long as it could be shown again.
    assert_eq!(told.until_ms, (NOW + 120 + 120 + 120) * 1_000);
    for (name, value) in [
        ("aud", json!(["another", "yakuba"])),
        ("iat", json!(NOW + 100)),
        ("iat", json!(NOW - 600)),
        ("exp", json!(NOW - 100)),
        ("exp", json!(NOW + 1_000_000)),
        ("events", json!({ EVENT: {}, "https://example.jp/other": 5 })),
        ("x", json!("y")),
    ] {
        let told = desk.read(&desk.token(|all| all[name] = value.clone())).await;
        let told = told.unwrap_or_else(|error| panic!("{name} {value}: {error}"));
        assert!(told.sign_out().until_ms <= (NOW + 600 + 120 + 120) * 1_000, "{name}");
    }
    for (missing, left) in [("sub", (None, Some("s-1"))), ("sid", (Some("1"), None))] {
        let token = desk.token(|all| drop(all.as_object_mut().unwrap().remove(missing)));
        let told = desk.read(&token).await.unwrap();
        assert_eq!((told.sign_out().subject, told.sign_out().session), left, "{missing}");
    }
    for (name, value, why) in [
        ("iss", json!("https://id.example.jp/"), Bad::Issuer),
        ("iss", Value::Null, Bad::Issuer),
        ("aud", json!("another"), Bad::Audience),
        ("aud", json!([]), Bad::Audience),
        ("aud", Value::Null, Bad::Audience),
        ("exp", json!(NOW - 120), Bad::Expired),
        ("exp", Value::Null, Bad::Expired),
        ("iat", json!(NOW - 601), Bad::NotNow),
        ("iat", json!(NOW + 121), Bad::NotNow),
        ("iat", json!("now"), Bad::NotNow),
        ("events", Value::Null, Bad::Events),
        ("events", json!({}), Bad::Events),
        ("events", json!([EVENT]), Bad::Events),
        ("events", json!({ EVENT: true }), Bad::Events),
        ("events", json!({ EVENT: null }), Bad::Events),
        ("events", json!({ "http://schemas.openid.net/event/backchannel-logout/": {} }), Bad::Events),
        ("nonce", json!("n"), Bad::Nonce),
        ("nonce", Value::Null, Bad::Nonce),
        ("sub", json!(""), Bad::Nobody),
        ("sub", json!(5), Bad::Nobody),
        ("sub", json!("x".repeat(256)), Bad::Nobody),
        ("sid", json!(["s-1"]), Bad::Nobody),
        ("sid", json!("x".repeat(1_025)), Bad::Nobody),
        ("jti", json!(""), Bad::NoId),
        ("jti", json!(7), Bad::NoId),
        ("jti", Value::Null, Bad::NoId),
        ("jti", json!("x".repeat(1_025)), Bad::NoId),
    ] {
        let refused = desk.read(&desk.token(|all| all[name] = value.clone())).await;
        let Err(NotSignedOut::Bad(found)) = refused else { panic!("{name} {value}: {refused:?}") };
        assert_eq!(found, why, "{name} {value}");
    }
    let neither = desk.token(|all| {
        let all = all.as_object_mut().unwrap();
        all.remove("sub");
        all.remove("sid");
    });
    assert!(matches!(desk.read(&neither).await, Err(NotSignedOut::Bad(Bad::Nobody))));
    // All of that was found out with the keys that were fetched once.
    assert_eq!(desk.asked(), 2);
}

#[tokio::test]
async fn what_another_has_signed_or_is_for_something_else_is_no_logout_token() {
    let desk = Desk::new();
    let all = logout_claims();
    let sign = |head: Value| signed(&desk.key, head, &all);
    for head in [
        json!({ "alg": "ES256", "kid": "1" }),
        json!({ "alg": "ES256", "kid": "1", "typ": "JWT" }),
        json!({ "alg": "ES256", "kid": "1", "typ": "application/logout+jwt" }),
        json!({ "alg": "ES256", "typ": "Logout+JWT" }),
    ] {
        desk.read(&sign(head.clone())).await.unwrap_or_else(|error| panic!("{head}: {error}"));
    }
    for (token, why) in [
        (sign(json!({ "alg": "ES256", "kid": "1", "typ": "at+jwt" })), Bad::Kind),
        (sign(json!({ "alg": "ES256", "kid": "1", "typ": "secevent+jwt" })), Bad::Kind),
        (sign(json!({ "alg": "none", "kid": "1" })), Bad::Signature),
        (sign(json!({ "alg": "HS256", "kid": "1" })), Bad::Signature),
        (sign(json!({ "alg": "ES256", "kid": "1", "crit": ["b64"] })), Bad::NoToken),
        (signed(&p256(), json!({ "alg": "ES256", "kid": "1" }), &all), Bad::Signature),
        (format!("{}.", encoded(&all)), Bad::NoToken),
        ("x".repeat(100_000), Bad::NoToken),
        (String::new(), Bad::NoToken),
    ] {
        let refused = desk.read(&token).await;
        let Err(NotSignedOut::Bad(found)) = refused else { panic!("{token}: {refused:?}") };
        assert_eq!(found, why, "{token}");
    }
    // An ID token as it is, and one whose provider leaves the nonce out.
    let id_token = |change: fn(&mut Value)| {
        let mut all = claims();
        change(&mut all);
        signed(&desk.key, json!({ "alg": "ES256", "kid": "1" }), &all)
    };
    for token in [id_token(|_| {}), id_token(|all| drop(all.as_object_mut().unwrap().remove("nonce")))] {
        assert!(matches!(desk.read(&token).await, Err(NotSignedOut::Bad(Bad::Events))));
    }
    // Nor is a logout token an ID token.
    assert!(id_token::check(all.as_object().unwrap(), &settings(), "n", NOW).is_err());
    assert!(matches!(
        desk.upstream.read_logout_token(server_name!("wajima.test"), &desk.token(|_| {}), None).await,
        Err(NotSignedOut::NotOffered)
    ));
}

#[tokio::test]
async fn strangers_make_us_ask_the_provider_seldom_and_ever_more_seldom() {
    let desk = Desk::new();
    desk.read(&desk.token(|_| {})).await.unwrap();
    assert_eq!(desk.asked(), 2);
    // From everywhere, for forty minutes, once a second, each with another key.
    let mut looked = 0;
    for second in 0..2_400_u32 {
        let mut claims = logout_claims();
        claims["iat"] = json!(NOW + u64::from(second));
        claims["exp"] = json!(NOW + u64::from(second) + 60);
        let token = signed(&desk.key, json!({ "alg": "ES256", "kid": format!("made up {second}") }), &claims);
        let from = address(u8::try_from(second % 250).unwrap());
        let refused = desk.upstream.read_logout_token(here(), &token, from).await;
        match refused {
            Err(NotSignedOut::Bad(Bad::Signature)) => looked += 1,
            // Nobody has looked, so it is to come again.
            Err(NotSignedOut::Busy { retry_after }) => assert!(retry_after <= Duration::from_secs(600)),
            other => panic!("{second} {other:?}"),
        }
        desk.hand.advance(Duration::from_secs(1));
    }
    // A minute, two, four, eight, ten, ten, each by half at most less; whoever signs in would have had none either.
    assert!((5..=12).contains(&(desk.asked() - 2)), "{}", desk.asked());
    assert_eq!(looked, desk.asked() - 2);

    // A key that is new indeed is found by one of them, at the latest when that pause is over.
    let new = p256();
    *desk.site.keys.lock() = json!([public(&new.0, "new")]);
    desk.hand.advance(Duration::from_secs(600));
    let mut claims = logout_claims();
    (claims["iat"], claims["exp"]) = (json!(NOW + 3_000), json!(NOW + 3_100));
    let token = signed(&new, json!({ "alg": "ES256", "kid": "new" }), &claims);
    desk.read(&token).await.unwrap();
}

#[tokio::test]
async fn a_token_by_a_new_key_is_to_come_again_where_strangers_have_used_up_the_question() {
    let desk = Desk::new();
    desk.read(&desk.token(|_| {})).await.unwrap();
    let by_key = |key: &(EcdsaKeyPair, SystemRandom), kid: &str| {
        signed(key, json!({ "alg": "ES256", "kid": kid }), &logout_claims())
    };
    let made_up = by_key(&desk.key, "made up");
    let stranger = desk.upstream.read_logout_token(here(), &made_up, address(9)).await;
    assert!(matches!(stranger, Err(NotSignedOut::Bad(Bad::Signature))), "the provider has no such key");
    // It has another key a moment later, and nobody has signed in since.
    let new = p256();
    *desk.site.keys.lock() = json!([public(&new.0, "new")]);
    let told = by_key(&new, "new");
    let Err(NotSignedOut::Busy { retry_after }) = desk.read(&told).await else {
        panic!("it may be good, and nobody has looked")
    };
    assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(60), "{retry_after:?}");
    desk.hand.advance(retry_after + Duration::from_millis(1));
    desk.read(&told).await.unwrap();
}

#[tokio::test]
async fn who_brings_bad_tokens_is_not_listened_to_and_shuts_nobody_out_who_brings_a_good_one() {
    let desk = Desk::new();
    desk.read(&desk.token(|_| {})).await.unwrap();
    let bad = desk.token(|all| all["aud"] = json!("another"));
    for _ in 0..100 {
        assert!(matches!(desk.read(&bad).await, Err(NotSignedOut::Bad(Bad::Audience))));
    }
    for _ in 0..1_000 {
        assert!(matches!(desk.read(&bad).await, Err(NotSignedOut::TooOften { .. })));
    }
    desk.read(&desk.token(|all| all["jti"] = json!("t-2"))).await.unwrap();
    // Others are.
    let other = desk.upstream.read_logout_token(here(), &bad, address(2)).await;
    assert!(matches!(other, Err(NotSignedOut::Bad(Bad::Audience))));
    desk.hand.advance(Duration::from_secs(2));
    assert!(matches!(desk.read(&bad).await, Err(NotSignedOut::Bad(Bad::Audience))));
    assert_eq!(desk.asked(), 2);
}

#[tokio::test]
async fn a_provider_that_is_away_is_believed_by_the_keys_that_are_known_and_else_comes_again() {
    let desk = Desk::new();
    *desk.site.is_away.lock() = true;
    assert!(matches!(desk.read(&desk.token(|_| {})).await, Err(NotSignedOut::Unavailable(_))));
    *desk.site.is_away.lock() = false;
    desk.hand.advance(Duration::from_secs(10));
    desk.read(&desk.token(|_| {})).await.unwrap();
    let asked = desk.asked();
    // Also many hours later, at once, and without anybody being asked.
    *desk.site.is_away.lock() = true;
    desk.hand.advance(Duration::from_secs(20 * 3_600));
    let later = |all: &mut Value| (all["iat"], all["exp"]) = (json!(NOW + 72_010), json!(NOW + 72_100));
    desk.read(&desk.token(later)).await.unwrap();
    assert_eq!(desk.asked(), asked);
    // A bad one by a key that is not fresh has the provider asked, once for a while.
    let forged = signed(&p256(), json!({ "alg": "ES256", "kid": "1" }), &{
        let mut all = logout_claims();
        later(&mut all);
        all
    });
    for _ in 0..50 {
        assert!(matches!(desk.read(&forged).await, Err(NotSignedOut::Bad(Bad::Signature))));
    }
    assert_eq!(desk.asked(), asked + 1);
}

#[tokio::test]
async fn a_provider_may_end_what_twelve_thousand_people_have_and_not_for_ever_at_once() {
    let desk = Desk::new();
    let token = desk.token(|_| {});
    for _ in 0..5_000 {
        desk.read(&token).await.unwrap();
    }
    assert!(matches!(desk.read(&token).await, Err(NotSignedOut::Busy { .. })));
    desk.hand.advance(Duration::from_secs(10));
    for _ in 0..200 {
        desk.read(&token).await.unwrap();
    }
}

#[tokio::test]
async fn whose_browser_it_is_makes_up_no_attempt_that_was_begun_after_a_sign_out() {
    let desk = Desk::new();
    let key = [9; 32];
    let sent = Sent {
        callback: "https://here/cb",
        key: &key,
        purpose: Purpose::SignIn,
        since: store::Position(5),
        back: "/_yakuba/account",
        language: "ja",
    };
    let uri = url::Url::parse(&desk.upstream.begin(here(), sent).await.unwrap()).unwrap();
    let state = uri.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let back = async |state: &str| {
        let (callback, key) = ("https://here/cb", &key);
        let returned = Returned { callback, key, state, code: None, issuer: None, error: None };
        desk.upstream.finish(here(), returned).await.map(drop)
    };
    // Known for what it is; there is only no code.
    assert!(matches!(back(&state).await, Err(Error::Untrusted("the answer holds no code"))));
    let (bytes, _) = state.split_once('.').unwrap();
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(bytes).unwrap();
    let number = *bytes.first_chunk::<16>().unwrap();
    for since in [5, u64::MAX] {
        let back_to = "/_yakuba/account".to_owned();
        let made_up =
            Attempt { number, began_ms: NOW * 1_000, purpose: Purpose::SignIn, since, back: back_to };
        // By the secret of the browser, which its owner knows.
        assert!(matches!(back(&made_up.state(&key, here())).await, Err(Error::NotOurs)), "{since}");
    }
}
