//! Our own server names and the keys they sign with.

use std::{collections::BTreeMap, fmt, sync::Arc};

use ed25519_dalek::{Signer as _, SigningKey};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedServerName, OwnedServerSigningKeyId, ServerName,
    ServerSigningKeyId,
};

use crate::hash;

/// One server name of ours, with the key that it signs with and those it signed with before.
///
/// The secret key never leaves it and is not printed.
pub struct Authority {
    name: OwnedServerName,
    key_id: OwnedServerSigningKeyId,
    key: SigningKey,
    old_keys: Vec<OldKey>,
}

/// A key that an authority used before, published so that its old events stay verifiable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldKey {
    /// `ed25519:` and its version.
    pub key_id: OwnedServerSigningKeyId,
    /// The public key.
    pub public_key: [u8; 32],
    /// When it was used last, in milliseconds since 1970.
    pub expired_ts: u64,
}

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// There is no `ed25519 <version> <seed>` line.
    #[error("no line `ed25519 <version> <seed>` in the key file")]
    Form,
    /// The version has other characters than letters, digits and `_`.
    #[error("the key version may consist of letters, digits and `_` only")]
    Version,
    /// The seed is not 32 bytes in base64.
    #[error("the seed is not 32 bytes in unpadded base64")]
    Seed,
}

impl Authority {
    /// An authority that signs with the key of this seed.
    ///
    /// # Errors
    /// [`KeyFileError::Version`]
    pub fn new(name: OwnedServerName, key_version: &str, seed: &[u8; 32]) -> Result<Self, KeyFileError> {
        Ok(Self {
            name,
            key_id: key_id(key_version)?,
            key: SigningKey::from_bytes(seed),
            old_keys: Vec::new(),
        })
    }

    /// An authority with a new key; `fill` must give random bytes fit for secrets.
    ///
    /// # Errors
    /// [`KeyFileError::Version`]
    pub fn generate(
        name: OwnedServerName,
        key_version: &str,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, KeyFileError> {
        let mut seed = [0; 32];
        fill(&mut seed);
        Self::new(name, key_version, &seed)
    }

    /// Reads a key file: a line `ed25519 <version> <unpadded base64 seed>`, as other homeservers
    /// write it too. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`KeyFileError`]
    pub fn from_key_file(name: OwnedServerName, text: &str) -> Result<Self, KeyFileError> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let mut words = line.unwrap_or_default().split_ascii_whitespace();
        let (Some("ed25519"), Some(version), Some(seed), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyFileError::Form);
        };
        let seed = hash::from_base64(seed).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        Self::new(name, version, &seed.ok_or(KeyFileError::Seed)?)
    }

    /// The key file, with the secret: for a file that only we can read.
    pub fn to_key_file(&self) -> String {
        format!("ed25519 {} {}\n", self.key_version(), hash::base64(self.key.as_bytes()))
    }

    /// Adds a key that was used before.
    #[must_use]
    pub fn with_old_key(mut self, old: OldKey) -> Self {
        self.old_keys.push(old);
        self
    }

    /// The server name.
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// The id of the present key: `ed25519:` and its version.
    pub fn key_id(&self) -> &ServerSigningKeyId {
        &self.key_id
    }

    /// The version of the present key.
    pub fn key_version(&self) -> &str {
        self.key_id.key_name().as_str()
    }

    /// The public half of the present key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The public half of the present key in unpadded base64, as key documents have it.
    pub fn public_key_base64(&self) -> String {
        hash::base64(&self.public_key())
    }

    /// The keys that were used before.
    pub fn old_keys(&self) -> &[OldKey] {
        &self.old_keys
    }

    /// The signature of these bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The signature of these bytes, in unpadded base64.
    pub fn sign_bytes(&self, message: &[u8]) -> String {
        hash::base64(&self.sign(message))
    }

    /// Signs a JSON object (a request, a key document) and puts the signature into `signatures`.
    ///
    /// `signatures` and `unsigned` are not covered; signatures of others stay.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/appendices/#signing-json>
    pub fn sign_json(&self, object: &mut CanonicalJsonObject) {
        let signatures = object.remove("signatures");
        let unsigned = object.remove("unsigned");
        let message = CanonicalJsonValue::Object(std::mem::take(object));
        let signature = self.sign_bytes(message.to_string().as_bytes());
        if let CanonicalJsonValue::Object(content) = message {
            *object = content;
        }
        let mut signatures = match signatures {
            Some(CanonicalJsonValue::Object(signatures)) => signatures,
            _ => BTreeMap::new(),
        };
        let own = signatures.entry(self.name.to_string()).or_default();
        if !own.is_object() {
            *own = CanonicalJsonValue::Object(BTreeMap::new());
        }
        if let Some(own) = own.as_object_mut() {
            own.insert(self.key_id.to_string(), signature.into());
        }
        object.insert("signatures".to_owned(), signatures.into());
        if let Some(unsigned) = unsigned {
            object.insert("unsigned".to_owned(), unsigned);
        }
    }
}

fn key_id(version: &str) -> Result<OwnedServerSigningKeyId, KeyFileError> {
    let plain = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if version.is_empty() || version.len() > 64 || !plain {
        return Err(KeyFileError::Version);
    }
    ServerSigningKeyId::parse(format!("ed25519:{version}")).map_err(|_| KeyFileError::Version)
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("name", &self.name)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// All server names that are ours.
///
/// Whether something is local is asked here, never by comparing with one name.
#[derive(Debug, Clone, Default)]
pub struct Authorities {
    by_name: BTreeMap<OwnedServerName, Arc<Authority>>,
}

impl Authorities {
    /// The set of these; of two with the same name, the later one.
    pub fn new(authorities: impl IntoIterator<Item = Authority>) -> Self {
        let by_name = authorities.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect();
        Self { by_name }
    }

    /// Whether this server name is one of ours.
    pub fn is_ours(&self, name: &ServerName) -> bool {
        self.by_name.contains_key(name)
    }

    /// The authority of this name.
    pub fn find(&self, name: &ServerName) -> Option<&Arc<Authority>> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}
