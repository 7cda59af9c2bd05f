//! Listeners: HTTP/1.1 and HTTP/2, plain or over TLS, and their orderly end.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use base::{CancellationToken, Counter, Gauge, Metrics, Tasks};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use room::Zone;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, info, warn};
use web::{Peer, Router, TlsName};

use crate::{
    causes,
    idle::{Counted, Requests},
    patience::{Patient, Sliced},
    places::{Bounds, Place, Places, Spell},
    texts::tr,
    unread,
};

/// A client that has not finished its greeting by then is left.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that is told to end its connection has so long to do it.
const FAREWELL: Duration = Duration::from_secs(5);

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
    /// The zone that the requests come through.
    pub zone: Option<Zone>,
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
pub fn start(listener: TcpListener, service: Service, bounds: Bounds, tasks: &Tasks, metrics: &Metrics) {
    let open = metrics.gauge("yakuba_server_connections", "Open connections");
    let mut door = Door::new(listener, bounds, metrics);
    let tasks_inside = tasks.clone();
    tasks.spawn("listener", async move {
        let shutdown = tasks_inside.shutdown_token();
        while let Some((stream, peer, place)) = shutdown.run_until_cancelled(door.next()).await {
            let connection = Connection {
                peer,
                service: service.clone(),
                tasks: tasks_inside.clone(),
                shutdown: shutdown.clone(),
                open: open.clone(),
                place,
            };
            tasks_inside.spawn("connection", async move {
                connection.open.inc();
                let open = connection.open.clone();
                connection.run(stream).await;
                open.dec();
            });
        }
    });
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    places: Arc<Places>,
    refused: Counter,
    full: Spell,
    crowded: Spell,
    failing: Spell,
}

impl Door {
    fn new(listener: TcpListener, bounds: Bounds, metrics: &Metrics) -> Door {
        Door {
            listener,
            places: Places::new(bounds),
            refused: metrics.counter(
                "yakuba_server_connections_refused",
                "Connections of addresses that have all they may have",
            ),
            full: Spell::new(),
            crowded: Spell::new(),
            failing: Spell::new(),
        }
    }

    /// The next connection that has a place.
    async fn next(&mut self) -> (TcpStream, SocketAddr, Place) {
        loop {
            if self.places.are_full() && self.full.begins(Instant::now()) {
                warn!("all places for connections are taken, others wait");
            }
            let free = self.places.free().await;
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.places.take(free, peer) {
                    Some(place) => return (stream, peer, place),
                    None => self.refuse(),
                },
                Err(error) => {
                    if self.failing.begins(Instant::now()) {
                        warn!(%error, "connections cannot be taken");
                    }
                    // Out of file descriptors, most likely: wait for some to come back.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn refuse(&mut self) {
        self.refused.inc();
        if self.crowded.begins(Instant::now()) {
            warn!("an address has as many connections as one may have, more of it are refused");
        }
    }
}

struct Connection {
    peer: SocketAddr,
    service: Service,
    tasks: Tasks,
    shutdown: CancellationToken,
    open: Gauge,
    place: Place,
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
        let late = async {
            let whole = tokio::time::sleep(HANDSHAKE_TIMEOUT);
            let hurried = async {
                self.place.crowded().await;
                tokio::time::sleep(self.place.bounds().hurried).await;
            };
            tokio::select! { () = whole => {}, () = hurried => {} }
        };
        let greeted = tokio::select! {
            greeted = acceptor.accept(stream) => greeted,
            () = late => return debug!("TLS greeting took too long"),
        };
        match greeted {
            Ok(stream) => {
                let asked = stream.get_ref().1.server_name().map(Arc::from);
                let name = asked.or_else(|| self.service.default_name.clone());
                self.answer(stream, name).await;
            }
            Err(error) => debug!(%error, "TLS greeting failed"),
        }
    }

    async fn answer(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        name: Option<Arc<str>>,
    ) {
        let Connection { peer, service, tasks, shutdown, place, .. } = self;
        let &Bounds { head, idle, hurried, window, .. } = place.bounds();
        let (router, zone) = (service.router, service.zone);
        let given_up = CancellationToken::new();
        let (give_up, watchers) = (given_up.clone(), tasks.clone());
        let requests = Requests::default();
        let coming = requests.clone();
        let answer = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            if let Some(zone) = &zone {
                request.extensions_mut().insert(zone.clone());
            }
            if let Some(name) = &name {
                request.extensions_mut().insert(TlsName(name.clone()));
            }
            let (router, give_up, watchers) = (router.clone(), give_up.clone(), watchers.clone());
            let answering = coming.begin();
            async move {
                let many_at_once = request.version() == http::Version::HTTP_2;
                let answer = answer_whole(router, request).await?;
                Ok::<_, Infallible>(answer.map(|body| {
                    if !many_at_once {
                        return web::Body::new(Counted::new(body, answering));
                    }
                    let sliced = Sliced::watched(body, window, &give_up, &watchers);
                    web::Body::new(Counted::new(sliced, answering))
                }))
            }
        });

        let mut builder = auto::Builder::new(Spawner(tasks));
        builder.http1().timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(64 << 10);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            // What a client sends before anybody reads it is held for it.
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(256 << 10)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(20));

        let stream = TokioIo::new(Patient::new(stream, window));
        let mut connection = pin!(builder.serve_connection(stream, answer));
        tokio::select! {
            outcome = connection.as_mut() => return note(outcome),
            () = given_up.cancelled() => return,
            () = shutdown.cancelled() => {}
            () = requests.cease(head, idle) => {}
            () = async {
                place.crowded().await;
                requests.pause(hurried).await;
            } => {}
        }
        // A request that is under way just now is answered still.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            outcome = connection => note(outcome),
            () = given_up.cancelled() => {}
            () = requests.pause(FAREWELL.min(idle)) => debug!("a connection that does not end was left"),
        }
    }
}

fn note(outcome: Result<(), impl std::fmt::Display>) {
    if let Err(error) = outcome {
        debug!(%error, "connection ended");
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
