//! Checking the signature of requests that other servers make.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use std::sync::Arc;

use async_trait::async_trait;
use base::CounterFamily;
use pdu::Authorities;
use ruma::OwnedServerName;
use tracing::debug;
use web::{Origin, SignatureCheck, SignatureError, SignedRequest};

use crate::{
    config::Peers,
    contacts::Contacts,
    keys::Keys,
    xmatrix::{Claim, Target, canonical_body, parse},
};

/// So many `Authorization` headers of one request are looked at.
const MOST_HEADERS: usize = 8;

/// Checks requests of other servers against their keys.
pub(crate) struct Signatures {
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) keys: Keys,
    pub(crate) peers: Peers,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) checked: CounterFamily,
}

#[async_trait]
impl SignatureCheck for Signatures {
    async fn check(&self, request: SignedRequest<'_>) -> Result<Origin, SignatureError> {
        let checked = self.check_claims(&request).await;
        let outcome = match &checked {
            Ok(_) => "ok",
            Err(SignatureError::Missing) => "missing",
            Err(SignatureError::Malformed(_) | SignatureError::BadBody(_)) => "malformed",
            Err(SignatureError::WrongDestination) => "wrong_destination",
            Err(SignatureError::Unverified(_)) => "unverified",
            Err(SignatureError::Denied(_)) => "denied",
        };
        self.checked.with(&[("outcome", outcome)]).inc();
        match &checked {
            Ok(origin) => self.contacts.heard_from(&origin.server),
            Err(error) => debug!(uri = request.uri, %error, "a request of another server was not taken"),
        }
        checked
    }
}

impl Signatures {
    async fn check_claims(&self, request: &SignedRequest<'_>) -> Result<Origin, SignatureError> {
        let claims = read_claims(&request.authorization)?;
        let [first, ..] = claims.as_slice() else { return Err(SignatureError::Missing) };
        let origin = first.origin.clone();
        if claims.iter().any(|claim| claim.origin != origin) {
            return Err(SignatureError::Malformed("signatures of several servers".to_owned()));
        }
        let destination = self.destination(&claims, request)?;
        if !self.peers.include(&origin) {
            return Err(SignatureError::Denied(origin));
        }
        // Our own authorities talk to each other inside the process. Whoever comes from outside with
        // one of our names is an impostor or a loop.
        if self.authorities.is_ours(&origin) {
            return Err(SignatureError::Unverified("the origin is one of our own names".to_owned()));
        }
        let content =
            canonical_body(request.body).map_err(|error| SignatureError::BadBody(error.to_string()))?;

        let mut cause = "no usable signature".to_owned();
        for claim in &claims {
            let key = self.keys.find_request_key(&origin, &claim.key_id).await;
            let Some(key) = key.map_err(|error| SignatureError::Unverified(error.to_string()))? else {
                cause = format!("no valid key {} of {origin} can be had", claim.key_id);
                continue;
            };
            let target = Target {
                method: request.method.as_str(),
                uri: request.uri,
                origin: &origin,
                destination: &destination,
                content: content.as_deref(),
            };
            if claim.holds(&target.message(), &key) {
                return Ok(Origin { server: origin, destination });
            }
            cause = format!("the signature with {} is wrong", claim.key_id);
        }
        Err(SignatureError::Unverified(cause))
    }

    /// The authority of ours that the request is for.
    fn destination(
        &self,
        claims: &[Claim],
        request: &SignedRequest<'_>,
    ) -> Result<OwnedServerName, SignatureError> {
        let mut named = claims.iter().filter_map(|claim| claim.destination.as_ref());
        let destination = match named.next() {
            Some(first) if named.any(|other| other != first) => {
                return Err(SignatureError::Malformed("several destinations".to_owned()));
            }
            Some(destination) => destination.clone(),
            None => request.face.server_name().to_owned(),
        };
        if self.authorities.is_ours(&destination) {
            Ok(destination)
        } else {
            Err(SignatureError::WrongDestination)
        }
    }
}

fn read_claims(headers: &[&str]) -> Result<Vec<Claim>, SignatureError> {
    let mut claims = Vec::new();
    for header in headers.iter().take(MOST_HEADERS) {
        claims.extend(parse(header).map_err(|error| SignatureError::Malformed(error.to_string()))?);
    }
    Ok(claims)
}
