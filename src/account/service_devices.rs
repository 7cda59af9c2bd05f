//! Devices that services make and remove for their users, without sessions and without questions: their registration is their
//! proof.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#device-management>

use std::collections::HashSet;

use audit::{Action, Actor};
use base::{Address, Attempts};
use ruma::{DeviceId, UserId};
use store::{Batch, Topic};

use crate::{
    Accounts, Error,
    devices::check_device_id,
    login::signed_in,
    password::DEAR_ATTEMPTS,
    service::{AppService, PROOF},
    tables,
};

impl Accounts {
    /// Makes a device of a service's user, or renames it where it is there; whether it was made.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a user who is not one of the service's, has no account, or is an administrator;
    /// [`Error::InvalidParam`], [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#device-management>
    pub async fn put_device_for_service(
        &self,
        service: &AppService,
        user: &UserId,
        device: &DeviceId,
        name: Option<String>,
        from: Option<Address>,
    ) -> Result<bool, Error> {
        check_device_id(device)?;
        let key = (user.as_str(), device.as_str());
        let mut attempts = Attempts::default();
        loop {
            if self.inner.store.get(&tables::DEVICES, &key).await?.is_some() {
                return self.rename_device(user, device, name).await.map(|()| false);
            }
            let row = self.row_for_service(service, user).await?;
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            let known = self.put_device(&mut batch, user, device, name.clone()).await?;
            batch.put(&tables::SERVICE_DEVICES, &key, &());
            batch.touch([Topic::device(user.as_str(), device.as_str())]);
            let by = Actor::user(service.sender(), false, from);
            let deed = self.deed(Action::SignIn, &by, user).after("proof", PROOF);
            signed_in(deed, device, &known, None).write(&mut batch, user.server_name());
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done.map(|()| true),
            }
        }
    }

    /// Removes devices of a service's user and ends their sessions. Unknown ones are as good as removed.
    ///
    /// # Errors
    /// [`Error::Forbidden`] as of [`Accounts::put_device_for_service`]; [`Error::Contended`], [`Error::Store`].
    pub async fn remove_devices_for_service(
        &self,
        service: &AppService,
        user: &UserId,
        devices: &HashSet<String>,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let row = self.row_for_service(service, user).await?;
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            let ended = self.end_devices(&mut batch, user, &|device: &str| devices.contains(device)).await?;
            if ended.devices.is_empty() {
                return Ok(());
            }
            let by = Actor::user(service.sender(), false, from);
            let deed = self.deed(Action::RemoveDevices, &by, user).before("devices", ended.names());
            deed.after("proof", PROOF).write(&mut batch, user.server_name());
            match self.commit_end(batch, &ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    async fn row_for_service(&self, service: &AppService, user: &UserId) -> Result<tables::UserRow, Error> {
        if !service.covers_user(user) {
            return Err(Error::Forbidden(
                "This user is in none of the namespaces of the application service",
            ));
        }
        let row = self.find_user_row(user).await?.filter(|row| !row.deactivated);
        let row = row.ok_or(Error::Forbidden("The application service has not registered this user"))?;
        if row.admin {
            return Err(Error::Forbidden(
                "An application service does not act on an administrator's devices",
            ));
        }
        Ok(row)
    }
}
