//! Listeners: HTTP/1.1 and HTTP/2, plain or over TLS, and their orderly end.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use base::{CancellationToken, Gauge, Metrics, Tasks};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, info, warn};
use web::{Peer, Router, TlsName};

use crate::{
    causes,
    patience::{Patient, Sliced, WINDOW},
    texts::tr,
    unread,
};

/// A client that has not finished its greeting by then is left.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that has not sent a request's head by then is left.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections at a time on one listener; more wait in the system's queue.
const CONNECTIONS: usize = 16_384;

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{}", tr!(
    "{address} で待ち受けられません: {cause}",
    "cannot listen on {address}: {cause}",
    cause = causes::of_io(cause)
))]
pub struct Error {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub cause: io::Error,
}

/// What a listener does with its connections.
#[derive(Clone)]
pub struct Service {
    /// Answers the requests.
    pub router: Router,
    /// Greets the connections, if they speak TLS.
    pub tls: Option<TlsAcceptor>,
    /// The name that stands in for one that the connection does not give.
    pub default_name: Option<Arc<str>>,
}

/// Opens a listener.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|cause| Error { address, cause })
}

/// Answers on an open listener until the shutdown of `tasks`: then no connection is taken any more,
/// and those that are open end with the answer they are at.
pub fn start(listener: TcpListener, service: Service, tasks: &Tasks, metrics: &Metrics) {
    let connections = metrics.gauge("yakuba_server_connections", "Open connections");
    let tasks_inside = tasks.clone();
    tasks.spawn("listener", async move {
        let shutdown = tasks_inside.shutdown_token();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = shutdown.run_until_cancelled(async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            });
            let (place, accepted) = match accepted.await {
                Some((Ok(place), accepted)) => (place, accepted),
                Some((Err(_), _)) | None => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to come back.
                    warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let connection = Connection {
                peer,
                service: service.clone(),
                tasks: tasks_inside.clone(),
                shutdown: shutdown.clone(),
                open: connections.clone(),
            };
            tasks_inside.spawn("connection", async move {
                connection.open.inc();
                let open = connection.open.clone();
                connection.run(stream).await;
                open.dec();
                drop(place);
            });
        }
    });
}

struct Connection {
    peer: SocketAddr,
    service: Service,
    tasks: Tasks,
    shutdown: CancellationToken,
    open: Gauge,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Answers are written whole; waiting to fill a packet would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY");
        }
        let Some(acceptor) = self.service.tls.clone() else {
            let name = self.service.default_name.clone();
            return self.answer(stream, name).await;
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let asked = stream.get_ref().1.server_name().map(Arc::from);
                let name = asked.or_else(|| self.service.default_name.clone());
                self.answer(stream, name).await;
            }
            Ok(Err(error)) => debug!(%error, "TLS greeting failed"),
            Err(_) => debug!("TLS greeting took too long"),
        }
    }

    async fn answer(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        name: Option<Arc<str>>,
    ) {
        let Connection { peer, service, tasks, shutdown, .. } = self;
        let router = service.router;
        let given_up = CancellationToken::new();
        let (give_up, watchers) = (given_up.clone(), tasks.clone());
        let answer = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            if let Some(name) = &name {
                request.extensions_mut().insert(TlsName(name.clone()));
            }
            let (router, give_up, watchers) = (router.clone(), give_up.clone(), watchers.clone());
            async move {
                let many_at_once = request.version() == http::Version::HTTP_2;
                let answer = answer_whole(router, request).await?;
                if !many_at_once {
                    return Ok::<_, Infallible>(answer);
                }
                Ok(answer.map(|body| web::Body::new(Sliced::watched(body, WINDOW, &give_up, &watchers))))
            }
        });

        let mut builder = auto::Builder::new(Spawner(tasks));
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(64 << 10);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            // What a client sends before anybody reads it is held for it.
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(256 << 10)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(20));

        let stream = TokioIo::new(Patient::new(stream, WINDOW));
        let mut connection = pin!(builder.serve_connection(stream, answer));
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = given_up.cancelled() => return,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = connection => outcome,
                    () = given_up.cancelled() => return,
                }
            }
        };
        if let Err(error) = outcome {
            debug!(%error, "connection ended");
        }
    }
}

/// Answers a request, and takes what its handler left of the body, so that the answer arrives.
async fn answer_whole(router: Router, request: http::Request<Incoming>) -> Result<web::Response, Infallible> {
    if request.body().is_end_stream() || request.version() == http::Version::HTTP_2 {
        return router.oneshot(request).await;
    }
    let awaits_permission = request.headers().contains_key(http::header::EXPECT);
    let (parts, body) = request.into_parts();
    let (body, rest) = unread::share(body);
    let answer = router.oneshot(http::Request::from_parts(parts, body)).await;
    rest.discard(awaits_permission).await;
    answer
}

/// Lets hyper start the tasks of HTTP/2 streams under our supervisor.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("stream", future);
    }
}

/// Says where a listener listens.
pub(crate) fn announce(address: SocketAddr, serves: &str, tls: bool) {
    info!(%address, serves, tls, "listening");
}
