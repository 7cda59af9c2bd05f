//! The pages that clients open in a browser.

use std::time::Duration;

use account::{EmailAtRegistration, MailSettings, Registration, Settings, Terms, TermsText};
use base::{Clock, ManualClock};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use web::Body;

use crate::town::{Answer, PASSWORD, Town, open_registration};

const LOGIN: &str = "/_matrix/client/v3/login";
const REGISTER: &str = "/_matrix/client/v3/register";
const SSO: &str = "/_matrix/client/v3/login/sso/redirect";
const EMAIL: &str = "/_yakuba/client/email";

fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let escaped = |text: &str| -> String {
        text.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect()
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.join("&").into_bytes()
}

impl Town {
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send_as("hs1", path, form(fields)).await
    }

    async fn send_as(&self, host: &str, path: &str, form: Vec<u8>) -> Answer {
        let request = http::Request::builder().method("POST").uri(path).header("host", host);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.answer(request.body(Body::from(form)).unwrap()).await
    }

    async fn open(&self, path: &str) -> Answer {
        self.ask("GET", path, Value::Null).await
    }
}

fn fallback(stage: &str) -> String {
    format!("/_matrix/client/v3/auth/{stage}/fallback/web")
}

async fn town_with(change: impl FnOnce(&mut Settings)) -> (Town, ManualClock) {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let mut settings = open_registration();
    settings.mail = Some(MailSettings {
        base_url: "https://hs1.example".to_owned(),
        at_registration: EmailAtRegistration::Required,
        domains: Vec::new(),
        hides_who_is_known: true,
        next_hosts: vec!["app.example".to_owned()],
    });
    change(&mut settings);
    (Town::posting(clock, settings).await, hand)
}

/// The value of a hidden field.
fn field(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!(r#"name="{name}" value=""#)).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn word(town: &Town) -> String {
    let letter = town.letter().await;
    letter.text.split("&word=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// C61.
#[tokio::test]
async fn every_step_of_registration_has_a_page_and_a_client_that_knows_none_of_them_gets_its_account() {
    let terms = Terms {
        id: "terms_of_use".to_owned(),
        version: "1.0".to_owned(),
        texts: vec![TermsText {
            language: "ja".to_owned(),
            name: "利用規約<b>".to_owned(),
            url: "https://a/t".to_owned(),
        }],
    };
    let (town, _hand) = town_with(|settings| {
        settings.registration = Registration::Token;
        settings.registration_tokens = vec!["sakura".to_owned()];
        settings.terms = vec![terms];
    })
    .await;
    let asked = town.ask("POST", REGISTER, json!({ "username": "hanako", "password": PASSWORD })).await;
    let session = asked.body["session"].as_str().unwrap().to_owned();
    let stages = asked.body["flows"][0]["stages"].as_array().unwrap().clone();
    assert_eq!(stages.len(), 3);
    for stage in &stages {
        let page = town.open(&format!("{}?session={session}", fallback(stage.as_str().unwrap()))).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("本人確認") && page.text.contains("続ける"), "{}", page.text);
        assert!(
            page.text.contains(&session) && !page.text.contains("<b>") && !page.text.contains("onAuthDone")
        );
    }

    let wrong = town
        .send(&fallback("m.login.registration_token"), &[("session", &session), ("token", "momiji")])
        .await;
    assert!(
        wrong.status == 403 && wrong.text.contains("<form") && wrong.text.contains("もう一度"),
        "{}",
        wrong.text
    );
    let done = town
        .send(&fallback("m.login.registration_token"), &[("session", &session), ("token", "sakura")])
        .await;
    assert!(done.status == 200 && done.text.contains("window.onAuthDone()"), "{}", done.text);
    town.send(&fallback("m.login.terms"), &[("session", &session)]).await;

    let email = fallback("m.login.email.identity");
    let bad = town.send(&email, &[("session", &session), ("email", "no address")]).await;
    assert!(bad.status == 400 && bad.text.contains(r#"name="email""#));
    let sent = town.send(&email, &[("session", &session), ("email", "hanako@example.jp")]).await;
    let (sid, right) = (field(&sent.text, "sid"), word(&town).await);
    let wrong = town.send(&email, &[("session", &session), ("sid", &sid), ("word", "AAAA")]).await;
    assert!(wrong.status == 403 && wrong.text.contains(r#"name="word""#) && wrong.text.contains("<!DOCTYPE"));
    let early = town.ask("POST", REGISTER, json!({ "auth": { "session": session } })).await;
    assert_eq!((early.status, early.body["completed"].as_array().unwrap().len()), (401, 2));
    let done = town.send(&email, &[("session", &session), ("sid", &sid), ("word", &right)]).await;
    assert!(done.text.contains("window.onAuthDone()"), "{}", done.text);

    let made = town.ask("POST", REGISTER, json!({ "auth": { "session": session } })).await.ok();

    assert_eq!(made["user_id"], "@hanako:hs1");
    let listed = town.person("hs1", &made).get("/account/3pid").await.ok();
    assert_eq!(listed["threepids"][0]["address"], "hanako@example.jp");
}

#[tokio::test]
async fn the_password_is_given_on_a_page_by_the_user_whose_session_it_is() {
    let town = Town::new().await;
    let (hanako, _taro) = (town.user("hanako").await, town.user("taro").await);
    let asked = hanako.ask("DELETE", &format!("/devices/{}", hanako.device), Value::Null).await;
    let session = asked.body["session"].as_str().unwrap().to_owned();
    let path = fallback("m.login.password");
    let page = town.open(&format!("{path}?session={session}")).await;
    assert!(page.status == 200 && page.text.contains(r#"name="password""#));
    for (name, word) in
        [("hanako", "wrong"), ("taro", PASSWORD), ("nobody", PASSWORD), ("@hanako:hs2", PASSWORD), ("", "")]
    {
        let wrong = town.send(&path, &[("session", &session), ("name", name), ("password", word)]).await;
        assert!(
            wrong.status == 403 && wrong.text.contains("<form") && !wrong.text.contains("onAuthDone"),
            "{name}"
        );
    }
    let bare = json!({ "auth": { "session": session } });
    let early = hanako.ask("DELETE", &format!("/devices/{}", hanako.device), bare.clone()).await;
    assert_eq!(early.status, 401);

    let done = town.send(&path, &[("session", &session), ("name", "Hanako"), ("password", PASSWORD)]).await;

    assert!(done.text.contains("window.onAuthDone()"), "{}", done.text);
    hanako.ask("DELETE", &format!("/devices/{}", hanako.device), bare).await.ok();
}

#[tokio::test]
async fn what_was_given_on_a_page_is_worth_nothing_for_another_account_or_request() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let asked = hanako.post("/account/deactivate", json!({})).await;
    let session = asked.body["session"].as_str().unwrap().to_owned();
    let fields = [("session", session.as_str()), ("name", "hanako"), ("password", PASSWORD)];
    town.send(&fallback("m.login.password"), &fields).await;
    let bare = json!({ "auth": { "session": session } });
    hanako.ask("DELETE", "/devices/OTHER", bare.clone()).await.fails(403, "M_FORBIDDEN");
    // The account has changed since.
    let change =
        json!({ "auth": hanako.proof(PASSWORD), "new_password": "another word", "logout_devices": false });
    hanako.post("/account/password", change).await.ok();
    assert_eq!(hanako.post("/account/deactivate", bare).await.status, 401);
}

#[tokio::test]
async fn pages_of_steps_that_are_over_or_never_were_say_so() {
    let (town, hand) = town_with(|_| {}).await;
    let asked = town.ask("POST", REGISTER, json!({ "username": "hanako" })).await;
    let session = asked.body["session"].as_str().unwrap().to_owned();
    assert_eq!(town.open(&fallback("m.login.dummy")).await.status, 400);
    let unknown = town.open(&format!("{}?session={session}", fallback("m.login.recaptcha"))).await;
    assert!(unknown.status == 404 && unknown.text.contains("ページが見つかりません"));
    for path in [
        format!("{}?session=never-was", fallback("m.login.terms")),
        format!("{}?session={}", fallback("m.login.email.identity"), "x".repeat(2_000)),
    ] {
        let over = town.open(&path).await;
        assert!(over.status == 404 && over.text.contains("アプリからもう一度"), "{}", over.text);
    }
    hand.advance(Duration::from_secs(60 * 60));
    let over = town
        .send(&fallback("m.login.email.identity"), &[("session", &session), ("email", "a@example.jp")])
        .await;
    assert_eq!(over.status, 404);
    assert!(town.has_no_letter());
    let twice = town.send_as("hs1", &fallback("m.login.terms"), b"session=a&session=b".to_vec()).await;
    assert_eq!(twice.status, 400);
}

/// C83.
#[tokio::test]
async fn the_link_of_a_mail_asks_first_and_explains_itself_when_it_was_used() {
    let (town, _hand) = town_with(|_| {}).await;
    let ask = |link: &'static str| {
        let body = json!({ "email": "hanako@example.jp", "client_secret": link.replace(['/', ':'], "."), "send_attempt": 1, "next_link": link });
        town.ask("POST", "/_matrix/client/v3/register/email/requestToken", body)
    };
    ask("https://evil.example/x").await.ok();
    let text = town.letter().await.text;
    let link = text.split_whitespace().find(|word| word.starts_with("https://hs1.example/")).unwrap();
    let path = link.strip_prefix("https://hs1.example").unwrap().to_owned();
    let (sid, word) = path.split_once("sid=").unwrap().1.split_once("&word=").unwrap();
    // A program that opens links confirms nothing.
    for _ in 0..2 {
        let page = town.open(&path).await;
        assert!(page.status == 200 && page.text.contains("hanako@example.jp") && page.text.contains("<form"));
    }
    let creds = |secret: &str| json!({ "sid": sid, "client_secret": secret });
    let register = |secret: &'static str| {
        let auth = json!({ "type": "m.login.email.identity", "threepid_creds": creds(secret) });
        town.ask("POST", REGISTER, json!({ "username": "hanako", "password": PASSWORD, "auth": auth }))
    };
    register("https...evil.example.x").await.fails(401, "M_UNAUTHORIZED");
    let wrong = town.send(EMAIL, &[("sid", sid), ("word", "AAAA")]).await;
    assert!(wrong.status == 400 && wrong.text.contains("<form") && !wrong.text.contains(word));
    let done = town.send(EMAIL, &[("sid", sid), ("word", word)]).await;
    // Not to a host that is not named.
    assert!(done.status == 200 && done.text.contains("確認しました"), "{}", done.text);
    register("https...evil.example.x").await.ok();

    for answer in [town.open(&path).await, town.send(EMAIL, &[("sid", sid), ("word", word)]).await] {
        assert!(answer.status == 404 && answer.text.contains("すでに使われた"), "{}", answer.text);
    }

    let next = json!({ "email": "taro@example.jp", "client_secret": "a", "send_attempt": 1, "next_link": "https://app.example/#/r" });
    town.ask("POST", "/_matrix/client/v3/register/email/requestToken", next).await.ok();
    let text = town.letter().await.text;
    let (sid, rest) = text.split_once("?sid=").unwrap().1.split_once("&word=").unwrap();
    let body = form(&[("sid", sid), ("word", rest.split_whitespace().next().unwrap())]);
    let request = http::Request::builder().method("POST").uri(EMAIL).header("host", "hs1");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let led = town.respond(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(
        (led.status().as_u16(), &led.headers()["location"]),
        (303, &"https://app.example/#/r".parse().unwrap())
    );
}

#[tokio::test]
async fn an_app_gets_a_login_token_by_way_of_a_page_that_names_it() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    town.user("hanako").await;
    assert_eq!(town.open(LOGIN).await.ok()["flows"][2], json!({ "type": "m.login.sso" }));
    // An authority that does not offer it has no such page either.
    let elsewhere = town.raw("hs2", "GET", LOGIN, None, Vec::new()).await.ok();
    assert!(elsewhere["flows"].get(2).is_none());
    for (method, path) in
        [("GET", format!("{SSO}?redirectUrl=https://app.example/")), ("POST", SSO.to_owned())]
    {
        assert_eq!(town.raw("hs2", method, &path, None, Vec::new()).await.status, 404);
    }
    for (path, status) in [
        (SSO.to_owned(), 400),
        (format!("{SSO}?redirectUrl=javascript:alert(1)"), 400),
        (format!("{SSO}/oidc?redirectUrl=https://app.example/"), 404),
    ] {
        let refused = town.open(&path).await;
        assert!(
            refused.status == status && !refused.text.contains("<form method=\"post\" action=\"/_matrix")
        );
    }
    // A provider that we do not know: a page for a browser, an error for what is none.
    let unknown = format!("{SSO}/oidc?redirectUrl=https://app.example/");
    town.open(&unknown).await.fails(404, "M_NOT_FOUND");
    let browser = http::Request::builder().uri(&unknown).header("host", "hs1");
    let browser = browser.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let page = town.answer(browser.body(Body::empty()).unwrap()).await;
    assert!(page.status == 404 && page.text.contains("<html"), "{}", page.text);

    let request =
        http::Request::builder().uri(format!("{SSO}/password?redirectUrl=https://app.example/%3Fa%3Db"));
    let page = town.respond(request.header("host", "hs1").body(Body::empty()).unwrap()).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(
        policy.contains("form-action 'self' https://app.example")
            && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert_eq!(page.headers()["cache-control"], "no-store");
    let text = String::from_utf8(page.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.contains("<code>https://app.example</code>"), "{text}");

    let target = "https://app.example/?a=b&loginToken=planted#/done";
    let wrong = town.send(SSO, &[("redirectUrl", target), ("name", "hanako"), ("password", "wrong")]).await;
    assert!(wrong.status == 403 && wrong.text.contains("違います"));
    let token = || async {
        let fields = [("redirectUrl", target), ("name", "hanako"), ("password", PASSWORD)];
        let request = http::Request::builder().method("POST").uri(SSO).header("host", "hs1");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let led = town.respond(request.body(Body::from(form(&fields))).unwrap()).await;
        let to = led.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(
            (led.status().as_u16(), &led.headers()["referrer-policy"]),
            (303, &"no-referrer".parse().unwrap())
        );
        let (before, rest) = to.split_once("loginToken=").unwrap();
        let (token, after) = rest.split_once('#').unwrap();
        assert_eq!((before, after), ("https://app.example/?a=b&", "/done"));
        token.to_owned()
    };
    let log_in = |token: String| town.ask("POST", LOGIN, json!({ "type": "m.login.token", "token": token }));
    let given = token().await;
    assert_eq!(log_in(given.clone()).await.ok()["user_id"], "@hanako:hs1");
    log_in(given).await.fails(403, "M_FORBIDDEN");
    let late = token().await;
    hand.advance(Duration::from_secs(30));
    log_in(late).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn who_guesses_on_a_page_is_stopped_as_everywhere() {
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    town.user("hanako").await;
    let fields = [("redirectUrl", "https://app.example/"), ("name", "hanako"), ("password", "wrong")];
    let mut statuses = Vec::new();
    for _ in 0..101 {
        statuses.push(town.send(SSO, &fields).await.status);
    }
    assert_eq!((statuses[0], statuses[100]), (403, 429));
    let login = json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD });
    town.ask("POST", LOGIN, login).await.fails(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn the_login_page_hands_the_session_to_the_app_that_opened_it() {
    let town = Town::new().await;
    town.user("hanako").await;
    let path = "/_matrix/static/client/login/";
    let page = town.open(&format!("{path}?device_id=PHONE%22%3E&initial_device_display_name=x")).await;
    assert!(
        page.status == 200
            && page.text.contains("サインイン")
            && page.text.contains(r#"value="PHONE&quot;&gt;""#)
    );
    let wrong = town.send(path, &[("name", "hanako"), ("password", "wrong"), ("device_id", "PHONE")]).await;
    assert!(
        wrong.status == 403 && wrong.text.contains(r#"value="PHONE""#) && !wrong.text.contains("onLogin")
    );
    let done = town.send(path, &[("name", "hanako"), ("password", PASSWORD), ("device_id", "PHONE")]).await;
    assert!(done.text.contains("window.matrixLogin.onLogin(session)"), "{}", done.text);
    let data = done
        .text
        .split_once(r#"data-session=""#)
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap()
        .replace("&quot;", "\"");
    let session: Value = serde_json::from_str(&data).unwrap();
    let who = town.person("hs1", &session).get("/account/whoami").await.ok();
    assert_eq!((&who["user_id"], &who["device_id"]), (&json!("@hanako:hs1"), &json!("PHONE")));
}
