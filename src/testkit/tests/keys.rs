//! Keys for end-to-end encryption between servers.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::{Net, Preset, User};

/// So long somebody waits in real time.
const PATIENCE: Duration = Duration::from_secs(60);

async fn post(user: &User, path: &str, body: Value) -> Value {
    user.call(Method::POST, path, Some(&body)).await
}

async fn upload(user: &User, key: &str) {
    let device = user.device_id();
    let keys = json!({
        "user_id": user.id(), "device_id": device, "algorithms": [], "signatures": {},
        "keys": { format!("ed25519:{device}"): key },
    });
    post(user, "/keys/upload", json!({ "device_keys": keys })).await;
}

async fn query(reader: &User, of: &User) -> Value {
    post(reader, "/keys/query", json!({ "device_keys": { of.id(): [] } })).await
}

/// The token of a sync after this one, in which nothing is waited for.
async fn sync(user: &User, since: Option<&str>) -> Value {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    user.call(Method::GET, &format!("/sync?timeout=100{since}"), None).await
}

/// Syncs until it is told that the devices of somebody changed; the token then.
async fn told(net: &Net, user: &User, since: &str, of: &User) -> String {
    let wait = async {
        let mut since = since.to_owned();
        loop {
            let answer = sync(user, Some(&since)).await;
            since = answer["next_batch"].as_str().unwrap().to_owned();
            let changed = answer["device_lists"]["changed"].as_array().cloned().unwrap_or_default();
            if changed.contains(&json!(of.id())) {
                return since;
            }
            net.advance(Duration::from_secs(1));
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(since) => since,
        Err(_) => panic!("{} is never told of {}", user.id(), of.id()),
    }
}

async fn token(user: &User) -> String {
    sync(user, None).await["next_batch"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn keys_are_asked_of_another_server_and_its_users_changes_are_told_also_after_it_was_away() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let room = hanako.create_room(Preset::PublicChat).await;
    let since = token(&hanako).await;
    taro.join(&room, "kanazawa.test").await;
    let since = told(&net, &hanako, &since, &taro).await;
    upload(&taro, "first").await;
    let since = told(&net, &hanako, &since, &taro).await;
    let device = taro.device_id();
    let key_of = |answer: &Value| {
        answer["device_keys"][taro.id().as_str()][device]["keys"][format!("ed25519:{device}")].clone()
    };
    assert_eq!(key_of(&query(&hanako, &taro).await), json!("first"));

    // One-time keys, each once.
    let keys = json!({ "signed_curve25519:A": { "key": "a" }, "signed_curve25519:B": { "key": "b" } });
    post(&taro, "/keys/upload", json!({ "one_time_keys": keys })).await;
    let claim = json!({ "one_time_keys": { taro.id(): { device: "signed_curve25519" } } });
    for expected in [Some("a"), Some("b"), None] {
        let answer = post(&hanako, "/keys/claim", claim.clone()).await;
        let given = &answer["one_time_keys"][taro.id().as_str()][device];
        let given = given.as_object().and_then(|keys| keys.values().next());
        assert_eq!(given.map(|key| key["key"].clone()), expected.map(Value::from), "{answer}");
    }

    // What changes while she cannot be reached she is told later, and the last of it.
    let way = net.way(&wajima, &kanazawa);
    way.cut();
    upload(&taro, "second").await;
    upload(&taro, "third").await;
    wajima.crash_and_restart().await;
    way.heal();
    told(&net, &hanako, &since, &taro).await;
    assert_eq!(key_of(&query(&hanako, &taro).await), json!("third"));

    // While nobody can be asked what was told is known still, until it is told that it changed.
    let way = net.way(&kanazawa, &wajima);
    let kept = async {
        loop {
            query(&hanako, &taro).await;
            way.cut();
            let answer = query(&hanako, &taro).await;
            if answer["failures"] == json!({}) {
                return answer;
            }
            // Who came into the room is not listed yet.
            way.heal();
            net.advance(Duration::from_secs(30));
        }
    };
    let kept = tokio::time::timeout(PATIENCE, kept).await.unwrap();
    assert_eq!(key_of(&kept), json!("third"));
    let since = token(&hanako).await;
    upload(&taro, "fourth").await;
    told(&net, &hanako, &since, &taro).await;
    let answer = query(&hanako, &taro).await;
    assert!(answer["failures"]["wajima.test"].is_object() && key_of(&answer).is_null(), "{answer}");
    way.heal();
    net.advance(Duration::from_secs(30));
    assert_eq!(key_of(&query(&hanako, &taro).await), json!("fourth"));

    // Who does not answer is named, and asked no more for a while.
    let answer =
        post(&hanako, "/keys/query", json!({ "device_keys": { "@a:gone.test": [], taro.id(): [] } })).await;
    assert!(answer["failures"]["gone.test"].is_object(), "{answer}");
    assert_eq!(key_of(&answer), json!("fourth"));
}

#[tokio::test]
async fn what_a_user_vouches_for_is_told_to_other_servers() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let room = hanako.create_room(Preset::PublicChat).await;
    taro.join(&room, "kanazawa.test").await;
    let since = token(&hanako).await;
    let public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let master = json!({
        "user_id": taro.id(), "usage": ["master"], "keys": { format!("ed25519:{public}"): public },
    });
    post(&taro, "/keys/device_signing/upload", json!({ "master_key": master })).await;
    told(&net, &hanako, &since, &taro).await;
    let answer = query(&hanako, &taro).await;
    assert_eq!(answer["master_keys"][taro.id().as_str()], master, "{answer}");
    assert_eq!(answer["user_signing_keys"], json!({}));
}
