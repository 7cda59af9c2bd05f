//! Profiles of users, ours and others'.

use std::{collections::BTreeMap, sync::Arc};

use ruma::{OwnedUserId, ServerName, UserId};
use serde_json::{Map, Value, json};
use web::{ApiError, Open, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// Fields that the empty string takes away.
const TAKEN_BY_NOTHING: [&str; 2] = ["displayname", "avatar_url"];

/// `GET /_matrix/client/v3/profile/{userId}`: all fields of a profile. Open to strangers, also for users
/// of other servers, as the specification has it; the limit by address holds them.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid>
pub(crate) async fn get(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    may_look_up(&api, &user)?;
    if !api.is_ours(&user) {
        let profile = ask_elsewhere(&api, call.face.server_name(), &user, None).await?;
        return Ok(json_response(StatusCode::OK, &profile));
    }
    let profile = api.accounts.profile(&user).await?;
    if profile.0.is_empty() {
        return Err(ApiError::not_found("The profile has no fields"));
    }
    Ok(json_response(StatusCode::OK, &profile.0))
}

/// `GET /_matrix/client/v3/profile/{userId}/{keyName}`: one field of a profile.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuseridkeyname>
pub(crate) async fn get_field(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    let field: String = call.args.get(1)?;
    may_look_up(&api, &user)?;
    if !api.is_ours(&user) {
        let found = ask_elsewhere(&api, call.face.server_name(), &user, Some(&field)).await?;
        return match found.get(&field) {
            Some(value) => Ok(json_response(StatusCode::OK, &json!({ field: value }))),
            None => Err(absent()),
        };
    }
    let profile = api.accounts.profile(&user).await?;
    match profile.0.get(&field) {
        Some(value) => Ok(json_response(StatusCode::OK, &BTreeMap::from([(field, value)]))),
        None => Err(absent()),
    }
}

/// The question does not say who asks.
fn may_look_up(api: &ClientApi, user: &UserId) -> Result<(), ApiError> {
    Ok(api.rooms.policy().look_up(None, user.server_name()).map_err(room::Error::from)?)
}

fn absent() -> ApiError {
    ApiError::not_found("The profile has no such field")
}

async fn ask_elsewhere(
    api: &ClientApi,
    from: &ServerName,
    user: &UserId,
    field: Option<&str>,
) -> Result<Map<String, Value>, ApiError> {
    Ok(api.elsewhere.profile(from, user, field).await.map_err(room::Error::from)?)
}

/// `PUT /_matrix/client/v3/profile/{userId}/{keyName}`: sets a field of the caller's profile.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname>
pub(crate) async fn set_field(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    let field: String = call.args.get(1)?;
    call.caller.must_be(&user)?;
    if call.caller.is_guest && field != "displayname" {
        return Err(ApiError::guest_forbidden("Guests may change their name alone"));
    }
    let mut body: Map<String, Value> = call.json()?;
    let value = body.remove(&field);
    let value = value.ok_or_else(|| ApiError::missing_param(format!("`{field}` is missing in the body")))?;

    match value {
        // Long before fields could be deleted, null and the empty string took them away.
        Value::Null => api.accounts.remove_profile_field(&user, &field).await?,
        Value::String(text) if text.is_empty() && TAKEN_BY_NOTHING.contains(&field.as_str()) => {
            api.accounts.remove_profile_field(&user, &field).await?;
        }
        value => {
            let value = serde_json::value::to_raw_value(&value).map_err(ApiError::internal)?;
            api.accounts.set_profile_field(&user, &field, &value).await?;
        }
    }
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`: removes a field of the caller's profile.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3profileuseridkeyname>
pub(crate) async fn delete_field(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let user: OwnedUserId = call.args.get(0)?;
    let field: String = call.args.get(1)?;
    call.caller.must_be(&user)?;
    api.accounts.remove_profile_field(&user, &field).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}
