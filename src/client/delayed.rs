//! Delayed events (MSC4140).
//!
//! Whoever knows an id may send, restart and cancel its event: a client hands it on to what notices first that the
//! client is gone.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4140>

use std::{sync::Arc, time::Duration};

use engine::{DelayedEvent, Txn};
use pdu::Draft;
use ruma::{OwnedRoomId, OwnedTransactionId, RoomId, events::TimelineEventType};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use web::{ApiError, Open, RawCall, Response, StatusCode, User, json_response};

use crate::{
    ClientApi,
    send::{self, hide_room, redacted_by},
    zones,
};

/// For how long the caller wants an event to be delayed, if he wants it.
fn asked_for(call: &RawCall<User>) -> Result<Option<Duration>, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        // A list, since one that is empty would count as none, and the event would be sent at once.
        #[serde(default, rename = "org.matrix.msc4140.delay")]
        delays: Vec<String>,
    }
    if call.parts.uri.query().is_none() {
        return Ok(None);
    }
    let Query { delays } = call.query()?;
    match delays.as_slice() {
        [] => Ok(None),
        [delay] => match delay.parse() {
            Ok(0) => Err(ApiError::invalid_param("The delay is not to be nothing")),
            Ok(delay_ms) => Ok(Some(Duration::from_millis(delay_ms))),
            Err(_) => Err(ApiError::invalid_param("The delay is a number of milliseconds")),
        },
        _ => Err(ApiError::invalid_param("There is to be one delay")),
    }
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`: sends a message event, or delays it.
pub(crate) async fn message(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let Some(delay) = asked_for(&call)? else { return send::message(api, call).await };
    let room_id: OwnedRoomId = call.args.get(0)?;
    let kind = TimelineEventType::from(call.args.get::<String>(1)?);
    let txn: String = call.args.get(2)?;
    let txn = Txn { device: call.caller.device_id.clone(), id: OwnedTransactionId::from(txn) };
    let sender = &call.caller.user_id;
    // A request that was served is known by its name, whatever comes with it now.
    if let Some(delay_id) = api.engine.find_delay(&room_id, sender, &kind, &txn).await? {
        return Ok(scheduled(&delay_id));
    }
    let content: Box<RawValue> = call.json()?;
    let redacts = if kind == TimelineEventType::RoomRedaction { redacted_by(&content)? } else { None };
    let draft = Draft { kind, state_key: None, content, sender: call.caller.user_id, redacts };

    let delay_id = api.engine.delay(&room_id, draft, delay, Some(&txn)).await.map_err(hide_room)?;

    Ok(scheduled(&delay_id))
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: sets a piece of state, or delays that.
pub(crate) async fn state(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let Some(delay) = asked_for(&call)? else { return send::state(api, call).await };
    let room_id: OwnedRoomId = call.args.get(0)?;
    let kind: String = call.args.get(1)?;
    zones::may_set(call.zone.as_ref(), &kind)?;
    let kind = TimelineEventType::from(kind);
    let state_key: String = call.args.get(2)?;
    let content: Box<RawValue> = call.json()?;
    let sender = call.caller.user_id;
    if kind == TimelineEventType::RoomMember && state_key == sender {
        api.accounts.refuse_other_name(&sender, &content, true).await?;
    }
    let draft = Draft { kind, state_key: Some(state_key), content, sender, redacts: None };

    let delay_id = api.engine.delay(&room_id, draft, delay, None).await.map_err(hide_room)?;

    Ok(scheduled(&delay_id))
}

fn scheduled(delay_id: &str) -> Response {
    json_response(StatusCode::OK, &json!({ "delay_id": delay_id }))
}

/// `GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events`: the caller's delayed events.
pub(crate) async fn all(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let events = api.engine.delayed_of(&call.caller.user_id).await?;
    let delayed_events = events.iter().map(Told::of).collect();
    Ok(json_response(StatusCode::OK, &AllTold { delayed_events }))
}

/// `GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}`: one of them.
pub(crate) async fn one(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let delay_id: String = call.args.get(0)?;
    let event = api.engine.delayed_event(&call.caller.user_id, &delay_id).await?;
    Ok(json_response(StatusCode::OK, &Told::of(&event)))
}

// No `json!`: it would read again what the client wrote, and panics over what it cannot.
#[derive(Serialize)]
struct AllTold<'a> {
    delayed_events: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    delay_id: &'a str,
    room_id: &'a RoomId,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    content: &'a RawValue,
    delay: u64,
    running_since: u64,
}

impl<'a> Told<'a> {
    fn of(event: &'a DelayedEvent) -> Self {
        Self {
            delay_id: &event.delay_id,
            room_id: &event.room_id,
            kind: &event.kind,
            state_key: event.state_key.as_deref(),
            content: &event.content,
            delay: u64::try_from(event.delay.as_millis()).unwrap_or(u64::MAX),
            running_since: event.running_since,
        }
    }
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}`, with what is to be done in the body.
pub(crate) async fn update(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Action {
        Cancel,
        Restart,
        Send,
    }
    #[derive(Deserialize)]
    struct Body {
        action: Action,
    }
    let Body { action } = call.json()?;
    match action {
        Action::Cancel => cancel(api, call).await,
        Action::Restart => restart(api, call).await,
        Action::Send => send_now(api, call).await,
    }
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/cancel`.
pub(crate) async fn cancel(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.engine.cancel_delayed(&call.args.get::<String>(0)?).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/restart`.
pub(crate) async fn restart(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.engine.restart_delayed(&call.args.get::<String>(0)?).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/send`.
pub(crate) async fn send_now(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    api.engine.send_delayed(&call.args.get::<String>(0)?).await.map_err(hide_room)?;
    Ok(json_response(StatusCode::OK, &json!({})))
}
