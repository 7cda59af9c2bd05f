//! Cross-signing keys, and who sees which signatures.

use serde_json::{Value, json};

use super::town::{CrossKey, Person, Town, asked, password};
use crate::{Error, KeyUpload, SignatureFailure, Signed, UserKeys, Wanted, signed};

struct Keys {
    master: CrossKey,
    own: CrossKey,
    others: CrossKey,
}

impl Keys {
    fn new(seed: u8) -> Self {
        let key = |number| CrossKey::new(seed + number);
        Self { master: key(0), own: key(1), others: key(2) }
    }

    fn request(&self, person: &Person) -> Value {
        let user = &person.user;
        json!({
            "master_key": self.master.object(user, "master"),
            "self_signing_key": self.master.sign(self.own.object(user, "self_signing"), user),
            "user_signing_key": self.master.sign(self.others.object(user, "user_signing"), user),
        })
    }
}

impl Town {
    async fn keys_of(&self, person: &Person, reader: Option<&Person>) -> UserKeys {
        let wanted = Wanted::from([(person.user.clone(), Vec::new())]);
        let reader = reader.map(|reader| &*reader.user);
        self.encryption.own_keys(reader, &wanted).await.unwrap().remove(&person.user).unwrap()
    }

    async fn upload_signing(&self, person: &Person, request: Value, proof: bool) -> Result<(), Error> {
        let proof = proof.then(|| password(&person.user));
        self.encryption.upload_signing_keys(&person.user, &person.device, asked(request, proof)).await
    }

    async fn upload_signature(
        &self,
        by: &Person,
        of: &Person,
        key: &str,
        object: Value,
    ) -> Option<SignatureFailure> {
        let signed = Signed::from([(of.user.clone(), [(key.to_owned(), object)].into_iter().collect())]);
        let failures = self.encryption.upload_signatures(&by.user, &signed).await.unwrap();
        failures.get(&of.user).and_then(|keys| keys.get(key)).copied()
    }
}

#[tokio::test]
async fn the_first_keys_take_no_password_and_others_do() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let (first, second) = (Keys::new(10), Keys::new(20));
    town.upload_signing(&hanako, first.request(&hanako), false).await.unwrap();
    // The same ones again change nothing.
    town.upload_signing(&hanako, first.request(&hanako), false).await.unwrap();
    let refused = town.upload_signing(&hanako, second.request(&hanako), false).await;
    assert!(matches!(refused, Err(Error::Account(account::Error::Interactive(_)))), "{refused:?}");
    town.upload_signing(&hanako, second.request(&hanako), true).await.unwrap();
    let known = town.keys_of(&hanako, Some(&hanako)).await;
    assert_eq!(known.master.as_ref().and_then(signed::public_part), Some(&*second.master.public));
    assert!(known.user_signing.is_some());
    let taro = town.person("taro").await;
    for reader in [Some(&taro), None] {
        let seen = town.keys_of(&hanako, reader).await;
        assert!(seen.master.is_some() && seen.self_signing.is_some() && seen.user_signing.is_none());
    }
}

#[tokio::test]
async fn keys_that_break_the_rules_are_refused() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let keys = Keys::new(10);
    let user = &hanako.user;
    let unsigned = json!({
        "master_key": keys.master.object(user, "master"),
        "self_signing_key": keys.own.object(user, "self_signing"),
    });
    assert!(matches!(town.upload_signing(&hanako, unsigned, false).await, Err(Error::BadSignature(_))));
    let by_itself = json!({
        "master_key": keys.master.object(user, "master"),
        "self_signing_key": keys.own.sign(keys.own.object(user, "self_signing"), user),
    });
    assert!(matches!(town.upload_signing(&hanako, by_itself, false).await, Err(Error::BadSignature(_))));
    let without_master =
        json!({ "self_signing_key": keys.master.sign(keys.own.object(user, "self_signing"), user) });
    assert!(matches!(town.upload_signing(&hanako, without_master, false).await, Err(Error::Missing(_))));
    let of_another =
        json!({ "master_key": keys.master.object(ruma::user_id!("@taro:kanazawa.test"), "master") });
    assert!(matches!(town.upload_signing(&hanako, of_another, false).await, Err(Error::Invalid(_))));
    let other_usage = json!({ "master_key": keys.master.object(user, "self_signing") });
    assert!(matches!(town.upload_signing(&hanako, other_usage, false).await, Err(Error::Invalid(_))));
    assert_eq!(town.keys_of(&hanako, Some(&hanako)).await.size(), UserKeys::default().size());
}

#[tokio::test]
async fn signatures_are_checked_and_the_newer_one_by_a_key_takes_the_older_ones_place() {
    let town = Town::new().await;
    let hanako = town.person("hanako").await;
    let keys = Keys::new(10);
    let identity = hanako.identity(1);
    town.upload(&hanako, KeyUpload { device_keys: Some(identity.clone()), ..KeyUpload::default() }).await;
    town.upload_signing(&hanako, keys.request(&hanako), false).await.unwrap();
    let upload = async |object| town.upload_signature(&hanako, &hanako, "PHONE", object).await;
    let by_others = keys.others.sign(identity.clone(), &hanako.user);
    assert_eq!(upload(by_others).await, Some(SignatureFailure::Wrong));
    let mut other = identity.clone();
    other["algorithms"] = json!([]);
    assert_eq!(upload(keys.own.sign(other, &hanako.user)).await, Some(SignatureFailure::NotFound));
    // A wrong one that is there is replaced.
    let key_id = format!("ed25519:{}", keys.own.public);
    let row = (hanako.user.to_string(), hanako.user.to_string(), "PHONE".to_owned(), key_id);
    let mut batch = store::Batch::new();
    batch.put(&crate::tables::SIGNATURES, &row, &"wrong".to_owned());
    town.store.commit(batch).await.unwrap();
    assert_eq!(upload(keys.own.sign(identity.clone(), &hanako.user)).await, None);
    assert_ne!(town.store.get(&crate::tables::SIGNATURES, &row).await.unwrap().unwrap(), "wrong");
    assert_eq!(upload(keys.own.sign(identity, &hanako.user)).await, None);
    // Everybody sees it, beside the device's own.
    for reader in [Some(&hanako), None] {
        let seen = town.keys_of(&hanako, reader).await;
        let device = &signed::read(seen.devices[&hanako.device].get().as_bytes()).unwrap();
        let id = format!("ed25519:{}", keys.own.public);
        assert!(signed::signature(device, &hanako.user, &id).is_some());
        assert!(signed::signature(device, &hanako.user, "ed25519:PHONE").is_some());
    }
}

#[tokio::test]
async fn what_one_signs_of_another_only_he_sees() {
    let town = Town::new().await;
    let (hanako, taro) = (town.person("hanako").await, town.person("taro").await);
    let (of_hanako, of_taro) = (Keys::new(10), Keys::new(20));
    town.upload_signing(&hanako, of_hanako.request(&hanako), false).await.unwrap();
    town.upload_signing(&taro, of_taro.request(&taro), false).await.unwrap();
    let master = of_taro.master.object(&taro.user, "master");
    let signed = of_hanako.others.sign(master, &hanako.user);
    assert_eq!(town.upload_signature(&hanako, &taro, &of_taro.master.public, signed).await, None);
    let id = format!("ed25519:{}", of_hanako.others.public);
    for (reader, sees) in [(Some(&hanako), true), (Some(&taro), false), (None, false)] {
        let seen = town.keys_of(&taro, reader).await.master.unwrap();
        assert_eq!(signed::signature(&seen, &hanako.user, &id).is_some(), sees);
    }
    // With other keys of his own it is worth nothing any more.
    town.upload_signing(&hanako, Keys::new(30).request(&hanako), true).await.unwrap();
    let seen = town.keys_of(&taro, Some(&hanako)).await.master.unwrap();
    assert_eq!(signed::signature(&seen, &hanako.user, &id), None);
}
