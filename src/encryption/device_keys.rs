//! Uploading keys: identity keys of a device, one-time keys, fallback keys.

use std::collections::BTreeMap;

use base::Attempts;
use bytes::Bytes;
use pdu::VerifyKey;
use ruma::{CanonicalJsonObject, DeviceId, UserId};
use serde_json::{Map, Value};
use store::Batch;

use crate::{
    Encryption, Error, KeyCounts,
    changes::Changed,
    one_time::topic_of_keys,
    signed,
    tables::{
        CROSS_SIGNING, DEVICE_KEYS, FALLBACK_KEYS, FallbackRow, ONE_TIME_COUNTS, ONE_TIME_KEYS,
        ONE_TIME_ORDER, OneTimeRow, UPLOADS,
    },
};

/// Unclaimed one-time keys of a device. Clients keep some hundred.
const MOST_ONE_TIME: i64 = 2_000;

/// Keys in one request.
const MOST_AT_ONCE: usize = 1_000;

/// Algorithms for which a device has keys.
const MOST_ALGORITHMS: usize = 8;

/// Largest one-time or fallback key, in bytes.
const LARGEST_KEY: usize = 4 << 10;

/// What a device uploads.
#[derive(Clone, Debug, Default)]
pub struct KeyUpload {
    /// Its identity keys.
    pub device_keys: Option<Value>,
    /// One-time keys by `algorithm:id`.
    pub one_time_keys: Map<String, Value>,
    /// Fallback keys by `algorithm:id`: one for each algorithm.
    pub fallback_keys: Map<String, Value>,
}

/// A one-time or fallback key that can be kept.
struct Named {
    algorithm: String,
    id: String,
    json: String,
}

impl Encryption {
    /// Takes keys of a device of a user of ours, all or none of them, and says how many the device has. One-time keys that
    /// are there already, signed anew or not, are taken for taken; a fallback key puts the older one out.
    ///
    /// # Errors
    /// [`Error::KeyExists`] for another one-time key under an id that is there; [`Error::BadJson`], [`Error::Invalid`] for
    /// keys of somebody else or none at all, [`Error::TooLarge`], [`Error::Account`] when the device is there no more,
    /// [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload>
    pub async fn upload_keys(
        &self,
        user: &UserId,
        device: &DeviceId,
        upload: KeyUpload,
    ) -> Result<KeyCounts, Error> {
        if upload.one_time_keys.len() > MOST_AT_ONCE || upload.fallback_keys.len() > MOST_ALGORITHMS {
            return Err(Error::TooLarge("there are too many keys in one request"));
        }
        let identity = upload.device_keys.map(|keys| checked(user, device, keys)).transpose()?;
        let one_time = named(upload.one_time_keys)?;
        let fallback = named(upload.fallback_keys)?;
        if identity.is_none() && one_time.is_empty() && fallback.is_empty() {
            return Ok(KeyCounts::clone(&*self.key_counts(user, device).await?));
        }
        let mut attempts = Attempts::default();
        loop {
            let head = self.inner.store.head();
            let mut batch = Batch::new();
            self.inner.accounts.require_device(&mut batch, user, device).await?;
            let is_listed = match &identity {
                Some(keys) => self.put_identity(&mut batch, user, device, keys).await?,
                None => false,
            };
            let is_counted = self.put_one_time(&mut batch, user, device, &one_time).await?
                | self.put_fallback(&mut batch, user, device, &fallback).await?;
            if is_counted {
                batch.touch([topic_of_keys(user, device)]);
            }
            if is_listed || is_counted {
                match self.inner.store.commit(batch).await.map_err(Error::from) {
                    Err(Error::Contended) => {
                        self.again(&mut attempts).await?;
                        continue;
                    }
                    done => done?,
                };
            }
            if is_listed {
                let changed = Changed { devices: vec![device.to_owned()], cross_signing: false };
                self.inner.lists.tell_again(user, head, changed).await?;
            }
            return Ok(KeyCounts::clone(&*self.key_counts(user, device).await?));
        }
    }

    /// Adds identity keys, if they are others than before.
    async fn put_identity(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        keys: &Bytes,
    ) -> Result<bool, Error> {
        let key = (user.as_str(), device.as_str());
        let old = self.inner.store.get(&DEVICE_KEYS, &key).await?;
        if old.as_ref() == Some(keys) {
            return Ok(false);
        }
        // A device of this name would be taken for a cross-signing key in everything that is signed.
        for row in self
            .inner
            .store
            .scan(&CROSS_SIGNING, store::Range::prefix(user.as_str()), store::Order::Ascending, 8)
            .await?
        {
            if signed::public_part(&signed::read(&row.1)?) == Some(device.as_str()) {
                return Err(Error::Invalid("the device has the id of a cross-signing key".to_owned()));
            }
        }
        batch.require(&DEVICE_KEYS, &key, old.as_ref());
        batch.put(&DEVICE_KEYS, &key, keys);
        let changed = Changed { devices: vec![device.to_owned()], cross_signing: false };
        self.inner.lists.put_change(batch, user, changed).await?;
        Ok(true)
    }

    /// Adds one-time keys that are not there yet, in the order of their ids behind all that were uploaded before.
    async fn put_one_time(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        keys: &[Named],
    ) -> Result<bool, Error> {
        if keys.is_empty() {
            return Ok(false);
        }
        let store = &self.inner.store;
        let (user, device) = (user.as_str(), device.as_str());
        let rows: Vec<(&str, &str, &str)> = keys.iter().map(|key| (user, device, key.id.as_str())).collect();
        let known = store.get_many(&ONE_TIME_KEYS, &rows).await?;
        let first = store.get(&UPLOADS, &(user, device)).await?;
        let mut next = first.unwrap_or(0);
        let mut added: BTreeMap<&str, i64> = BTreeMap::new();
        for (key, known) in keys.iter().zip(known) {
            if let Some(known) = known {
                if is_same_key(&known.json, &key.json) {
                    continue;
                }
                // Clients look for these words.
                return Err(Error::KeyExists(format!("One time key {} already exists", key.id)));
            }
            let row = OneTimeRow { number: next, json: key.json.clone() };
            batch.insert(&ONE_TIME_KEYS, &(user, device, key.id.as_str()), &row);
            let place = (user.to_owned(), device.to_owned(), key.algorithm.clone(), next);
            batch.put(&ONE_TIME_ORDER, &place, &key.id);
            next += 1;
            *added.entry(&key.algorithm).or_default() += 1;
        }
        if added.is_empty() {
            return Ok(false);
        }
        let counts = store.scan(
            &ONE_TIME_COUNTS,
            store::Range::prefix(&(user, device)),
            store::Order::Ascending,
            2 * MOST_ALGORITHMS,
        );
        let counts = counts.await?;
        let total: i64 = counts.iter().map(|(_, count)| count.0).chain(added.values().copied()).sum();
        let others = counts.iter().filter(|((.., algorithm), _)| !added.contains_key(algorithm.as_str()));
        if total > MOST_ONE_TIME || others.count() + added.len() > MOST_ALGORITHMS {
            return Err(Error::TooLarge("the device has too many one-time keys"));
        }
        for (algorithm, count) in added {
            batch.add(&ONE_TIME_COUNTS, &(user, device, algorithm), count);
        }
        batch.require(&UPLOADS, &(user, device), first.as_ref());
        batch.put(&UPLOADS, &(user, device), &next);
        Ok(true)
    }

    /// Adds fallback keys that are not there yet.
    async fn put_fallback(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        keys: &[Named],
    ) -> Result<bool, Error> {
        if keys.is_empty() {
            return Ok(false);
        }
        let (user, device) = (user.as_str(), device.as_str());
        let known = self
            .inner
            .store
            .scan(
                &FALLBACK_KEYS,
                store::Range::prefix(&(user, device)),
                store::Order::Ascending,
                2 * MOST_ALGORITHMS,
            )
            .await?;
        let known: BTreeMap<String, FallbackRow> =
            known.into_iter().map(|((.., algorithm), row)| (algorithm, row)).collect();
        let mut by_algorithm: BTreeMap<&str, &Named> = BTreeMap::new();
        for key in keys {
            if by_algorithm.insert(&key.algorithm, key).is_some() {
                return Err(Error::Invalid("there is one fallback key for each algorithm".to_owned()));
            }
        }
        let mut is_new = false;
        let others = known.keys().filter(|algorithm| !by_algorithm.contains_key(algorithm.as_str())).count();
        if others + by_algorithm.len() > MOST_ALGORITHMS {
            return Err(Error::TooLarge("the device has keys for too many algorithms"));
        }
        for (algorithm, key) in by_algorithm {
            let old = known.get(algorithm);
            if old.is_some_and(|old| old.key_id == key.id && is_same_key(&old.json, &key.json)) {
                continue;
            }
            let row = FallbackRow { key_id: key.id.clone(), json: key.json.clone(), used: false };
            batch.require(&FALLBACK_KEYS, &(user, device, algorithm), old);
            batch.put(&FALLBACK_KEYS, &(user, device, algorithm), &row);
            is_new = true;
        }
        Ok(is_new)
    }
}

/// Identity keys of a device, as they are stored.
fn checked(user: &UserId, device: &DeviceId, keys: Value) -> Result<Bytes, Error> {
    let keys: CanonicalJsonObject = signed::object(keys)?;
    if signed::text(&keys, "user_id") != Some(user.as_str()) {
        return Err(Error::Invalid("`device_keys` are of another user".to_owned()));
    }
    if signed::text(&keys, "device_id") != Some(device.as_str()) {
        return Err(Error::Invalid("`device_keys` are of another device".to_owned()));
    }
    let bad = |field: &str| Error::BadJson(format!("`device_keys` lack `{field}`, or it has another form"));
    if !keys
        .get("algorithms")
        .is_some_and(|it| it.as_array().is_some_and(|it| it.iter().all(|it| it.as_str().is_some())))
    {
        return Err(bad("algorithms"));
    }
    let texts = |value: &ruma::CanonicalJsonValue| {
        value.as_object().is_some_and(|it| it.values().all(|value| value.as_str().is_some()))
    };
    if !keys.get("keys").is_some_and(texts) {
        return Err(bad("keys"));
    }
    let signatures = keys.get("signatures").and_then(|it| it.as_object()).ok_or_else(|| bad("signatures"))?;
    if !signatures.values().all(texts) {
        return Err(bad("signatures"));
    }
    Ok(Bytes::from(signed::written(&keys)))
}

/// The Ed25519 key of a device, in base64.
pub(crate) fn ed25519_of<'a>(keys: &'a CanonicalJsonObject, device: &str) -> Option<&'a str> {
    let key = keys.get("keys")?.as_object()?.get(&format!("ed25519:{device}"))?.as_str()?;
    VerifyKey::decode(key).is_ok().then_some(key)
}

/// Keys with their ids taken apart, in the order of these.
fn named(keys: Map<String, Value>) -> Result<Vec<Named>, Error> {
    let mut all = Vec::with_capacity(keys.len());
    for (id, value) in keys {
        let algorithm = match id.split_once(':') {
            Some((algorithm, rest)) if !algorithm.is_empty() && !rest.is_empty() && id.len() <= 255 => {
                algorithm.to_owned()
            }
            _ => {
                return Err(Error::Invalid(
                    "the id of a key is `algorithm:id`, of at most 255 bytes".to_owned(),
                ));
            }
        };
        if !(value.is_string() || value.is_object()) {
            return Err(Error::BadJson(format!("the key {} is neither a string nor an object", short(&id))));
        }
        let json = value.to_string();
        if json.len() > LARGEST_KEY {
            return Err(Error::TooLarge("a one-time key has at most 4 KiB"));
        }
        all.push(Named { algorithm, id, json });
    }
    all.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(all)
}

fn short(id: &str) -> String {
    id.chars().take(40).collect()
}

/// Whether two keys are the same, whoever signed them and how often.
fn is_same_key(one: &str, other: &str) -> bool {
    let key = |json: &str| match serde_json::from_str::<Value>(json) {
        Ok(Value::Object(mut key)) => {
            key.remove("signatures");
            Some(Value::Object(key))
        }
        other => other.ok(),
    };
    one == other || key(one) == key(other)
}
