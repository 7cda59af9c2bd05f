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

/// S20 over HTTP, with pushers and a stream that waits.
#[tokio::test]
async fn an_administrator_whom_the_source_ends_is_out_of_every_session_and_signs_in_again_as_one() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let source = Source::at(&server);
    let path = source.knows("hanako").await;
    let accounts = server.look(|house| house.accounts.clone());
    for user in [&hanako, &taro] {
        accounts.set_administrator(user.id(), true, &account::Actor::operator("test")).await.unwrap();
    }
    let pusher = json!({
        "pushkey": "key", "kind": "http", "app_id": "app", "app_display_name": "App", "lang": "ja",
        "device_display_name": "Phone", "data": { "url": "https://push.example.test/_matrix/push/v1/notify" },
    });
    hanako.call(Method::POST, "/pushers/set", Some(&pusher)).await;
    let waits = waiting_sync(&server, &hanako).await;

    let operations = json!({ "Operations": [{ "op": "Replace", "path": "active", "value": "False" }] });
    let (status, refused) = source.ask(Method::PATCH, &path, Some(operations.clone())).await;
    assert_eq!((status.as_u16(), &refused["status"]), (409, &json!("409")), "{refused}");
    let ended = tokio::time::timeout(PATIENCE, waits).await.expect("the stream ends").unwrap().unwrap_err();
    assert_eq!((ended.status, ended.code.as_str()), (StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"));

    assert_eq!(log_in(&hanako).await.0, StatusCode::OK);
    let back = hanako.another_device().await;
    assert_eq!(back.call(Method::GET, "/pushers", None).await["pushers"], json!([]));
    let own = format!("/_synapse/admin/v1/users/%40{}/admin", hanako.id().as_str()[1..].replace(':', "%3A"));
    let (status, text) = back.ask(Method::GET, &own, None).await;
    assert!(status.is_success() && text.contains("true"), "{status} {text}");

    // The other one is told, once, in words that he reads.
    for _ in 0..3 {
        net.advance(Duration::from_secs(40 * 60));
        let (status, _) = source.ask(Method::PATCH, &path, Some(operations.clone())).await;
        assert_eq!(status.as_u16(), 409);
    }
    back.call(Method::GET, "/account/whoami", None).await;
    let invited = taro.call(Method::GET, "/sync?timeout=0", None).await["rooms"]["invite"].clone();
    let rooms: Vec<_> = invited.as_object().unwrap().keys().cloned().collect();
    assert_eq!(rooms.len(), 1, "{invited}");
    let room = ruma::OwnedRoomId::try_from(rooms[0].as_str()).unwrap();
    taro.join(&room, "kanazawa.test").await;
    let told = taro.history(&room).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("@hanako:kanazawa.test") && told[0].contains("連携元「entra」"), "{told:?}");
    assert!(told[0].contains("does not end administrators"), "{told:?}");
}

/// U6: what a source shows who it is by is in no row, list or frame; nor is what its users sign in with.
#[tokio::test]
async fn no_token_of_a_source_is_in_the_audit_log_however_that_is_read() {
    let net = net();
    let server = net.server("kanazawa.test").await;
    let source = Source::at(&server);
    let hanako = server.user("hanako").await;
    let path = source.knows("hanako").await;
    source.says(&path, "displayName", "山田 花子".into()).await;
    source.says(&path, "active", false.into()).await;
    source.says(&path, "active", true.into()).await;
    // Sources also send what nobody wants of them.
    source.says(&path, "password", "Himitsu-no-kotoba".into()).await;
    let group = json!({ "displayName": "g", "members": [{ "value": path.rsplit('/').next() }] });
    assert_eq!(source.ask(Method::POST, "/Groups", Some(group)).await.0, StatusCode::CREATED);
    let wrong = Source(server.service("entra", "not-the-token-of-entra"));
    assert_eq!(wrong.ask(Method::GET, "/Users", None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(source.ask(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);

    let store = server.look(|house| house.store.clone());
    let listed =
        audit::list(&store, server.name(), &audit::Filter::default(), store::Position::START).await.unwrap();
    // The chain is made behind the rows.
    let chained = async {
        loop {
            let chained = audit::chained(&store, server.name(), 0, 500).await.unwrap();
            if chained.len() >= listed.found.len() {
                return chained;
            }
            net.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    let chained = tokio::time::timeout(PATIENCE, chained).await.expect("the rows are linked");
    let mut told: Vec<String> = listed.found.iter().map(|row| audit::in_json(server.name(), row)).collect();
    told.extend(listed.found.iter().map(|row| format!("{row:?}")));
    told.extend(chained.iter().map(|row| syslog::frame(server.name(), 1, row)));
    let told = told.join("\n");
    for deed in ["source.put_user", "source.remove_user", "source.put_group", "account.lock"] {
        assert!(told.matches(deed).count() >= 3, "{deed} {told}");
    }
    for secret in [TOKEN, HASH, "not-the-token-of-entra", "Himitsu-no-kotoba", PASSWORD, hanako.token()] {
        assert!(!told.contains(secret), "{secret} {told}");
    }
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
