//! The routes of `/sync` and sliding sync.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use account::State;
use futures_util::StreamExt;
use room::read::token::{Rest, Token};
use ruma::api::client::sync::sync_events;
use serde::Deserialize;
use store::Position;
use web::{ApiError, Body, RawCall, Response, Routes, User, json_bytes};

use crate::{
    Answer, Error, SlidingBody, SlidingRequest, StateAfter, SyncFilter, SyncRequest, Syncs, older, threads,
};

/// Where clients ask for sliding sync.
const SLIDING: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

/// `/sync`, sliding sync and what came before them, over these.
pub fn routes(syncs: Arc<Syncs>) -> Routes<Syncs> {
    let routes = Routes::new(syncs)
        .raw_ruma::<sync_events::v3::Request, _, _, _>(sync)
        .raw(Method::POST, SLIDING, sliding_sync)
        .raw(Method::GET, threads::REST, threads::rest);
    older::routes(routes)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Query {
    filter: Option<String>,
    since: Option<String>,
    full_state: bool,
    timeout: Option<u64>,
    set_presence: Option<String>,
    use_state_after: bool,
    #[serde(rename = "org.matrix.msc4222.use_state_after")]
    use_state_after_unstable: bool,
}

/// `GET /_matrix/client/v3/sync`: what the caller's client missed, waiting for it if need be.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>
async fn sync(syncs: Arc<Syncs>, call: RawCall<User>) -> Result<Response, ApiError> {
    let query: Query = call.query()?;
    let request = SyncRequest {
        since: since(query.since.as_deref())?,
        rest: query.since.as_deref().map(Rest::of).unwrap_or_default(),
        timeout: Duration::from_millis(query.timeout.unwrap_or(0)),
        full_state: query.full_state,
        presence: presence(query.set_presence.as_deref())?,
        state_after: StateAfter { stable: query.use_state_after, unstable: query.use_state_after_unstable },
        filter: filter(&syncs, &call.caller, query.filter.as_deref()).await?,
        user: call.caller.user_id,
        device: call.caller.device_id,
    };
    let body = match syncs.sync(request).await? {
        Answer::Whole(bytes) => Body::from(bytes),
        Answer::Parts(parts) => Body::from_stream(parts.map(Ok::<_, std::convert::Infallible>)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SlidingQuery {
    pos: Option<String>,
    timeout: Option<u64>,
    set_presence: Option<String>,
}

/// `POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync`: what the caller's client has not been told of the rooms
/// that it looks at, waiting for it if need be.
///
/// Spec: <https://github.com/matrix-org/matrix-spec-proposals/pull/4186>
async fn sliding_sync(syncs: Arc<Syncs>, call: RawCall<User>) -> Result<Response, ApiError> {
    let query: SlidingQuery = call.query()?;
    let body: SlidingBody = call.json()?;
    let request = SlidingRequest {
        pos: query.pos.or_else(|| body.pos.clone()),
        timeout: Duration::from_millis(query.timeout.or(body.timeout).unwrap_or(0)),
        presence: presence(query.set_presence.as_deref().or(body.set_presence.as_deref()))?,
        body,
        user: call.caller.user_id,
        device: call.caller.device_id,
    };
    Ok(json_bytes(syncs.slide(&request).await?))
}

/// What a client asks to show its user as.
fn presence(text: Option<&str>) -> Result<Option<State>, ApiError> {
    let named = |name| {
        State::named(name).ok_or_else(|| {
            ApiError::invalid_param("`set_presence` is neither `online`, `unavailable` nor `offline`")
        })
    };
    text.map(named).transpose()
}

fn since(text: Option<&str>) -> Result<Option<Position>, Error> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => {
            let token: Token = text.parse().map_err(|_| Error::BadToken)?;
            Ok(Some(token.position()))
        }
    }
}

/// A filter given in the request, or the id of a stored one: JSON begins with a brace.
async fn filter(syncs: &Syncs, caller: &User, text: Option<&str>) -> Result<Arc<SyncFilter>, Error> {
    match text {
        None | Some("") => Ok(Arc::default()),
        Some(json) if json.starts_with('{') => Ok(Arc::new(SyncFilter::parse(json.as_bytes())?)),
        Some(id) => syncs.stored_filter(&caller.user_id, id).await,
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::BadToken => Self::invalid_param("`since` is not a token of this server"),
            Error::BadFilter(why) => Self::invalid_param(format!("`filter` cannot be used: {why}")),
            Error::BadRequest(why) => Self::invalid_param(format!("The request cannot be answered: {why}")),
            Error::UnknownPos => Self::new(
                StatusCode::BAD_REQUEST,
                "M_UNKNOWN_POS",
                "The server does not know this `pos` any more; begin anew without it",
            ),
            Error::Room(cause) => cause.into(),
            Error::Account(cause) => cause.into(),
            Error::Push(cause) => cause.into(),
            Error::Encryption(cause) => cause.into(),
            Error::Store(cause) => cause.into(),
        }
    }
}
