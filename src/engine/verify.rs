//! Verifying what other servers sign at our request, and the keys for it.

use std::time::Duration;

use base::Timestamp;
use pdu::{KeyRing, Pdu, Verified};
use room::{Error, read::room::RoomInfo};
use ruma::{OwnedServerName, OwnedServerSigningKeyId, ServerName};

use crate::{Engine, join::bad_answer};

/// A document is believed for so long at most, whatever it says.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#publishing-keys>
const LONGEST_BELIEF: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where keys come from.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// From memory and store, without asking anybody.
    Held,
    /// From other servers too.
    Fetched,
}

impl Engine {
    /// These keys, as far as they can be had.
    pub(crate) async fn key_ring(&self, wanted: Vec<(OwnedServerName, OwnedServerSigningKeyId)>) -> KeyRing {
        self.key_ring_from(wanted, Timestamp(0), Keys::Fetched).await
    }

    /// These keys, as far as they are here, or can be had, believable for what is signed now and up to `until`.
    pub(crate) async fn key_ring_from(
        &self,
        mut wanted: Vec<(OwnedServerName, OwnedServerSigningKeyId)>,
        until: Timestamp,
        from: Keys,
    ) -> KeyRing {
        wanted.sort_unstable();
        wanted.dedup();
        let (ours, theirs): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(server, _)| self.is_ours(server));
        // An event of a server whose clock is ahead needs a newer document than one of now; no server is believed
        // for longer than that.
        let now = self.0.clock.now();
        let now = now.max(until.min(now + LONGEST_BELIEF));
        let mut ring = match from {
            _ if theirs.is_empty() => KeyRing::new(),
            Keys::Held => self.0.keys.held_keys(&theirs, now).await,
            Keys::Fetched => self.0.keys.keys(&theirs, now).await,
        };
        for (server, _) in ours {
            if let Some(authority) = self.0.authorities.find(&server) {
                ring.insert_authority(authority);
            }
        }
        ring
    }

    /// An event that was signed here, with all signatures that it needs.
    pub(crate) async fn verify_own(&self, pdu: Pdu) -> Result<Verified, Error> {
        let ring = self.key_ring(pdu::required_keys(&pdu)).await;
        Ok(pdu::verify(pdu, &ring)?)
    }

    /// An event of ours as it came back from another server, which had to sign it: the same event, with
    /// all signatures that it needs and that of the other server.
    ///
    /// # Errors
    /// [`room::RemoteError::BadAnswer`] when it is anything else.
    pub(crate) async fn verify_returned(
        &self,
        room: &RoomInfo,
        server: &ServerName,
        signer: &ServerName,
        sent: &Pdu,
        returned: &serde_json::value::RawValue,
    ) -> Result<Verified, Error> {
        let bad = |cause: &str| bad_answer(server, cause);
        let returned =
            Pdu::parse_raw(room.version, returned).map_err(|_| bad("what was signed is no event"))?;
        // The id covers all but signatures and what redaction removes; the content, the rest of that.
        if returned.event_id() != sent.event_id() || returned.content_str() != sent.content_str() {
            return Err(bad("what was to be signed came back as another event"));
        }
        let ring = self.key_ring(pdu::required_keys_with(&returned, signer)).await;
        let verified = pdu::verify_signed_by(returned, signer, &ring)
            .map_err(|error| bad(&format!("what was to be signed came back wrongly signed: {error}")))?;
        if verified.is_redacted() {
            return Err(bad("what was to be signed came back with another hash"));
        }
        Ok(verified)
    }
}
