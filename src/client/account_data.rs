//! Account data, global and of rooms.

use std::sync::Arc;

use bytes::Bytes;
use ruma::{
    api::client::config::{
        get_global_account_data, get_room_account_data, set_global_account_data, set_room_account_data,
    },
    serde::Raw,
};
use serde_json::value::RawValue;
use web::{ApiError, Call, User};

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

fn bytes_of<T>(data: Raw<T>) -> Bytes {
    Bytes::from(String::from(Box::<str>::from(data.into_json())))
}

/// Stored JSON as it goes into an answer.
pub(crate) fn raw<T>(json: &[u8]) -> Result<Raw<T>, ApiError> {
    let json: Box<RawValue> = serde_json::from_slice(json).map_err(ApiError::internal)?;
    Ok(Raw::from_json(json))
}
