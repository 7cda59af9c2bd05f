//! A deployment that says no, as its users see it.

use std::sync::Arc;

use base::Address;
use pdu::Draft;
use room::{Denial, Policy};
use ruma::{RoomId, ServerName, UserId};
use serde_json::{Value, json};

use crate::town::{PASSWORD, Town};

const LOGIN: &str = "/_matrix/client/v3/login";
const REGISTER: &str = "/_matrix/client/v3/register";
const WHY: &str = "この操作は許可されていません";

/// From where 二郎 may sign in.
const HOME: &str = "192.0.2.1";

/// Shuts out everybody whose name begins so, and everything that says so.
struct Shut;

fn no() -> Result<(), Denial> {
    Err(Denial { public: WHY.to_owned(), private: "a test".to_owned() })
}

impl Policy for Shut {
    fn register(&self, user: &UserId, _: Option<Address>) -> Result<(), Denial> {
        if user.localpart().starts_with("shut") { no() } else { Ok(()) }
    }
    fn sign_in(&self, user: &UserId, from: Option<Address>) -> Result<(), Denial> {
        if user.localpart() == "jiro" && from != Some(Address::of(HOME.parse().unwrap())) {
            no()
        } else {
            Ok(())
        }
    }
    fn send(&self, _: Option<&RoomId>, draft: &Draft) -> Result<(), Denial> {
        if draft.content.get().contains("shut") { no() } else { Ok(()) }
    }
    fn look_up(&self, _: Option<&UserId>, server: &ServerName) -> Result<(), Denial> {
        if server.as_str().starts_with("shut") || server == "hs2" { no() } else { Ok(()) }
    }
    fn find(&self, _: &UserId, found: &UserId) -> bool {
        found.localpart() != "jiro"
    }
}

async fn log_in(town: &Town, name: &str, password: &str) -> crate::town::Answer {
    let identifier = json!({ "type": "m.id.user", "user": name });
    let body = json!({ "type": "m.login.password", "identifier": identifier, "password": password });
    town.ask("POST", LOGIN, body).await
}

#[tokio::test]
async fn who_is_shut_out_gets_no_account_and_no_session_and_says_and_finds_nothing() {
    let town = Town::under(Arc::new(Shut)).await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let wish =
        |name: &str| json!({ "auth": { "type": "m.login.dummy" }, "username": name, "password": PASSWORD });
    let refused = town.ask("POST", REGISTER, wish("shut")).await.fails(403, "M_FORBIDDEN");
    assert_eq!(refused["error"], WHY);
    let available = town.ask("GET", &format!("{REGISTER}/available?username=shut"), Value::Null).await;
    assert_eq!(available.ok()["available"], true, "there is no such account");

    town.ask("POST", REGISTER, wish("jiro")).await.fails(403, "M_FORBIDDEN");
    let session = town.ask_from(HOME, "POST", REGISTER, wish("jiro")).await.ok();
    let jiro = town.person("hs1", &session);
    log_in(&town, "taro", PASSWORD).await.ok();
    assert_eq!(log_in(&town, "jiro", PASSWORD).await.fails(403, "M_FORBIDDEN")["error"], WHY);
    let wrong = log_in(&town, "jiro", "wrong").await.fails(403, "M_FORBIDDEN");
    assert_ne!(wrong["error"], WHY, "only who knows the password learns that");

    let room = hanako.create_room(json!({ "preset": "public_chat" })).await;
    for person in [&jiro, &taro] {
        person.post(&format!("/join/{room}"), json!({})).await.ok();
    }
    let path = format!("/rooms/{room}/send/m.room.message/1");
    let said = hanako.put(&path, json!({ "msgtype": "m.text", "body": "shut" })).await;
    assert_eq!(said.fails(403, "M_FORBIDDEN")["error"], WHY);
    hanako.post("/createRoom", json!({ "topic": "shut" })).await.fails(403, "M_FORBIDDEN");

    let found = hanako.post("/user_directory/search", json!({ "search_term": "hs1" })).await.ok();
    let found: Vec<&Value> =
        found["results"].as_array().unwrap().iter().map(|user| &user["user_id"]).collect();
    assert_eq!(found, [&json!(taro.id)]);
    for path in ["/directory/room/%23a:shut.test", "/publicRooms?server=shut.test", "/profile/@a:shut.test"] {
        assert_eq!(hanako.get(path).await.fails(403, "M_FORBIDDEN")["error"], WHY, "{path}");
    }
    hanako.get("/profile/@a:hs2/displayname").await.fails(403, "M_FORBIDDEN");
    let path = "/publicRooms?server=hs2";
    hanako.post(path, json!({})).await.fails(403, "M_FORBIDDEN");
}
