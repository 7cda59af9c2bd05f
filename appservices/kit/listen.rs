//! Where a service listens: for the homeserver, and for whatever else a bot serves.
//!
//! Spec: <https://spec.matrix.org/v1.19/application-service-api/#homeserver---application-service-api>

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Path, State},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use http::{HeaderMap, Request, StatusCode, header};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use ruma::{RoomAliasId, UserId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{debug, error, warn};

use crate::{
    bot::Bot,
    event::Event,
    inbox::{Inbox, Untaken},
};

/// Largest transaction, in bytes: a hundred events of 64 KiB each, written twice as long, and what comes beside them.
const LARGEST: usize = 16 << 20;

/// Time for a transaction to come.
const DEADLINE: Duration = Duration::from_secs(60);

/// Time for the connections that are left when a listener ends.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// A pause after an accept that failed: open files are few, and others close some.
const BREATH: Duration = Duration::from_millis(50);

/// What bounds a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time. Others wait to be taken.
    pub connections: usize,
    /// Time for the head of a request.
    pub head: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 256, head: Duration::from_secs(20) }
    }
}

/// Answers on a listener until it is to stop; then requests that are under way are finished. Handlers find where a request came from in
/// its extension `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(bounds.head);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(bounds.head).max_concurrent_streams(32);
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
        let router = router.clone().map_request(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.map(Body::new)
        });
        let (server, stop) = (server.clone(), stop.clone());
        connections.spawn(async move {
            let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if timeout(LAST_MOMENTS, connections.wait()).await.is_err() {
        warn!(count = connections.len(), "connections are cut");
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
    let Ok(transaction) = serde_json::from_slice::<Value>(&body) else {
        return Answer::error(StatusCode::BAD_REQUEST, "M_NOT_JSON", "the transaction is not JSON");
    };
    let Some(told) = transaction.get("events").and_then(Value::as_array) else {
        return Answer::error(StatusCode::BAD_REQUEST, "M_BAD_JSON", "the transaction has no events");
    };
    // One that is none costs itself only: refused, the homeserver would send the transaction for ever.
    let events: Vec<Event> = told.iter().filter_map(Event::from_transaction).collect();
    if events.len() < told.len() {
        warn!(txn_id, count = told.len() - events.len(), "what came is no event");
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
        Ok(()) => Answer(StatusCode::OK, json!({ "status": "ok", "waiting": waiting })),
        Err(error) => {
            warn!(%error, "the store cannot be written");
            Answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "not writable", "waiting": waiting }))
        }
    }
}
