//! Key documents: what a server publishes about its keys, read and written.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#publishing-keys>

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::Timestamp;
use bytes::Bytes;
use pdu::{Authority, MAX_VALIDITY_MS, VerifyKey, lenient};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, ServerName};
use serde::Deserialize;

use crate::tables::KeyRow;

/// The key document of an authority of ours, good until `valid_until`, in canonical JSON.
pub(crate) fn publish(authority: &Authority, valid_until: Timestamp) -> Bytes {
    let key = |base64: String| object([("key", base64.into())]);
    let verify_keys = object([(authority.key_id().as_str(), key(authority.public_key_base64()))]);
    let old_keys = authority.old_keys().iter().map(|old| {
        let fields = [("expired_ts", integer(old.expired_ts)), ("key", base64(&old.public_key).into())];
        (old.key_id.as_str(), object(fields))
    });
    let CanonicalJsonValue::Object(mut document) = object([
        ("old_verify_keys", object(old_keys)),
        ("server_name", authority.name().as_str().into()),
        ("valid_until_ts", integer(valid_until.millis())),
        ("verify_keys", verify_keys),
    ]) else {
        return Bytes::new();
    };
    authority.sign_json(&mut document);
    Bytes::from(CanonicalJsonValue::Object(document).to_string())
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, CanonicalJsonValue)>) -> CanonicalJsonValue {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    CanonicalJsonValue::Object(fields.collect())
}

fn integer(number: u64) -> CanonicalJsonValue {
    // JSON numbers of the protocol end at 2^53 - 1; that is the year 287396.
    let number = i64::try_from(number).unwrap_or(i64::MAX).min(pdu::json::MAX_SAFE_INTEGER);
    CanonicalJsonValue::Integer(number.try_into().unwrap_or_default())
}

fn base64(bytes: &[u8; 32]) -> String {
    ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(bytes).encode()
}

/// A key document of another server that proves to be its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// The document in canonical JSON.
    pub(super) json: Bytes,
    /// `valid_until_ts`, in ms since 1970.
    pub(super) valid_until: u64,
    /// Its keys by id, present and old.
    pub(super) keys: BTreeMap<String, KeyRow>,
    /// The ids of the present ones.
    pub(super) present: BTreeSet<String>,
}

/// Why a key document is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("the key document is malformed: {0}")]
    Form(String),
    #[error("the key document is of {0}")]
    OfAnother(String),
    #[error("the key document is not signed with the keys that it names")]
    NotSigned,
    #[error("the key document is not signed by the notary")]
    NotByNotary,
}

#[derive(Deserialize)]
struct Fields {
    server_name: String,
    #[serde(deserialize_with = "lenient::map")]
    verify_keys: BTreeMap<String, Key>,
    #[serde(default, deserialize_with = "lenient::map")]
    old_verify_keys: BTreeMap<String, OldKey>,
    valid_until_ts: u64,
    #[serde(default, deserialize_with = "lenient::map")]
    signatures: BTreeMap<String, Signatures>,
}

/// The signatures of one server by key id.
#[derive(Deserialize)]
struct Signatures(#[serde(deserialize_with = "lenient::map")] BTreeMap<String, String>);

#[derive(Deserialize)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
struct OldKey {
    key: String,
    expired_ts: u64,
}

/// Keys that one document may name; more make no sense.
const MOST_KEYS: usize = 256;

impl Document {
    /// Reads and checks the document of `server`, fetched at `now`.
    ///
    /// It must be signed with a key that it names as present, and no signature with one of those may be wrong.
    pub(super) fn read(server: &ServerName, bytes: &[u8], now: Timestamp) -> Result<Self, DocumentError> {
        let (fields, message, json) = parse(bytes)?;
        if fields.server_name != server.as_str() {
            return Err(DocumentError::OfAnother(fields.server_name));
        }
        if fields.verify_keys.len() + fields.old_verify_keys.len() > MOST_KEYS {
            return Err(DocumentError::Form("too many keys".to_owned()));
        }
        let mut keys = BTreeMap::new();
        for (id, old) in &fields.old_verify_keys {
            // A key of a kind that we do not know takes nothing from the others, no more than a broken one does.
            if let Some(public_key) = ed25519(id, &old.key) {
                // What it has given up it cannot use later than now, whatever it says.
                let expired = old.expired_ts.min(now.millis());
                let row = KeyRow { public_key, valid_until: expired, expired: Some(expired) };
                keys.insert(id.clone(), row);
            }
        }
        let signatures = fields.signatures.get(server.as_str());
        let mut present = BTreeSet::new();
        let mut signed = 0_usize;
        for (id, key) in &fields.verify_keys {
            let Some(public_key) = ed25519(id, &key.key) else { continue };
            let key = VerifyKey::current(&public_key, fields.valid_until_ts, now.millis())
                .map_err(|error| DocumentError::Form(error.to_string()))?;
            if let Some(signature) = signatures.and_then(|Signatures(by_key)| by_key.get(id)) {
                if !key.has_signed_base64(message.as_bytes(), signature) {
                    return Err(DocumentError::NotSigned);
                }
                signed += 1;
            }
            let row = KeyRow { public_key, valid_until: key.valid_until_ts(), expired: None };
            keys.insert(id.clone(), row);
            present.insert(id.clone());
        }
        if signed == 0 {
            return Err(DocumentError::NotSigned);
        }
        Ok(Self { json: Bytes::from(json), valid_until: fields.valid_until_ts, keys, present })
    }

    /// The server whose document this says to be.
    pub(super) fn server_of(bytes: &[u8]) -> Result<String, DocumentError> {
        Ok(parse(bytes)?.0.server_name)
    }
}

/// The ids of the keys that a stored document names as present.
pub(super) fn present(document: &[u8]) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Names {
        verify_keys: BTreeMap<String, serde::de::IgnoredAny>,
    }

    // It was read before it was stored.
    let names = serde_json::from_slice(document).map(|names: Names| names.verify_keys);
    names.map(|keys| keys.into_keys().collect()).unwrap_or_default()
}

/// Checks that a notary has signed a document with one of its keys that `find` gives by id.
pub(super) fn check_notary(
    notary: &ServerName,
    find: impl Fn(&str) -> Option<VerifyKey>,
    bytes: &[u8],
) -> Result<(), DocumentError> {
    let (fields, message, _) = parse(bytes)?;
    let signatures = fields.signatures.get(notary.as_str()).ok_or(DocumentError::NotByNotary)?;
    let right = signatures.0.iter().any(|(id, signature)| {
        find(id).is_some_and(|key| key.has_signed_base64(message.as_bytes(), signature))
    });
    if right { Ok(()) } else { Err(DocumentError::NotByNotary) }
}

/// Adds our signature to a document of another server, as a notary.
pub(super) fn countersign(document: &[u8], authority: &Authority) -> Option<CanonicalJsonObject> {
    let mut object: CanonicalJsonObject = serde_json::from_slice(document).ok()?;
    authority.sign_json(&mut object);
    Some(object)
}

/// Fields, the message that is signed, and the whole in canonical JSON.
fn parse(bytes: &[u8]) -> Result<(Fields, String, String), DocumentError> {
    let wrong = |error: &dyn std::fmt::Display| DocumentError::Form(error.to_string());
    let fields: Fields = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    let mut object: CanonicalJsonObject = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    let json = CanonicalJsonValue::Object(object.clone()).to_string();
    object.remove("signatures");
    object.remove("unsigned");
    Ok((fields, CanonicalJsonValue::Object(object).to_string(), json))
}

fn ed25519(id: &str, base64: &str) -> Option<[u8; 32]> {
    if !id.starts_with("ed25519:") {
        return None;
    }
    let bytes = VerifyKey::decode(base64).ok()?;
    VerifyKey::current(&bytes, 0, 0).ok().map(|_| bytes)
}

/// Half of the time for which a document may be used: then it is fetched anew, in peace.
///
/// A server whose clock is wrong, or that promises nothing, is asked once an hour.
pub(super) fn lifetime_of(fetched: u64, valid_until: u64) -> Duration {
    const HOUR: u64 = 60 * 60 * 1000;
    let lifetime = valid_until.saturating_sub(fetched).min(MAX_VALIDITY_MS);
    Duration::from_millis((lifetime / 2).max(HOUR))
}
