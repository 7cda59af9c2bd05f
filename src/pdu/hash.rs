//! Content hash, reference hash and the bytes that are signed.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#signing-events>

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use ruma::{EventId, OwnedEventId, room_version_rules::EventIdFormatVersion};
use sha2::{Digest as _, Sha256};

use crate::{RoomVersion, error::FormatError, members::members};

/// The hash over the whole event, which tells whether its content was stripped or changed.
pub(crate) fn content_hash(object: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"{");
    let mut separator: &[u8] = b"\"";
    for (key, value) in members(object) {
        if matches!(key, "hashes" | "signatures" | "unsigned") {
            continue;
        }
        hasher.update(separator);
        hasher.update(key.as_bytes());
        hasher.update(b"\":");
        hasher.update(value.as_bytes());
        separator = b",\"";
    }
    hasher.update(b"}");
    hasher.finalize().into()
}

/// The event id: the hash of what is signed.
pub(crate) fn event_id(version: RoomVersion, signed: &str) -> Result<OwnedEventId, FormatError> {
    let hash = Sha256::digest(signed.as_bytes());
    let mut id = String::with_capacity(44);
    id.push('$');
    match version.rules().event_id_format {
        EventIdFormatVersion::V2 => STANDARD_NO_PAD.encode_string(hash, &mut id),
        _ => URL_SAFE_NO_PAD.encode_string(hash, &mut id),
    }
    EventId::parse(id).map_err(|source| FormatError::Id { field: "event_id", source })
}

/// Unpadded standard base64, as hashes and signatures are written.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// Reads standard base64 with or without padding; the last bits may be anything.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::{
        alphabet::STANDARD,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    LENIENT.decode(text).ok()
}
