//! The caller's devices.

use std::{collections::HashSet, sync::Arc};

use account::DeviceInfo;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, UInt,
    api::client::device::{Device, get_device, get_devices},
};
use serde::Deserialize;
use serde_json::json;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, interactive::asked};

/// `GET /_matrix/client/v3/devices`: all devices of the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devices>
pub(crate) async fn devices(
    api: Arc<ClientApi>,
    call: Call<get_devices::v3::Request, User>,
) -> Result<get_devices::v3::Response, ApiError> {
    let devices = api.accounts.devices(&call.caller.user_id).await?;
    Ok(get_devices::v3::Response::new(devices.into_iter().map(shown).collect()))
}

/// `GET /_matrix/client/v3/devices/{deviceId}`: one device of the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devicesdeviceid>
pub(crate) async fn device(
    api: Arc<ClientApi>,
    call: Call<get_device::v3::Request, User>,
) -> Result<get_device::v3::Response, ApiError> {
    let device = api.accounts.device(&call.caller.user_id, &call.request.device_id).await?;
    Ok(get_device::v3::Response::new(shown(device)))
}

/// `PUT /_matrix/client/v3/devices/{deviceId}`: renames a device of the caller; an application service makes one so.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3devicesdeviceid>,
/// <https://spec.matrix.org/v1.19/application-service-api/#device-management>
pub(crate) async fn rename(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    struct Body {
        display_name: Option<String>,
    }
    let device: OwnedDeviceId = call.args.get::<String>(0)?.into();
    let Body { display_name } = if call.body.is_empty() { Body::default() } else { call.json()? };
    let user = &call.caller.user_id;
    let is_new = match call.caller.service() {
        Some(service) => {
            let accounts = &api.accounts;
            accounts.put_device_for_service(service, user, &device, display_name, call.address).await?
        }
        None => {
            api.accounts.rename_device(user, &device, display_name).await?;
            false
        }
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_response(status, &json!({})))
}

/// `DELETE /_matrix/client/v3/devices/{deviceId}`: removes a device of the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3devicesdeviceid>
pub(crate) async fn remove(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let device: OwnedDeviceId = call.args.get::<String>(0)?.into();
    let asked = asked(&call)?;
    if let Some(service) = call.caller.service() {
        let (user, gone) = (&call.caller.user_id, [device.to_string()].into());
        api.accounts.remove_devices_for_service(service, user, &gone, call.address).await?;
        return Ok(json_response(StatusCode::OK, &json!({})));
    }
    let User { user_id, device_id: own, .. } = call.caller;

    api.accounts.remove_device(&user_id, &own, &device, asked).await?;

    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `POST /_matrix/client/v3/delete_devices`: removes several devices of the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3delete_devices>
pub(crate) async fn remove_many(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        devices: HashSet<String>,
    }
    if let Some(service) = call.caller.service() {
        let Body { devices } = call.json()?;
        let user = &call.caller.user_id;
        api.accounts.remove_devices_for_service(service, user, &devices, call.address).await?;
        return Ok(json_response(StatusCode::OK, &json!({})));
    }
    let asked = asked(&call)?;
    let User { user_id, device_id: own, .. } = call.caller;

    api.accounts.remove_devices(&user_id, &own, asked).await?;

    Ok(json_response(StatusCode::OK, &json!({})))
}

fn shown(device: DeviceInfo) -> Device {
    let mut shown = Device::new(device.device_id);
    shown.display_name = device.display_name;
    shown.last_seen_ip = device.last_seen_ip;
    shown.last_seen_ts =
        device.last_seen.and_then(|seen| UInt::try_from(seen.millis()).ok()).map(MilliSecondsSinceUnixEpoch);
    shown
}
