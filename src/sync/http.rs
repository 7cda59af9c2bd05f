//! The route of `/sync`.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use account::State;
use futures_util::StreamExt;
use room::read::token::{Rest, Token};
use ruma::api::client::sync::sync_events;
use serde::Deserialize;
use store::Position;
use web::{ApiError, Body, RawCall, Response, Routes, User};

use crate::{Answer, Error, StateAfter, SyncFilter, SyncRequest, Syncs};

/// `/sync` over these.
pub fn routes(syncs: Arc<Syncs>) -> Routes<Syncs> {
    Routes::new(syncs).raw_ruma::<sync_events::v3::Request, _, _, _>(sync)
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
        presence: query.set_presence.as_deref().and_then(State::named),
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
            Error::Room(cause) => cause.into(),
            Error::Account(cause) => cause.into(),
            Error::Push(cause) => cause.into(),
            Error::Encryption(cause) => cause.into(),
            Error::Store(cause) => cause.into(),
        }
    }
}
