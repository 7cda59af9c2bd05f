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

/// The units of a kind that a server was sent, about a user.
fn told_units(server: &testkit::Hostile, kind: &str, user: &User) -> Vec<Value> {
    let units = server.asked("/send/").into_iter().flat_map(|asked| asked.body["edus"].as_array().cloned());
    let is_his = |unit: &Value| unit["edu_type"] == kind && unit["content"]["user_id"] == user.id().as_str();
    units.flatten().filter(is_his).map(|unit| unit["content"].clone()).collect()
}

#[tokio::test]
async fn a_server_is_told_of_the_devices_of_whoever_comes_into_a_room_with_it_and_not_of_other_names() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let mallory = net.hostile("mallory.test").await;
    let room = mallory.found("eve", "10");
    mallory.host(&room);
    hanako.join(&room.id, "mallory.test").await;
    let told = async |count: usize| {
        let wait = async {
            while told_units(&mallory, "m.device_list_update", &hanako).len() < count {
                net.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            told_units(&mallory, "m.device_list_update", &hanako)
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it is told")
    };
    // She has uploaded no keys: that is what it finds if it asks.
    assert_eq!(told(1).await[0]["device_id"], hanako.device_id());
    let named = json!({ "membership": "join", "displayname": "花子" });
    hanako.set_state(&room.id, "m.room.member", hanako.id().as_str(), &named).await;
    upload(&hanako, "first").await;
    let units = told(2).await;
    assert_eq!(units.len(), 2, "another name is no news");
    assert!(units[1]["keys"]["keys"].is_object(), "{units:?}");
    assert!(units[1]["stream_id"].as_u64() > units[0]["stream_id"].as_u64());
}

/// What Complement asks, with both servers on their feet, with one that was cut off, and with both begun anew.
#[tokio::test]
async fn lists_of_devices_are_told_to_another_server_whatever_happens_to_the_two() {
    enum Fault {
        None,
        Away,
        BothAnew,
    }
    for fault in [Fault::None, Fault::Away, Fault::BothAnew] {
        let net = Net::new();
        let (one, two) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
        let (hanako, taro) = (one.user("hanako").await, two.user("taro").await);
        let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        let wishes = json!({
            "preset": "private_chat", "invite": [taro.id()],
            "initial_state": [{ "type": "m.room.encryption", "state_key": "", "content": encryption }],
        });
        let room = hanako.create_room_with(&wishes).await;
        let of_hanako = token(&hanako).await;
        let of_taro = taro.sync_until(|seen| seen.is_invited(&room)).await;
        drop(of_taro);
        let of_taro = token(&taro).await;
        taro.join(&room, "kanazawa.test").await;
        let (of_hanako, changed) = first_told(&net, &hanako, &of_hanako).await;
        assert_eq!(changed, [taro.id().as_str()]);
        let (of_taro, changed) = first_told(&net, &taro, &of_taro).await;
        assert_eq!(changed, [hanako.id().as_str(), taro.id().as_str()], "himself as well");

        if !matches!(fault, Fault::None) {
            two.stop().await;
        }
        let desktop = hanako.another_device().await;
        upload(&desktop, "new").await;
        if matches!(fault, Fault::BothAnew) {
            one.crash_and_restart().await;
        }
        if !matches!(fault, Fault::None) {
            two.start().await;
        }
        told(&net, &hanako, &of_hanako, &hanako).await;
        told(&net, &taro, &of_taro, &hanako).await;
        let answer = query(&taro, &hanako).await;
        let devices = &answer["device_keys"][hanako.id().as_str()];
        assert!(devices[desktop.device_id()].is_object(), "{answer}");
    }
}

/// Syncs until somebody's devices changed; the token then, and whose.
async fn first_told(net: &Net, user: &User, since: &str) -> (String, Vec<String>) {
    let wait = async {
        let mut since = since.to_owned();
        loop {
            let answer = sync(user, Some(&since)).await;
            since = answer["next_batch"].as_str().unwrap().to_owned();
            let changed = answer["device_lists"]["changed"].as_array().cloned().unwrap_or_default();
            if !changed.is_empty() {
                let names = changed.iter().map(|name| name.as_str().unwrap().to_owned());
                return (since, names.collect());
            }
            net.advance(Duration::from_millis(100));
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("somebody's devices change")
}

// C21
#[tokio::test]
async fn the_first_query_of_a_user_of_another_server_has_all_his_devices() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, phone) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    let desktop = phone.another_device().await;
    upload(&phone, "phone").await;
    upload(&desktop, "desktop").await;
    let room = hanako.create_room(Preset::PublicChat).await;
    let since = token(&hanako).await;
    phone.join(&room, "kanazawa.test").await;
    let since = told(&net, &hanako, &since, &phone).await;
    // Of this one she is told, and asks for the first time.
    let tablet = phone.another_device().await;
    upload(&tablet, "tablet").await;
    told(&net, &hanako, &since, &phone).await;
    let answer = query(&hanako, &phone).await;
    let devices = answer["device_keys"][phone.id().as_str()].as_object().cloned().unwrap_or_default();
    for device in [&phone, &desktop, &tablet] {
        assert!(devices.contains_key(device.device_id()), "{answer}");
    }
}

// C17
#[tokio::test]
async fn who_leaves_the_last_room_with_a_user_of_another_server_is_told_so_with_lazy_loading_and_without() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro) = (kanazawa.user("hanako").await, wajima.user("taro").await);
    for is_lazy in [true, false] {
        let since = token(&hanako).await;
        // Nobody of her server is left in it.
        let room = taro.create_room(Preset::PublicChat).await;
        hanako.join(&room, "wajima.test").await;
        let since = told(&net, &hanako, &since, &taro).await;
        let filter = json!({ "room": { "state": { "lazy_load_members": is_lazy } } });
        let filter = post(&hanako, &format!("/user/{}/filter", hanako.id()), filter).await;
        let path = format!("/sync?timeout=0&filter={}", filter["filter_id"].as_str().unwrap());
        let before = hanako.call(Method::GET, &format!("{path}&since={since}"), None).await;
        assert!(before["device_lists"]["left"].as_array().is_none_or(Vec::is_empty), "{before}");
        hanako.leave(&room).await;
        let since = before["next_batch"].as_str().unwrap();
        let after = hanako.call(Method::GET, &format!("{path}&since={since}"), None).await;
        assert_eq!(after["device_lists"]["left"], json!([taro.id()]), "lazy: {is_lazy}, {after}");
    }
}
