//! [`Identity`]: a server name with its key, and what is signed with it.
//!
//! Signing, hashing and checking are ruma's throughout, not those of the server under test: what both got
//! wrong in the same way would not show.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedServerName, SigningKeyAlgorithm,
    room_version_rules::RoomVersionRules,
    serde::Base64,
    signatures::{
        Ed25519KeyPair, KeyPair as _, PublicKeyMap, hash_and_sign_event, reference_hash, sign_json,
        verify_canonical_json_bytes,
    },
};
use serde_json::{Value, json};

/// The version of everybody's key.
const KEY_VERSION: &str = "nation";
/// How long everybody's key document is good for: longer than any run.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A server name and its key.
pub(super) struct Identity {
    pub(super) name: OwnedServerName,
    /// Its key document, as it is given to who asks.
    pub(super) document: Bytes,
    key: Ed25519KeyPair,
}

impl Identity {
    /// A name with a new key.
    pub(super) fn generate(name: OwnedServerName) -> Result<Self> {
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), KEY_VERSION.to_owned())?;
        let until = now_ms() + u64::try_from(LIFETIME.as_millis())?;
        let mut document = object(json!({
            "server_name": name,
            "valid_until_ts": until,
            "verify_keys": { key_id(): { "key": Base64::<ruma::serde::base64::Standard>::new(key.public_key().to_vec()).encode() } },
            "old_verify_keys": {},
        }))?;
        sign_json(name.as_str(), &key, &mut document)?;
        Ok(Self { name, document: Bytes::from(text(document)), key })
    }

    /// Enters its key into a directory.
    pub(super) fn enter(&self, keys: &mut PublicKeyMap) {
        let own = keys.entry(self.name.to_string()).or_default();
        own.insert(key_id(), Base64::new(self.key.public_key().to_vec()));
    }

    /// Hashes and signs an event; returns its id.
    pub(super) fn sign_event(
        &self,
        event: &mut CanonicalJsonObject,
        rules: &RoomVersionRules,
    ) -> Result<String> {
        hash_and_sign_event(self.name.as_str(), &self.key, event, &rules.redaction)?;
        Ok(format!("${}", reference_hash(event, rules)?))
    }

    /// The `Authorization` header of a request to `destination`; `content` is canonical JSON.
    pub(super) fn authorization(
        &self,
        destination: &str,
        method: &str,
        uri: &str,
        content: Option<&str>,
    ) -> String {
        let message = signed_part(self.name.as_str(), destination, method, uri, content);
        let signature = self.key.sign(message.as_bytes()).base64();
        let (name, key) = (&self.name, key_id());
        format!("X-Matrix origin=\"{name}\",destination=\"{destination}\",key=\"{key}\",sig=\"{signature}\"")
    }
}

/// Checks the `Authorization` header of a request to `destination`; returns who made it.
pub(super) fn check_authorization(
    keys: &PublicKeyMap,
    header: &str,
    destination: &str,
    method: &str,
    uri: &str,
    content: Option<&str>,
) -> Result<String> {
    let parameters = header.strip_prefix("X-Matrix ").context("another scheme than X-Matrix")?;
    let find = |name: &str| {
        let mut all = parameters.split(',').filter_map(|pair| pair.trim().split_once('='));
        let found = all.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().trim_matches('"'));
        found.with_context(|| format!("no {name} in the Authorization header"))
    };
    let origin = find("origin")?;
    ensure!(
        find("destination")? == destination,
        "a request for {} came to {destination}",
        find("destination")?
    );
    let key = keys.get(origin).and_then(|own| own.get(find("key").ok()?)).context("an unknown key")?;
    let signature: Base64 = Base64::parse(find("sig")?)?;
    let message = signed_part(origin, destination, method, uri, content);
    let algorithm = SigningKeyAlgorithm::Ed25519;
    verify_canonical_json_bytes(&algorithm, key.as_bytes(), signature.as_bytes(), message.as_bytes())?;
    Ok(origin.to_owned())
}

/// What is signed of a request.
fn signed_part(origin: &str, destination: &str, method: &str, uri: &str, content: Option<&str>) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let content = content.map(|content| format!("\"content\":{content},")).unwrap_or_default();
    format!(
        "{{{content}\"destination\":{},\"method\":{},\"origin\":{},\"uri\":{}}}",
        text(destination),
        text(method),
        text(origin),
        text(uri)
    )
}

/// Enters the keys of a document that a server gave of itself, once its signature is checked.
pub(super) fn enter_document(keys: &mut PublicKeyMap, name: &str, document: &[u8]) -> Result<()> {
    let document: CanonicalJsonObject = serde_json::from_slice(document)?;
    let Some(CanonicalJsonValue::Object(present)) = document.get("verify_keys") else {
        bail!("a key document without keys");
    };
    let mut own = std::collections::BTreeMap::new();
    for (id, key) in present {
        let key = key.as_object().and_then(|key| key.get("key")?.as_str()).context("a key without a key")?;
        own.insert(id.clone(), Base64::parse(key)?);
    }
    let claimed = PublicKeyMap::from([(name.to_owned(), own)]);
    ruma::signatures::verify_json(&claimed, &document).context("the key document's signature")?;
    keys.extend(claimed);
    Ok(())
}

/// JSON as an object of canonical JSON.
pub(super) fn object(json: Value) -> Result<CanonicalJsonObject> {
    Ok(serde_json::from_value(json)?)
}

/// An object as canonical JSON text.
pub(super) fn text(object: CanonicalJsonObject) -> String {
    CanonicalJsonValue::Object(object).to_string()
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn key_id() -> String {
    format!("ed25519:{KEY_VERSION}")
}
