//! A whole process over storage in memory.

use std::{path::Path, time::Duration};

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use web::{Body, Router};

use crate::{
    commands::init::write_key,
    config::{Config, Serves},
    house::{Foundation, House},
    storage::Data,
};

const CONFIG: &str = r#"
[[authorities]]
name = "kanazawa.test"
key_file = "kanazawa.key"
client_url = "https://matrix.kanazawa.test/"
livekit_url = "https://livekit.kanazawa.test/"
registration = { mode = "open" }

[[authorities]]
name = "wajima.test"
key_file = "wajima.key"
federation_address = "matrix.wajima.test:8448"

[[listeners]]
address = "127.0.0.1:0"
serves = ["client", "federation", "admin"]

[store]
backend = "memory"
"#;

async fn house(directory: &Path) -> House {
    write_key(&directory.join("kanazawa.key"), ruma::server_name!("kanazawa.test")).unwrap();
    write_key(&directory.join("wajima.key"), ruma::server_name!("wajima.test")).unwrap();
    let config = Config::parse(CONFIG, [], directory).unwrap();
    House::open(&config, Foundation::of(&config, Data::MayBegin).await.unwrap()).await.unwrap()
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn get(host: &str, path: &str) -> Request<Body> {
    Request::get(path).header("host", host).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn one_process_answers_for_two_authorities_each_with_its_own_face() {
    let directory = tempfile::tempdir().unwrap();
    let house = house(directory.path()).await;
    let router = house.router(&[Serves::Client, Serves::Federation, Serves::Admin]).unwrap();

    let (_, known) = ask(&router, get("kanazawa.test", "/.well-known/matrix/client")).await;
    assert_eq!(known["m.homeserver"]["base_url"], "https://matrix.kanazawa.test");
    let livekit = json!([{ "type": "livekit", "livekit_service_url": "https://livekit.kanazawa.test" }]);
    assert_eq!(known["org.matrix.msc4143.rtc_foci"], livekit);
    let (_, known) = ask(&router, get("matrix.wajima.test", "/.well-known/matrix/server")).await;
    assert_eq!(known["m.server"], "matrix.wajima.test:8448");
    assert_eq!(ask(&router, get("wajima.test", "/.well-known/matrix/client")).await.0, 404);

    for (host, allowed) in [("kanazawa.test", true), ("wajima.test", false)] {
        let order = json!({ "auth": { "type": "m.login.dummy" }, "username": "hanako", "password": "ひみつの言葉です" });
        let request = Request::post("/_matrix/client/v3/register")
            .header("host", host)
            .body(Body::from(order.to_string()))
            .unwrap();
        let (status, answer) = ask(&router, request).await;
        assert_eq!(status.is_success(), allowed, "{answer}");
        if allowed {
            assert_eq!(answer["user_id"], format!("@hanako:{host}"));
            let token = answer["access_token"].as_str().unwrap();
            let request = Request::get("/_matrix/client/unstable/org.matrix.msc4143/rtc/transports")
                .header("host", host)
                .header("authorization", format!("Bearer {token}"))
                .body(Body::empty())
                .unwrap();
            assert_eq!(ask(&router, request).await.1["rtc_transports"], livekit);
        }
    }
    for host in ["kanazawa.test", "wajima.test"] {
        let (_, keys) = ask(&router, get(host, "/_matrix/key/v2/server")).await;
        assert_eq!(keys["server_name"], host);
    }
    house.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_listener_answers_only_what_it_serves_and_always_its_health() {
    let directory = tempfile::tempdir().unwrap();
    let house = house(directory.path()).await;
    let client = house.router(&[Serves::Client]).unwrap();
    let admin = house.router(&[Serves::Admin]).unwrap();

    assert_eq!(ask(&client, get("kanazawa.test", "/_matrix/client/versions")).await.0, 200);
    assert_eq!(ask(&client, get("kanazawa.test", "/_matrix/key/v2/server")).await.0, 404);
    assert_eq!(ask(&client, get("kanazawa.test", "/metrics")).await.0, 404);
    assert_eq!(ask(&admin, get("anything", "/metrics")).await.0, 200);
    assert_eq!(ask(&admin, get("anything", "/_matrix/client/versions")).await.0, 404);
    for router in [&client, &admin] {
        assert_eq!(ask(router, get("anything", "/health")).await.1["status"], "ok");
    }
    house.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn the_administrators_commands_want_their_token() {
    let directory = tempfile::tempdir().unwrap();
    let house = house(directory.path()).await;
    let router = house.router(&[Serves::Admin]).unwrap();
    let with = |token: &str| {
        Request::get("/_yakuba/v1/status")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap()
    };

    assert_eq!(ask(&router, get("anything", "/_yakuba/v1/status")).await.0, 401);
    assert_eq!(ask(&router, with("wrong")).await.0, 401);
    let (status, answer) = ask(&router, with(house.admin_token())).await;
    assert_eq!((status.as_u16(), &answer["version"]), (200, &json!(crate::VERSION)));
    house.close(Duration::from_secs(10)).await;
}

/// More than a stranger may send.
#[tokio::test]
async fn a_whole_personnel_file_is_taken_of_who_shows_the_token_and_of_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let house = house(directory.path()).await;
    let router = house.router(&[Serves::Admin]).unwrap();
    let rows = (1..=5_000).map(|n| format!("{n:05},山田 花子,防災課,主事\n"));
    let file = rows.fold("職員番号,氏名,所属,職名\n".to_owned(), |all, row| all + &row);
    let order = personnel::Order::Columns {
        file: personnel::FileBytes::new(file.into_bytes()),
        how: intake::How::default(),
    };
    let order = |authority: &str| json!({ "authority": authority, "order": order }).to_string();
    let with = |token: &str, order: String| {
        Request::post("/_yakuba/v1/organisation")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(order))
            .unwrap()
    };

    let as_long = "x".repeat(house.admin_token().len());
    for wrong in ["", "wrong", as_long.as_str()] {
        assert_eq!(ask(&router, with(wrong, order("kanazawa.test"))).await.0, 401, "{wrong}");
    }
    let (status, answer) = ask(&router, with(house.admin_token(), order("kanazawa.test"))).await;
    assert_eq!((status.as_u16(), &answer["columns"]["doubt"]), (200, &Value::Null), "{answer}");
    let (status, answer) = ask(&router, with(house.admin_token(), order("suzu.test"))).await;
    assert_eq!((status.as_u16(), &answer["ja"]), (404, &json!("その機関はこのサーバーにありません。")));
    let client = house.router(&[Serves::Client]).unwrap();
    assert_eq!(ask(&client, with(house.admin_token(), order("kanazawa.test"))).await.0, 404);
    house.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let house = house(directory.path()).await;
    let router = house.router(&[Serves::Client]).unwrap();
    house.close(Duration::from_secs(10)).await;
    let (status, answer) = ask(&router, get("kanazawa.test", "/health")).await;
    assert_eq!((status.as_u16(), &answer["status"]), (503, &json!("stopping")));
}
