//! Registration.

use std::sync::Arc;

use ruma::api::client::account::{
    check_registration_token_validity, get_username_availability, register::RegistrationKind,
};
use serde::Deserialize;
use serde_json::json;
use web::{ApiError, Call, Open, RawCall, Response, Service, StatusCode, json_response};

use crate::{
    ClientApi,
    interactive::asked,
    login::{SessionAnswer, by_service},
};

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    kind: RegistrationKind,
}

/// `POST /_matrix/client/v3/register`: registers a user, or one of an application service.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>
pub(crate) async fn register(
    api: Arc<ClientApi>,
    call: RawCall<Option<Service>>,
) -> Result<Response, ApiError> {
    let Query { kind } = call.query()?;
    match kind {
        RegistrationKind::User => {}
        RegistrationKind::Guest => return Err(guests_are_not_served()),
        _ => return Err(ApiError::invalid_param("There is no such kind of account")),
    }
    let mut asked = asked(&call)?;
    let is_for_service =
        asked.request.remove("type").is_some_and(|kind| kind == "m.login.application_service");

    let registered = if is_for_service {
        api.accounts.register_for_service(by_service(&call)?, asked).await?
    } else {
        api.accounts.register(call.face.server_name(), asked).await?
    };

    let Some((device_id, tokens)) = registered.session else {
        return Ok(json_response(StatusCode::OK, &json!({ "user_id": registered.user_id })));
    };
    Ok(json_response(StatusCode::OK, &SessionAnswer::new(&registered.user_id, &device_id, &tokens)))
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
