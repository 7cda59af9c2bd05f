//! Consent for a device without a browser.

use std::time::Duration;

use base::{Clock, ManualClock};
use serde_json::{Value, json};

use crate::{
    oauth::{Browser, TOKEN, app, refresh, scope},
    town::{Answer, PASSWORD, Town},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

struct Desk {
    town: Town,
    hand: ManualClock,
    client: String,
}

impl Desk {
    async fn new() -> Desk {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let town = Town::at(clock).await;
        town.user("hanako").await;
        let client = town.client(app()).await;
        Desk { town, hand, client }
    }

    async fn begin(&self) -> Value {
        self.begin_with(&scope("AAABBBCCCDDD")).await
    }

    async fn begin_with(&self, scope: &str) -> Value {
        let fields = [("client_id", self.client.as_str()), ("scope", scope)];
        self.town.send_form("/_yakuba/oauth2/device", &fields).await.ok()
    }

    /// Asks, some time after the last question.
    async fn poll(&self, begun: &Value, millis: u64) -> Answer {
        self.hand.advance(Duration::from_millis(millis));
        let code = begun["device_code"].as_str().unwrap();
        let fields = [("grant_type", GRANT), ("client_id", &self.client), ("device_code", code)];
        self.town.send_form(TOKEN, &fields).await
    }

    /// Hanako's browser at the link that the device shows.
    async fn linked(&self, begun: &Value) -> Browser<'_> {
        let mut browser = Browser::new(&self.town);
        browser.open(begun["verification_uri_complete"].as_str().unwrap()).await;
        browser.sign_in("hanako", PASSWORD).await;
        browser
    }
}

#[tokio::test]
async fn a_link_with_the_code_asks_for_consent_and_not_for_the_code_again() {
    let desk = Desk::new().await;
    let begun = desk.begin().await;
    assert_eq!((begun["interval"].as_u64(), begun["expires_in"].as_u64()), (Some(5), Some(900)));
    let user_code = begun["user_code"].as_str().unwrap();
    assert_eq!((user_code.len(), &user_code[4..5]), (9, "-"));
    desk.poll(&begun, 0).await.refuses(400, "authorization_pending");

    let mut browser = desk.linked(&begun).await;
    assert!(browser.page.contains(user_code) && browser.page.contains("My App"), "{}", browser.page);
    assert!(!browser.page.contains("type=\"text\"") && !browser.page.contains("class=\"code\""));
    browser.send("/_yakuba/link", &[("decision", "agree")]).await;
    assert!(browser.page.contains("go back to your device"), "{}", browser.page);

    let answer = desk.poll(&begun, 5_000).await.ok();
    let access = answer["access_token"].as_str().unwrap();
    let path = "/_matrix/client/v3/account/whoami";
    let me = desk.town.raw("hs1", "GET", path, Some(access), Vec::new()).await.ok();
    assert_eq!(
        (me["user_id"].as_str(), me["device_id"].as_str()),
        (Some("@hanako:hs1"), Some("AAABBBCCCDDD"))
    );
    assert!(answer["refresh_token"].is_string());

    // The code is spent; what it gave stays, for a device that asks twice has only lost an answer.
    desk.poll(&begun, 5_000).await.refuses(400, "invalid_grant");
    desk.town.raw("hs1", "GET", path, Some(access), Vec::new()).await.ok();
}

#[tokio::test]
async fn a_device_that_its_user_has_signed_in_to_by_password_is_told_that_nothing_comes_of_it() {
    let desk = Desk::new().await;
    let begun = desk.begin().await;
    let identifier = json!({ "type": "m.id.user", "user": "hanako" });
    let log_in = json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD,
        "device_id": "AAABBBCCCDDD" });
    desk.town.ask("POST", "/_matrix/client/v3/login", log_in).await.ok();
    let mut browser = desk.linked(&begun).await;
    browser.send("/_yakuba/link", &[("decision", "agree")]).await;
    assert!(browser.status == 400 && browser.page.contains("in another way"), "{}", browser.page);
    desk.poll(&begun, 5_000).await.refuses(400, "access_denied");
}

// C70
#[tokio::test]
async fn a_session_that_came_by_a_device_with_openid_is_refreshed() {
    let desk = Desk::new().await;
    let begun = desk.begin_with(&format!("openid {}", scope("AAABBBCCCDDD"))).await;
    desk.linked(&begun).await.send("/_yakuba/link", &[("decision", "agree")]).await;
    let mut answer = desk.poll(&begun, 5_000).await.ok();
    for _ in 0..2 {
        let token = answer["refresh_token"].as_str().unwrap();
        answer = refresh(&desk.town, &desk.client, token).await.ok();
        let access = answer["access_token"].as_str().unwrap();
        let path = "/_matrix/client/v3/account/whoami";
        let me = desk.town.raw("hs1", "GET", path, Some(access), Vec::new()).await.ok();
        assert_eq!(me["device_id"], "AAABBBCCCDDD");
    }
}

#[tokio::test]
async fn a_question_that_comes_a_moment_too_early_slows_the_device_down_once() {
    let desk = Desk::new().await;
    let begun = desk.begin().await;
    desk.poll(&begun, 0).await.refuses(400, "authorization_pending");
    desk.poll(&begun, 4_900).await.refuses(400, "authorization_pending");
    desk.poll(&begun, 1_000).await.refuses(400, "slow_down");
    for _ in 0..3 {
        desk.poll(&begun, 10_000).await.refuses(400, "authorization_pending");
    }
    desk.poll(&begun, 5_000).await.refuses(400, "slow_down");
}

#[tokio::test]
async fn whoever_does_not_agree_or_comes_too_late_gives_nothing() {
    let desk = Desk::new().await;
    let refused = desk.begin().await;
    let mut browser = desk.linked(&refused).await;
    browser.send("/_yakuba/link", &[("decision", "refuse")]).await;
    desk.poll(&refused, 0).await.refuses(400, "access_denied");
    let late = desk.begin().await;
    desk.poll(&late, 900_000).await.refuses(400, "expired_token");
    browser.open(late["verification_uri_complete"].as_str().unwrap()).await;
    assert!(browser.status == 400 && browser.page.contains("No device waits"), "{}", browser.page);
    let unknown = json!({ "device_code": "yod_unknown" });
    desk.poll(&unknown, 0).await.refuses(400, "invalid_grant");
}

#[tokio::test]
async fn a_code_is_read_however_it_is_typed_and_few_are_guessed() {
    let desk = Desk::new().await;
    let begun = desk.begin().await;
    let mut browser = Browser::new(&desk.town);
    browser.open("/_yakuba/link").await;
    browser.sign_in("hanako", PASSWORD).await;
    assert!(browser.page.contains("class=\"code\""), "{}", browser.page);
    let typed = begun["user_code"].as_str().unwrap().to_lowercase().replace('-', "%20");
    for _ in 0..20 {
        browser.open(&format!("/_yakuba/link?user_code={typed}")).await;
        assert_eq!(browser.status, 200, "{}", browser.page);
    }
    // With a Japanese keyboard: ＡＢＣＤ－ＥＦＧＨ, each letter three bytes of UTF-8.
    let wide = |letter: char| format!("%EF%BC%{:02X}", 0xa1 + u32::from(letter) - u32::from('A'));
    let letters = begun["user_code"].as_str().unwrap().chars();
    let typed_wide: String =
        letters.map(|letter| if letter == '-' { "%EF%BC%8D".to_owned() } else { wide(letter) }).collect();
    browser.open(&format!("/_yakuba/link?user_code={typed_wide}")).await;
    assert_eq!(browser.status, 200, "{}", browser.page);
    for _ in 0..10 {
        browser.open("/_yakuba/link?user_code=AAAAAAAA").await;
        assert_eq!(browser.status, 400);
    }
    browser.open(&format!("/_yakuba/link?user_code={typed}")).await;
    assert_eq!(browser.status, 429);
}

#[tokio::test]
async fn a_device_needs_a_client_that_registered_for_this_and_a_scope() {
    let desk = Desk::new().await;
    let mut said = app();
    said["grant_types"] = json!(["authorization_code", "refresh_token"]);
    let without = desk.town.client(said).await;
    let begin = async |client: &str, scope: &str| {
        desk.town.send_form("/_yakuba/oauth2/device", &[("client_id", client), ("scope", scope)]).await
    };
    begin(&without, &scope("A")).await.refuses(400, "unauthorized_client");
    begin("unknown", &scope("A")).await.refuses(401, "invalid_client");
    begin(&desk.client, "openid").await.refuses(400, "invalid_scope");
    // Only so many wait at once.
    let scope = scope("A");
    for _ in 0..2_000 {
        begin(&desk.client, &scope).await.ok();
    }
    assert_eq!(begin(&desk.client, &scope).await.status, 429);
    desk.hand.advance(Duration::from_secs(900));
    begin(&desk.client, &scope).await.ok();
}

#[tokio::test]
async fn what_was_agreed_to_for_a_device_is_worth_nothing_once_the_password_is_another() {
    let desk = Desk::new().await;
    let begun = desk.begin().await;
    desk.linked(&begun).await.send("/_yakuba/link", &[("decision", "agree")]).await;
    let login = json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD });
    let session = desk.town.ask("POST", "/_matrix/client/v3/login", login).await.ok();
    let hanako = desk.town.person("hs1", &session);
    let change = json!({ "auth": hanako.proof(PASSWORD), "new_password": "another word" });
    hanako.post("/account/password", change).await.ok();
    desk.poll(&begun, 5_000).await.refuses(400, "invalid_grant");
}
