//! What goes with a device, and with an account.

use account::DeviceEnds;
use async_trait::async_trait;
use room::Rooms;
use ruma::{DeviceId, OwnedDeviceId, UserId};
use store::{Batch, Order, Range, Store};

use crate::{
    Error,
    changes::{Changed, Lists},
    one_time::topic_of_keys,
    tables::{
        BACKUP_KEYS, BACKUPS, CLAIMED, CROSS_SIGNING, DEHYDRATED, DEVICE_KEYS, FALLBACK_KEYS,
        ONE_TIME_COUNTS, ONE_TIME_KEYS, ONE_TIME_ORDER, SIGNATURES, SIGNED, UPLOADS,
    },
};

/// Takes the keys of devices away in the batch in which these end.
#[derive(Clone, Debug)]
pub(crate) struct KeyEnds {
    store: Store,
    lists: Lists,
}

impl KeyEnds {
    /// Of the keys in this store.
    pub(crate) fn new(store: Store, rooms: Rooms) -> Self {
        Self { lists: Lists::new(store.clone(), rooms), store }
    }
}

#[async_trait]
impl DeviceEnds for KeyEnds {
    async fn put_ends(
        &self,
        batch: &mut Batch,
        user: &UserId,
        devices: &[OwnedDeviceId],
    ) -> Result<(), account::Error> {
        let keys: Vec<(&str, &str)> = devices.iter().map(|device| (user.as_str(), device.as_str())).collect();
        let known = self.store.get_many(&DEVICE_KEYS, &keys).await?;
        let mut listed = Vec::new();
        for ((device, key), known) in devices.iter().zip(&keys).zip(known) {
            // Whatever is uploaded until the commit demands the device's row, which that takes away.
            batch.delete_prefix(&ONE_TIME_KEYS, key);
            batch.delete_prefix(&ONE_TIME_ORDER, key);
            batch.delete_prefix(&ONE_TIME_COUNTS, key);
            batch.delete_prefix(&CLAIMED, key);
            batch.delete_prefix(&FALLBACK_KEYS, key);
            batch.delete(&UPLOADS, key);
            batch.delete(&DEHYDRATED, key);
            batch.touch([topic_of_keys(user, device)]);
            if known.is_some() {
                batch.delete(&DEVICE_KEYS, key);
                let signatures = (user.to_string(), user.to_string(), device.to_string());
                batch.delete_prefix(&SIGNATURES, &signatures);
                listed.push(device.clone());
            } else {
                // So that keys that are uploaded meanwhile are not forgotten.
                batch.require(&DEVICE_KEYS, key, None);
            }
        }
        if listed.is_empty() {
            return Ok(());
        }
        let changed = Changed { devices: listed, cross_signing: false };
        self.lists.put_change(batch, user, changed).await.map_err(of_account)
    }

    async fn put_renamed(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<(), account::Error> {
        if self.store.get(&DEVICE_KEYS, &(user.as_str(), device.as_str())).await?.is_none() {
            return Ok(());
        }
        let changed = Changed { devices: vec![device.to_owned()], cross_signing: false };
        self.lists.put_change(batch, user, changed).await.map_err(of_account)
    }

    async fn put_close(&self, batch: &mut Batch, user: &UserId) -> Result<(), account::Error> {
        let name = user.as_str();
        batch.delete_prefix(&CROSS_SIGNING, name);
        batch.delete_prefix(&SIGNED, name);
        let signatures =
            self.store.scan(&SIGNATURES, Range::prefix(&name.to_owned()), Order::Ascending, 1).await?;
        if !signatures.is_empty() {
            batch.delete_prefix(&SIGNATURES, &name.to_owned());
        }
        batch.delete_prefix(&BACKUPS, name);
        batch.delete_prefix(&BACKUP_KEYS, name);
        Ok(())
    }
}

fn of_account(error: Error) -> account::Error {
    match error {
        Error::Account(error) => error,
        Error::Room(error) => error.into(),
        Error::Store(error) => error.into(),
        Error::Commit(error) => error.into(),
        _ => account::Error::Contended,
    }
}
