//! Checking the signature of requests that other servers make.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use std::sync::Arc;

use async_trait::async_trait;
use base::CounterFamily;
use bytes::Bytes;
use http::Method;
use pdu::{Authorities, VerifyKey};
use ruma::{OwnedServerName, ServerName};
use tracing::debug;
use web::{Claimed, Origin, SignatureCheck, SignatureError, SignedHead};

use crate::{
    contacts::Contacts,
    keys::Keys,
    reach::Reach,
    xmatrix::{Claim, Target, canonical_body, parse},
};

/// So many `Authorization` headers of one request are looked at.
const MOST_HEADERS: usize = 8;

/// Checks requests of other servers against their keys.
pub(crate) struct Signatures {
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) keys: Keys,
    pub(crate) reach: Reach,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) outcomes: Outcomes,
}

#[async_trait]
impl SignatureCheck for Signatures {
    async fn look(&self, head: SignedHead<'_>) -> Result<Box<dyn Claimed>, SignatureError> {
        match self.read(&head).await {
            Ok(request) => Ok(Box::new(request)),
            Err(error) => {
                self.outcomes.count(Some(&error));
                debug!(uri = head.uri, %error, "a request of another server was not taken");
                Err(error)
            }
        }
    }
}

impl Signatures {
    /// Everything that can be known without the body: what is claimed, and the keys for it.
    async fn read(&self, head: &SignedHead<'_>) -> Result<Request, SignatureError> {
        let claims = read_claims(&head.authorization)?;
        let [first, ..] = claims.as_slice() else { return Err(SignatureError::Missing) };
        let origin = first.origin.clone();
        if claims.iter().any(|claim| claim.origin != origin) {
            return Err(SignatureError::Malformed("signatures of several servers".to_owned()));
        }
        let destination = self.destination(&claims, head)?;
        if !self.reach.includes(&origin) {
            return Err(SignatureError::Denied(origin));
        }
        // Our own authorities talk to each other inside the process. Whoever comes from outside with
        // one of our names is an impostor or a loop.
        if self.authorities.is_ours(&origin) {
            return Err(SignatureError::Unverified("the origin is one of our own names".to_owned()));
        }
        let mut usable = Vec::new();
        let mut cause = "no usable signature".to_owned();
        for claim in claims {
            let key = self.keys.find_request_key(&origin, &claim.key_id).await;
            match key.map_err(SignatureError::Failed)? {
                Some(key) => usable.push((claim, key)),
                None => cause = format!("no valid key {} of {origin} can be had", claim.key_id),
            }
        }
        if usable.is_empty() {
            return Err(SignatureError::Unverified(cause));
        }
        Ok(Request {
            origin,
            destination,
            method: head.method.clone(),
            uri: head.uri.to_owned(),
            usable,
            contacts: self.contacts.clone(),
            outcomes: self.outcomes.clone(),
        })
    }

    /// The authority of ours that the request is for.
    fn destination(
        &self,
        claims: &[Claim],
        head: &SignedHead<'_>,
    ) -> Result<OwnedServerName, SignatureError> {
        let mut named = claims.iter().filter_map(|claim| claim.destination.as_ref());
        let destination = match named.next() {
            Some(first) if named.any(|other| other != first) => {
                return Err(SignatureError::Malformed("several destinations".to_owned()));
            }
            Some(destination) => destination.clone(),
            None => head.face.server_name().to_owned(),
        };
        if self.authorities.is_ours(&destination) {
            Ok(destination)
        } else {
            Err(SignatureError::WrongDestination)
        }
    }
}

/// A request whose head is in order, and the keys that its signatures are to hold with.
struct Request {
    origin: OwnedServerName,
    destination: OwnedServerName,
    method: Method,
    uri: String,
    usable: Vec<(Claim, VerifyKey)>,
    contacts: Arc<Contacts>,
    outcomes: Outcomes,
}

impl Claimed for Request {
    fn origin(&self) -> &ServerName {
        &self.origin
    }

    fn prove(self: Box<Self>, body: &Bytes) -> Result<Origin, SignatureError> {
        let held = self.holds(body);
        self.outcomes.count(held.as_ref().err());
        if let Err(error) = held {
            debug!(uri = self.uri, %error, "a request of another server was not taken");
            return Err(error);
        }
        self.contacts.heard_from(&self.origin);
        Ok(Origin { server: self.origin, destination: self.destination })
    }
}

impl Request {
    fn holds(&self, body: &[u8]) -> Result<(), SignatureError> {
        let content = canonical_body(body).map_err(|error| SignatureError::BadBody(error.to_string()))?;
        let target = Target {
            method: self.method.as_str(),
            uri: &self.uri,
            origin: &self.origin,
            destination: &self.destination,
            content: content.as_deref(),
        };
        let message = target.message();
        if self.usable.iter().any(|(claim, key)| claim.holds(&message, key)) {
            return Ok(());
        }
        Err(SignatureError::Unverified("the signature is wrong".to_owned()))
    }
}

/// Counts checked requests by what came of them.
#[derive(Clone)]
pub(crate) struct Outcomes(pub(crate) CounterFamily);

impl Outcomes {
    fn count(&self, error: Option<&SignatureError>) {
        let outcome = match error {
            None => "ok",
            Some(SignatureError::Missing) => "missing",
            Some(SignatureError::Malformed(_) | SignatureError::BadBody(_)) => "malformed",
            Some(SignatureError::WrongDestination) => "wrong_destination",
            Some(SignatureError::Unverified(_)) => "unverified",
            Some(SignatureError::Denied(_)) => "denied",
            Some(SignatureError::Failed(_)) => "failed",
        };
        self.0.with(&[("outcome", outcome)]).inc();
    }
}

fn read_claims(headers: &[&str]) -> Result<Vec<Claim>, SignatureError> {
    let mut claims = Vec::new();
    for header in headers.iter().take(MOST_HEADERS) {
        claims.extend(parse(header).map_err(|error| SignatureError::Malformed(error.to_string()))?);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use base::{Clock, Metrics, Random, Tasks};
    use http::{Request, Response};
    use pdu::Authority;
    use ruma::{owned_server_name, server_name};
    use store::{MemoryBackend, Options, Store};
    use web::Face;

    use super::*;
    use crate::{
        client::Client,
        config::KeyConfig,
        transport::{Transport, TransportError},
    };

    fn peer(name: &str) -> Authority {
        Authority::new(ServerName::parse(name).unwrap(), "1", &[7; 32]).unwrap()
    }

    /// Every server is there and publishes the same key.
    struct Net(Clock);

    #[async_trait]
    impl Transport for Net {
        async fn send(
            &self,
            destination: &ServerName,
            _: Request<Bytes>,
        ) -> Result<Response<Bytes>, TransportError> {
            let valid_until = self.0.now() + std::time::Duration::from_secs(3600);
            Ok(Response::new(crate::keys::publish(&peer(destination.as_str()), valid_until)))
        }
    }

    async fn signatures(reach: Reach) -> Signatures {
        let metrics = Metrics::new();
        let tasks = Tasks::new(&metrics);
        let clock = Clock::system();
        let backend = Arc::new(MemoryBackend::new());
        let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
        let authorities = Arc::new(Authorities::new([peer("here.test"), peer("also.here.test")]));
        let contacts = Arc::new(Contacts::new(clock.clone()));
        let net = Arc::new(Net(clock.clone()));
        let client = Client::new(net, authorities.clone(), reach.clone(), contacts.clone());
        let keys = Keys::new(store, client, KeyConfig::default(), clock, Random::os(), tasks, &metrics);
        let outcomes = Outcomes(metrics.counter_family("checked", "test"));
        Signatures { authorities, keys, reach, contacts, outcomes }
    }

    const URI: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Ahere.test";

    fn header(origin: &str, destination: &str, body: &str) -> String {
        let content = canonical_body(body.as_bytes()).unwrap();
        let (origin, destination) =
            (ServerName::parse(origin).unwrap(), ServerName::parse(destination).unwrap());
        let target = Target {
            method: "GET",
            uri: URI,
            origin: &origin,
            destination: &destination,
            content: content.as_deref(),
        };
        target.authorization(&peer(origin.as_str())).unwrap().to_str().unwrap().to_owned()
    }

    async fn check(
        signatures: &Signatures,
        headers: &[&str],
        body: &'static [u8],
    ) -> Result<Origin, SignatureError> {
        look(signatures, headers).await?.prove(&Bytes::from_static(body))
    }

    async fn look(signatures: &Signatures, headers: &[&str]) -> Result<Box<dyn Claimed>, SignatureError> {
        let face = Face::new(owned_server_name!("here.test"));
        let head =
            SignedHead { method: &Method::GET, uri: URI, authorization: headers.to_vec(), face: &face };
        signatures.look(head).await
    }

    #[tokio::test]
    async fn a_signed_request_is_from_its_origin_for_the_authority_it_names() {
        let signatures = signatures(Reach::of(crate::Peers::Everybody)).await;
        let origin = check(&signatures, &[&header("peer.test", "also.here.test", "")], b"").await.unwrap();
        assert_eq!(origin.server, "peer.test");
        assert_eq!(origin.destination, "also.here.test");
        assert!(signatures.contacts.take_to_note().contains(server_name!("peer.test")));
        let body = header("peer.test", "here.test", r#"{"b":1,"a":[]}"#);
        assert!(check(&signatures, &[&body], br#" { "a" : [ ], "b":1 } "#).await.is_ok());
    }

    #[tokio::test]
    async fn an_old_server_that_names_no_destination_means_the_host_it_asked() {
        let signatures = signatures(Reach::of(crate::Peers::Everybody)).await;
        let header = header("peer.test", "here.test", "").replace("destination=\"here.test\",", "");
        assert_eq!(check(&signatures, &[&header], b"").await.unwrap().destination, "here.test");
    }

    #[tokio::test]
    async fn one_of_several_signatures_is_enough() {
        let signatures = signatures(Reach::of(crate::Peers::Everybody)).await;
        let good = header("peer.test", "here.test", "");
        let unknown = good.replace("ed25519:1", "ed25519:2");
        assert!(check(&signatures, &["Bearer x", &unknown, &good], b"").await.is_ok());
        let (other, elsewhere) =
            (header("other.test", "here.test", ""), header("peer.test", "also.here.test", ""));
        for second in [&other, &elsewhere] {
            let outcome = check(&signatures, &[&good, second], b"").await;
            assert!(matches!(outcome, Err(SignatureError::Malformed(_))), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn requests_that_prove_nothing_are_refused_each_for_its_reason() {
        let signatures = signatures(Reach::of(crate::Peers::Everybody)).await;
        let good = header("peer.test", "here.test", "");
        assert!(matches!(check(&signatures, &[], b"").await, Err(SignatureError::Missing)));
        assert!(matches!(check(&signatures, &["Bearer x"], b"").await, Err(SignatureError::Missing)));
        assert!(matches!(check(&signatures, &["X-Matrix x"], b"").await, Err(SignatureError::Malformed(_))));
        let elsewhere = header("peer.test", "elsewhere.test", "");
        assert!(matches!(
            check(&signatures, &[&elsewhere], b"").await,
            Err(SignatureError::WrongDestination)
        ));
        assert!(matches!(check(&signatures, &[&good], b"{").await, Err(SignatureError::BadBody(_))));
        assert!(matches!(check(&signatures, &[&good], b"\xff\xfe").await, Err(SignatureError::BadBody(_))));
        assert!(matches!(check(&signatures, &[&good], b"{}").await, Err(SignatureError::Unverified(_))));
        let spoofed = good.replace("peer.test", "other.test");
        assert!(matches!(check(&signatures, &[&spoofed], b"").await, Err(SignatureError::Unverified(_))));
        let ours = header("also.here.test", "here.test", "");
        assert!(matches!(check(&signatures, &[&ours], b"").await, Err(SignatureError::Unverified(_))));
    }

    #[tokio::test]
    async fn a_head_that_cannot_be_good_is_refused_before_its_body_is_asked_for() {
        let signatures =
            signatures(Reach::of(crate::Peers::Only([owned_server_name!("peer.test")].into()))).await;
        let good = header("peer.test", "here.test", "");
        assert_eq!(look(&signatures, &[&good]).await.unwrap().origin(), "peer.test");
        for bad in [
            "X-Matrix x".to_owned(),
            header("peer.test", "elsewhere.test", ""),
            header("also.here.test", "here.test", ""),
            header("stranger.test", "here.test", ""),
            good.replace("ed25519:1", "ed25519:2"),
        ] {
            assert!(look(&signatures, &[&bad]).await.is_err(), "{bad}");
        }
        assert!(look(&signatures, &[]).await.is_err());
    }

    #[tokio::test]
    async fn who_is_not_on_the_list_is_not_even_asked_for_keys() {
        let signatures =
            signatures(Reach::of(crate::Peers::Only([owned_server_name!("friend.test")].into()))).await;
        assert!(check(&signatures, &[&header("friend.test", "here.test", "")], b"").await.is_ok());
        let stranger = check(&signatures, &[&header("peer.test", "here.test", "")], b"").await;
        assert!(matches!(stranger, Err(SignatureError::Denied(server)) if server == "peer.test"));
    }

    #[tokio::test]
    async fn whom_the_policy_shuts_out_is_neither_heard_nor_asked() {
        struct Shut;

        impl room::Policy for Shut {
            fn contact(&self, server: &ServerName) -> Result<(), room::Denial> {
                let denial = room::Denial { public: String::new(), private: String::new() };
                if server == "peer.test" { Err(denial) } else { Ok(()) }
            }
        }

        let reach = Reach { peers: crate::Peers::Everybody, policy: Arc::new(Shut) };
        let nobody = Arc::new(Authorities::new([peer("here.test")]));
        let net = Arc::new(Net(Clock::system()));
        let contacts = Arc::new(Contacts::new(Clock::system()));
        let client = Client::new(net, nobody, reach.clone(), contacts);
        assert!(client.may_contact(server_name!("friend.test")));
        assert!(!client.may_contact(server_name!("peer.test")));
        let signatures = signatures(reach).await;
        assert!(check(&signatures, &[&header("friend.test", "here.test", "")], b"").await.is_ok());
        let shut = check(&signatures, &[&header("peer.test", "here.test", "")], b"").await;
        assert!(matches!(shut, Err(SignatureError::Denied(server)) if server == "peer.test"));
    }
}
