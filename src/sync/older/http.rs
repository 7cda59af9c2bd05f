//! The routes of `/events` and `/initialSync`.

use std::{sync::Arc, time::Duration};

use ::http::Method;
use room::read::{token::Token, view::Viewer};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use web::{ApiError, RawCall, Response, Routes, User, json_bytes, json_stream};

use super::EventsRequest;
use crate::{Error, Syncs};

/// So many events of a room are told when the client does not say, and at most.
const MESSAGES: u32 = 10;
const MOST_MESSAGES: u32 = 100;

/// The routes, under their newer and their older names.
pub(crate) fn routes(routes: Routes<Syncs>) -> Routes<Syncs> {
    routes
        .raw(Method::GET, "/_matrix/client/v3/events", events)
        .raw(Method::GET, "/_matrix/client/r0/events", events)
        .raw(Method::GET, "/_matrix/client/v3/events/{event_id}", event)
        .raw(Method::GET, "/_matrix/client/r0/events/{event_id}", event)
        .raw(Method::GET, "/_matrix/client/v3/initialSync", initial_sync)
        .raw(Method::GET, "/_matrix/client/r0/initialSync", initial_sync)
        .raw(Method::GET, "/_matrix/client/v3/rooms/{room_id}/initialSync", room_initial_sync)
        .raw(Method::GET, "/_matrix/client/r0/rooms/{room_id}/initialSync", room_initial_sync)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventsQuery {
    from: Option<String>,
    timeout: Option<u64>,
    room_id: Option<OwnedRoomId>,
}

/// `GET /_matrix/client/v3/events`: what is said from a place on, waiting for it if need be.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events>
async fn events(syncs: Arc<Syncs>, call: RawCall<User>) -> Result<Response, ApiError> {
    let query: EventsQuery = call.query()?;
    let from = query.from.as_deref().filter(|from| !from.is_empty());
    let from = from.map(|from| from.parse::<Token>().map(Token::position)).transpose();
    let request = EventsRequest {
        user: call.caller.user_id,
        device: call.caller.device_id,
        from: from.map_err(|_| ApiError::invalid_param("`from` is not a token of this server"))?,
        room_id: query.room_id,
        timeout: Duration::from_millis(query.timeout.unwrap_or(0)),
    };
    Ok(json_bytes(syncs.events(&request).await.map_err(hidden)?))
}

/// `GET /_matrix/client/v3/events/{eventId}`: one event, whatever room it is in.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3eventseventid>
async fn event(syncs: Arc<Syncs>, call: RawCall<User>) -> Result<Response, ApiError> {
    let event_id: OwnedEventId = call.args.get(0)?;
    let user: &OwnedUserId = &call.caller.user_id;
    let ignored = syncs.ignored(user).await?;
    let viewer = Viewer { user, device: Some(&call.caller.device_id), ignored: Some(&ignored) };
    Ok(json_bytes(syncs.one_event(&viewer, &event_id).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InitialQuery {
    limit: Option<u32>,
    archived: bool,
}

impl InitialQuery {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(MESSAGES).min(MOST_MESSAGES)
    }
}

/// `GET /_matrix/client/v3/initialSync`: all rooms of the caller as they are.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync>
async fn initial_sync(syncs: Arc<Syncs>, call: RawCall<User>) -> Result<Response, ApiError> {
    let query: InitialQuery = call.query()?;
    let caller = (call.caller.user_id, call.caller.device_id);
    Ok(json_stream(syncs.all_as_it_is(caller, query.limit(), query.archived).await?))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/initialSync`: a room as it is, also one that is open to the world.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync>
async fn room_initial_sync(syncs: Arc<Syncs>, call: RawCall<User>) -> Result<Response, ApiError> {
    let query: InitialQuery = call.query()?;
    let room_id: OwnedRoomId = call.args.get(0)?;
    let limit = usize::try_from(query.limit()).unwrap_or(0);
    let authority = call.face.server_name().to_owned();
    let caller = (call.caller.user_id, call.caller.device_id);
    let room = syncs.room_as_it_is(caller, &authority, &room_id, limit).await;
    Ok(json_stream(room.map_err(hidden)?))
}

/// Whether there is a room is told to nobody who may not look into it.
fn hidden(error: Error) -> ApiError {
    match error {
        Error::Room(room::Error::NoRoom(_)) => ApiError::forbidden("You are not in this room"),
        other => other.into(),
    }
}
