//! Uploading keys: identity keys of a device, one-time keys, fallback keys.

use std::collections::{BTreeMap, BTreeSet};

use base::Attempts;
use bytes::Bytes;
use ruma::{CanonicalJsonObject, DeviceId, UserId};
use serde_json::{Map, Value};
use store::Batch;

use crate::{
    Encryption, Error, KeyCounts,
    changes::Changed,
    one_time::{known_by, topic_of_keys},
    query::{MOST_DEVICES, MOST_USER_BYTES},
    signed,
    tables::{
        CLAIMED, CROSS_SIGNING, DEVICE_KEYS, FALLBACK_KEYS, FallbackRow, ONE_TIME_COUNTS, ONE_TIME_KEYS,
        ONE_TIME_ORDER, OneTimeRow, SIGNATURES, UPLOADS,
    },
};

/// Unclaimed one-time keys of a device. Clients keep some hundred.
const MOST_ONE_TIME: i64 = 2_000;

/// One-time keys of a device that are known to be given out, beside those that were since its last upload.
const MOST_CLAIMED: usize = 1_000;

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

/// What a device uploads, as far as it can be kept.
pub(crate) struct Checked {
    pub(crate) identity: Option<Bytes>,
    pub(crate) one_time: Vec<Named>,
    pub(crate) fallback: Vec<Named>,
}

/// Looks at what is uploaded for a device.
pub(crate) fn checked_upload(user: &UserId, device: &DeviceId, upload: KeyUpload) -> Result<Checked, Error> {
    if upload.one_time_keys.len() > MOST_AT_ONCE || upload.fallback_keys.len() > MOST_ALGORITHMS {
        return Err(Error::TooLarge("there are too many keys in one request"));
    }
    let identity = upload.device_keys.map(|keys| checked(user, device, keys)).transpose()?;
    Ok(Checked { identity, one_time: named(upload.one_time_keys)?, fallback: named(upload.fallback_keys)? })
}

/// A one-time or fallback key that can be kept.
pub(crate) struct Named {
    algorithm: String,
    id: String,
    json: String,
}

impl Encryption {
    /// Takes keys of a device of a user of ours, all or none of them, and says how many the device has. One-time keys that
    /// are there already, signed anew or not, and those that were given out lately are taken for taken; a fallback key puts
    /// the older one out. With other identity keys all others of the device go.
    ///
    /// # Errors
    /// [`Error::KeyExists`] for another one-time key under an id that is there; [`Error::BadJson`], [`Error::Invalid`] for
    /// keys of somebody else or none at all, [`Error::TooLarge`] also for the keys of one device too many,
    /// [`Error::Account`] when the device is there no more,
    /// [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload>
    pub async fn upload_keys(
        &self,
        user: &UserId,
        device: &DeviceId,
        upload: KeyUpload,
    ) -> Result<KeyCounts, Error> {
        let Checked { identity, one_time, fallback } = checked_upload(user, device, upload)?;
        if identity.is_none() && one_time.is_empty() && fallback.is_empty() {
            return Ok(KeyCounts::clone(&*self.key_counts(user, device).await?));
        }
        let mut attempts = Attempts::default();
        loop {
            let head = self.inner.store.head();
            let mut batch = Batch::new();
            self.inner.accounts.require_device(&mut batch, user, device).await?;
            let identity = match &identity {
                Some(keys) => self.put_identity(&mut batch, user, device, keys).await?,
                None => Identity::Same,
            };
            let (is_listed, is_other) = (identity != Identity::Same, identity == Identity::Other);
            if is_other {
                put_end(&mut batch, user, device);
            }
            let is_counted = is_other
                | self.put_one_time(&mut batch, user, device, &one_time, is_other).await?
                | self.put_fallback(&mut batch, user, device, &fallback, is_other).await?;
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
    pub(crate) async fn put_identity(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        keys: &Bytes,
    ) -> Result<Identity, Error> {
        let key = (user.as_str(), device.as_str());
        let old = self.inner.store.get(&DEVICE_KEYS, &key).await?;
        if old.as_ref() == Some(keys) {
            return Ok(Identity::Same);
        }
        self.check_room(user, device, keys.len()).await?;
        let mut identity = Identity::New;
        if let Some(old) = &old {
            let (old, new) = (signed::read(old)?, signed::read(keys)?);
            if old.get("keys") != new.get("keys") {
                identity = Identity::Other;
            }
            if signed::message(&old) != signed::message(&new) {
                // They were made of what is no more.
                let signatures = (user.to_string(), user.to_string(), device.to_string());
                batch.delete_prefix(&SIGNATURES, &signatures);
            }
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
        Ok(identity)
    }

    /// Refuses keys of more devices of a user than anybody is told of.
    async fn check_room(&self, user: &UserId, device: &DeviceId, bytes: usize) -> Result<(), Error> {
        let range = store::Range::prefix(user.as_str());
        let rows =
            self.inner.store.scan(&DEVICE_KEYS, range, store::Order::Ascending, MOST_DEVICES + 1).await?;
        let others = || rows.iter().filter(|((_, other), _)| other != device.as_str());
        let all = others().map(|(_, keys)| keys.len()).sum::<usize>() + bytes;
        if others().count() >= MOST_DEVICES || all > MOST_USER_BYTES {
            return Err(Error::TooLarge(
                "the account has too many devices with keys: sign out of some of them",
            ));
        }
        Ok(())
    }

    /// Adds one-time keys that are not there yet and were not given out lately, in the order of their ids behind all that
    /// were uploaded before; those before are gone with the batch if it takes them away.
    pub(crate) async fn put_one_time(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        keys: &[Named],
        are_gone: bool,
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
        // After those that are there: what is given out meanwhile is found in one of the two.
        let claimed = match known.iter().all(Option::is_some) {
            true => Vec::new(),
            false => self.claimed(user, device).await?,
        };
        let were_claimed: BTreeSet<u64> = claimed.iter().map(|(_, known_by)| *known_by).collect();
        for (key, known) in keys.iter().zip(known) {
            if let Some(known) = known.as_ref().filter(|_| !are_gone) {
                if is_same_key(&known.json, &key.json) {
                    continue;
                }
                // Clients look for these words.
                return Err(Error::KeyExists(format!("One time key {} already exists", key.id)));
            }
            if were_claimed.contains(&known_by(&key.json)) {
                continue;
            }
            let row = OneTimeRow { number: next, json: key.json.clone() };
            batch.require(&ONE_TIME_KEYS, &(user, device, key.id.as_str()), known.as_ref());
            batch.put(&ONE_TIME_KEYS, &(user, device, key.id.as_str()), &row);
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
        let counts = if are_gone { Vec::new() } else { counts.await? };
        let total: i64 = counts.iter().map(|(_, count)| count.0).chain(added.values().copied()).sum();
        let others = counts.iter().filter(|((.., algorithm), _)| !added.contains_key(algorithm.as_str()));
        if total > MOST_ONE_TIME || others.count() + added.len() > MOST_ALGORITHMS {
            return Err(Error::TooLarge("the device has too many one-time keys"));
        }
        for (algorithm, count) in added {
            batch.add(&ONE_TIME_COUNTS, &(user, device, algorithm), count);
        }
        for (key, _) in claimed.iter().rev().skip(MOST_CLAIMED) {
            batch.delete(&CLAIMED, key);
        }
        batch.require(&UPLOADS, &(user, device), first.as_ref());
        batch.put(&UPLOADS, &(user, device), &next);
        Ok(true)
    }

    /// The keys of a device that were given out lately, in the order in which they were uploaded.
    async fn claimed(&self, user: &str, device: &str) -> Result<Vec<ClaimedRow>, Error> {
        let range = store::Range::prefix(&(user, device));
        // Each was uploaded, and each upload leaves no more than is remembered and what may be unclaimed.
        let mut rows = self.inner.store.scan(&CLAIMED, range, store::Order::Ascending, usize::MAX).await?;
        rows.sort_unstable_by_key(|((.., number), _)| *number);
        Ok(rows)
    }

    /// Adds fallback keys that are not there yet; those before are gone with the batch if it takes them away.
    pub(crate) async fn put_fallback(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        keys: &[Named],
        are_gone: bool,
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
        if by_algorithm.len() + if are_gone { 0 } else { others } > MOST_ALGORITHMS {
            return Err(Error::TooLarge("the device has keys for too many algorithms"));
        }
        for (algorithm, key) in by_algorithm {
            let old = known.get(algorithm);
            let is_same = |old: &FallbackRow| old.key_id == key.id && is_same_key(&old.json, &key.json);
            if !are_gone && old.is_some_and(is_same) {
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

/// What identity keys are to those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The same: nothing happens.
    Same,
    /// The first ones, or the same keys with something else around them.
    New,
    /// Others. Nobody can use one-time keys that those before have signed.
    Other,
}

/// A row of [`CLAIMED`].
type ClaimedRow = ((String, String, String, u64), u64);

/// Takes the one-time and fallback keys of a device away.
fn put_end(batch: &mut Batch, user: &UserId, device: &DeviceId) {
    let key = (user.as_str(), device.as_str());
    batch.delete_prefix(&ONE_TIME_KEYS, &key);
    batch.delete_prefix(&ONE_TIME_ORDER, &key);
    batch.delete_prefix(&ONE_TIME_COUNTS, &key);
    batch.delete_prefix(&FALLBACK_KEYS, &key);
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
    if signed::has_weak_key(&keys, device.as_str()) {
        return Err(Error::Invalid("the Ed25519 key of the device is none that can be used".to_owned()));
    }
    let signatures = keys.get("signatures").and_then(|it| it.as_object()).ok_or_else(|| bad("signatures"))?;
    if !signatures.values().all(texts) {
        return Err(bad("signatures"));
    }
    Ok(Bytes::from(signed::written(&keys)))
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
