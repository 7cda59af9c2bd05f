//! A walk over every route of the operator's commands: what changes something leaves exactly its row, with who it was; what
//! reads leaves none; and no secret that was sent is in any row or export. The routes are those of the router: one that nobody
//! walks fails the test.

use std::collections::BTreeSet;

use audit::{Filter, chained};
use base::Clock;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use ruma::server_name;
use serde_json::{Value, json};
use store::Position;
use tokio::io::AsyncReadExt;
use tower::ServiceExt;
use web::{Body, Router};

use super::audit::config;
use crate::{
    config::{Serves, SyslogConfig, SyslogSecurity},
    house::{Foundation, House},
    storage::Data,
};

const OPERATOR: &str = "uid 1000 (sudo hanako)";

/// What is sent and must be in no row.
const SECRETS: [&str; 3] = ["Himitsu-no-kotoba-1", "Himitsu-no-kotoba-2", "shussho-bangou-77"];

/// Routes that only read, or see to what nobody stored: the index of what is said.
const READS: [&str; 7] =
    ["users/duties", "verify", "audit/list", "audit/verify", "audit/status", "audit/kept", "search/rebuild"];

/// It needs a directory: `ldap/tests` have one, and look for its rows.
const ELSEWHERE: &str = "ldap";

struct Walk {
    house: House,
    router: Router,
    walked: BTreeSet<String>,
    seen: Position,
}

impl Walk {
    async fn ask(&self, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "kanazawa.test")
            .header("authorization", format!("Bearer {token}"))
            .header("yakuba-operator", OPERATOR)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// The words of people's rows since the last look, all of them the operator's.
    async fn new_rows(&mut self) -> Vec<String> {
        let (store, name) = (&self.house.store, server_name!("kanazawa.test"));
        let page = audit::list(store, name, &Filter::default(), self.seen).await.unwrap();
        self.seen = page.found.last().map_or(self.seen, |row| row.position);
        // What the server does because of it (the account that makes rooms by rule) has rows of its own.
        let rows = page.found.into_iter().map(|row| row.record.unwrap()).filter(|row| row.role != "server");
        let by_operator = |row: audit::Record| {
            assert_eq!((row.who.as_str(), row.role.as_str()), (OPERATOR, "operator"), "{row:?}");
            row.what
        };
        rows.map(by_operator).collect()
    }

    /// Passes over the one row that was written otherwise.
    async fn look_past(&mut self, what: &str) {
        let (store, name) = (&self.house.store, server_name!("kanazawa.test"));
        let page = audit::list(store, name, &Filter::default(), self.seen).await.unwrap();
        let words: Vec<_> = page.found.iter().filter_map(|row| Some(&*row.record.as_ref()?.what)).collect();
        assert_eq!(words, [what]);
        self.seen = page.found[0].position;
    }

    async fn does(&mut self, route: &str, order: Value, words: &[&str]) {
        let path = format!("/_yakuba/v1/{route}");
        let token = self.house.admin_token().to_owned();
        let (status, answer) = self.ask(&path, &token, order).await;
        assert!(status.is_success(), "{route}: {status} {answer}");
        assert_eq!(self.new_rows().await, words, "{route}");
        self.walked.insert(path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_operator_that_changes_something_leaves_exactly_its_row_and_no_secret_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "rocksdb");
    let foundation = Foundation::of(&config, Data::MayBegin).await.unwrap();
    let house = House::open(&config, foundation).await.unwrap();
    let router = house.router(&[Serves::Client, Serves::Admin]).unwrap();
    let mut walk = Walk { house, router, walked: BTreeSet::new(), seen: Position::START };
    let [first, second, subject] = SECRETS;
    let user = "@taro:kanazawa.test";

    let order =
        json!({ "server_name": "kanazawa.test", "localpart": "taro", "password": first, "admin": false });
    // The data took up the authority before.
    walk.look_past("authority.begin").await;
    walk.does("users", order, &["account.create"]).await;
    walk.does("users/password", json!({ "user_id": user, "password": second }), &["password.set"]).await;
    let identity = json!({ "user_id": user, "issuer": "https://id.test", "subject": subject });
    walk.does("users/link", identity, &["identity.link"]).await;
    let grant = json!({ "user_id": user, "administers": true });
    walk.does("users/admin", grant, &["account.grant_administration"]).await;
    let duty = json!({ "user_id": user, "duty": "audit", "has": true });
    walk.does("users/duty", duty, &["duty.give"]).await;
    let part =
        (<&ruma::UserId>::try_from(user).unwrap(), duties::Part::Unit(7), audit::Actor::operator("test"));
    walk.house.duties.set(part.0, part.1, true, &part.2).await.unwrap();
    walk.look_past("duty.give").await;
    // By its number what is no more is taken away as well.
    let part = json!({ "user_id": user, "part": "unit:7", "has": false });
    walk.does("users/part", part.clone(), &["duty.take"]).await;
    let operators = walk.house.admin_token().to_owned();
    let (status, answer) = walk.ask("/_yakuba/v1/users/part", &operators, part).await;
    assert_eq!(status, 400, "what he does not have is not said to be taken away: {answer}");

    let login = json!({ "type": "m.login.password", "user": "taro", "password": second });
    let (_, session) = walk.ask("/_matrix/client/v3/login", "", login).await;
    let token = session["access_token"].as_str().unwrap().to_owned();
    let (_, room) = walk.ask("/_matrix/client/v3/createRoom", &token, json!({ "name": "廊下" })).await;
    let (_, file) = walk.ask("/_matrix/media/v3/upload", &token, json!({ "a": "file" })).await;
    walk.look_past("session.sign_in").await;
    let (store, name) = (walk.house.store.clone(), server_name!("kanazawa.test"));
    for what in ["withhold", "release", "remove"] {
        let order = json!({ "uri": file["content_uri"], "what": what });
        walk.does("media", order, &[&*format!("media.{what}")]).await;
    }
    let purge = json!({ "room_id": room["room_id"], "force": true });
    walk.does("rooms/purge", purge, &["room.order_purge"]).await;
    let columns = ["number", "name"].map(|field| json!({ "field": field, "column": { "headed": field } }));
    let mapping = json!({ "save_mapping": { "name": "様式", "mapping": { "columns": columns } } });
    let order = json!({ "authority": "kanazawa.test", "order": mapping });
    walk.does("organisation", order, &["organisation.save_mapping"]).await;
    let wish = json!({
        "title": "課の部屋", "units": { "named": ["*課"] }, "members": "unit", "moderators": { "heads": true },
        "rooms": [{ "key": "main", "name": "{unit} 連絡" }],
    });
    let rule = json!({ "set": { "rule": null, "wish": wish, "from": null, "until": null } });
    walk.does("rules", json!({ "authority": "kanazawa.test", "order": rule }), &["rules.set"]).await;
    // Whoever asks for something shows that the account is his, so the row is his.
    let soon = Clock::system().now().millis() + 10 * 86_400_000;
    let until = organisation::calendar::day_of(base::Timestamp(soon)).unwrap().to_string();
    let fields = json!([["account", "taro"], ["duty", "reading"], ["until", until]]);
    let ask = json!({ "ask": { "kind": "duty", "fields": fields, "reason": "監査の引き継ぎ" } });
    let proof = json!({ "user": "taro", "password": second, "code": null });
    let order = json!({ "authority": "kanazawa.test", "order": ask, "proof": proof });
    let operators = walk.house.admin_token().to_owned();
    let (status, answer) = walk.ask("/_yakuba/v1/cases", &operators, order).await;
    assert!(status.is_success(), "{status} {answer}");
    walk.look_past("case.ask").await;
    walk.walked.insert("/_yakuba/v1/cases".to_owned());
    let accounts = walk.house.accounts.clone();
    let (random, now) = (base::Random::seeded(1), Clock::system().now());
    let (secret, taro) = (factor::Factors::new_secret(&random), ruma::user_id!("@taro:kanazawa.test"));
    let factors = accounts.factors(taro).await.unwrap();
    let shown = factor::code_at(&secret, now);
    let (change, _) = factors.with_app("電話", &secret, &shown, now, &random).unwrap();
    let mut batch = store::Batch::new();
    change.put(&mut batch);
    store.commit(batch).await.unwrap();
    let (status, code) =
        walk.ask("/_yakuba/v1/users/factors/reset", &operators, json!({ "user_id": user })).await;
    assert!(status.is_success(), "{status} {code}");
    let code = code["code"].as_str().unwrap().to_owned();
    assert_eq!(walk.new_rows().await, ["factor.recover"]);
    walk.walked.insert("/_yakuba/v1/users/factors/reset".to_owned());
    let to = directory.path().join("backup");
    walk.does("backup", json!({ "to": to }), &["data.back_up"]).await;
    walk.does("users/list", json!({ "authority": "kanazawa.test", "dormant_days": 30 }), &[]).await;
    walk.does("policy/explain", json!({ "user_id": user }), &[]).await;
    walk.does("users/close", json!({ "user_id": user }), &["account.close"]).await;
    // Once it has left its rooms.
    let (path, token) = ("/_yakuba/v1/users/reopen", walk.house.admin_token().to_owned());
    let order = json!({ "user_id": user, "password": second });
    while !walk.ask(path, &token, order.clone()).await.0.is_success() {
        tokio::task::yield_now().await;
    }
    assert_eq!(walk.new_rows().await, ["account.reopen"]);
    walk.walked.insert(path.to_owned());
    let hold = |reason| json!({ "authority": "kanazawa.test", "reason": reason });
    walk.does("audit/hold", hold(Some("住民訴訟")), &["audit.hold"]).await;
    walk.does("audit/hold", hold(Some("もう一度")), &[]).await;
    walk.does("audit/hold", hold(None), &["audit.release"]).await;
    for route in READS {
        let order = json!({ "authority": "kanazawa.test", "filter": {}, "after": 0 });
        walk.does(route, order, &[]).await;
    }

    let routes = walk.house.routes(&[Serves::Admin]).endpoints();
    let elsewhere = format!("/_yakuba/v1/{ELSEWHERE}");
    let changing: BTreeSet<String> = routes
        .into_iter()
        .filter(|(method, path)| {
            *method != Method::GET && path.starts_with("/_yakuba/v1/") && *path != elsewhere
        })
        .map(|(_, path)| path)
        .collect();
    assert_eq!(walk.walked, changing);

    let authorities = std::sync::Arc::new(config.load_authorities().unwrap());
    audit::Follower::new(&store, &authorities, &Clock::system()).catch_up().await.unwrap();
    let rows = chained(&store, name, 0, 500).await.unwrap();
    assert!(rows.len() > 15, "{rows:?}");
    for row in &rows {
        let exports = [audit::in_json(name, &row.row), syslog::frame(name, 1, row)];
        for secret in SECRETS.iter().copied().chain([&*token, &*code, walk.house.admin_token()]) {
            assert!(exports.iter().all(|export| !export.contains(secret)), "{secret}: {exports:?}");
        }
    }
    walk.house.close(std::time::Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_server_of_the_configuration_gets_the_rows_and_its_state_is_told() {
    let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), "rocksdb");
    config.authorities[0].syslog = vec![SyslogConfig {
        name: "siem".to_owned(),
        address: receiver.local_addr().unwrap().to_string(),
        security: SyslogSecurity::None,
        ca_file: None,
        certificate_file: None,
        key_file: None,
        enterprise: 4_711,
    }];
    let foundation = Foundation::of(&config, Data::MayBegin).await.unwrap();
    let house = House::open(&config, foundation).await.unwrap();
    let router = house.router(&[Serves::Admin]).unwrap();
    house.start_upkeep();
    let walk = Walk { house, router, walked: BTreeSet::new(), seen: Position::START };
    let (mut stream, _) = receiver.accept().await.unwrap();
    let mut text = String::new();
    while !text.contains("authority.begin") {
        let mut bite = [0; 4_096];
        let read = stream.read(&mut bite).await.unwrap();
        assert!(read > 0);
        text.push_str(std::str::from_utf8(&bite[..read]).unwrap());
    }
    assert!(text.contains(" kanazawa.test yakuba - authority.begin [yakuba@4711 number=\"1\""), "{text}");
    let token = walk.house.admin_token().to_owned();
    let order = json!({ "authority": "kanazawa.test" });
    let (status, told) = walk.ask("/_yakuba/v1/audit/status", &token, order).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&told[0]["destination"], &told[0]["is_tls"]), (&json!("siem"), &json!(false)));
    assert_eq!(
        (&told[0]["sent"], &told[0]["failing"]),
        (&json!(0), &Value::Null),
        "it has not stood long enough"
    );
    let order = json!({ "authority": "wajima.test" });
    assert_eq!(walk.ask("/_yakuba/v1/audit/status", &token, order).await.1, json!([]));
    walk.house.close(std::time::Duration::from_secs(10)).await;
}
