//! Signatures that users make of their devices, and of others' master keys.

use std::{collections::BTreeMap, time::Duration};

use base::Attempts;
use ruma::{CanonicalJsonObject, OwnedDeviceId, OwnedUserId, UserId};
use serde_json::{Map, Value};
use store::{Batch, Topic};

use crate::{
    Encryption, Error, UserKeys,
    changes::Changed,
    query::Wanted,
    signed,
    tables::{DEVICE_KEYS, SIGNATURES, SIGNED},
};

/// Signed objects in one request.
const MOST: usize = 1_000;

/// How long other servers are waited for.
const WAIT: Duration = Duration::from_secs(10);

/// Why a signature was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFailure {
    /// There is no such device or key, or it is another one than was signed.
    NotFound,
    /// The signature is missing or wrong, or by a key that may not sign this.
    Wrong,
}

/// What was uploaded: signed objects by their owners, and by device id or public key.
pub type Signed = BTreeMap<OwnedUserId, Map<String, Value>>;

/// A signature that holds.
struct Good {
    owner: OwnedUserId,
    key: String,
    key_id: String,
    signature: String,
}

impl Encryption {
    /// Takes signatures that a user of ours made: by his self-signing key of his devices, by his devices of his master key,
    /// by his user-signing key of others' master keys. A newer one takes the place of an older one by the same key. Says which
    /// were not taken; the others are.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than 1,000 objects; [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload>
    pub async fn upload_signatures(
        &self,
        user: &UserId,
        uploaded: &Signed,
    ) -> Result<BTreeMap<OwnedUserId, BTreeMap<String, SignatureFailure>>, Error> {
        if uploaded.values().map(Map::len).sum::<usize>() > MOST {
            return Err(Error::TooLarge("there are too many signatures in one request"));
        }
        let mut wanted: Wanted = uploaded.keys().map(|owner| (owner.clone(), Vec::new())).collect();
        wanted.entry(user.to_owned()).or_default();
        let known = self.keys_for_signing(user, &wanted).await?;
        let own = known.get(user).cloned().unwrap_or_default();
        let mut failures: BTreeMap<OwnedUserId, BTreeMap<String, SignatureFailure>> = BTreeMap::new();
        let mut good = Vec::new();
        for (owner, objects) in uploaded {
            let of_owner = known.get(owner).cloned().unwrap_or_default();
            for (key, object) in objects {
                let found = match signed::object(object.clone()) {
                    Ok(object) if owner == user => own_signature(user, &own, key, &object),
                    Ok(object) => others_signature(user, &own, &of_owner, key, &object),
                    Err(_) => Err(SignatureFailure::Wrong),
                };
                match found {
                    Ok(found) => good.extend(found.into_iter().map(|(key_id, signature)| Good {
                        owner: owner.clone(),
                        key: key.clone(),
                        key_id,
                        signature,
                    })),
                    Err(failure) => {
                        failures.entry(owner.clone()).or_default().insert(key.clone(), failure);
                    }
                }
            }
        }
        if !good.is_empty() {
            self.put_signatures(user, &own, &good).await?;
        }
        Ok(failures)
    }

    /// The keys that signatures are held against.
    async fn keys_for_signing(
        &self,
        user: &UserId,
        wanted: &Wanted,
    ) -> Result<BTreeMap<OwnedUserId, UserKeys>, Error> {
        // A key that was not looked up yet is looked up now.
        Ok(self.query_keys(user, wanted.clone(), WAIT).await?.users)
    }

    async fn put_signatures(&self, user: &UserId, own: &UserKeys, good: &[Good]) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let head = self.inner.store.head();
            let mut batch = Batch::new();
            // Signatures go with the keys that made them: none comes behind those.
            self.require_signing_keys(&mut batch, user, own).await?;
            self.require_devices(&mut batch, user, own, good).await?;
            let mut changed = Changed::default();
            let mut others = Vec::new();
            for it in good {
                let Good { owner, key, key_id, signature } = it;
                let row = (user.to_string(), owner.to_string(), key.clone(), key_id.clone());
                batch.put(&SIGNATURES, &row, signature);
                match own.devices.contains_key(&OwnedDeviceId::from(key.as_str())) {
                    _ if owner != user => others.push(owner),
                    true => changed.devices.push(key.as_str().into()),
                    false => changed.cross_signing = true,
                }
            }
            let is_own = changed.cross_signing || !changed.devices.is_empty();
            if is_own {
                self.inner.lists.put_change(&mut batch, user, changed.clone()).await?;
            }
            if !others.is_empty() {
                let slot = batch.mark([Topic::devices(user.as_str())]);
                for owner in others {
                    batch.put_stamped(&SIGNED, &(user.as_str(), owner.as_str()), slot, &());
                }
            }
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => {
                    done?;
                    return match is_own {
                        true => self.inner.lists.tell_again(user, head, changed).await,
                        false => Ok(()),
                    };
                }
            }
        }
    }
}

impl Encryption {
    /// Demands in a batch that the user's own devices that were signed have the same keys still.
    async fn require_devices(
        &self,
        batch: &mut Batch,
        user: &UserId,
        own: &UserKeys,
        good: &[Good],
    ) -> Result<(), Error> {
        let names =
            good.iter().filter(|good| good.owner == user).map(|good| OwnedDeviceId::from(good.key.as_str()));
        let signed: Vec<_> = names.filter_map(|name| own.devices.get_key_value(&name)).collect();
        let keys: Vec<(&str, &str)> =
            signed.iter().map(|(device, _)| (user.as_str(), device.as_str())).collect();
        let rows = self.inner.store.get_many(&DEVICE_KEYS, &keys).await?;
        for ((key, (_, known)), row) in keys.iter().zip(&signed).zip(rows) {
            let now = row.as_ref().map(|row| signed::read(row)).transpose()?;
            let known = signed::read(known.get().as_bytes())?;
            if now.is_none_or(|now| signed::message(&now) != signed::message(&known)) {
                return Err(Error::Contended);
            }
            batch.require(&DEVICE_KEYS, key, row.as_ref());
        }
        Ok(())
    }
}

/// The signatures of a user's own device or master key.
fn own_signature(
    user: &UserId,
    own: &UserKeys,
    key: &str,
    object: &CanonicalJsonObject,
) -> Result<Vec<(String, String)>, SignatureFailure> {
    let master = own.master.as_ref().filter(|master| signed::public_part(master) == Some(key));
    if let Some(master) = master {
        if signed::message(master) != signed::message(object) {
            return Err(SignatureFailure::NotFound);
        }
        let by_devices: Vec<(String, String)> = own
            .devices
            .iter()
            .filter_map(|(device, keys)| {
                let key_id = format!("ed25519:{device}");
                let signature = signed::signature(object, user, &key_id)?;
                let keys = signed::read(keys.get().as_bytes()).ok()?;
                let is_right =
                    signed::is_signed(object, signed::ed25519_of(&keys, device.as_str())?, signature);
                is_right.then(|| (key_id, signature.to_owned()))
            })
            .collect();
        return if by_devices.is_empty() { Err(SignatureFailure::Wrong) } else { Ok(by_devices) };
    }
    let keys = own.devices.get(&OwnedDeviceId::from(key)).ok_or(SignatureFailure::NotFound)?;
    let keys = signed::read(keys.get().as_bytes()).map_err(|_| SignatureFailure::NotFound)?;
    if signed::message(&keys) != signed::message(object) {
        return Err(SignatureFailure::NotFound);
    }
    by_key(user, own.self_signing.as_ref(), object)
}

/// The signature of another's master key.
fn others_signature(
    user: &UserId,
    own: &UserKeys,
    of_owner: &UserKeys,
    key: &str,
    object: &CanonicalJsonObject,
) -> Result<Vec<(String, String)>, SignatureFailure> {
    let master = of_owner.master.as_ref().filter(|master| signed::public_part(master) == Some(key));
    let master = master.ok_or(SignatureFailure::NotFound)?;
    if signed::message(master) != signed::message(object) {
        return Err(SignatureFailure::NotFound);
    }
    by_key(user, own.user_signing.as_ref(), object)
}

/// The signature by a cross-signing key of the user.
fn by_key(
    user: &UserId,
    key: Option<&CanonicalJsonObject>,
    object: &CanonicalJsonObject,
) -> Result<Vec<(String, String)>, SignatureFailure> {
    let public = key.and_then(signed::public_part).ok_or(SignatureFailure::Wrong)?;
    let key_id = format!("ed25519:{public}");
    match signed::signature(object, user, &key_id) {
        Some(signature) if signed::is_signed(object, public, signature) => {
            Ok(vec![(key_id, signature.to_owned())])
        }
        _ => Err(SignatureFailure::Wrong),
    }
}
