//! `/_synapse/admin/v1/register`: registration by those who know the server's shared secret.
//!
//! Format: <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>

use std::sync::Arc;

use account::{Credentials, LogIn, SharedSecretRegister};
use serde::Deserialize;
use serde_json::json;
use web::{ApiError, Open, RawCall, Response, StatusCode, json_response};

use crate::ClientApi;

/// `GET /_synapse/admin/v1/register`: a nonce to sign.
pub(crate) async fn nonce(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    match api.accounts.shared_secret_nonce(call.face.server_name()) {
        Some(nonce) => Ok(json_response(StatusCode::OK, &json!({ "nonce": nonce }))),
        None => Err(ApiError::unrecognized()),
    }
}

#[derive(Deserialize)]
struct Body {
    nonce: String,
    username: String,
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: bool,
    user_type: Option<String>,
    mac: String,
}

/// `POST /_synapse/admin/v1/register`: makes an account and logs in to it.
pub(crate) async fn register(api: Arc<ClientApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    let body: Body = call.json()?;
    let request = SharedSecretRegister {
        nonce: body.nonce,
        username: body.username,
        displayname: body.displayname,
        password: body.password.clone(),
        admin: body.admin,
        user_type: body.user_type,
        mac: body.mac,
        from: call.address,
    };
    let user_id = api.accounts.register_with_shared_secret(authority, request).await?;

    let credentials = Credentials::NameAndPassword { name: user_id.to_string(), password: body.password };
    let log_in = LogIn {
        credentials,
        device_id: None,
        device_name: None,
        refresh: false,
        from: call.address,
        agent: call.user_agent(),
    };
    let (user_id, device_id, tokens) = api.accounts.log_in(authority, log_in).await?;

    let answer = json!({
        "access_token": tokens.access,
        "user_id": user_id,
        "home_server": authority,
        "device_id": device_id,
    });
    Ok(json_response(StatusCode::OK, &answer))
}
