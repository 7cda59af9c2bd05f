//! Devices: where a user is logged in.

use std::collections::HashSet;

use audit::{Action, Actor, Deed};
use base::{Attempts, Timestamp};
use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde::Deserialize;
use store::{Batch, Range, Topic};

use crate::{
    Accounts, AppService, Asked, Error, Standing,
    interactive::Settled,
    log::{Change, log_change},
    password::DEAR_ATTEMPTS,
    seen::Note,
    tables::{self, DeviceRow, SeenRow},
};

/// Longest name of a device, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// A device, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// Name for people.
    pub display_name: Option<String>,
    /// When it was last used, exact to a minute or two.
    pub last_seen: Option<Timestamp>,
    /// Where it was last used from, if the listener knows.
    pub last_seen_ip: Option<String>,
}

impl Accounts {
    /// The devices of a user, but for the one that is dehydrated.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn devices(&self, user: &UserId) -> Result<Vec<DeviceInfo>, Error> {
        let dehydrated = self.dehydrated_device(user).await?;
        let user = user.as_str();
        let store = &self.inner.store;
        let mut rows =
            store.scan(&tables::DEVICES, Range::prefix(user), store::Order::Ascending, usize::MAX).await?;
        rows.retain(|((_, device), _)| dehydrated.as_ref().is_none_or(|it| it.as_str() != device));
        let keys: Vec<_> = rows.iter().map(|(key, _)| key.clone()).collect();
        let seen = store.get_many(&tables::SEEN, &keys).await?;
        Ok(rows.into_iter().zip(seen).map(|((key, row), seen)| self.device_info(key, row, seen)).collect())
    }

    /// One device of a user, if it is not the dehydrated one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn device(&self, user: &UserId, device: &DeviceId) -> Result<DeviceInfo, Error> {
        if self.dehydrated_device(user).await?.as_deref() == Some(device) {
            return Err(Error::NotFound("no such device"));
        }
        let key = (user.as_str(), device.as_str());
        let row = self.inner.store.get(&tables::DEVICES, &key).await?;
        let row = row.ok_or(Error::NotFound("no such device"))?;
        let seen = self.inner.store.get(&tables::SEEN, &key).await?;
        Ok(self.device_info((key.0.to_owned(), key.1.to_owned()), row, seen))
    }

    fn device_info(&self, key: (String, String), row: DeviceRow, seen: Option<SeenRow>) -> DeviceInfo {
        let noted = self.inner.seen_notes.lock().get(&key).map(Note::row);
        let last = [noted, seen].into_iter().flatten().max_by_key(|seen| seen.at_ms);
        DeviceInfo {
            device_id: key.1.into(),
            display_name: row.display_name,
            last_seen: last.as_ref().map(|seen| Timestamp(seen.at_ms)),
            last_seen_ip: last.and_then(|seen| seen.ip),
        }
    }

    /// Those of these devices that are there, each in its place.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn standing(&self, devices: &[(&UserId, &DeviceId)]) -> Result<Vec<Option<Standing>>, Error> {
        let keys: Vec<(&str, &str)> =
            devices.iter().map(|(user, device)| (user.as_str(), device.as_str())).collect();
        let rows = self.inner.store.get_many(&tables::DEVICES, &keys).await?;
        let standing = |((user, device), row): (&(&UserId, &DeviceId), Option<DeviceRow>)| {
            Some(Standing::new((*user).to_owned(), (*device).to_owned(), row?))
        };
        Ok(devices.iter().zip(rows).map(standing).collect())
    }

    /// All devices of these users, at most `limit` of each.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn standing_of(&self, users: &[&UserId], limit: usize) -> Result<Vec<Standing>, Error> {
        let ranges = users.iter().map(|user| Range::prefix(user.as_str())).collect();
        let found = self.inner.store.scan_many(&tables::DEVICES, ranges, store::Order::Ascending, limit);
        let of_users = users.iter().zip(found.await?);
        let standing = of_users.flat_map(|(user, rows)| {
            rows.into_iter()
                .map(|((_, device), row)| Standing::new((*user).to_owned(), OwnedDeviceId::from(device), row))
        });
        Ok(standing.collect())
    }

    /// Renames a device.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    pub async fn rename_device(
        &self,
        user: &UserId,
        device: &DeviceId,
        name: Option<String>,
    ) -> Result<(), Error> {
        self.rename_device_noting(user, device, name, None).await
    }

    /// The same by an administrator, as `by` is one, with a row in the audit log.
    ///
    /// # Errors
    /// As [`Accounts::rename_device`].
    pub async fn rename_device_of(
        &self,
        user: &UserId,
        device: &DeviceId,
        name: Option<String>,
        by: &Actor,
    ) -> Result<(), Error> {
        let deed = self.deed(Action::RenameDevice, by, user).after("device", device.as_str());
        self.rename_device_noting(user, device, name, Some(deed)).await
    }

    async fn rename_device_noting(
        &self,
        user: &UserId,
        device: &DeviceId,
        name: Option<String>,
        deed: Option<Deed>,
    ) -> Result<(), Error> {
        if name.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES) {
            return Err(Error::TooLarge("the name of a device has at most 256 bytes"));
        }
        let key = (user.as_str(), device.as_str());
        let mut attempts = Attempts::default();
        loop {
            let row = self.inner.store.get(&tables::DEVICES, &key).await?;
            let row = row.ok_or(Error::NotFound("no such device"))?;
            let display_name = name.clone().or(row.display_name.clone());
            let renamed = DeviceRow { display_name, ..row.clone() };

            let mut batch = Batch::new();
            batch.replace(&tables::DEVICES, &key, &row, &renamed);
            log_device(&mut batch, user, device);
            if renamed.display_name != row.display_name {
                for ends in self.device_ends() {
                    ends.put_renamed(&mut batch, user, device).await?;
                }
            }
            if let Some(deed) = &deed {
                deed.write(&mut batch, user.server_name());
            }
            match self.commit(batch).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Removes one device and ends its session, after the user has given the password on `own`. An
    /// unknown device is as good as removed.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given, [`Error::Forbidden`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3devicesdeviceid>
    pub async fn remove_device(
        &self,
        user: &UserId,
        own: &DeviceId,
        device: &DeviceId,
        asked: Asked,
    ) -> Result<(), Error> {
        check_device_id(device)?;
        let settled = self.settle(user.as_str(), &format!("device {device}"), &[], asked).await?;
        self.remove_settled(user, own, &settled, |ended| ended == device.as_str()).await
    }

    /// Removes the `devices` that are asked for, as [`Accounts::remove_device`] does one.
    ///
    /// # Errors
    /// [`Error::Interactive`] until the password was given, [`Error::BadRequest`],
    /// [`Error::Forbidden`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3delete_devices>
    pub async fn remove_devices(&self, user: &UserId, own: &DeviceId, asked: Asked) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Wish {
            devices: HashSet<String>,
        }
        let settled = self.settle(user.as_str(), "devices", &["devices"], asked).await?;
        if settled.only_looks() {
            return self.confirm_with_password(user, own, &settled).await.map(drop);
        }
        let wish: Wish = settled.parse()?;
        self.remove_settled(user, own, &settled, |ended| wish.devices.contains(ended)).await
    }

    async fn remove_settled(
        &self,
        user: &UserId,
        own: &DeviceId,
        settled: &Settled,
        ends: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::at_most(DEAR_ATTEMPTS);
        loop {
            let row = self.confirm_with_password(user, own, settled).await?;
            let mut batch = Batch::new();
            batch.require(&tables::USERS, user.as_str(), Some(&row));
            settled.end(&mut batch);
            let ended = self.end_devices(&mut batch, user, &ends).await?;
            if !ended.devices.is_empty() {
                let by = Actor::user(user, row.admin, settled.from).on(own);
                let deed = self.deed(Action::RemoveDevices, &by, user).before("devices", ended.names());
                deed.write(&mut batch, user.server_name());
            }
            match self.commit_end(batch, &ended).await {
                Err(Error::Contended) => self.again(&mut attempts).await?,
                done => return done,
            }
        }
    }

    /// Adds a device to a batch, keeping the name of one that exists: one of its user, or of a service that signs in. The batch
    /// fails when that changes: tokens for a device that was removed meanwhile would be dead.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a service where the device is another's; [`Error::TooManyDevices`] for a user who has as many
    /// as he may; [`Error::Store`].
    pub(crate) async fn put_device(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        name: Option<String>,
        service: Option<&AppService>,
    ) -> Result<DeviceRow, Error> {
        let key = (user.as_str(), device.as_str());
        self.check_not_dehydrated(batch, user, device).await?;
        // Whose it is now, who begins the session says.
        let (maker, new) = match service {
            Some(service) => (self.check_maker(service, user, device).await?, Some(&service.id)),
            None => (self.inner.store.get(&tables::SERVICE_DEVICES, &key).await?, None),
        };
        batch.require(&tables::SERVICE_DEVICES, &key, maker.as_ref());
        match new {
            Some(new) => batch.put(&tables::SERVICE_DEVICES, &key, new),
            None => batch.delete(&tables::SERVICE_DEVICES, &key),
        }
        // Who signs in on it now is asked for a factor where there is one.
        batch.delete(&tables::UNPROVED, &key);
        let old = self.inner.store.get(&tables::DEVICES, &key).await?;
        // One that a service made counts from now on as well.
        if service.is_none() && (old.is_none() || maker.is_some()) {
            self.put_room_for_device(batch, user).await?;
        }
        if let Some(old) = old {
            batch.require(&tables::DEVICES, &key, Some(&old));
            if maker.as_ref() != new {
                // Whoever tells services what comes for their devices has to hear of it.
                log_device(batch, user, device);
            }
            return Ok(old);
        }
        // A log-in does not fail for a long name: the name is cut.
        let name = name.map(|name| name.chars().take(MAX_NAME_BYTES / 4).collect());
        let row = DeviceRow { display_name: name, created_ms: self.now_ms() };
        batch.insert(&tables::DEVICES, &key, &row);
        log_device(batch, user, device);
        Ok(row)
    }
}

pub(crate) fn log_device(batch: &mut Batch, user: &UserId, device: &DeviceId) {
    let change = Change::Devices { user_id: user.to_owned(), device_id: device.to_owned(), removed: false };
    let (user, device) = (user.as_str(), device.as_str());
    log_change(batch, &change, [Topic::devices(user), Topic::device(user, device)]);
}

/// Device ids come from clients; they are keys of rows and must stay small.
pub(crate) fn check_device_id(device: &DeviceId) -> Result<(), Error> {
    match device.as_str().len() {
        1..=255 => Ok(()),
        _ => Err(Error::InvalidParam("a device id has 1 to 255 bytes".to_owned())),
    }
}
