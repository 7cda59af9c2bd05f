//! What clients learn of an authorization server.

use std::sync::Arc;

use serde_json::json;
use web::{ApiError, HeaderValue, Open, RawCall, Response, StatusCode, header, json_response};

use super::{
    account::ACTIONS,
    api::{ACCOUNT, AUTHORIZE, DEVICE, OAuthApi, REGISTER, REVOKE, TOKEN},
};

/// `GET /_matrix/client/v1/auth_metadata`: where to register, to ask for consent and to get tokens.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1auth_metadata>
pub(crate) async fn metadata(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    let base = api.base_url(authority)?;
    let at = |path: &str| format!("{base}{path}");
    let mut told = json!({
        "issuer": api.issuer(authority)?,
        "authorization_endpoint": at(AUTHORIZE),
        "token_endpoint": at(TOKEN),
        "revocation_endpoint": at(REVOKE),
        "registration_endpoint": at(REGISTER),
        "device_authorization_endpoint": at(DEVICE),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment"],
        "grant_types_supported": [
            "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": ["urn:matrix:client:api:*", "urn:synapse:admin:*"],
        "authorization_response_iss_parameter_supported": true,
        "ui_locales_supported": ["ja", "en"],
        "account_management_uri": at(ACCOUNT),
        "account_management_actions_supported": ACTIONS.map(|(name, _)| name),
    });
    if api.lets_register(authority) {
        told["prompt_values_supported"] = json!(["create"]);
    }
    let mut response = json_response(StatusCode::OK, &told);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=600"));
    Ok(response)
}
