//! An identity system says over HTTP who is there, and what becomes of those who leave.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Net, PASSWORD, Preset, ScimConfig, Server, User};

const TOKEN: &str = "scim-token-of-the-identity-system";
/// Its SHA-256.
const HASH: &str = "f5e671fd5eaacd5823de1ea715b6cf0fe7d26a0566cf08d2e7c8492eb842e9dc";
/// In real time: what takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

fn net() -> Net {
    Net::with_sources(vec![ScimConfig {
        name: "entra".to_owned(),
        token_file: None,
        token_sha256: Some(HASH.to_owned()),
        localpart: "{userName@}".to_owned(),
        adopts_accounts: true,
        excepted: Vec::new(),
        emails: true,
        links_upstream: false,
    }])
}

/// The identity system, as it reaches a server.
struct Source(User);

impl Source {
    fn at(server: &Server) -> Self {
        Self(server.service("entra", TOKEN))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let (status, text) = self.0.ask(method, &format!("/_yakuba/scim/v2{path}"), body.as_ref()).await;
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Has it know somebody by this name; the path of the resource.
    async fn knows(&self, name: &str) -> String {
        let (status, made) = self.ask(Method::POST, "/Users", Some(json!({ "userName": name }))).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        format!("/Users/{}", made["id"].as_str().unwrap())
    }

    async fn says(&self, path: &str, name: &str, value: Value) {
        let operations = json!({ "Operations": [{ "op": "Replace", "path": name, "value": value }] });
        let (status, answer) = self.ask(Method::PATCH, path, Some(operations)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}

/// A `/sync` that waits for an hour; it is under way when this returns.
async fn waiting_sync(
    server: &Server,
    user: &User,
) -> tokio::task::JoinHandle<Result<Value, testkit::Refusal>> {
    user.sync(Duration::ZERO).await;
    let since =
        user.call(Method::GET, "/sync?timeout=0", None).await["next_batch"].as_str().unwrap().to_owned();
    let before = server.look(|house| house.store.watched());
    let user = user.clone();
    let waits = tokio::spawn(async move {
        let path = format!("/sync?timeout=3600000&since={}", since.replace('~', "%7E"));
        user.try_call(Method::GET, &path, None).await
    });
    while server.look(|house| house.store.watched()) <= before {
        tokio::task::yield_now().await;
    }
    waits
}

async fn log_in(user: &User) -> (StatusCode, Value) {
    let body = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": user.id() },
    });
    let (status, text) = user.ask(Method::POST, "/_matrix/client/v3/login", Some(&body)).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn whoever_leaves_is_out_of_every_session_at_once_and_comes_back_into_his_rooms() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = taro.create_room(Preset::PrivateChat).await;
    taro.invite(&room, hanako.id()).await;
    hanako.join(&room, "kanazawa.test").await;
    let tablet = hanako.another_device().await;
    let pusher = json!({
        "pushkey": "key", "kind": "http", "app_id": "app", "app_display_name": "App", "lang": "ja",
        "device_display_name": "Tablet", "data": { "url": "https://push.example.test/_matrix/push/v1/notify" },
    });
    tablet.call(Method::POST, "/pushers/set", Some(&pusher)).await;
    let source = Source::at(&server);
    let path = source.knows("hanako").await;
    let waits = waiting_sync(&server, &hanako).await;

    source.says(&path, "active", "False".into()).await;

    let ended = tokio::time::timeout(PATIENCE, waits).await.expect("the stream ends").unwrap().unwrap_err();
    assert_eq!((ended.status, ended.code.as_str()), (StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"));
    for device in [&hanako, &tablet] {
        let refused = device.try_call(Method::GET, "/account/whoami", None).await.unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"));
    }
    let (status, refused) = log_in(&hanako).await;
    assert!(status.is_client_error(), "{refused}");
    assert_eq!(refused["errcode"], "M_USER_LOCKED");

    source.says(&path, "active", "True".into()).await;
    let back = hanako.another_device().await;
    let pushers = back.call(Method::GET, "/pushers", None).await;
    assert_eq!(pushers["pushers"], json!([]));
    taro.send(&room, "お帰りなさい").await;
    back.sync_until(|seen| seen.has_message(&room, "お帰りなさい")).await;
}

#[tokio::test]
async fn a_refresh_token_of_whoever_leaves_is_worth_nothing() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let hanako = server.user("hanako").await;
    let body = json!({
        "type": "m.login.password", "refresh_token": true, "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": hanako.id() },
    });
    let session = hanako.call(Method::POST, "/login", Some(&body)).await;
    let source = Source::at(&server);
    let path = source.knows("hanako").await;
    let (status, _) = source.ask(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let refused = hanako.try_call(Method::POST, "/refresh", Some(&refresh)).await.unwrap_err();
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_stream_at_another_process_ends_as_well() {
    let net = net();
    let replicas = net.replicas("kanazawa.test", 2).await;
    let hanako = replicas[0].user("hanako").await;
    let source = Source::at(&replicas[0]);
    let path = source.knows("hanako").await;
    let waits = waiting_sync(&replicas[1], &hanako.at(&replicas[1])).await;
    source.says(&path, "active", false.into()).await;
    let ended = tokio::time::timeout(PATIENCE, waits).await.expect("the stream ends").unwrap().unwrap_err();
    assert_eq!(ended.code, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_crash() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let source = Source::at(&server);
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let (path, other) = (source.knows("hanako").await, source.knows("taro").await);
    source.says(&path, "active", false.into()).await;
    let (_, before) = source.ask(Method::GET, &path, None).await;
    server.crash_and_restart().await;
    assert_eq!(source.ask(Method::GET, &path, None).await, (StatusCode::OK, before));
    assert_eq!(log_in(&hanako).await.1["errcode"], "M_USER_LOCKED");
    // Who was not named is not touched.
    assert_eq!(source.ask(Method::GET, &other, None).await.1["active"], true);
    taro.call(Method::GET, "/account/whoami", None).await;
    // The same again is the same.
    source.says(&path, "active", false.into()).await;
    source.says(&path, "active", true.into()).await;
    assert_eq!(log_in(&hanako).await.0, StatusCode::OK);
}

#[tokio::test]
async fn rooms_show_the_name_that_the_source_says() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let room = taro.create_room(Preset::PrivateChat).await;
    taro.invite(&room, hanako.id()).await;
    hanako.join(&room, "kanazawa.test").await;
    let source = Source::at(&server);
    let path = source.knows("hanako").await;
    source.says(&path, "displayName", "山田 花子".into()).await;
    let state = format!("/rooms/{room}/state/m.room.member/{}", hanako.id());
    let shown = async {
        while taro.call(Method::GET, &state, None).await["displayname"] != "山田 花子" {
            taro.sync(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("the room shows the name");
}
