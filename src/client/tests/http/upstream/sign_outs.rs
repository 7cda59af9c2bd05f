//! What ends here when somebody signs out at the identity provider, and who may say so.

use ruma::server_name;

use super::*;
use crate::{
    oauth::{redeem, refresh, request},
    town::Answer as TownAnswer,
};

const SIGN_OUT: &str = "/_yakuba/upstream/sign-out";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const FOR_APP: &str = "/_yakuba/sign-in-for-app";

impl Provider {
    /// A logout token as it should be, with other claims in the place of its own; those that are null are left out.
    fn logout_token(&self, instead: &Value) -> String {
        let state = self.state.lock();
        let now = self.clock.now().millis() / 1_000;
        let mut all = json!({
            "iss": self.issuer, "aud": "yakuba", "iat": now, "exp": now + 120, "events": { EVENT: {} },
        });
        for (name, value) in instead.as_object().unwrap() {
            match value {
                Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
                value => all[name] = value.clone(),
            }
        }
        state.sign(&json!({ "alg": "ES256", "typ": "logout+jwt", "kid": state.key_id.to_string() }), &all)
    }
}

/// An answer to a provider, and whether it may be stored.
struct Told {
    answer: TownAnswer,
    cache: String,
    retry_after: String,
}

impl Desk {
    async fn tell(&self, host: &str, token: &str) -> Told {
        let body =
            form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
        self.tell_raw(host, "application/x-www-form-urlencoded", body).await
    }

    async fn tell_raw(&self, host: &str, kind: &str, body: String) -> Told {
        let request = http::Request::builder().method("POST").uri(SIGN_OUT).header("host", host);
        let request = request.header("content-type", kind).body(web::Body::from(body)).unwrap();
        let response = self.town.respond(request).await;
        let text =
            |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let (cache, retry_after, status) =
            (text("cache-control"), text("retry-after"), response.status().as_u16());
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Told { answer: TownAnswer { status, body, text, parts: 1 }, cache, retry_after }
    }

    /// Somebody signs out at the provider, which tells of it.
    async fn sign_out(&self, claims: Value) {
        let told = self.tell("hs1", &self.provider.logout_token(&claims)).await;
        assert_eq!((told.answer.status, told.answer.text.as_str()), (200, ""));
        assert_eq!(told.cache, "no-store");
    }

    async fn browser(&self, sid: &str) -> Browser<'_> {
        let mut browser = self.sent("/_yakuba/account").await;
        self.back(&mut browser, of_login(sid)).await;
        assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
        browser
    }

    /// The code for a client, by the consent of whoever is signed in in a browser.
    async fn code(&self, browser: &mut Browser<'_>, client: &str, device: &str) -> String {
        browser.open(&request(client, &[("scope", &scope(device))])).await;
        browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
        browser.told()["code"].clone()
    }

    /// The login token for an app.
    async fn login_token(&self, browser: &mut Browser<'_>) -> String {
        browser.open(&format!("{FOR_APP}?redirectUrl=https%3A%2F%2Fapp.example.jp%2F")).await;
        browser.send(FOR_APP, &[]).await;
        let (_, token) = browser.location.split_once("loginToken=").unwrap();
        token.split('#').next().unwrap().to_owned()
    }

    async fn log_in(&self, token: &str) -> TownAnswer {
        let login = json!({ "type": "m.login.token", "token": token, "refresh_token": true });
        self.town.ask("POST", LOGIN, login).await
    }

    async fn whoami(&self, session: &Value) -> u16 {
        let token = session["access_token"].as_str();
        self.town.raw("hs1", "GET", "/_matrix/client/v3/account/whoami", token, Vec::new()).await.status
    }
}

fn of_login(sid: &str) -> Value {
    let mut claims = hanako();
    claims["sid"] = json!(sid);
    claims
}

#[tokio::test]
async fn who_signs_out_at_the_provider_is_out_of_what_came_of_that_login_with_pushers_and_refresh_tokens() {
    let desk = Desk::of(|settings| settings.passwords = false, |_| {}).await;
    let client = desk.town.client(app()).await;
    let (mut office, mut home) = (desk.browser("s-1").await, desk.browser("s-2").await);
    let code = desk.code(&mut office, &client, "PHONEPHONE").await;
    let granted = redeem(&desk.town, &client, &code).await.ok();
    let token = desk.login_token(&mut office).await;
    let by_token = desk.log_in(&token).await.ok();
    let token = desk.login_token(&mut home).await;
    let stays = desk.log_in(&token).await.ok();
    for session in [&granted, &by_token, &stays] {
        let access = session["access_token"].as_str().unwrap();
        let pusher = json!({
            "kind": "http", "app_id": "a", "pushkey": access, "app_display_name": "A", "device_display_name": "d",
            "lang": "ja", "data": { "url": "https://push.example.jp/_matrix/push/v1/notify" }, "append": true,
        });
        let path = "/_matrix/client/v3/pushers/set";
        desk.town.raw("hs1", "POST", path, Some(access), pusher.to_string().into_bytes()).await.ok();
    }

    desk.sign_out(json!({ "sub": "1001", "sid": "s-1", "jti": "t-1" })).await;

    for ended in [&granted, &by_token] {
        assert_eq!(desk.whoami(ended).await, 401);
    }
    refresh(&desk.town, &client, granted["refresh_token"].as_str().unwrap())
        .await
        .refuses(400, "invalid_grant");
    let old = json!({ "refresh_token": by_token["refresh_token"] });
    desk.town.ask("POST", "/_matrix/client/v3/refresh", old).await.fails(401, "M_UNKNOWN_TOKEN");
    office.open("/_yakuba/account").await;
    assert!(office.page.contains("id=\"provider\""), "{}", office.page);
    assert_eq!(desk.whoami(&stays).await, 200);
    home.open("/_yakuba/account").await;
    assert!(home.page.contains("@hanako:hs1"), "{}", home.page);
    let access = stays["access_token"].as_str();
    let pushers = desk.town.raw("hs1", "GET", "/_matrix/client/v3/pushers", access, Vec::new()).await.ok();
    let keys: Vec<_> =
        pushers["pushers"].as_array().unwrap().iter().map(|pusher| &pusher["pushkey"]).collect();
    assert_eq!(keys, [&stays["access_token"]], "the others went with their sessions");

    // Of everything, where the provider names the person alone. Who comes back is in the same account.
    desk.sign_out(json!({ "sub": "1001", "jti": "t-2" })).await;
    assert_eq!(desk.whoami(&stays).await, 401);
    home.open("/_yakuba/account").await;
    assert!(home.page.contains("id=\"provider\""), "{}", home.page);
    let mut again = desk.browser("s-3").await;
    let token = desk.login_token(&mut again).await;
    assert_eq!(desk.whoami(&desk.log_in(&token).await.ok()).await, 200);
}

#[tokio::test]
async fn what_is_half_done_dies_at_each_step_of_the_way() {
    let desk = Desk::new().await;
    let client = desk.town.client(app()).await;
    let mut number = 0;
    for by in [json!({ "sub": "1001" }), json!({ "sid": "s-1" }), json!({ "sub": "1001", "sid": "s-1" })] {
        let mut ends = async || {
            number += 1;
            let mut claims = by.clone();
            claims["jti"] = json!(format!("t-{number}"));
            desk.sign_out(claims).await;
        };
        // The browser is at the provider, or on its way back; the code is traded after the sign-out.
        let mut away = desk.sent("/_yakuba/account").await;
        let uri = desk.provider.sign_in(&away.told(), of_login("s-1"));
        ends().await;
        away.open(&uri).await;
        assert!(
            away.status == 403 && away.page.contains("signed out at the identity provider"),
            "{}",
            away.page
        );
        away.open("/_yakuba/account").await;
        assert!(away.page.contains("id=\"provider\""), "{}", away.page);

        // The app has its code, or its token, and has not traded it.
        let mut browser = desk.browser("s-1").await;
        let code = desk.code(&mut browser, &client, "PHONEPHONE").await;
        let token = desk.login_token(&mut browser).await;
        let asked = [("client_id", client.as_str()), ("scope", &scope("TABLETTABLET"))];
        let begun = desk.town.send_form("/_yakuba/oauth2/device", &asked).await.ok();
        let link = begun["verification_uri_complete"].as_str().unwrap();
        browser.open(link).await;
        browser.send("/_yakuba/link", &[("decision", "agree")]).await;
        assert!(browser.page.contains("Allowed"), "{}", browser.page);
        ends().await;
        redeem(&desk.town, &client, &code).await.refuses(400, "invalid_grant");
        desk.log_in(&token).await.fails(403, "M_FORBIDDEN");
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let device_code = begun["device_code"].as_str().unwrap();
        let fields = [("grant_type", grant), ("client_id", &client), ("device_code", device_code)];
        desk.town.send_form(TOKEN, &fields).await.refuses(400, "invalid_grant");
        // Nor is consent given by a page that was open.
        browser.open(&request(&client, &[])).await;
        assert!(browser.page.contains("id=\"provider\""), "{}", browser.page);
    }
    let user: &ruma::UserId = "@hanako:hs1".try_into().unwrap();
    assert!(desk.town.accounts.devices(user).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_logout_token_is_refused_and_touches_no_session_and_leaves_a_row_and_so_does_one_that_comes_again()
 {
    let desk = Desk::new().await;
    let mut browser = desk.browser("s-1").await;
    let token = desk.login_token(&mut browser).await;
    let session = desk.log_in(&token).await.ok();
    let now = 1_700_000_000;
    let good = json!({ "sub": "1001", "sid": "s-1", "jti": "t-1" });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        desk.provider.logout_token(&claims)
    };
    let id_token = {
        let state = desk.provider.state.lock();
        let claims = json!({ "iss": ISSUER, "aud": "yakuba", "sub": "1001", "sid": "s-1", "iat": now, "exp": now + 300, "nonce": "n" });
        state.sign(&json!({ "alg": "ES256", "kid": "1" }), &claims)
    };
    let of_other_key = {
        let mut claims = good.clone();
        (claims["iss"], claims["jti"]) = (json!(ISSUER), json!("t-9"));
        desk.other.logout_token(&claims)
    };
    for (what, token) in [
        ("nonce", with("nonce", json!("n"))),
        ("aud", with("aud", json!("another"))),
        ("iss", with("iss", json!("https://evil.example"))),
        ("exp", with("exp", json!(now - 500))),
        ("iat", with("iat", json!(now - 5_000))),
        ("events", with("events", json!({}))),
        ("no events", with("events", json!("x"))),
        ("jti", with("jti", Value::Null)),
        ("an ID token", id_token),
        ("another's key", of_other_key),
        ("nothing", String::new()),
        ("noise", "a.b.c".to_owned()),
    ] {
        let told = desk.tell("hs1", &token).await;
        assert_eq!(
            (told.answer.status, told.cache.as_str()),
            (400, "no-store"),
            "{what} {}",
            told.answer.text
        );
        told.answer.refuses(400, "invalid_request");
        assert_eq!(desk.whoami(&session).await, 200, "{what}");
    }
    // Nor another form of it, or one that is large.
    let token = desk.provider.logout_token(&good);
    for (kind, body) in [
        ("application/json", json!({ "logout_token": token }).to_string()),
        ("application/x-www-form-urlencoded", format!("logout_token={token}&logout_token={token}")),
        ("application/x-www-form-urlencoded", format!("logout_token={token}&x={}", "y".repeat(20_000))),
        ("application/x-www-form-urlencoded", String::new()),
    ] {
        let told = desk.tell_raw("hs1", kind, body).await;
        assert_eq!((told.answer.status, told.cache.as_str()), (400, "no-store"), "{}", told.answer.text);
    }
    assert_eq!(desk.whoami(&session).await, 200);

    // The good one once, and what it has ended once.
    assert_eq!(desk.tell("hs1", &token).await.answer.status, 200);
    assert_eq!(desk.whoami(&session).await, 401);
    let mut browser = desk.browser("s-1").await;
    let token_for_app = desk.login_token(&mut browser).await;
    let later = desk.log_in(&token_for_app).await.ok();
    let again = desk.tell("hs1", &token).await;
    assert_eq!((again.answer.status, again.cache.as_str()), (400, "no-store"));
    assert_eq!(desk.whoami(&later).await, 200);

    desk.hand.advance(Duration::from_secs(60));
    let reasons = loop {
        let (store, filter) = (&desk.town.store, audit::Filter::default());
        let page = audit::list(store, server_name!("hs1"), &filter, store::Position::START).await.unwrap();
        let rows = page.found.into_iter().map(|row| row.record.unwrap());
        let refused = rows.filter(|row| row.what == "session.sign_out_refused");
        let reason = |row: audit::Record| row.after.into_iter().find(|(name, _)| name == "reason").unwrap().1;
        let reasons: std::collections::BTreeSet<String> = refused.map(reason).collect();
        if !reasons.is_empty() {
            break reasons;
        }
        tokio::task::yield_now().await;
    };
    for reason in ["nonce", "aud", "iss", "exp", "iat", "events", "jti", "signature", "malformed", "again"] {
        assert!(reasons.contains(&format!("logout_token_{reason}")), "{reason} {reasons:?}");
    }
}

#[tokio::test]
async fn no_provider_ends_what_is_another_authoritys() {
    let desk = Desk::new().await;
    let mut browser = desk.browser("s-1").await;
    let token = desk.login_token(&mut browser).await;
    let session = desk.log_in(&token).await.ok();
    let good = json!({ "sub": "1001", "sid": "s-1", "jti": "t-1" });
    let with_issuer = |issuer: &str| {
        let mut claims = good.clone();
        claims["iss"] = json!(issuer);
        claims
    };
    for (host, token, status) in [
        // The other one's provider says so of its own people, whom it calls the same.
        ("hs2", desk.other.logout_token(&good), 200),
        // It comes with that here, in its own name and in that of ours.
        ("hs1", desk.other.logout_token(&good), 400),
        ("hs1", desk.other.logout_token(&with_issuer(ISSUER)), 400),
        ("hs2", desk.other.logout_token(&with_issuer(ISSUER)), 400),
        // And it brings to its own authority what ours has said.
        ("hs2", desk.provider.logout_token(&good), 400),
        ("hs2", desk.provider.logout_token(&with_issuer(OTHER_ISSUER)), 400),
        ("hs1", desk.provider.logout_token(&with_issuer(OTHER_ISSUER)), 400),
    ] {
        let told = desk.tell(host, &token).await;
        assert_eq!(told.answer.status, status, "{host} {}", told.answer.text);
        assert_eq!(desk.whoami(&session).await, 200, "{host}");
    }
    // The token of ours was used up by none of that.
    desk.sign_out(good).await;
    assert_eq!(desk.whoami(&session).await, 401);
}

#[tokio::test]
async fn who_floods_it_is_told_to_wait_and_an_authority_without_a_provider_has_none_of_it() {
    let desk = Desk::new().await;
    let mut statuses = Vec::new();
    for _ in 0..150 {
        let path = format!("{SIGN_OUT}?");
        let request = http::Request::builder().method("POST").uri(path).header("host", "hs1");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let mut request = request.body(web::Body::from("logout_token=a.b.c")).unwrap();
        request.extensions_mut().insert(web::Peer("192.0.2.7:1".parse().unwrap()));
        statuses.push(desk.town.answer(request).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 100);
    assert!(statuses[100..].iter().all(|status| *status == 429), "{statuses:?}");
    desk.provider.state.lock().is_away = true;
    let told = desk.tell("hs1", &desk.provider.logout_token(&json!({ "sub": "1", "jti": "t" }))).await;
    assert_eq!((told.answer.status, told.retry_after.as_str(), told.cache.as_str()), (503, "30", "no-store"));

    let town = Town::new().await;
    let refused = town.send_form(SIGN_OUT, &[("logout_token", "a.b.c")]).await;
    refused.fails(404, "M_UNRECOGNIZED");
    assert_eq!(town.raw("hs1", "GET", SIGN_OUT, None, Vec::new()).await.status, 405);
}

#[tokio::test]
async fn one_token_that_is_brought_again_and_again_keeps_no_other_one_out() {
    let desk = Desk::new().await;
    let mut browser = desk.browser("s-1").await;
    let old = desk.provider.logout_token(&json!({ "sub": "2", "jti": "t-old" }));
    assert_eq!(desk.tell("hs1", &old).await.answer.status, 200);
    for _ in 0..5_100 {
        assert_eq!(desk.tell("hs1", &old).await.answer.status, 400);
    }
    desk.sign_out(json!({ "sid": "s-1", "jti": "t-new" })).await;
    browser.open("/_yakuba/account").await;
    assert!(!browser.page.contains("@hanako:hs1"), "{}", browser.page);
}
