//! Registration.

use std::sync::Arc;

use account::Register;
use ruma::api::client::account::{
    check_registration_token_validity, get_username_availability,
    register::{self, LoginType, RegistrationKind},
};
use web::{ApiError, Call, Open, StatusCode};

use crate::ClientApi;

/// `POST /_matrix/client/v3/register`: registers a user.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>
pub(crate) async fn register(
    api: Arc<ClientApi>,
    call: Call<register::v3::Request, Open>,
) -> Result<register::v3::Response, ApiError> {
    let request = call.request;
    if request.kind == RegistrationKind::Guest {
        return Err(guests_are_not_served());
    }
    if let Some(LoginType::ApplicationService) = request.login_type {
        return Err(ApiError::forbidden("No application service is registered here"));
    }
    let wish = Register {
        username: request.username,
        password: request.password,
        device_id: request.device_id,
        device_name: request.initial_device_display_name,
        inhibit_login: request.inhibit_login,
        refresh: request.refresh_token,
    };

    let registered = api.accounts.register(call.face.server_name(), wish, request.auth.as_ref()).await?;

    let mut response = register::v3::Response::new(registered.user_id);
    if let Some((device_id, tokens)) = registered.session {
        response.device_id = Some(device_id);
        response.access_token = Some(tokens.access);
        response.refresh_token = tokens.refresh;
        response.expires_in = tokens.expires_in;
    }
    Ok(response)
}

fn guests_are_not_served() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", "Guests are not served here")
}

/// `GET /_matrix/client/v3/register/available`: whether a user name can be had.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable>
pub(crate) async fn username_available(
    api: Arc<ClientApi>,
    call: Call<get_username_availability::v3::Request, Open>,
) -> Result<get_username_availability::v3::Response, ApiError> {
    api.accounts.check_available(call.face.server_name(), &call.request.username).await?;
    Ok(get_username_availability::v3::Response::new(true))
}

/// `GET /_matrix/client/v1/register/m.login.registration_token/validity`: whether a token would do.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity>
pub(crate) async fn registration_token_validity(
    api: Arc<ClientApi>,
    call: Call<check_registration_token_validity::v1::Request, Open>,
) -> Result<check_registration_token_validity::v1::Response, ApiError> {
    let authority = call.face.server_name();
    let valid = api.accounts.registration_token_is_valid(authority, &call.request.token).await?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}
