//! What others keep of devices, and what goes with these.

use async_trait::async_trait;
use mail::EmailAddress;
use ruma::{DeviceId, OwnedDeviceId, UserId};
use store::Batch;

use crate::Error;

/// Who keeps something of devices or accounts that goes with them.
#[async_trait]
pub trait DeviceEnds: Send + Sync {
    /// Adds to a batch what goes with these devices of a user of ours, which end in it.
    ///
    /// # Errors
    /// Whatever reading it may meet. A batch that is refused is made anew.
    async fn put_ends(
        &self,
        batch: &mut Batch,
        user: &UserId,
        devices: &[OwnedDeviceId],
    ) -> Result<(), Error>;

    /// Adds to a batch what follows from another name of a device of a user of ours, which it gets in it.
    ///
    /// # Errors
    /// As [`DeviceEnds::put_ends`].
    async fn put_renamed(&self, _batch: &mut Batch, _user: &UserId, _device: &DeviceId) -> Result<(), Error> {
        Ok(())
    }

    /// Adds to a batch what goes with an e-mail address that a user of ours loses in it; with a closed account its devices
    /// end as well, so that this is not asked for then.
    ///
    /// # Errors
    /// As [`DeviceEnds::put_ends`].
    async fn put_address_ends(
        &self,
        _batch: &mut Batch,
        _user: &UserId,
        _email: &EmailAddress,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Adds to a batch what goes with an account of ours besides, which is closed in it.
    ///
    /// # Errors
    /// As [`DeviceEnds::put_ends`].
    async fn put_close(&self, _batch: &mut Batch, _user: &UserId) -> Result<(), Error> {
        Ok(())
    }
}
