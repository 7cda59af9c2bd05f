//! What is in rooms of the authority, for an administrator who need not be in them. Whoever reads so what was said leaves a
//! row in the audit log, before he is shown it.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/rooms.html>

use std::sync::Arc;

use audit::Action;
use base::Timestamp;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use room::read::{
    filter::{EventFilter, RelationFilter},
    list::EventList,
    messages::PageQuery,
    room::RoomInfo,
    timeline::Direction,
    token::Token,
    view::{Form, Look},
};
use ruma::{OwnedEventId, api::client::filter::RoomEventFilter};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tracing::warn;
use web::{ApiError, RawCall, Response, StatusCode, json_bytes, json_response, json_stream, parse_json};

use crate::{AdminApi, Administrator, list::Dir, own::room_id_in};

/// Events of a page where nothing is said, and at most.
const DEFAULT_PAGE: usize = 10;
const LARGEST_PAGE: usize = 500;

impl AdminApi {
    /// Notes that an administrator reads what was said in a room, unless he is in it.
    pub(crate) async fn note_reading(
        &self,
        call: &RawCall<Administrator>,
        room: &RoomInfo,
    ) -> Result<(), ApiError> {
        let by = call.caller.actor(call.address);
        Ok(self.oversight.note_reading(call.caller.user_id(), room, &by).await?)
    }

    /// Notes a deed that changes nothing else.
    pub(crate) async fn note(
        &self,
        call: &RawCall<Administrator>,
        what: Action,
        whom: &str,
    ) -> Result<(), ApiError> {
        let by = call.caller.actor(call.address);
        Ok(self.oversight.note(what, whom, call.caller.authority(), &by).await?)
    }
}

/// `GET /_synapse/admin/v1/rooms/{room}/state`: the current state, of one type where that is asked for, made part by part
/// as it is sent.
pub(crate) async fn state(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let Query { kind } = call.query()?;
    let room_id = room_id_in(&call, 0)?;
    let (room, _) = api.room(&call.caller, &room_id).await?;
    api.note_reading(&call, &room).await?;
    let list = api.rooms.overseen_state(call.caller.user_id(), &room).await?;
    let mut body = StateBody { list, kind, now: api.clock.now(), is_begun: false, has_any: false };
    let first = body.next().await?;
    if body.list.is_at_end() {
        return Ok(json_bytes(first));
    }
    let rest = stream::try_unfold(body, async |mut body| {
        if body.list.is_at_end() {
            return Ok(None);
        }
        // What fails after the beginning was sent breaks the body off, so that nobody takes it for whole.
        let part = body.next().await.inspect_err(|error| warn!(%error, "a large answer is broken off"))?;
        Ok::<_, room::Error>(Some((part, body)))
    });
    Ok(json_stream(stream::once(std::future::ready(Ok(first))).chain(rest)))
}

/// The state of a room in the making.
struct StateBody {
    list: EventList,
    kind: Option<String>,
    now: Timestamp,
    is_begun: bool,
    has_any: bool,
}

impl StateBody {
    /// The next part; the last one, when the list is at its end.
    async fn next(&mut self) -> Result<Bytes, room::Error> {
        let mut out = Vec::with_capacity(64 << 10);
        if !std::mem::replace(&mut self.is_begun, true) {
            out.extend_from_slice(br#"{"state":["#);
        }
        for look in self.list.next().await? {
            if self.kind.as_deref().is_some_and(|kind| kind != look.event.kind()) {
                continue;
            }
            if std::mem::replace(&mut self.has_any, true) {
                out.push(b',');
            }
            look.write(&mut out, Form::Full, self.now);
        }
        if self.list.is_at_end() {
            out.extend_from_slice(b"]}");
        }
        Ok(out.into())
    }
}

#[derive(Deserialize)]
struct MessagesQuery {
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    dir: Dir,
    limit: Option<usize>,
    filter: Option<String>,
}

/// A place in a timeline, as this server writes it.
fn token(text: &str) -> Result<Token, ApiError> {
    Token::of_sync(text).map_err(|_| ApiError::invalid_param("This is not a token of this server"))
}

fn filter(json: Option<&str>) -> Result<EventFilter, ApiError> {
    let Some(json) = json.filter(|json| !json.is_empty()) else { return Ok(EventFilter::default()) };
    let relations: RelationFilter = parse_json(json.as_bytes())?;
    let filter: RoomEventFilter = parse_json(json.as_bytes())?;
    Ok(EventFilter::new(&filter).with_relations(relations))
}

/// `GET /_synapse/admin/v1/rooms/{room}/messages`: what was said, as far as it is here.
pub(crate) async fn messages(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let room_id = room_id_in(&call, 0)?;
    let query: MessagesQuery = call.query()?;
    let filter = filter(query.filter.as_deref())?;
    let page = PageQuery {
        from: query.from.as_deref().map(token).transpose()?,
        to: query.to.as_deref().map(token).transpose()?,
        direction: match query.dir {
            Dir::Forward => Direction::Forward,
            Dir::Backward => Direction::Backward,
        },
        limit: query.limit.or(filter.limit).unwrap_or(DEFAULT_PAGE).clamp(1, LARGEST_PAGE),
        filter,
    };
    let (room, _) = api.room(&call.caller, &room_id).await?;
    api.note_reading(&call, &room).await?;
    let page = api.rooms.overseen_messages(call.caller.user_id(), &room, &page).await?;
    let no_state: [(); 0] = [];
    let mut answer =
        json!({ "start": page.start.to_string(), "chunk": api.written(&page.chunk), "state": no_state });
    if let Some(end) = page.end {
        answer["end"] = json!(end.to_string());
    }
    Ok(json_response(StatusCode::OK, &answer))
}

/// `GET /_synapse/admin/v1/rooms/{room}/context/{event}`: an event and what is around it.
pub(crate) async fn context(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        limit: Option<usize>,
    }
    let room_id = room_id_in(&call, 0)?;
    let event_id: OwnedEventId = call.args.get(1)?;
    let Query { limit } = call.query()?;
    let limit = limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE);
    let (room, _) = api.room(&call.caller, &room_id).await?;
    // Before anything is known of the event: the row tells no more of it than the answer.
    api.note_reading(&call, &room).await?;
    api.rooms.get_event(&room_id, &event_id).await?;
    let context = api.rooms.overseen_context(call.caller.user_id(), &room, &event_id, limit).await?;
    let answer = json!({
        "start": context.start.to_string(),
        "end": context.end.to_string(),
        "event": context.event.to_json(api.clock.now()),
        "events_before": api.written(&context.before),
        "events_after": api.written(&context.after),
        "state": api.written(&context.state),
    });
    Ok(json_response(StatusCode::OK, &answer))
}

impl AdminApi {
    fn written(&self, looks: &[Look]) -> Vec<Box<RawValue>> {
        let now = self.clock.now();
        looks.iter().map(|look| look.to_json(now)).collect()
    }
}
