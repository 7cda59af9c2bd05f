//! Signed JSON objects, as keys are.
//!
//! Spec: <https://spec.matrix.org/v1.19/appendices/#signing-json>

use std::collections::BTreeMap;

use pdu::{InvalidKey, VerifyKey};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, UserId};
use serde_json::{Value, value::RawValue};

use crate::Error;

/// Largest object with a key, in bytes. Those of clients have some hundred.
const LARGEST: usize = 16 << 10;

/// Takes an object that somebody uploaded, without `unsigned`: what is in there is not his to say.
///
/// # Errors
/// [`Error::BadJson`], [`Error::TooLarge`].
pub(crate) fn object(value: Value) -> Result<CanonicalJsonObject, Error> {
    let Ok(CanonicalJsonValue::Object(mut object)) = CanonicalJsonValue::try_from(value) else {
        return Err(Error::BadJson("a key is to be an object without fractions".to_owned()));
    };
    object.remove("unsigned");
    if written(&object).len() > LARGEST {
        return Err(Error::TooLarge("an object with a key has at most 16 KiB"));
    }
    Ok(object)
}

/// Reads what was stored.
///
/// # Errors
/// [`Error::BadJson`], which the program's own rows never are.
pub(crate) fn read(json: &[u8]) -> Result<CanonicalJsonObject, Error> {
    serde_json::from_slice(json).map_err(|error| Error::BadJson(error.to_string()))
}

/// The object in canonical JSON.
pub(crate) fn written(object: &CanonicalJsonObject) -> Vec<u8> {
    serde_json::to_vec(object).unwrap_or_default()
}

/// The object as it stands in answers.
pub(crate) fn raw(object: &CanonicalJsonObject) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(object).ok()
}

/// What signatures of the object cover.
pub(crate) fn message(object: &CanonicalJsonObject) -> Vec<u8> {
    let covered: BTreeMap<_, _> =
        object.iter().filter(|(key, _)| !matches!(key.as_str(), "signatures" | "unsigned")).collect();
    serde_json::to_vec(&covered).unwrap_or_default()
}

/// A text in an object.
pub(crate) fn text<'a>(object: &'a CanonicalJsonObject, field: &str) -> Option<&'a str> {
    object.get(field).and_then(CanonicalJsonValue::as_str)
}

/// The signature of a user with a key of this id.
pub(crate) fn signature<'a>(object: &'a CanonicalJsonObject, user: &UserId, key_id: &str) -> Option<&'a str> {
    let of_user = object.get("signatures")?.as_object()?.get(user.as_str())?.as_object()?;
    of_user.get(key_id)?.as_str()
}

/// Whether a public key signed the object, as this signature says.
pub(crate) fn is_signed(object: &CanonicalJsonObject, public_key: &str, signature: &str) -> bool {
    // The times of keys matter to servers alone.
    let key = sound(public_key).ok_or(InvalidKey).and_then(|bytes| VerifyKey::old(&bytes, 0));
    key.is_ok_and(|key| key.has_signed_base64(&message(object), signature))
}

/// The bytes of a public key in base64, if somebody can have made it.
pub(crate) fn sound(public_key: &str) -> Option<[u8; 32]> {
    VerifyKey::decode(public_key).ok().filter(|bytes| !VerifyKey::is_weak(bytes))
}

/// The Ed25519 key of a device, in base64.
pub(crate) fn ed25519_of<'a>(keys: &'a CanonicalJsonObject, device: &str) -> Option<&'a str> {
    let key = keys.get("keys")?.as_object()?.get(&format!("ed25519:{device}"))?.as_str()?;
    sound(key).map(|_| key)
}

/// Whether anybody could sign in the name of a device with these keys.
pub(crate) fn has_weak_key(keys: &CanonicalJsonObject, device: &str) -> bool {
    let key = keys.get("keys").and_then(|keys| keys.as_object()?.get(&format!("ed25519:{device}"))?.as_str());
    key.and_then(|key| VerifyKey::decode(key).ok()).is_some_and(|bytes| VerifyKey::is_weak(&bytes))
}

/// The public part of a cross-signing key, whose id is that with the algorithm before it; none where it has not exactly one
/// Ed25519 key that is named so.
pub(crate) fn public_part(object: &CanonicalJsonObject) -> Option<&str> {
    let keys = object.get("keys")?.as_object()?;
    let (id, key) = keys.iter().next().filter(|_| keys.len() == 1)?;
    let key = key.as_str()?;
    let is_named = id.strip_prefix("ed25519:").is_some_and(|named| named == key);
    (is_named && sound(key).is_some()).then_some(key)
}

/// Adds a signature that came apart from the object.
pub(crate) fn add_signature(object: &mut CanonicalJsonObject, user: &str, key_id: &str, signature: &str) {
    let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
    let CanonicalJsonValue::Object(all) = object.entry("signatures".to_owned()).or_insert_with(empty) else {
        return;
    };
    if let CanonicalJsonValue::Object(of_user) = all.entry(user.to_owned()).or_insert_with(empty) {
        of_user.insert(key_id.to_owned(), CanonicalJsonValue::String(signature.to_owned()));
    }
}
