//! Checking that an event is what its servers said: signatures, key validity, content hash.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events>

use std::collections::BTreeMap;

use ruma::{
    CanonicalJsonObject, OwnedServerName, OwnedServerSigningKeyId, ServerName, ServerSigningKeyId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};

use crate::{
    KeyRing, Pdu,
    error::FormatError,
    hash,
    members::{find, members, string},
    redact::{Keep, redact, redacted},
};

/// An event whose form, hash and signatures hold.
///
/// Only [`verify`] and [`crate::sign`] make one, from what has all the signatures that the event needs.
/// Answers of other servers to requests of ours are no exception.
#[derive(Debug, Clone)]
pub struct Verified {
    pdu: Pdu,
    redacted: bool,
}

/// Why an event is not to be believed. It is then dropped, or tried again with other keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A server that had to sign did not.
    #[error("{server} did not sign the event")]
    NotSigned {
        /// Which one.
        server: OwnedServerName,
    },
    /// None of the keys that the server signed with is in the key ring.
    #[error("no key of {server} that signed the event is known")]
    KeyUnknown {
        /// Whose keys to fetch.
        server: OwnedServerName,
    },
    /// The key was not valid when the event claims to have been made.
    #[error("the key of {server} was not valid at the time of the event")]
    KeyExpired {
        /// Whose key.
        server: OwnedServerName,
    },
    /// A signature is wrong.
    #[error("the signature of {server} is wrong")]
    WrongSignature {
        /// Whose.
        server: OwnedServerName,
    },
    /// The redacted form that a wrong content hash asks for is no event.
    #[error("the redacted event is malformed")]
    Format(#[from] FormatError),
}

impl Verified {
    /// What [`crate::sign`] made: hashed here, and signed by all who have to.
    pub(crate) fn signed_here(pdu: Pdu) -> Self {
        Self { pdu, redacted: false }
    }

    pub(crate) fn with_pdu(&self, pdu: Pdu) -> Self {
        Self { pdu, redacted: self.redacted }
    }

    /// The event, redacted if its content hash did not hold.
    pub fn pdu(&self) -> &Pdu {
        &self.pdu
    }

    /// As [`Self::pdu`].
    pub fn into_pdu(self) -> Pdu {
        self.pdu
    }

    /// Whether the content hash did not hold, so that only the redacted form was taken.
    pub fn is_redacted(&self) -> bool {
        self.redacted
    }
}

/// The servers that must have signed the event.
///
/// The sender's, unless it is an invitation by third party; and for a join to a restricted room (from
/// version 8) that of the user who vouches for it.
pub fn required_servers(pdu: &Pdu) -> Vec<OwnedServerName> {
    let mut servers = Vec::with_capacity(2);
    let is_member = *pdu.kind() == TimelineEventType::RoomMember;
    let membership = if is_member { pdu.membership() } else { None };
    let by_third_party = membership == Some(&MembershipState::Invite)
        && find(pdu.content_str(), "third_party_invite").is_some_and(|value| value.starts_with('{'));
    if !by_third_party {
        servers.push(pdu.sender().server_name().to_owned());
    }
    if pdu.version().rules().signatures.check_join_authorised_via_users_server
        && membership == Some(&MembershipState::Join)
        && let Some(user) = find(pdu.content_str(), "join_authorised_via_users_server").and_then(string)
        && let Ok(user) = <&UserId>::try_from(user.as_ref())
        && !servers.iter().any(|server| server == user.server_name())
    {
        servers.push(user.server_name().to_owned());
    }
    servers
}

/// The keys that [`verify`] needs of the servers that had to sign, as far as the event names them.
///
/// Spec: <https://spec.matrix.org/v1.19/appendices/#checking-for-a-signature>
pub fn required_keys(pdu: &Pdu) -> Vec<(OwnedServerName, OwnedServerSigningKeyId)> {
    keys_of(pdu, required_servers(pdu))
}

/// The keys that [`verify_signed_by`] needs, as far as the event names them.
pub fn required_keys_with(pdu: &Pdu, also: &ServerName) -> Vec<(OwnedServerName, OwnedServerSigningKeyId)> {
    keys_of(pdu, servers_with(pdu, also))
}

fn servers_with(pdu: &Pdu, also: &ServerName) -> Vec<OwnedServerName> {
    let mut servers = required_servers(pdu);
    if !servers.iter().any(|server| server == also) {
        servers.push(also.to_owned());
    }
    servers
}

fn keys_of(pdu: &Pdu, servers: Vec<OwnedServerName>) -> Vec<(OwnedServerName, OwnedServerSigningKeyId)> {
    let mut keys = Vec::with_capacity(2);
    let Some(signatures) = find(pdu.json_str(), "signatures") else { return keys };
    for server in servers {
        for (key_id, _) in signatures_of(signatures, server.as_str()) {
            if let Ok(key_id) = ServerSigningKeyId::parse(key_id) {
                keys.push((server.clone(), key_id));
            }
        }
    }
    keys
}

/// Checks the signatures of the servers that had to sign, and the content hash.
///
/// A wrong content hash is no error: the content was taken out or changed on the way, and the redacted
/// form, which the signatures cover, is returned instead. From room version 5 the key must have been
/// valid at the event's `origin_server_ts`.
///
/// # Errors
/// [`VerifyError`]; on [`VerifyError::KeyUnknown`] and [`VerifyError::KeyExpired`] fetching keys again
/// may help.
pub fn verify(pdu: Pdu, keys: &KeyRing) -> Result<Verified, VerifyError> {
    let servers = required_servers(&pdu);
    verify_by(pdu, servers, keys)
}

/// As [`verify`], with one more server that must have signed: that of an invited user.
///
/// # Errors
/// As [`verify`].
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>
pub fn verify_signed_by(pdu: Pdu, also: &ServerName, keys: &KeyRing) -> Result<Verified, VerifyError> {
    let servers = servers_with(&pdu, also);
    verify_by(pdu, servers, keys)
}

fn verify_by(pdu: Pdu, servers: Vec<OwnedServerName>, keys: &KeyRing) -> Result<Verified, VerifyError> {
    let signed = redacted(pdu.version(), pdu.json_str(), Keep::Signed);
    let signatures = find(pdu.json_str(), "signatures").unwrap_or("{}");
    let enforce_validity = pdu.version().rules().enforce_key_validity;
    let at_ts = enforce_validity.then(|| u64::from(pdu.origin_server_ts().get()));
    for server in servers {
        check_server(server, signatures, signed.as_bytes(), keys, at_ts)?;
    }
    let claimed = find(pdu.json_str(), "hashes").and_then(|hashes| find(hashes, "sha256")).and_then(string);
    let claimed = claimed.and_then(|hash| hash::from_base64(&hash));
    if claimed.is_some_and(|claimed| claimed == hash::content_hash(pdu.json_str())) {
        return Ok(Verified { pdu, redacted: false });
    }
    Ok(Verified { pdu: redact(&pdu)?, redacted: true })
}

/// Looks for one right signature of the server, by a key that is valid at the time, if one is given.
fn check_server(
    server: OwnedServerName,
    signatures: &str,
    signed: &[u8],
    keys: &KeyRing,
    at_ts: Option<u64>,
) -> Result<(), VerifyError> {
    let mut error = None;
    for (key_id, signature) in signatures_of(signatures, server.as_str()) {
        let Some(key) = keys.find(&server, key_id) else {
            error.get_or_insert(VerifyError::KeyUnknown { server: server.clone() });
            continue;
        };
        let right = string(signature).is_some_and(|signature| key.has_signed_base64(signed, &signature));
        if !right {
            error = Some(VerifyError::WrongSignature { server: server.clone() });
        } else if at_ts.is_some_and(|at_ts| !key.is_valid_at(at_ts)) {
            error = Some(VerifyError::KeyExpired { server: server.clone() });
        } else {
            return Ok(());
        }
    }
    Err(error.unwrap_or(VerifyError::NotSigned { server }))
}

/// Checks that a server signed a JSON object that is no event: a key document, a third party's invitation.
///
/// The key must be valid at `at_ts`, in milliseconds since 1970.
///
/// # Errors
/// [`VerifyError`]
///
/// Spec: <https://spec.matrix.org/v1.19/appendices/#checking-for-a-signature>
pub fn verify_json(
    object: &CanonicalJsonObject,
    server: &ServerName,
    keys: &KeyRing,
    at_ts: u64,
) -> Result<(), VerifyError> {
    let covered: BTreeMap<_, _> =
        object.iter().filter(|(key, _)| !matches!(key.as_str(), "signatures" | "unsigned")).collect();
    let malformed = |_| FormatError::WrongType { field: "object", expected: "canonical JSON" };
    let message = serde_json::to_vec(&covered).map_err(malformed)?;
    let signatures = object.get("signatures").map(ToString::to_string).unwrap_or_default();
    check_server(server.to_owned(), &signatures, &message, keys, Some(at_ts))
}

/// Key ids and raw signatures of a server; other algorithms than Ed25519 are passed over.
fn signatures_of<'a>(signatures: &'a str, server: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let own = find(signatures, server).unwrap_or("{}");
    members(own).filter(|(key_id, _)| key_id.starts_with("ed25519:"))
}
