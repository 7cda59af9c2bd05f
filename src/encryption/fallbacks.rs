//! Fallback keys of devices of other servers, for when these cannot be asked.
//!
//! A device whose one-time keys have run out is claimed by its fallback key, which is the same for all who ask until the device
//! is there again and makes another one. So what its server gave stays as good as what it would give, for as long as both are
//! away; and a message that is sent meanwhile can be read by whom it is for. One-time keys are never kept: they are given once.
//!
//! What is kept is used only where the server does not answer, not longer than [`AGE`], and only for a device that is still
//! among the kept ones of its user (`others`), with the very identity key that signed the fallback key: whatever its server
//! tells of the user's devices takes these away first.

use std::{collections::BTreeMap, time::Duration};

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use serde_json::value::RawValue;
use store::{Batch, CommitError};
use tracing::debug;

use crate::{
    Claimed, Claims, Encryption, Error,
    others::Known,
    query::Left,
    signed,
    tables::{FALLBACKS, FallbacksRow},
};

/// So long a fallback key is taken for the one that the device has. A device replaces it once it hears that it was used, and
/// keeps the private part of the one before for a while.
const AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Devices of one user of which fallback keys are kept, and the largest key, in bytes.
const MOST_DEVICES: usize = 20;
const LARGEST: usize = 4 << 10;

/// Users whose keys are kept after one claim.
const MOST_USERS: usize = 200;

/// Keys of a user's devices, each under its id.
type OfUser = BTreeMap<OwnedDeviceId, BTreeMap<String, Box<RawValue>>>;

impl Encryption {
    /// Keeps those keys that other servers gave and that are fallback keys.
    pub(crate) async fn keep_fallbacks(&self, given: &Claimed) {
        let mut batch = Batch::new();
        let fallbacks = given.iter().filter_map(|(user, devices)| {
            let of_user: OfUser = devices
                .iter()
                .filter(|(_, keys)| keys.values().all(|key| is_fallback(key)))
                .take(MOST_DEVICES)
                .map(|(device, keys)| (device.clone(), keys.clone()))
                .collect();
            (!of_user.is_empty()).then_some((user, of_user))
        });
        for (user, new) in fallbacks.take(MOST_USERS) {
            match self.with_kept(user, new).await {
                Ok(Some(row)) => batch.put(&FALLBACKS, user.as_str(), &row),
                Ok(None) => {}
                Err(error) => debug!(%error, "kept fallback keys cannot be read"),
            }
        }
        if batch.is_empty() {
            return;
        }
        match self.inner.store.commit(batch).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => {}
            Err(error) => debug!(%error, "fallback keys of other servers' users are not kept"),
        }
    }

    /// The row of a user with further keys; none if it has them already and is young.
    async fn with_kept(&self, user: &UserId, new: OfUser) -> Result<Option<FallbacksRow>, Error> {
        let now = self.inner.clock.now().millis();
        let old = self.inner.store.get(&FALLBACKS, user.as_str()).await?;
        // Each write says of all keys when they were told: those of an older one are not made young by it.
        let young = old.filter(|row| now.abs_diff(row.told_ms) < ms(AGE) / 7);
        let mut keys: OfUser =
            young.as_ref().and_then(|row| serde_json::from_str(&row.keys).ok()).unwrap_or_default();
        let is_known = |(device, new): (&OwnedDeviceId, &BTreeMap<String, Box<RawValue>>)| {
            keys.get(device).is_some_and(|known| known.keys().eq(new.keys()))
        };
        if young.is_some() && new.iter().all(is_known) {
            return Ok(None);
        }
        keys.extend(new);
        while keys.len() > MOST_DEVICES {
            keys.pop_first();
        }
        let told_ms = young.map_or(now, |row| row.told_ms);
        Ok(Some(FallbacksRow { told_ms, keys: serde_json::to_string(&keys).unwrap_or_default() }))
    }

    /// Of these devices of users of a server that does not answer those whose fallback keys are kept.
    pub(crate) async fn kept_fallbacks(&self, wanted: &Claims) -> Result<Claimed, Error> {
        let users: Vec<OwnedUserId> = wanted.keys().cloned().collect();
        let names: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let rows = self.inner.store.get_many(&FALLBACKS, &names).await?;
        let now = self.inner.clock.now().millis();
        let young: BTreeMap<&OwnedUserId, FallbacksRow> = users
            .iter()
            .zip(rows)
            .filter_map(|(user, row)| Some((user, row?)))
            .filter(|(_, row)| now.abs_diff(row.told_ms) < ms(AGE))
            .collect();
        let users: Vec<OwnedUserId> = young.keys().map(|user| (*user).clone()).collect();
        let Known { fresh, old } = self.kept(&users, &Left::default()).await?;
        let mut claimed = Claimed::new();
        for (user, row) in young {
            let Some(known) = fresh.get(user).or_else(|| old.get(user)) else { continue };
            let mut keys: OfUser = serde_json::from_str(&row.keys).unwrap_or_default();
            for (device, algorithm) in wanted.get(user).into_iter().flatten() {
                let Some(identity) = known.devices.get(device) else { continue };
                let is_asked = |id: &str| id.split_once(':').is_some_and(|(of, _)| of == algorithm);
                let key = keys.remove(device).into_iter().flatten().find(|(id, _)| is_asked(id));
                if let Some((id, key)) = key
                    && is_signed_by(user, device, identity, &key)
                {
                    let of_user = claimed.entry(user.clone()).or_default();
                    of_user.insert(device.clone(), BTreeMap::from([(id, key)]));
                }
            }
        }
        Ok(claimed)
    }
}

fn is_fallback(key: &RawValue) -> bool {
    let is_marked = |key: &serde_json::Value| key.get("fallback") == Some(&serde_json::Value::Bool(true));
    key.get().len() <= LARGEST && serde_json::from_str(key.get()).is_ok_and(|key| is_marked(&key))
}

/// Whether a device with these identity keys has signed the key.
fn is_signed_by(user: &UserId, device: &OwnedDeviceId, identity: &RawValue, key: &RawValue) -> bool {
    let (Ok(identity), Ok(key)) =
        (signed::read(identity.get().as_bytes()), signed::read(key.get().as_bytes()))
    else {
        return false;
    };
    let signature = signed::signature(&key, user, &format!("ed25519:{device}"));
    match (signed::ed25519_of(&identity, device.as_str()), signature) {
        (Some(public), Some(signature)) => signed::is_signed(&key, public, signature),
        _ => false,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
