//! The server itself.

use std::sync::Arc;

use serde_json::json;
use web::{ApiError, Open, RawCall, Response, StatusCode, json_response};

use crate::{AdminApi, Administrator};

/// `GET /_synapse/admin/v1/server_version`: which program this is, as other servers may ask as well. Tools ask before anybody
/// has signed in.
pub(crate) async fn server_version(api: Arc<AdminApi>, _call: RawCall<Open>) -> Result<Response, ApiError> {
    // Synapse told its interpreter's version once, and programs from then read it.
    let answer = json!({ "server_version": format!("Yakuba {}", api.version), "python_version": "" });
    Ok(json_response(StatusCode::OK, &answer))
}

/// `GET /_synapse/admin/v1/background_updates/status`: changes of stored data that go on behind everything. There are none:
/// data are brought up to date before a server serves.
pub(crate) async fn updates(
    _api: Arc<AdminApi>,
    _call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &json!({ "enabled": true, "current_updates": {} })))
}

/// `GET /_synapse/admin/v1/background_updates/enabled`: whether they go on.
pub(crate) async fn updates_enabled(
    _api: Arc<AdminApi>,
    _call: RawCall<Administrator>,
) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &json!({ "enabled": true })))
}
