//! Whose devices changed, and how many keys a device has left.

use std::time::Duration;

use account::{Actor, Credentials, LogIn, NewUser};
use encryption::KeyUpload;
use ruma::{OwnedDeviceId, server_name};
use serde_json::{Value, json};

use super::town::{Client, Town, client, town, user};

/// Somebody with an account, on his phone.
async fn person(town: &Town, name: &str) -> Client {
    let authority = server_name!("kanazawa.test");
    let password = Some("correct horse".to_owned());
    let new = NewUser { localpart: name.to_owned(), password, display_name: None, admin: false };
    town.accounts.create_user(authority, new, &Actor::operator("uid 0")).await.unwrap();
    log_in(town, name, "PHONE").await;
    client(name)
}

async fn log_in(town: &Town, name: &str, device: &str) {
    let credentials =
        Credentials::NameAndPassword { name: name.to_owned(), password: "correct horse".to_owned() };
    let request = LogIn {
        credentials,
        device_id: Some(device.into()),
        device_name: None,
        refresh: false,
        from: None,
        agent: None,
    };
    town.accounts.log_in(server_name!("kanazawa.test"), request).await.unwrap();
}

async fn upload(town: &Town, name: &str, device: &str, key: &str) {
    let keys = json!({
        "user_id": user(name), "device_id": device, "algorithms": [], "signatures": {},
        "keys": { format!("ed25519:{device}"): key },
    });
    let upload = KeyUpload { device_keys: Some(keys), ..KeyUpload::default() };
    town.encryption.upload_keys(&user(name), &OwnedDeviceId::from(device), upload).await.unwrap();
}

/// The names of those who changed, and of those who are gone.
fn lists(answer: &Value) -> (Vec<String>, Vec<String>) {
    let names = |section: &str| {
        let users = answer["device_lists"][section].as_array().cloned().unwrap_or_default();
        let name = |user: &Value| user.as_str().unwrap()[1..].split(':').next().unwrap().to_owned();
        users.iter().map(name).collect()
    };
    (names("changed"), names("left"))
}

fn changed(names: &[&str]) -> (Vec<String>, Vec<String>) {
    (names.iter().map(|name| (*name).to_owned()).collect(), Vec::new())
}

fn left(names: &[&str]) -> (Vec<String>, Vec<String>) {
    (Vec::new(), names.iter().map(|name| (*name).to_owned()).collect())
}

#[tokio::test]
async fn counts_of_keys_are_in_every_answer_and_an_unused_device_has_none() {
    let town = town().await;
    let mut hanako = person(&town, "hanako").await;
    for _ in 0..2 {
        let answer = hanako.sync(&town).await;
        assert_eq!(answer["device_one_time_keys_count"], json!({ "signed_curve25519": 0 }), "{answer}");
        assert_eq!(answer["device_unused_fallback_key_types"], json!([]));
    }
    let keys = json!({ "signed_curve25519:A": { "key": "a" }, "signed_curve25519:B": { "key": "b" } });
    let fallback = json!({ "signed_curve25519:C": { "key": "c", "fallback": true } });
    let map = |value: Value| value.as_object().unwrap().clone();
    let upload = KeyUpload { one_time_keys: map(keys), fallback_keys: map(fallback), ..KeyUpload::default() };
    town.encryption.upload_keys(&hanako.user, &hanako.device, upload).await.unwrap();
    let answer = hanako.sync(&town).await;
    assert_eq!(answer["device_one_time_keys_count"], json!({ "signed_curve25519": 2 }));
    assert_eq!(answer["device_unused_fallback_key_types"], json!(["signed_curve25519"]));
    let mut desktop = hanako.clone().on("DESKTOP");
    let answer = desktop.sync(&town).await;
    assert_eq!(answer["device_one_time_keys_count"], json!({ "signed_curve25519": 0 }), "another device's");
}

#[tokio::test]
async fn who_shares_a_room_is_told_of_new_keys_and_of_the_end_of_a_device_and_nobody_else_is() {
    let town = town().await;
    let (mut hanako, mut taro, mut jiro) =
        (person(&town, "hanako").await, person(&town, "taro").await, person(&town, "jiro").await);
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    town.room("jiro").await;
    for client in [&mut hanako, &mut taro, &mut jiro] {
        client.sync(&town).await;
    }
    upload(&town, "taro", "PHONE", "one").await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&["taro"]));
    assert_eq!(lists(&taro.sync(&town).await), changed(&["taro"]), "his other devices");
    assert_eq!(lists(&jiro.sync(&town).await), changed(&[]));
    assert_eq!(lists(&hanako.sync(&town).await), changed(&[]), "once");
    upload(&town, "taro", "PHONE", "one").await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&[]), "nothing has changed");

    // Also somebody who waits.
    let waiting = Client { timeout: Duration::from_secs(30), ..hanako.clone() };
    let (syncs, request) = (town.syncs.clone(), waiting.request());
    let sleepers = town.clock.sleepers();
    let waiting = tokio::spawn(async move { syncs.sync(request).await.unwrap().gather().await });
    while town.clock.sleepers() == sleepers {
        tokio::task::yield_now().await;
    }
    let by = Actor::user(&taro.user, false, None);
    town.accounts.log_out(&taro.user, &taro.device, &by).await.unwrap();
    let answer = serde_json::from_slice(&waiting.await.unwrap()).unwrap();
    assert_eq!(lists(&answer), changed(&["taro"]));
}

#[tokio::test]
async fn whoever_comes_is_new_and_whoever_shares_no_room_any_more_is_gone() {
    for lazy in [false, true] {
        let town = town().await;
        let filter = json!({ "room": { "state": { "lazy_load_members": lazy } } });
        let mut hanako = person(&town, "hanako").await.with_filter(filter);
        for name in ["taro", "jiro", "saburo"] {
            person(&town, name).await;
        }
        let (one, other) = (town.room("hanako").await, town.room("taro").await);
        town.join("taro", &one).await;
        town.join("jiro", &other).await;
        town.join("saburo", &other).await;
        town.leave("saburo", &other).await;
        hanako.sync(&town).await;
        let before = hanako.since.clone().unwrap();

        town.join("hanako", &other).await;
        assert_eq!(
            lists(&hanako.sync(&town).await),
            changed(&["hanako", "jiro", "taro"]),
            "not who left long ago"
        );
        town.leave("taro", &one).await;
        assert_eq!(lists(&hanako.sync(&town).await), changed(&[]), "they share another room");
        town.leave("taro", &other).await;
        assert_eq!(lists(&hanako.sync(&town).await), left(&["taro"]));
        town.leave("hanako", &other).await;
        assert_eq!(lists(&hanako.sync(&town).await), left(&["jiro"]));

        // What he does elsewhere is no business of hers; when they meet again he is new.
        let apart = hanako.since.clone().unwrap();
        upload(&town, "taro", "PHONE", "new").await;
        assert_eq!(lists(&hanako.sync(&town).await), changed(&[]));
        town.join("taro", &one).await;
        assert_eq!(lists(&hanako.sync(&town).await), changed(&["taro"]));
        let position = |token: &str| token.parse::<room::read::token::Token>().unwrap().position();
        let between = async |from: &str, to: &str| {
            let (from, to) = (position(from), position(to));
            town.encryption.list_changes_between(&user("hanako"), from, to).await.unwrap()
        };
        let now = hanako.since.clone().unwrap();
        let changes = between(&apart, &now).await;
        assert_eq!(changes.changed.into_iter().collect::<Vec<_>>(), [user("taro")]);
        let changes = between(&before, &now).await;
        assert_eq!(changes.changed.into_iter().collect::<Vec<_>>(), [user("taro")]);
        // Whom she met meanwhile she shares nothing with now.
        assert_eq!(changes.left.into_iter().collect::<Vec<_>>(), [user("jiro")]);
        assert!(between(&now, &now).await.is_empty());
    }
}

#[tokio::test]
async fn whoever_was_invited_is_new_again_when_he_comes() {
    let town = town().await;
    let (mut hanako, mut taro) = (person(&town, "hanako").await, person(&town, "taro").await);
    let room = town.room("hanako").await;
    hanako.sync(&town).await;
    town.invite("hanako", &room, "taro").await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&["taro"]), "he may be given keys already");
    taro.sync(&town).await;
    town.join("taro", &room).await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&["taro"]));
    assert_eq!(lists(&taro.sync(&town).await), changed(&["hanako", "taro"]));
    assert_eq!(lists(&hanako.sync(&town).await), changed(&[]));
}

#[tokio::test]
async fn another_name_of_a_device_is_told_to_those_who_know_its_keys() {
    let town = town().await;
    let (mut hanako, taro) = (person(&town, "hanako").await, person(&town, "taro").await);
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    hanako.sync(&town).await;
    let rename = async |name: &str| {
        let name = Some(name.to_owned());
        town.accounts.rename_device(&taro.user, &taro.device, name).await.unwrap();
    };
    rename("電話").await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&[]), "it has no keys");
    upload(&town, "taro", "PHONE", "one").await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&["taro"]));
    rename("太郎の電話").await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&["taro"]));
    rename("太郎の電話").await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&[]), "nothing has changed");
}

#[tokio::test]
async fn another_name_is_no_news_of_devices() {
    let town = town().await;
    let mut hanako = person(&town, "hanako").await;
    person(&town, "taro").await;
    let room = town.room("hanako").await;
    town.join("taro", &room).await;
    hanako.sync(&town).await;
    let named = json!({ "membership": "join", "displayname": "太郎" });
    town.set_of("taro", &room, "m.room.member", user("taro").as_str(), named).await;
    assert_eq!(lists(&hanako.sync(&town).await), changed(&[]));
}
