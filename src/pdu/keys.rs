//! Public keys of servers, with the time for which they may be believed.

use std::{collections::HashMap, fmt};

use ed25519_dalek::VerifyingKey;
use ruma::{OwnedServerName, OwnedServerSigningKeyId, ServerName};

use crate::{Authority, hash};

/// A key's claim to be valid is believed for this long after it was fetched, in milliseconds: a
/// server must be able to revoke a stolen key.
pub const MAX_VALIDITY_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A public key of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyKey {
    key: VerifyingKey,
    valid_until_ts: u64,
    expired_ts: Option<u64>,
}

/// The bytes are not an Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key")]
pub struct InvalidKey;

impl VerifyKey {
    /// A key that its server publishes as current.
    ///
    /// Times are in milliseconds since 1970. The key counts for events up to `valid_until_ts`, but at
    /// most [`MAX_VALIDITY_MS`] after `fetched_ts`.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn current(public_key: &[u8], valid_until_ts: u64, fetched_ts: u64) -> Result<Self, InvalidKey> {
        let valid_until_ts = valid_until_ts.min(fetched_ts.saturating_add(MAX_VALIDITY_MS));
        Ok(Self { key: read_key(public_key)?, valid_until_ts, expired_ts: None })
    }

    /// A key that its server used until `expired_ts` (milliseconds since 1970).
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn old(public_key: &[u8], expired_ts: u64) -> Result<Self, InvalidKey> {
        Ok(Self { key: read_key(public_key)?, valid_until_ts: expired_ts, expired_ts: Some(expired_ts) })
    }

    /// Reads the base64 of a key document into bytes for the constructors.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn decode(base64: &str) -> Result<[u8; 32], InvalidKey> {
        hash::from_base64(base64).and_then(|bytes| bytes.try_into().ok()).ok_or(InvalidKey)
    }

    /// Whether these bytes are no key that somebody could have made: a point of small order, for which anybody can make
    /// signatures that fit whatever was signed, or one that is written otherwise than its own bytes are. Bytes that are no
    /// point at all are none of these: nothing is signed by them.
    pub fn is_weak(public_key: &[u8; 32]) -> bool {
        VerifyingKey::from_bytes(public_key)
            .is_ok_and(|key| key.is_weak() || key.to_edwards().compress().as_bytes() != public_key)
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Until when events may be signed with it, in milliseconds since 1970.
    pub fn valid_until_ts(&self) -> u64 {
        self.valid_until_ts
    }

    /// When it was given up, if it was.
    pub fn expired_ts(&self) -> Option<u64> {
        self.expired_ts
    }

    /// Whether it may have signed something at this time (milliseconds since 1970).
    pub fn is_valid_at(&self, ts: u64) -> bool {
        ts <= self.valid_until_ts
    }

    /// Whether `signature` is this key's signature of `message`, whatever the time.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
        ed25519_dalek::Verifier::verify(&self.key, message, &signature).is_ok()
    }

    /// As [`Self::has_signed`], for a signature in base64.
    pub fn has_signed_base64(&self, message: &[u8], signature: &str) -> bool {
        hash::from_base64(signature).is_some_and(|signature| self.has_signed(message, &signature))
    }
}

fn read_key(bytes: &[u8]) -> Result<VerifyingKey, InvalidKey> {
    let bytes = bytes.try_into().map_err(|_| InvalidKey)?;
    VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey)
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyKey")
            .field("key", &hash::base64(self.key.as_bytes()))
            .field("valid_until_ts", &self.valid_until_ts)
            .field("expired_ts", &self.expired_ts)
            .finish()
    }
}

/// Public keys by server and key id, gathered before something is verified.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    servers: HashMap<OwnedServerName, HashMap<OwnedServerSigningKeyId, VerifyKey>>,
}

impl KeyRing {
    /// A ring without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key; it replaces one of the same id.
    pub fn insert(&mut self, server: OwnedServerName, key_id: OwnedServerSigningKeyId, key: VerifyKey) {
        self.servers.entry(server).or_default().insert(key_id, key);
    }

    /// Adds the keys of an authority of ours, the present one without end.
    pub fn insert_authority(&mut self, authority: &Authority) {
        let name = authority.name();
        if let Ok(key) = read_key(&authority.public_key()) {
            let key = VerifyKey { key, valid_until_ts: u64::MAX, expired_ts: None };
            self.insert(name.to_owned(), authority.key_id().to_owned(), key);
        }
        for old in authority.old_keys() {
            if let Ok(key) = VerifyKey::old(&old.public_key, old.expired_ts) {
                self.insert(name.to_owned(), old.key_id.clone(), key);
            }
        }
    }

    /// The key of this server with this id (`ed25519:…`).
    pub fn find(&self, server: &ServerName, key_id: &str) -> Option<&VerifyKey> {
        let keys = self.servers.get(server)?;
        // A server has one or two keys: looking at each spares parsing the id.
        keys.iter().find(|(id, _)| id.as_str() == key_id).map(|(_, key)| key)
    }

    /// All keys of a server.
    pub fn of_server(
        &self,
        server: &ServerName,
    ) -> impl Iterator<Item = (&OwnedServerSigningKeyId, &VerifyKey)> {
        self.servers.get(server).into_iter().flatten()
    }

    /// Whether any key of the server is there.
    pub fn has_server(&self, server: &ServerName) -> bool {
        self.servers.contains_key(server)
    }

    /// Takes over all keys of another ring.
    pub fn extend(&mut self, other: Self) {
        for (server, keys) in other.servers {
            self.servers.entry(server).or_default().extend(keys);
        }
    }
}
