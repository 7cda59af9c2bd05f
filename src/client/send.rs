//! Saying something in a room.
//!
//! Content is taken as it was sent: it is not read into types and written again, so the hot path
//! of a message parses its JSON once, where the event is built.

use std::sync::Arc;

use engine::Txn;
use pdu::Draft;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedTransactionId, RoomId, api::client::redact::redact_event,
    events::TimelineEventType,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, api::viewer, zones};

/// `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`: sends a message event.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>
pub(crate) async fn message(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let kind: String = call.args.get(1)?;
    let txn: String = call.args.get(2)?;
    let at = claimed_time(&call)?;
    let content: Box<RawValue> = call.json()?;
    let User { user_id, device_id, .. } = call.caller;

    let txn = Txn { device: device_id, id: OwnedTransactionId::from(txn) };
    let redacts = if kind == "m.room.redaction" { redacted_by(&content)? } else { None };
    let draft = Draft { kind: kind.into(), state_key: None, content, sender: user_id, redacts };

    api.accounts.presence().act(&draft.sender);

    let event_id = api.engine.send_at(&room_id, draft, Some(&txn), at).await.map_err(hide_room)?;

    Ok(answer(&event_id))
}

/// Largest time that an event can claim: larger integers are none in all events.
const LATEST_TIME: u64 = (1 << 53) - 1;

/// The time that the event is to claim, which an application service may say; what others say of it counts for nothing.
///
/// Spec: <https://spec.matrix.org/v1.19/application-service-api/#timestamp-massaging>
fn claimed_time(call: &RawCall<User>) -> Result<Option<u64>, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        ts: Option<u64>,
    }
    if call.caller.service().is_none() {
        return Ok(None);
    }
    let Query { ts } = call.query()?;
    match ts {
        Some(ts) if ts > LATEST_TIME => Err(ApiError::invalid_param("`ts` is later than an event can be")),
        ts => Ok(ts),
    }
}

/// What a redaction that is sent as a plain event redacts.
pub(crate) fn redacted_by(content: &RawValue) -> Result<Option<OwnedEventId>, ApiError> {
    #[derive(Deserialize)]
    struct Content {
        redacts: Option<OwnedEventId>,
    }
    let content: Content = serde_json::from_str(content.get())
        .map_err(|_| ApiError::bad_json("`redacts` is to be an event id"))?;
    Ok(content.redacts)
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: sets a piece of state.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>
pub(crate) async fn state(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let kind: String = call.args.get(1)?;
    let state_key: String = call.args.get(2)?;
    zones::may_set(call.zone.as_ref(), &kind)?;
    let at = claimed_time(&call)?;
    let content: Box<RawValue> = call.json()?;
    let sender = call.caller.user_id;
    if kind == "m.room.member" && state_key == sender {
        api.accounts.refuse_other_name(&sender, &content, false).await?;
    }
    let draft = Draft { kind: kind.into(), state_key: Some(state_key), content, sender, redacts: None };

    api.accounts.presence().act(&draft.sender);

    let event_id = api.engine.send_at(&room_id, draft, None, at).await.map_err(hide_room)?;

    Ok(answer(&event_id))
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`: takes the content of an event away.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>
pub(crate) async fn redact(
    api: Arc<ClientApi>,
    call: Call<redact_event::v3::Request, User>,
) -> Result<redact_event::v3::Response, ApiError> {
    let redact_event::v3::Request { room_id, event_id, txn_id, reason, .. } = call.request;
    if call.caller.is_suspended {
        must_be_own(&api, &call.caller, &room_id, &event_id).await?;
    }
    let User { user_id, device_id, .. } = call.caller;
    let content = match reason {
        Some(reason) => json!({ "reason": reason }),
        None => json!({}),
    };
    let draft = Draft {
        kind: TimelineEventType::RoomRedaction,
        state_key: None,
        content: serde_json::value::to_raw_value(&content).map_err(ApiError::internal)?,
        sender: user_id,
        redacts: Some(event_id),
    };
    let txn = Txn { device: device_id, id: txn_id };

    api.accounts.presence().act(&draft.sender);

    let event_id = api.engine.send(&room_id, draft, Some(&txn)).await.map_err(hide_room)?;

    Ok(redact_event::v3::Response::new(event_id))
}

/// Whoever is suspended may take back what he said himself. What he may not see he did not say.
async fn must_be_own(
    api: &ClientApi,
    caller: &User,
    room_id: &RoomId,
    event_id: &EventId,
) -> Result<(), ApiError> {
    match api.rooms.event_for(&viewer(caller), room_id, event_id).await {
        Ok(look) if look.event.sender() == caller.user_id => Ok(()),
        Ok(_) | Err(room::Error::NoEvent(_) | room::Error::NoRoom(_)) => Err(ApiError::suspended()),
        Err(error) => Err(hide_room(error)),
    }
}

fn answer(event_id: &EventId) -> Response {
    json_response(StatusCode::OK, &json!({ "event_id": event_id }))
}

/// To somebody who is not in it, a room that we do not know and one that is closed look the same.
pub(crate) fn hide_room(error: room::Error) -> ApiError {
    match error {
        room::Error::NoRoom(_) => ApiError::forbidden("You are not in this room"),
        error => error.into(),
    }
}
