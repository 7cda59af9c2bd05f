//! What connections take of the memory, device by device, and who goes when it is full.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use base::Instant;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use super::Connection;

pub(super) type Owner = (OwnedUserId, OwnedDeviceId);

/// Whoever has not asked for so long goes before all others: a telephone sleeps for hours.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a device takes in the tables beside its connections.
const DEVICE_BYTES: usize = size_of::<Device>() + size_of::<Owner>() + 160;

/// What a user takes in the tables beside his devices.
const USER_BYTES: usize = size_of::<OwnedUserId>() + size_of::<OfUser>() + 96;

#[derive(Debug)]
struct Device {
    /// Those used last at the end.
    connections: Vec<Connection>,
    bytes: usize,
    used: u64,
    at: Instant,
}

/// What the devices of a user have together.
#[derive(Debug, Default)]
struct OfUser {
    bytes: usize,
    devices: usize,
}

/// The connections of all devices.
#[derive(Debug, Default)]
pub(super) struct Memory {
    devices: HashMap<Arc<Owner>, Device>,
    users: HashMap<OwnedUserId, OfUser>,
    /// Devices in the order in which they were used.
    used: BTreeMap<u64, Arc<Owner>>,
    uses: u64,
    bytes: usize,
}

fn bytes_of(connections: &[Connection]) -> usize {
    connections.iter().map(Connection::memory_bytes).sum()
}

impl Memory {
    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    pub(super) fn devices(&self) -> usize {
        self.devices.len()
    }

    /// Looks at the connections of a device, and charges it as it is then.
    pub(super) fn with<T>(
        &mut self,
        owner: Owner,
        now: Instant,
        look: impl FnOnce(&mut Vec<Connection>) -> T,
    ) -> T {
        self.uses += 1;
        let mut connections = match self.devices.get_key_value(&owner) {
            Some((known, _)) => {
                let known = known.clone();
                self.take(&known)
            }
            None => Vec::new(),
        };
        let answer = look(&mut connections);
        if !connections.is_empty() {
            let names = owner.0.as_str().len() + owner.1.as_str().len();
            let bytes = DEVICE_BYTES + names + bytes_of(&connections);
            if !self.users.contains_key(&owner.0) {
                self.bytes += USER_BYTES + owner.0.as_str().len();
            }
            let user = self.users.entry(owner.0.clone()).or_default();
            user.bytes += bytes;
            user.devices += 1;
            self.bytes += bytes;
            let owner = Arc::new(owner);
            self.used.insert(self.uses, owner.clone());
            self.devices.insert(owner, Device { connections, bytes, used: self.uses, at: now });
        }
        answer
    }

    /// Takes a device out.
    fn take(&mut self, owner: &Arc<Owner>) -> Vec<Connection> {
        let Some(device) = self.devices.remove(owner) else { return Vec::new() };
        self.used.remove(&device.used);
        self.bytes = self.bytes.saturating_sub(device.bytes);
        if let Some(user) = self.users.get_mut(&owner.0) {
            user.bytes = user.bytes.saturating_sub(device.bytes);
            user.devices -= 1;
            if user.devices == 0 {
                self.users.remove(&owner.0);
                self.bytes = self.bytes.saturating_sub(USER_BYTES + owner.0.as_str().len());
            }
        }
        device.connections
    }

    /// Leaves a user so many bytes: his connections go that he has not used for longest. One that is larger than that alone
    /// is not remembered either. How many devices are gone.
    pub(super) fn shrink_user(&mut self, user: &UserId, most: usize) -> u64 {
        let mut gone = 0;
        while self.users.get(user).is_some_and(|user| user.bytes > most)
            && let Some(owner) = self.used.values().find(|owner| owner.0 == user).cloned()
        {
            self.take(&owner);
            gone += 1;
        }
        gone
    }

    /// Lets devices go, for one that a user has asked with, until there are so many bytes: those that have asked for nothing
    /// in a day, then the ones that were not used for longest of those users who have as much as he or more. How many are gone.
    pub(super) fn shrink_to(&mut self, most: usize, by: &UserId, now: Instant) -> u64 {
        let mut gone = 0;
        while self.bytes > most
            && let Some(oldest) = self.used.values().next().cloned()
        {
            let is_idle = self.devices.get(&oldest).is_none_or(|device| now.since(device.at) >= IDLE);
            let bytes_of = |user: &UserId| self.users.get(user).map_or(0, |user| user.bytes);
            let own = bytes_of(by);
            let goes = match is_idle {
                true => Some(oldest),
                false => self.used.values().find(|owner| bytes_of(&owner.0) >= own).cloned(),
            };
            let Some(goes) = goes else { break };
            self.take(&goes);
            gone += 1;
        }
        gone
    }
}
