//! Asking ordinary web servers: for `/.well-known/matrix/server`, for files that servers keep elsewhere, and for pages
//! that users link to; telling push gateways.
//!
//! These are strangers' machines, reached by names that strangers chose: at every hop the address is checked that is
//! connected to, and what is read has a bound. Every hop is HTTPS, but for pages and push gateways.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use async_trait::async_trait;
use base::{Clock, Random};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName as CertificateName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect::Dialer;
use crate::{
    addresses::AddressPolicy,
    resolver::{Dns, Endpoint, FetchedWellKnown, Resolver, WellKnown, WellKnownError, certificate_name},
    transport::TransportError,
};

const MOST_REDIRECTS: usize = 5;
const LARGEST_BODY: usize = 50 * 1024;
const PATH: &str = "/.well-known/matrix/server";

/// As whom we ask.
pub(super) const USER_AGENT: &str = concat!("Yakuba/", env!("CARGO_PKG_VERSION"));

/// Asks web servers over HTTPS.
pub(super) struct HttpsWellKnown {
    /// Only its look-up of addresses is used, which has the deadline and the address policy.
    lookup: Option<Resolver>,
    dialer: Dialer,
    /// What is sent along besides, where it asks for pages, which may be had without TLS.
    page: Option<HeaderValue>,
}

/// Where a server is.
pub(super) struct Located {
    pub(super) addresses: Vec<SocketAddr>,
    /// What it has to prove to be; nothing where it is spoken to without TLS.
    pub(super) certificate: Option<CertificateName<'static>>,
}

/// Stands where a resolver needs one that is never asked.
struct Nowhere;

#[async_trait]
impl WellKnown for Nowhere {
    async fn fetch(&self, _: &str) -> Result<FetchedWellKnown, WellKnownError> {
        Err(WellKnownError("not asked here".to_owned()))
    }
}

impl HttpsWellKnown {
    pub(super) fn new(
        dns: Arc<dyn Dns>,
        policy: AddressPolicy,
        dialer: Dialer,
        allowed: bool,
        clock: Clock,
    ) -> Self {
        let fixed = Default::default();
        let lookup = Resolver::new(&fixed, policy, dns, Arc::new(Nowhere), clock, Random::os()).ok();
        Self { lookup: lookup.filter(|_| allowed), dialer, page: None }
    }

    /// The same for pages, in the languages that are wished.
    pub(super) fn for_pages(self, languages: HeaderValue) -> Self {
        Self { page: Some(languages), ..self }
    }

    /// Where the server of an address is, as far as it may be asked at all.
    pub(super) async fn locate(&self, uri: &Uri) -> Result<Located, WellKnownError> {
        let wrong = |error: &dyn std::fmt::Display| WellKnownError(error.to_string());
        let lookup = self.lookup.as_ref().ok_or_else(|| wrong(&"look-ups are switched off"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if self.page.is_some() => false,
            _ => return Err(wrong(&"redirected away from https")),
        };
        let authority = uri.authority().ok_or_else(|| wrong(&"redirected to no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong(&"redirected to an address with a password"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        if self.page.is_some() && port < 1024 && !matches!(port, 80 | 443) {
            // What listens there speaks something else, and takes a request for whatever it may be.
            return Err(wrong(&"no web server has this port"));
        }
        let certificate = certificate_name(&host).map_err(|error| wrong(&error))?;
        let endpoint = Endpoint { host, port };
        let addresses = lookup.addresses_of(&endpoint, false).await.map_err(|error| wrong(&error))?;
        Ok(Located { addresses, certificate: is_tls.then_some(certificate) })
    }

    /// A connection to the server of an address. It must be driven while the answer is waited for and read.
    pub(super) async fn open(&self, uri: &Uri) -> Result<Opened, WellKnownError> {
        let wrong = |error: &dyn std::fmt::Display| WellKnownError(error.to_string());
        let Located { addresses, certificate } = self.locate(uri).await?;
        let stream: Box<dyn Wire> = match certificate {
            Some(certificate) => {
                Box::new(self.dialer.dial(&addresses, &certificate).await.map_err(|error| wrong(&error))?)
            }
            None => Box::new(self.dialer.dial_plain(&addresses).await.map_err(|error| wrong(&error))?),
        };

        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| wrong(&error))?;
        Ok(Opened { sender, connection: Driven(Some(connection)) })
    }

    /// A connection as of [`Self::open`], and the request for what the address names.
    async fn connect(&self, uri: &Uri) -> Result<(Opened, Request<Full<Bytes>>), WellKnownError> {
        let wrong = |error: &dyn std::fmt::Display| WellKnownError(error.to_string());
        let opened = self.open(uri).await?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut request =
            Request::get(path).header(header::HOST, authority).header(header::USER_AGENT, USER_AGENT);
        if let Some(languages) = &self.page {
            request = request.header(header::ACCEPT_LANGUAGE, languages.clone());
            request = request.header(header::ACCEPT, "text/html, image/*;q=0.9, */*;q=0.5");
        }
        let request = request.body(Full::<Bytes>::default()).map_err(|error| wrong(&error))?;
        Ok((opened, request))
    }

    /// Asks for what an address names; see [`crate::Transport::visit`]. The second value
    /// is the connection, to be driven while the body is read.
    pub(super) async fn visit(&self, uri: &Uri) -> Result<(Response<Incoming>, Driven), TransportError> {
        let (Opened { mut sender, mut connection }, request) =
            self.connect(uri).await.map_err(|error| TransportError::Connect(error.to_string()))?;
        let answer = connection.while_waiting_for(sender.send_request(request)).await;
        Ok((answer.map_err(|error| TransportError::Broken(error.to_string()))?, connection))
    }

    async fn get(&self, uri: &Uri) -> Result<Hop, WellKnownError> {
        let wrong = |error: &dyn std::fmt::Display| WellKnownError(error.to_string());
        let (Opened { mut sender, mut connection }, request) = self.connect(uri).await?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
            let (parts, body) = response.into_parts();
            if parts.status.is_redirection()
                && let Some(location) = parts.headers.get(header::LOCATION)
            {
                let location = location.to_str().map_err(|error| wrong(&error))?.to_owned();
                return Ok(Hop::Redirect(location));
            }
            let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|error| wrong(&error))?;
            Ok(Hop::Answer(FetchedWellKnown {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes().to_vec(),
            }))
        };
        // It must be driven while the exchange waits; it ends with it.
        connection.while_waiting_for(exchange).await
    }
}

/// A connection, with or without TLS.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type HttpConnection = hyper::client::conn::http1::Connection<TokioIo<Box<dyn Wire>>, Full<Bytes>>;

/// A connection.
pub(super) struct Opened {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) connection: Driven,
}

/// A connection that does its work while something is waited for that it brings; none once it has ended.
pub(super) struct Driven(Option<HttpConnection>);

impl Driven {
    /// Waits for what needs no such connection.
    pub(super) fn by_others() -> Driven {
        Driven(None)
    }

    /// Whether it has ended, as far as is known now.
    pub(super) async fn has_ended(&mut self) -> bool {
        let Some(connection) = &mut self.0 else { return true };
        let ended = poll_fn(|context| Poll::Ready(Pin::new(&mut *connection).poll(context).is_ready())).await;
        if ended {
            self.0 = None;
        }
        ended
    }

    /// Waits for something that the connection brings.
    pub(super) async fn while_waiting_for<F: Future>(&mut self, awaited: F) -> F::Output {
        let mut awaited = pin!(awaited);
        poll_fn(|context| {
            if let Poll::Ready(output) = awaited.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            let ended =
                self.0.as_mut().is_some_and(|connection| Pin::new(connection).poll(context).is_ready());
            if ended {
                self.0 = None;
            }
            // It may have brought it just now.
            awaited.as_mut().poll(context)
        })
        .await
    }
}

enum Hop {
    Answer(FetchedWellKnown),
    Redirect(String),
}

#[async_trait]
impl WellKnown for HttpsWellKnown {
    async fn fetch(&self, host: &str) -> Result<FetchedWellKnown, WellKnownError> {
        let wrong = |error: &dyn std::fmt::Display| WellKnownError(error.to_string());
        let mut uri: Uri = format!("https://{host}{PATH}").parse().map_err(|error| wrong(&error))?;
        for _ in 0..=MOST_REDIRECTS {
            match self.get(&uri).await? {
                Hop::Answer(answer) => return Ok(answer),
                Hop::Redirect(location) => uri = follow(&uri, &location)?,
            }
        }
        Err(WellKnownError("too many redirects".to_owned()))
    }
}

/// The target of a redirect: a full URI, or a path on the same host.
fn follow(from: &Uri, location: &str) -> Result<Uri, WellKnownError> {
    let wrong = || WellKnownError(format!("redirected to `{location}`"));
    if location.starts_with("//") {
        return format!("https:{location}").parse().map_err(|_| wrong());
    }
    if location.contains("://") {
        return location.parse().map_err(|_| wrong());
    }
    let authority = from.authority().ok_or_else(wrong)?;
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{location}")
    };
    format!("https://{authority}{path}").parse().map_err(|_| wrong())
}
