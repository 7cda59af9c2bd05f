//! Keys for end-to-end encryption, and backups of keys.

use serde_json::{Value, json};

use super::town::{PASSWORD, Person, Town};

fn one_time(count: usize) -> Value {
    let key =
        |number: usize| (format!("signed_curve25519:{number:03}"), json!({ "key": format!("k{number}") }));
    Value::Object((0..count).map(key).collect())
}

fn identity(user: &str, device: &str) -> Value {
    json!({
        "user_id": user, "device_id": device, "algorithms": ["m.megolm.v1.aes-sha2"], "signatures": {},
        "keys": { format!("ed25519:{device}"): "key" },
    })
}

async fn devices(person: &Person<'_>, of: &str) -> Value {
    let body = json!({ "device_keys": { of: [] } });
    person.post("/keys/query", body).await.ok()["device_keys"][of].clone()
}

#[tokio::test]
async fn an_empty_upload_says_how_many_keys_there_are() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let upload = async |body: Value| hanako.post("/keys/upload", body).await;
    let counts = upload(json!({ "one_time_keys": one_time(50) })).await.ok();
    assert_eq!(counts, json!({ "one_time_key_counts": { "signed_curve25519": 50 } }));
    assert_eq!(upload(json!({})).await.ok(), counts);
    assert_eq!(upload(json!({ "one_time_keys": one_time(50) })).await.ok(), counts);
    let other = json!({ "one_time_keys": { "signed_curve25519:007": { "key": "other" } } });
    let error = upload(other).await.fails(400, "M_UNKNOWN");
    let error = error["error"].as_str().unwrap();
    assert!(error.contains("signed_curve25519:007 already exists"), "{error}");
    let claim = json!({ "one_time_keys": { &hanako.id: { &hanako.device: "signed_curve25519" } } });
    let given = hanako.post("/keys/claim", claim).await.ok();
    let key = json!({ &hanako.id: { &hanako.device: { "signed_curve25519:000": { "key": "k0" } } } });
    assert_eq!((&given["one_time_keys"], &given["failures"]), (&key, &json!({})));
}

#[tokio::test]
async fn nobody_uploads_keys_of_another_user_or_device() {
    let town = Town::new().await;
    let (hanako, taro) = (town.user("hanako").await, town.user("taro").await);
    let upload = async |keys: Value| taro.post("/keys/upload", json!({ "device_keys": keys })).await;
    upload(identity(&hanako.id, &hanako.device)).await.fails(400, "M_INVALID_PARAM");
    upload(identity(&hanako.id, &taro.device)).await.fails(400, "M_INVALID_PARAM");
    upload(identity(&taro.id, "OTHER")).await.fails(400, "M_INVALID_PARAM");
    upload(json!({ "user_id": taro.id, "device_id": taro.device })).await.fails(400, "M_BAD_JSON");
    upload(json!("keys")).await.fails(400, "M_BAD_JSON");
    assert_eq!((devices(&taro, &hanako.id).await, devices(&taro, &taro.id).await), (json!({}), json!({})));
    upload(identity(&taro.id, &taro.device)).await.ok();
    let shown = devices(&hanako, &taro.id).await;
    assert_eq!(shown[&taro.device]["keys"], identity(&taro.id, &taro.device)["keys"]);
    let elsewhere = json!({ "device_keys": { "@a:nowhere.test": [] } });
    let answer = hanako.post("/keys/query", elsewhere).await.ok();
    assert!(answer["failures"]["nowhere.test"].is_object() && answer["device_keys"] == json!({}), "{answer}");
}

#[tokio::test]
async fn cross_signing_keys_are_changed_by_whoever_knows_the_password() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    let master = |key: &str| json!({ "master_key": { "user_id": hanako.id, "usage": ["master"], "keys": { format!("ed25519:{key}"): key } } });
    let (one, other) =
        ("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo", "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw");
    let upload = async |body: Value| hanako.post("/keys/device_signing/upload", body).await;
    upload(
        json!({ "master_key": { "user_id": hanako.id, "usage": ["master"], "keys": { "ed25519:x": "y" } } }),
    )
    .await
    .fails(400, "M_INVALID_PARAM");
    upload(master(one)).await.ok();
    upload(master(one)).await.ok();
    let asked = upload(master(other)).await;
    assert_eq!(asked.status, 401, "{}", asked.body);
    let mut proof = hanako.proof(PASSWORD);
    proof["session"] = asked.body["session"].clone();
    // C60: what was asked for first counts, and nothing that is slipped in later.
    let mut slipped = master("/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU");
    slipped["auth"] = proof.clone();
    upload(slipped).await.fails(403, "M_FORBIDDEN");
    upload(json!({ "auth": proof })).await.ok();
    let answer = hanako.post("/keys/query", json!({ "device_keys": { &hanako.id: [] } })).await.ok();
    assert_eq!(answer["master_keys"][&hanako.id]["keys"], master(other)["master_key"]["keys"]);
    let unknown = json!({ &hanako.id: { "NONE": { "user_id": hanako.id } } });
    let answer = hanako.post("/keys/signatures/upload", unknown).await.ok();
    assert_eq!(answer["failures"][&hanako.id]["NONE"]["errcode"], "M_NOT_FOUND");
}

fn key(index: u64, verified: bool) -> Value {
    json!({
        "first_message_index": index, "forwarded_count": 0, "is_verified": verified,
        "session_data": { "ciphertext": format!("{index} {verified}") },
    })
}

#[tokio::test]
async fn a_backup_keeps_the_better_keys_and_counts_them() {
    let town = Town::new().await;
    let hanako = town.user("hanako").await;
    hanako.get("/room_keys/version").await.fails(404, "M_NOT_FOUND");
    let description =
        json!({ "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": { "public_key": "x" } });
    let create = async || {
        let answer = hanako.post("/room_keys/version", description.clone()).await.ok();
        answer["version"].as_str().unwrap().to_owned()
    };
    let version = create().await;
    let path = |rest: &str, version: &str| format!("/room_keys/keys{rest}?version={version}");
    assert_eq!(hanako.get(&path("", &version)).await.ok(), json!({ "rooms": {} }));
    assert_eq!(hanako.get(&path("/!r:hs1", &version)).await.ok(), json!({ "sessions": {} }));
    hanako.get(&path("/!r:hs1/s", &version)).await.fails(404, "M_NOT_FOUND");
    for rest in ["", "/!r:hs1", "/!r:hs1/s"] {
        hanako.get(&path(rest, "77")).await.fails(404, "M_NOT_FOUND");
        hanako.put(&path(rest, "77"), json!({ "rooms": {}, "sessions": {} })).await;
    }
    // One of a hundred is none: nothing is stored.
    let mut sessions: serde_json::Map<String, Value> =
        (0..100).map(|number| (format!("s{number:03}"), key(5, false))).collect();
    let mut lacking = sessions.clone();
    lacking["s050"].as_object_mut().unwrap().remove("is_verified");
    let all = |sessions| json!({ "rooms": { "!r:hs1": { "sessions": sessions } } });
    let error = hanako.put(&path("", &version), all(lacking)).await.fails(400, "M_BAD_JSON");
    assert!(error["error"].as_str().unwrap().contains("is_verified"), "{error}");
    assert_eq!(hanako.get(&path("", &version)).await.ok(), json!({ "rooms": {} }));

    let first = hanako.put(&path("", &version), all(sessions.clone())).await.ok();
    assert_eq!(first["count"], 100);
    let put_one = async |key: Value| hanako.put(&path("/!r:hs1/s007", &version), key).await.ok();
    assert_eq!(put_one(key(9, false)).await, first, "a worse one");
    let better = put_one(key(3, false)).await;
    assert!(better["count"] == 100 && better["etag"] != first["etag"], "{better}");
    put_one(key(8, true)).await;
    let kept = hanako.get(&path("/!r:hs1/s007", &version)).await.ok();
    assert_eq!(kept, key(8, true), "a verified one");
    sessions.insert("s007".to_owned(), key(8, true));
    let other =
        hanako.put(&path("/!s:hs1", &version), json!({ "sessions": { "t": key(1, true) } })).await.ok();
    assert_eq!(other["count"], 101);
    let listed = hanako.get(&path("", &version)).await.ok();
    let expected = json!({
        "rooms": { "!r:hs1": { "sessions": sessions }, "!s:hs1": { "sessions": { "t": key(1, true) } } },
    });
    assert_eq!(listed, expected);
    assert_eq!(hanako.get(&path("/!s:hs1", &version)).await.ok(), expected["rooms"]["!s:hs1"]);

    let newer = create().await;
    let error = hanako.put(&path("/!s:hs1", &version), json!({ "sessions": {} })).await;
    assert_eq!(error.fails(403, "M_WRONG_ROOM_KEYS_VERSION")["current_version"], json!(newer));
    let gone = hanako.ask("DELETE", &path("/!r:hs1", &version), Value::Null).await.ok();
    assert_eq!(gone["count"], 1);
    let shown = hanako.get(&format!("/room_keys/version/{version}")).await.ok();
    assert_eq!((&shown["count"], &shown["auth_data"]), (&json!(1), &description["auth_data"]));
    hanako.ask("DELETE", &format!("/room_keys/version/{newer}"), Value::Null).await.ok();
    hanako.get(&format!("/room_keys/version/{newer}")).await.fails(404, "M_NOT_FOUND");
    assert_eq!(hanako.get("/room_keys/version").await.ok()["version"], json!(version));
    let third = create().await;
    assert!(third != newer && third != version, "no number is given twice");
    let other = json!({ "algorithm": "other", "auth_data": {} });
    hanako.put(&format!("/room_keys/version/{third}"), other).await.fails(400, "M_INVALID_PARAM");
    let taro = town.user("taro").await;
    taro.get(&path("", &version)).await.fails(404, "M_NOT_FOUND");
}
