//! What relates to an event, and the threads of a room.

use std::sync::Arc;

use room::read::{
    messages::Page,
    relations::{RECURSION_DEPTH, RelationQuery},
    threads::ThreadQuery,
    timeline,
};
use ruma::{
    EventId, RoomId, UInt,
    api::{
        Direction,
        client::{
            relations::{
                get_relating_events, get_relating_events_with_rel_type,
                get_relating_events_with_rel_type_and_event_type,
            },
            threads::get_threads::{self, v1::IncludeThreads},
        },
    },
};
use web::{ApiError, Call, User};

use crate::{
    ClientApi,
    send::hide_room,
    state::{parse_token, raw_events},
};

/// Events of a page when the client does not say.
const DEFAULT_PAGE: usize = 50;

/// `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}`: what relates to an event.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventid>
pub(crate) async fn related(
    api: Arc<ClientApi>,
    call: Call<get_relating_events::v1::Request, User>,
) -> Result<get_relating_events::v1::Response, ApiError> {
    let get_relating_events::v1::Request { room_id, event_id, from, to, dir, limit, recurse, .. } =
        call.request;
    let asked = Asked { from, to, dir, limit, recurse };
    let page = page(&api, &call.caller, &room_id, &event_id, asked.query(None, None)?).await?;
    let mut response = get_relating_events::v1::Response::new(raw_events(&api, &page.chunk));
    response.next_batch = page.end.map(|end| end.to_string());
    response.recursion_depth = depth(recurse);
    Ok(response)
}

/// `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}`: what relates to an event
/// in one way.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltype>
pub(crate) async fn related_so(
    api: Arc<ClientApi>,
    call: Call<get_relating_events_with_rel_type::v1::Request, User>,
) -> Result<get_relating_events_with_rel_type::v1::Response, ApiError> {
    let request = call.request;
    let (room_id, event_id, recurse) = (request.room_id, request.event_id, request.recurse);
    let asked = Asked { from: request.from, to: request.to, dir: request.dir, limit: request.limit, recurse };
    let query = asked.query(Some(request.rel_type.as_str()), None)?;
    let page = page(&api, &call.caller, &room_id, &event_id, query).await?;
    let mut response = get_relating_events_with_rel_type::v1::Response::new(raw_events(&api, &page.chunk));
    response.next_batch = page.end.map(|end| end.to_string());
    response.recursion_depth = depth(recurse);
    Ok(response)
}

/// `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`: events of one
/// type that relate to an event in one way.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltypeeventtype>
pub(crate) async fn related_so_of_type(
    api: Arc<ClientApi>,
    call: Call<get_relating_events_with_rel_type_and_event_type::v1::Request, User>,
) -> Result<get_relating_events_with_rel_type_and_event_type::v1::Response, ApiError> {
    let request = call.request;
    let (room_id, event_id, recurse) = (request.room_id, request.event_id, request.recurse);
    let asked = Asked { from: request.from, to: request.to, dir: request.dir, limit: request.limit, recurse };
    let kind = request.event_type.to_string();
    let query = asked.query(Some(request.rel_type.as_str()), Some(&kind))?;
    let page = page(&api, &call.caller, &room_id, &event_id, query).await?;
    let chunk = raw_events(&api, &page.chunk);
    let mut response = get_relating_events_with_rel_type_and_event_type::v1::Response::new(chunk);
    response.next_batch = page.end.map(|end| end.to_string());
    response.recursion_depth = depth(recurse);
    Ok(response)
}

/// What the three endpoints ask alike.
struct Asked {
    from: Option<String>,
    to: Option<String>,
    dir: Direction,
    limit: Option<UInt>,
    recurse: bool,
}

impl Asked {
    fn query<'a>(
        &self,
        rel_type: Option<&'a str>,
        kind: Option<&'a str>,
    ) -> Result<RelationQuery<'a>, ApiError> {
        Ok(RelationQuery {
            rel_type,
            kind,
            from: self.from.as_deref().map(parse_token).transpose()?,
            to: self.to.as_deref().map(parse_token).transpose()?,
            direction: match self.dir {
                Direction::Forward => timeline::Direction::Forward,
                Direction::Backward => timeline::Direction::Backward,
            },
            limit: size(self.limit),
            recurse: self.recurse,
        })
    }
}

async fn page(
    api: &ClientApi,
    caller: &User,
    room_id: &RoomId,
    event_id: &EventId,
    query: RelationQuery<'_>,
) -> Result<Page, ApiError> {
    let eyes = api.eyes(caller).await?;
    Ok(api.rooms.relations(&eyes.viewer(), room_id, event_id, &query).await?)
}

fn size(limit: Option<UInt>) -> usize {
    limit.map_or(DEFAULT_PAGE, |limit| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX))
}

fn depth(recurse: bool) -> Option<UInt> {
    recurse.then(|| UInt::try_from(RECURSION_DEPTH).unwrap_or_default())
}

/// `GET /_matrix/client/v1/rooms/{roomId}/threads`: the threads of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads>
pub(crate) async fn threads(
    api: Arc<ClientApi>,
    call: Call<get_threads::v1::Request, User>,
) -> Result<get_threads::v1::Response, ApiError> {
    let get_threads::v1::Request { room_id, from, include, limit, .. } = call.request;
    let query = ThreadQuery {
        from: from.as_deref().map(parse_token).transpose()?,
        limit: size(limit),
        participated: include == IncludeThreads::Participated,
    };
    let eyes = api.eyes(&call.caller).await?;
    let page = api.rooms.threads(&eyes.viewer(), &room_id, &query).await.map_err(hide_room)?;
    let mut response = get_threads::v1::Response::new(raw_events(&api, &page.chunk));
    response.next_batch = page.end.map(|end| end.to_string());
    Ok(response)
}
