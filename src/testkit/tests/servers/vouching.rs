//! What users sign of their own devices and of each other, between servers.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use http::Method;
use pdu::Authority;
use ruma::{CanonicalJsonObject, server_name};
use serde_json::{Value, json};
use testkit::{Conduct, Net, Preset, User};

/// So long somebody waits in real time.
const PATIENCE: Duration = Duration::from_secs(60);

async fn post(user: &User, path: &str, body: Value) -> Value {
    user.call(Method::POST, path, Some(&body)).await
}

/// A key pair of a user or device.
struct Key(Authority);

impl Key {
    fn new(seed: u8) -> Self {
        Self(Authority::new(server_name!("any.test").to_owned(), "1", &[seed; 32]).unwrap())
    }

    fn public(&self) -> String {
        self.0.public_key_base64()
    }

    fn sign(&self, mut object: Value, user: &User, key_id: &str) -> Value {
        let mut covered: CanonicalJsonObject = serde_json::from_value(object.clone()).unwrap();
        covered.remove("signatures");
        let signature = self.0.sign_bytes(serde_json::to_string(&covered).unwrap().as_bytes());
        object["signatures"][user.id().as_str()][format!("ed25519:{key_id}")] = json!(signature);
        object
    }
}

/// Somebody with keys of all kinds.
struct Person {
    user: User,
    device: Key,
    master: Key,
    own: Key,
    others: Key,
}

impl Person {
    fn new(user: User, seed: u8) -> Self {
        let [device, master, own, others] = [0, 1, 2, 3].map(|number| Key::new(seed + number));
        Self { user, device, master, own, others }
    }

    fn cross(&self, key: &Key, usage: &str) -> Value {
        let public = key.public();
        json!({ "user_id": self.user.id(), "usage": [usage], "keys": { format!("ed25519:{public}"): public } })
    }

    fn identity(&self) -> Value {
        let id = self.user.device_id();
        let keys = json!({
            "user_id": self.user.id(), "device_id": id, "algorithms": [],
            "keys": { format!("ed25519:{id}"): self.device.public() },
        });
        self.device.sign(keys, &self.user, id)
    }

    /// Uploads all of them, and what vouches for the device.
    async fn upload(&self) {
        post(&self.user, "/keys/upload", json!({ "device_keys": self.identity() })).await;
        let by_master =
            |key, usage| self.master.sign(self.cross(key, usage), &self.user, &self.master.public());
        let keys = json!({
            "master_key": self.cross(&self.master, "master"),
            "self_signing_key": by_master(&self.own, "self_signing"),
            "user_signing_key": by_master(&self.others, "user_signing"),
        });
        post(&self.user, "/keys/device_signing/upload", keys).await;
        let vouched = self.own.sign(self.identity(), &self.user, &self.own.public());
        let body = json!({ self.user.id(): { self.user.device_id(): vouched } });
        assert_eq!(post(&self.user, "/keys/signatures/upload", body).await["failures"], json!({}));
    }

    /// Whether these are the device's keys with both signatures.
    fn is_vouched(&self, keys: &Value) -> bool {
        let signatures = &keys["signatures"][self.user.id().as_str()];
        let by = |id: &str| signatures[format!("ed25519:{id}")].is_string();
        by(self.user.device_id()) && by(&self.own.public())
    }
}

#[tokio::test]
async fn another_server_is_told_of_both_signatures_of_a_device_in_every_way() {
    let net = Net::new();
    let wajima = net.server("wajima.test").await;
    let taro = Person::new(wajima.user("taro").await, 10);
    let mallory = net.hostile("mallory.test").await;
    let room = mallory.found("eve", "10");
    mallory.host(&room);
    taro.user.join(&room.id, "mallory.test").await;
    taro.upload().await;

    let body = json!({ "device_keys": { taro.user.id(): [] } });
    let path = "/_matrix/federation/v1/user/keys/query";
    let answer = mallory.ask(&net.outside(), "wajima.test", "POST", path, Some(&body)).await;
    let keys = &answer.json["device_keys"][taro.user.id().as_str()][taro.user.device_id()];
    assert!(taro.is_vouched(keys), "{}", answer.text);
    assert_eq!(keys["unsigned"], Value::Null, "what the device is called is nobody else's business");

    let path = format!("/_matrix/federation/v1/user/devices/{}", taro.user.id());
    let answer = mallory.ask(&net.outside(), "wajima.test", "GET", &path, None).await;
    assert!(taro.is_vouched(&answer.json["devices"][0]["keys"]), "{}", answer.text);
    assert!(answer.json["self_signing_key"].is_object());

    let is_told = || {
        let units =
            mallory.asked("/send/").into_iter().flat_map(|asked| asked.body["edus"].as_array().cloned());
        units.flatten().any(|unit| taro.is_vouched(&unit["content"]["keys"]))
    };
    let told = async {
        while !is_told() {
            net.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told by itself");
}

#[tokio::test]
async fn a_key_of_another_servers_user_is_signed_though_nobody_has_asked_for_it_yet() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let hanako = Person::new(kanazawa.user("hanako").await, 10);
    let taro = Person::new(wajima.user("taro").await, 20);
    let room = hanako.user.create_room(Preset::PublicChat).await;
    taro.user.join(&room, "kanazawa.test").await;
    hanako.upload().await;
    taro.upload().await;
    let public = hanako.others.public();
    let signed = hanako.others.sign(taro.cross(&taro.master, "master"), &hanako.user, &public);
    let body = json!({ taro.user.id(): { taro.master.public(): signed } });
    assert_eq!(post(&hanako.user, "/keys/signatures/upload", body).await["failures"], json!({}));
    let query = json!({ "device_keys": { taro.user.id(): [] } });
    let signature = |answer: &Value| {
        let master = &answer["master_keys"][taro.user.id().as_str()];
        master["signatures"][hanako.user.id().as_str()][format!("ed25519:{public}")].is_string()
    };
    assert!(signature(&post(&hanako.user, "/keys/query", query.clone()).await));
    assert!(!signature(&post(&taro.user, "/keys/query", query).await), "nobody else sees it");
}

#[tokio::test]
async fn a_server_that_fails_is_asked_once_and_then_named_from_its_pause() {
    let net = Net::new();
    let kanazawa = net.server("kanazawa.test").await;
    let hanako = kanazawa.user("hanako").await;
    let mallory = net.hostile("mallory.test").await;
    mallory.on("/user/keys/query", Conduct::refuse(500, "M_UNKNOWN"));
    let query = json!({ "device_keys": { mallory.user("eve"): [], hanako.id(): [] } });
    for _ in 0..5 {
        let answer = post(&hanako, "/keys/query", query.clone()).await;
        assert!(answer["failures"]["mallory.test"].is_object(), "{answer}");
        assert_eq!(answer["device_keys"][hanako.id().as_str()], json!({}));
    }
    assert_eq!(mallory.asked("/user/keys/query").len(), 1);
}

#[tokio::test]
async fn whose_server_is_off_is_sent_keys_by_his_fallback_key_as_it_was_last_given() {
    let net = Net::new();
    let (kanazawa, wajima) = (net.server("kanazawa.test").await, net.server("wajima.test").await);
    let hanako = kanazawa.user("hanako").await;
    let taro = Person::new(wajima.user("taro").await, 20);
    let room = hanako.create_room(Preset::PublicChat).await;
    taro.user.join(&room, "kanazawa.test").await;
    post(&taro.user, "/keys/upload", json!({ "device_keys": taro.identity() })).await;
    let upload = async |kind: &str, id: &str| {
        let key = json!({ "key": id, "fallback": kind == "fallback_keys" });
        let key = taro.device.sign(key, &taro.user, taro.user.device_id());
        let body = json!({ kind: { format!("signed_curve25519:{id}"): key } });
        post(&taro.user, "/keys/upload", body).await;
    };
    upload("one_time_keys", "once").await;
    upload("fallback_keys", "again").await;
    let claim = async || {
        let wanted = json!({ taro.user.id(): { taro.user.device_id(): "signed_curve25519" } });
        let answer = post(&hanako, "/keys/claim", json!({ "one_time_keys": wanted })).await;
        let given = &answer["one_time_keys"][taro.user.id().as_str()][taro.user.device_id()];
        let given = given.as_object().and_then(|keys| keys.values().next());
        (given.map(|key| key["key"].clone()), answer["failures"]["wajima.test"].is_object())
    };
    assert_eq!(claim().await, (Some(json!("once")), false));
    assert_eq!(claim().await, (Some(json!("again")), false));
    // His devices are known here once the room is known to be shared.
    let way = net.way(&kanazawa, &wajima);
    let query = json!({ "device_keys": { taro.user.id(): [] } });
    let kept = async {
        loop {
            post(&hanako, "/keys/query", query.clone()).await;
            way.cut();
            if post(&hanako, "/keys/query", query.clone()).await["failures"] == json!({}) {
                return;
            }
            way.heal();
            net.advance(Duration::from_secs(30));
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("they are kept");
    for _ in 0..2 {
        assert_eq!(claim().await, (Some(json!("again")), false), "while the server sleeps");
    }
    net.advance(Duration::from_secs(8 * 24 * 60 * 60));
    assert_eq!(claim().await, (None, true), "not for ever");
}
