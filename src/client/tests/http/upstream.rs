//! Signing in at an identity provider.

mod sign_outs;

use std::{collections::HashMap, sync::Arc, time::Duration};

use account::{FactorsFor, Settings, Upstream};
use base::{Clock, ManualClock};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use ruma::OwnedServerName;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use upstream::{Answer, Label, Question, Web, WebError};
use url::form_urlencoded;

use crate::{
    emails::mail_settings,
    oauth::{Browser, REGISTER, TOKEN, app, scope},
    town::{PASSWORD, Town, open_registration},
};

const ISSUER: &str = "https://id.example.jp";
const OTHER_ISSUER: &str = "https://id.another.jp";
const LOGIN: &str = "/_matrix/client/v3/login";

/// An identity provider, and how it misbehaves.
struct Provider {
    issuer: &'static str,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    key: EcdsaKeyPair,
    key_id: u32,
    /// Codes that it gave: nonce, challenge, claims.
    codes: HashMap<String, (String, String, Value)>,
    is_away: bool,
    /// Claims that stand in the place of right ones.
    instead: Value,
    /// What it tells of its users besides.
    userinfo: Value,
}

fn new_key() -> EcdsaKeyPair {
    let chance = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &chance).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &chance).unwrap()
}

impl Provider {
    /// Somebody signs in there whom a browser was sent for: where it is sent back to.
    fn sign_in(&self, sent: &HashMap<String, String>, claims: Value) -> String {
        let mut state = self.state.lock();
        let code = format!("c{}", state.codes.len());
        let kept = (sent["nonce"].clone(), sent["code_challenge"].clone(), claims);
        state.codes.insert(code.clone(), kept);
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &sent["state"])
            .append_pair("iss", self.issuer)
            .finish();
        format!("{}?{query}", sent["redirect_uri"])
    }

    fn tokens(&self, form: &HashMap<String, String>) -> Option<Value> {
        let mut state = self.state.lock();
        let (nonce, challenge, claims) = state.codes.remove(&form["code"])?;
        let hashed = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
        assert_eq!(form["redirect_uri"], "https://hs1/_yakuba/upstream/callback");
        if hashed != challenge {
            return None;
        }
        let now = self.clock.now().millis() / 1_000;
        let mut all =
            json!({ "iss": self.issuer, "aud": "yakuba", "nonce": nonce, "iat": now, "exp": now + 300 });
        for more in [&claims, &state.instead] {
            for (name, value) in more.as_object().unwrap() {
                all[name] = value.clone();
            }
        }
        let token = state.sign(&json!({ "alg": "ES256", "kid": state.key_id.to_string() }), &all);
        Some(json!({ "access_token": "at", "token_type": "Bearer", "id_token": token }))
    }
}

impl State {
    fn sign(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(head), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// The way to several providers.
struct Providers(Vec<Arc<Provider>>);

#[async_trait::async_trait]
impl Web for Providers {
    async fn ask(&self, question: Question) -> Result<Answer, WebError> {
        let whose = self.0.iter().find(|provider| question.url.starts_with(provider.issuer)).unwrap();
        whose.ask(question).await
    }
}

#[async_trait::async_trait]
impl Web for Provider {
    async fn ask(&self, question: Question) -> Result<Answer, WebError> {
        let path = question.url.strip_prefix(self.issuer).unwrap().to_owned();
        if self.state.lock().is_away {
            return Err(WebError("away".to_owned()));
        }
        let issuer = self.issuer;
        let body = match path.as_str() {
            "/.well-known/openid-configuration" => json!({
                "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"),
                "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
                "userinfo_endpoint": format!("{issuer}/me"),
                "authorization_response_iss_parameter_supported": true,
            }),
            "/keys" => {
                let state = self.state.lock();
                let point = state.key.public_key().as_ref();
                let part = |range: std::ops::Range<usize>| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
                json!({ "keys": [{
                    "kty": "EC", "crv": "P-256", "kid": state.key_id.to_string(), "x": part(1..33), "y": part(33..65),
                }] })
            }
            "/me" => {
                assert_eq!(question.authorization.as_deref(), Some("Bearer at"));
                self.state.lock().userinfo.clone()
            }
            _ => {
                // "yakuba" and "s&cret", each escaped.
                assert_eq!(question.authorization.as_deref(), Some("Basic eWFrdWJhOnMlMjZjcmV0"));
                let form = question.form.unwrap();
                match self.tokens(&form_urlencoded::parse(form.as_bytes()).into_owned().collect()) {
                    Some(tokens) => tokens,
                    None => {
                        let body = json!({ "error": "invalid_grant" }).to_string().into();
                        return Ok(Answer { status: 400, retry_after: None, body });
                    }
                }
            }
        };
        Ok(Answer { status: 200, retry_after: None, body: body.to_string().into() })
    }
}

struct Desk {
    town: Town,
    provider: Arc<Provider>,
    /// That of `hs2`, which means harm.
    other: Arc<Provider>,
    hand: ManualClock,
}

impl Desk {
    async fn new() -> Desk {
        Desk::of(|_| {}, |_| {}).await
    }

    async fn of(
        change: impl FnOnce(&mut Settings),
        change_provider: impl FnOnce(&mut upstream::Settings),
    ) -> Desk {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let provider = |issuer| {
            let state = State {
                key: new_key(),
                key_id: 1,
                codes: HashMap::new(),
                is_away: false,
                instead: json!({}),
                userinfo: json!({}),
            };
            Arc::new(Provider { issuer, clock: clock.clone(), state: Mutex::new(state) })
        };
        let (provider, other) = (provider(ISSUER), provider(OTHER_ISSUER));
        let mut settings = Settings {
            upstream: Some(Upstream { makes_accounts: true, demands_way: false }),
            ..open_registration()
        };
        change(&mut settings);
        let mut of_provider = upstream::Settings {
            issuer: ISSUER.to_owned(),
            client_id: "yakuba".to_owned(),
            client_secret: Some("s&cret".to_owned()),
            subject: "sub".to_owned(),
            scopes: vec!["profile".to_owned()],
            localpart: "{preferred_username}".parse().unwrap(),
            display_name: Some("{name}".parse().unwrap()),
            email: None,
            acr_values: Vec::new(),
            required_amr: Vec::new(),
            staff: None,
            label: Label { japanese: "職員認証".to_owned(), english: "Staff sign-in".to_owned() },
        };
        change_provider(&mut of_provider);
        let of_other = upstream::Settings { issuer: OTHER_ISSUER.to_owned(), ..of_provider.clone() };
        let all = [("hs1", of_provider), ("hs2", of_other)];
        let all = all.map(|(name, settings)| (OwnedServerName::try_from(name).unwrap(), settings));
        let web = Arc::new(Providers(vec![provider.clone(), other.clone()]));
        let town = Town::with_providers(clock, settings, all.into(), web).await;
        Desk { town, provider, other, hand }
    }

    /// A browser that has been sent to the provider from the page of this path.
    async fn sent(&self, path: &str) -> Browser<'_> {
        let mut browser = Browser::new(&self.town);
        browser.open(path).await;
        self.send(&mut browser).await;
        browser
    }

    /// Follows the button to the provider.
    async fn send(&self, browser: &mut Browser<'_>) {
        let (_, rest) = browser.page.split_once("id=\"provider\" href=\"").unwrap_or_else(|| {
            panic!("no button: {}", browser.page);
        });
        let path = rest.split('"').next().unwrap().replace("&amp;", "&");
        browser.open(&path).await;
    }

    /// The browser comes back as somebody whom the provider knows so.
    async fn back(&self, browser: &mut Browser<'_>, claims: Value) {
        assert!(browser.location.starts_with("https://id.example.jp/auth?"), "{}", browser.page);
        let uri = self.provider.sign_in(&browser.told(), claims);
        browser.open(&uri).await;
    }
}

fn hanako() -> Value {
    json!({ "sub": "1001", "preferred_username": "Hanako", "name": "山田 花子" })
}

#[tokio::test]
async fn what_is_said_of_people_as_staff_is_told_at_each_sign_in_where_all_of_it_is_said() {
    let staff = upstream::StaffClaims {
        number: "{employee_number}".parse().unwrap(),
        name: "{name}".parse().unwrap(),
        reading: None,
        unit: "{department}".parse().unwrap(),
        title: Some("{title}".parse().unwrap()),
    };
    let desk = Desk::of(|_| {}, |provider| provider.staff = Some(staff)).await;
    desk.provider.state.lock().userinfo = json!({ "sub": "1001" });
    let claims = |more: Value| {
        let mut all = hanako();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for more in [
        // Without a number nobody is known, and what is no text is nothing.
        json!({ "department": "防災課" }),
        json!({ "department": ["防災課", "人事課"], "employee_number": "00012" }),
        // What would be a line, a column or a file of its own for others.
        json!({ "department": "防災課\n1\t別人", "employee_number": "00012" }),
        json!({ "department": "防災課", "employee_number": "00012\u{0}" }),
        // A list of one is that one.
        json!({ "department": ["税務課"], "employee_number": ["00012"] }),
        json!({ "department": "総務部 防災課", "employee_number": " 00012 ", "title": "課長補佐" }),
        json!({ "department": "人事課", "employee_number": "00012" }),
    ] {
        let mut browser = desk.sent("/_yakuba/account").await;
        desk.back(&mut browser, claims(more)).await;
        assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
    }
    let heard = desk.town.heard.0.lock().clone();
    let said: Vec<_> = heard
        .iter()
        .map(|(user, staff)| {
            (user.as_str(), staff.number.as_str(), staff.unit.as_str(), staff.title.chars().count())
        })
        .collect();
    let of = |unit, letters| ("@hanako:hs1", "00012", unit, letters);
    assert_eq!(said, [of("税務課", 0), of("総務部 防災課", 4), of("人事課", 0)]);
}

#[tokio::test]
async fn of_somebody_in_too_many_groups_nothing_is_known_and_nothing_changes() {
    let desk = Desk::new().await;
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, hanako()).await;
    assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
    let (user, by) = (ruma::user_id!("@hanako:hs1"), account::Actor::operator("test"));
    desk.town.accounts.set_administrator(user, true, &by).await.unwrap();
    let before = desk.town.accounts.find_account(user).await.unwrap().unwrap();
    // 201 groups do not fit into a token: it says where they are had.
    let mut claims = hanako();
    claims["hasgroups"] = json!(true);
    claims["_claim_names"] = json!({ "groups": "src1" });
    claims["_claim_sources"] =
        json!({ "src1": { "endpoint": "https://graph.windows.net/x/getMemberObjects" } });
    for _ in 0..2 {
        let mut browser = desk.sent("/_yakuba/account").await;
        desk.back(&mut browser, claims.clone()).await;
        assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
    }
    let after = desk.town.accounts.find_account(user).await.unwrap().unwrap();
    assert!(after.admin && !after.deactivated);
    assert_eq!(after.profile.displayname, before.profile.displayname);
}

#[tokio::test]
async fn the_first_sign_in_makes_an_account_and_the_second_finds_it() {
    let desk = Desk::new().await;
    let mut browser = desk.sent("/_yakuba/account").await;
    let sent = browser.told();
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "yakuba"),
        ("redirect_uri", "https://hs1/_yakuba/upstream/callback"),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
        ("ui_locales", "en"),
    ] {
        assert_eq!(sent[name], value, "{name}");
    }
    desk.back(&mut browser, hanako()).await;
    assert!(browser.page.contains("@hanako:hs1") && browser.page.contains("山田 花子"), "{}", browser.page);

    // It is found by what the provider calls her, whatever else has changed.
    let mut other = desk.sent("/_yakuba/account").await;
    desk.back(&mut other, json!({ "sub": "1001", "preferred_username": "sato", "name": "佐藤 花子" })).await;
    assert!(other.page.contains("@hanako:hs1"), "{}", other.page);
    // Somebody else at the same provider is somebody else.
    let mut third = desk.sent("/_yakuba/account").await;
    desk.back(&mut third, json!({ "sub": "1002", "preferred_username": "taro", "name": "太郎" })).await;
    assert!(third.page.contains("@taro:hs1"), "{}", third.page);
}

#[tokio::test]
async fn an_app_gets_its_session_by_oauth_and_another_a_login_token() {
    let desk = Desk::of(|settings| settings.passwords = false, |_| {}).await;
    let town = &desk.town;
    let client = town.client(app()).await;
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest("v".repeat(43)));
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", &client)
        .append_pair("redirect_uri", "https://app.example.jp/callback")
        .append_pair("scope", &scope("PHONEPHONE"))
        .append_pair("state", "s")
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .finish();
    let mut browser = desk.sent(&format!("/_yakuba/oauth2/authorize?{query}")).await;
    desk.back(&mut browser, hanako()).await;
    assert!(browser.page.contains("PHONEPHONE") && browser.page.contains("@hanako:hs1"), "{}", browser.page);
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    let code = browser.told()["code"].clone();
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", &client),
        ("code", &code),
        ("redirect_uri", "https://app.example.jp/callback"),
        ("code_verifier", &"v".repeat(43)),
    ];
    town.send_form(TOKEN, &fields).await.ok();

    let flows = town.ask("GET", LOGIN, Value::Null).await.ok().to_string();
    assert!(flows.contains("m.login.sso") && !flows.contains("m.login.password"), "{flows}");
    let refused = json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD });
    town.ask("POST", LOGIN, refused).await.fails(403, "M_FORBIDDEN");
    // Nobody is let in by a link alone.
    let path = "/_yakuba/sign-in-for-app?redirectUrl=https%3A%2F%2Fapp.example.jp%2F%23%2Flogin";
    browser.open(path).await;
    assert!(browser.page.contains("app.example.jp") && browser.location.is_empty(), "{}", browser.page);
    browser.send("/_yakuba/sign-in-for-app", &[]).await;
    assert!(browser.location.starts_with("https://app.example.jp/?loginToken="), "{}", browser.location);
    let (_, token) = browser.location.split_once("loginToken=").unwrap();
    let token = token.split('#').next().unwrap();
    let session = town.ask("POST", LOGIN, json!({ "type": "m.login.token", "token": token })).await.ok();
    assert_eq!(session["user_id"], "@hanako:hs1");
}

#[tokio::test]
async fn nothing_comes_in_that_was_not_sent_away_from_this_browser_a_moment_ago() {
    let desk = Desk::new().await;
    let mut browser = desk.sent("/_yakuba/account").await;
    let uri = desk.provider.sign_in(&browser.told(), hanako());
    let mut other = Browser::new(&desk.town);
    other.open("/_yakuba/sign-in").await;
    other.open(&uri).await;
    assert!(other.status == 400 && other.page.contains("another browser"), "{}", other.page);
    let without = uri.split("&state=").next().unwrap().to_owned();
    browser.open(&without).await;
    assert_eq!(browser.status, 400, "{}", browser.page);
    browser.open(&uri.replace("id.example.jp", "evil.example")).await;
    assert_eq!(browser.status, 502, "{}", browser.page);
    browser.open(uri.split("&iss=").next().unwrap()).await;
    assert_eq!(browser.status, 502, "{}", browser.page);
    desk.hand.advance(Duration::from_secs(900));
    browser.open(&uri).await;
    assert_eq!(browser.status, 400, "{}", browser.page);
    browser.open("/_yakuba/account").await;
    assert!(browser.page.contains("id=\"provider\""), "{}", browser.page);
}

#[tokio::test]
async fn a_token_that_is_wrong_in_anything_signs_nobody_in() {
    let desk = Desk::new().await;
    let now = 1_700_000_000;
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("aud", json!("another")),
        ("nonce", json!("another")),
        ("exp", json!(now - 500)),
        ("iat", json!(now - 5_000)),
        ("sub", Value::Null),
    ] {
        desk.provider.state.lock().instead = json!({ name: value });
        let mut browser = desk.sent("/_yakuba/account").await;
        desk.back(&mut browser, hanako()).await;
        assert!(browser.status == 502 && browser.page.contains("role=\"alert\""), "{name} {}", browser.page);
    }
    desk.provider.state.lock().instead = json!({});
    // The code of one browser's attempt does not fit another attempt.
    let (mut first, mut second) = (desk.sent("/_yakuba/account").await, desk.sent("/_yakuba/account").await);
    let of_first = desk.provider.sign_in(&first.told(), hanako());
    let of_second =
        desk.provider.sign_in(&second.told(), json!({ "sub": "9", "preferred_username": "mallory" }));
    let code = |uri: &str| uri.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    first.open(&of_first.replace(&code(&of_first), &code(&of_second))).await;
    assert_eq!(first.status, 502, "{}", first.page);
    // A code is good once.
    let mut third = desk.sent("/_yakuba/account").await;
    let uri = desk.provider.sign_in(&third.told(), hanako());
    third.open(&uri).await;
    assert!(third.page.contains("@hanako:hs1"), "{}", third.page);
    second.open(&uri).await;
    assert_eq!(second.status, 400, "{}", second.page);
}

#[tokio::test]
async fn a_name_that_is_somebodys_is_not_given_away_and_its_owner_links_it() {
    let desk = Desk::new().await;
    desk.town.user("hanako").await;
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, hanako()).await;
    assert!(browser.status == 403 && browser.page.contains("is taken"), "{}", browser.page);
    browser.open("/_yakuba/account").await;
    browser.sign_in("hanako", PASSWORD).await;
    browser.send("/_yakuba/account", &[("do", "link"), ("password", "wrong")]).await;
    assert_eq!(browser.status, 403, "{}", browser.page);
    browser.open("/_yakuba/account?action=org.matrix.profile").await;
    browser.send_with("link", &[("do", "link"), ("password", PASSWORD)]).await;
    let (_, rest) = browser.page.split_once("id=\"provider\" href=\"").unwrap();
    browser.location = rest.split('"').next().unwrap().replace("&amp;", "&");
    desk.back(&mut browser, hanako()).await;
    assert!(browser.page.contains("id.example.jp"), "{}", browser.page);

    let mut again = desk.sent("/_yakuba/account").await;
    desk.back(&mut again, hanako()).await;
    assert!(again.page.contains("@hanako:hs1"), "{}", again.page);
}

#[tokio::test]
async fn where_accounts_are_linked_only_a_stranger_gets_none() {
    let only = |settings: &mut Settings| {
        settings.upstream = Some(Upstream { makes_accounts: false, demands_way: false })
    };
    let desk = Desk::of(only, |_| {}).await;
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, hanako()).await;
    assert!(browser.status == 403 && browser.page.contains("No account here"), "{}", browser.page);
    desk.town
        .ask("GET", "/_matrix/client/v3/profile/@hanako:hs1", Value::Null)
        .await
        .fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn what_is_missing_is_asked_for_and_then_named() {
    let desk = Desk::new().await;
    desk.provider.state.lock().userinfo = json!({ "sub": "7", "preferred_username": "jiro", "name": "次郎" });
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, json!({ "sub": "7" })).await;
    assert!(browser.page.contains("@jiro:hs1"), "{}", browser.page);
    // What is told of somebody else is not taken.
    let mut other = desk.sent("/_yakuba/account").await;
    desk.back(&mut other, json!({ "sub": "8" })).await;
    assert_eq!(other.status, 502, "{}", other.page);
    desk.provider.state.lock().userinfo = json!({ "sub": "8" });
    let mut third = desk.sent("/_yakuba/account").await;
    desk.back(&mut third, json!({ "sub": "8" })).await;
    assert!(third.status == 403 && third.page.contains("preferred_username"), "{}", third.page);
}

#[tokio::test]
async fn new_keys_of_the_provider_are_found_and_an_outage_costs_nobody_his_session() {
    let desk = Desk::new().await;
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, hanako()).await;
    {
        let mut state = desk.provider.state.lock();
        (state.key, state.key_id) = (new_key(), 2);
    }
    let mut other = desk.sent("/_yakuba/account").await;
    desk.back(&mut other, hanako()).await;
    assert!(other.page.contains("@hanako:hs1"), "{}", other.page);

    desk.provider.state.lock().is_away = true;
    desk.hand.advance(Duration::from_secs(3_600));
    // Sent away by what is known; the code cannot be traded.
    let mut late = desk.sent("/_yakuba/account").await;
    desk.back(&mut late, hanako()).await;
    assert!(late.status == 503 && late.page.contains("go on working"), "{}", late.page);
    browser.open("/_yakuba/account").await;
    assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
}

#[tokio::test]
async fn who_refuses_at_the_provider_is_told_so_and_a_demanded_way_of_authentication_is_demanded() {
    let desk = Desk::of(|_| {}, |provider| provider.acr_values = vec!["mfa".to_owned()]).await;
    let mut browser = desk.sent("/_yakuba/account").await;
    let sent = browser.told();
    assert_eq!(sent["acr_values"], "mfa");
    let state = pages_escape(&sent["state"]);
    let refused = "/_yakuba/upstream/callback?error=access_denied&iss=https://id.example.jp&state=";
    browser.open(&format!("{refused}{state}")).await;
    assert!(browser.status == 403 && browser.page.contains("cancelled"), "{}", browser.page);
    let mut weak = desk.sent("/_yakuba/account").await;
    desk.back(&mut weak, hanako()).await;
    assert!(weak.status == 403 && weak.page.contains("second factor"), "{}", weak.page);
    let mut strong = desk.sent("/_yakuba/account").await;
    let mut claims = hanako();
    claims["acr"] = json!("mfa");
    desk.back(&mut strong, claims).await;
    assert!(strong.page.contains("@hanako:hs1"), "{}", strong.page);
}

fn pages_escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn a_factor_is_asked_for_behind_the_provider_unless_a_way_of_authentication_is_demanded_there() {
    for demands_way in [false, true] {
        let change = |settings: &mut Settings| {
            settings.factors = FactorsFor::Everybody;
            settings.upstream = Some(Upstream { makes_accounts: true, demands_way });
        };
        let desk = Desk::of(change, |_| {}).await;
        let mut browser = desk.sent("/_yakuba/account").await;
        desk.back(&mut browser, hanako()).await;
        assert_eq!(browser.page.contains("Set up a second factor"), !demands_way, "{}", browser.page);
        browser.open("/_yakuba/account").await;
        assert_eq!(browser.page.contains("Display name"), demands_way, "{}", browser.page);
    }
}

#[tokio::test]
async fn an_authority_without_a_provider_has_none_of_this() {
    let town = Town::new().await;
    let mut browser = Browser::new(&town);
    for path in ["/_yakuba/upstream", "/_yakuba/upstream/callback?state=x&code=y"] {
        browser.open(path).await;
        assert_eq!(browser.status, 404, "{path} {}", browser.page);
    }
    browser.open("/_yakuba/sign-in").await;
    assert!(!browser.page.contains("id=\"provider\""), "{}", browser.page);
    town.ask("POST", REGISTER, app()).await;
}

#[tokio::test]
async fn of_three_tabs_all_get_where_they_were_going() {
    let desk = Desk::new().await;
    let mut browser = Browser::new(&desk.town);
    let mut back = Vec::new();
    for path in ["/_yakuba/account?tab=1", "/_yakuba/account?tab=2", "/_yakuba/account?tab=3"] {
        browser.open(&format!("/_yakuba/sign-in?back={}", pages_escape(path))).await;
        desk.send(&mut browser).await;
        back.push(desk.provider.sign_in(&browser.told(), hanako()));
    }
    // The last one comes back first, and signs in.
    browser.open(&back[2]).await;
    assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
    for (tab, uri) in back[..2].iter().enumerate() {
        browser.open(uri).await;
        let href = format!("id=\"go-on\" href=\"/_yakuba/account?tab={}\"", tab + 1);
        assert!(browser.status == 200 && browser.page.contains(&href), "{} {}", browser.status, browser.page);
        browser.open(&format!("/_yakuba/account?tab={}", tab + 1)).await;
        assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
    }
    // Nobody is led elsewhere by what somebody made up.
    let made_up = BASE64_URL_SAFE_NO_PAD.encode([&[0; 33][..], b"https://evil.example/"].concat());
    browser.open(&format!("/_yakuba/upstream/callback?code=c&state={made_up}.AAAA")).await;
    assert!(browser.page.contains("id=\"go-on\" href=\"/_yakuba/account\""), "{}", browser.page);
}

#[tokio::test]
async fn an_address_is_its_providers_word_where_that_has_verified_it_and_links_with_nobody() {
    let takes = |settings: &mut Settings| settings.mail = Some(mail_settings());
    let desk = Desk::of(takes, |provider| provider.email = Some("{email}".parse().unwrap())).await;
    let known = json!({
        "sub": "t", "preferred_username": "taro", "name": "太郎", "email": "taro@example.jp", "email_verified": true,
    });
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, known).await;
    let emails = async |user: &str| {
        let user: ruma::OwnedUserId = user.try_into().unwrap();
        let all = desk.town.accounts.emails(&user).await.unwrap();
        all.into_iter().map(|email| email.email).collect::<Vec<_>>()
    };
    for (n, verified) in [Value::Null, json!(false), json!("true"), json!(true)].into_iter().enumerate() {
        let mut claims = json!({
            "sub": format!("{n}"), "preferred_username": format!("p{n}"), "name": "p", "email": "taro@example.jp",
        });
        claims["email_verified"] = verified;
        let mut browser = desk.sent("/_yakuba/account").await;
        desk.back(&mut browser, claims).await;
        // An account of its own without that address, and not a word of whose it is.
        assert!(browser.page.contains(&format!("@p{n}:hs1")), "{}", browser.page);
        assert!(!browser.page.contains("taro"), "{}", browser.page);
        assert_eq!(emails(&format!("@p{n}:hs1")).await, [""; 0]);
    }
    assert_eq!(emails("@taro:hs1").await, ["taro@example.jp"]);
    let mut claims = json!({
        "sub": "9", "preferred_username": "jiro", "name": "次郎", "email": "jiro@example.jp",
    });
    claims["email_verified"] = json!(true);
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, claims).await;
    assert_eq!(emails("@jiro:hs1").await, ["jiro@example.jp"]);
}

#[tokio::test]
async fn who_has_no_address_or_no_user_name_signs_in_by_the_claim_that_is_set() {
    // Without an address, as of Entra ID.
    let desk = Desk::of(|_| {}, |provider| provider.email = Some("{email}".parse().unwrap())).await;
    desk.provider.state.lock().userinfo = json!({ "sub": "1" });
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, json!({ "sub": "1", "preferred_username": "hanako" })).await;
    assert!(browser.page.contains("@hanako:hs1"), "{}", browser.page);
    // Without a user name, as of Google.
    let by_email = |provider: &mut upstream::Settings| provider.localpart = "{email@}".parse().unwrap();
    let desk = Desk::of(|_| {}, by_email).await;
    desk.provider.state.lock().userinfo = json!({ "sub": "1" });
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, json!({ "sub": "1", "email": "taro@example.jp" })).await;
    assert!(browser.page.contains("@taro:hs1"), "{}", browser.page);
    desk.provider.state.lock().userinfo = json!({ "sub": "2" });
    let mut browser = desk.sent("/_yakuba/account").await;
    desk.back(&mut browser, json!({ "sub": "2" })).await;
    assert!(browser.status == 403 && browser.page.contains("(email)"), "{}", browser.page);
}

#[tokio::test]
async fn who_was_not_authenticated_by_what_is_demanded_is_told_what_is_missing() {
    let desk =
        Desk::of(|_| {}, |provider| provider.required_amr = vec!["pwd otp".to_owned(), "hwk".to_owned()])
            .await;
    for (amr, status, told) in [
        (Value::Null, 403, "does not tell how you were authenticated (amr)"),
        (json!(["pwd"]), 403, "not authenticated strongly enough (amr)"),
        (json!(["otp", "pwd"]), 200, "@hanako:hs1"),
        (json!(["hwk"]), 200, "@hanako:hs1"),
    ] {
        let mut claims = hanako();
        claims["amr"] = amr.clone();
        let mut browser = desk.sent("/_yakuba/account").await;
        desk.back(&mut browser, claims).await;
        assert!(browser.status == status && browser.page.contains(told), "{amr} {}", browser.page);
    }
}
