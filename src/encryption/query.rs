//! Keys of users as somebody may see them.
//!
//! Signatures that came apart from what they sign are added here: those that a user made of his own devices and keys for
//! everybody, those that the reader made of others' keys for him alone. A user-signing key is its owner's business.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use ruma::{CanonicalJsonObject, CanonicalJsonValue, OwnedDeviceId, OwnedServerName, OwnedUserId, UserId};
use serde_json::value::RawValue;
use store::{Order, Range};

use crate::{
    Encryption, Error, signed,
    tables::{CROSS_SIGNING, DEVICE_KEYS, LAST_CHANGE, SIGNATURES},
};

/// Devices of one user that are told of, and bytes of their identity keys: no more are taken of a user of ours either.
pub(crate) const MOST_DEVICES: usize = 1_000;
pub(crate) const MOST_USER_BYTES: usize = 1 << 20;

/// Users of whom keys are asked in one request, and bytes of keys in one answer. Those of a thousand users come to some
/// megabytes.
pub(crate) const MOST_USERS: usize = 1_000;
const MOST_ANSWER_BYTES: usize = 16 << 20;

/// Users whose keys are read together.
const USERS_AT_ONCE: usize = 32;

/// Signatures of one user that are added to one answer.
const MOST_SIGNATURES: usize = 4_000;

/// Whose keys are wanted; of no devices in particular: of all.
pub type Wanted = BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>;

/// A user's keys as a reader may see them.
#[derive(Clone, Debug, Default)]
pub struct UserKeys {
    /// Identity keys of his devices, objects in JSON.
    pub devices: BTreeMap<OwnedDeviceId, Box<RawValue>>,
    /// His master key.
    pub master: Option<CanonicalJsonObject>,
    /// His self-signing key.
    pub self_signing: Option<CanonicalJsonObject>,
    /// His user-signing key.
    pub user_signing: Option<CanonicalJsonObject>,
}

/// How many bytes one answer may still take.
pub(crate) struct Left(AtomicUsize);

impl Default for Left {
    fn default() -> Self {
        Self(AtomicUsize::new(MOST_ANSWER_BYTES))
    }
}

impl Left {
    /// Whether so many more fit, which are taken then.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// The same for what cannot be left out.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(crate) fn demand(&self, bytes: usize) -> Result<(), Error> {
        match self.take(bytes) {
            true => Ok(()),
            false => Err(Error::TooLarge("the keys come to more than 16 MiB: ask for fewer users at once")),
        }
    }
}

/// Keys of several users, and the servers that could not be asked.
#[derive(Clone, Debug, Default)]
pub struct Queried {
    /// The keys.
    pub users: BTreeMap<OwnedUserId, UserKeys>,
    /// Who does not answer, and why.
    pub failures: BTreeMap<OwnedServerName, String>,
}

impl Encryption {
    /// Keys of users of ours, as `reader` may see them; another server is none of them. Who has no keys has an entry
    /// without any.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than 1,000 users or 16 MiB of keys; [`Error::Store`], [`Error::Account`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>
    pub async fn own_keys(
        &self,
        reader: Option<&UserId>,
        wanted: &Wanted,
    ) -> Result<BTreeMap<OwnedUserId, UserKeys>, Error> {
        self.own_keys_within(reader, wanted, &Left::default()).await
    }

    /// The same within what is left of an answer.
    pub(crate) async fn own_keys_within(
        &self,
        reader: Option<&UserId>,
        wanted: &Wanted,
        left: &Left,
    ) -> Result<BTreeMap<OwnedUserId, UserKeys>, Error> {
        if wanted.len() > MOST_USERS || wanted.values().any(|only| only.len() > MOST_DEVICES) {
            return Err(Error::TooLarge("keys of too many users or devices are asked for at once"));
        }
        let mut found = BTreeMap::new();
        let wanted: Vec<(&OwnedUserId, &Vec<OwnedDeviceId>)> = wanted.iter().collect();
        for some in wanted.chunks(USERS_AT_ONCE) {
            for (user, keys) in self.some_own_keys(reader, some).await? {
                left.demand(keys.size())?;
                found.insert(user, keys);
            }
        }
        Ok(found)
    }

    /// The same of few users.
    async fn some_own_keys(
        &self,
        reader: Option<&UserId>,
        wanted: &[(&OwnedUserId, &Vec<OwnedDeviceId>)],
    ) -> Result<Vec<(OwnedUserId, UserKeys)>, Error> {
        let store = &self.inner.store;
        let users: Vec<&UserId> = wanted.iter().map(|(user, _)| &***user).collect();
        let prefixes = || users.iter().map(|user| Range::prefix(user.as_str())).collect();
        let devices = store.scan_many(&DEVICE_KEYS, prefixes(), Order::Ascending, MOST_DEVICES).await?;
        let keys = store.scan_many(&CROSS_SIGNING, prefixes(), Order::Ascending, 8).await?;
        let by = |signer: &UserId, of: &UserId| Range::prefix(&(signer.as_str(), of.as_str()));
        let of_self = users.iter().map(|user| by(user, user)).collect();
        let of_self = store.scan_many(&SIGNATURES, of_self, Order::Ascending, MOST_SIGNATURES).await?;
        let of_reader = match reader {
            Some(reader) => {
                let ranges = users.iter().map(|user| by(reader, user)).collect();
                store.scan_many(&SIGNATURES, ranges, Order::Ascending, MOST_SIGNATURES).await?
            }
            None => vec![Vec::new(); users.len()],
        };
        let names = self.names(reader, &devices).await?;

        let mut found = Vec::with_capacity(wanted.len());
        let mut names = names.into_iter();
        let rows = devices.into_iter().zip(keys).zip(of_self.into_iter().zip(of_reader));
        for ((user, only), ((devices, keys), (of_self, of_reader))) in wanted.iter().zip(rows) {
            let mut known = UserKeys::default();
            for ((_, usage), json) in keys {
                let key = Some(signed::read(&json)?);
                match usage.as_str() {
                    "master" => known.master = key,
                    "self_signing" => known.self_signing = key,
                    "user_signing" if reader == Some(&***user) => known.user_signing = key,
                    _ => {}
                }
            }
            let mut of_devices: BTreeMap<&str, Vec<(&str, &str, &str)>> = BTreeMap::new();
            for ((signer, _, key, key_id), signature) in of_self.iter().chain(&of_reader) {
                if !known.sign_master(signer, key, key_id, signature) {
                    of_devices.entry(key).or_default().push((signer, key_id, signature));
                }
            }
            let mut bytes = 0;
            for ((_, device), json) in &devices {
                let name = names.next().flatten();
                bytes += json.len();
                if bytes > MOST_USER_BYTES
                    || !(only.is_empty() || only.iter().any(|it| it.as_str() == device))
                {
                    continue;
                }
                let signatures = of_devices.get(device.as_str()).map(Vec::as_slice).unwrap_or_default();
                if let Some(told) = signed::raw(&device_as_told(json, name, signatures)?) {
                    known.devices.insert(device.as_str().into(), told);
                }
            }
            found.push(((*user).clone(), known));
        }
        Ok(found)
    }

    /// Adds the signatures that the reader made of keys of users of other servers.
    pub(crate) async fn add_own_signatures(
        &self,
        reader: &UserId,
        users: &mut BTreeMap<OwnedUserId, UserKeys>,
    ) -> Result<(), Error> {
        let rooms = &self.inner.rooms;
        let (names, keys): (Vec<&OwnedUserId>, Vec<&mut UserKeys>) =
            users.iter_mut().filter(|(user, _)| !rooms.is_local(user)).unzip();
        let ranges = names.iter().map(|user| Range::prefix(&(reader.as_str(), user.as_str()))).collect();
        let found =
            self.inner.store.scan_many(&SIGNATURES, ranges, Order::Ascending, MOST_SIGNATURES).await?;
        for (keys, found) in keys.into_iter().zip(found) {
            for ((signer, _, key, key_id), signature) in found {
                keys.sign_master(&signer, &key, &key_id, &signature);
            }
        }
        Ok(())
    }

    /// What devices are called, in their order: for users of ours. Other servers are told if the configuration says so.
    async fn names(
        &self,
        reader: Option<&UserId>,
        devices: &[Vec<((String, String), bytes::Bytes)>],
    ) -> Result<Vec<Option<String>>, Error> {
        let all: Vec<(&str, &str)> =
            devices.iter().flatten().map(|((user, device), _)| (user.as_str(), device.as_str())).collect();
        match reader.is_some() || self.inner.tells_names {
            true => Ok(self.inner.accounts.device_names(&all).await?),
            false => Ok(vec![None; all.len()]),
        }
    }

    /// The number of the list of devices of a user of ours, as other servers know it: it grows with each change.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list_number(&self, user: &UserId) -> Result<u64, Error> {
        let last = self.inner.store.get(&LAST_CHANGE, user.as_str()).await?;
        Ok(last
            .and_then(|last| if last.value.is_of_devices { Some(last.position) } else { last.value.list })
            .map_or(0, |list| list.0))
    }
}

impl UserKeys {
    /// Adds a signature that came apart from the master key, if it is of that key.
    fn sign_master(&mut self, signer: &str, key: &str, key_id: &str, signature: &str) -> bool {
        let master = self.master.as_mut().filter(|master| signed::public_part(master) == Some(key));
        let is_of_master = master.is_some();
        if let Some(master) = master {
            signed::add_signature(master, signer, key_id, signature);
        }
        is_of_master
    }

    /// How many bytes of an answer they take, about.
    pub(crate) fn size(&self) -> usize {
        let devices = self.devices.iter().map(|(device, keys)| device.as_str().len() + keys.get().len() + 4);
        let keys = [&self.master, &self.self_signing, &self.user_signing];
        let keys = keys.into_iter().flatten().map(|key| signed::written(key).len());
        64 + devices.chain(keys).sum::<usize>()
    }
}

/// The keys of a device with what it is called and the signatures that came apart from them.
fn device_as_told(
    json: &[u8],
    name: Option<String>,
    signatures: &[(&str, &str, &str)],
) -> Result<CanonicalJsonObject, Error> {
    let mut keys = signed::read(json)?;
    if let Some(name) = name {
        let name = ("device_display_name".to_owned(), CanonicalJsonValue::String(name));
        keys.insert("unsigned".to_owned(), CanonicalJsonValue::Object([name].into()));
    }
    for (signer, key_id, signature) in signatures {
        signed::add_signature(&mut keys, signer, key_id, signature);
    }
    Ok(keys)
}
