//! Devices that were signed in before their owner had a second factor: whoever had the password alone may be on one of them.
//!
//! They are listed with the first factor, in its batch. Where the policy demands a factor of each session
//! ([`Accounts::barred`]), they are not used until they are signed in anew, which asks for it, or until their owner says on
//! our page, with a factor and a moment ago, that they are his.

use std::collections::HashSet;

use audit::{Action, Actor};
use base::{Address, Attempts};
use ruma::{DeviceId, OwnedDeviceId, UserId};
use store::{Batch, Order, Range, Topic};

use crate::{Accounts, Browser, Error, tables};

impl Accounts {
    /// Adds to the batch of a first factor that the devices of now were signed in without one. The batch fails where one is
    /// signed in meanwhile.
    pub(crate) async fn put_unproved(&self, batch: &mut Batch, user: &UserId) -> Result<(), Error> {
        let (store, user_key) = (&self.inner.store, user.as_str());
        // Before the devices are read: one that comes after this is noticed.
        let log_ins = store.get(&tables::LOG_INS, user_key).await?;
        batch.require(&tables::LOG_INS, user_key, log_ins.as_ref());
        let devices =
            store.scan(&tables::DEVICES, Range::prefix(user_key), Order::Ascending, usize::MAX).await?;
        for ((_, device), _) in devices {
            batch.put(&tables::UNPROVED, &(user_key, device.as_str()), &());
        }
        Ok(())
    }

    /// Whether a device was signed in before its owner had a factor, as far as he has not said that it is his.
    pub(crate) async fn is_unproved(&self, user: &UserId, device: &DeviceId) -> Result<bool, Error> {
        Ok(self.inner.store.get(&tables::UNPROVED, &(user.as_str(), device.as_str())).await?.is_some())
    }

    /// The devices that were signed in before their owner had the factors that he has, as far as he has not said that they are
    /// his.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn unproved_devices(&self, user: &UserId) -> Result<HashSet<OwnedDeviceId>, Error> {
        if !self.factors(user).await?.is_any() {
            return Ok(HashSet::new());
        }
        let range = Range::prefix(user.as_str());
        let rows = self.inner.store.scan(&tables::UNPROVED, range, Order::Ascending, usize::MAX).await?;
        Ok(rows.into_iter().map(|((_, device), ())| OwnedDeviceId::from(device)).collect())
    }

    /// Says that a device is the user's own which was signed in before he had a factor.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who has not signed in a moment ago with a factor, [`Error::NotFound`] where there is no such
    /// device, [`Error::Contended`], [`Error::Store`].
    pub async fn vouch_for_device(
        &self,
        browser: &Browser,
        device: &DeviceId,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let (user, mut attempts) = (&browser.user_id, Attempts::default());
        let key = (user.as_str(), device.as_str());
        loop {
            let (row, factors) = self.own_factors(browser).await?;
            if !factors.is_any() || !self.is_unproved(user, device).await? {
                return Err(Error::NotFound("such a device"));
            }
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            factors.require(&mut batch);
            batch.require(&tables::UNPROVED, &key, Some(&()));
            batch.delete(&tables::UNPROVED, &key);
            batch.touch([Topic::devices(user.as_str())]);
            let by = Actor::user(user, row.admin, from);
            let deed = self.deed(Action::VouchForDevice, &by, user).after("device", device);
            deed.write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }
}
