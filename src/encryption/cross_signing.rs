//! Cross-signing keys: by which a user vouches for his devices, and for others.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#cross-signing>

use account::{Asked, Confirmed};
use base::Attempts;
use bytes::Bytes;
use ruma::{CanonicalJsonObject, CanonicalJsonValue, DeviceId, UserId};
use serde_json::{Map, Value};
use store::{Batch, Order, Range};

use crate::{
    Encryption, Error,
    changes::Changed,
    signed,
    tables::{CROSS_SIGNING, SIGNATURES},
};

/// What keys are for, and what requests call them.
const USAGES: [(&str, &str); 3] =
    [("master", "master_key"), ("self_signing", "self_signing_key"), ("user_signing", "user_signing_key")];

/// A user's keys: for each usage, in the order of [`USAGES`].
type Keys<T> = [Option<T>; 3];

impl Encryption {
    /// Takes cross-signing keys of a user of ours. Whoever has none may upload them at once; to change those that are there
    /// takes the password.
    ///
    /// # Errors
    /// [`Error::Account`] with the interaction that is needed; [`Error::BadSignature`] for a key that the master key did not
    /// sign, [`Error::Invalid`], [`Error::BadJson`], [`Error::Missing`] without a master key, [`Error::Contended`],
    /// [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload>
    pub async fn upload_signing_keys(
        &self,
        user: &UserId,
        device: &DeviceId,
        asked: Asked,
    ) -> Result<(), Error> {
        let old = self.signing_keys(user).await?;
        let new = self.checked(user, &asked.request, &old).await?;
        let is_known = |(new, old): (&Option<CanonicalJsonObject>, &Option<Bytes>)| match (new, old) {
            (Some(new), Some(old)) => signed::written(new) == **old,
            (new, _) => new.is_none(),
        };
        let is_asked = new.iter().any(Option::is_some);
        if is_asked && new.iter().zip(&old).all(is_known) {
            return Ok(());
        }
        if is_asked && old[0].is_none() {
            return self.put_signing_keys(user, device, &new, &old, None).await;
        }
        let known: Vec<&str> = USAGES.iter().map(|(_, name)| *name).collect();
        let confirmed =
            self.inner.accounts.confirm(user, device, account::CROSS_SIGNING, &known, asked).await?;
        let new = self.checked(user, confirmed.request(), &old).await?;
        if new.iter().all(Option::is_none) {
            return Err(Error::Missing("there is no key in the request"));
        }
        self.put_signing_keys(user, device, &new, &old, Some(&confirmed)).await
    }

    /// The same for an application service, whose registration is its proof: nothing is asked for where keys are changed.
    ///
    /// # Errors
    /// As [`Encryption::upload_signing_keys`], without the interaction.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#device-management>
    pub async fn upload_signing_keys_for_service(
        &self,
        user: &UserId,
        device: &DeviceId,
        request: &Map<String, Value>,
    ) -> Result<(), Error> {
        let old = self.signing_keys(user).await?;
        let new = self.checked(user, request, &old).await?;
        if new.iter().all(Option::is_none) {
            return Err(Error::Missing("there is no key in the request"));
        }
        self.put_signing_keys(user, device, &new, &old, None).await
    }

    async fn signing_keys(&self, user: &UserId) -> Result<Keys<Bytes>, Error> {
        let keys = USAGES.map(|(usage, _)| (user.as_str(), usage));
        let rows = self.inner.store.get_many(&CROSS_SIGNING, &keys).await?;
        let mut rows = rows.into_iter();
        Ok([rows.next().flatten(), rows.next().flatten(), rows.next().flatten()])
    }

    /// The keys of a request, each signed by the master key: a new one if there is one.
    async fn checked(
        &self,
        user: &UserId,
        request: &Map<String, Value>,
        old: &Keys<Bytes>,
    ) -> Result<Keys<CanonicalJsonObject>, Error> {
        let mut new: Keys<CanonicalJsonObject> = [None, None, None];
        for (place, (usage, name)) in USAGES.into_iter().enumerate() {
            let Some(value) = request.get(name).filter(|value| !value.is_null()) else { continue };
            new[place] = Some(key_of(user, usage, value)?);
        }
        let publics: Vec<&str> = new.iter().flatten().filter_map(signed::public_part).collect();
        let devices: Vec<(&str, &str)> = publics.iter().map(|key| (user.as_str(), *key)).collect();
        if self.inner.accounts.have_devices(&devices).await?.contains(&true) {
            return Err(Error::Invalid("a cross-signing key has the id of a device".to_owned()));
        }
        if new[1].is_none() && new[2].is_none() {
            return Ok(new);
        }
        let master = match (&new[0], &old[0]) {
            (Some(master), _) => master.clone(),
            (None, Some(master)) => signed::read(master)?,
            (None, None) => return Err(Error::Missing("there is no master key")),
        };
        let public = signed::public_part(&master).unwrap_or_default();
        for key in new[1..].iter().flatten() {
            let signature = signed::signature(key, user, &format!("ed25519:{public}"));
            if !signature.is_some_and(|signature| signed::is_signed(key, public, signature)) {
                return Err(Error::BadSignature("a key is not signed by the master key".to_owned()));
            }
        }
        Ok(new)
    }

    async fn put_signing_keys(
        &self,
        user: &UserId,
        device: &DeviceId,
        new: &Keys<CanonicalJsonObject>,
        old: &Keys<Bytes>,
        confirmed: Option<&Confirmed>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let head = self.inner.store.head();
            // What was looked at for whether the password is needed, and for signatures, has to be so still.
            if self.signing_keys(user).await? != *old {
                return Err(Error::Contended);
            }
            let mut batch = Batch::new();
            self.inner.accounts.require_device(&mut batch, user, device).await?;
            if let Some(confirmed) = confirmed {
                confirmed.put(&mut batch);
            }
            let mut gone = Vec::new();
            for ((new, old), (usage, _)) in new.iter().zip(old).zip(USAGES) {
                batch.require(&CROSS_SIGNING, &(user.as_str(), usage), old.as_ref());
                let Some(new) = new else { continue };
                batch.put(&CROSS_SIGNING, &(user.as_str(), usage), &Bytes::from(signed::written(new)));
                let was = old.as_ref().map(|old| signed::read(old)).transpose()?;
                let was = was.as_ref().and_then(signed::public_part);
                gone.extend(was.filter(|was| Some(*was) != signed::public_part(new)).map(str::to_owned));
            }
            self.put_end_of_signatures(&mut batch, user, &gone).await?;
            let changed = Changed { devices: Vec::new(), cross_signing: true };
            self.inner.lists.put_change(&mut batch, user, changed.clone()).await?;
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => {
                    done?;
                    return self.inner.lists.tell_again(user, head, changed).await;
                }
            }
        }
    }

    /// Signatures by keys, and of keys, that are no more say nothing to anybody.
    async fn put_end_of_signatures(
        &self,
        batch: &mut Batch,
        user: &UserId,
        gone: &[String],
    ) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        let range = Range::prefix(&user.to_string());
        for (key, _) in self.inner.store.scan(&SIGNATURES, range, Order::Ascending, usize::MAX).await? {
            let by = key.3.strip_prefix("ed25519:").unwrap_or_default();
            if gone.iter().any(|gone| gone == by || (key.1 == user.as_str() && *gone == key.2)) {
                batch.delete(&SIGNATURES, &key);
            }
        }
        Ok(())
    }
}

/// A cross-signing key as it may be kept.
fn key_of(user: &UserId, usage: &str, value: &Value) -> Result<CanonicalJsonObject, Error> {
    let key = signed::object(value.clone())?;
    if signed::text(&key, "user_id") != Some(user.as_str()) {
        return Err(Error::Invalid(format!("the {usage} key is of another user")));
    }
    let usages = key.get("usage").and_then(CanonicalJsonValue::as_array);
    if !usages.is_some_and(|usages| usages.iter().any(|it| it.as_str() == Some(usage))) {
        return Err(Error::Invalid(format!("the {usage} key does not have this usage")));
    }
    if signed::public_part(&key).is_none() {
        return Err(Error::Invalid(format!(
            "the {usage} key has not exactly one Ed25519 key under its own name"
        )));
    }
    Ok(key)
}

impl Encryption {
    /// Demands in a batch that a user's cross-signing keys are these still.
    pub(crate) async fn require_signing_keys(
        &self,
        batch: &mut Batch,
        user: &UserId,
        known: &crate::UserKeys,
    ) -> Result<(), Error> {
        let rows = self.signing_keys(user).await?;
        let known = [&known.master, &known.self_signing, &known.user_signing];
        for ((row, known), (usage, _)) in rows.iter().zip(known).zip(USAGES) {
            let row_key = row.as_ref().map(|row| signed::read(row)).transpose()?;
            let public = |key: &Option<CanonicalJsonObject>| {
                key.as_ref().and_then(signed::public_part).map(str::to_owned)
            };
            if public(&row_key) != public(known) {
                return Err(Error::Contended);
            }
            batch.require(&CROSS_SIGNING, &(user.as_str(), usage), row.as_ref());
        }
        Ok(())
    }
}
