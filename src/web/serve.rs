//! What happens around every handler: identify, bound, count, catch.

use std::{
    convert::Infallible,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::{FromRequestParts, RawPathParams};
use base::{ByteSize, Counter, Gauge, Histogram, ZoneName};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use room::Zone;
use ruma::OwnedUserId;
use tracing::{Instrument, debug, error_span};

use crate::{
    Address, ApiError, Body, Class, Face, Holder, Identify, Kit, LateCall, Open, PathArgs, Peer, RawCall,
    Response, Standing, StreamCall, TlsName,
    bodies::{self, BodyStream, Held, LateBody},
    call::Costless,
    classes::class_of,
    reach::Reach,
    routes::{Handler, Route},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest variable of a path, in bytes: ids, types and keys have 255 at most, and transaction ids, which
/// are kept, have no limit of their own.
const LONGEST_ARG: usize = 1_024;

/// Nobody has to send more than this before showing who he is.
const STRANGERS_LIMIT: ByteSize = ByteSize::kib(64);

/// How long what was found out of a caller stands while his body comes.
const LOOKED_FOR: Duration = Duration::from_millis(10);

/// A request on its way to a handler.
pub(crate) struct Incoming {
    kit: Arc<Kit>,
    parts: Parts,
    body: Body,
    args: PathArgs,
    body_limit: ByteSize,
    class: Option<Class>,
    reach: Reach,
    face: Face,
    peer: Option<SocketAddr>,
    address: Option<Address>,
    zone: Option<Zone>,
}

impl Incoming {
    /// Finds out who calls, as far as the head tells, then reads the body. The second value is to be
    /// kept for as long as anything of the body is.
    pub(crate) async fn identified<C: Identify>(self) -> Result<(RawCall<C>, Held, Counted), ApiError> {
        let Incoming { kit, parts, body, args, body_limit, class, reach, face, peer, address, zone } = self;
        let limits = &kit.limits;
        if C::SIGNED {
            // Looking costs a request for the server's keys, and anybody can make names up.
            limits.count_stranger(Class::PeerUnproven, address)?;
        }
        let shown = match C::look(&kit, &parts, &face, address).await {
            Ok(shown) => shown,
            // What could not be looked up was no guess.
            Err(error) if C::SIGNED || error.status().is_server_error() => return Err(error),
            Err(error) => {
                limits.count_stranger(Class::Open, address)?;
                return Err(error);
            }
        };

        if let Err(error) = C::may_reach(&shown, reach) {
            if let Some(user) = C::find_powerless(&shown).filter(|_| parts.method != Method::GET) {
                limits.admit(class, &C::standing(&shown), address)?;
                let route = parts.extensions.get::<RouteName>();
                let route = route.map_or("", |route| &*route.0);
                kit.tokens.note_refusal(user, address, route).await?;
            }
            return Err(error);
        }
        let standing = C::standing(&shown);
        limits.admit(class, &standing, address)?;
        let limit = match standing {
            Standing::Stranger => body_limit.min(STRANGERS_LIMIT),
            Standing::User(..)
            | Standing::Unlimited(_)
            | Standing::Claims(_)
            | Standing::Operator
            | Standing::Source(_) => body_limit,
        };
        let holders = match &standing {
            Standing::User(user, _) | Standing::Unlimited(user) => vec![Holder::User(user.clone())],
            Standing::Stranger | Standing::Claims(_) => {
                std::iter::once(Holder::Strangers).chain(address.map(Holder::Address)).collect()
            }
            Standing::Operator => Vec::new(),
            Standing::Source(authority) => vec![Holder::Source(authority.clone())],
        };
        let counted = match (&standing, class) {
            (Standing::User(user, _), Some(Class::Membership)) => {
                Counted(Some((kit.clone(), Class::Membership, user.clone())))
            }
            _ => Counted(None),
        };
        let mut held = Held::nothing(&kit.bodies, holders);
        let began = kit.clock.instant();
        let body = bodies::read(&kit, body, limit, &mut held).await?;
        // Whoever lets us wait for his body may have lost meanwhile what he showed: it is asked for again.
        let has_waited = kit.clock.instant().since(began) > LOOKED_FOR;
        let shown = if has_waited && !C::SIGNED {
            let shown = C::look(&kit, &parts, &face, address).await?;
            C::may_reach(&shown, reach)?;
            shown
        } else {
            shown
        };

        let caller = C::prove(shown, &body)?;
        if let Standing::Claims(server) = standing {
            limits.uncount_stranger(Class::PeerUnproven, address);
            limits.count_server(class, server.as_str())?;
            held.belongs_to(Holder::Peer(server))?;
        }
        Ok((RawCall { parts, args, body, caller, face, peer, address, zone }, held, counted))
    }
}

/// The route of a request: its method and its path, with names where others choose.
#[derive(Clone, Debug)]
pub struct RouteName(pub Arc<str>);

/// A request that was counted and may turn out to cost nothing, see [`costless`](crate::costless).
pub(crate) struct Counted(Option<(Arc<Kit>, Class, OwnedUserId)>);

impl Counted {
    /// Looks whether the answer says so.
    pub(crate) fn look_at(&self, response: &Response) {
        if let Self(Some((kit, class, user))) = self
            && response.extensions().get::<Costless>().is_some()
        {
            kit.limits.count_as_read(*class, user.as_str());
        }
    }
}

impl Incoming {
    /// Leaves it to the handler to find out who calls, and to have the body read then. Until he is known he is a stranger.
    pub(crate) fn late(self) -> Result<LateCall, ApiError> {
        let Incoming { kit, parts, body, args, body_limit, class, reach: _, face, peer, address, zone } =
            self;
        kit.limits.admit(class, &Standing::Stranger, address)?;
        let body = LateBody::new(kit, body, body_limit);
        Ok(LateCall {
            call: RawCall { parts, args, body: Bytes::new(), caller: Open, face, peer, address, zone },
            body,
        })
    }

    /// Finds out who calls and leaves the body to be read. Only for those whose proof is in the head.
    pub(crate) async fn streamed<C: Identify>(self) -> Result<StreamCall<C>, ApiError> {
        const { assert!(!C::SIGNED, "a signature covers the body, which must be read first") };
        let Incoming { kit, parts, body, args, body_limit, class, reach, face, peer, address, zone } = self;
        let shown = match C::look(&kit, &parts, &face, address).await {
            Ok(shown) => shown,
            Err(error) if error.status().is_server_error() => return Err(error),
            Err(error) => {
                kit.limits.count_stranger(Class::Open, address)?;
                return Err(error);
            }
        };
        C::may_reach(&shown, reach)?;
        let standing = C::standing(&shown);
        kit.limits.admit(class, &standing, address)?;
        let limit = match standing {
            Standing::Stranger | Standing::Claims(_) => body_limit.min(STRANGERS_LIMIT),
            Standing::User(..) | Standing::Unlimited(_) | Standing::Operator | Standing::Source(_) => {
                body_limit
            }
        };
        let body = BodyStream::new(&kit, body, limit);
        let caller = C::prove(shown, &Bytes::new())?;
        Ok(StreamCall {
            call: RawCall { parts, args, body: Bytes::new(), caller, face, peer, address, zone },
            body,
        })
    }
}

/// A route as a service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoint(Arc<Inner>);

struct Inner {
    kit: Arc<Kit>,
    route: Route,
    class: Option<Class>,
    reach: Reach,
    /// Made with the first request, so that unused endpoints cost nothing.
    counts: OnceLock<Counts>,
}

struct Counts {
    duration: Histogram,
    /// By the hundreds of the status.
    answered: [Counter; 4],
}

impl Endpoint {
    pub(crate) fn new(kit: Arc<Kit>, route: Route) -> Endpoint {
        let newest = route.name.split_once(' ').map_or("", |(_, path)| path);
        let class = class_of(&route.method, newest);
        let reach = Reach::of(&route.method, newest);
        Endpoint(Arc::new(Inner { kit, route, class, reach, counts: OnceLock::new() }))
    }
}

impl tower_service::Service<Request<Body>> for Endpoint {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.serve(request).await) })
    }
}

impl Inner {
    async fn serve(&self, request: Request<Body>) -> Response {
        let request_id = self.kit.request_id();
        let started = self.kit.clock.instant();
        let _in_flight = InFlight::enter(&self.kit.in_flight);
        let span = error_span!("request", request_id, endpoint = &*self.route.name);

        let response = async {
            let handled = AssertUnwindSafe(self.handle(request)).catch_unwind().await;
            let response = match handled {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    error.naming(self.kit.contact()).into_response_as(self.route.error_form, &request_id)
                }
                Err(_) => {
                    self.kit.panics.inc();
                    let error = ApiError::internal("the handler panicked");
                    error.into_response_as(self.route.error_form, &request_id)
                }
            };
            let elapsed = self.kit.clock.instant().since(started);
            self.count(response.status(), elapsed);
            debug!(status = response.status().as_u16(), elapsed_ms = elapsed.as_secs_f64() * 1e3, "answered");
            response
        }
        .instrument(span)
        .await;

        finish(response, &request_id)
    }

    async fn handle(&self, request: Request<Body>) -> Result<Response, ApiError> {
        let (mut parts, body) = request.into_parts();
        let face = self.face(&parts)?;
        let mut args = path_args(&mut parts).await?;
        args.extend(std::iter::repeat_n(String::new(), self.route.empty_args));
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        // The listener puts it there: no header can.
        let zone = parts.extensions.get::<Zone>().cloned();
        let through = zone.as_ref().map(|zone| ZoneName::of(zone.name()));
        let address = self.kit.proxies.client(peer, &parts.headers);
        let address = address.map(|ip| Address::of(ip).through(through));
        if let (None, Some(proxy), Some(_)) = (address, peer, self.class) {
            self.kit.note_nameless(proxy.ip());
        }
        parts.extensions.insert(RouteName(self.route.name.clone()));
        let incoming = Incoming {
            kit: self.kit.clone(),
            parts,
            body,
            args: PathArgs(args),
            body_limit: self.route.body_limit,
            class: self.class,
            reach: self.reach,
            face,
            peer,
            address,
            zone,
        };
        let handler: &Handler = &self.route.handler;
        handler(incoming).await
    }

    fn face(&self, parts: &Parts) -> Result<Face, ApiError> {
        let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = header.or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
        let tls_name = parts.extensions.get::<TlsName>().map(|name| &*name.0);
        match self.kit.faces.find(host, tls_name) {
            Some(face) => Ok(face.clone()),
            None if self.route.any_host => Ok(self.kit.faces.first().clone()),
            None => Err(ApiError::not_found("There is no server of this name here")),
        }
    }

    fn count(&self, status: StatusCode, elapsed: Duration) {
        let counts = self.counts.get_or_init(|| {
            let endpoint = &*self.route.name;
            Counts {
                duration: self.kit.durations.with(&[("endpoint", endpoint)]),
                answered: ["2xx", "3xx", "4xx", "5xx"]
                    .map(|status| self.kit.requests.with(&[("endpoint", endpoint), ("status", status)])),
            }
        });
        counts.duration.observe(elapsed.as_secs_f64());
        let hundreds = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        counts.answered[hundreds].inc();
    }
}

async fn path_args(parts: &mut Parts) -> Result<Vec<String>, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| ApiError::invalid_param("The path is not valid UTF-8"))?;
    let args: Vec<String> = params.iter().map(|(_, value)| value.to_owned()).collect();
    if args.iter().any(|arg| arg.len() > LONGEST_ARG) {
        return Err(ApiError::invalid_param(format!(
            "A part of the path is longer than {LONGEST_ARG} bytes"
        )));
    }
    Ok(args)
}

/// Counts a request for as long as it is worked on, also when it is dropped half-way.
struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn enter(gauge: &'a Gauge) -> InFlight<'a> {
        gauge.inc();
        InFlight(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Answers what no route takes: a browser's preflight with the CORS headers, the rest with
/// `M_UNRECOGNIZED`.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients>
#[derive(Clone)]
pub(crate) struct Unrecognized {
    pub(crate) kit: Arc<Kit>,
    pub(crate) status: StatusCode,
}

impl tower_service::Service<Request<Body>> for Unrecognized {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let request_id = self.kit.request_id();
        let response = if request.method() == Method::OPTIONS {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else {
            self.kit.requests.with(&[("endpoint", "unrecognized"), ("status", "4xx")]).inc();
            ApiError::new(self.status, "M_UNRECOGNIZED", "Unrecognized request").into_response(&request_id)
        };
        std::future::ready(Ok(finish(response, &request_id)))
    }
}

/// Adds what every answer carries.
fn finish(mut response: Response, request_id: &str) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "X-Requested-With, Content-Type, Authorization, Date, If-Match, If-None-Match",
        ),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("X-Request-Id, Retry-After, ETag"),
    );
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
