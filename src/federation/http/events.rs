//! Events, state and history for servers that take part in a room.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#retrieving-events>

use std::sync::Arc;

use room::read::{federation::Missing, timeline::Direction};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use web::{ApiError, Origin, RawCall, Response};

use super::{
    FederationApi,
    json::{Object, object_body, text},
};

/// Events of an answer when the asker names no limit, as the specification says.
const DEFAULT_LIMIT: u32 = 10;

/// `GET /event/{eventId}`
pub(super) async fn event(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let event_id: OwnedEventId = call.args.get(0)?;
    let event = api.rooms.event_for_server(&call.caller.server, &event_id).await?;
    Ok(api.unit(&call).list("pdus", [text(&event)]).answer())
}

/// `GET /event_auth/{roomId}/{eventId}`
pub(super) async fn event_auth(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let event_id: OwnedEventId = call.args.get(1)?;
    let server = &call.caller.server;
    api.admit(server, &room_id).await?;
    let chain = api.engine.auth_chain_for_server(server, &room_id, &event_id).await?;
    Ok(Object::new().list("auth_chain", chain.iter().map(text)).answer())
}

#[derive(Deserialize)]
struct AtEvent {
    event_id: OwnedEventId,
}

/// `GET /state/{roomId}`: the state before an event.
pub(super) async fn state(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let AtEvent { event_id } = call.query()?;
    let server = &call.caller.server;
    api.admit(server, &room_id).await?;
    let found = api.engine.state_for_server(server, &room_id, &event_id).await?;
    let chain = found.auth_chain.iter().map(text);
    Ok(Object::new().list("auth_chain", chain).list("pdus", found.state.iter().map(text)).answer())
}

/// `GET /state_ids/{roomId}`: the same by ids.
pub(super) async fn state_ids(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let AtEvent { event_id } = call.query()?;
    let server = &call.caller.server;
    api.admit(server, &room_id).await?;
    let found = api.engine.state_ids_for_server(server, &room_id, &event_id).await?;
    Ok(Object::new()
        .strings("auth_chain_ids", found.auth_chain.iter().map(|id| id.as_str()))
        .strings("pdu_ids", found.state.iter().map(|id| id.as_str()))
        .answer())
}

/// `GET /backfill/{roomId}`: events before and including the named ones.
pub(super) async fn backfill(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(default)]
        v: Vec<OwnedEventId>,
        limit: u32,
    }

    let room_id: OwnedRoomId = call.args.get(0)?;
    let Query { v, limit } = call.query()?;
    if v.is_empty() {
        return Err(ApiError::missing_param("`v` is required"));
    }
    let server = &call.caller.server;
    api.admit(server, &room_id).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let events = api.rooms.backfill_for_server(server, &room_id, &v, limit).await?;
    Ok(api.unit(&call).list("pdus", events.iter().map(text)).answer())
}

/// `POST /get_missing_events/{roomId}`: the events between two edges of the graph.
pub(super) async fn missing_events(
    api: Arc<FederationApi>,
    call: RawCall<Origin>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        earliest_events: Vec<OwnedEventId>,
        latest_events: Vec<OwnedEventId>,
        limit: Option<u32>,
        #[serde(default)]
        min_depth: u64,
    }

    let room_id: OwnedRoomId = call.args.get(0)?;
    let body: Body = object_body(&call)?;
    let server = &call.caller.server;
    api.admit(server, &room_id).await?;
    let question = Missing {
        earliest: &body.earliest_events,
        latest: &body.latest_events,
        limit: usize::try_from(body.limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX),
        min_depth: body.min_depth,
    };
    let events = api.rooms.missing_events_for_server(server, &room_id, &question).await?;
    Ok(Object::new().list("events", events.iter().map(text)).answer())
}

/// `GET /timestamp_to_event/{roomId}`: the event closest to a time that the server may see.
pub(super) async fn event_at_time(
    api: Arc<FederationApi>,
    call: RawCall<Origin>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        ts: MilliSecondsSinceUnixEpoch,
        dir: ruma::api::Direction,
    }

    let room_id: OwnedRoomId = call.args.get(0)?;
    let Query { ts, dir } = call.query()?;
    let direction = match dir {
        ruma::api::Direction::Forward => Direction::Forward,
        ruma::api::Direction::Backward => Direction::Backward,
    };
    let server = &call.caller.server;
    api.admit(server, &room_id).await?;
    let found = api.rooms.event_at_time_for_server(server, &room_id, ts, direction).await?;
    let event = found.ok_or_else(|| ApiError::not_found("no event was found in that direction"))?;
    Ok(Object::new()
        .string("event_id", event.event_id().as_str())
        .number("origin_server_ts", event.pdu().origin_server_ts().get().into())
        .answer())
}

impl FederationApi {
    /// The frame of an answer that has the form of a transaction.
    fn unit(&self, call: &RawCall<Origin>) -> Object {
        Object::new()
            .string("origin", call.caller.destination.as_str())
            .number("origin_server_ts", self.clock.now().millis())
    }
}
