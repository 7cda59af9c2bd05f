//! What a policy bounds of sign-ins and sessions: factors, places, numbers of devices; by every way in.

use std::{sync::Arc, time::Duration};

use account::{Actor, AppService, FactorsFor, Namespace, NewAppService, NewUser, Settings};
use base::{Address, Clock, ManualClock};
use parking_lot::RwLock;
use room::{Denial, DeviceBound, FactorRule, Policy};
use ruma::{UserId, server_name};
use serde_json::{Value, json};

use crate::{
    factors::{PAGE, Phone, SECOND},
    oauth::{Browser, agreed, app, redeem, request, scope},
    town::{Answer, PASSWORD, Person, Town, open_registration},
};

const LOGIN: &str = "/_matrix/client/v3/login";
const ACCOUNT: &str = "/_yakuba/account";
const DEVICES: &str = "/_yakuba/account?action=org.matrix.devices_list";
const FIRST: &str = "/_yakuba/sign-in/first";
const BEGIN: &str = "/_yakuba/oauth2/device";
const TOKEN: &str = "/_yakuba/oauth2/token";

/// Inside of the office; everywhere else is outside.
const INSIDE: &str = "192.0.2.1";
const WHY: &str = "会計年度任用の方はできません\nNot for you";

/// What holds now.
#[derive(Clone, Copy, Default)]
struct Rules {
    inside: FactorRule,
    outside: FactorRule,
    devices: Option<usize>,
    only_inside: bool,
}

/// A policy that changes its mind.
#[derive(Default)]
struct Office(RwLock<Rules>);

fn is_inside(from: Option<Address>) -> bool {
    from == Some(Address::of(INSIDE.parse().unwrap()))
}

fn denial() -> Denial {
    Denial { public: WHY.to_owned(), private: "a test".to_owned() }
}

impl Policy for Office {
    fn factor(&self, _: &UserId, from: Option<Address>) -> FactorRule {
        let rules = *self.0.read();
        if is_inside(from) { rules.inside } else { rules.outside }
    }
    fn use_session(&self, _: &UserId, from: Option<Address>) -> Result<(), Denial> {
        if self.0.read().only_inside && !is_inside(from) { Err(denial()) } else { Ok(()) }
    }
    fn devices(&self, _: &UserId) -> Option<DeviceBound> {
        self.0.read().devices.map(|most| DeviceBound { most, denial: denial() })
    }
}

/// A process with Hanako, and the rules that hold in it.
struct Place {
    town: Town,
    office: Arc<Office>,
    clock: Clock,
    hand: ManualClock,
}

impl Place {
    async fn new() -> Place {
        Place::with(FactorsFor::Nobody).await
    }

    async fn with(factors: FactorsFor) -> Place {
        Place::of(Settings { factors, ..open_registration() }).await
    }

    async fn of(settings: Settings) -> Place {
        let (clock, hand) = Clock::manual(1_790_000_000_000);
        let office = Arc::new(Office::default());
        let town = Town::under_at(clock.clone(), settings, office.clone()).await;
        let password = Some(PASSWORD.to_owned());
        let new = NewUser { localpart: "hanako".to_owned(), password, display_name: None, admin: false };
        town.accounts.create_user(server_name!("hs1"), new, &Actor::operator("test")).await.unwrap();
        Place { town, office, clock, hand }
    }

    fn rule(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.office.0.write());
    }

    async fn log_in(&self, device: Option<&str>) -> Answer {
        let body = json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD, "device_id": device });
        self.town.ask("POST", LOGIN, body).await
    }

    async fn session(&self) -> Person<'_> {
        let session = self.log_in(None).await.ok();
        self.town.person("hs1", &session)
    }

    /// Hanako's browser with her password right.
    async fn browser(&self, from: Option<&'static str>) -> Browser<'_> {
        let mut browser = Browser::new(&self.town);
        browser.from = from;
        browser.open(PAGE).await;
        browser.sign_in("hanako", PASSWORD).await;
        browser
    }

    /// Sets up an app with which she gets in, on the page that asks for one.
    async fn set_up_first(&self, browser: &mut Browser<'_>) -> Phone {
        assert!(browser.page.contains("Set up a second factor"), "{}", browser.page);
        let phone = Phone::scanning(&browser.page);
        browser.send(FIRST, &[("code", &phone.code(&self.clock, 0)), ("name", "")]).await;
        assert!(browser.page.contains("It is set up"), "{}", browser.page);
        self.hand.advance(Duration::from_secs(30));
        phone
    }

    /// A device that waits for consent: its code, and what it asks for tokens with.
    async fn device(&self, client: &str, device: &str) -> (String, Vec<(&'static str, String)>) {
        let fields = [("client_id", client), ("scope", &scope(device))];
        let begun = self.town.send_form(BEGIN, &fields).await.ok();
        let of = |key: &str| begun[key].as_str().unwrap().to_owned();
        let grant = "urn:ietf:params:oauth:grant-type:device_code".to_owned();
        let polled =
            vec![("grant_type", grant), ("client_id", client.to_owned()), ("device_code", of("device_code"))];
        (of("user_code"), polled)
    }

    async fn poll(&self, polled: &[(&'static str, String)]) -> Answer {
        self.hand.advance(Duration::from_secs(10));
        let fields: Vec<_> = polled.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.town.send_form(TOKEN, &fields).await
    }

    async fn login_token(&self, browser: &mut Browser<'_>) -> String {
        browser.open("/_yakuba/sign-in-for-app?redirectUrl=https://app.example.jp/cb").await;
        browser.send("/_yakuba/sign-in-for-app", &[]).await;
        browser.told()["loginToken"].clone()
    }
}

fn is_barred(answer: Answer, words: &str) {
    let body = answer.fails(403, "M_FORBIDDEN");
    assert!(body["error"].as_str().unwrap().contains(words), "{body}");
}

#[tokio::test]
async fn who_has_to_have_a_factor_by_now_gets_in_by_no_way_that_was_begun_without_one() {
    let place = Place::new().await;
    let town = &place.town;
    let (session, client) = (place.session().await, town.client(app()).await);
    let code = agreed(town, &client).await;
    let mut browser = place.browser(None).await;
    let (user_code, polled) = place.device(&client, "WAITINGDEVICE").await;
    browser.open(&format!("/_yakuba/link?user_code={user_code}")).await;
    browser.send("/_yakuba/link", &[("decision", "agree")]).await;
    assert!(browser.page.contains("Allowed"), "{}", browser.page);
    let login_token = place.login_token(&mut browser).await;

    place.rule(|rules| (rules.inside, rules.outside) = (FactorRule::Needed, FactorRule::Needed));
    is_barred(place.log_in(None).await, "二要素認証");
    is_barred(
        town.ask("POST", LOGIN, json!({ "type": "m.login.token", "token": login_token })).await,
        "factor",
    );
    redeem(town, &client, &code).await.refuses(400, "invalid_grant");
    place.poll(&polled).await.refuses(400, "invalid_grant");
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("name=\"password\""), "{}", browser.page);
    let register = |name: &str, inhibit: bool| json!({ "auth": { "type": "m.login.dummy" }, "username": name, "password": PASSWORD, "inhibit_login": inhibit });
    let path = "/_matrix/client/v3/register";
    is_barred(town.ask("POST", path, register("taro", false)).await, "二要素認証");
    town.ask("POST", path, register("taro", true)).await.ok();
    let sso = "/_matrix/client/v3/login/sso/redirect";
    let mut page = Browser::new(town);
    page.open(&format!("{sso}?redirectUrl=https://app.example.jp/cb")).await;
    page.send(sso, &[("name", "hanako"), ("password", PASSWORD)]).await;
    assert!(page.location.is_empty() && page.page.contains("Set up a second factor"), "{}", page.page);
    // A session from before does nothing but end.
    is_barred(session.get("/account/whoami").await, "https://hs1/_yakuba/account");
    let proof = json!({ "auth": session.proof(PASSWORD) });
    is_barred(session.post("/_matrix/client/v1/login/get_token", proof).await, "factor");

    let mut browser = place.browser(None).await;
    let phone = place.set_up_first(&mut browser).await;
    // Now it does what it did before once she has said that it is hers.
    is_barred(session.get("/account/whoami").await, "before you had a second factor");
    browser.open(DEVICES).await;
    browser.send_with("vouch", &[("do", "vouch")]).await;
    session.get("/account/whoami").await.ok();
    let mut again = place.browser(None).await;
    again.send(SECOND, &[("code", &phone.code(&place.clock, 0))]).await;
    assert_eq!(again.status, 200, "{}", again.page);
    // What was agreed to in a browser that has shown it is good.
    again.open(&request(&client, &[])).await;
    again.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    redeem(town, &client, &again.told()["code"]).await.ok();
    // Nor is the last one removed while it is needed anywhere.
    place.rule(|rules| rules.inside = FactorRule::Free);
    again.from = Some(INSIDE);
    again.open(PAGE).await;
    again.send_with("remove_factor", &[("do", "remove_factor"), ("name", "x")]).await;
    assert!(again.status == 403 && again.page.contains("set up another one first"), "{}", again.page);
}

#[tokio::test]
async fn a_session_signs_out_where_it_may_do_nothing_else() {
    let place = Place::new().await;
    let (one, other) = (place.session().await, place.session().await);
    place.rule(|rules| rules.only_inside = true);
    for path in ["/account/whoami", "/joined_rooms", "/devices", "/capabilities"] {
        is_barred(one.get(path).await, WHY);
    }
    one.get_from(INSIDE, "/account/whoami").await.ok();
    other.post("/logout", json!({})).await.ok();
    other.get_from(INSIDE, "/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    // And goes on where that changes.
    place.rule(|rules| rules.only_inside = false);
    one.get("/account/whoami").await.ok();
}

#[tokio::test]
async fn a_browser_is_signed_in_where_it_may_be_used_alone() {
    let place = Place::new().await;
    let mut browser = place.browser(Some(INSIDE)).await;
    place.rule(|rules| rules.only_inside = true);
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("Display name"), "{}", browser.page);
    browser.from = None;
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("name=\"password\""), "{}", browser.page);
    browser.from = Some(INSIDE);
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("Display name"), "{}", browser.page);
}

#[tokio::test]
async fn a_password_alone_sets_no_factor_up_from_where_one_is_needed_already() {
    let place = Place::new().await;
    place.rule(|rules| rules.outside = FactorRule::NeededAlready);
    let outside = place.browser(None).await;
    assert!(
        outside.status == 403 && outside.page.contains("set it up first from a network"),
        "{}",
        outside.page
    );
    assert!(!outside.page.contains("id=\"secret\""));
    is_barred(place.log_in(None).await, "先に設定してください");
    let login = json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD });
    let login = place.town.ask_from(INSIDE, "POST", LOGIN, login).await.ok();
    let session = place.town.person("hs1", &login);
    // What was begun inside goes on there alone.
    session.get_from(INSIDE, "/account/whoami").await.ok();
    is_barred(session.get("/account/whoami").await, "https://hs1/_yakuba/account");
    let mut inside = place.browser(Some(INSIDE)).await;
    inside.from = None;
    inside.open(ACCOUNT).await;
    assert!(inside.page.contains("name=\"password\""), "{}", inside.page);
    inside.from = Some(INSIDE);
    inside.open(PAGE).await;
    inside.send_with("begin_factor", &[("do", "begin_factor")]).await;
    let phone = Phone::scanning(&inside.page);
    inside.send(ACCOUNT, &[("code", &phone.code(&place.clock, 0)), ("name", "電話")]).await;
    assert!(inside.page.contains("It is set up"), "{}", inside.page);
    place.hand.advance(Duration::from_secs(30));
    // It was begun without one: whoever had the password may be on it. Its owner says that it is hers.
    is_barred(
        session.get("/account/whoami").await,
        "https://hs1/_yakuba/account?action=org.matrix.devices_list",
    );
    session.get_from(INSIDE, "/account/whoami").await.ok();
    let thief = place.town.ask_from(
        INSIDE,
        "POST",
        LOGIN,
        json!({ "type": "m.login.password", "user": "hanako", "password": PASSWORD }),
    );
    is_barred(thief.await, "二要素認証が必要です");
    let mut outside = place.browser(None).await;
    outside.send(SECOND, &[("code", &phone.code(&place.clock, 0))]).await;
    assert_eq!(outside.status, 200, "{}", outside.page);
    outside.open(DEVICES).await;
    assert!(outside.page.contains("before you had a second factor"), "{}", outside.page);
    outside.send_with("vouch", &[("do", "vouch")]).await;
    session.get("/account/whoami").await.ok();
    outside.open(DEVICES).await;
    assert!(!outside.page.contains("before you had a second factor"), "{}", outside.page);
}

#[tokio::test]
async fn a_device_from_before_the_first_factor_is_vouched_for_by_its_owner_with_the_factor_or_signed_in_anew()
{
    let place = Place::new().await;
    let login = json!({
        "type": "m.login.password", "user": "hanako", "password": PASSWORD, "device_id": "OLD", "refresh_token": true,
    });
    let old = place.town.ask("POST", LOGIN, login.clone()).await.ok();
    let session = place.town.person("hs1", &old);
    let mut browser = place.browser(None).await;
    browser.open(PAGE).await;
    browser.send_with("begin_factor", &[("do", "begin_factor")]).await;
    let phone = Phone::scanning(&browser.page);
    browser.send(ACCOUNT, &[("code", &phone.code(&place.clock, 0)), ("name", "電話")]).await;
    assert!(browser.page.contains("It is set up"), "{}", browser.page);
    session.get("/account/whoami").await.ok();
    place.rule(|rules| rules.outside = FactorRule::Needed);
    let early = "signed in before you had a second factor";
    is_barred(session.get("/account/whoami").await, early);
    // Other tokens make it no other session.
    let refreshed = json!({ "refresh_token": old["refresh_token"] });
    let refreshed = place.town.ask("POST", "/_matrix/client/v3/refresh", refreshed).await.ok();
    let mut newer = old.clone();
    newer["access_token"] = refreshed["access_token"].clone();
    let session = place.town.person("hs1", &newer);
    is_barred(session.get("/account/whoami").await, early);
    // A browser that was left open vouches for none.
    browser.open(DEVICES).await;
    place.hand.advance(Duration::from_secs(600));
    browser.send_with("vouch", &[("do", "vouch")]).await;
    assert_eq!(browser.status, 403, "{}", browser.page);
    is_barred(session.get("/account/whoami").await, early);
    let mut fresh = place.browser(None).await;
    fresh.send(SECOND, &[("code", &phone.code(&place.clock, 0))]).await;
    fresh.open(DEVICES).await;
    fresh.page = fresh.page.replace("OLD", "NEW");
    fresh.send_with("vouch", &[("do", "vouch")]).await;
    assert_eq!(fresh.status, 404, "{}", fresh.page);
    // Signed in anew by way of a page that asks for the factor, the same device is another session.
    let token = place.login_token(&mut fresh).await;
    let login = json!({ "type": "m.login.token", "token": token, "device_id": "OLD" });
    let anew = place.town.ask("POST", LOGIN, login).await.ok();
    place.town.person("hs1", &anew).get("/account/whoami").await.ok();
    fresh.open(DEVICES).await;
    assert!(!fresh.page.contains(early), "{}", fresh.page);
    fresh.send_with("sign_out", &[("do", "sign_out")]).await;
    assert!(fresh.page.contains("No device is signed in"), "{}", fresh.page);
}

#[tokio::test]
async fn a_step_that_was_begun_inside_sets_nothing_up_outside() {
    let place = Place::with(FactorsFor::Everybody).await;
    place.rule(|rules| rules.outside = FactorRule::NeededAlready);
    let mut browser = place.browser(Some(INSIDE)).await;
    let (form, phone) = (browser.page.clone(), Phone::scanning(&browser.page));
    browser.from = None;
    browser.send(FIRST, &[("code", &phone.code(&place.clock, 0)), ("name", "")]).await;
    assert!(browser.status == 403 && browser.page.contains("from a network where"), "{}", browser.page);
    browser.from = Some(INSIDE);
    browser.page = form;
    browser.send(FIRST, &[("code", &phone.code(&place.clock, 0)), ("name", "")]).await;
    assert!(browser.page.contains("It is set up"), "{}", browser.page);
}

#[tokio::test]
async fn a_device_too_many_is_refused_with_the_page_where_another_one_is_ended() {
    let place = Place::new().await;
    place.rule(|rules| rules.devices = Some(2));
    let one = place.session().await;
    let refused = {
        place.log_in(Some("TABLET")).await.ok();
        place.log_in(None).await.fails(403, "M_USER_LIMIT_EXCEEDED")
    };
    assert_eq!(refused["info_uri"], "https://hs1/_yakuba/account?action=org.matrix.devices_list");
    assert!(refused["error"].as_str().unwrap().contains(WHY), "{refused}");
    // Those that there are go on, and sign in once more.
    one.get("/account/whoami").await.ok();
    place.log_in(Some("TABLET")).await.ok();
    // Whoever has lost one ends it in a browser, which is none.
    let mut browser = place.browser(None).await;
    browser.open(DEVICES).await;
    assert!(browser.page.contains("Devices that you may have: 2"), "{}", browser.page);
    browser.send_with("TABLET", &[("do", "sign_out")]).await;
    place.log_in(None).await.ok();
    place.log_in(None).await.fails(403, "M_USER_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn whoever_agrees_that_a_client_has_a_device_too_many_is_told_on_the_page() {
    let place = Place::new().await;
    let town = &place.town;
    let client = town.client(app()).await;
    let code = agreed(town, &client).await;
    let phone = place.session().await;
    let mut before = place.browser(None).await;
    before.open(&request(&client, &[("scope", &scope("ANOTHERDEVICE"))])).await;
    place.rule(|rules| rules.devices = Some(1));
    let (mut browser, full) = (place.browser(None).await, "As many devices as you may have");
    browser.open(&request(&client, &[])).await;
    assert!(browser.status == 403 && browser.page.contains(full), "{}", browser.page);
    assert!(browser.page.contains("action=org.matrix.devices_list"), "{}", browser.page);
    before.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    assert!(before.page.contains(full), "{}", before.page);
    redeem(town, &client, &code).await.refuses(400, "invalid_grant");
    let (user_code, polled) = place.device(&client, "WAITINGDEVICE").await;
    browser.open(&format!("/_yakuba/link?user_code={user_code}")).await;
    assert!(browser.page.contains(full), "{}", browser.page);
    // The device waits on until there is room for it.
    phone.post("/logout", json!({})).await.ok();
    browser.open(&format!("/_yakuba/link?user_code={user_code}")).await;
    browser.send("/_yakuba/link", &[("decision", "agree")]).await;
    assert!(browser.page.contains("Allowed"), "{}", browser.page);
    place.poll(&polled).await.ok();
    // One that she has she may have again.
    browser.open(&request(&client, &[("scope", &scope("WAITINGDEVICE"))])).await;
    browser.send("/_yakuba/oauth2/authorize", &[("decision", "agree")]).await;
    redeem(town, &client, &browser.told()["code"]).await.ok();
}

#[tokio::test]
async fn of_many_who_sign_in_for_the_last_place_at_once_one_gets_it() {
    let place = Place::new().await;
    place.rule(|rules| rules.devices = Some(3));
    place.session().await;
    place.session().await;
    let all = futures_util::future::join_all((0..6).map(|_| place.log_in(None))).await;
    let mut statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    // Whoever met the others again and again is asked to come back later.
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 403, 503].contains(status)), "{statuses:?}");
    let devices = place.town.accounts.devices(ruma::user_id!("@hanako:hs1")).await.unwrap();
    assert_eq!(devices.len(), 3);
}

#[tokio::test]
async fn a_dehydrated_device_takes_no_place() {
    let place = Place::new().await;
    let session = place.session().await;
    let keys = json!({
        "user_id": session.id, "device_id": "DEHYDRATED", "algorithms": [], "keys": {}, "signatures": {},
    });
    let body = json!({
        "device_id": "DEHYDRATED", "device_data": { "algorithm": "m.dehydration.v2" }, "device_keys": keys,
        "initial_device_display_name": "d",
    });
    let path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";
    let answer = session.put(path, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    place.rule(|rules| rules.devices = Some(2));
    place.log_in(None).await.ok();
    place.log_in(None).await.fails(403, "M_USER_LIMIT_EXCEEDED");
    // Beyond the bound too a dehydrated one may be kept: it is no place where anybody sits.
    assert_ne!(Value::Null, session.get("/devices").await.ok()["devices"]);
}

#[tokio::test]
async fn what_a_service_made_for_somebody_takes_no_place_until_he_signs_in_there_himself() {
    const BRIDGE: &str = "token-of-the-bridge";
    let bridge = AppService::new(NewAppService {
        id: "bridge".to_owned(),
        sender: "@_bridge:hs1".try_into().unwrap(),
        as_token: BRIDGE.to_owned(),
        users: vec![Namespace::new("@hanako:hs1", false).unwrap()],
        aliases: Vec::new(),
        limits_users: false,
        told: Default::default(),
    });
    let place = Place::of(Settings { services: vec![Arc::new(bridge)], ..open_registration() }).await;
    place.rule(|rules| rules.devices = Some(1));
    let by_bridge = json!({
        "type": "m.login.application_service", "device_id": "BRIDGED",
        "identifier": { "type": "m.id.user", "user": "@hanako:hs1" },
    });
    let by_bridge = || place.town.raw("hs1", "POST", LOGIN, Some(BRIDGE), by_bridge.to_string().into_bytes());
    by_bridge().await.ok();
    let phone = place.session().await;
    let bridged = by_bridge().await.ok();
    // No factor of the user's is asked of it.
    place.rule(|rules| rules.outside = FactorRule::Needed);
    place.town.person("hs1", &bridged).get("/account/whoami").await.ok();
    is_barred(phone.get("/account/whoami").await, "二要素認証");
    place.rule(|rules| rules.outside = FactorRule::Free);
    place.log_in(Some("BRIDGED")).await.fails(403, "M_USER_LIMIT_EXCEEDED");
    phone.post("/logout", json!({})).await.ok();
    place.log_in(Some("BRIDGED")).await.ok();
    place.log_in(None).await.fails(403, "M_USER_LIMIT_EXCEEDED");
}
