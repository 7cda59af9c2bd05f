//! The history of a room.

use std::sync::Arc;

use room::read::{
    filter::{EventFilter, RelationFilter},
    messages::PageQuery,
    timeline::Direction,
};
use ruma::{
    OwnedRoomId,
    api::client::{context::get_context, filter::RoomEventFilter, room::get_room_event},
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{
    ClientApi,
    api::viewer,
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
    let filter = match query.filter.as_deref().filter(|filter| !filter.is_empty()) {
        Some(filter) => {
            let relations: RelationFilter = web::parse_json(filter.as_bytes())?;
            let filter: RoomEventFilter = web::parse_json(filter.as_bytes())?;
            EventFilter::new(&filter).with_relations(relations)
        }
        None => EventFilter::default(),
    };
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

    let page = api.rooms.messages(&viewer(&call.caller), &room_id, &page).await.map_err(hide_room)?;

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

#[derive(Serialize)]
struct MessagesAnswer {
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    chunk: Vec<Raw<AnyTimelineEvent>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    state: Vec<Raw<AnyStateEvent>>,
}

/// `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`: an event and what is around it.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid>
pub(crate) async fn context(
    api: Arc<ClientApi>,
    call: Call<get_context::v3::Request, User>,
) -> Result<get_context::v3::Response, ApiError> {
    let get_context::v3::Request { room_id, event_id, limit, filter, .. } = call.request;
    let limit = usize::try_from(u64::from(limit)).unwrap_or(usize::MAX);
    let filter = EventFilter::new(&filter);

    let viewer = viewer(&call.caller);
    let context = api.rooms.context(&viewer, &room_id, &event_id, limit, &filter).await?;

    let mut response = get_context::v3::Response::new();
    response.start = Some(context.start.to_string());
    response.end = Some(context.end.to_string());
    response.event = Some(context.event.to_raw(api.clock.now()));
    response.events_before = raw_events(&api, &context.before);
    response.events_after = raw_events(&api, &context.after);
    response.state = raw_events(&api, &context.state);
    Ok(response)
}

/// `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`: one event.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>
pub(crate) async fn event(
    api: Arc<ClientApi>,
    call: Call<get_room_event::v3::Request, User>,
) -> Result<get_room_event::v3::Response, ApiError> {
    let get_room_event::v3::Request { room_id, event_id, .. } = call.request;
    let viewer = viewer(&call.caller);
    let mut look = api.rooms.event_for(&viewer, &room_id, &event_id).await?;
    api.rooms.aggregate(&viewer, std::slice::from_mut(&mut look)).await?;
    Ok(get_room_event::v3::Response::new(look.to_raw(api.clock.now())))
}
