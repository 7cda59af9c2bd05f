//! The way to other servers, as the rest of federation sees it.
//!
//! [`Transport`] carries one request to a named server and brings the answer back; it knows no
//! signatures and no Matrix beyond server names. The real one is [`crate::Network`]; tests put one in its
//! place that calls the other server in memory, or loses what it is given.

use std::time::Duration;

use async_trait::async_trait;
use base::ByteSize;
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::{Request, Response, Uri};
use ruma::ServerName;

use crate::resolver::ResolveError;

/// Carries requests to other servers.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to `destination` and waits for the whole answer.
    ///
    /// The URI is path and query only, and is sent byte for byte: it is signed. A [`Budget`] among the
    /// request's extensions replaces the transport's own bounds; a [`Cause`] tells whose places it takes.
    ///
    /// # Errors
    /// [`TransportError`] when no complete answer was had. Whether the other server has seen the
    /// request is then unknown, except where the variant says so.
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError>;

    /// Sends `request` to `destination` and gives the answer as it comes, for what is too large to be held. The deadline of
    /// its [`Budget`] is for all of it, with the body; the body ends well only where the answer does.
    ///
    /// # Errors
    /// As [`Transport::send`].
    async fn open(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<AnswerBody>, TransportError> {
        Ok(self.send(destination, request).await?.map(whole_body))
    }

    /// Gets what an ordinary web server has at this address, as it comes, for nobody in particular: nothing of ours is
    /// sent along. Redirects are answers. Only addresses are connected to that the settings let peers be at.
    ///
    /// # Errors
    /// As [`Transport::send`].
    async fn visit(&self, _uri: &Uri, _budget: Budget) -> Result<Response<AnswerBody>, TransportError> {
        Err(TransportError::Connect("there is no way to web servers".to_owned()))
    }

    /// Sends a request with a full URI to a push gateway or a push service, whose address a user chose, and waits for the
    /// whole answer. Redirects are answers. It has a bound on addresses and one on connections of its own. It may come
    /// twice, where a connection that was kept breaks. One whose version is HTTP/2 goes over a connection that all such share:
    /// for services that our settings name.
    ///
    /// # Errors
    /// As [`Transport::send`].
    async fn notify(
        &self,
        _request: Request<Bytes>,
        _budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        Err(TransportError::Connect("there is no way to push gateways".to_owned()))
    }

    /// As [`Transport::visit`] for pages that users link to: also without TLS, and with another bound on addresses.
    ///
    /// # Errors
    /// As [`Transport::send`].
    async fn browse(&self, _uri: &Uri, _budget: Budget) -> Result<Response<AnswerBody>, TransportError> {
        Err(TransportError::Connect("pages are not looked at".to_owned()))
    }

    /// The TXT records of a name in DNS, a bounded number; none where there are none.
    ///
    /// # Errors
    /// [`TransportError`] where DNS does not say.
    async fn texts(&self, _name: &str) -> Result<Vec<String>, TransportError> {
        Err(TransportError::Connect("texts are not looked up".to_owned()))
    }
}

/// The body of an answer, part by part.
pub type AnswerBody = BoxStream<'static, Result<Bytes, TransportError>>;

/// A body that is here.
pub fn whole_body(body: Bytes) -> AnswerBody {
    futures_util::stream::iter([Ok(body)]).boxed()
}

/// What one request may cost; goes into the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Time for all of it, from finding the peer to the last byte of its answer.
    pub deadline: Duration,
    /// Largest answer.
    pub response: ByteSize,
}

/// Why a request is made; goes into the request's extensions. Each cause has places of its own, so that what
/// strangers have us ask takes none of those that rooms need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// A room or a user of ours needs it.
    #[default]
    Ours,
    /// Somebody asks for a profile: nobody has to show a token for that.
    Profile,
    /// Somebody names a server whose keys we lack, and nothing proves that he may.
    UnprovenName,
    /// A user of ours wants a file, which takes as long as it is large.
    File,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The name leads nowhere; nothing was sent.
    #[error("the server was not found: {0}")]
    Resolve(#[from] ResolveError),
    /// No connection, or none that proves to be the right server; nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The time allowed was over.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The answer was larger than allowed.
    #[error("the answer is larger than {0}")]
    TooLarge(ByteSize),
    /// The connection broke in the middle.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The request cannot be sent as it is; nothing was sent.
    #[error("the request is not valid: {0}")]
    Request(String),
    /// As many requests of this [`Cause`] are under way as may be; nothing was sent.
    #[error("too many requests of this kind are under way")]
    NoPlace,
}
