//! Devices of users.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html#user-devices>

use std::{collections::HashSet, sync::Arc};

use account::DeviceInfo;
use base::Timestamp;
use ruma::{OwnedDeviceId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{
    AdminApi, Administrator,
    own::{user_in, word_in},
};

fn told(user: &UserId, device: &DeviceInfo) -> Value {
    json!({
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ip": device.last_seen_ip,
        "last_seen_ts": device.last_seen.map(Timestamp::millis),
        // It is not kept.
        "last_seen_user_agent": null,
        "user_id": user,
        "dehydrated": false,
    })
}

/// `GET /_synapse/admin/v2/users/{user}/devices`
pub(crate) async fn list(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    api.account(&user).await?;
    api.note_reading_of(&call, &user).await?;
    let devices = api.accounts.devices(&user).await?;
    let devices: Vec<Value> = devices.iter().map(|device| told(&user, device)).collect();
    let total = devices.len();
    Ok(json_response(StatusCode::OK, &json!({ "devices": devices, "total": total })))
}

/// `GET /_synapse/admin/v2/users/{user}/devices/{device}`
pub(crate) async fn get(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let user = user_in(&call, 0)?;
    let device: OwnedDeviceId = device_in(&call)?;
    api.account(&user).await?;
    let device = api.accounts.device(&user, &device).await?;
    api.note_reading_of(&call, &user).await?;
    Ok(json_response(StatusCode::OK, &told(&user, &device)))
}

/// `PUT /_synapse/admin/v2/users/{user}/devices/{device}`: names a device.
pub(crate) async fn rename(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        display_name: Option<String>,
    }
    let user = user_in(&call, 0)?;
    let device: OwnedDeviceId = device_in(&call)?;
    let Body { display_name } = call.json()?;
    api.account(&user).await?;
    let known = api.accounts.device(&user, &device).await?;
    if display_name.is_some() && display_name != known.display_name {
        let by = call.caller.actor(call.address);
        api.accounts.rename_device_of(&user, &device, display_name, &by).await?;
    }
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `DELETE /_synapse/admin/v2/users/{user}/devices/{device}`: ends a session.
pub(crate) async fn remove(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let device: OwnedDeviceId = device_in(&call)?;
    end(api, &call, HashSet::from([device.to_string()])).await
}

/// `POST /_synapse/admin/v2/users/{user}/delete_devices`: ends sessions.
pub(crate) async fn remove_many(
    api: Arc<AdminApi>,
    call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        devices: HashSet<String>,
    }
    let Body { devices } = call.json()?;
    end(api, &call, devices).await
}

async fn end(
    api: Arc<AdminApi>,
    call: &RawCall<Administrator>,
    devices: HashSet<String>,
) -> Result<Response, ApiError> {
    let user = user_in(call, 0)?;
    api.account(&user).await?;
    api.accounts.remove_devices_of(&user, &devices, &call.caller.actor(call.address)).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

fn device_in(call: &RawCall<Administrator>) -> Result<OwnedDeviceId, ApiError> {
    let device = word_in(call, 1)?;
    Ok(device.into())
}
