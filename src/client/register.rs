//! Registration.

use std::sync::Arc;

use account::Registered;
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
        RegistrationKind::Guest => return register_guest(&api, &call).await,
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

    Ok(answer(&registered))
}

/// The same for a guest, who names nothing but his device and proves nothing.
async fn register_guest(api: &ClientApi, call: &RawCall<Option<Service>>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    struct Wish {
        initial_device_display_name: Option<String>,
    }
    let wish: Wish = if call.body.trim_ascii().is_empty() { Wish::default() } else { call.json()? };
    let (authority, agent) = (call.face.server_name(), call.user_agent());
    let name = wish.initial_device_display_name;
    let registered = api.accounts.register_guest(authority, name, call.address, agent.as_deref()).await?;
    Ok(answer(&registered))
}

fn answer(registered: &Registered) -> Response {
    let Registered { user_id, session } = registered;
    match session {
        Some((device_id, tokens)) => {
            json_response(StatusCode::OK, &SessionAnswer::new(user_id, device_id, tokens))
        }
        None => json_response(StatusCode::OK, &json!({ "user_id": user_id })),
    }
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
