//! From a route to a TLS connection that proves to be the right server.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base::{Clock, Gauge};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName as CertificateName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::share;
use crate::resolver::{Resolver, Route, make_room};

/// Routes that are remembered for connections about to be made.
const MOST_ROUTES: usize = 20_000;

/// Makes TCP and TLS connections.
#[derive(Clone)]
pub(super) struct Dialer {
    tls: TlsConnector,
    timeout: Duration,
    clock: Clock,
}

impl Dialer {
    pub(super) fn new(tls: Arc<ClientConfig>, timeout: Duration, clock: Clock) -> Self {
        Self { tls: TlsConnector::from(tls), timeout, clock }
    }

    /// Connects to the first address that answers and proves to be `name`.
    pub(super) async fn dial(
        &self,
        addresses: &[SocketAddr],
        name: &CertificateName<'static>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let each = share(self.timeout, addresses.len());
        let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
        for address in addresses {
            match self.clock.timeout(each, self.dial_one(*address, name)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(cause)) => error = cause,
                Err(_) => error = io::Error::new(io::ErrorKind::TimedOut, "no connection in time"),
            }
        }
        Err(error)
    }

    /// Connects to the first address that answers, without TLS: nothing is proved then.
    pub(super) async fn dial_plain(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let each = share(self.timeout, addresses.len());
        let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
        for address in addresses {
            match self.clock.timeout(each, TcpStream::connect(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(cause)) => error = cause,
                Err(_) => error = io::Error::new(io::ErrorKind::TimedOut, "no connection in time"),
            }
        }
        Err(error)
    }

    async fn dial_one(
        &self,
        address: SocketAddr,
        name: &CertificateName<'static>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.tls.connect(name.clone(), stream).await
    }
}

/// Connects for the HTTP client's pool.
///
/// The pool knows a connection by scheme and host, so the host is the route's `Host` header; which
/// route that stands for was said to [`Connector::prepare`] just before.
#[derive(Clone)]
pub(super) struct Connector {
    resolver: Arc<Resolver>,
    dialer: Dialer,
    routes: Arc<Mutex<HashMap<String, Arc<Route>>>>,
}

impl Connector {
    pub(super) fn new(resolver: Arc<Resolver>, dialer: Dialer) -> Self {
        Self { resolver, dialer, routes: Arc::default() }
    }

    /// Remembers how connections for this route's `Host` header are made.
    pub(super) fn prepare(&self, route: Route) {
        let mut routes = self.routes.lock();
        let known = routes.get(&route.host).is_some_and(|known| **known == route);
        if !known {
            make_room(&mut routes, MOST_ROUTES, |_| false);
            routes.insert(route.host.clone(), Arc::new(route));
        }
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
        let route = uri.authority().and_then(|host| self.routes.lock().get(host.as_str()).cloned());
        let (resolver, dialer) = (self.resolver.clone(), self.dialer.clone());
        Box::pin(async move {
            let route = route.ok_or_else(|| io::Error::other("the route was forgotten"))?;
            let addresses = resolver.addresses(&route).await.map_err(io::Error::other)?;
            let stream = dialer.dial(&addresses, &route.certificate).await?;
            Ok(Stream { io: TokioIo::new(stream), shared: None })
        })
    }
}

/// An open connection, as it is counted.
pub(super) struct Open(Gauge);

impl Open {
    pub(super) fn new(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A connection in a pool.
pub(super) struct Stream {
    io: TokioIo<TlsStream<TcpStream>>,
    /// Where many requests go over it at once: how it is counted.
    shared: Option<Open>,
}

impl Stream {
    /// One over which many requests go at once (HTTP/2), and which is counted.
    pub(super) fn shared(stream: TlsStream<TcpStream>, open: Open) -> Self {
        Self { io: TokioIo::new(stream), shared: Some(open) }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self.shared {
            Some(_) => Connected::new().negotiated_h2(),
            None => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
