//! How much there is of a user, and of one answer.

use bytes::Bytes;
use ruma::{OwnedUserId, UserId, server_name};
use serde_json::{Value, json, value::RawValue};
use store::Batch;

use super::town::Town;
use crate::{Error, KeyUpload, Wanted, remote::told_keys, tables::DEVICE_KEYS};

/// As if a user had so many devices with keys of about so many bytes.
async fn fill(town: &Town, user: &UserId, devices: usize, bytes: usize) {
    let mut batch = Batch::new();
    for number in 0..devices {
        let keys = format!("{{\"keys\":{{}},\"x\":\"{}\"}}", "x".repeat(bytes));
        batch.put(&DEVICE_KEYS, &(user.as_str(), format!("D{number:05}").as_str()), &Bytes::from(keys));
    }
    town.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_user_has_keys_of_no_more_devices_than_are_told_of() {
    for (devices, bytes) in [(1_000, 10), (65, 16 << 10)] {
        let town = Town::new().await;
        let hanako = town.person("hanako").await;
        let upload = |seed| KeyUpload { device_keys: Some(hanako.identity(seed)), ..KeyUpload::default() };
        fill(&town, &hanako.user, devices - 2, bytes).await;
        town.upload(&hanako, upload(1)).await;
        fill(&town, &hanako.user, devices, bytes).await;
        let refused = town.encryption.upload_keys(&hanako.user, &hanako.device, upload(2)).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
        // What is there already is no more than before.
        town.upload(&hanako, upload(1)).await;
    }
}

#[tokio::test]
async fn one_answer_has_a_bound_and_each_user_fits_into_it() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let user = |number: usize| -> OwnedUserId { UserId::parse(format!("@u{number}:kanazawa.test")).unwrap() };
    for number in 0..20 {
        fill(&town, &user(number), 200, 8 << 10).await;
    }
    let wanted = |users: usize| -> Wanted { (0..users).map(|number| (user(number), Vec::new())).collect() };
    let timeout = std::time::Duration::from_secs(1);
    for users in [1, 15] {
        let found = town.encryption.query_keys(&hanako.user, wanted(users), timeout).await.unwrap().users;
        // Of each as much as a user may have.
        assert!(
            found.values().all(|keys| (100..200).contains(&keys.devices.len()) && keys.size() <= 1 << 20)
        );
        assert_eq!(found.len(), users);
    }
    for users in [17, 20] {
        let refused = town.encryption.query_keys(&hanako.user, wanted(users), timeout).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))));
        let refused = town.encryption.own_keys(None, &wanted(users)).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))));
    }
}

#[test]
fn what_another_server_tells_is_read_device_by_device_within_the_bound_of_a_user() {
    let taro: OwnedUserId = UserId::parse("@taro:wajima.test").unwrap();
    let wanted = Wanted::from([(taro.clone(), Vec::new())]);
    let told = |devices: Value| {
        let told = json!({ "device_keys": { &taro: devices } }).to_string();
        let server = server_name!("wajima.test");
        let told = RawValue::from_string(told).unwrap();
        let keys = told_keys(server, &wanted, &told).unwrap().remove(&taro).unwrap();
        keys.devices.into_keys().map(|device| device.to_string()).collect::<Vec<_>>()
    };
    let device = |id: &str| json!({ "user_id": &taro, "device_id": id, "keys": { "ed25519:x": "y" } });
    let odd = json!({
        "A": device("A"), "B": 5, "C": { "user_id": &taro, "device_id": "C", "keys": 5 },
        "D": { "user_id": &taro, "keys": {} }, "E": device("F"), "Z": device("Z"),
    });
    assert_eq!(told(odd), ["A", "Z"]);
    let large = |id: &str| {
        let mut large = device(id);
        large["x"] = json!("x".repeat(8 << 10));
        (id.to_owned(), large)
    };
    let many: serde_json::Map<String, Value> =
        (0..500).map(|number| large(&format!("D{number:03}"))).collect();
    assert!((100..128).contains(&told(Value::Object(many)).len()));
}
