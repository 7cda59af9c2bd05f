//! Other identity keys of a device, keys that come again, and keys that anybody could sign with.

use serde_json::{Value, json, value::RawValue};
use store::{Batch, Order, Range};

use super::town::{CrossKey, Person, Town, base64, one_time};
use crate::{
    Error, KeyUpload, Wanted,
    remote::{told_device, told_key},
    signed,
    tables::{CLAIMED, SIGNATURES},
};

async fn claim(town: &Town, person: &Person) -> Option<String> {
    let claimed = town.encryption.claim_own(person.claim()).await.unwrap();
    claimed.into_values().flatten().flat_map(|(_, keys)| keys.into_iter()).next().map(|(id, key)| {
        let key: Value = serde_json::from_str(key.get()).unwrap();
        format!("{id} {}", key["key"].as_str().unwrap())
    })
}

fn keys(numbers: std::ops::Range<usize>) -> KeyUpload {
    KeyUpload { one_time_keys: one_time(numbers), ..KeyUpload::default() }
}

#[tokio::test]
async fn with_other_identity_keys_all_that_those_before_have_signed_goes() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let fallback = [("signed_curve25519:F".to_owned(), json!({ "key": "f", "fallback": true }))];
    let fallback_keys = fallback.into_iter().collect();
    let first = KeyUpload { device_keys: Some(hanako.identity(1)), fallback_keys, ..keys(0..5) };
    town.upload(&hanako, first).await;
    let row = (hanako.user.to_string(), hanako.user.to_string(), hanako.device.to_string(), "x".to_owned());
    let mut batch = Batch::new();
    batch.put(&SIGNATURES, &row, &"of before".to_owned());
    town.store.commit(batch).await.unwrap();

    // The same keys with one more signature are the same keys.
    let mut signed_anew = hanako.identity(1);
    signed_anew["signatures"]["@x:y.test"] = json!({ "ed25519:Z": "z" });
    let again = KeyUpload { device_keys: Some(signed_anew), ..KeyUpload::default() };
    let counts = town.upload(&hanako, again).await;
    assert_eq!((counts.one_time["signed_curve25519"], counts.unused_fallback.len()), (5, 1));
    assert!(town.store.get(&SIGNATURES, &row).await.unwrap().is_some());

    let other = [("signed_curve25519:000001".to_owned(), json!({ "key": "new" }))].into_iter().collect();
    let upload =
        KeyUpload { device_keys: Some(hanako.identity(2)), one_time_keys: other, ..KeyUpload::default() };
    let counts = town.upload(&hanako, upload.clone()).await;
    assert_eq!((counts.one_time["signed_curve25519"], counts.unused_fallback.len()), (1, 0));
    assert_eq!(town.upload(&hanako, upload).await, counts, "the same once more");
    assert_eq!(claim(&town, &hanako).await.as_deref(), Some("signed_curve25519:000001 new"));
    assert_eq!(claim(&town, &hanako).await, None);
    assert_eq!(town.store.get(&SIGNATURES, &row).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_whose_upload_is_repeated_after_its_claim_is_not_given_again() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    town.upload(&hanako, keys(0..3)).await;
    assert_eq!(claim(&town, &hanako).await.as_deref(), Some("signed_curve25519:000000 k0"));
    assert_eq!(town.upload(&hanako, keys(0..3)).await.one_time["signed_curve25519"], 2);
    let signatures = json!({ &hanako.user: { "ed25519:PHONE": "anew" } });
    let signed_anew = json!({ "key": "k0", "signatures": signatures });
    let one_time_keys = [("signed_curve25519:000000".to_owned(), signed_anew)].into_iter().collect();
    let again = KeyUpload { one_time_keys, ..KeyUpload::default() };
    let counts = town.beside().upload_keys(&hanako.user, &hanako.device, again).await.unwrap();
    assert_eq!(counts.one_time["signed_curve25519"], 2);
    for expected in [Some("signed_curve25519:000001 k1"), Some("signed_curve25519:000002 k2"), None] {
        assert_eq!(claim(&town, &hanako).await.as_deref(), expected);
    }
    assert_eq!(town.upload(&hanako, keys(0..4)).await.one_time["signed_curve25519"], 1);
}

#[tokio::test]
async fn few_claimed_keys_are_remembered_and_the_newest() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let mut batch = Batch::new();
    for number in 0..1_500 {
        let key = (hanako.user.to_string(), hanako.device.to_string(), "old".to_owned(), number);
        batch.put(&CLAIMED, &key, &number);
    }
    town.store.commit(batch).await.unwrap();
    town.upload(&hanako, keys(0..1)).await;
    let rows = town.store.scan(&CLAIMED, Range::all(), Order::Ascending, 9_999).await.unwrap();
    assert_eq!((rows.len(), rows[0].1), (1_000, 500));
    let by = account::Actor::user(&hanako.user, false, None);
    town.accounts.log_out(&hanako.user, &hanako.device, &by).await.unwrap();
    assert!(town.store.scan(&CLAIMED, Range::all(), Order::Ascending, 9).await.unwrap().is_empty());
}

/// Points of small order, the last one written as nobody would.
fn weak() -> [[u8; 32]; 3] {
    let (mut one, mut above) = ([0; 32], [0xff; 32]);
    one[0] = 1;
    (above[0], above[31]) = (0xee, 0x7f);
    [[0; 32], one, above]
}

#[tokio::test]
async fn keys_with_which_anybody_could_sign_are_none() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    for bytes in weak() {
        let key = base64(&bytes);
        let mut identity = hanako.identity(1);
        identity["keys"]["ed25519:PHONE"] = json!(key);
        let raw = |value: &Value| RawValue::from_string(value.to_string()).unwrap();
        assert_eq!(told_device(&hanako.user, &hanako.device, &raw(&identity)), None, "nor another server's");
        let upload = KeyUpload { device_keys: Some(identity), ..KeyUpload::default() };
        let refused = town.encryption.upload_keys(&hanako.user, &hanako.device, upload).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        let master = CrossKey { public: key, ..CrossKey::new(1) }.object(&hanako.user, "master");
        assert_eq!(told_key(&hanako.user, &raw(&master)), None);
        assert_eq!(signed::public_part(&serde_json::from_value(master).unwrap()), None);
    }
    let upload = KeyUpload { device_keys: Some(hanako.identity(1)), ..KeyUpload::default() };
    town.upload(&hanako, upload).await;
    let wanted = Wanted::from([(hanako.user.clone(), Vec::new())]);
    assert_eq!(town.encryption.own_keys(None, &wanted).await.unwrap()[&hanako.user].devices.len(), 1);
}
