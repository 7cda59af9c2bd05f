//! Where a service listens: for the homeserver, and for whatever else a bot serves.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#homeserver---application-service-api>

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Path, State},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use base::Address;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use ruma::{RoomAliasId, UserId};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{ServiceExt, service_fn};
use tracing::{debug, error, warn};

use crate::{
    bot::Bot,
    event::Event,
    inbox::{Inbox, Untaken},
    proxies::Proxies,
    unread,
};

/// Largest transaction, in bytes: a hundred events of 64 KiB each, written twice as long, and what comes beside them.
const LARGEST: usize = 16 << 20;

/// Time for a transaction to come.
const DEADLINE: Duration = Duration::from_secs(60);

/// Time for the connections that are left when a listener ends.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// A pause after an accept that failed: open files are few, and others close some.
const BREATH: Duration = Duration::from_millis(50);

/// Whoever has too many requests under way may come again after this, in seconds.
const COME_AGAIN: &str = "5";

/// What he reads.
const TOO_MANY: &str = "同時の要求が多すぎます。しばらくしてからもう一度お試しください。\nToo many requests at a time. Please try again in a moment.\n";

/// What bounds a listener.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections at a time. Others wait to be taken.
    pub connections: usize,
    /// Connections from one address at a time (of IPv6 its first 64 bits); what comes beyond is closed, so that one address does not have
    /// all places. Programs of this machine have no such bound.
    pub of_address: usize,
    /// Time for the head of a request.
    pub head: Duration,
    /// Proxies in front of the listener: their connections are everybody's, so the bound is on requests that are under way for each
    /// address that they name; beyond it 429.
    pub proxies: Proxies,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 256, of_address: 64, head: Duration::from_secs(20), proxies: Proxies::default() }
    }
}

impl Bounds {
    /// Connections that a peer may have.
    fn most_of(&self, peer: IpAddr) -> usize {
        if self.proxies.contains(peer) { self.connections } else { self.of_address }
    }
}

/// Answers on a listener until it is to stop; then requests that are under way are finished. Handlers find where a request came from in
/// its extension `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    let addresses = Arc::new(Addresses::default());
    let front = Front {
        router,
        named: Arc::default(),
        bounds: Arc::new(bounds.clone()),
        tasks: connections.clone(),
        stop: stop.clone(),
    };
    // HTTP/1.1 alone: who would look which version comes would wait for ever for one who says nothing.
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let Some((place, accepted)) = stop.run_until_cancelled(next).await else { break };
        let (stream, peer): (_, SocketAddr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection could not be taken");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let Some(of_address) = addresses.take(peer.ip(), bounds.most_of(peer.ip())) else {
            debug!(address = %peer.ip(), "too many connections from one address");
            continue;
        };
        let front = front.clone();
        let service = service_fn(move |request| front.clone().answer(peer, request));
        let (server, stop) = (server.clone(), stop.clone());
        connections.spawn(async move {
            let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            tokio::pin!(connection);
            let outcome = tokio::select! {
                outcome = &mut connection => outcome,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = outcome {
                debug!(%error, "a connection broke");
            }
            drop((place, of_address));
        });
    }
    drop(listener);
    connections.close();
    if timeout(LAST_MOMENTS, connections.wait()).await.is_err() {
        warn!(count = connections.len(), "connections are cut");
    }
}

/// What stands before the routes.
#[derive(Clone)]
struct Front {
    router: Router,
    /// Requests that are under way for those whom proxies name.
    named: Arc<Addresses>,
    bounds: Arc<Bounds>,
    /// Where bodies that nobody wants are taken.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Front {
    /// Answers a request, unless a proxy brings too many of one address; the answer arrives, whatever of the body was not read.
    async fn answer(self, peer: SocketAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
        let Bounds { proxies, of_address, .. } = &*self.bounds;
        let sender = proxies.sender(peer.ip(), request.headers());
        // One that names nobody speaks for all.
        let place = if sender == peer.ip() { None } else { Some(self.named.take(sender, *of_address)) };
        if let Some(None) = place {
            debug!(address = %sender, "too many requests of one address");
            let headers =
                [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::RETRY_AFTER, COME_AGAIN)];
            return Ok((StatusCode::TOO_MANY_REQUESTS, headers, TOO_MANY).into_response());
        }
        let place = place.flatten().map(Arc::new);
        let awaits_permission = request.headers().contains_key(header::EXPECT);
        let (parts, body) = request.into_parts();
        let (body, rest) = unread::share(body);
        let mut request = Request::from_parts(parts, Body::new(body));
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut response = self.router.oneshot(request).await?;
        if rest.is_left(awaits_permission) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            let (place, stop) = (place.clone(), self.stop);
            self.tasks.spawn(async move {
                stop.run_until_cancelled(rest.discard()).await;
                drop(place);
            });
        }
        // It is under way until its last byte went out, and what is taken of it came.
        Ok(match place {
            Some(place) => response.map(|body| Body::new(Held { body, _place: place })),
            None => response,
        })
    }
}

/// A body with a place that is free again when it ends.
struct Held {
    body: Body,
    _place: Arc<OfAddress>,
}

impl HttpBody for Held {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How many connections or requests each address has.
#[derive(Default)]
struct Addresses(Mutex<HashMap<Address, usize>>);

/// One of them.
struct OfAddress(Arc<Addresses>, Address);

impl Addresses {
    /// Notes another one, unless there are so many.
    fn take(self: &Arc<Self>, ip: IpAddr, most: usize) -> Option<OfAddress> {
        let address = Address::of(ip);
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_insert(0);
        if *count >= most && !ip.to_canonical().is_loopback() {
            return None;
        }
        *count += 1;
        Some(OfAddress(self.clone(), address))
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// What the homeserver meets.
pub(crate) struct Desk<B> {
    pub(crate) bot: Arc<B>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) hs_token: String,
}

/// Routes for the homeserver, and `/health`.
pub(crate) fn router<B: Bot>(desk: Arc<Desk<B>>) -> Router {
    Router::new()
        .route("/_matrix/app/v1/transactions/{txn_id}", put(take::<B>))
        .route("/transactions/{txn_id}", put(take::<B>))
        .route("/_matrix/app/v1/users/{user_id}", get(find_user::<B>))
        .route("/users/{user_id}", get(find_user::<B>))
        .route("/_matrix/app/v1/rooms/{alias}", get(find_alias::<B>))
        .route("/rooms/{alias}", get(find_alias::<B>))
        .route("/_matrix/app/v1/ping", post(ping::<B>))
        .route("/health", get(health::<B>))
        .fallback(|| async { Answer::error(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "no such endpoint") })
        .method_not_allowed_fallback(|| async {
            Answer::error(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "no such method")
        })
        .with_state(desk)
}

/// A status with JSON.
struct Answer(StatusCode, Value);

impl Answer {
    fn done() -> Self {
        Self(StatusCode::OK, json!({}))
    }

    fn error(status: StatusCode, errcode: &str, message: &str) -> Self {
        Self(status, json!({ "errcode": errcode, "error": message }))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.0, [(header::CONTENT_TYPE, "application/json")], self.1.to_string()).into_response()
    }
}

/// What the homeserver tells, as far as a service has to understand it at once.
#[derive(Deserialize)]
struct Transaction<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    /// What a Yakuba homeserver says besides: those senders of the events who are users of other services.
    #[serde(rename = "jp.yakuba.services", default)]
    services: Vec<String>,
}

impl<B: Bot> Desk<B> {
    /// Whether it is the homeserver that asks: by the header, or by what older ones put into the query.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/application-service-api/#authorization>
    fn check(&self, headers: &HeaderMap, query: Option<&str>) -> Result<(), Answer> {
        let header = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let bearer = header.map(|value| value.strip_prefix("Bearer ").unwrap_or_default().trim().to_owned());
        let legacy = || {
            let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
            pairs.into_iter().find(|(name, _)| name == "access_token").map(|(_, value)| value.into_owned())
        };
        let Some(token) = bearer.or_else(legacy) else {
            return Err(Answer::error(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", "the token is missing"));
        };
        // Hashes are equally long, so time tells nothing of the length either.
        let hash = |token: &str| Sha256::digest(token.as_bytes());
        if bool::from(hash(&token).ct_eq(&hash(&self.hs_token))) {
            return Ok(());
        }
        Err(Answer::error(StatusCode::FORBIDDEN, "M_FORBIDDEN", "the token is not that of the homeserver"))
    }
}

/// `PUT /_matrix/app/v1/transactions/{txnId}`: is told of events.
///
/// Spec: <https://spec.matrix.org/v1.19/application-service-api/#put_matrixappv1transactionstxnid>
async fn take<B: Bot>(
    State(desk): State<Arc<Desk<B>>>,
    Path(txn_id): Path<String>,
    request: Request<Body>,
) -> Answer {
    if let Err(answer) = desk.check(request.headers(), request.uri().query()) {
        return answer;
    }
    let body = match timeout(DEADLINE, axum::body::to_bytes(request.into_body(), LARGEST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return Answer::error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "M_TOO_LARGE",
                "the transaction is too large",
            );
        }
        Err(_) => {
            return Answer::error(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", "the transaction did not come");
        }
    };
    let Ok(Transaction { events: told, services }) = serde_json::from_slice(&body) else {
        return Answer::error(StatusCode::BAD_REQUEST, "M_BAD_JSON", "that is no transaction");
    };
    // Each is read by itself, and one that is none costs itself only: refused, the homeserver would send the transaction for ever.
    let count = told.len();
    let events: Vec<Event> =
        told.into_iter().filter_map(|event| Event::from_transaction(event.get(), &services)).collect();
    if events.len() < count {
        warn!(txn_id, count = count - events.len(), "what came is no event");
    }
    match desk.inbox.take(&txn_id, events).await {
        Ok(()) => Answer::done(),
        Err(Untaken::Full) => {
            error!(txn_id, "too many events wait; the homeserver has to keep what it has");
            Answer::error(StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED", "too many events wait")
        }
        Err(Untaken::Store(error)) => {
            error!(txn_id, %error, "a transaction could not be written down");
            Answer::error(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "it could not be written down")
        }
    }
}

async fn find_user<B: Bot>(
    State(desk): State<Arc<Desk<B>>>,
    Path(user): Path<String>,
    request: Request<Body>,
) -> Answer {
    if let Err(answer) = desk.check(request.headers(), request.uri().query()) {
        return answer;
    }
    match UserId::parse(user) {
        Ok(user) if desk.bot.find_user(&user).await => Answer::done(),
        _ => Answer::error(StatusCode::NOT_FOUND, "M_NOT_FOUND", "no such user"),
    }
}

async fn find_alias<B: Bot>(
    State(desk): State<Arc<Desk<B>>>,
    Path(alias): Path<String>,
    request: Request<Body>,
) -> Answer {
    if let Err(answer) = desk.check(request.headers(), request.uri().query()) {
        return answer;
    }
    match RoomAliasId::parse(alias) {
        Ok(alias) if desk.bot.find_alias(&alias).await => Answer::done(),
        _ => Answer::error(StatusCode::NOT_FOUND, "M_NOT_FOUND", "no such room"),
    }
}

async fn ping<B: Bot>(State(desk): State<Arc<Desk<B>>>, request: Request<Body>) -> Answer {
    desk.check(request.headers(), request.uri().query()).map_or_else(|answer| answer, |()| Answer::done())
}

/// `GET /health`: for those who supervise it.
async fn health<B: Bot>(State(desk): State<Arc<Desk<B>>>) -> Answer {
    let waiting = desk.inbox.waiting();
    match desk.inbox.is_writable().await {
        Ok(()) => {
            let troubles = desk.bot.troubles();
            if troubles.is_empty() {
                return Answer(StatusCode::OK, json!({ "status": "ok", "waiting": waiting }));
            }
            let body = json!({ "status": "troubled", "waiting": waiting, "troubles": troubles });
            Answer(StatusCode::SERVICE_UNAVAILABLE, body)
        }
        Err(error) => {
            warn!(%error, "the store cannot be written");
            Answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "not writable", "waiting": waiting }))
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        bot::{Host, Namespaces},
        config::Config,
        homeserver::Failure,
        store::{Batch, Store},
    };

    /// A bot that does nothing.
    struct Idle;

    impl Bot for Idle {
        type Settings = ();
        const ID: &'static str = "idle";
        const ABOUT: &'static str = "何もしない / does nothing";
        const SENDER: &'static str = "idle";

        fn claims(_: &Config<()>) -> Namespaces {
            Namespaces::default()
        }

        async fn start(_: Host<()>) -> anyhow::Result<Arc<Self>> {
            Ok(Arc::new(Self))
        }

        async fn handle(&self, _: &Event) -> Result<Batch, Failure> {
            Ok(Batch::new())
        }
    }

    async fn desk() -> (TempDir, Arc<Desk<Idle>>) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let inbox = Inbox::open(&store).await.expect("an inbox");
        (directory, Arc::new(Desk { bot: Arc::new(Idle), inbox, hs_token: "secret".to_owned() }))
    }

    async fn ask(desk: &Arc<Desk<Idle>>, path: &str, bearer: Option<&str>, body: impl Into<Body>) -> u16 {
        let mut request = Request::put(path);
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body.into()).expect("a request");
        router(desk.clone()).oneshot(request).await.expect("an answer").status().as_u16()
    }

    #[tokio::test]
    async fn transactions_are_taken_from_the_homeserver_alone_by_header_or_by_the_old_query() {
        let (_directory, desk) = desk().await;
        let event =
            json!({ "event_id": "$a", "room_id": "!r:a", "sender": "@b:a", "type": "m.room.message" });
        let body = json!({ "events": [event, { "type": "no event" }, 5] }).to_string();
        let path = "/_matrix/app/v1/transactions/1";
        for (path, bearer, status) in [
            (path, None, 401),
            (path, Some(""), 403),
            (path, Some("secret2"), 403),
            ("/_matrix/app/v1/transactions/1?access_token=wrong", None, 403),
            // What the header says counts.
            ("/_matrix/app/v1/transactions/1?access_token=secret", Some("wrong"), 403),
        ] {
            assert_eq!(ask(&desk, path, bearer, body.clone()).await, status, "{path} {bearer:?}");
        }
        assert_eq!(desk.inbox.waiting(), 0);
        assert_eq!(ask(&desk, path, Some("secret"), body.clone()).await, 200);
        assert_eq!(ask(&desk, "/transactions/1?access_token=secret", None, body.clone()).await, 200);
        assert_eq!(desk.inbox.waiting(), 1);
        assert_eq!(
            ask(&desk, "/_matrix/app/v1/transactions/2?x=1&access_token=secret", None, body).await,
            200
        );
        assert_eq!(desk.inbox.waiting(), 2);
    }

    #[tokio::test]
    async fn an_event_that_cannot_be_read_costs_no_other() {
        let (_directory, desk) = desk().await;
        let event = |content: &str| {
            let rest = r#""event_id":"$a","room_id":"!r:a","sender":"@b:a","type":"m.room.message""#;
            format!(r#"{{"content":{content},{rest}}}"#)
        };
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(499), "]".repeat(499));
        let contents =
            [r#"{"$serde_json::private::RawValue":5}"#, &deep, r#"{"body":"\ud800"}"#, r#"{"body":"x"}"#];
        let events: Vec<String> = contents.into_iter().map(event).collect();
        let body =
            format!(r#"{{"$serde_json::private::RawValue":5,"events":[{},{{"x":1}}]}}"#, events.join(","));
        assert_eq!(ask(&desk, "/_matrix/app/v1/transactions/1", Some("secret"), body).await, 200);
        assert_eq!(desk.inbox.waiting(), events.len());
    }

    #[tokio::test]
    async fn what_is_no_transaction_is_refused_and_nothing_of_it_is_kept() {
        let (_directory, desk) = desk().await;
        for (body, status) in [
            (b"{".to_vec(), 400),
            (b"\xff\xfe".to_vec(), 400),
            (b"[]".to_vec(), 400),
            (b"{\"events\":5}".to_vec(), 400),
            (vec![b' '; LARGEST + 1], 413),
            (["[".repeat(100_000).into_bytes(), b"]".to_vec()].concat(), 400),
        ] {
            assert_eq!(ask(&desk, "/_matrix/app/v1/transactions/1", Some("secret"), body).await, status);
        }
        assert_eq!(desk.inbox.waiting(), 0);
        assert_eq!(ask(&desk, "/_matrix/app/v1/unheard-of", Some("secret"), "").await, 404);
    }

    #[test]
    fn an_address_has_no_more_than_its_places_and_this_machine_as_many_as_it_wants() {
        let addresses = Arc::new(Addresses::default());
        let one: IpAddr = "192.0.2.1".parse().expect("an address");
        let same: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        let held = (addresses.take(one, 2), addresses.take(same, 2));
        assert!(held.0.is_some() && held.1.is_some() && addresses.take(one, 2).is_none());
        let other: IpAddr = "192.0.2.2".parse().expect("an address");
        assert!(addresses.take(other, 2).is_some());
        // Whoever has one address of IPv6 has all beside it.
        let near = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(|ip| ip.parse().expect("an address"));
        let near = near.map(|ip| addresses.take(ip, 2));
        assert!(near[1].is_some() && near[2].is_none());
        drop((held, near));
        assert!(addresses.take(one, 2).is_some());
        assert!(addresses.0.lock().is_empty());
        let home: IpAddr = "127.0.0.1".parse().expect("an address");
        let many: Vec<_> = (0..5).map(|_| addresses.take(home, 2)).collect();
        assert!(many.iter().all(Option::is_some));
    }

    #[test]
    fn a_proxy_of_another_machine_may_have_all_connections() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let bounds = Bounds { proxies: [ip("192.0.2.7")].into_iter().collect(), ..Bounds::default() };
        assert_eq!((bounds.most_of(ip("192.0.2.7")), bounds.most_of(ip("192.0.2.8"))), (256, 64));
    }

    /// Asks on a connection that stays; the status.
    async fn ask_on(stream: &mut tokio::net::TcpStream, named: &str) -> u16 {
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {named}\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(stream, request.as_bytes()).await.expect("asked");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = tokio::io::AsyncReadExt::read_u8(stream).await.expect("answered");
            answer.push(byte);
        }
        String::from_utf8_lossy(&answer).split(' ').nth(1).expect("a status").parse().expect("a number")
    }

    #[tokio::test]
    async fn a_proxy_has_as_many_connections_as_it_wants_and_each_address_it_names_so_many_requests() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("bound");
        let proxies = [address.ip()].into_iter().collect();
        let bounds = Bounds { of_address: 2, proxies, ..Bounds::default() };
        let stop = CancellationToken::new();
        // A body that does not end is a request that is under way.
        let endless =
            || async { Body::from_stream(futures_util::stream::pending::<Result<&str, Infallible>>()) };
        let router = Router::new().route("/", get(endless));
        let serving = tokio::spawn(serve(listener, router, bounds, stop.clone()));
        let mut held = Vec::new();
        for (named, status) in [
            ("192.0.2.1", 200),
            ("192.0.2.1", 200),
            ("192.0.2.1", 429),
            ("192.0.2.2", 200),
            ("192.0.2.9, 192.0.2.1", 429),
            ("192.0.2.1, 192.0.2.2", 200),
        ] {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
            assert_eq!(ask_on(&mut stream, named).await, status, "{named}");
            held.push(stream);
        }
        // Each gives its place back when it is gone.
        drop(held);
        let comes = async {
            loop {
                let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
                if ask_on(&mut stream, "192.0.2.1").await == 200 {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(20), comes).await.expect("its place is free again");
        stop.cancel();
        serving.abort();
    }

    /// Sends a request whose body is of this length, and then reads what is answered until the connection ends.
    async fn send(address: SocketAddr, head: &str, body: &[u8]) -> std::io::Result<String> {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let head = format!("{head} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        for part in [head.as_bytes(), body] {
            tokio::io::AsyncWriteExt::write_all(&mut stream, part).await?;
        }
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_refusal_arrives_at_who_sends_all_before_he_reads_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let first = |request: Request<Body>| async move {
            // One that reads a little, as who looks at what a file begins with.
            let mut body = request.into_body().into_data_stream();
            assert!(futures_util::StreamExt::next(&mut body).await.is_some());
            (StatusCode::UNPROCESSABLE_ENTITY, "of another kind")
        };
        let router = Router::new()
            .route("/unread", put(|| async { (StatusCode::CONFLICT, "at another place") }))
            .route("/begun", put(first));
        let serving = tokio::spawn(serve(listener, router, Bounds::default(), stop.clone()));
        // More than any buffer on the way holds.
        let body = vec![b'x'; 12 << 20];
        for (head, says) in [
            ("PUT /unread", "at another place"),
            ("PUT /begun", "of another kind"),
            ("PUT /nowhere", "404 Not Found"),
            ("POST /unread", "405 Method Not Allowed"),
        ] {
            let answer = send(address, head, &body).await.expect("the answer arrives");
            assert!(answer.contains(says) && answer.contains("connection: close"), "{head}: {answer}");
        }
        // Who asks before he sends is not told to go on.
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        let head = b"PUT /unread HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, head).await.expect("asked");
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
        stop.cancel();
        serving.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_body_that_nobody_wants_is_one_of_those_of_its_address_until_it_came() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("bound");
        let proxies = [address.ip()].into_iter().collect();
        let bounds = Bounds { of_address: 1, proxies, ..Bounds::default() };
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "well" }));
        let serving = tokio::spawn(serve(listener, router, bounds, stop.clone()));
        let mut slow = tokio::net::TcpStream::connect(address).await.expect("connected");
        let head = b"PUT / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\ncontent-length: 5\r\n\r\nxx";
        tokio::io::AsyncWriteExt::write_all(&mut slow, head).await.expect("asked");
        let mut status = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut slow, &mut status).await.expect("answered at once");
        assert_eq!(&status, b"HTTP/1.1 405");
        let ask = async || {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
            ask_on(&mut stream, "192.0.2.1").await
        };
        assert_eq!(ask().await, 429);
        tokio::io::AsyncWriteExt::write_all(&mut slow, b"xxx").await.expect("sent");
        let comes = async { while ask().await != 200 {} };
        timeout(Duration::from_secs(20), comes).await.expect("its place is free again");
        stop.cancel();
        serving.abort();
    }

    #[tokio::test]
    async fn whoever_is_silent_is_cut_and_an_end_is_waited_for_by_nobody() {
        let (_directory, desk) = desk().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("bound");
        let bounds = Bounds { connections: 1, head: Duration::from_millis(50), ..Bounds::default() };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router(desk), bounds, stop.clone()));
        let mut silent = tokio::net::TcpStream::connect(address).await.expect("connected");
        let mut answer = Vec::new();
        // The only place is free again when this one was cut.
        tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut answer).await.expect("cut");
        let mut next = tokio::net::TcpStream::connect(address).await.expect("connected");
        let request = b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut next, request).await.expect("asked");
        tokio::io::AsyncReadExt::read_to_end(&mut next, &mut answer).await.expect("answered");
        assert!(String::from_utf8_lossy(&answer).contains("\"status\":\"ok\""));
        stop.cancel();
        serving.await.expect("it ends");
    }
}
