//! Connections to push gateways and push services: kept while they are used, and bounded over all of them.
//!
//! Users choose these addresses, and each of them may name many. So there are two lots of connections: those to
//! gateways that answered last, and those to all others. Whoever names a thousand gateways that take a connection and
//! never answer fills the second lot alone, and the gateways that everybody uses go on being told.
//!
//! Those that are spoken to in HTTP/2 are named by our settings alone, and have one connection each (`shared`).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::{Clock, Counter, Gauge, Instant, Metrics};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body_util::{BodyExt, Full, Limited};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    connect::{Dialer, Open},
    shared::Shared,
    web::{HttpsWellKnown, Opened, USER_AGENT},
};
use crate::{
    config::NetworkConfig,
    resolver::make_room,
    transport::{Budget, TransportError},
};

/// Connections to one gateway that are kept while nobody uses them.
const IDLE_OF_ONE: usize = 16;

/// How long one is kept that nobody uses: less than most servers wait for the next request.
const IDLE: Duration = Duration::from_secs(50);

/// Gateways of which it is remembered that they answered.
const MOST_KNOWN: usize = 10_000;

/// The way to push gateways.
pub(super) struct Gateways {
    web: HttpsWellKnown,
    shared: Shared,
    clock: Clock,
    /// Connections to those that answered last, and to the others.
    known: Lot,
    others: Lot,
    answered: Mutex<HashMap<String, ()>>,
    opened: Counter,
    open: Gauge,
}

/// Connections of which there are so many at most, used or not.
struct Lot {
    places: Arc<Semaphore>,
    /// Those that nobody uses, the one that was used last at the end.
    idle: Mutex<VecDeque<Idle>>,
}

struct Idle {
    origin: String,
    since: Instant,
    kept: Kept,
}

/// A connection with its place among all.
struct Kept {
    opened: Opened,
    _place: Place,
}

struct Place {
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

impl Lot {
    fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most.max(1))), idle: Mutex::default() }
    }

    /// Takes a connection that is kept; those that were kept too long go.
    fn take(&self, origin: &str, now: Instant) -> Option<Kept> {
        let mut idle = self.idle.lock();
        while idle.front().is_some_and(|first| now.since(first.since) > IDLE) {
            idle.pop_front();
        }
        let place = idle.iter().rposition(|idle| idle.origin == origin)?;
        idle.remove(place).map(|idle| idle.kept)
    }

    fn keep(&self, origin: &str, kept: Kept, now: Instant) {
        // Somebody may wait for its place.
        if self.places.available_permits() == 0 {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.iter().filter(|idle| idle.origin == origin).count() < IDLE_OF_ONE {
            idle.push_back(Idle { origin: origin.to_owned(), since: now, kept });
        }
    }

    /// Waits for a place. One that is kept for nothing in particular makes room.
    async fn place(&self) -> Result<OwnedSemaphorePermit, TransportError> {
        if self.places.available_permits() == 0 {
            let oldest = self.idle.lock().pop_front();
            drop(oldest);
        }
        let closed = |_| TransportError::Broken("shutting down".to_owned());
        self.places.clone().acquire_owned().await.map_err(closed)
    }
}

impl Gateways {
    /// Over ways to gateways: by connections for one request at a time, and by one for many, with its dialer.
    pub(super) fn new(
        web: HttpsWellKnown,
        (shared, dialer): (HttpsWellKnown, Dialer),
        config: &NetworkConfig,
        clock: Clock,
        metrics: &Metrics,
    ) -> Self {
        let opened = metrics.counter(
            "yakuba_push_connections_opened",
            "Connections to push gateways and push services that were made",
        );
        let open = metrics
            .gauge("yakuba_push_connections", "Connections to push gateways and push services that are open");
        Self {
            web,
            shared: Shared::new(shared, dialer, opened.clone(), open.clone()),
            clock,
            known: Lot::new(config.gateway_sockets),
            others: Lot::new(config.gateway_sockets),
            answered: Mutex::default(),
            opened,
            open,
        }
    }

    /// See [`crate::Transport::notify`].
    pub(super) async fn post(
        &self,
        request: Request<Bytes>,
        budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        let uri = request.uri().clone();
        let origin = origin_of(&uri).ok_or_else(|| TransportError::Request("no full address".to_owned()))?;
        let late = |_| Err(TransportError::Deadline(budget.deadline));
        if request.version() == Version::HTTP_2 {
            let answer =
                self.clock.timeout(budget.deadline, self.shared.post(&origin, request, budget)).await;
            return answer.unwrap_or_else(late);
        }
        let answer = self.clock.timeout(budget.deadline, self.exchange(&origin, &uri, request, budget)).await;
        let answer = answer.unwrap_or_else(late);
        let mut answered = self.answered.lock();
        match &answer {
            Ok(_) if !answered.contains_key(&origin) => {
                make_room(&mut answered, MOST_KNOWN, |()| false);
                answered.insert(origin, ());
            }
            Ok(_) => {}
            Err(_) => drop(answered.remove(&origin)),
        }
        drop(answered);
        answer
    }

    async fn exchange(
        &self,
        origin: &str,
        uri: &Uri,
        request: Request<Bytes>,
        budget: Budget,
    ) -> Result<Response<Bytes>, TransportError> {
        let request = addressed(uri, request)?;
        while let Some((lot, mut kept)) = self.take(origin) {
            if kept.opened.connection.has_ended().await {
                continue;
            }
            match self.ask(&mut kept, copy(&request), budget).await {
                Ok(answer) => return Ok(self.keep(lot, origin, kept, answer)),
                // It was closed just as we began to use it.
                Err(Failed::Stale) => break,
                Err(Failed::For(error)) => return Err(error),
            }
        }
        let lot = match self.answered.lock().contains_key(origin) {
            true => &self.known,
            false => &self.others,
        };
        let mut kept = self.open(lot, uri).await?;
        match self.ask(&mut kept, request, budget).await {
            Ok(answer) => Ok(self.keep(lot, origin, kept, answer)),
            Err(Failed::Stale) => Err(TransportError::Broken("closed without an answer".to_owned())),
            Err(Failed::For(error)) => Err(error),
        }
    }

    /// A connection that is kept; of whatever lot, as it is there already.
    fn take(&self, origin: &str) -> Option<(&Lot, Kept)> {
        let now = self.clock.instant();
        [&self.known, &self.others].into_iter().find_map(|lot| Some((lot, lot.take(origin, now)?)))
    }

    async fn open(&self, lot: &Lot, uri: &Uri) -> Result<Kept, TransportError> {
        let permit = lot.place().await?;
        let place = Place { _permit: permit, _open: Open::new(&self.open) };
        let opened = self.web.open(uri).await.map_err(|error| TransportError::Connect(error.to_string()))?;
        self.opened.inc();
        Ok(Kept { opened, _place: place })
    }

    async fn ask(
        &self,
        kept: &mut Kept,
        request: Request<Full<Bytes>>,
        budget: Budget,
    ) -> Result<Response<Bytes>, Failed> {
        let Opened { sender, connection } = &mut kept.opened;
        connection.while_waiting_for(sender.ready()).await.map_err(Failed::of)?;
        let answer = connection.while_waiting_for(sender.send_request(request)).await;
        let (parts, body) = answer.map_err(Failed::of)?.into_parts();
        let body = Limited::new(body, budget.response.as_usize());
        let body = connection.while_waiting_for(body.collect()).await;
        let body = body.map_err(|error| Failed::For(super::unread(error.as_ref(), budget)))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    fn keep(&self, lot: &Lot, origin: &str, kept: Kept, answer: Response<Bytes>) -> Response<Bytes> {
        let closes = answer
            .headers()
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("close")));
        if !closes {
            lot.keep(origin, kept, self.clock.instant());
        }
        answer
    }
}

/// Why there is no answer over a connection.
enum Failed {
    /// It ended before a byte of an answer came.
    Stale,
    For(TransportError),
}

impl Failed {
    #[expect(clippy::needless_pass_by_value, reason = "it stands where a function of the error is asked for")]
    fn of(error: hyper::Error) -> Self {
        match error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            true => Self::Stale,
            false => Self::For(TransportError::Broken(error.to_string())),
        }
    }
}

/// What connections are kept by: scheme, host and port.
fn origin_of(uri: &Uri) -> Option<String> {
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?.as_str().to_ascii_lowercase()))
}

/// The request as it goes over a connection to its server.
fn addressed(uri: &Uri, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, TransportError> {
    let wrong = |error: &dyn std::fmt::Display| TransportError::Request(error.to_string());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host).map_err(|error| wrong(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = path.parse().map_err(|error: http::uri::InvalidUri| wrong(&error))?;
    let (mut parts, body) = request.into_parts();
    parts.uri = path;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    Ok(Request::from_parts(parts, Full::new(body)))
}

fn copy(request: &Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
