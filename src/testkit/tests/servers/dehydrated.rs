//! Dehydrated devices: what their owner, those who send him keys, and other servers see of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Net, Preset, User};

const DEVICE: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

/// The password of all users.
const PASSWORD: &str = "秘密の合言葉123";

async fn ask(user: &User, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let (status, text) = user.ask(method, &format!("{DEVICE}{path}"), body.as_ref()).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// What is uploaded for a device of this id.
fn upload(user: &User, id: &str) -> Value {
    let keys = json!({
        "user_id": user.id(), "device_id": id, "algorithms": [], "signatures": {}, "dehydrated": true,
        "keys": { format!("ed25519:{id}"): "key" },
    });
    json!({
        "device_id": id, "initial_device_display_name": "予備", "device_keys": keys,
        "device_data": { "algorithm": "test", "account": format!("secret of {id}") },
        "one_time_keys": { "signed_curve25519:A": { "key": format!("one of {id}") } },
        "fallback_keys": { "signed_curve25519:F": { "key": format!("fallback of {id}"), "fallback": true } },
    })
}

async fn put(user: &User, id: &str) {
    let (status, answer) = ask(user, Method::PUT, "", Some(upload(user, id))).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "device_id": id })));
}

async fn keys(reader: &User, of: &User) -> Value {
    let body = json!({ "device_keys": { of.id(): [] } });
    let answer = reader.call(Method::POST, "/keys/query", Some(&body)).await;
    answer["device_keys"][of.id().as_str()].clone()
}

async fn claim(reader: &User, of: &User, device: &str) -> Value {
    let body = json!({ "one_time_keys": { of.id(): { device: "signed_curve25519" } } });
    let answer = reader.call(Method::POST, "/keys/claim", Some(&body)).await;
    let keys = answer["one_time_keys"][of.id().as_str()][device].as_object().cloned().unwrap_or_default();
    keys.values().next().map_or(Value::Null, |key| key["key"].clone())
}

async fn send(from: &User, to: &User, txn: &str, texts: &[&str]) {
    for (number, text) in texts.iter().enumerate() {
        let body = json!({ "messages": { to.id(): { "*": { "text": text } } } });
        from.call(Method::PUT, &format!("/sendToDevice/test/{txn}{number}"), Some(&body)).await;
    }
}

fn texts(answer: &Value) -> Vec<String> {
    let events = answer["events"].as_array().unwrap();
    events.iter().map(|event| event["content"]["text"].as_str().unwrap().to_owned()).collect()
}

async fn sync(user: &User, since: &str) -> Value {
    user.call(Method::GET, &format!("/sync?timeout=0{since}"), None).await
}

/// Whose devices changed since the last such sync.
async fn changed(user: &User, since: &mut String) -> Value {
    let answer = sync(user, since).await;
    *since = format!("&since={}", answer["next_batch"].as_str().unwrap());
    answer["device_lists"]["changed"].clone()
}

#[tokio::test]
async fn the_next_device_finds_what_was_sent_while_nobody_was_signed_in() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    assert_eq!(ask(&hanako, Method::GET, "", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&hanako, Method::DELETE, "", None).await.1["errcode"], "M_NOT_FOUND");
    put(&hanako, "DRY").await;
    let (status, answer) = ask(&hanako, Method::GET, "", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer, json!({ "device_id": "DRY", "device_data": upload(&hanako, "DRY")["device_data"] }));
    assert_eq!(keys(&taro, &hanako).await["DRY"]["dehydrated"], true);
    assert_eq!(claim(&taro, &hanako, "DRY").await, "one of DRY");
    assert_eq!(claim(&taro, &hanako, "DRY").await, "fallback of DRY");

    let all: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    send(&taro, &hanako, "a", &all).await;
    let events = async |query: &str| ask(&hanako, Method::GET, &format!("/DRY/events{query}"), None).await.1;
    let first = events("?limit=3").await;
    assert_eq!(texts(&first), all[..3]);
    let rest = events(&format!("?from={}", first["next_batch"].as_str().unwrap())).await;
    assert_eq!((texts(&rest), &rest["next_batch"]), (vec!["3".to_owned(), "4".to_owned()], &Value::Null));
    assert_eq!(texts(&events("").await), all, "whoever breaks off begins anew");
    // As clients of today ask: until there is nothing.
    let mut body = json!({});
    let mut told = Vec::new();
    loop {
        let (_, answer) = ask(&hanako, Method::POST, "/DRY/events", Some(body)).await;
        if texts(&answer).is_empty() {
            break;
        }
        told.extend(texts(&answer));
        body = json!({ "next_batch": answer["next_batch"] });
    }
    assert_eq!(told, all);
    for (user, path) in [(&hanako, "/OTHER/events"), (&taro, "/DRY/events")] {
        assert_eq!(ask(user, Method::GET, path, None).await.1["errcode"], "M_FORBIDDEN");
    }
    assert_eq!(ask(&hanako, Method::GET, "/DRY/events?from=x", None).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn another_one_takes_its_place_with_all_that_was_kept_for_it_and_others_are_told() {
    let net = Net::new();
    let (one, two) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let (hanako, taro, jiro) = (one.user("hanako").await, one.user("taro").await, two.user("jiro").await);
    let room = hanako.create_room(Preset::PublicChat).await;
    taro.join(&room, "kanazawa.test").await;
    jiro.join(&room, "kanazawa.test").await;
    put(&hanako, "OLD").await;
    let mut since = String::new();
    changed(&taro, &mut since).await;
    send(&taro, &hanako, "a", &["for the old one"]).await;
    put(&hanako, "NEW").await;
    assert_eq!(changed(&taro, &mut since).await, json!([hanako.id()]));
    for reader in [&taro, &jiro] {
        let devices = keys(reader, &hanako).await;
        assert_eq!(devices.as_object().unwrap().keys().collect::<Vec<_>>(), ["NEW"]);
    }
    assert_eq!(claim(&taro, &hanako, "OLD").await, Value::Null);
    let (_, events) = ask(&hanako, Method::GET, "/NEW/events", None).await;
    assert_eq!(texts(&events), Vec::<String>::new());
    // Also one of the same id, for which nothing of the old one is left.
    send(&taro, &hanako, "b", &["for the first"]).await;
    put(&hanako, "NEW").await;
    assert_eq!(texts(&ask(&hanako, Method::GET, "/NEW/events", None).await.1), Vec::<String>::new());
    assert_eq!(claim(&jiro, &hanako, "NEW").await, "one of NEW");
    changed(&taro, &mut since).await;
    // C15: one that is taken away leaves nothing behind either, and other servers are told as well.
    send(&taro, &hanako, "c", &["for the second"]).await;
    keys(&jiro, &hanako).await;
    let mut of_jiro = String::new();
    changed(&jiro, &mut of_jiro).await;
    assert_eq!(ask(&hanako, Method::DELETE, "", None).await.1, json!({ "device_id": "NEW" }));
    assert_eq!(changed(&taro, &mut since).await, json!([hanako.id()]));
    assert_eq!(keys(&taro, &hanako).await, json!({}));
    assert_eq!(ask(&hanako, Method::GET, "", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(claim(&taro, &hanako, "NEW").await, Value::Null);
    assert_eq!(ask(&hanako, Method::GET, "/NEW/events", None).await.1["errcode"], "M_FORBIDDEN");
    let told = async {
        while !changed(&jiro, &mut of_jiro).await.to_string().contains(hanako.id().as_str()) {
            net.advance(std::time::Duration::from_secs(1));
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), told).await.expect("the other server is told");
    assert_eq!(keys(&jiro, &hanako).await, json!({}));
    let mut bare = upload(&hanako, "NEW");
    for kind in ["one_time_keys", "fallback_keys"] {
        bare.as_object_mut().unwrap().remove(kind);
    }
    assert_eq!(ask(&hanako, Method::PUT, "", Some(bare)).await.0, StatusCode::OK);
    assert_eq!(claim(&taro, &hanako, "NEW").await, Value::Null);
    assert_eq!(texts(&ask(&hanako, Method::GET, "/NEW/events", None).await.1), Vec::<String>::new());
}

#[tokio::test]
async fn it_is_no_session_and_outlives_those() {
    let net = Net::new();
    let server = net.server("kanazawa.test").await;
    let (hanako, taro) = (server.user("hanako").await, server.user("taro").await);
    let phone = hanako.another_device().await;
    put(&hanako, "DRY").await;
    let listed = hanako.call(Method::GET, "/devices", None).await;
    let listed: Vec<&str> = listed["devices"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|device| device["device_id"].as_str())
        .collect();
    assert!(listed.len() == 2 && !listed.contains(&"DRY"), "{listed:?}");
    hanako.try_call(Method::GET, "/devices/DRY", None).await.unwrap_err();
    // Nobody signs in as it.
    let login = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": hanako.id() },
        "password": PASSWORD, "device_id": "DRY",
    });
    hanako.try_call(Method::POST, "/login", Some(&login)).await.unwrap_err();
    // It takes no other device's place.
    let taken = upload(&hanako, phone.device_id());
    assert_eq!(ask(&hanako, Method::PUT, "", Some(taken)).await.0, StatusCode::BAD_REQUEST);
    let mut bare = upload(&hanako, "BARE");
    bare.as_object_mut().unwrap().remove("device_keys");
    assert_eq!(ask(&hanako, Method::PUT, "", Some(bare)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&hanako, Method::GET, "", None).await.1["device_id"], "DRY", "the old one stays");

    phone.call(Method::POST, "/logout/all", Some(&json!({}))).await;
    assert!(keys(&taro, &hanako).await["DRY"].is_object());
    send(&taro, &hanako, "a", &["while nobody is there"]).await;
    let again = hanako.another_device().await;
    assert_eq!(ask(&again, Method::GET, "", None).await.1["device_id"], "DRY");
    assert_eq!(texts(&ask(&again, Method::GET, "/DRY/events", None).await.1), ["while nobody is there"]);
    // Not even if it is named among those to be removed.
    let wish = |session: Value| {
        json!({ "devices": ["DRY"], "auth": {
            "type": "m.login.password", "identifier": { "type": "m.id.user", "user": hanako.id() },
            "password": PASSWORD, "session": session,
        } })
    };
    let path = "/_matrix/client/v3/delete_devices";
    let (_, asked) = again.ask(Method::POST, path, Some(&json!({ "devices": ["DRY"] }))).await;
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let (status, answer) = again.ask(Method::POST, path, Some(&wish(asked["session"].clone()))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(keys(&taro, &hanako).await["DRY"].is_object());
    // With the account it ends.
    let (_, asked) = again.ask(Method::POST, "/_matrix/client/v3/account/deactivate", Some(&json!({}))).await;
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let body = json!({ "auth": wish(asked["session"].clone())["auth"] });
    let (status, answer) =
        again.ask(Method::POST, "/_matrix/client/v3/account/deactivate", Some(&body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(keys(&taro, &hanako).await, json!({}));
}

#[tokio::test]
async fn two_processes_that_dehydrate_one_device_at_once_leave_one_of_the_two() {
    let net = Net::new();
    let replicas = net.replicas("kanazawa.test", 2).await;
    let desk = replicas[0].user("hanako").await;
    let phone = desk.device_at(&replicas[1]).await;
    for round in 0..12 {
        let data = |who: &str| format!("{who} {round}");
        let uploads = ["desk", "phone"].map(|who| {
            let mut body = upload(&desk, "DRY");
            body["device_data"]["account"] = json!(data(who));
            body["one_time_keys"] = json!({ "signed_curve25519:A": { "key": data(who) } });
            body
        });
        let [of_desk, of_phone] = uploads;
        let (one, other) = tokio::join!(
            ask(&desk, Method::PUT, "", Some(of_desk)),
            ask(&phone, Method::PUT, "", Some(of_phone))
        );
        assert_eq!((one.0, other.0), (StatusCode::OK, StatusCode::OK), "{one:?} {other:?}");
        for (user, server) in [(&desk, &replicas[1]), (&phone, &replicas[0])] {
            let head = server.look(|house| house.store.head());
            let own = if std::ptr::eq(server, &replicas[0]) { &replicas[1] } else { &replicas[0] };
            own.look(|house| house.store.clone()).reach(head).await.unwrap();
            let (_, told) = ask(user, Method::GET, "", None).await;
            let account = told["device_data"]["account"].as_str().unwrap().to_owned();
            assert!([data("desk"), data("phone")].contains(&account), "{told}");
        }
        // What is kept of it is of one of them.
        let (_, told) = ask(&desk, Method::GET, "", None).await;
        assert_eq!(claim(&desk, &desk, "DRY").await, told["device_data"]["account"]);
    }
}
