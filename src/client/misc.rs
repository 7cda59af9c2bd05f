//! Endpoints that have a short true answer.

use std::sync::Arc;

use ruma::api::client::{
    reporting::report_user,
    room::{report_content, report_room},
};
use serde_json::json;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, api::viewer};

/// `GET /_matrix/client/v3/voip/turnServer`: the relays for calls; there is none.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver>
pub(crate) async fn turn_server(_api: Arc<ClientApi>, _call: RawCall<User>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}`: tells the administrators of an event.
///
/// Whoever may not see the event is answered as if there were none.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreporteventid>
pub(crate) async fn report_event(
    api: Arc<ClientApi>,
    call: Call<report_content::v3::Request, User>,
) -> Result<report_content::v3::Response, ApiError> {
    let report_content::v3::Request { room_id, event_id, reason, .. } = call.request;
    let user = &call.caller.user_id;
    let hidden = || ApiError::not_found("There is no such event, or you may not see it");
    if !api.rooms.is_joined(user, &room_id).await? {
        return Err(hidden());
    }
    let seen = api.rooms.event_for(&viewer(&call.caller), &room_id, &event_id).await;
    let seen = seen.map_err(|error| match error {
        room::Error::NotJoined { .. } | room::Error::NoRoom(_) | room::Error::NoEvent(_) => hidden(),
        // Whoever reports is not to be told that there is nothing where we could not look.
        error => ApiError::from(error),
    })?;
    api.accounts.report_event(user, (&room_id, &event_id, seen.event.sender()), reason.as_deref()).await?;
    tracing::warn!(user_id = %user, room_id = %room_id, event_id = %event_id, "an event was reported");
    Ok(report_content::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/report`: tells the administrators of a room.
///
/// The answer is the same whether the room exists or not.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreport>
pub(crate) async fn report_room(
    api: Arc<ClientApi>,
    call: Call<report_room::v3::Request, User>,
) -> Result<report_room::v3::Response, ApiError> {
    let room_id = &call.request.room_id;
    let is_known = api.rooms.room(room_id).await?.is_some();
    tracing::warn!(user_id = %call.caller.user_id, room_id = %room_id, is_known, "a room was reported");
    Ok(report_room::v3::Response::new())
}

/// `POST /_matrix/client/v3/users/{userId}/report`: tells the administrators of a user.
///
/// The answer is the same whether the user exists or not.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3usersuseridreport>
pub(crate) async fn report_user(
    api: Arc<ClientApi>,
    call: Call<report_user::v3::Request, User>,
) -> Result<report_user::v3::Response, ApiError> {
    let reported = &call.request.user_id;
    let is_known = !api.is_ours(reported) || api.accounts.find_user(reported).await?.is_some();
    tracing::warn!(user_id = %call.caller.user_id, reported = %reported, is_known, "a user was reported");
    Ok(report_user::v3::Response::new())
}
