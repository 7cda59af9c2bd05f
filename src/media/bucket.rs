//! A bucket of an S3-compatible store, as the place where files lie.
//!
//! Requests go over one client of ours, with the cryptography that everything here uses: no other library for TLS comes
//! in with the bucket. Every request ends in its time, and is made again a few times; whoever asks then hears that the
//! store is away. An upload in parts that is broken off is taken back; one whose process died is not, since nobody
//! knows its id any more: the bucket's own rules are to take away what was begun and not ended in a day.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::AmazonS3Builder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
    prefix::PrefixStore,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::Sleep;

use crate::Error;

/// A connection that is not there by then is not waited for.
const CONNECTING: Duration = Duration::from_secs(5);
/// The head of an answer, after a part of a file was sent.
const ANSWERING: Duration = Duration::from_secs(60);
/// Between two pieces of a file that is read.
const PAUSE: Duration = Duration::from_secs(30);
/// How often a request is made again, and until when.
const RETRIES: usize = 3;
const RETRYING: Duration = Duration::from_secs(20);

/// Where a bucket is, and who we are there.
#[derive(Clone)]
pub struct S3Config {
    /// The URL of the store, `https://…`, or `http://…` for one in a network that nobody else reads.
    pub endpoint: String,
    /// Its region, as requests are signed for it.
    pub region: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// What the names of our objects begin with; empty for nothing.
    pub prefix: String,
    /// Whether the bucket is in the path of requests, and not in the name of the host.
    pub path_style: bool,
    /// The id of the key.
    pub key_id: String,
    /// The key.
    pub secret: String,
    /// Certificate authorities (PEM) besides those of the operating system.
    pub ca: Option<Vec<u8>>,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, bucket, prefix, .. } = self;
        f.debug_struct("S3Config")
            .field("endpoint", endpoint)
            .field("bucket", bucket)
            .field("prefix", prefix)
            .finish_non_exhaustive()
    }
}

/// The bucket. Nobody is asked yet.
///
/// # Errors
/// [`Error::Files`] for what cannot be a bucket, or certificates that are none.
pub(crate) fn open(config: &S3Config) -> Result<Arc<dyn ObjectStore>, Error> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRYING,
    };
    let store = AmazonS3Builder::new()
        .with_endpoint(config.endpoint.trim_end_matches('/'))
        .with_allow_http(config.endpoint.starts_with("http://"))
        .with_region(&config.region)
        .with_bucket_name(&config.bucket)
        .with_virtual_hosted_style_request(!config.path_style)
        .with_access_key_id(&config.key_id)
        .with_secret_access_key(&config.secret)
        .with_retry(retry)
        .with_http_connector(Connector(client(config.ca.as_deref())?))
        .build()
        .map_err(|error| Error::object("kept", error))?;
    Ok(match config.prefix.trim_matches('/') {
        "" => Arc::new(store),
        prefix => Arc::new(PrefixStore::new(store, prefix)),
    })
}

/// Writes something into the bucket and takes it away again: for who checks settings.
///
/// # Errors
/// [`Error::Away`]: why that cannot be done.
pub async fn look_at_bucket(config: &S3Config) -> Result<(), Error> {
    let away = |error| Error::Away { doing: "written", cause: Arc::new(error) };
    let store = open(config)?;
    let place = object_store::path::Path::from("check");
    store.put(&place, "check".into()).await.map_err(away)?;
    store.delete(&place).await.map_err(away)
}

type Requests = Client<HttpsConnector<TcpConnector>, HttpRequestBody>;

fn client(ca: Option<&[u8]>) -> Result<Requests, Error> {
    let unusable = |error: std::io::Error| Error::file("kept", error);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default()) {
        let certificate = certificate.map_err(std::io::Error::other).map_err(unusable)?;
        roots.add(certificate).map_err(std::io::Error::other).map_err(unusable)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = TcpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECTING));
    tcp.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(30));
    Ok(builder.build(connector))
}

/// Gives the store our client.
#[derive(Debug)]
struct Connector(Requests);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Requests);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(ANSWERING, self.0.request(request)).await;
        let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
        let answer = answer.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
            HttpError::new(kind, error)
        })?;
        let (head, body) = answer.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(Paused::new(body))))
    }
}

/// A body of which the next piece comes in its time, or not at all. How long its reader takes is not counted.
struct Paused<B> {
    body: B,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> Paused<B> {
    fn new(body: B) -> Self {
        Self { body, waiting: None }
    }
}

impl<B: Body<Data = Bytes, Error = HttpError> + Unpin> Body for Paused<B> {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = None;
            return Poll::Ready(frame);
        }
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        if waiting.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
