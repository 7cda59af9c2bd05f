//! Dehydrated devices: a device that its owner leaves with the server while he is signed in nowhere.
//!
//! Its private keys are in what he uploads, encrypted so that only he can read it. Whoever sends him keys of messages sends
//! them to it as well; his next device fetches it, and what was sent to it. Nothing of that is taken away by being
//! fetched: who breaks off begins anew. There is one for each user; another one takes its place, with all that waits.
//!
//! MSC3814: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use base::Attempts;
use bytes::Bytes;
use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde_json::{Value, value::RawValue};
use store::Batch;

use crate::{
    Encryption, Error, KeyUpload,
    changes::Changed,
    device_keys::{Checked, checked_upload},
    one_time::topic_of_keys,
    tables::DEHYDRATED,
};

/// Largest data of a dehydrated device, in bytes. Those of today have some kilobytes for each hundred one-time keys.
const LARGEST_DATA: usize = 64 << 10;

/// What is uploaded to dehydrate a device.
#[derive(Clone, Debug)]
pub struct Dehydrating {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// Name for people.
    pub name: Option<String>,
    /// What it has to remember: an object with an `algorithm`.
    pub data: Value,
    /// Its keys; the identity keys are needed.
    pub keys: KeyUpload,
}

impl Encryption {
    /// Gives a user, on a device of his, a dehydrated device in place of the one that he had, if he had one.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::BadJson`], [`Error::Missing`], [`Error::TooLarge`]: then he has the one that he had.
    /// [`Error::Account`], [`Error::Contended`], [`Error::Store`], [`Error::Commit`]: then he may have none.
    pub async fn dehydrate(&self, user: &UserId, own: &DeviceId, asked: Dehydrating) -> Result<(), Error> {
        let Dehydrating { device_id: device, name, data, keys } = asked;
        if data.get("algorithm").and_then(Value::as_str).is_none() {
            return Err(Error::BadJson("`device_data` lack their `algorithm`".to_owned()));
        }
        let data = Bytes::from(data.to_string());
        if data.len() > LARGEST_DATA {
            return Err(Error::TooLarge("the data of a dehydrated device have at most 64 KiB"));
        }
        let Checked { identity, one_time, fallback } = checked_upload(user, &device, keys)?;
        let identity = identity.ok_or(Error::Missing("device_keys"))?;
        // Before the one that he has goes.
        self.check_is_free(user, &device).await?;
        self.inner.accounts.end_dehydrated_device(user).await?;
        let mut attempts = Attempts::default();
        loop {
            let head = self.inner.store.head();
            let mut batch = Batch::new();
            let accounts = &self.inner.accounts;
            accounts.require_device(&mut batch, user, own).await?;
            match accounts.put_dehydrated_device(&mut batch, user, &device, name.as_deref()).await {
                Err(account::Error::Contended) => {
                    self.again(&mut attempts).await?;
                    accounts.end_dehydrated_device(user).await?;
                    continue;
                }
                put => put?,
            }
            batch.put(&DEHYDRATED, &(user.as_str(), device.as_str()), &data);
            self.put_identity(&mut batch, user, &device, &identity).await?;
            self.put_one_time(&mut batch, user, &device, &one_time, false).await?;
            self.put_fallback(&mut batch, user, &device, &fallback, false).await?;
            batch.touch([topic_of_keys(user, &device)]);
            match self.inner.store.commit(batch).await.map_err(Error::from) {
                Err(Error::Contended) => {
                    self.again(&mut attempts).await?;
                    // Another device of his may have been faster.
                    self.inner.accounts.end_dehydrated_device(user).await?;
                }
                done => {
                    done?;
                    let changed = Changed { devices: vec![device], cross_signing: false };
                    return self.inner.lists.tell_again(user, head, changed).await;
                }
            }
        }
    }

    /// A user's dehydrated device and its data, if he has one.
    ///
    /// # Errors
    /// [`Error::Account`], [`Error::Store`], [`Error::BadJson`].
    pub async fn dehydrated(&self, user: &UserId) -> Result<Option<(OwnedDeviceId, Box<RawValue>)>, Error> {
        let Some(device) = self.inner.accounts.dehydrated_device(user).await? else { return Ok(None) };
        let key = (user.as_str(), device.as_str());
        let Some(data) = self.inner.store.get(&DEHYDRATED, &key).await? else { return Ok(None) };
        let data = serde_json::from_slice(&data).map_err(|error| Error::BadJson(error.to_string()))?;
        Ok(Some((device, data)))
    }

    /// Ends a user's dehydrated device, with its keys and what waits for it; which one it was.
    ///
    /// # Errors
    /// [`Error::Account`].
    pub async fn end_dehydrated(&self, user: &UserId) -> Result<Option<OwnedDeviceId>, Error> {
        Ok(self.inner.accounts.end_dehydrated_device(user).await?)
    }

    async fn check_is_free(&self, user: &UserId, device: &DeviceId) -> Result<(), Error> {
        match self.inner.accounts.standing(&[(user, device)]).await?.iter().any(Option::is_some)
            && self.inner.accounts.dehydrated_device(user).await?.as_deref() != Some(device)
        {
            true => Err(Error::Invalid("the user has another device of this id".to_owned())),
            false => Ok(()),
        }
    }
}
