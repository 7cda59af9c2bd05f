//! [`Homeserver`]: a client for the client-server API, as a user of the service.
//!
//! Each request is tried again while it fails in a way that may pass: 429 after the time that the answer names, 5xx and
//! broken connections after growing pauses. What is sent carries a [`TxnId`] that follows from what caused it, so that
//! doing it again sends nothing twice.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#client-server-api-extensions>

mod calls;
mod late;
mod power;
mod retry;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, StatusCode, header, redirect};
use ruma::{EventId, OwnedUserId, UserId};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::{
    calls::Download,
    power::{Creation, Upgrade},
    retry::{Failure, Refusal},
};
use crate::{config::HomeserverConfig, json, registration::Registration};

/// Largest answer that is read, in bytes: the state of a large room.
const LARGEST_ANSWER: usize = 16 << 20;

/// Time for a request and its answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Nothing comes for so long: a stream of a file has ended.
const SILENCE: Duration = Duration::from_secs(60);

/// What stands in a segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The homeserver, as one user. Cheap to clone.
#[derive(Clone)]
pub struct Homeserver(Arc<Inner>);

struct Inner {
    client: Client,
    /// For what takes long to send: an answer may be long in coming.
    sending: Client,
    base: url::Url,
    token: String,
    user: OwnedUserId,
    /// Whether the user is named with each request, being not the one of the registration.
    masquerades: bool,
}

/// The id of a transaction that sends something.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnId(String);

impl TxnId {
    /// That of what is sent because of an event; `what` tells several things apart.
    pub fn after(cause: &EventId, what: &str) -> Self {
        Self::of(&[cause.as_str(), what])
    }

    /// That of what is sent because of something else, which these parts name.
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        Self(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// As it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request.
pub(crate) struct Call<'a> {
    method: Method,
    /// Segments below `/_matrix`, not escaped yet.
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<Bytes>,
    kind: &'a str,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, query: &[], body: None, kind: "application/json" }
    }

    fn query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    fn json(self, body: &Value) -> Self {
        Self { body: Some(body.to_string().into()), ..self }
    }
}

impl Homeserver {
    /// The homeserver of a configuration, as the user of a registration.
    ///
    /// # Errors
    /// When the registration names no user.
    pub(crate) fn open(
        config: &HomeserverConfig,
        tls: rustls::ClientConfig,
        registration: &Registration,
    ) -> anyhow::Result<Self> {
        let user = UserId::parse_with_server_name(&*registration.sender_localpart, &config.server_name)?;
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                // Where the server is, the configuration says: a token goes nowhere else.
                .redirect(redirect::Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT)
                .user_agent(concat!("YakubaBot/", env!("CARGO_PKG_VERSION")))
        };
        let (client, sending) = (builder().read_timeout(SILENCE).build()?, builder().build()?);
        let token = registration.as_token.clone();
        Ok(Self(Arc::new(Inner {
            client,
            sending,
            base: config.url.clone(),
            token,
            user,
            masquerades: false,
        })))
    }

    /// The same as another user of the service's namespace.
    pub fn as_user(&self, user: &UserId) -> Self {
        let Inner { client, sending, base, token, user: own, masquerades } = &*self.0;
        Self(Arc::new(Inner {
            client: client.clone(),
            sending: sending.clone(),
            base: base.clone(),
            token: token.clone(),
            masquerades: *masquerades || own != user,
            user: user.to_owned(),
        }))
    }

    /// The same through another of its listeners, for instance one in another zone.
    pub fn through(&self, url: &url::Url) -> Self {
        let Inner { client, sending, token, user, masquerades, .. } = &*self.0;
        Self(Arc::new(Inner {
            client: client.clone(),
            sending: sending.clone(),
            base: url.clone(),
            token: token.clone(),
            user: user.clone(),
            masquerades: *masquerades,
        }))
    }

    /// Who acts.
    pub fn user(&self) -> &OwnedUserId {
        &self.0.user
    }

    /// Where it is: the base, the path, the query.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> String {
        let Inner { base, user, masquerades, .. } = &*self.0;
        let mut url = format!("{}/_matrix", base.as_str().trim_end_matches('/'));
        for segment in path {
            url.push('/');
            url.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let user = masquerades.then_some(("user_id", user.as_str()));
        for (number, (name, value)) in query.iter().copied().chain(user).enumerate() {
            url.push(if number == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, SEGMENT));
        }
        url
    }

    /// Asks once.
    async fn ask(&self, call: &Call<'_>) -> Result<Value, Failure> {
        let mut request = self
            .0
            .client
            .request(call.method.clone(), self.url(call.path, call.query))
            .bearer_auth(&self.0.token)
            .timeout(DEADLINE);
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, call.kind).body(body.clone());
        }
        self.judge(request.send().await?).await
    }

    /// An answer as JSON, or why there is none.
    async fn judge(&self, answer: reqwest::Response) -> Result<Value, Failure> {
        let (status, after) = (answer.status(), retry::after(&answer));
        let body = bounded(answer, LARGEST_ANSWER).await?;
        let value = json::read(&body).unwrap_or_default();
        if status.is_success() { Ok(value) } else { Err(retry::failure(status, after, value)) }
    }
}

/// A body of at most so many bytes.
async fn bounded(mut answer: reqwest::Response, most: usize) -> Result<Bytes, Failure> {
    let mut all = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if all.len() + part.len() > most {
            let status = StatusCode::INSUFFICIENT_STORAGE;
            let message = format!("the answer is larger than {most} bytes");
            return Err(Failure::Refused(Refusal::new(status, "YAKUBA_TOO_LARGE", message)));
        }
        all.extend_from_slice(&part);
    }
    Ok(all.into())
}

/// Certificates of the system's authorities, and of one that the configuration names.
pub(crate) fn tls(ca: Option<&[u8]>) -> anyhow::Result<rustls::ClientConfig> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    // A system without any is right where the server speaks plain HTTP beside us.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_transaction_follows_from_its_cause_and_from_nothing_else() {
        let (one, other) =
            (<&EventId>::try_from("$a").expect("an id"), <&EventId>::try_from("$b").expect("an id"));
        assert_eq!(TxnId::after(one, "help"), TxnId::after(one, "help"));
        assert_ne!(TxnId::after(one, "help"), TxnId::after(one, "list"));
        assert_ne!(TxnId::after(one, "help"), TxnId::after(other, "help"));
        assert_ne!(TxnId::of(&["ab", "c"]), TxnId::of(&["a", "bc"]));
    }
}
