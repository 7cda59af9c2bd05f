//! Second factors: who is asked for one, at which way in, and how they are set up, changed and lost.

use std::time::Duration;

use account::{Actor, FactorsFor, Settings};
use base::{Clock, ManualClock};
use ruma::{UserId, server_name, user_id};
use serde_json::{Value, json};
use store::MemoryDisk;

use crate::{
    oauth::{Browser, app, redeem, request, scope},
    town::{PASSWORD, Town, open_registration},
};

const ACCOUNT: &str = "/_yakuba/account";
pub(crate) const PAGE: &str = "/_yakuba/account?action=factors";
pub(crate) const SECOND: &str = "/_yakuba/sign-in/second";
const FIRST: &str = "/_yakuba/sign-in/first";
const LOGIN: &str = "/_matrix/client/v3/login";

fn hanako() -> &'static UserId {
    user_id!("@hanako:hs1")
}

/// A telephone with an authenticator app.
pub(crate) struct Phone(Vec<u8>);

impl Phone {
    /// Scans what a page shows.
    pub(crate) fn scanning(page: &str) -> Phone {
        let text = page.split("id=\"secret\">").nth(1).unwrap_or_else(|| panic!("no secret: {page}"));
        let text: String = text.split('<').next().unwrap().chars().filter(|letter| *letter != ' ').collect();
        let (mut bits, mut count, mut bytes) = (0_u64, 0, Vec::new());
        for letter in text.bytes() {
            let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter);
            (bits, count) = (bits << 5 | value.unwrap() as u64, count + 5);
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
        }
        assert_eq!(bytes.len(), 20);
        Phone(bytes)
    }

    /// Its secret, as the page has it.
    fn written(&self) -> String {
        let (mut bits, mut count, mut text) = (0_u64, 0, String::new());
        for byte in &self.0 {
            (bits, count) = (bits << 8 | u64::from(*byte), count + 8);
            while count >= 5 {
                count -= 5;
                let letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(bits >> count & 31) as usize];
                text.push(char::from(letter));
            }
        }
        text
    }

    /// The code that it shows, with a clock of its own that is so many steps ahead.
    pub(crate) fn code(&self, clock: &Clock, ahead: i64) -> String {
        let step = (clock.now().millis() / 30_000).saturating_add_signed(ahead);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let hash = ring::hmac::sign(&key, &step.to_be_bytes());
        let hash = hash.as_ref();
        let at = usize::from(hash[19] & 15);
        let word = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", word % 1_000_000)
    }
}

/// A process whose time is steered, with Hanako who has a password.
pub(crate) struct Steered {
    pub(crate) town: Town,
    pub(crate) clock: Clock,
    hand: ManualClock,
}

impl Steered {
    pub(crate) async fn new(required: FactorsFor) -> Steered {
        Steered::over(&MemoryDisk::default(), required).await
    }

    pub(crate) async fn over(disk: &MemoryDisk, required: FactorsFor) -> Steered {
        let (clock, hand) = Clock::manual(1_790_000_000_000);
        let settings = Settings { factors: required, ..open_registration() };
        let town = Town::posting_over(disk, clock.clone(), settings).await;
        Steered { town, clock, hand }
    }

    /// The next code of each app.
    pub(crate) fn step(&self) {
        self.hand.advance(Duration::from_secs(30));
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.hand.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn has_account(&self, name: &str, admin: bool) {
        let password = Some(PASSWORD.to_owned());
        let new = account::NewUser { localpart: name.to_owned(), password, display_name: None, admin };
        let by = Actor::operator("test");
        self.town.accounts.create_user(server_name!("hs1"), new, &by).await.unwrap();
    }

    /// Hanako's telephone, and her codes for once, after she has set it up on her page.
    pub(crate) async fn with_factor(&self) -> (Phone, Vec<String>) {
        self.has_account("hanako", false).await;
        let mut browser = Browser::new(&self.town);
        browser.open(PAGE).await;
        browser.sign_in("hanako", PASSWORD).await;
        let set_up = set_up(self, &mut browser).await;
        self.step();
        set_up
    }

    /// Hanako in a browser, as far as her password gets her.
    pub(crate) async fn at_second_step(&self) -> Browser<'_> {
        let mut browser = Browser::new(&self.town);
        browser.open(PAGE).await;
        browser.sign_in("hanako", PASSWORD).await;
        assert!(browser.page.contains("Second step"), "{}", browser.page);
        browser
    }

    /// The rows of the audit log, as programs read them.
    pub(crate) async fn audit(&self) -> String {
        let (hs1, filter) = (server_name!("hs1"), audit::Filter::default());
        let page = audit::list(&self.town.store, hs1, &filter, store::Position::START).await.unwrap();
        assert_eq!(page.next, None);
        page.found.iter().map(|row| audit::in_json(hs1, row) + "\n").collect()
    }
}

/// Sets an app up on the page that is open; the telephone, and the codes for once that were shown.
async fn set_up(steered: &Steered, browser: &mut Browser<'_>) -> (Phone, Vec<String>) {
    browser.send_with("begin_factor", &[("do", "begin_factor")]).await;
    let phone = Phone::scanning(&browser.page);
    let code = phone.code(&steered.clock, 0);
    browser.send(ACCOUNT, &[("code", &code), ("name", "電話")]).await;
    assert!(browser.page.contains("It is set up"), "{} {}", browser.status, browser.page);
    (phone, codes(&browser.page))
}

fn codes(page: &str) -> Vec<String> {
    let list = page.split("id=\"codes\">").nth(1).unwrap_or_default().split("</ul>").next().unwrap();
    list.split("<li class=\"id\">").skip(1).map(|code| code.split('<').next().unwrap().to_owned()).collect()
}

fn password() -> Value {
    json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD })
}

#[tokio::test]
async fn who_has_a_factor_is_asked_for_it_after_the_password_and_a_code_is_good_once() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, codes) = steered.with_factor().await;
    assert_eq!(codes.len(), 10);
    let mut browser = steered.at_second_step().await;
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("name=\"password\""), "nobody is signed in yet: {}", browser.page);
    let mut browser = steered.at_second_step().await;
    browser.send(SECOND, &[("code", "000000")]).await;
    assert!(browser.status == 403 && browser.page.contains("is wrong"), "{}", browser.page);
    let code = phone.code(&steered.clock, 0);
    browser.send(SECOND, &[("code", &code)]).await;
    assert!(browser.status == 200 && browser.page.contains("電話"), "{}", browser.page);
    let mut other = steered.at_second_step().await;
    other.send(SECOND, &[("code", &code)]).await;
    assert!(other.status == 403 && other.page.contains("used already"), "{}", other.page);
    steered.step();
    let spaced = phone.code(&steered.clock, 0).replace("", " ");
    other.send(SECOND, &[("code", spaced.trim())]).await;
    assert_eq!(other.status, 200, "{}", other.page);
    let rows = steered.audit().await;
    assert!(rows.contains("\"factor\":\"totp\"") && rows.contains("factor.add"), "{rows}");
}

#[tokio::test]
async fn of_two_who_show_the_same_code_at_the_same_moment_one_gets_in() {
    let disk = MemoryDisk::default();
    let steered = Steered::over(&disk, FactorsFor::Nobody).await;
    let (phone, _) = steered.with_factor().await;
    for _ in 0..5 {
        steered.step();
        let code = phone.code(&steered.clock, 0);
        let (mut one, mut other) = (steered.at_second_step().await, steered.at_second_step().await);
        let fields = [("code", code.as_str())];
        tokio::join!(one.send(SECOND, &fields), other.send(SECOND, &fields));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "{} {}", one.page, other.page);
    }
}

#[tokio::test]
async fn a_code_for_once_gets_in_once() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (_, codes) = steered.with_factor().await;
    let mut browser = steered.at_second_step().await;
    browser.send(SECOND, &[("code", &codes[3])]).await;
    assert!(browser.page.contains("Recovery codes left: 9"), "{}", browser.page);
    let mut browser = steered.at_second_step().await;
    browser.send(SECOND, &[("code", &codes[3])]).await;
    assert_eq!(browser.status, 403);
}

#[tokio::test]
async fn clients_that_know_passwords_alone_are_told_where_to_sign_in_and_sessions_go_on() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let town = &steered.town;
    let before = town.account("hanako").await;
    let refreshed = json!({
        "type": "m.login.password", "user": "hanako", "password": PASSWORD, "refresh_token": true,
    });
    let refreshed = town.ask("POST", LOGIN, refreshed).await.ok();
    let mut browser = Browser::new(town);
    browser.open(PAGE).await;
    browser.sign_in("hanako", PASSWORD).await;
    set_up(&steered, &mut browser).await;

    let refused = town.ask("POST", LOGIN, password()).await.fails(403, "M_FORBIDDEN");
    let said = refused["error"].as_str().unwrap();
    assert!(said.contains("二要素認証") && said.contains("https://hs1/_yakuba/account"), "{said}");
    let wrong = json!({ "type": "m.login.password", "user": "hanako", "password": "wrong" });
    let refused = town.ask("POST", LOGIN, wrong).await.fails(403, "M_FORBIDDEN");
    assert!(
        !refused["error"].as_str().unwrap().contains("factor"),
        "only who knows the password hears of it"
    );
    before.get("/account/whoami").await.ok();
    let refresh = json!({ "refresh_token": refreshed["refresh_token"] });
    town.ask("POST", "/_matrix/client/v3/refresh", refresh).await.ok();
    // A session with the password gives no other one in.
    let token =
        before.post("/_matrix/client/v1/login/get_token", json!({ "auth": before.proof(PASSWORD) })).await;
    token.fails(403, "M_FORBIDDEN");
    let mut page = Browser::new(town);
    page.open("/_matrix/static/client/login/").await;
    page.send("/_matrix/static/client/login/", &[("name", "hanako"), ("password", PASSWORD)]).await;
    assert!(page.status == 403 && page.page.contains("second factor"), "{}", page.page);
}

#[tokio::test]
async fn an_app_that_signs_in_by_sso_gets_its_token_after_the_factor() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, codes) = steered.with_factor().await;
    let sso = "/_matrix/client/v3/login/sso/redirect";
    let mut browser = Browser::new(&steered.town);
    browser.open(&format!("{sso}?redirectUrl=https://app.example.jp/cb")).await;
    browser.send(sso, &[("name", "hanako"), ("password", PASSWORD)]).await;
    assert!(browser.page.contains("Second step"), "{}", browser.page);
    assert!(browser.location.is_empty() && !browser.page.contains("loginToken"));
    browser.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    browser.send("/_yakuba/sign-in-for-app", &[]).await;
    let token = browser.told()["loginToken"].clone();
    let login = json!({ "type": "m.login.token", "token": token, "refresh_token": true });
    let session = steered.town.ask("POST", LOGIN, login.clone()).await.ok();
    assert_eq!(session["user_id"], "@hanako:hs1");
    steered.town.ask("POST", LOGIN, login).await.fails(403, "M_FORBIDDEN");

    // U6: the audit log tells of the set-up and of both ways in, and holds nothing by which anybody comes in.
    let rows = steered.audit().await;
    for deed in ["factor.add", "session.sign_in"] {
        assert!(rows.contains(deed), "{deed} {rows}");
    }
    let of_session = ["access_token", "refresh_token"].map(|name| session[name].as_str().unwrap().to_owned());
    let secrets = of_session.into_iter().chain(codes).chain([token, PASSWORD.to_owned(), phone.written()]);
    for secret in secrets {
        assert!(!rows.contains(&secret), "{secret} {rows}");
    }
}

#[tokio::test]
async fn a_client_of_oauth_gets_its_session_after_the_factor() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, _) = steered.with_factor().await;
    let town = &steered.town;
    let client = town.client(app()).await;
    let mut browser = Browser::new(town);
    browser.open(&request(&client, &[("scope", &scope("GRANTEDDEVICE"))])).await;
    browser.sign_in("hanako", PASSWORD).await;
    browser.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    let tokens = redeem(town, &client, &browser.told()["code"]).await.ok();
    assert!(tokens["access_token"].is_string());
}

#[tokio::test]
async fn whoever_must_have_a_factor_sets_one_up_to_get_in_and_can_do_nothing_else_before() {
    let steered = Steered::new(FactorsFor::Everybody).await;
    let town = &steered.town;
    steered.has_account("hanako", false).await;
    town.ask("POST", LOGIN, password()).await.fails(403, "M_FORBIDDEN");
    let mut browser = Browser::new(town);
    browser.open(ACCOUNT).await;
    browser.sign_in("hanako", PASSWORD).await;
    assert!(browser.page.contains("Set up a second factor"), "{}", browser.page);
    let (form, phone) = (browser.page.clone(), Phone::scanning(&browser.page));
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("name=\"password\""), "{}", browser.page);
    // Whoever closes the page has changed nothing.
    assert!(!town.accounts.factors(hanako()).await.unwrap().is_any());
    browser.page = form;
    browser.send(FIRST, &[("code", "000000")]).await;
    assert!(browser.status == 403 && browser.page.contains("id=\"secret\""), "{}", browser.page);
    browser.send(FIRST, &[("code", &phone.code(&steered.clock, 2)), ("name", "")]).await;
    assert!(browser.page.contains("It is set up") && codes(&browser.page).len() == 10, "{}", browser.page);
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("Display name"), "{}", browser.page);
    // And cannot be without one again.
    browser.open(PAGE).await;
    browser.send_with("remove_factor", &[("do", "remove_factor"), ("name", "x")]).await;
    assert!(browser.status == 403 && browser.page.contains("set up another one first"), "{}", browser.page);
    let rows = steered.audit().await;
    assert!(rows.contains("factor.add"), "{rows}");
}

#[tokio::test]
async fn where_everybody_must_have_a_factor_a_registration_gives_no_session() {
    let steered = Steered::new(FactorsFor::Everybody).await;
    let register = |inhibit: bool| {
        json!({
            "auth": { "type": "m.login.dummy" }, "username": "taro", "password": PASSWORD, "inhibit_login": inhibit,
        })
    };
    let path = "/_matrix/client/v3/register";
    steered.town.ask("POST", path, register(false)).await.fails(403, "M_FORBIDDEN");
    steered.town.ask("POST", path, register(true)).await.ok();
    let mut browser = Browser::new(&steered.town);
    browser.open("/_yakuba/sign-up").await;
    let fields = [("name", "jiro"), ("password", PASSWORD), ("again", PASSWORD)];
    browser.send("/_yakuba/sign-up", &fields).await;
    assert!(browser.page.contains("Set up a second factor"), "{}", browser.page);
}

#[tokio::test]
async fn where_administrators_must_have_a_factor_others_need_none() {
    let steered = Steered::new(FactorsFor::Administrators).await;
    steered.has_account("hanako", false).await;
    steered.has_account("kacho", true).await;
    let mut browser = Browser::new(&steered.town);
    browser.open(ACCOUNT).await;
    browser.sign_in("hanako", PASSWORD).await;
    assert!(browser.page.contains("Display name"), "{}", browser.page);
    let mut other = Browser::new(&steered.town);
    other.open(ACCOUNT).await;
    other.sign_in("kacho", PASSWORD).await;
    assert!(other.page.contains("Set up a second factor"), "{}", other.page);
    // Who comes to administer is out of the browsers without one.
    let by = Actor::operator("test");
    steered.town.accounts.set_administrator(hanako(), true, &by).await.unwrap();
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("name=\"password\""), "{}", browser.page);
}

#[tokio::test]
async fn a_set_up_that_is_not_gone_through_with_leaves_the_old_factor_alone() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, _) = steered.with_factor().await;
    let mut browser = steered.at_second_step().await;
    browser.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    browser.send_with("begin_factor", &[("do", "begin_factor")]).await;
    // She has scanned it, and closes the page.
    let other = Phone::scanning(&browser.page);
    browser.open(ACCOUNT).await;
    steered.step();
    let mut again = steered.at_second_step().await;
    again.send(SECOND, &[("code", &other.code(&steered.clock, 0))]).await;
    assert!(again.status == 403, "{}", again.page);
    again.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    assert_eq!(again.status, 200, "{}", again.page);
    assert_eq!(steered.town.accounts.factors(hanako()).await.unwrap().list().len(), 1);
}

#[tokio::test]
async fn each_step_of_a_sign_in_gives_another_cookie_and_the_one_before_is_nobodys() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, _) = steered.with_factor().await;
    let mut browser = Browser::new(&steered.town);
    browser.open(PAGE).await;
    let mut shown = vec![browser.cookies.clone()];
    browser.sign_in("hanako", PASSWORD).await;
    shown.push(browser.cookies.clone());
    browser.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    assert!(browser.page.contains("電話"), "{}", browser.page);
    let begun = browser.cookies.clone();
    browser.open("/_yakuba/account?action=password").await;
    let (old, new) = (PASSWORD, "correct horse battery staple");
    browser
        .send_with(
            "password",
            &[("do", "password"), ("password", old), ("new_password", new), ("again", new)],
        )
        .await;
    assert_eq!(browser.status, 200, "{}", browser.page);
    shown.push(begun);
    // Whoever had any of them before is signed in by none.
    let last = browser.cookies.clone();
    for before in shown {
        assert_ne!(before, last);
        let mut thief = Browser::new(&steered.town);
        thief.cookies = before;
        thief.open(ACCOUNT).await;
        assert!(
            thief.page.contains("name=\"password\"") && !thief.page.contains("Display name"),
            "{}",
            thief.page
        );
    }
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("Display name"), "{}", browser.page);
}

#[tokio::test]
async fn the_first_factor_signs_all_other_browsers_out() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    steered.has_account("hanako", false).await;
    let (mut left_open, mut browser) = (Browser::new(&steered.town), Browser::new(&steered.town));
    for browser in [&mut left_open, &mut browser] {
        browser.open(PAGE).await;
        browser.sign_in("hanako", PASSWORD).await;
        assert!(browser.page.contains("begin_factor"), "{}", browser.page);
    }
    set_up(&steered, &mut browser).await;
    left_open.open(ACCOUNT).await;
    assert!(left_open.page.contains("name=\"password\""), "{}", left_open.page);
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("Display name"), "{}", browser.page);
}

#[tokio::test]
async fn factors_are_changed_by_whoever_has_just_signed_in_with_one() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, first) = steered.with_factor().await;
    let mut browser = steered.at_second_step().await;
    browser.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    let fresh = browser.page.clone();
    browser.send_with("rename_factor", &[("do", "rename_factor"), ("name", "新しい電話")]).await;
    assert!(browser.page.contains("新しい電話"), "{}", browser.page);
    browser.send_with("renew_codes", &[("do", "renew_codes")]).await;
    let renewed = codes(&browser.page);
    assert!(renewed.len() == 10 && renewed[0] != first[0]);
    browser.open(PAGE).await;
    let (tablet, shown) = set_up(&steered, &mut browser).await;
    assert!(shown.is_empty(), "the codes are those that there are");
    steered.wait(5 * 60);
    browser.open(PAGE).await;
    assert!(
        !browser.page.contains("remove_factor") && browser.page.contains("Sign in again"),
        "{}",
        browser.page
    );
    browser.page = fresh;
    browser.send_with("remove_factor", &[("do", "remove_factor"), ("name", "x")]).await;
    assert!(browser.status == 403 && browser.page.contains("sign in again"), "{}", browser.page);
    let mut again = steered.at_second_step().await;
    again.send(SECOND, &[("code", &tablet.code(&steered.clock, 0))]).await;
    for _ in 0..2 {
        again.send_with("remove_factor", &[("do", "remove_factor"), ("name", "x")]).await;
        assert_eq!(again.status, 200, "{}", again.page);
    }
    assert!(again.page.contains("You have no second factor"), "{}", again.page);
    steered.town.ask("POST", LOGIN, password()).await.ok();
    let rows = steered.audit().await;
    for word in ["factor.rename", "factor.renew_codes", "factor.remove"] {
        assert!(rows.contains(word), "{word} {rows}");
    }
    for secret in renewed.iter().chain(&first).map(String::as_str).chain([PASSWORD]) {
        assert!(!rows.contains(secret), "{rows}");
    }
}

#[tokio::test]
async fn a_ticket_is_good_in_the_browser_of_the_password_alone_and_for_its_account_as_it_was() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, _) = steered.with_factor().await;
    steered.has_account("taro", false).await;
    // Another browser, in which somebody else knows a code.
    let (hers, mut thief) = (steered.at_second_step().await, steered.at_second_step().await);
    let ticket = |page: &str| {
        page.split("name=\"ticket\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    thief.page = thief.page.replace(&ticket(&thief.page), &ticket(&hers.page));
    thief.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    assert!(thief.status == 403 && thief.page.contains("begin again"), "{}", thief.page);
    // Another authority of the process.
    let other = server_name!("hs2");
    let way = account::InBrowser { key: [0; 32], from: None, agent: None };
    let credentials =
        account::Credentials::NameAndPassword { name: "hanako".into(), password: PASSWORD.into() };
    let account::SignedIn::Unfinished(unfinished) =
        steered.town.accounts.sign_in_browser(server_name!("hs1"), &credentials, &way).await.unwrap()
    else {
        panic!("she has a factor");
    };
    let code = phone.code(&steered.clock, 0);
    let shown = steered.town.accounts.show_code(other, &unfinished.ticket, &code, &way).await;
    assert!(matches!(shown, Err(account::Error::Stale)), "{shown:?}");
    // Too late.
    let mut late = steered.at_second_step().await;
    steered.wait(15 * 60);
    late.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    assert!(late.status == 403 && late.page.contains("begin again"), "{}", late.page);
    // Another password meanwhile.
    let mut old = steered.at_second_step().await;
    let by = Actor::operator("test");
    steered.town.accounts.set_password(hanako(), "another horse", &by).await.unwrap();
    old.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    assert!(old.status == 403 && old.page.contains("begin again"), "{}", old.page);
    for forged in ["", "x", "AAAA", &"A".repeat(5_000)] {
        let shown = steered.town.accounts.show_code(server_name!("hs1"), forged, &code, &way).await;
        assert!(matches!(shown, Err(account::Error::Stale)));
    }
}

#[tokio::test]
async fn guesses_of_codes_are_few_and_do_not_lock_the_owner_out() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, codes) = steered.with_factor().await;
    let accounts = &steered.town.accounts;
    let at = |n: u32| {
        let ip = std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n));
        account::InBrowser { key: [1; 32], from: Some(base::Address::of(ip)), agent: None }
    };
    let authority = server_name!("hs1");
    let credentials =
        account::Credentials::NameAndPassword { name: "hanako".into(), password: PASSWORD.into() };
    let ticket = async |way: &account::InBrowser<'_>| match accounts
        .sign_in_browser(authority, &credentials, way)
        .await
        .unwrap()
    {
        account::SignedIn::Unfinished(unfinished) => unfinished.ticket,
        account::SignedIn::Done(..) => panic!("she has a factor"),
    };
    // Her own place.
    let home = at(1);
    let shown =
        accounts.show_code(authority, &ticket(&home).await, &phone.code(&steered.clock, 0), &home).await;
    assert!(matches!(shown, Ok(account::SignedIn::Done(..))));
    // One address, then many, with wrong codes of both kinds.
    let mut looked_at = 0;
    for n in 0..200 {
        let way = at(if n < 100 { 2 } else { 1_000 + n });
        let ticket = ticket(&way).await;
        for guess in ["000000", "aaaa-bbbb-cccc-dddd"] {
            let shown = accounts.show_code(authority, &ticket, guess, &way).await;
            looked_at += u32::from(matches!(shown, Err(account::Error::Factor(_))));
        }
    }
    assert!((5..=50).contains(&looked_at), "{looked_at}");
    let elsewhere = at(9_999);
    let right = accounts.show_code(authority, &ticket(&elsewhere).await, &codes[0], &elsewhere).await;
    assert!(matches!(right, Err(account::Error::Limited { .. })), "from nowhere it waits: {right:?}");
    steered.step();
    let right =
        accounts.show_code(authority, &ticket(&home).await, &phone.code(&steered.clock, 0), &home).await;
    assert!(matches!(right, Ok(account::SignedIn::Done(..))), "{right:?}");
    steered.wait(10 * 60);
    let right = accounts.show_code(authority, &ticket(&elsewhere).await, &codes[0], &elsewhere).await;
    assert!(matches!(right, Ok(account::SignedIn::Done(..))), "and not for ever: {right:?}");
}

#[tokio::test]
async fn a_recovery_ends_every_factor_and_session_and_hands_over_the_only_way_back() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let town = &steered.town;
    let session = town.account("hanako").await;
    let mut browser = Browser::new(town);
    browser.open(PAGE).await;
    browser.sign_in("hanako", PASSWORD).await;
    let (phone, codes) = set_up(&steered, &mut browser).await;
    steered.step();
    // A thief with the telephone and the password is half way in, and has a code for a client.
    let client = town.client(app()).await;
    let mut thief = Browser::new(town);
    thief.open(&request(&client, &[("scope", &scope("THIEFSDEVICE"))])).await;
    thief.sign_in("hanako", PASSWORD).await;
    thief.send(SECOND, &[("code", &phone.code(&steered.clock, 0))]).await;
    thief.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    let code_of_client = thief.told()["code"].clone();
    let mut half_way = steered.at_second_step().await;
    thief.open("/_yakuba/sign-in-for-app?redirectUrl=https://app.example.jp/cb").await;
    thief.send("/_yakuba/sign-in-for-app", &[]).await;
    let login_token = thief.told()["loginToken"].clone();

    let by = Actor::operator("test");
    let handed = town.accounts.reset_factors(hanako(), &by).await.unwrap();

    session.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    for browser in [&mut browser, &mut thief] {
        browser.open(ACCOUNT).await;
        assert!(browser.page.contains("name=\"password\""), "{}", browser.page);
    }
    assert_eq!(redeem(town, &client, &code_of_client).await.status, 400);
    let login = json!({ "type": "m.login.token", "token": login_token });
    town.ask("POST", LOGIN, login).await.fails(403, "M_FORBIDDEN");
    half_way.send(SECOND, &[("code", &codes[0])]).await;
    assert!(half_way.status == 403 && half_way.page.contains("begin again"), "{}", half_way.page);
    town.ask("POST", LOGIN, password()).await.fails(403, "M_FORBIDDEN");
    // With the password alone nobody sets up anything.
    steered.step();
    let mut thief = steered.at_second_step().await;
    for old in [phone.code(&steered.clock, 0), codes[0].clone()] {
        thief.send(SECOND, &[("code", &old)]).await;
        assert!(thief.status == 403 && thief.page.contains("is wrong"), "{}", thief.page);
    }
    // Its owner, twice: the first time she closes the page.
    for _ in 0..2 {
        browser = steered.at_second_step().await;
        browser.send(SECOND, &[("code", &handed)]).await;
        assert!(browser.page.contains("Set up a second factor"), "{}", browser.page);
    }
    let new = Phone::scanning(&browser.page);
    browser.send(FIRST, &[("code", &new.code(&steered.clock, 0))]).await;
    assert!(browser.page.contains("It is set up"), "{}", browser.page);
    let mut again = steered.at_second_step().await;
    again.send(SECOND, &[("code", &handed)]).await;
    assert_eq!(again.status, 403);
    steered.step();
    again.send(SECOND, &[("code", &new.code(&steered.clock, 0))]).await;
    assert_eq!(again.status, 200, "{}", again.page);
    let rows = steered.audit().await;
    assert!(rows.contains("factor.recover") && !rows.contains(&handed), "{rows}");
}

#[tokio::test]
async fn whoever_closes_an_account_takes_its_factors_with_it() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    steered.with_factor().await;
    steered.town.close(hanako()).await;
    assert!(!steered.town.accounts.factors(hanako()).await.unwrap().is_any());
}

#[tokio::test]
async fn a_code_agreed_to_on_the_command_line_needs_the_factor_as_well() {
    let steered = Steered::new(FactorsFor::Nobody).await;
    let (phone, _) = steered.with_factor().await;
    let accounts = &steered.town.accounts;
    let prove =
        async |code: Option<&str>| accounts.prove(server_name!("hs1"), ("hanako", PASSWORD), code).await;
    assert!(matches!(prove(None).await, Err(account::Error::FactorNeeded { .. })));
    let code = phone.code(&steered.clock, 0);
    assert_eq!(prove(Some(&code)).await.unwrap(), hanako());
    assert!(matches!(prove(Some(&code)).await, Err(account::Error::Factor(_))));
}
