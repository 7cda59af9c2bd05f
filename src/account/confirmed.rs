//! What other crates ask of accounts: that a user confirms what they do, that a device is there, that what they keep of it goes
//! with it.

use std::sync::Arc;

use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde_json::{Map, Value};
use store::Batch;

use crate::{
    Accounts, Asked, DeviceEnds, Error,
    confirms::CROSS_SIGNING,
    interactive::Settled,
    service::NO_DEVICE,
    tables::{self, UserRow},
};

/// That a user has confirmed with his password, or on our pages, what another crate is to do.
pub struct Confirmed {
    row: UserRow,
    settled: Settled,
    /// When the user agreed on our pages, where that is how it was confirmed.
    reset: Option<u64>,
}

impl std::fmt::Debug for Confirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmed").finish_non_exhaustive()
    }
}

impl Confirmed {
    /// What was asked.
    pub fn request(&self) -> &Map<String, Value> {
        &self.settled.request
    }

    /// Adds to the batch that does it that the session of this request is over. The batch fails if the account has changed
    /// since the password was looked at.
    pub fn put(&self, batch: &mut Batch) {
        batch.require(&tables::USERS, self.settled.owner.as_str(), Some(&self.row));
        self.settled.end(batch);
        if let Some(agreed) = &self.reset {
            // For once.
            batch.require(&tables::RESETS, self.settled.owner.as_str(), Some(agreed));
            batch.delete(&tables::RESETS, self.settled.owner.as_str());
        }
    }
}

impl Accounts {
    /// From now on somebody else's part goes with devices and accounts.
    pub fn add_device_ends(&self, ends: Arc<dyn DeviceEnds>) {
        self.inner.device_ends.write().push(ends);
    }

    /// All who have something that goes with devices.
    pub(crate) fn device_ends(&self) -> Vec<Arc<dyn DeviceEnds>> {
        self.inner.device_ends.read().clone()
    }

    /// Adds to a batch what goes with devices that end in it.
    pub(crate) async fn put_device_ends(
        &self,
        batch: &mut Batch,
        user: &UserId,
        ended: &[String],
    ) -> Result<(), Error> {
        if ended.is_empty() {
            return Ok(());
        }
        self.remove_settings_of(batch, user, ended).await?;
        let devices: Vec<OwnedDeviceId> = ended.iter().map(|device| device.as_str().into()).collect();
        for ends in self.device_ends() {
            ends.put_ends(batch, user, &devices).await?;
        }
        Ok(())
    }

    /// Asks a user for the password before something of another crate's is done; `known` are the parameters that it has.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given, [`Error::Forbidden`], [`Error::Deactivated`],
    /// [`Error::Limited`], [`Error::Store`].
    pub async fn confirm(
        &self,
        user: &UserId,
        device: &DeviceId,
        operation: &str,
        known: &[&str],
        asked: Asked,
    ) -> Result<Confirmed, Error> {
        let settled = self.settle(user.as_str(), operation, known, asked).await?;
        let page = self.settings(user.server_name()).account_page.as_deref();
        if let Some(page) = page
            && operation == CROSS_SIGNING
            && self.find_grant(user, device).await?.is_some()
        {
            let (row, agreed) = self.confirm_on_page(user, &settled, page).await?;
            return Ok(Confirmed { row, settled, reset: Some(agreed) });
        }
        let row = self.confirm_with_password(user, device, &settled).await?;
        Ok(Confirmed { row, settled, reset: None })
    }

    /// Demands in a batch that a device is there still, as it is now.
    ///
    /// # Errors
    /// [`Error::UnknownToken`] when it is not, [`Error::MissingParam`] where an application service acts on none,
    /// [`Error::Store`].
    pub async fn require_device(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<(), Error> {
        if device.as_str() == NO_DEVICE {
            // Its token is good.
            return Err(Error::MissingParam("An application service has to name a `device_id` for this"));
        }
        let key = (user.as_str(), device.as_str());
        let row = self.inner.store.get(&tables::DEVICES, &key).await?;
        let row = row.ok_or(Error::UnknownToken { soft_logout: false })?;
        batch.require(&tables::DEVICES, &key, Some(&row));
        Ok(())
    }

    /// What devices are called, in the order of these users and devices.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn device_names(&self, devices: &[(&str, &str)]) -> Result<Vec<Option<String>>, Error> {
        let rows = self.inner.store.get_many(&tables::DEVICES, devices).await?;
        Ok(rows.into_iter().map(|row| row.and_then(|row| row.display_name)).collect())
    }

    /// Whether there are such devices, in the order of these users and devices.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn have_devices(&self, devices: &[(&str, &str)]) -> Result<Vec<bool>, Error> {
        let rows = self.inner.store.get_many(&tables::DEVICES, devices).await?;
        Ok(rows.iter().map(Option::is_some).collect())
    }
}
