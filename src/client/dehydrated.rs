//! Dehydrated devices (MSC3814).
//!
//! MSC3814: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use std::sync::Arc;

use encryption::{Dehydrating, KeyUpload};
use ruma::OwnedDeviceId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// Messages in one answer, if the client does not say.
const PAGE: usize = 100;

/// `PUT …/org.matrix.msc3814.v1/dehydrated_device`: leaves a device with the server, in place of the one before. No proof is
/// asked for: what receives messages by it is what the user's cross-signing keys vouch for.
pub(crate) async fn put(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        device_id: OwnedDeviceId,
        device_data: Value,
        initial_device_display_name: Option<String>,
        device_keys: Option<Value>,
        one_time_keys: Option<Map<String, Value>>,
        fallback_keys: Option<Map<String, Value>>,
    }
    let body: Body = call.json()?;
    let asked = Dehydrating {
        device_id: body.device_id.clone(),
        name: body.initial_device_display_name,
        data: body.device_data,
        keys: KeyUpload {
            device_keys: body.device_keys,
            one_time_keys: body.one_time_keys.unwrap_or_default(),
            fallback_keys: body.fallback_keys.unwrap_or_default(),
        },
    };
    let User { user_id, device_id, .. } = &call.caller;
    api.encryption.dehydrate(user_id, device_id, asked).await?;
    Ok(json_response(StatusCode::OK, &json!({ "device_id": body.device_id })))
}

/// `GET …/org.matrix.msc3814.v1/dehydrated_device`: the device that was left.
pub(crate) async fn get(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Answer {
        device_id: OwnedDeviceId,
        device_data: Box<RawValue>,
    }
    let found = api.encryption.dehydrated(&call.caller.user_id).await?;
    let (device_id, device_data) = found.ok_or_else(none)?;
    Ok(json_response(StatusCode::OK, &Answer { device_id, device_data }))
}

/// `DELETE …/org.matrix.msc3814.v1/dehydrated_device`: removes it.
pub(crate) async fn remove(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let device = api.encryption.end_dehydrated(&call.caller.user_id).await?.ok_or_else(none)?;
    Ok(json_response(StatusCode::OK, &json!({ "device_id": device })))
}

/// `GET …/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events`: what was sent to it.
pub(crate) async fn events(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        from: Option<String>,
        limit: Option<usize>,
    }
    let Query { from, limit } = call.query()?;
    told(&api, &call, from, limit, false).await
}

/// `POST …/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events`: the same as an older draft has it, and clients of today
/// ask. There is always a token, and the end is an answer without events.
pub(crate) async fn events_by_post(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        next_batch: Option<String>,
    }
    let Body { next_batch } = call.json()?;
    told(&api, &call, next_batch, None, true).await
}

async fn told(
    api: &ClientApi,
    call: &RawCall<User>,
    from: Option<String>,
    limit: Option<usize>,
    always_goes_on: bool,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Event<'a> {
        sender: &'a str,
        r#type: &'a str,
        content: &'a RawValue,
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        events: Vec<Event<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_batch: Option<String>,
    }
    let device: OwnedDeviceId = call.args.get::<String>(0)?.into();
    let user = &call.caller.user_id;
    if api.accounts.dehydrated_device(user).await?.as_ref() != Some(&device) {
        return Err(ApiError::forbidden("This is not your dehydrated device"));
    }
    let waiting = api.to_device.waiting(user, &device, from.as_deref(), limit.unwrap_or(PAGE)).await?;
    let mut events = Vec::with_capacity(waiting.messages.len());
    for message in &waiting.messages {
        let content = serde_json::from_slice(&message.content).map_err(ApiError::internal)?;
        events.push(Event { sender: &message.sender, r#type: &message.kind, content });
    }
    let next = (always_goes_on || waiting.has_more).then_some(waiting.next);
    Ok(json_response(StatusCode::OK, &Answer { events, next_batch: next }))
}

fn none() -> ApiError {
    ApiError::not_found("There is no dehydrated device")
}
