//! Accounts over HTTP.

use std::time::Duration;

use base::Clock;
use serde_json::{Value, json};

use crate::town::{PASSWORD, Town};

const LOGIN: &str = "/_matrix/client/v3/login";
const REGISTER: &str = "/_matrix/client/v3/register";

#[tokio::test]
async fn versions_name_every_release_from_the_first_to_the_present() {
    let town = Town::new().await;
    let body = town.ask("GET", "/_matrix/client/versions", Value::Null).await.ok();
    let versions: Vec<_> = body["versions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((versions[0], versions[18], versions.len()), ("v1.1", "v1.19", 19));
    assert!(body["unstable_features"].as_object().unwrap().values().all(Value::is_boolean));
}

#[tokio::test]
async fn registration_asks_for_a_stage_and_takes_it_with_or_without_the_session() {
    let town = Town::new().await;
    let body = json!({ "username": "hanako", "password": "übers3kr1t", "device_id": "xyzzy" });
    let first = town.ask("POST", REGISTER, body.clone()).await;
    assert_eq!(first.status, 401);
    assert!(first.body["flows"][0]["stages"].is_array());
    let mut with_session = body;
    with_session["auth"] = json!({ "type": "m.login.dummy", "session": first.body["session"] });

    let answer = town.ask("POST", REGISTER, with_session).await.ok();

    assert_eq!((&answer["user_id"], &answer["device_id"]), (&json!("@hanako:hs1"), &json!("xyzzy")));
    assert!(answer["access_token"].is_string());
    let without =
        json!({ "auth": { "type": "m.login.dummy" }, "username": "user-UPPER", "password": PASSWORD });
    assert_eq!(town.ask("POST", REGISTER, without).await.ok()["user_id"], "@user-upper:hs1");
}

#[tokio::test]
async fn names_that_cannot_be_had_say_why() {
    let town = Town::new().await;
    town.user("hanako").await;
    let available = |name: &'static str| town.ask_owned(format!("{REGISTER}/available?username={name}"));
    available("hanako").await.fails(400, "M_USER_IN_USE");
    available("us,er").await.fails(400, "M_INVALID_USERNAME");
    assert_eq!(available("taro").await.ok()["available"], true);
    let body = json!({ "auth": { "type": "m.login.dummy" }, "username": "hanako", "password": PASSWORD });
    town.ask("POST", REGISTER, body).await.fails(400, "M_USER_IN_USE");
}

impl Town {
    async fn ask_owned(&self, path: String) -> crate::town::Answer {
        self.ask("GET", &path, Value::Null).await
    }
}

#[tokio::test]
async fn registration_without_a_login_gives_no_token() {
    let town = Town::new().await;
    let body = json!({
        "auth": { "type": "m.login.dummy" }, "username": "hanako", "password": PASSWORD, "inhibit_login": true,
    });
    let answer = town.ask("POST", REGISTER, body).await.ok();
    assert!(answer.get("access_token").is_none());
}

#[tokio::test]
async fn logging_in_and_out() {
    let town = Town::new().await;
    town.user("hanako").await;
    let flows = town.ask("GET", LOGIN, Value::Null).await.ok();
    assert_eq!(flows["flows"][0]["type"], "m.login.password");
    let login = |user: &str, password: &str| {
        json!({
            "type": "m.login.password", "identifier": { "type": "m.id.user", "user": user },
            "password": password, "device_id": "PHONE", "initial_device_display_name": "Phone",
        })
    };
    town.ask("POST", LOGIN, login("hanako", "wrong")).await.fails(403, "M_FORBIDDEN");
    town.ask("POST", LOGIN, login("nobody", PASSWORD)).await.fails(403, "M_FORBIDDEN");

    let session = town.ask("POST", LOGIN, login("@HANAKO:hs1", PASSWORD)).await.ok();

    let phone = town.person("hs1", &session);
    let who = phone.get("/account/whoami").await.ok();
    assert_eq!((&who["user_id"], &who["device_id"]), (&json!("@hanako:hs1"), &json!("PHONE")));
    assert_eq!(phone.get("/devices/PHONE").await.ok()["display_name"], "Phone");
    phone.post("/logout", json!({})).await.ok();
    assert_eq!(phone.get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN")["soft_logout"], false);
    town.ask("GET", "/_matrix/client/v3/account/whoami", Value::Null).await.fails(401, "M_MISSING_TOKEN");
}

#[tokio::test]
async fn who_guesses_passwords_shuts_out_his_own_address_behind_the_proxy_and_no_other() {
    let (clock, _hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    town.user("hanako").await;
    let log_in = |address: &'static str, password: &str| {
        let body = json!({ "type": "m.login.password", "user": "hanako", "password": password });
        town.ask_from(address, "POST", LOGIN, body)
    };
    for _ in 0..10 {
        log_in("192.0.2.66", "wrong").await.fails(403, "M_FORBIDDEN");
    }
    let refused = log_in("192.0.2.66", PASSWORD).await.fails(429, "M_LIMIT_EXCEEDED");
    assert_eq!(refused["limit"], "wrong_passwords");
    log_in("203.0.113.1", PASSWORD).await.ok();
}

#[tokio::test]
async fn one_authority_knows_nothing_of_anothers_tokens_and_users() {
    let town = Town::new().await;
    let hanako = town.user_at("hs2", "hanako").await;
    assert_eq!(hanako.id, "@hanako:hs2");
    let whoami = "/_matrix/client/v3/account/whoami";
    town.raw("hs1", "GET", whoami, Some(&hanako.token), Vec::new()).await.fails(401, "M_UNKNOWN_TOKEN");
    let login = json!({ "type": "m.login.password", "user": "@hanako:hs2", "password": PASSWORD });
    town.ask("POST", LOGIN, login).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn refreshing_gives_a_new_pair_for_the_same_device() {
    let town = Town::new().await;
    let body = json!({
        "auth": { "type": "m.login.dummy" }, "username": "hanako", "password": PASSWORD, "refresh_token": true,
    });
    let old = town.ask("POST", REGISTER, body).await.ok();
    assert!(old["expires_in_ms"].as_u64().unwrap() > 0);
    let refresh = json!({ "refresh_token": old["refresh_token"] });
    let mut new = town.ask("POST", "/_matrix/client/v3/refresh", refresh).await.ok();
    assert_ne!(new["access_token"], old["access_token"]);
    (new["user_id"], new["device_id"]) = (old["user_id"].clone(), old["device_id"].clone());
    let who = town.person("hs1", &new).get("/account/whoami").await.ok();
    assert_eq!(who["device_id"], old["device_id"]);
    town.person("hs1", &old).get("/account/whoami").await.fails(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn removing_a_device_takes_its_owners_password() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let path = format!("/devices/{}", hanako.device);

    let asked = hanako.ask("DELETE", &path, Value::Null).await;
    assert_eq!(asked.status, 401);
    assert!(
        asked.body["session"].is_string()
            && asked.body["flows"].is_array()
            && asked.body["params"].is_object()
    );
    let wrong = hanako.ask("DELETE", &path, json!({ "auth": hanako.proof("wrong") })).await;
    wrong.fails(401, "M_FORBIDDEN");
    hanako.ask("DELETE", &path, json!({ "auth": taro.proof(PASSWORD) })).await.fails(403, "M_FORBIDDEN");
    hanako.ask("DELETE", &path, json!({ "auth": hanako.proof(PASSWORD) })).await.ok();
    hanako.get("/devices").await.fails(401, "M_UNKNOWN_TOKEN");
    taro.get("/devices/NONE").await.fails(404, "M_NOT_FOUND");
    taro.put("/devices/NONE", json!({ "display_name": "x" })).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_proof_may_name_its_user_as_older_clients_do_and_one_without_a_user_is_told_in_plain_words() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let path = format!("/devices/{}", hanako.device);

    let nobody = json!({ "auth": { "type": "m.login.password", "password": PASSWORD } });
    let refused = hanako.ask("DELETE", &path, nobody).await;
    let said = refused.body["error"].as_str().unwrap_or_default();
    assert!(!said.contains("line") && !said.contains("column"), "{said}");
    refused.fails(400, "M_BAD_JSON");
    let proof = |password: &str| json!({ "auth": { "type": "m.login.password", "user": "hanako", "password": password } });
    hanako.ask("DELETE", &path, proof("wrong")).await.fails(401, "M_FORBIDDEN");
    hanako.ask("DELETE", &path, proof(PASSWORD)).await.ok();
}

#[tokio::test]
async fn passwords_change_and_accounts_close_with_proof() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let change = json!({ "auth": hanako.proof(PASSWORD), "new_password": "my_new_password" });
    hanako.post("/account/password", change).await.ok();
    hanako.get("/account/whoami").await.ok();
    hanako.post("/account/deactivate", json!({})).await;
    let wrong = hanako.post("/account/deactivate", json!({ "auth": hanako.proof(PASSWORD) })).await;
    wrong.fails(401, "M_FORBIDDEN");
    let close = json!({ "auth": hanako.proof("my_new_password") });
    assert_eq!(hanako.post("/account/deactivate", close).await.ok()["id_server_unbind_result"], "no-support");
    let login = json!({ "type": "m.login.password", "user": "hanako", "password": "my_new_password" });
    town.ask("POST", LOGIN, login).await.fails(403, "M_USER_DEACTIVATED");
}

#[tokio::test]
async fn the_shared_secret_route_gives_nonces_and_refuses_bad_signatures() {
    let town = Town::new().await;
    let path = "/_synapse/admin/v1/register";
    let nonce = town.ask("GET", path, Value::Null).await.ok()["nonce"].clone();
    let body = json!({ "nonce": nonce, "username": "a", "password": "b", "mac": "00", "admin": true });
    town.ask("POST", path, body).await.fails(403, "M_FORBIDDEN");
}

#[tokio::test]
async fn account_data_tags_and_filters_are_the_callers_own() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let room = hanako.create_room(json!({})).await;
    let base = format!("/user/{}", hanako.id);

    hanako.put(&format!("{base}/account_data/test.key"), json!({ "value": "first" })).await.ok();
    assert_eq!(hanako.get(&format!("{base}/account_data/test.key")).await.ok()["value"], "first");
    taro.get(&format!("{base}/account_data/test.key")).await.fails(403, "M_FORBIDDEN");
    hanako.get(&format!("{base}/account_data/none")).await.fails(404, "M_NOT_FOUND");
    hanako.put(&format!("{base}/account_data/m.push_rules"), json!({})).await.fails(405, "M_BAD_JSON");
    let of_room = format!("{base}/rooms/{room}/account_data/test.key");
    hanako.put(&of_room, json!({ "value": 2 })).await.ok();
    assert_eq!(hanako.get(&of_room).await.ok()["value"], 2);

    hanako.put(&format!("{base}/rooms/{room}/tags/m.favourite"), json!({ "order": 0.5 })).await.ok();
    let tags = hanako.get(&format!("{base}/rooms/{room}/tags")).await.ok();
    assert_eq!(tags["tags"]["m.favourite"]["order"], 0.5);
    hanako.ask("DELETE", &format!("{base}/rooms/{room}/tags/m.favourite"), Value::Null).await.ok();

    let filter = json!({ "room": { "timeline": { "limit": 3 }, "org.example": 1 } });
    let id = hanako.post(&format!("{base}/filter"), filter.clone()).await.ok()["filter_id"].clone();
    let kept = hanako.get(&format!("{base}/filter/{}", id.as_str().unwrap())).await.ok();
    assert_eq!(kept, filter);
    let bad = [
        json!({ "presence": "not_an_object" }),
        json!({ "room": { "timeline": { "rooms": "not_a_list" } } }),
        json!({ "room": { "timeline": { "types": [1] } } }),
        json!({ "room": { "timeline": { "rooms": ["not_a_room_id"] } } }),
        json!({ "room": { "timeline": { "senders": ["not_a_sender_id"] } } }),
    ];
    for filter in bad {
        hanako.post(&format!("{base}/filter"), filter).await.fails(400, "M_BAD_JSON");
    }
}

#[tokio::test]
async fn profiles_are_public_and_set_by_their_owner() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let taro = town.user("taro").await;
    let path = format!("/_matrix/client/v3/profile/{}", hanako.id);
    let set = |field: &'static str, value: Value| {
        let path = format!("{path}/{field}");
        let mut body = serde_json::Map::new();
        body.insert(field.to_owned(), value);
        async move { (path, Value::Object(body)) }
    };

    let (field, body) = set("displayname", json!("花子")).await;
    taro.put(&field, body.clone()).await.fails(403, "M_FORBIDDEN");
    hanako.put(&field, body).await.ok();
    let (field, body) = set("m.tz", json!("Asia/Tokyo")).await;
    hanako.put(&field, body).await.ok();
    hanako.put(&field, json!({})).await.fails(400, "M_MISSING_PARAM");

    let profile = town.ask("GET", &path, Value::Null).await.ok();
    assert_eq!(profile, json!({ "displayname": "花子", "m.tz": "Asia/Tokyo" }));
    town.ask("GET", &format!("{path}/avatar_url"), Value::Null).await.fails(404, "M_NOT_FOUND");
    town.ask("GET", &format!("{path}/none"), Value::Null).await.fails(404, "M_NOT_FOUND");
    town.ask("GET", "/_matrix/client/v3/profile/@nobody:hs1", Value::Null).await.fails(404, "M_NOT_FOUND");
    hanako.ask("DELETE", &field, Value::Null).await.ok();
    town.ask("GET", &field, Value::Null).await.fails(404, "M_NOT_FOUND");

    let put = async |field: &str| hanako.put(&format!("{path}/{field}"), json!({ field: 1 })).await;
    let at_most = format!("a{}", "b".repeat(254));
    put(&at_most).await.ok();
    put(&format!("{at_most}c")).await.fails(400, "M_KEY_TOO_LARGE");
    put("org.example.a-b_c0").await.ok();
    for odd in ["Bad", "1a", ".a", "_a", "aB", "a+b"] {
        put(odd).await.fails(400, "M_INVALID_PARAM");
    }
    for odd in ["Bad Name", "日本"] {
        let encoded: String = odd.bytes().map(|byte| format!("%{byte:02x}")).collect();
        hanako.put(&format!("{path}/{encoded}"), json!({ odd: 1 })).await.fails(400, "M_INVALID_PARAM");
    }
}

#[tokio::test]
async fn push_rules_are_kept() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let all = hanako.get("/pushrules/").await.ok();
    assert_eq!(all["global"]["override"][0]["rule_id"], ".m.rule.master");
    for kind in ["room", "sender"] {
        assert_eq!(all["global"][kind], json!([]), "kinds without rules are there");
    }
    assert_eq!(hanako.get("/pushrules/global/").await.ok(), all["global"]);
    let room = "/pushrules/global/room/!room:hs1";
    hanako.put(room, json!({ "actions": ["dont_notify"] })).await.ok();
    assert_eq!(hanako.get(room).await.ok()["rule_id"], "!room:hs1");
    hanako.put(&format!("{room}/enabled"), json!({ "enabled": false })).await.ok();
    assert_eq!(hanako.get(&format!("{room}/enabled")).await.ok()["enabled"], false);
    hanako.put(&format!("{room}/actions"), json!({ "actions": ["notify"] })).await.ok();
    assert_eq!(hanako.get(&format!("{room}/actions")).await.ok()["actions"][0], "notify");
    hanako.ask("DELETE", room, Value::Null).await.ok();
    hanako.get(room).await.fails(404, "M_NOT_FOUND");
    hanako
        .ask("DELETE", "/pushrules/global/override/.m.rule.master", Value::Null)
        .await
        .fails(400, "M_INVALID_PARAM");
    let data = hanako.get(&format!("/user/{}/account_data/m.push_rules", hanako.id)).await.ok();
    assert!(data["global"]["override"].is_array());
}

#[tokio::test]
async fn capabilities_and_the_rest_of_the_small_answers() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let capabilities = hanako.get("/capabilities").await.ok();
    assert_eq!(capabilities["capabilities"]["m.room_versions"]["default"], "12");
    assert_eq!(capabilities["capabilities"]["m.change_password"]["enabled"], true);
    town.ask("GET", "/_matrix/client/v3/capabilities", Value::Null).await.fails(401, "M_MISSING_TOKEN");
    assert_eq!(hanako.get("/voip/turnServer").await.ok(), json!({}));
    assert_eq!(hanako.get("/thirdparty/protocols").await.ok(), json!({}));
    assert_eq!(hanako.get("/account/3pid").await.ok(), json!({ "threepids": [] }));
    let openid = hanako.post(&format!("/user/{}/openid/request_token", hanako.id), json!({})).await.ok();
    assert_eq!((&openid["matrix_server_name"], &openid["token_type"]), (&json!("hs1"), &json!("Bearer")));
    hanako.put(&format!("/presence/{}/status", hanako.id), json!({ "presence": "online" })).await.ok();
    let presence = hanako.get(&format!("/presence/{}/status", hanako.id)).await.ok();
    assert_eq!(presence["presence"], "online");
    town.ask("GET", "/.well-known/matrix/client", Value::Null).await.fails(404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_session_goes_on_with_what_it_was_begun_with_on_every_endpoint() {
    let town = Town::new().await;
    let wish = json!({ "username": "hanako", "password": PASSWORD, "device_id": "PHONE" });
    let session = town.ask("POST", REGISTER, wish).await;
    assert_eq!(session.status, 401);
    let session = session.body["session"].clone();
    // Nothing shown: the flows again, and the same session.
    for auth in [json!({ "session": session }), json!({ "session": session, "type": "m.login.unknown" })] {
        let again = town.ask("POST", REGISTER, json!({ "auth": auth })).await;
        assert_eq!((again.status, &again.body["session"]), (401, &session), "{auth}");
        assert!(again.body["flows"].is_array());
    }
    // C62: without a session there is another one.
    let empty = town.ask("POST", REGISTER, json!({ "auth": {} })).await;
    assert_eq!((empty.status, empty.body["flows"][0]["stages"].is_array()), (401, true), "{}", empty.body);
    assert!(empty.body["session"].is_string() && empty.body["session"] != session, "{}", empty.body);
    let auth = json!({ "auth": { "session": session, "type": "m.login.dummy" } });
    let kind_user = format!("{REGISTER}?kind=user");
    let registered = town.ask("POST", &kind_user, auth.clone()).await.ok();
    assert_eq!((&registered["user_id"], &registered["device_id"]), (&json!("@hanako:hs1"), &json!("PHONE")));
    let again = town.ask("POST", REGISTER, auth).await.ok();
    assert_eq!(again["user_id"], "@hanako:hs1");

    let hanako = town.person("hs1", &again);
    let mut proof = hanako.proof(PASSWORD);
    let asked = hanako.post("/delete_devices", json!({ "devices": ["PHONE"] })).await;
    proof["session"] = asked.body["session"].clone();
    hanako.post("/account/deactivate", json!({ "auth": proof })).await.fails(403, "M_FORBIDDEN");
    hanako
        .post("/delete_devices", json!({ "auth": proof, "devices": ["X"] }))
        .await
        .fails(403, "M_FORBIDDEN");
    hanako.post("/delete_devices", json!({ "auth": proof })).await.ok();
    hanako.get("/devices").await.fails(401, "M_UNKNOWN_TOKEN");
}

// C60
#[tokio::test]
async fn a_password_is_what_was_asked_for_first_and_nothing_that_is_slipped_in_later() {
    const OTHER: &str = "battery staple";
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let asked = hanako.post("/account/password", json!({ "new_password": OTHER })).await;
    assert_eq!(asked.status, 401, "{}", asked.body);
    let mut proof = hanako.proof(PASSWORD);
    proof["session"] = asked.body["session"].clone();
    let slipped = json!({ "auth": proof, "new_password": "another one again" });
    hanako.post("/account/password", slipped).await.fails(403, "M_FORBIDDEN");
    hanako.post("/account/password", json!({ "auth": proof })).await.ok();
    let login = |word: &str| json!({ "type": "m.login.password", "user": "hanako", "password": word });
    for word in [PASSWORD, "another one again"] {
        town.ask("POST", LOGIN, login(word)).await.fails(403, "M_FORBIDDEN");
    }
    town.ask("POST", LOGIN, login(OTHER)).await.ok();
}

#[tokio::test]
async fn who_says_something_is_there_again() {
    let (clock, hand) = Clock::manual(1_700_000_000_000);
    let town = Town::at(clock).await;
    let hanako = town.user("hanako").await;
    let room = hanako.create_room(json!({})).await;
    let status = format!("/presence/{}/status", hanako.id);
    hanako.put(&status, json!({ "presence": "online" })).await.ok();
    let path = format!("/rooms/{room}/send/m.room.message/t");
    let message = json!({ "msgtype": "m.text", "body": "はい" });
    for what in ["message", "state", "redaction"] {
        hand.advance(Duration::from_secs(10));
        assert_eq!(hanako.get(&status).await.ok()["last_active_ago"], 10_000);
        let answer = match what {
            "message" => hanako.put(&path, message.clone()).await,
            "state" => {
                hanako.put(&format!("/rooms/{room}/state/m.room.topic"), json!({ "topic": "題" })).await
            }
            _ => {
                let said = hanako.put(&path, message.clone()).await.ok();
                hand.advance(Duration::from_secs(1));
                let event = said["event_id"].as_str().unwrap();
                hanako.put(&format!("/rooms/{room}/redact/{event}/r"), json!({})).await
            }
        };
        answer.ok();
        let presence = hanako.get(&status).await.ok();
        assert_eq!(
            (&presence["last_active_ago"], &presence["currently_active"]),
            (&json!(0), &json!(true)),
            "{what}"
        );
    }
}
