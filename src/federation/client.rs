//! Signed requests to other servers.

use std::{sync::Arc, time::Duration};

use base::{ByteSize, Clock};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use pdu::{Authorities, lenient};
use room::RemoteError;
use ruma::ServerName;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    contacts::Contacts,
    path::Path,
    reach::Reach,
    transport::{AnswerBody, Budget, Cause, Transport, TransportError},
    xmatrix::{Target, canonical_body},
};

/// Bounds of an ordinary request.
pub(crate) const SMALL: Budget = Budget { deadline: Duration::from_secs(30), response: ByteSize::mib(8) };

/// Bounds of a question for a profile, which has 64 KiB at most: somebody waits, and anybody may ask.
pub(crate) const PROFILE: Budget = Budget { deadline: Duration::from_secs(5), response: ByteSize::kib(128) };

/// Bounds of a request whose answer is one event, or a template of one.
pub(crate) const ONE_EVENT: Budget =
    Budget { deadline: Duration::from_secs(15), response: ByteSize::kib(256) };

/// Bounds of a request for a few events: twenty of the largest size.
pub(crate) const FEW_EVENTS: Budget =
    Budget { deadline: Duration::from_secs(15), response: ByteSize::mib(2) };

/// Bounds of a request for a page of history, or for an auth chain.
pub(crate) const PAGE_OF_EVENTS: Budget =
    Budget { deadline: Duration::from_secs(20), response: ByteSize::mib(8) };

/// Bounds of a request for the ids of a room's state: some 150,000 of them.
pub(crate) const STATE_IDS: Budget = Budget { deadline: Duration::from_secs(20), response: ByteSize::mib(8) };

/// Bounds of a request for a room's state. What does not fit is fetched event by event.
pub(crate) const STATE: Budget = Budget { deadline: Duration::from_secs(20), response: ByteSize::mib(24) };

/// Bounds of a join: a user of ours waits for it, and the whole state of a large room comes with it.
pub(crate) const JOIN: Budget = Budget { deadline: Duration::from_secs(180), response: ByteSize::mib(192) };

/// Sends requests in the name of our authorities. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    transport: Arc<dyn Transport>,
    authorities: Arc<Authorities>,
    reach: Arc<Reach>,
    contacts: Arc<Contacts>,
}

/// A request before it is signed.
pub(crate) struct Outgoing<'a> {
    pub(crate) from: &'a ServerName,
    pub(crate) to: &'a ServerName,
    pub(crate) method: Method,
    pub(crate) path: Path,
    pub(crate) body: Body,
    pub(crate) budget: Budget,
    pub(crate) cause: Cause,
}

/// What is sent along.
pub(crate) enum Body {
    /// Nothing.
    None,
    /// JSON.
    Json(Bytes),
    /// JSON that is canonical already, so that it is signed as it stands.
    Canonical(Bytes),
}

impl Client {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        authorities: Arc<Authorities>,
        reach: Reach,
        contacts: Arc<Contacts>,
    ) -> Self {
        Self { transport, authorities, reach: Arc::new(reach), contacts }
    }

    pub(crate) fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    /// Whether we talk to this server over the network at all.
    pub(crate) fn may_contact(&self, server: &ServerName) -> bool {
        !self.authorities.is_ours(server) && self.reach.includes(server)
    }

    /// A server has shown that it is there by what it has signed for its name, if not by an answer to a signed request.
    pub(crate) fn heard_from(&self, server: &ServerName) {
        self.contacts.heard_from(server);
    }

    /// Sends a signed request; any HTTP status is an answer.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response<Bytes>, RemoteError> {
        let to = outgoing.to;
        if !self.may_contact(to) {
            return Err(unreachable(to, "we do not federate with this server"));
        }
        let request = self.sign(&outgoing).map_err(|cause| unreachable(to, cause))?;
        let answer = self.transport.send(to, request).await.map_err(|error| failure(to, &error))?;
        if is_success(&answer) {
            self.contacts.heard_from(to);
        }
        Ok(answer)
    }

    /// The same, with the answer as it comes.
    pub(crate) async fn open(&self, outgoing: Outgoing<'_>) -> Result<Response<AnswerBody>, RemoteError> {
        let to = outgoing.to;
        if !self.may_contact(to) {
            return Err(unreachable(to, "we do not federate with this server"));
        }
        let request = self.sign(&outgoing).map_err(|cause| unreachable(to, cause))?;
        self.transport.open(to, request).await.map_err(|error| failure(to, &error))
    }

    /// The same without a signature.
    pub(crate) async fn open_unsigned(
        &self,
        to: &ServerName,
        path: &Path,
        budget: Budget,
        cause: Cause,
    ) -> Result<Response<AnswerBody>, TransportError> {
        self.transport.open(to, self.unsigned(to, path, budget, cause)?).await
    }

    /// What an ordinary web server has.
    pub(crate) async fn visit(
        &self,
        uri: &Uri,
        budget: Budget,
    ) -> Result<Response<AnswerBody>, TransportError> {
        self.transport.visit(uri, budget).await
    }

    /// The TXT records of a name.
    pub(crate) async fn texts(&self, name: &str) -> Result<Vec<String>, TransportError> {
        self.transport.texts(name).await
    }

    /// Tells a push gateway.
    pub(crate) async fn notify(
        &self,
        request: Request<Bytes>,
        budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        self.transport.notify(request, budget).await
    }

    /// What is at the address of a page.
    pub(crate) async fn browse(
        &self,
        uri: &Uri,
        budget: Budget,
    ) -> Result<Response<AnswerBody>, TransportError> {
        self.transport.browse(uri, budget).await
    }

    /// The same, with a successful answer read as JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, outgoing: Outgoing<'_>) -> Result<T, RemoteError> {
        let to = outgoing.to;
        let answer = self.send(outgoing).await?;
        read(to, &answer)
    }

    /// Sends a request without a signature, for keys and versions.
    pub(crate) async fn ask_unsigned(
        &self,
        to: &ServerName,
        path: &Path,
        budget: Budget,
        cause: Cause,
    ) -> Result<Response<Bytes>, TransportError> {
        self.transport.send(to, self.unsigned(to, path, budget, cause)?).await
    }

    fn unsigned(
        &self,
        to: &ServerName,
        path: &Path,
        budget: Budget,
        cause: Cause,
    ) -> Result<Request<Bytes>, TransportError> {
        if !self.may_contact(to) {
            return Err(TransportError::Request("we do not federate with this server".to_owned()));
        }
        let mut request = Request::get(path.as_str())
            .body(Bytes::new())
            .map_err(|error| TransportError::Request(error.to_string()))?;
        request.extensions_mut().insert(budget);
        request.extensions_mut().insert(cause);
        Ok(request)
    }

    fn sign(&self, outgoing: &Outgoing<'_>) -> Result<Request<Bytes>, String> {
        let authority = self
            .authorities
            .find(outgoing.from)
            .ok_or_else(|| format!("{} is not a server name of ours", outgoing.from))?;
        let canonical;
        let (content, body) = match &outgoing.body {
            Body::None => (None, Bytes::new()),
            Body::Json(body) => {
                canonical = canonical_body(body).map_err(|error| error.to_string())?;
                (canonical.as_deref(), body.clone())
            }
            Body::Canonical(body) => {
                let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
                (Some(text), body.clone())
            }
        };
        let target = Target {
            method: outgoing.method.as_str(),
            uri: outgoing.path.as_str(),
            origin: outgoing.from,
            destination: outgoing.to,
            content,
        };
        let authorization =
            target.authorization(authority).ok_or_else(|| "the signature fits in no header".to_owned())?;
        let mut request = Request::builder()
            .method(outgoing.method.clone())
            .uri(outgoing.path.as_str())
            .header(header::AUTHORIZATION, authorization);
        if content.is_some() {
            request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let mut request = request.body(body).map_err(|error| error.to_string())?;
        request.extensions_mut().insert(outgoing.budget);
        request.extensions_mut().insert(outgoing.cause);
        Ok(request)
    }
}

/// How long a server wishes to be left alone, as it says in an answer.
pub(crate) fn retry_after(headers: &HeaderMap, clock: &Clock) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    base::retry_after(text(header::RETRY_AFTER)?, text(header::DATE), clock.now())
}

/// Whether a peer has answered well. Not every 200 is a peer's: whoever has a name for every name (a
/// wildcard) may have a page for every path.
pub(crate) fn is_success(answer: &Response<Bytes>) -> bool {
    let first = answer.body().iter().find(|byte| !byte.is_ascii_whitespace());
    answer.status().is_success() && matches!(first, Some(b'{' | b'['))
}

/// A successful answer read as JSON; an error as what the other server said.
pub(crate) fn read<T: DeserializeOwned>(
    from: &ServerName,
    answer: &Response<Bytes>,
) -> Result<T, RemoteError> {
    if !answer.status().is_success() {
        return Err(refused(from, answer));
    }
    serde_json::from_slice(answer.body()).map_err(|error| bad_answer(from, error.to_string()))
}

fn refused(server: &ServerName, answer: &Response<Bytes>) -> RemoteError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        #[serde(deserialize_with = "lenient::field")]
        errcode: String,
        #[serde(deserialize_with = "lenient::field")]
        error: String,
        #[serde(deserialize_with = "lenient::field")]
        room_version: Option<String>,
    }

    // Not everything between us and the other server speaks Matrix; then the status has to do.
    let said: Said = serde_json::from_slice(answer.body()).unwrap_or_default();
    RemoteError::Refused {
        server: server.to_owned(),
        status: answer.status().as_u16(),
        code: if said.errcode.is_empty() { "M_UNKNOWN".to_owned() } else { said.errcode },
        message: said.error,
        room_version: said.room_version,
    }
}

fn failure(to: &ServerName, error: &TransportError) -> RemoteError {
    match error {
        TransportError::TooLarge(_) => bad_answer(to, error.to_string()),
        _ => unreachable(to, error.to_string()),
    }
}

pub(crate) fn unreachable(server: &ServerName, cause: impl Into<String>) -> RemoteError {
    RemoteError::Unreachable { server: server.to_owned(), cause: cause.into() }
}

pub(crate) fn bad_answer(server: &ServerName, cause: impl Into<String>) -> RemoteError {
    RemoteError::BadAnswer { server: server.to_owned(), cause: cause.into() }
}
