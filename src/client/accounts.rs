//! The caller's own account: who it is, its password, its end.

use std::sync::Arc;

use ruma::{
    api::client::account::{request_openid_token, whoami},
    authentication::TokenType,
};
use serde_json::json;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, interactive::asked};

/// `GET /_matrix/client/v3/account/whoami`: whose token this is.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami>
pub(crate) async fn whoami(
    _api: Arc<ClientApi>,
    call: Call<whoami::v3::Request, User>,
) -> Result<whoami::v3::Response, ApiError> {
    let mut response = whoami::v3::Response::new(call.caller.user_id, call.caller.is_guest);
    // An application service need not act on a device.
    response.device_id = Some(call.caller.device_id).filter(|device| !device.as_str().is_empty());
    Ok(response)
}

/// `POST /_matrix/client/v3/account/password`: changes the caller's password, or that of whose address was proved.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>
pub(crate) async fn change_password(
    api: Arc<ClientApi>,
    call: RawCall<Option<User>>,
) -> Result<Response, ApiError> {
    let asked = asked(&call)?;
    let authority = call.face.server_name();
    match call.caller {
        Some(User { user_id, device_id, .. }) => {
            api.accounts.change_password(&user_id, &device_id, asked).await?;
        }
        // Who has forgotten it is logged in nowhere; an address is the proof.
        None if api.accounts.takes_emails(authority) => {
            api.accounts.reset_password(authority, asked).await?;
        }
        None => return Err(web::TokenError::Missing.into()),
    }

    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `POST /_matrix/client/v3/account/deactivate`: closes the caller's account for good.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>
pub(crate) async fn deactivate(
    api: Arc<ClientApi>,
    call: RawCall<Option<User>>,
) -> Result<Response, ApiError> {
    let asked = asked(&call)?;
    let caller = known(call.caller)?;
    match caller.service() {
        Some(service) => api.accounts.deactivate_for_service(service, &caller.user_id, asked).await?,
        None => api.accounts.deactivate(&caller.user_id, &caller.device_id, asked).await?,
    }

    Ok(json_response(StatusCode::OK, &json!({ "id_server_unbind_result": "no-support" })))
}

/// An account is closed by who is logged in to it.
fn known(caller: Option<User>) -> Result<User, ApiError> {
    caller.ok_or_else(|| web::TokenError::Missing.into())
}

/// `POST /_matrix/client/v3/user/{userId}/openid/request_token`: a token that proves to a third
/// party who the caller is.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridopenidrequest_token>
pub(crate) async fn request_openid_token(
    api: Arc<ClientApi>,
    call: Call<request_openid_token::v3::Request, User>,
) -> Result<request_openid_token::v3::Response, ApiError> {
    call.caller.must_be(&call.request.user_id)?;
    let token = api.accounts.request_openid_token(&call.caller.user_id).await?;
    Ok(request_openid_token::v3::Response::new(
        token.token,
        TokenType::Bearer,
        call.face.server_name().to_owned(),
        token.expires_in,
    ))
}
