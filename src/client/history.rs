//! The history of a room.

use std::sync::Arc;

use room::read::{
    filter::{EventFilter, RelationFilter},
    messages::PageQuery,
    timeline::Direction,
};
use ruma::{
    OwnedEventId, OwnedRoomId,
    api::client::{
        filter::RoomEventFilter,
        room::{get_event_by_timestamp, get_room_event},
    },
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{
    ClientApi,
    send::hide_room,
    state::{parse_token, raw_events},
};

/// Events of a page when the client does not say.
const DEFAULT_PAGE: usize = 10;

#[derive(Deserialize)]
struct MessagesQuery {
    from: Option<String>,
    to: Option<String>,
    dir: Option<Dir>,
    limit: Option<usize>,
    filter: Option<String>,
}

#[derive(Deserialize)]
enum Dir {
    #[serde(rename = "b")]
    Backward,
    #[serde(rename = "f")]
    Forward,
}

/// `GET /_matrix/client/v3/rooms/{roomId}/messages`: a page of a room's history.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages>
pub(crate) async fn messages(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let query: MessagesQuery = call.query()?;
    let filter = parse_filter(query.filter.as_deref())?;
    let page = PageQuery {
        from: query.from.as_deref().map(parse_token).transpose()?,
        to: query.to.as_deref().map(parse_token).transpose()?,
        direction: match query.dir {
            Some(Dir::Forward) => Direction::Forward,
            Some(Dir::Backward) => Direction::Backward,
            None => return Err(no_direction(&api, &call, &room_id).await),
        },
        limit: query.limit.or(filter.limit).unwrap_or(DEFAULT_PAGE),
        filter,
    };

    let eyes = api.eyes(&call.caller).await?;
    let page = api.engine.messages(&eyes.viewer(), &room_id, &page).await.map_err(hide_room)?;

    let answer = MessagesAnswer {
        start: page.start.to_string(),
        end: page.end.map(|end| end.to_string()),
        chunk: raw_events(&api, &page.chunk),
        state: raw_events(&api, &page.state),
    };
    Ok(json_response(StatusCode::OK, &answer))
}

/// The direction is needed; but who may not see the room hears that first.
async fn no_direction(api: &ClientApi, call: &RawCall<User>, room_id: &OwnedRoomId) -> ApiError {
    let standpoint = async {
        let room = api.rooms.room(room_id).await?.ok_or_else(|| room::Error::NoRoom(room_id.clone()))?;
        api.rooms.standpoint(&call.caller.user_id, &room).await
    };
    match standpoint.await {
        Ok(_) => ApiError::missing_param("`dir` is missing"),
        Err(error) => hide_room(error),
    }
}

/// `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`: the event closest to a time.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>
pub(crate) async fn event_at_time(
    api: Arc<ClientApi>,
    call: Call<get_event_by_timestamp::v1::Request, User>,
) -> Result<get_event_by_timestamp::v1::Response, ApiError> {
    let get_event_by_timestamp::v1::Request { room_id, ts, dir, .. } = call.request;
    let direction = match dir {
        ruma::api::Direction::Forward => Direction::Forward,
        ruma::api::Direction::Backward => Direction::Backward,
    };
    let eyes = api.eyes(&call.caller).await?;
    let found = api.engine.event_at_time(&eyes.viewer(), &room_id, ts, direction).await.map_err(hide_room)?;
    let Some(event) = found else { return Err(ApiError::not_found("No event was found in that direction")) };
    let (id, at) = (event.event_id().to_owned(), event.pdu().origin_server_ts());
    Ok(get_event_by_timestamp::v1::Response::new(id, at))
}

/// A filter on events, as JSON in a query.
fn parse_filter(json: Option<&str>) -> Result<EventFilter, ApiError> {
    let Some(json) = json.filter(|json| !json.is_empty()) else { return Ok(EventFilter::default()) };
    let relations: RelationFilter = web::parse_json(json.as_bytes())?;
    let filter: RoomEventFilter = web::parse_json(json.as_bytes())?;
    Ok(EventFilter::new(&filter).with_relations(relations))
}

/// Clients read the lists of an answer without asking whether they are there, so empty ones are.
#[derive(Serialize)]
struct MessagesAnswer {
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    chunk: Vec<Raw<AnyTimelineEvent>>,
    state: Vec<Raw<AnyStateEvent>>,
}

/// `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`: an event and what is around it.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid>
pub(crate) async fn context(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let event_id: OwnedEventId = call.args.get(1)?;
    let query: ContextQuery = call.query()?;
    let filter = parse_filter(query.filter.as_deref())?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);

    let eyes = api.eyes(&call.caller).await?;
    let context = api.rooms.context(&eyes.viewer(), &room_id, &event_id, limit, &filter).await?;

    let answer = ContextAnswer {
        start: context.start.to_string(),
        end: context.end.to_string(),
        event: context.event.to_raw(api.clock.now()),
        events_before: raw_events(&api, &context.before),
        events_after: raw_events(&api, &context.after),
        state: raw_events(&api, &context.state),
    };
    Ok(json_response(StatusCode::OK, &answer))
}

#[derive(Deserialize)]
struct ContextQuery {
    limit: Option<usize>,
    filter: Option<String>,
}

/// See [`MessagesAnswer`] for the lists.
#[derive(Serialize)]
struct ContextAnswer {
    start: String,
    end: String,
    event: Raw<AnyTimelineEvent>,
    events_before: Vec<Raw<AnyTimelineEvent>>,
    events_after: Vec<Raw<AnyTimelineEvent>>,
    state: Vec<Raw<AnyStateEvent>>,
}

/// `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`: one event.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>
pub(crate) async fn event(
    api: Arc<ClientApi>,
    call: Call<get_room_event::v3::Request, User>,
) -> Result<get_room_event::v3::Response, ApiError> {
    let get_room_event::v3::Request { room_id, event_id, .. } = call.request;
    let eyes = api.eyes(&call.caller).await?;
    let viewer = eyes.viewer();
    let mut look = api.rooms.event_for(&viewer, &room_id, &event_id).await?;
    api.rooms.aggregate(&viewer, std::slice::from_mut(&mut look)).await?;
    Ok(get_room_event::v3::Response::new(look.to_raw(api.clock.now())))
}
