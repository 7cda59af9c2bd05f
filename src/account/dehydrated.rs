//! The device of a user with which nobody is signed in: others send it keys of messages, and his next device finds them there.
//!
//! It has a row like all devices, so that what is sent to it is kept, but no session: it is in no list of sessions, and what
//! ends these leaves it alone. It ends when it is replaced or removed as what it is, and with the account.
//!
//! MSC3814: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use base::Attempts;
use ruma::{DeviceId, OwnedDeviceId, UserId};
use store::Batch;

use crate::{
    Accounts, Error,
    devices::{check_device_id, log_device},
    tables::{self, DeviceRow},
};

impl Accounts {
    /// A user's dehydrated device, if he has one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn dehydrated_device(&self, user: &UserId) -> Result<Option<OwnedDeviceId>, Error> {
        let device = self.inner.store.get(&tables::DEHYDRATED, user.as_str()).await?;
        Ok(device.map(OwnedDeviceId::from))
    }

    /// Adds to a batch that a user who has no dehydrated device has this one. The batch fails if he has by then, or has
    /// closed his account.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] for the id of another device of his, [`Error::Contended`] when it is dehydrated by now,
    /// [`Error::Store`].
    pub async fn put_dehydrated_device(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        name: Option<&str>,
    ) -> Result<(), Error> {
        check_device_id(device)?;
        let key = (user.as_str(), device.as_str());
        if self.inner.store.get(&tables::DEVICES, &key).await?.is_some() {
            // After it: who is dehydrated is so in the batch in which it comes to be. Another process may have been faster with
            // this very device.
            return Err(match self.dehydrated_device(user).await?.as_deref() == Some(device) {
                true => Error::Contended,
                false => Error::InvalidParam("the user has another device of this id".to_owned()),
            });
        }
        // Who ends all devices looks at them again.
        batch.add(&tables::LOG_INS, user.as_str(), 1);
        let name = name.map(|name| name.chars().take(64).collect());
        batch.insert(&tables::DEVICES, &key, &DeviceRow { display_name: name, created_ms: self.now_ms() });
        batch.insert(&tables::DEHYDRATED, user.as_str(), &device.to_string());
        log_device(batch, user, device);
        Ok(())
    }

    /// Ends a user's dehydrated device, with all that is kept for it; which one it was.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`].
    pub async fn end_dehydrated_device(&self, user: &UserId) -> Result<Option<OwnedDeviceId>, Error> {
        let mut attempts = Attempts::default();
        loop {
            let Some(device) = self.dehydrated_device(user).await? else { return Ok(None) };
            let mut batch = Batch::new();
            let ended = self.end_every(&mut batch, user, |other| other == device.as_str()).await?;
            match self.commit_end(batch, &ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| Some(device)),
            }
        }
    }

    /// Refuses to let somebody sign in as a device that is dehydrated.
    pub(crate) async fn check_not_dehydrated(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<(), Error> {
        let dehydrated = self.inner.store.get(&tables::DEHYDRATED, user.as_str()).await?;
        batch.require(&tables::DEHYDRATED, user.as_str(), dehydrated.as_ref());
        match dehydrated.as_deref() == Some(device.as_str()) {
            true => Err(Error::InvalidParam("the device of this id is dehydrated".to_owned())),
            false => Ok(()),
        }
    }
}
