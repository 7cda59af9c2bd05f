//! What users do to their accounts on our pages.

use serde_json::{Value, json};

use crate::{
    oauth::{Browser, TOKEN, app, scope},
    town::{PASSWORD, Person, Town},
};

const ACCOUNT: &str = "/_yakuba/account";

/// Hanako's browser at a part of the account pages.
async fn at<'a>(town: &'a Town, action: &str) -> Browser<'a> {
    let mut browser = Browser::new(town);
    browser.open(&format!("{ACCOUNT}?action={action}")).await;
    browser.sign_in("hanako", PASSWORD).await;
    assert_eq!(browser.status, 200, "{}", browser.page);
    browser
}

/// A device of Hanako's that came by the consent that its user gave in a browser.
async fn granted<'a>(town: &'a Town) -> Person<'a> {
    let client = town.client(app()).await;
    let wished = scope("GRANTEDDEV");
    let fields = [("client_id", client.as_str()), ("scope", &wished)];
    let begun = town.send_form("/_yakuba/oauth2/device", &fields).await.ok();
    let mut browser = Browser::new(town);
    browser.open(begun["verification_uri_complete"].as_str().unwrap()).await;
    browser.sign_in("hanako", PASSWORD).await;
    browser.send("/_yakuba/link", &[("decision", "agree")]).await;
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", &client),
        ("device_code", begun["device_code"].as_str().unwrap()),
    ];
    let tokens = town.send_form(TOKEN, &fields).await.ok();
    let session = json!({
        "user_id": "@hanako:hs1", "access_token": tokens["access_token"], "device_id": "GRANTEDDEV",
    });
    town.person("hs1", &session)
}

#[tokio::test]
async fn a_name_is_changed() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let mut browser = at(&town, "org.matrix.profile").await;
    browser.send(ACCOUNT, &[("name", "金沢 花子"), ("do", "rename")]).await;
    assert!(browser.page.contains("Saved.") && browser.page.contains("金沢 花子"), "{}", browser.page);
    let profile = hanako.get(&format!("/profile/{}", hanako.id)).await.ok();
    assert_eq!(profile["displayname"], "金沢 花子");
}

#[tokio::test]
async fn a_name_that_the_organisation_gives_is_shown_and_offered_to_nobody_to_change() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let may = async || {
        let capabilities = hanako.get("/capabilities").await.ok()["capabilities"].clone();
        let fields = capabilities["m.profile_fields"].clone();
        (capabilities["m.set_displayname"]["enabled"].as_bool().unwrap(), fields["disallowed"].clone())
    };
    assert_eq!(may().await, (true, Value::Null));
    let given = account::GivenProfile {
        user: hanako.id.to_string().try_into().unwrap(),
        called: "金沢 花子".to_owned(),
        display_name: "金沢 花子(防災課)".to_owned(),
        unit: None,
        post: None,
        reading: None,
    };
    // Her page was open before.
    let mut browser = at(&town, "org.matrix.profile").await;
    town.accounts.give_profiles(&[given]).await.unwrap();
    let (may_rename, disallowed) = may().await;
    assert!(!may_rename && disallowed.as_array().unwrap().contains(&json!("displayname")), "{disallowed}");
    browser.send(ACCOUNT, &[("name", "市長"), ("do", "rename")]).await;
    assert!(browser.page.contains("personnel office"), "{}", browser.page);
    browser.open(&format!("{ACCOUNT}?action=org.matrix.profile")).await;
    assert!(
        browser.page.contains("金沢 花子(防災課)") && !browser.page.contains("rename"),
        "{}",
        browser.page
    );
    let profile = hanako.get(&format!("/profile/{}", hanako.id)).await.ok();
    assert_eq!(profile["displayname"], "金沢 花子(防災課)");
}

#[tokio::test]
async fn devices_are_listed_and_signed_out_by_either_name_of_the_action() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let device = granted(&town).await;
    device.get("/account/whoami").await.ok();
    let mut browser = at(&town, "org.matrix.sessions_list").await;
    assert!(browser.page.contains("GRANTEDDEV") && browser.page.contains("My App"), "{}", browser.page);
    assert!(browser.page.contains(&hanako.device));
    browser.open(&format!("{ACCOUNT}?action=org.matrix.device_delete&device_id=GRANTEDDEV")).await;
    assert!(browser.page.contains("GRANTEDDEV") && !browser.page.contains(&hanako.device));
    browser.send(ACCOUNT, &[("do", "sign_out")]).await;
    assert!(!browser.page.contains("GRANTEDDEV"), "{}", browser.page);
    device.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    hanako.get("/account/whoami").await.ok();
    browser.open(&format!("{ACCOUNT}?action=org.matrix.session_view&device_id=GRANTEDDEV")).await;
    assert!(browser.page.contains("not signed in"), "{}", browser.page);
}

#[tokio::test]
async fn an_account_is_closed_by_its_password_alone() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let mut browser = at(&town, "org.matrix.account_deactivate").await;
    browser.send(ACCOUNT, &[("do", "close"), ("password", "wrong")]).await;
    assert!(browser.status == 403 && browser.page.contains("password is wrong"), "{}", browser.page);
    hanako.get("/account/whoami").await.ok();
    browser.send(ACCOUNT, &[("do", "close"), ("password", PASSWORD), ("erase", "yes")]).await;
    assert!(browser.page.contains("Your account is closed"), "{} {}", browser.status, browser.page);
    hanako.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
    browser.open(ACCOUNT).await;
    browser.sign_in("hanako", PASSWORD).await;
    assert!(browser.status == 403 && browser.page.contains("closed"), "{}", browser.page);
}

fn cross_signing(user: &str, seed: &str) -> Value {
    let key = format!("{seed}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    json!({
        "master_key": {
            "user_id": user, "usage": ["master"], "keys": { format!("ed25519:{key}"): key },
        },
    })
}

#[tokio::test]
async fn a_client_without_a_password_replaces_cross_signing_keys_once_its_user_agreed_on_our_page() {
    let town = Town::new().await;
    town.user("hanako").await;
    let device = granted(&town).await;
    let upload = async |seed: &str, auth: Option<Value>| {
        let mut body = cross_signing("@hanako:hs1", seed);
        if let Some(auth) = auth {
            body["auth"] = auth;
        }
        device.post("/keys/device_signing/upload", body).await
    };
    upload("B", None).await.ok();
    let refused = upload("C", None).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    assert_eq!(refused.body["flows"][0]["stages"], json!(["m.oauth"]));
    let url = refused.body["params"]["m.oauth"]["url"].as_str().unwrap();
    assert_eq!(url, "https://hs1/_yakuba/account?action=org.matrix.cross_signing_reset");
    let auth = json!({ "session": refused.body["session"] });
    assert_eq!(upload("C", Some(auth.clone())).await.status, 401);
    // C61: who does not know these stages is led there by their pages.
    let stages = refused.body["flows"].as_array().unwrap().iter();
    let stages: Vec<&str> = stages.filter_map(|flow| flow["stages"][0].as_str()).collect();
    assert_eq!(stages, ["m.oauth", "org.matrix.cross_signing_reset"]);
    for stage in stages {
        let path = format!("/_matrix/client/v3/auth/{stage}/fallback/web");
        let session = refused.body["session"].as_str().unwrap();
        let page = town.ask("GET", &format!("{path}?session={session}"), Value::Null).await;
        assert!(page.status == 200 && page.text.contains("<!DOCTYPE html>"), "{} {}", page.status, page.text);
        assert!(page.text.contains(&format!(r#"href="{url}""#)), "{}", page.text);
    }
    let unknown = "/_matrix/client/v3/auth/m.login.msisdn/fallback/web";
    assert_eq!(town.ask("GET", unknown, Value::Null).await.status, 404);

    let mut browser = at(&town, "org.matrix.cross_signing_reset").await;
    browser.send(ACCOUNT, &[("do", "reset"), ("password", "wrong")]).await;
    assert_eq!(browser.status, 403);
    assert_eq!(upload("C", Some(auth.clone())).await.status, 401);
    browser.send(ACCOUNT, &[("do", "reset"), ("password", PASSWORD)]).await;
    assert!(browser.page.contains("Approved"), "{}", browser.page);

    upload("C", Some(auth)).await.ok();
    // For once.
    assert_eq!(upload("D", None).await.status, 401);
}

#[tokio::test]
async fn what_was_agreed_to_is_worth_nothing_once_the_password_is_another_or_all_are_signed_out() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let device = granted(&town).await;
    let upload = async |seed: &str| {
        device.post("/keys/device_signing/upload", cross_signing("@hanako:hs1", seed)).await.status
    };
    assert_eq!(upload("B").await, 200);
    let mut browser = at(&town, "org.matrix.cross_signing_reset").await;
    browser.send(ACCOUNT, &[("do", "reset"), ("password", PASSWORD)]).await;
    let change = json!({
        "auth": hanako.proof(PASSWORD), "new_password": "another word", "logout_devices": false,
    });
    hanako.post("/account/password", change).await.ok();
    assert_eq!(upload("C").await, 401);
}

#[tokio::test]
async fn another_password_is_chosen_by_the_old_one_and_ends_every_other_browser() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let (mut browser, mut elsewhere) = (at(&town, "password").await, at(&town, "org.matrix.profile").await);
    let change = |old: &'static str, new: &'static str, again: &'static str, sign_out: &'static str| {
        [
            ("password", old),
            ("new_password", new),
            ("again", again),
            ("sign_out", sign_out),
            ("do", "password"),
        ]
    };
    for (fields, status) in [
        (change("wrong", "another word", "another word", "yes"), 403),
        (change(PASSWORD, "another word", "and another", "yes"), 400),
        (change(PASSWORD, "short", "short", "yes"), 400),
    ] {
        browser.send(ACCOUNT, &fields).await;
        assert!(browser.status == status && browser.page.contains("new_password"), "{}", browser.page);
    }
    hanako.get("/account/whoami").await.ok();
    browser.send(ACCOUNT, &change(PASSWORD, "another word", "another word", "no")).await;
    assert!(browser.status == 200 && browser.page.contains("is changed"), "{}", browser.page);
    hanako.get("/account/whoami").await.ok();
    browser.open(ACCOUNT).await;
    assert!(browser.page.contains("Display name"), "who changed it goes on: {}", browser.page);
    elsewhere.open(ACCOUNT).await;
    assert!(elsewhere.page.contains("/_yakuba/sign-in"), "{}", elsewhere.page);
    elsewhere.sign_in("hanako", PASSWORD).await;
    assert_eq!(elsewhere.status, 403);
    browser.open(&format!("{ACCOUNT}?action=password")).await;
    browser.send(ACCOUNT, &change("another word", "a third word", "a third word", "yes")).await;
    assert_eq!(browser.status, 200);
    hanako.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
}
