//! What this server speaks, and where it is.

use std::sync::Arc;

use ruma::{ServerName, api::client::discovery::get_supported_versions};
use serde_json::{Value, json};
use web::{ApiError, Call, Open, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, zones};

/// Clients ask for single versions, so every one is named.
const VERSIONS: [&str; 19] = [
    "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12",
    "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
];

/// Unstable names of what this server serves; clients that know the versions need none of them.
const UNSTABLE_FEATURES: [&str; 15] = [
    // Private read receipts.
    "org.matrix.msc2285.stable",
    // Types of rooms in the directory.
    "org.matrix.msc3827.stable",
    // Taking account data away.
    "org.matrix.msc3391",
    // Dehydrated devices.
    "org.matrix.msc3814",
    // Filtering /messages by relations.
    "org.matrix.msc3874",
    // Settings for a device that go with it.
    "org.matrix.msc3890",
    // Delayed events.
    "org.matrix.msc4140",
    // What carries calls.
    "org.matrix.msc4143",
    // Whose invites users take.
    "org.matrix.msc4155",
    "org.matrix.msc4380.stable",
    // Subscriptions to threads, and what sliding sync tells of them.
    "org.matrix.msc4306",
    "org.matrix.msc4308",
    // Sliding sync, in its simplified form.
    "org.matrix.simplified_msc3575",
    // Profile fields.
    "uk.tcpip.msc4133",
    "uk.tcpip.msc4133.stable",
];

/// `GET /_matrix/client/versions`: the versions of the specification that this server speaks.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions>
pub(crate) async fn versions(
    api: Arc<ClientApi>,
    _call: Call<get_supported_versions::Request, Option<User>>,
) -> Result<get_supported_versions::Response, ApiError> {
    let mut response = get_supported_versions::Response::new(VERSIONS.map(str::to_owned).to_vec());
    let own = UNSTABLE_FEATURES.map(str::to_owned);
    let all = own.into_iter().chain(api.config.unstable_features.iter().cloned());
    response.unstable_features = all.map(|feature| (feature, true)).collect();
    Ok(response)
}

/// `GET /.well-known/matrix/client`: where clients reach this authority, what carries its calls, and whether
/// they may encrypt.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient>; calls:
/// <https://github.com/matrix-org/matrix-spec-proposals/pull/4143>
pub(crate) async fn well_known(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    let base_url = api.config.base_urls.get(authority);
    let base_url = base_url.ok_or_else(|| ApiError::not_found("There is no discovery information here"))?;
    let mut told = json!({ "m.homeserver": { "base_url": base_url } });
    let transports = transports_of(&api, authority);
    if !transports.is_empty() {
        told["org.matrix.msc4143.rtc_foci"] = Value::Array(transports);
    }
    if let Some(encryption) = zones::told(call.zone.as_ref()) {
        told["io.element.e2ee"] = encryption;
    }
    Ok(json_response(StatusCode::OK, &told))
}

/// `GET /.well-known/matrix/support`: whom to turn to.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixsupport>
pub(crate) async fn support(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let support = api.config.support.get(call.face.server_name());
    let support =
        support.ok_or_else(|| ApiError::not_found("Nothing is published here of whom to turn to"))?;
    Ok(json_response(StatusCode::OK, support))
}

/// `GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports`: what carries the calls of this authority.
///
/// Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4143>
pub(crate) async fn rtc_transports(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let transports = transports_of(&api, call.face.server_name());
    Ok(json_response(StatusCode::OK, &json!({ "rtc_transports": transports })))
}

fn transports_of(api: &ClientApi, authority: &ServerName) -> Vec<Value> {
    let urls = api.config.livekit_urls.get(authority).into_iter();
    urls.map(|url| json!({ "type": "livekit", "livekit_service_url": url })).collect()
}
