//! Tags of rooms.

use std::{collections::BTreeMap, sync::Arc};

use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{json, value::RawValue};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: tags a room for the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag>
pub(crate) async fn create_tag(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let (user, room, tag) = own_tag(&call)?;
    let details: Box<RawValue> = call.json()?;

    api.accounts.set_room_tag(&user, &room, &tag, &details).await?;

    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: takes a tag off a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag>
pub(crate) async fn delete_tag(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let (user, room, tag) = own_tag(&call)?;

    api.accounts.remove_room_tag(&user, &room, &tag).await?;

    Ok(json_response(StatusCode::OK, &json!({})))
}

/// The caller, the room and the tag of a request.
fn own_tag(call: &RawCall<User>) -> Result<(OwnedUserId, OwnedRoomId, String), ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    call.caller.must_be(&user)?;
    Ok((user, call.args.get(1)?, call.args.get(2)?))
}

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`: the caller's tags of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidtags>
pub(crate) async fn get_tags(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    call.caller.must_be(&user)?;
    let room: OwnedRoomId = call.args.get(1)?;

    let tags = api.accounts.room_tags(&user, &room).await?;

    Ok(json_response(StatusCode::OK, &BTreeMap::from([("tags", tags)])))
}
