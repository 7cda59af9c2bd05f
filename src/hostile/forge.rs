//! Events of any content, hashed and signed.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, RoomVersionId,
    canonical_json::try_from_json_map,
    room_version_rules::RoomVersionRules,
    signatures::{Ed25519KeyPair, hash_and_sign_event, reference_hash},
};
use serde_json::Value;

use crate::{hosted::Hosted, hostile::Hostile};

/// An event that the hostile server has signed.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id; what it would be for others, so none where the event cannot have one.
    pub id: String,
    /// The event as it is sent.
    pub json: Value,
}

/// The rules of a room version.
pub(crate) fn rules(version: &str) -> RoomVersionRules {
    RoomVersionId::try_from(version).ok().and_then(|version| version.rules()).expect("a room version")
}

impl Hostile {
    /// Hashes and signs an event of a room version with this server's key, however odd it is. What cannot
    /// be signed at all (it is no object, or has numbers that canonical JSON has not) stays as it is.
    pub fn sign(&self, version: &str, event: Value) -> Event {
        let rules = rules(version);
        let Some(Ok(mut object)) = event.as_object().cloned().map(try_from_json_map) else {
            return Event { id: String::new(), json: event };
        };
        object.remove("hashes");
        object.remove("signatures");
        if hash_and_sign_event(self.name().as_str(), &self.key_pair(), &mut object, &rules.redaction).is_err()
        {
            return Event { id: String::new(), json: event };
        }
        self.known(&object, &rules)
    }

    /// `event` of a room with something changed in it, hashed and signed anew.
    pub fn forge(&self, room: &Hosted, event: &Event, change: impl FnOnce(&mut Value)) -> Event {
        let mut json = event.json.clone();
        change(&mut json);
        self.sign(&room.version, json)
    }

    /// `event` with something changed in it and the old hash and signature left as they are.
    pub fn tamper(&self, room: &Hosted, event: &Event, change: impl FnOnce(&mut Value)) -> Event {
        let mut json = event.json.clone();
        change(&mut json);
        match json.as_object().cloned().map(try_from_json_map) {
            Some(Ok(object)) => self.known(&object, &rules(&room.version)),
            _ => Event { id: String::new(), json },
        }
    }

    /// Remembers an event, to give it to whoever asks for it.
    fn known(&self, object: &CanonicalJsonObject, rules: &RoomVersionRules) -> Event {
        let id = reference_hash(object, rules).map(|hash| format!("${hash}")).unwrap_or_default();
        let json = serde_json::to_value(CanonicalJsonValue::Object(object.clone())).expect("JSON");
        self.remember(id.clone(), json.clone());
        Event { id, json }
    }

    fn key_pair(&self) -> Ed25519KeyPair {
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend(self.seed());
        Ed25519KeyPair::from_der(&der, self.authority().key_version().to_owned()).expect("a key")
    }
}

/// The id of an event of this version.
pub(crate) fn event_id(version: &str, event: &Value) -> String {
    let object = event.as_object().cloned().and_then(|object| try_from_json_map(object).ok());
    let object = object.expect("an event of somebody honest");
    if let (RoomVersionId::V1 | RoomVersionId::V2, Some(id)) =
        (RoomVersionId::try_from(version).expect("a room version"), event["event_id"].as_str())
    {
        return id.to_owned();
    }
    format!("${}", reference_hash(&object, &rules(version)).expect("a hash"))
}
