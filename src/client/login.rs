//! Logging in and out, and staying logged in.

use std::sync::Arc;

use account::{AppService, Credentials, LogIn, NewSession, SessionTokens};
use ruma::{
    DeviceId, OwnedDeviceId, UserId,
    api::client::{
        session::{
            get_login_types::{
                self,
                v3::{LoginType, TokenLoginType},
            },
            logout, logout_all, refresh_token,
        },
        uiaa::UserIdentifier,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use web::{ApiError, Call, Open, RawCall, Response, Service, StatusCode, TokenError, User, json_response};

use crate::{ClientApi, api::actor, interactive::asked};

/// `GET /_matrix/client/v3/login`: the ways to log in.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login>
pub(crate) async fn login_types(
    api: Arc<ClientApi>,
    call: Call<get_login_types::v3::Request, Open>,
) -> Result<get_login_types::v3::Response, ApiError> {
    let mut by_token = TokenLoginType::default();
    by_token.get_login_token = true;
    let authority = call.face.server_name();
    let mut flows = vec![LoginType::Token(by_token)];
    if api.accounts.settings(authority).passwords {
        flows.insert(0, LoginType::Password(Default::default()));
    }
    if api.config.sign_in_pages.contains(authority) || api.config.providers.contains(authority) {
        flows.push(LoginType::Sso(Default::default()));
    }
    if !api.accounts.settings(call.face.server_name()).services.is_empty() {
        flows.push(LoginType::ApplicationService(Default::default()));
    }
    Ok(get_login_types::v3::Response::new(flows))
}

/// The body of a log-in. Read here and not by ruma, whose type panics without a `type`.
#[derive(Deserialize)]
struct LoginBody {
    #[serde(rename = "type")]
    kind: String,
    identifier: Option<UserIdentifier>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

/// A new session, as log-in and registration answer.
#[derive(Serialize)]
pub(crate) struct SessionAnswer<'a> {
    user_id: &'a str,
    access_token: &'a str,
    device_id: &'a str,
    /// Deprecated, and still read by some clients.
    home_server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u128>,
}

impl<'a> SessionAnswer<'a> {
    pub(crate) fn new(user_id: &'a UserId, device_id: &'a DeviceId, tokens: &'a SessionTokens) -> Self {
        Self {
            user_id: user_id.as_str(),
            access_token: &tokens.access,
            device_id: device_id.as_str(),
            home_server: user_id.server_name().as_str(),
            refresh_token: tokens.refresh.as_deref(),
            expires_in_ms: tokens.expires_in.map(|lifetime| lifetime.as_millis()),
        }
    }
}

/// `POST /_matrix/client/v3/login`: logs in with a password, a login token or as an application service.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login>
pub(crate) async fn log_in(
    api: Arc<ClientApi>,
    call: RawCall<Option<Service>>,
) -> Result<Response, ApiError> {
    let body: LoginBody = call.json()?;
    let authority = call.face.server_name();
    let (user_id, device_id, tokens) = match body.kind.as_str() {
        "m.login.password" => api.accounts.log_in(authority, with_password(body, &call)?).await?,
        "m.login.token" => {
            let token = body.token.clone().ok_or_else(|| ApiError::missing_param("The token is missing"))?;
            api.accounts.log_in_with_token(authority, &token, new_session(&body, &call)).await?
        }
        "m.login.application_service" => {
            let service = by_service(&call)?;
            let session = new_session(&body, &call);
            let name = match (body.identifier, body.user) {
                (Some(UserIdentifier::Matrix(id)), _) => id.user,
                (None, Some(name)) => name,
                _ => return Err(ApiError::missing_param("The identifier of a user is missing")),
            };
            api.accounts.log_in_for_service(service, &name, session).await?
        }
        _ => return Err(ApiError::bad_request("This way to log in is not offered here")),
    };
    Ok(json_response(StatusCode::OK, &SessionAnswer::new(&user_id, &device_id, &tokens)))
}

fn new_session<C>(body: &LoginBody, call: &RawCall<C>) -> NewSession {
    NewSession {
        device_id: body.device_id.clone(),
        device_name: body.initial_device_display_name.clone(),
        refresh: body.refresh_token,
        from: call.address,
        agent: call.user_agent(),
    }
}

/// The application service that calls.
///
/// # Errors
/// 401 `M_MISSING_TOKEN` or `M_UNKNOWN_TOKEN`.
pub(crate) fn by_service(call: &RawCall<Option<Service>>) -> Result<&AppService, ApiError> {
    let Some(Service(service)) = &call.caller else {
        return Err(match call.shows_token() {
            true => TokenError::Unknown { soft_logout: false }.into(),
            false => TokenError::Missing.into(),
        });
    };
    Ok(service)
}

fn with_password<C>(body: LoginBody, call: &RawCall<C>) -> Result<LogIn, ApiError> {
    let password = body.password.ok_or_else(|| ApiError::missing_param("The password is missing"))?;
    let credentials = match (body.identifier, body.user) {
        (Some(identifier), _) => Credentials::Password { identifier, password },
        (None, Some(name)) => Credentials::NameAndPassword { name, password },
        (None, None) => return Err(ApiError::missing_param("The identifier is missing")),
    };
    Ok(LogIn {
        credentials,
        device_id: body.device_id,
        device_name: body.initial_device_display_name,
        refresh: body.refresh_token,
        from: call.address,
        agent: call.user_agent(),
    })
}

/// `POST /_matrix/client/v1/login/get_token`: a token with which another client of the caller logs in.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token>
pub(crate) async fn get_token(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let asked = asked(&call)?;
    let User { user_id, device_id, .. } = &call.caller;

    let given = api.accounts.request_login_token(user_id, device_id, asked).await?;

    let expires_in_ms = u64::try_from(given.expires_in.as_millis()).unwrap_or(u64::MAX);
    let answer = json!({ "login_token": given.token, "expires_in_ms": expires_in_ms });
    Ok(json_response(StatusCode::OK, &answer))
}

/// `POST /_matrix/client/v3/refresh`: trades a refresh token for new tokens.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>
pub(crate) async fn refresh(
    api: Arc<ClientApi>,
    call: Call<refresh_token::v3::Request, Open>,
) -> Result<refresh_token::v3::Response, ApiError> {
    let (authority, token) = (call.face.server_name(), &call.request.refresh_token);
    let tokens = api.accounts.refresh(authority, token).await?;

    let mut response = refresh_token::v3::Response::new(tokens.access);
    response.refresh_token = tokens.refresh;
    response.expires_in_ms = tokens.expires_in;
    Ok(response)
}

/// `POST /_matrix/client/v3/logout`: ends the caller's session.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>
pub(crate) async fn log_out(
    api: Arc<ClientApi>,
    call: Call<logout::v3::Request, User>,
) -> Result<logout::v3::Response, ApiError> {
    let User { user_id, device_id, .. } = &call.caller;
    api.accounts.log_out(user_id, device_id, &actor(&call.caller, call.address)).await?;
    Ok(logout::v3::Response::new())
}

/// `POST /_matrix/client/v3/logout/all`: ends all sessions of the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>
pub(crate) async fn log_out_everywhere(
    api: Arc<ClientApi>,
    call: Call<logout_all::v3::Request, User>,
) -> Result<logout_all::v3::Response, ApiError> {
    let by = actor(&call.caller, call.address);
    let User { user_id, device_id, .. } = &call.caller;
    api.accounts.log_out_everywhere_from(user_id, device_id, call.caller.service(), &by).await?;
    Ok(logout_all::v3::Response::new())
}
