//! One-time keys: how many there are, and giving them out.
//!
//! A key is given out once. Its batch demands that it is still there, so that of several processes one has it; within a
//! process claims of one device's keys stand in a row for as long as it takes to choose a key and submit its batch, not until
//! that is on disk: many of them share one write.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use base::{Attempts, ByteSize, Cache, Metrics};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Batch, Order, Range, Topic, UpTo};

use crate::{
    Encryption, Error,
    tables::{CLAIMED, FALLBACK_KEYS, FallbackRow, ONE_TIME_COUNTS, ONE_TIME_KEYS, ONE_TIME_ORDER},
};

/// Devices of which keys are claimed in one request.
pub(crate) const MOST_CLAIMS: usize = 5_000;

/// So many of them at a time.
const CLAIMS_AT_ONCE: usize = 32;

/// What is wanted: an algorithm for each device.
pub type Claims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, String>>;

/// What was given: the key of each device, under its id.
pub type Claimed = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, BTreeMap<String, Box<RawValue>>>>;

/// How many keys a device has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Unclaimed one-time keys, by algorithm. The algorithm that all clients use is always there.
    pub one_time: BTreeMap<String, u64>,
    /// Algorithms of fallback keys that nobody was given yet.
    pub unused_fallback: Vec<String>,
}

/// Counts of keys that were read lately.
pub(crate) struct Counted {
    devices: Cache<(OwnedUserId, OwnedDeviceId), Arc<Entry>>,
    /// Of a device that has none: all share it.
    none: Arc<KeyCounts>,
}

struct Entry {
    up_to: UpTo,
    counts: Arc<KeyCounts>,
    /// Not those that all share who have none.
    is_own: bool,
}

impl KeyCounts {
    /// Of a device that has uploaded nothing. Clients of which nothing is said upload nothing.
    fn none() -> Self {
        let one_time = BTreeMap::from([("signed_curve25519".to_owned(), 0)]);
        Self { one_time, unused_fallback: Vec::new() }
    }
}

impl Counted {
    pub(crate) fn new(memory: ByteSize, metrics: &Metrics) -> Self {
        let owned = |(user, device): &(OwnedUserId, OwnedDeviceId), entry: &Arc<Entry>| {
            let own = user.as_str().len() + device.as_str().len() + size_of::<Entry>() + 16;
            if !entry.is_own {
                return own;
            }
            let names = entry.counts.one_time.keys().chain(&entry.counts.unused_fallback);
            let names: usize = names.map(|name| name.len() + size_of::<String>() + 16).sum();
            own + size_of::<KeyCounts>() + 256 + names
        };
        // Each answer to each of those who wait asks for theirs.
        let devices = Cache::new(metrics.caches(), "encryption_key_counts", memory.as_u64(), owned);
        Self { devices: devices.borrowing(), none: Arc::new(KeyCounts::none()) }
    }
}

/// Keys whose batches are on their way to the disk.
pub(crate) struct Pending {
    rows: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
    taken: Mutex<HashMap<Place, BTreeSet<u64>>>,
}

/// A user, a device and an algorithm.
type Place = (String, String, String);

impl Default for Pending {
    fn default() -> Self {
        Self {
            rows: (0..64).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: RandomState::new(),
            taken: Mutex::default(),
        }
    }
}

/// A key that was chosen, until what became of it is known.
struct Taken<'a> {
    pending: &'a Pending,
    place: &'a Place,
    number: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = self.pending.taken.lock();
        if let Some(numbers) = taken.get_mut(self.place) {
            numbers.remove(&self.number);
            if numbers.is_empty() {
                taken.remove(self.place);
            }
        }
    }
}

impl Pending {
    /// One at a time may choose among the keys of a place.
    async fn turn(&self, place: &Place) -> tokio::sync::MutexGuard<'_, ()> {
        let hash = usize::try_from(self.hasher.hash_one(place) % 64).unwrap_or(0);
        self.rows[hash].lock().await
    }

    fn last(&self, place: &Place) -> Option<u64> {
        self.taken.lock().get(place).and_then(|numbers| numbers.last().copied())
    }

    fn take<'a>(&'a self, place: &'a Place, number: u64) -> Taken<'a> {
        self.taken.lock().entry(place.clone()).or_default().insert(number);
        Taken { pending: self, place, number }
    }
}

/// What a one-time key is known by, whoever signed it: the key itself is never made twice.
pub(crate) fn known_by(json: &str) -> u64 {
    #[derive(Deserialize)]
    struct Signed<'a> {
        #[serde(borrow)]
        key: Cow<'a, str>,
    }
    let key = serde_json::from_str::<Signed<'_>>(json).map(|signed| signed.key.into_owned());
    let hash = blake3::hash(key.as_deref().unwrap_or(json).as_bytes());
    hash.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// What is touched when keys of a device are uploaded or given out.
pub(crate) fn topic_of_keys(user: &UserId, device: &DeviceId) -> Topic {
    Topic::device_keys(user.as_str(), device.as_str())
}

impl Encryption {
    /// How many keys a device has. Reads the store only after something changed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn key_counts(&self, user: &UserId, device: &DeviceId) -> Result<Arc<KeyCounts>, Error> {
        let name = (user.to_owned(), device.to_owned());
        let store = &self.inner.store;
        if let Some(entry) = self.inner.counted.devices.get(&name)
            && entry.up_to.holds(store, [topic_of_keys(user, device)])
        {
            return Ok(entry.counts.clone());
        }
        let up_to = UpTo::new(store.head());
        let prefix = || Range::prefix(&(user.as_str(), device.as_str()));
        let counts = store.scan(&ONE_TIME_COUNTS, prefix(), Order::Ascending, 64).await?;
        let fallback = store.scan(&FALLBACK_KEYS, prefix(), Order::Ascending, 64).await?;
        let is_own = !counts.is_empty() || !fallback.is_empty();
        let counts = if is_own {
            let KeyCounts { mut one_time, .. } = KeyCounts::none();
            let counts = counts
                .into_iter()
                .map(|((.., algorithm), count)| (algorithm, u64::try_from(count.0).unwrap_or(0)));
            one_time.extend(counts);
            let unused = fallback.into_iter().filter(|(_, row)| !row.used);
            let unused_fallback = unused.map(|((.., algorithm), _)| algorithm).collect();
            Arc::new(KeyCounts { one_time, unused_fallback })
        } else {
            self.inner.counted.none.clone()
        };
        let entry = Entry { up_to, counts: counts.clone(), is_own };
        self.inner.counted.devices.insert(name, Arc::new(entry));
        Ok(counts)
    }

    /// Gives out one key of each named device of users of ours, oldest first; of a device without one-time keys its
    /// fallback key, if it has one. Devices without keys are left out.
    ///
    /// A key is given once: it is gone in the commit that this waits for, so a crash may lose an unused one.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than 5,000 devices; [`Error::Contended`], [`Error::Store`], [`Error::Commit`]: then
    /// some keys may be gone unseen.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim>
    pub async fn claim_own(&self, wanted: Claims) -> Result<Claimed, Error> {
        if wanted.values().map(BTreeMap::len).sum::<usize>() > MOST_CLAIMS {
            return Err(Error::TooLarge("keys of too many devices are claimed at once"));
        }
        let each = wanted.into_iter().flat_map(|(user, devices)| {
            devices.into_iter().map(move |(device, algorithm)| (user.clone(), device, algorithm))
        });
        let given: Vec<_> = stream::iter(each)
            .map(|(user, device, algorithm)| async move {
                let key = self.claim_one(&user, &device, &algorithm).await?;
                Ok::<_, Error>(key.map(|(id, json)| (user, device, id, json)))
            })
            .buffer_unordered(CLAIMS_AT_ONCE)
            .try_collect()
            .await?;
        let mut claimed = Claimed::new();
        for (user, device, id, json) in given.into_iter().flatten() {
            let Ok(json) = RawValue::from_string(json) else { continue };
            claimed.entry(user).or_default().entry(device).or_default().insert(id, json);
        }
        Ok(claimed)
    }

    async fn claim_one(
        &self,
        user: &UserId,
        device: &DeviceId,
        algorithm: &str,
    ) -> Result<Option<(String, String)>, Error> {
        let place = (user.to_string(), device.to_string(), algorithm.to_owned());
        let mut attempts = Attempts::default();
        loop {
            let given = match self.claim_one_time(user, device, &place).await {
                Ok(None) => self.claim_fallback(user, device, algorithm).await,
                given => given,
            };
            match given {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                given => return given,
            }
        }
    }

    /// Takes the oldest key that nobody here is taking.
    async fn claim_one_time(
        &self,
        user: &UserId,
        device: &DeviceId,
        place: &Place,
    ) -> Result<Option<(String, String)>, Error> {
        let (store, pending) = (&self.inner.store, &self.inner.pending);
        store.ready().await;
        let turn = pending.turn(place).await;
        let mut range = Range::prefix(place);
        if let Some(last) = pending.last(place) {
            range = range.after(&(place.0.clone(), place.1.clone(), place.2.clone(), last));
        }
        let found = store.scan(&ONE_TIME_ORDER, range, Order::Ascending, 1).await?;
        let Some((order, id)) = found.into_iter().next() else { return Ok(None) };
        let key = (user.as_str(), device.as_str(), id.as_str());
        // Gone between the two reads, with the device or by another process.
        let row = store.get(&ONE_TIME_KEYS, &key).await?.ok_or(Error::Contended)?;
        let taken = pending.take(place, order.3);
        let mut batch = Batch::new();
        batch.require(&ONE_TIME_KEYS, &key, Some(&row));
        batch.delete(&ONE_TIME_KEYS, &key);
        batch.delete(&ONE_TIME_ORDER, &order);
        batch.put(&CLAIMED, &order, &known_by(&row.json));
        batch.add(&ONE_TIME_COUNTS, &(user.as_str(), device.as_str(), place.2.as_str()), -1);
        batch.touch([topic_of_keys(user, device)]);
        let receipt = store.submit(batch);
        drop(turn);
        let committed = receipt.await;
        drop(taken);
        committed?;
        Ok(Some((id, row.json)))
    }

    async fn claim_fallback(
        &self,
        user: &UserId,
        device: &DeviceId,
        algorithm: &str,
    ) -> Result<Option<(String, String)>, Error> {
        let key = (user.as_str(), device.as_str(), algorithm);
        let Some(row) = self.inner.store.get(&FALLBACK_KEYS, &key).await? else { return Ok(None) };
        if !row.used {
            let mut batch = Batch::new();
            batch.replace(&FALLBACK_KEYS, &key, &row, &FallbackRow { used: true, ..row.clone() });
            batch.touch([topic_of_keys(user, device)]);
            self.inner.store.commit(batch).await?;
        }
        Ok(Some((row.key_id, row.json)))
    }
}
