//! Devices that are there, for what others keep for them.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use store::Batch;

use crate::tables::{DEVICES, DeviceRow};

/// A device as it was when it was looked up, for a batch that keeps something for it.
#[derive(Clone, Debug)]
pub struct Standing {
    user: OwnedUserId,
    device: OwnedDeviceId,
    row: DeviceRow,
}

impl Standing {
    pub(crate) fn new(user: OwnedUserId, device: OwnedDeviceId, row: DeviceRow) -> Self {
        Self { user, device, row }
    }

    /// Whose device it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The device.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Has a batch fail where the device has changed or ended since: what is kept for one that is gone would stay, and
    /// meet whoever gives that name to a device again.
    pub fn require(&self, batch: &mut Batch) {
        batch.require(&DEVICES, &(self.user.as_str(), self.device.as_str()), Some(&self.row));
    }
}
