//! Connections to push services over which many requests go at once (HTTP/2): one to each, kept as long as it works.
//!
//! For services that our settings name, as there is no bound on how many there are: users name none of them. A service that
//! goes silent with the connection open is found out by pings, so that no request is sent into nothing for longer.

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base::{Counter, Gauge};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{
    connect::{Dialer, Open, Stream},
    failure,
    tls::HTTP_2,
    web::{HttpsWellKnown, Located, USER_AGENT},
};
use crate::transport::{Budget, TransportError};

/// Requests to one service at once; more wait. Of our own, and of those of strangers whom the gateway serves, fewer come.
const AT_ONCE: usize = 64;

/// So often a service is asked whether it is still there, and so long it may take to say so.
const PING_EACH: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept over which nothing goes. Apple wishes that providers keep theirs.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// The way to push services that speak HTTP/2.
pub(super) struct Shared {
    client: Client<Connector, Full<Bytes>>,
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Shared {
    /// Over a way to gateways. `dialer` agrees on HTTP/2 in the handshake of TLS.
    pub(super) fn new(web: HttpsWellKnown, dialer: Dialer, opened: Counter, open: Gauge) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .http2_keep_alive_interval(PING_EACH)
            .http2_keep_alive_timeout(PONG_WITHIN)
            .http2_keep_alive_while_idle(true)
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(Connector(Arc::new(Parts { web, dialer, opened, open })));
        Self { client, places: Mutex::default() }
    }

    /// Sends a request and waits for the whole answer; the caller has the deadline.
    pub(super) async fn post(
        &self,
        origin: &str,
        request: Request<Bytes>,
        budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        let places = self.places_of(origin);
        let closed = |_| TransportError::Broken("shutting down".to_owned());
        let _place = places.acquire().await.map_err(closed)?;
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_2;
        parts.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        parts.extensions.clear();
        let request = || Request::from_parts(parts.clone(), Full::new(body.clone()));
        let mut answer = self.client.request(request()).await;
        // A connection that was told to end just as we began to use it says nothing of the next one.
        if answer.as_ref().is_err_and(|error| !error.is_connect()) {
            answer = self.client.request(request()).await;
        }
        let (parts, body) = answer.map_err(|error| failure(&error))?.into_parts();
        let body = Limited::new(body, budget.response.as_usize()).collect().await;
        let body = body.map_err(|error| super::unread(error.as_ref(), budget))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    fn places_of(&self, origin: &str) -> Arc<Semaphore> {
        let mut places = self.places.lock();
        let new = || Arc::new(Semaphore::new(AT_ONCE));
        places.entry(origin.to_owned()).or_insert_with(new).clone()
    }
}

/// Connects for the pool.
#[derive(Clone)]
struct Connector(Arc<Parts>);

struct Parts {
    web: HttpsWellKnown,
    dialer: Dialer,
    opened: Counter,
    open: Gauge,
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        let parts = &self.0;
        let located = parts.web.locate(uri).await.map_err(|error| io::Error::other(error.to_string()))?;
        let Located { addresses, certificate: Some(certificate) } = located else {
            return Err(io::Error::other("HTTP/2 is spoken with TLS alone"));
        };
        let stream = parts.dialer.dial(&addresses, &certificate).await?;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
            return Err(io::Error::other("it does not speak HTTP/2"));
        }
        parts.opened.inc();
        Ok(Stream::shared(stream, Open::new(&parts.open)))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await })
    }
}
