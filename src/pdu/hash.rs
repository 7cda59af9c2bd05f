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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{
        Authority,
        json::{Numbers, canonicalize},
        members::with_member,
        redact::{Keep, redacted},
    };

    /// The key of the specification's test vectors.
    fn authority() -> Authority {
        let file = "ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
        Authority::from_key_file(ruma::owned_server_name!("domain"), file).unwrap()
    }

    /// Spec: <https://spec.matrix.org/v1.19/appendices/#event-signing>
    #[test]
    fn events_are_hashed_and_signed_as_in_the_specification() {
        let minimal = r#"{"room_id":"!x:domain","sender":"@a:domain","origin":"domain","origin_server_ts":1000000,
            "signatures":{},"hashes":{},"type":"X","content":{},"prev_events":[],"auth_events":[],"depth":3,
            "unsigned":{"age_ts":1000000}}"#;
        let with_content = r#"{"content":{"body":"Here is the message content"},"event_id":"$0:domain",
            "origin":"domain","origin_server_ts":1000000,"type":"m.room.message","room_id":"!r:domain",
            "sender":"@u:domain","signatures":{},"unsigned":{"age_ts":1000000}}"#;
        for (event, content_hash_expected, signature) in [
            (
                minimal,
                "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
                "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
            ),
            (
                with_content,
                "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
                "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
            ),
        ] {
            let event = canonicalize(event.as_bytes(), Numbers::Strict).unwrap();
            let hash = base64(&content_hash(&event));
            assert_eq!(hash, content_hash_expected);
            let hashed = with_member(&event, "hashes", &format!(r#"{{"sha256":"{hash}"}}"#));
            let signed = redacted(RoomVersion::V5, &hashed, Keep::Signed);
            assert_eq!(authority().sign_bytes(signed.as_bytes()), signature);
        }
    }

    /// Spec: <https://spec.matrix.org/v1.19/appendices/#json-signing>
    #[test]
    fn json_is_signed_as_in_the_specification() {
        for (object, signature) in [
            ("{}", "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
            (
                r#"{"one":1,"two":"Two"}"#,
                "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
            ),
        ] {
            let mut object = serde_json::from_str(object).unwrap();
            authority().sign_json(&mut object);
            let signatures = serde_json::to_string(&object["signatures"]).unwrap();
            assert_eq!(signatures, format!(r#"{{"domain":{{"ed25519:1":"{signature}"}}}}"#));
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(from_base64("YQ").unwrap(), b"a");
        assert_eq!(from_base64("YQ==").unwrap(), b"a");
        assert_eq!(from_base64("YR").unwrap(), b"a");
        assert_eq!(from_base64("Y Q"), None);
        assert_eq!(from_base64("_-8"), None);
    }
}
