//! Verifying received events, with keys at hand or with such as must be fetched.

use std::sync::Arc;

use base::Timestamp;
use pdu::{FormatError, KeyRing, Pdu, Verified, VerifyError};
use room::{Error, read::room::RoomInfo};
use ruma::EventId;
use serde_json::value::RawValue;
use tracing::warn;

use crate::{Engine, verify::Keys};

/// Above this many, signatures are checked away from the async threads: one takes some 50 µs.
const FEW: usize = 8;

/// Whether an event is what it claims to be.
pub(crate) enum Proof {
    Holds(Verified),
    /// A key that it was signed with is not here, or only in an old document.
    NoKey(Pdu),
    Forged,
}

impl Engine {
    /// Parses and verifies events of a room; what fails, or is of another room, is left out.
    pub(crate) async fn verify_raw(
        &self,
        room: &RoomInfo,
        raw: &[Box<RawValue>],
    ) -> Result<Vec<Verified>, Error> {
        let mut pdus = Vec::with_capacity(raw.len());
        for one in raw {
            match Pdu::parse_raw(room.version, one) {
                Ok(pdu) if pdu.room_id() == room.room_id => pdus.push(pdu),
                Ok(pdu) => {
                    warn!(room_id = %room.room_id, event_id = %pdu.event_id(), "event of another room")
                }
                Err(error) => {
                    warn!(room_id = %room.room_id, %error, "malformed event");
                    self.note_overfull(room, one, &error);
                }
            }
        }
        Ok(self.verify_all(pdus).await?.into_iter().flatten().collect())
    }

    /// Remembers the id of what is none of a room's events, whoever gives it: nobody need be asked for it again.
    fn note_overfull(&self, room: &RoomInfo, raw: &RawValue, error: &FormatError) {
        if !matches!(error, FormatError::TooMany { .. }) {
            return;
        }
        if let Some(id) = Pdu::id_of_overfull(room.version, raw) {
            self.0.overfull.insert(id, ());
        }
    }

    /// Whether an id is known to be that of no event.
    pub(super) fn is_overfull(&self, id: &EventId) -> bool {
        self.0.overfull.get(id).is_some()
    }

    /// Verifies events, in the order given, fetching keys; `None` for one that fails.
    #[crate::boxed]
    pub(crate) async fn verify_all(&self, pdus: Vec<Pdu>) -> Result<Vec<Option<Verified>>, Error> {
        let ring = self.ring_for(&pdus, Keys::Fetched).await;
        let proofs = self.prove_all(pdus, ring).await?;
        Ok(proofs
            .into_iter()
            .map(|proof| match proof {
                Proof::Holds(verified) => Some(verified),
                Proof::NoKey(pdu) => {
                    warn!(event_id = %pdu.event_id(), "the keys to verify an event cannot be had");
                    None
                }
                Proof::Forged => None,
            })
            .collect())
    }

    /// Verifies events, in the order given, with the keys that are here.
    pub(super) async fn prove_with_held_keys(&self, pdus: Vec<Pdu>) -> Result<Vec<Proof>, Error> {
        let ring = self.ring_for(&pdus, Keys::Held).await;
        self.prove_all(pdus, ring).await
    }

    /// Verifies an event, fetching keys.
    pub(super) async fn prove(&self, pdu: Pdu) -> Result<Proof, Error> {
        let pdus = vec![pdu];
        let ring = self.ring_for(&pdus, Keys::Fetched).await;
        let proof = self.prove_all(pdus, ring).await?.pop();
        proof.ok_or(Error::Inconsistent("an event without a proof"))
    }

    async fn ring_for(&self, pdus: &[Pdu], from: Keys) -> KeyRing {
        let latest = pdus.iter().map(|pdu| pdu.origin_server_ts().get().into()).max().unwrap_or(0);
        self.key_ring_from(pdus.iter().flat_map(pdu::required_keys).collect(), Timestamp(latest), from).await
    }

    async fn prove_all(&self, pdus: Vec<Pdu>, ring: KeyRing) -> Result<Vec<Proof>, Error> {
        if pdus.len() < FEW {
            return Ok(pdus.into_iter().map(|pdu| prove_one(pdu, &ring)).collect());
        }
        // Two batches at a time.
        let ring = Arc::new(ring);
        let half = pdus.len().div_ceil(2);
        let mut pdus = pdus;
        let second = pdus.split_off(half);
        let run = |part: Vec<Pdu>| {
            let ring = ring.clone();
            let work = move || part.into_iter().map(|pdu| prove_one(pdu, &ring)).collect::<Vec<_>>();
            self.0.tasks.spawn_blocking("verify events", work)
        };
        let (first, second) = tokio::try_join!(run(pdus), run(second)).map_err(|_| Error::Interrupted)?;
        Ok(first.into_iter().chain(second).collect())
    }
}

fn prove_one(pdu: Pdu, ring: &KeyRing) -> Proof {
    match pdu::verify(pdu.clone(), ring) {
        Ok(verified) => Proof::Holds(verified),
        Err(VerifyError::KeyUnknown { .. } | VerifyError::KeyExpired { .. }) => Proof::NoKey(pdu),
        Err(error) => {
            warn!(event_id = %pdu.event_id(), %error, "an event cannot be verified");
            Proof::Forged
        }
    }
}
