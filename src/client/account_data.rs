//! Account data, global and of rooms.

use std::sync::Arc;

use bytes::Bytes;
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::client::config::{
        get_global_account_data, get_room_account_data, set_global_account_data, set_room_account_data,
    },
    serde::Raw,
};
use serde_json::{json, value::RawValue};
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// `PUT /_matrix/client/v3/user/{userId}/account_data/{type}`: sets the caller's account data.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridaccount_datatype>
pub(crate) async fn set(
    api: Arc<ClientApi>,
    call: Call<set_global_account_data::v3::Request, User>,
) -> Result<set_global_account_data::v3::Response, ApiError> {
    let set_global_account_data::v3::Request { user_id, event_type, data, .. } = call.request;
    call.caller.must_be(&user_id)?;
    api.accounts.set_account_data(&user_id, &event_type.to_string(), bytes_of(data)).await?;
    Ok(set_global_account_data::v3::Response::new())
}

/// `GET /_matrix/client/v3/user/{userId}/account_data/{type}`: the caller's account data of a type.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridaccount_datatype>
pub(crate) async fn get(
    api: Arc<ClientApi>,
    call: Call<get_global_account_data::v3::Request, User>,
) -> Result<get_global_account_data::v3::Response, ApiError> {
    let get_global_account_data::v3::Request { user_id, event_type, .. } = call.request;
    call.caller.must_be(&user_id)?;
    let content = api.accounts.account_data(&user_id, &event_type.to_string()).await?;
    Ok(get_global_account_data::v3::Response::new(raw(&content)?))
}

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`: sets the caller's
/// account data of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype>
pub(crate) async fn set_of_room(
    api: Arc<ClientApi>,
    call: Call<set_room_account_data::v3::Request, User>,
) -> Result<set_room_account_data::v3::Response, ApiError> {
    let set_room_account_data::v3::Request { user_id, room_id, event_type, data, .. } = call.request;
    call.caller.must_be(&user_id)?;
    let accounts = &api.accounts;
    accounts.set_room_account_data(&user_id, &room_id, &event_type.to_string(), bytes_of(data)).await?;
    Ok(set_room_account_data::v3::Response::new())
}

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`: the caller's account
/// data of a room, of a type.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidaccount_datatype>
pub(crate) async fn get_of_room(
    api: Arc<ClientApi>,
    call: Call<get_room_account_data::v3::Request, User>,
) -> Result<get_room_account_data::v3::Response, ApiError> {
    let get_room_account_data::v3::Request { user_id, room_id, event_type, .. } = call.request;
    call.caller.must_be(&user_id)?;
    let content = api.accounts.room_account_data(&user_id, &room_id, &event_type.to_string()).await?;
    Ok(get_room_account_data::v3::Response::new(raw(&content)?))
}

/// `DELETE /_matrix/client/unstable/org.matrix.msc3391/user/{userId}/account_data/{type}`: takes the caller's account
/// data away.
///
/// Source: <https://github.com/matrix-org/matrix-spec-proposals/pull/3391>
pub(crate) async fn remove(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let (user, kind): (OwnedUserId, String) = (call.args.get(0)?, call.args.get(1)?);
    call.caller.must_be(&user)?;
    api.accounts.remove_account_data(&user, &kind).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `DELETE /_matrix/client/unstable/org.matrix.msc3391/user/{userId}/rooms/{roomId}/account_data/{type}`: takes the
/// caller's account data of a room away.
///
/// Source: <https://github.com/matrix-org/matrix-spec-proposals/pull/3391>
pub(crate) async fn remove_of_room(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    call.caller.must_be(&user)?;
    let (room, kind): (OwnedRoomId, String) = (call.args.get(1)?, call.args.get(2)?);
    api.accounts.remove_room_account_data(&user, &room, &kind).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

fn bytes_of<T>(data: Raw<T>) -> Bytes {
    Bytes::from(String::from(Box::<str>::from(data.into_json())))
}

/// Stored JSON as it goes into an answer.
pub(crate) fn raw<T>(json: &[u8]) -> Result<Raw<T>, ApiError> {
    let json: Box<RawValue> = serde_json::from_slice(json).map_err(ApiError::internal)?;
    Ok(Raw::from_json(json))
}
