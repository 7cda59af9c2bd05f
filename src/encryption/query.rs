//! Keys of users as somebody may see them.
//!
//! Signatures that came apart from what they sign are added here: those that a user made of his own devices and keys for
//! everybody, those that the reader made of others' keys for him alone. A user-signing key is its owner's business.

use std::collections::BTreeMap;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, OwnedDeviceId, OwnedServerName, OwnedUserId, UserId};
use store::{Order, Range};

use crate::{
    Encryption, Error, signed,
    tables::{CROSS_SIGNING, DEVICE_KEYS, LAST_CHANGE, SIGNATURES},
};

/// Devices of one user that are told of.
pub(crate) const MOST_DEVICES: usize = 1_000;

/// Users of whom keys are asked in one request.
pub(crate) const MOST_USERS: usize = 1_000;

/// Signatures of one user that are added to one answer.
const MOST_SIGNATURES: usize = 4_000;

/// Whose keys are wanted; of no devices in particular: of all.
pub type Wanted = BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>;

/// A user's keys as a reader may see them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserKeys {
    /// Identity keys of his devices.
    pub devices: BTreeMap<OwnedDeviceId, CanonicalJsonObject>,
    /// His master key.
    pub master: Option<CanonicalJsonObject>,
    /// His self-signing key.
    pub self_signing: Option<CanonicalJsonObject>,
    /// His user-signing key.
    pub user_signing: Option<CanonicalJsonObject>,
}

/// Keys of several users, and the servers that could not be asked.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// [`Error::TooLarge`] for more than 1,000 users; [`Error::Store`], [`Error::Account`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>
    pub async fn own_keys(
        &self,
        reader: Option<&UserId>,
        wanted: &Wanted,
    ) -> Result<BTreeMap<OwnedUserId, UserKeys>, Error> {
        if wanted.len() > MOST_USERS || wanted.values().any(|only| only.len() > MOST_DEVICES) {
            return Err(Error::TooLarge("keys of too many users or devices are asked for at once"));
        }
        let store = &self.inner.store;
        let users: Vec<&UserId> = wanted.keys().map(|user| &**user).collect();
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

        let mut found = BTreeMap::new();
        let mut names = names.into_iter();
        let rows = devices.into_iter().zip(keys).zip(of_self.into_iter().zip(of_reader));
        for ((user, only), ((devices, keys), (of_self, of_reader))) in wanted.iter().zip(rows) {
            let mut known = UserKeys::default();
            for ((_, device), json) in devices {
                let name = names.next().flatten();
                if !only.is_empty() && !only.iter().any(|wanted| wanted.as_str() == device) {
                    continue;
                }
                let mut keys = signed::read(&json)?;
                if let Some(name) = name {
                    let name = ("device_display_name".to_owned(), CanonicalJsonValue::String(name));
                    keys.insert("unsigned".to_owned(), CanonicalJsonValue::Object([name].into()));
                }
                known.devices.insert(device.into(), keys);
            }
            for ((_, usage), json) in keys {
                let key = Some(signed::read(&json)?);
                match usage.as_str() {
                    "master" => known.master = key,
                    "self_signing" => known.self_signing = key,
                    "user_signing" if reader == Some(&**user) => known.user_signing = key,
                    _ => {}
                }
            }
            for ((signer, _, key, key_id), signature) in of_self.into_iter().chain(of_reader) {
                known.add_signature(&signer, &key, &key_id, &signature);
            }
            found.insert(user.clone(), known);
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
                keys.add_signature(&signer, &key, &key_id, &signature);
            }
        }
        Ok(())
    }

    /// What devices are called, in their order: for users of ours. Other servers are not told.
    async fn names(
        &self,
        reader: Option<&UserId>,
        devices: &[Vec<((String, String), bytes::Bytes)>],
    ) -> Result<Vec<Option<String>>, Error> {
        let all: Vec<(&str, &str)> =
            devices.iter().flatten().map(|((user, device), _)| (user.as_str(), device.as_str())).collect();
        match reader {
            Some(_) => Ok(self.inner.accounts.device_names(&all).await?),
            None => Ok(vec![None; all.len()]),
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
    /// Adds a signature that came apart from the key, if that is there.
    fn add_signature(&mut self, signer: &str, key: &str, key_id: &str, signature: &str) {
        let master = self.master.as_mut().filter(|master| signed::public_part(master) == Some(key));
        let signed = match master {
            Some(master) => Some(master),
            None => self.devices.iter_mut().find(|(device, _)| device.as_str() == key).map(|(_, keys)| keys),
        };
        if let Some(signed) = signed {
            signed::add_signature(signed, signer, key_id, signature);
        }
    }
}
