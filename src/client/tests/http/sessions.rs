//! Login tokens, and tokens that have run out.

use std::time::Duration;

use base::Clock;
use serde_json::{Value, json};

use crate::town::{PASSWORD, Town};

const LOGIN: &str = "/_matrix/client/v3/login";
const GET_TOKEN: &str = "/_matrix/client/v1/login/get_token";

fn with(token: &Value) -> Value {
    json!({ "type": "m.login.token", "token": token, "device_id": "DESK", "refresh_token": true })
}

#[tokio::test]
async fn a_login_token_is_given_for_the_password_and_lets_another_client_in_once() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let flows = town.ask("GET", LOGIN, Value::Null).await.ok();
    assert_eq!(flows["flows"][1], json!({ "type": "m.login.token", "get_login_token": true }));
    let able = hanako.get("/capabilities").await.ok();
    assert_eq!(able["capabilities"]["m.get_login_token"]["enabled"], true);
    town.ask("POST", GET_TOKEN, json!({})).await.fails(401, "M_MISSING_TOKEN");
    let asked = hanako.post(GET_TOKEN, json!({})).await;
    assert_eq!((asked.status, &asked.body["flows"]), (401, &json!([{ "stages": ["m.login.password"] }])));
    hanako.post(GET_TOKEN, json!({ "auth": hanako.proof("wrong") })).await.fails(401, "M_FORBIDDEN");

    let given = hanako.post(GET_TOKEN, json!({ "auth": hanako.proof(PASSWORD) })).await.ok();

    assert_eq!(given["expires_in_ms"], 120_000);
    let token = &given["login_token"];
    let session = town.ask("POST", LOGIN, with(token)).await.ok();
    assert_eq!((&session["user_id"], &session["device_id"]), (&json!("@hanako:hs1"), &json!("DESK")));
    assert!(session["refresh_token"].is_string());
    town.person("hs1", &session).get("/account/whoami").await.ok();
    hanako.get("/account/whoami").await.ok();
    town.ask("POST", LOGIN, with(token)).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn of_two_clients_that_bring_a_login_token_at_once_one_gets_in() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let given = hanako.post(GET_TOKEN, json!({ "auth": hanako.proof(PASSWORD) })).await.ok();
    let log_in = || town.ask("POST", LOGIN, with(&given["login_token"]));
    let (one, two) = tokio::join!(log_in(), log_in());
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[tokio::test]
async fn a_login_token_is_good_for_two_minutes_and_the_account_as_it_was_at_its_own_authority() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    let hanako = town.user("hanako").await;
    let give = || async {
        let given = hanako.post(GET_TOKEN, json!({ "auth": hanako.proof(PASSWORD) })).await;
        given.ok()["login_token"].clone()
    };
    let token = give().await;
    hand.advance(Duration::from_secs(120));
    town.ask("POST", LOGIN, with(&token)).await.fails(403, "M_FORBIDDEN");

    let token = give().await;
    let elsewhere = town.raw("hs2", "POST", LOGIN, None, with(&token).to_string().into_bytes()).await;
    elsewhere.fails(403, "M_FORBIDDEN");
    let change = json!({ "auth": hanako.proof(PASSWORD), "new_password": "another word" });
    hanako.post("/account/password", change).await.ok();
    town.ask("POST", LOGIN, with(&token)).await.fails(403, "M_FORBIDDEN");

    for nonsense in [json!(""), json!("ylt_x"), json!("y".repeat(5_000))] {
        town.ask("POST", LOGIN, with(&nonsense)).await.fails(403, "M_FORBIDDEN");
    }
    town.ask("POST", LOGIN, json!({ "type": "m.login.token" })).await.fails(400, "M_MISSING_PARAM");
}

#[tokio::test]
async fn a_login_token_opens_no_locked_account() {
    let town = Town::new().await;
    let (hanako, admin) = (town.user("hanako").await, town.admin("admin").await);
    let given = hanako.post(GET_TOKEN, json!({ "auth": hanako.proof(PASSWORD) })).await.ok();
    let lock = "/_matrix/client/v1/admin/lock/@hanako:hs1";
    admin.put(lock, json!({ "locked": true })).await.ok();
    town.ask("POST", LOGIN, with(&given["login_token"])).await.fails(401, "M_USER_LOCKED");
}

/// C64.
#[tokio::test]
async fn a_session_whose_token_has_run_out_can_still_be_ended() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    let hanako = town.user("hanako").await;
    let login = json!({
        "type": "m.login.password", "user": "hanako", "password": PASSWORD, "device_id": "PHONE",
        "refresh_token": true,
    });
    let session = town.ask("POST", LOGIN, login).await.ok();
    let phone = town.person("hs1", &session);
    hand.advance(Duration::from_millis(session["expires_in_ms"].as_u64().unwrap()));

    for (method, path) in [("GET", "/account/whoami"), ("POST", "/logout/all"), ("GET", "/devices")] {
        let told = phone.ask(method, path, json!({})).await.fails(401, "M_UNKNOWN_TOKEN");
        assert_eq!(told["soft_logout"], true, "{path}");
    }
    hanako.get("/devices/PHONE").await.ok();
    phone.post("/logout", json!({})).await.ok();

    hanako.get("/devices/PHONE").await.fails(404, "M_NOT_FOUND");
    assert_eq!(phone.post("/logout", json!({})).await.fails(401, "M_UNKNOWN_TOKEN")["soft_logout"], false);
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    town.ask("POST", "/_matrix/client/v3/refresh", refresh).await.fails(401, "M_UNKNOWN_TOKEN");
}

/// C57.
#[tokio::test]
async fn what_is_not_in_a_profile_is_not_found_and_never_null() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let path = "/_matrix/client/v3/profile/@hanako:hs1";
    town.ask("GET", &format!("{path}/avatar_url"), Value::Null).await.fails(404, "M_NOT_FOUND");
    hanako.ask("DELETE", "/profile/@hanako:hs1/displayname", Value::Null).await.ok();
    town.ask("GET", &format!("{path}/displayname"), Value::Null).await.fails(404, "M_NOT_FOUND");
    town.ask("GET", path, Value::Null).await.fails(404, "M_NOT_FOUND");
    hanako.put("/profile/@hanako:hs1/displayname", json!({ "displayname": "花子" })).await.ok();
    assert_eq!(town.ask("GET", path, Value::Null).await.ok(), json!({ "displayname": "花子" }));
}

#[tokio::test]
async fn whom_to_turn_to_is_told_where_it_is_set() {
    let town = Town::new().await;
    let path = "/.well-known/matrix/support";
    let told = town.ask("GET", path, Value::Null).await.ok();
    let contact = json!({ "role": "m.role.admin", "matrix_id": "@helpdesk:hs1", "email_address": "helpdesk@hs1.example" });
    assert_eq!(told, json!({ "contacts": [contact], "support_page": "https://hs1.example/help" }));
    town.raw("hs2", "GET", path, None, Vec::new()).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn the_page_that_asks_for_a_password_says_what_it_confirms() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let page = async |session: &str| {
        let path = format!("/_matrix/client/v3/auth/m.login.password/fallback/web?session={session}");
        town.ask("GET", &path, Value::Null).await.text
    };
    for (path, body, deed) in [
        ("/account/deactivate", json!({}), "アカウントの閉鎖"),
        ("/account/password", json!({ "new_password": "another word" }), "パスワードの変更"),
        ("/delete_devices", json!({ "devices": ["A"] }), "複数の端末のサインアウトと削除"),
    ] {
        let asked = hanako.post(path, body).await;
        assert_eq!(asked.status, 401, "{}", asked.text);
        let session = asked.body["session"].as_str().unwrap();
        assert!(page(session).await.contains(deed), "{path}");
        // Whoever changes what it says has no session any more.
        let forged = session.replace(session.split('.').next().unwrap(), "email");
        let proof = "&name=hanako&password=correct+horse";
        let sent = format!("session={forged}{proof}");
        let path = "/_matrix/client/v3/auth/m.login.password/fallback/web";
        let answer = town.raw("hs1", "POST", path, None, sent.into_bytes()).await;
        assert!(answer.status != 200, "{}", answer.text);
    }
}
