//! Devices that services make and remove for their users, without sessions and without questions: their registration is their
//! proof.
//!
//! A device is of the service that made it. Where two services share users, the other one does not act on it, is told nothing of
//! what comes for it, and neither takes it over nor away: what it holds are that service's keys.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#device-management>

use std::collections::{HashMap, HashSet};

use audit::{Action, Actor};
use base::{Address, Attempts};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, ServerName, UserId};
use store::{Batch, Order, Range, Reads, Topic};

use crate::{
    Accounts, Error,
    devices::{check_device_id, log_device},
    login::signed_in,
    password::DEAR_ATTEMPTS,
    service::{AppService, PROOF},
    tables,
};

/// A device that a service made, or on which it signed in.
#[derive(Clone, Debug)]
pub struct ServiceDevice {
    /// Whose device.
    pub user: OwnedUserId,
    /// Its id.
    pub device: OwnedDeviceId,
    maker: String,
    /// As it is noted.
    noted: String,
}

impl Accounts {
    /// The devices that services made for this user of theirs, or for all.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn devices_of_services(&self, user: Option<&UserId>) -> Result<Vec<ServiceDevice>, Error> {
        let range = match user {
            Some(user) => Range::prefix(user.as_str()),
            None => Range::all(),
        };
        let store = &self.inner.store;
        let rows = store.scan(&tables::SERVICE_DEVICES, range, Order::Ascending, usize::MAX).await?;
        let mut unknown: Vec<&str> =
            rows.iter().filter(|(_, maker)| maker.is_empty()).map(|((user, _), _)| user.as_str()).collect();
        unknown.dedup();
        let makers = store.get_many(&tables::SERVICE_USERS, &unknown).await?;
        let makers: HashMap<String, String> =
            unknown.into_iter().zip(makers).filter_map(|(user, by)| Some((user.to_owned(), by?))).collect();
        let device = |((user, device), noted): ((String, String), String)| {
            let maker = made_by(&noted, makers.get(&user).map(String::as_str)).to_owned();
            Some(ServiceDevice { user: UserId::parse(user).ok()?, device: device.into(), maker, noted })
        };
        Ok(rows.into_iter().filter_map(device).collect())
    }

    /// Whether a device is one of a service's.
    pub fn is_device_of(&self, service: &AppService, device: &ServiceDevice) -> bool {
        service.covers_user(&device.user) && !self.is_anothers(service, &device.maker)
    }

    /// Whether another service that there is has this id. One that is registered no more has no devices: whoever has its users
    /// now goes on with them, also where the same service has another name.
    pub(crate) fn is_anothers(&self, service: &AppService, maker: &str) -> bool {
        self.is_other(service.sender.server_name(), &service.id, maker)
    }

    fn is_other(&self, authority: &ServerName, own: &str, maker: &str) -> bool {
        maker != own && self.settings(authority).services.iter().any(|other| other.id == maker)
    }

    /// Refuses a service another's device; by which service it was made, as it is noted.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub(crate) async fn check_maker(
        &self,
        service: &AppService,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<Option<String>, Error> {
        let mut reads = Reads::new();
        let maker = reads.get(&tables::SERVICE_DEVICES, &(user.as_str(), device.as_str()));
        let registered = reads.get(&tables::SERVICE_USERS, user.as_str());
        let mut found = self.inner.store.read(reads).await?;
        let (maker, registered) = (found.take(maker)?, found.take(registered)?);
        match maker.as_deref().map(|maker| made_by(maker, registered.as_deref())) {
            Some(by) if self.is_anothers(service, by) => Err(anothers()),
            _ => Ok(maker),
        }
    }

    /// Makes a device of a service's user, or renames it where it is there; whether it was made.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a user who is not one of the service's, has no account, or is an administrator, and for another
    /// service's device; [`Error::InvalidParam`], [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
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
            let maker = self.check_maker(service, user, device).await?;
            if self.inner.store.get(&tables::DEVICES, &key).await?.is_some() {
                if let Some(maker) = maker.filter(|maker| *maker != service.id) {
                    // From before its maker was noted, or of one that is gone.
                    let mut batch = Batch::new();
                    batch.replace(&tables::SERVICE_DEVICES, &key, &maker, &service.id);
                    log_device(&mut batch, user, device);
                    match self.commit(batch).await {
                        Err(Error::Contended) => {
                            self.again(&mut attempts).await?;
                            continue;
                        }
                        done => done?,
                    }
                }
                return self.rename_device(user, device, name).await.map(|()| false);
            }
            let row = self.row_for_service(service, user).await?;
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            let known = self.put_device(&mut batch, user, device, name.clone(), Some(service)).await?;
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
            let made = self.devices_of_services(Some(user)).await?;
            if made
                .iter()
                .any(|it| devices.contains(it.device.as_str()) && self.is_anothers(service, &it.maker))
            {
                return Err(anothers());
            }
            let ended = self.end_devices(&mut batch, user, &|device: &str| devices.contains(device)).await?;
            if ended.devices.is_empty() {
                return Ok(());
            }
            for device in &ended.devices {
                // Whoever has made it anew meanwhile may be another service.
                let noted = made.iter().find(|it| it.device.as_str() == device).map(|it| &it.noted);
                batch.require(&tables::SERVICE_DEVICES, &(user.as_str(), device.as_str()), noted);
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

    /// As [`Accounts::log_out_everywhere`], by who acts on this device: where that is a service, as itself or by a session that it
    /// began, the devices of other services stay.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn log_out_everywhere_from(
        &self,
        user: &UserId,
        device: &DeviceId,
        service: Option<&AppService>,
        by: &Actor,
    ) -> Result<(), Error> {
        let all = self.devices_of_services(Some(user)).await?;
        let began = || all.iter().find(|it| it.device == *device).map(|it| it.maker.as_str());
        let Some(own) = service.map(AppService::id).or_else(began) else {
            return self.log_out_everywhere(user, by).await;
        };
        let others: HashSet<&str> = all
            .iter()
            .filter(|it| self.is_other(user.server_name(), own, &it.maker))
            .map(|it| it.device.as_str())
            .collect();
        let ends = |device: &str| !others.contains(device);
        self.end_sessions(user, Action::SignOutEverywhere, by, ends, &|_| {}).await
    }

    async fn row_for_service(&self, service: &AppService, user: &UserId) -> Result<tables::UserRow, Error> {
        if !service.covers_user(user) {
            return Err(Error::Forbidden(
                "This user is in none of the namespaces of the application service",
            ));
        }
        self.refuse_own(user).await?;
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

/// What is said to a service that wants something of another's device.
fn anothers() -> Error {
    Error::Forbidden("This device is another application service's")
}

/// By which service a device was made, whose row says `maker`: where that is from before it was noted, by the one that registered
/// its user.
pub(crate) fn made_by<'a>(maker: &'a str, registered: Option<&'a str>) -> &'a str {
    if maker.is_empty() { registered.unwrap_or_default() } else { maker }
}
