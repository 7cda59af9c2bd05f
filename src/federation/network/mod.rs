//! The real [`Transport`]: pooled HTTPS connections to servers that the [`Resolver`] finds.
//!
//! A request first takes a place ([`places`]); that wait and everything after it run under the request's
//! one deadline. So a slow peer fills only its own places, and no wait is without an end.

mod connect;
mod gateways;
mod places;
mod shared;
mod tls;
mod web;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Clock, CounterFamily, GaugeFamily, HistogramFamily, Instant, Metrics, Random};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{Client, Error as ClientError},
    rt::{TokioExecutor, TokioTimer},
};
use ruma::ServerName;

use self::{
    connect::{Connector, Dialer},
    gateways::Gateways,
    places::{Place, Places},
    web::{Driven, HttpsWellKnown},
};
use crate::{
    config::{NetworkConfig, Trust},
    resolver::{Dns, DnsError, NoDns, ResolveError, Resolver, SystemDns, WellKnown},
    transport::{AnswerBody, Budget, Cause, Transport, TransportError},
};

/// The network could not be made ready; the configuration is wrong.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A certificate file cannot be used.
    #[error("certificates of {file}: {cause}")]
    Certificates {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A fixed address cannot be one.
    #[error("a fixed address is wrong: {0}")]
    FixedAddress(#[from] ResolveError),
    /// The machine's DNS settings cannot be read.
    #[error("DNS: {0}")]
    Dns(#[from] DnsError),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

/// TLS as a client, for who goes elsewhere than to other servers: 1.2 or later, HTTP/1.1.
///
/// # Errors
/// [`OpenError::Certificates`] for a file that holds none, [`OpenError::Tls`].
pub fn tls_client(trust: Trust, files: &[PathBuf]) -> Result<Arc<rustls::ClientConfig>, OpenError> {
    tls::client_config(trust, files)
}

/// The same, for who shows a certificate: its file and that of its key, both PEM.
///
/// # Errors
/// As [`tls_client`]; [`OpenError::Certificates`] for a certificate or key that is none, or of which one is not the other's.
pub fn tls_client_showing(
    trust: Trust,
    files: &[PathBuf],
    own: Option<(PathBuf, PathBuf)>,
) -> Result<Arc<rustls::ClientConfig>, OpenError> {
    tls::client_showing(trust, files, own)
}

/// HTTPS to other servers. Cheap to clone; clones share connections, caches and limits.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    resolver: Arc<Resolver>,
    dns: Arc<dyn Dns>,
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    web: Arc<HttpsWellKnown>,
    /// The way to pages, if they may be looked at.
    pages: Option<HttpsWellKnown>,
    /// The way to push gateways.
    gateways: Gateways,
    places: Places,
    config: NetworkConfig,
    clock: Clock,
    outcomes: CounterFamily,
    under_way: GaugeFamily,
    seconds: HistogramFamily,
}

impl Network {
    /// Reads certificates and DNS settings; connects to nobody yet.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    pub fn open(
        config: &NetworkConfig,
        clock: &Clock,
        random: &Random,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let dns: Arc<dyn Dns> =
            if config.dns { Arc::new(SystemDns::open(clock.clone())?) } else { Arc::new(NoDns) };
        Self::with_dns(config, dns, clock, random, metrics)
    }

    /// The same with another DNS.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    pub fn with_dns(
        config: &NetworkConfig,
        dns: Arc<dyn Dns>,
        clock: &Clock,
        random: &Random,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let tls = tls::client_config(config.trust, &config.ca_files)?;
        let shared_dialer = Dialer::new(tls::shared(&tls), config.connect_timeout, clock.clone());
        let dialer = Dialer::new(tls, config.connect_timeout, clock.clone());
        let pages = config.pages.as_ref().map(|policy| {
            let to_pages =
                HttpsWellKnown::new(dns.clone(), policy.clone(), dialer.clone(), true, clock.clone());
            to_pages.for_pages(HeaderValue::from_static(LANGUAGES))
        });
        let to_gateways = |dialer: &Dialer| {
            HttpsWellKnown::new(dns.clone(), config.gateways.clone(), dialer.clone(), true, clock.clone())
                .for_pages(HeaderValue::from_static(LANGUAGES))
        };
        let shared = (to_gateways(&shared_dialer), shared_dialer.clone());
        let gateways = Gateways::new(to_gateways(&dialer), shared, config, clock.clone(), metrics);
        let web = HttpsWellKnown::new(
            dns.clone(),
            config.addresses.clone(),
            dialer.clone(),
            config.dns,
            clock.clone(),
        );
        let web = Arc::new(web);
        let well_known: Arc<dyn WellKnown> = web.clone();
        let resolver = Resolver::new(
            &config.fixed,
            config.addresses.clone(),
            dns.clone(),
            well_known,
            clock.clone(),
            random.clone(),
        )?;
        let resolver = Arc::new(resolver);
        let connector = Connector::new(resolver.clone(), dialer);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(4)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .set_host(false)
            .build(connector.clone());
        let buckets = &[0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
        let inner = Inner {
            resolver,
            dns,
            client,
            connector,
            web,
            pages,
            gateways,
            places: Places::new(config),
            config: config.clone(),
            clock: clock.clone(),
            outcomes: metrics
                .counter_family("yakuba_federation_requests_sent", "Requests to other servers, by outcome"),
            under_way: metrics.gauge_family(
                "yakuba_federation_requests_under_way",
                "Requests to other servers that wait for a place or an answer",
            ),
            seconds: metrics.histogram_family(
                "yakuba_federation_request_seconds",
                "Time from a request to the end of its answer",
                buckets,
            ),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The resolver that this network uses.
    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.inner.resolver
    }
}

/// A question for texts in DNS may take this long, and so many of them are looked at.
const TEXTS_TIMEOUT: Duration = Duration::from_secs(5);
const MOST_TEXTS: usize = 100;

/// Files come in parts with no longer a pause than this between them.
const PAUSE: Duration = Duration::from_secs(30);

#[async_trait]
impl Transport for Network {
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let inner = &self.inner;
        let budget = inner.budget(&request);
        let under_way = inner.under_way.with(&[("state", "any")]);
        under_way.inc();
        let started = inner.clock.instant();
        let answer = inner
            .clock
            .timeout(budget.deadline, inner.send(destination, request, budget))
            .await
            .unwrap_or(Err(TransportError::Deadline(budget.deadline)));
        under_way.dec();
        let outcome = outcome(&answer);
        inner.outcomes.with(&[("outcome", outcome)]).inc();
        let elapsed = inner.clock.instant().since(started);
        inner.seconds.with(&[("outcome", outcome)]).observe(elapsed.as_secs_f64());
        answer
    }

    async fn open(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<AnswerBody>, TransportError> {
        let inner = &self.inner;
        let budget = inner.budget(&request);
        let end = inner.clock.instant() + budget.deadline;
        let answer = inner.clock.timeout(budget.deadline, inner.begin(destination, request)).await;
        let late = |_| Err(TransportError::Deadline(budget.deadline));
        let (response, place) = answer.unwrap_or_else(late)?;
        Ok(response
            .map(|body| streamed(body, inner.clock.clone(), end, budget, Driven::by_others(), Some(place))))
    }

    async fn visit(&self, uri: &Uri, budget: Budget) -> Result<Response<AnswerBody>, TransportError> {
        let inner = &self.inner;
        let end = inner.clock.instant() + budget.deadline;
        let answer = inner.clock.timeout(budget.deadline.min(PAUSE), inner.web.visit(uri)).await;
        let (response, connection) = answer.unwrap_or_else(|_| Err(TransportError::Deadline(PAUSE)))?;
        Ok(response.map(|body| streamed(body, inner.clock.clone(), end, budget, connection, None)))
    }

    async fn notify(
        &self,
        request: Request<Bytes>,
        budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        self.inner.gateways.post(request, budget).await
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, TransportError> {
        let inner = &self.inner;
        let asked = inner.clock.timeout(TEXTS_TIMEOUT, inner.dns.texts(name)).await;
        match asked.map_err(|_| TransportError::Deadline(TEXTS_TIMEOUT))? {
            Ok(mut texts) => {
                texts.truncate(MOST_TEXTS);
                Ok(texts)
            }
            Err(DnsError::NoRecords) => Ok(Vec::new()),
            Err(DnsError::Failed(cause)) => Err(TransportError::Connect(cause)),
        }
    }

    async fn browse(&self, uri: &Uri, budget: Budget) -> Result<Response<AnswerBody>, TransportError> {
        let inner = &self.inner;
        let off = || TransportError::Connect("pages are not looked at".to_owned());
        let pages = inner.pages.as_ref().ok_or_else(off)?;
        let end = inner.clock.instant() + budget.deadline;
        let answer = inner.clock.timeout(budget.deadline, pages.visit(uri)).await;
        let late = |_| Err(TransportError::Deadline(budget.deadline));
        let (response, connection) = answer.unwrap_or_else(late)?;
        Ok(response.map(|body| streamed(body, inner.clock.clone(), end, budget, connection, None)))
    }
}

/// The languages in which pages are wished that users link to.
const LANGUAGES: &str = "ja, en;q=0.7, *;q=0.5";

/// A body as it comes, within its budget. The place is free again when it ends.
fn streamed(
    body: hyper::body::Incoming,
    clock: Clock,
    end: Instant,
    budget: Budget,
    connection: Driven,
    place: Option<Place>,
) -> AnswerBody {
    let body = Limited::new(body, budget.response.as_usize());
    let parts = stream::try_unfold((body, clock, connection, place), move |state| async move {
        let (mut body, clock, mut connection, place) = state;
        loop {
            let left = end.since(clock.instant()).min(PAUSE);
            let frame = clock.timeout(left, connection.while_waiting_for(body.frame())).await;
            match frame.map_err(|_| TransportError::Deadline(budget.deadline))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(unread(error.as_ref(), budget)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some((data, (body, clock, connection, place))));
                    }
                }
            }
        }
    });
    parts.boxed()
}

fn unread(error: &(dyn std::error::Error + Send + Sync + 'static), budget: Budget) -> TransportError {
    match error.is::<LengthLimitError>() {
        true => TransportError::TooLarge(budget.response),
        false => TransportError::Broken(error.to_string()),
    }
}

fn outcome(answer: &Result<Response<Bytes>, TransportError>) -> &'static str {
    match answer {
        Ok(response) if response.status().is_success() => "ok",
        Ok(response) if response.status().is_server_error() => "server_error",
        Ok(_) => "refused",
        Err(TransportError::Resolve(_)) => "not_found",
        Err(TransportError::Connect(_)) => "no_connection",
        Err(TransportError::Deadline(_)) => "timeout",
        Err(TransportError::TooLarge(_)) => "too_large",
        Err(TransportError::Broken(_)) => "broken",
        Err(TransportError::Request(_)) => "bad_request",
        Err(TransportError::NoPlace) => "no_place",
    }
}

impl Inner {
    async fn send(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
        budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        let (response, _place) = self.begin(destination, request).await?;
        read(response, budget).await
    }

    /// Sends a request and waits for the head of its answer. Its place is to be kept until all of it is read.
    async fn begin(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<(Response<hyper::body::Incoming>, Place), TransportError> {
        let cause = request.extensions().get::<Cause>().copied().unwrap_or_default();
        let place = self.places.take(destination, cause).await?;

        let route = self.resolver.route(destination).await?;
        let request = self.addressed(&route.host, request)?;
        self.connector.prepare(route);

        let mut again = Some(copy(&request));
        let mut answer = self.client.request(request.map(Full::new)).await;
        // A connection that the peer closed just as we began to use it is no sign of trouble, and
        // everything that we send may be sent twice.
        if let Err(error) = &answer
            && is_stale(error)
            && let Some(request) = again.take()
        {
            answer = self.client.request(request.map(Full::new)).await;
        }
        Ok((answer.map_err(|error| failure(&error))?, place))
    }

    fn budget(&self, request: &Request<Bytes>) -> Budget {
        request.extensions().get::<Budget>().copied().unwrap_or(Budget {
            deadline: self.config.request_timeout,
            response: self.config.largest_response,
        })
    }

    /// The request with a full URI, for the pool, and the `Host` header of its route.
    fn addressed(&self, host: &str, request: Request<Bytes>) -> Result<Request<Bytes>, TransportError> {
        let wrong = |error: &dyn std::fmt::Display| TransportError::Request(error.to_string());
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        parts.uri = Uri::builder()
            .scheme("https")
            .authority(host)
            .path_and_query(path)
            .build()
            .map_err(|error| wrong(&error))?;
        let host = HeaderValue::from_str(host).map_err(|error| wrong(&error))?;
        parts.headers.insert(header::HOST, host);
        parts.headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("Yakuba/", env!("CARGO_PKG_VERSION"))),
        );
        parts.extensions.clear();
        Ok(Request::from_parts(parts, body))
    }
}

fn copy(request: &Request<Bytes>) -> Request<Bytes> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Whether the connection ended before a single byte of an answer came.
fn is_stale(error: &ClientError) -> bool {
    let source = std::error::Error::source(error);
    let hyper = source.and_then(|source| source.downcast_ref::<hyper::Error>());
    hyper.is_some_and(|error| error.is_incomplete_message() || error.is_canceled())
}

fn failure(error: &ClientError) -> TransportError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    let mut resolve = None;
    while let Some(cause) = source {
        text = cause.to_string();
        // The connector wraps what the resolver said into an I/O error.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        resolve = resolve.or_else(|| inner?.downcast_ref::<ResolveError>().cloned());
        source = cause.source();
    }
    match resolve {
        Some(cause) => TransportError::Resolve(cause),
        None if error.is_connect() => TransportError::Connect(text),
        None => TransportError::Broken(text),
    }
}

async fn read(
    response: Response<hyper::body::Incoming>,
    budget: Budget,
) -> Result<Response<Bytes>, TransportError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, budget.response.as_usize()).collect().await;
    let body = body.map_err(|error| unread(error.as_ref(), budget))?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// What is left of `timeout` is shared by the addresses that are tried.
fn share(timeout: Duration, addresses: usize) -> Duration {
    let parts = u32::try_from(addresses.clamp(1, 3)).unwrap_or(1);
    timeout / parts
}
