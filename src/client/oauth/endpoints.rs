//! What clients ask themselves, without a browser. Errors are as OAuth 2.0 has them, not as Matrix has.

use std::sync::Arc;

use ::oauth::{Code, Error, Exchange, Granted};
use pages::{BadForm, Form};
use serde_json::{Map, Value, json};
use web::{ApiError, HeaderValue, Open, RawCall, Response, StatusCode, header, json_response, parse_json};

use super::api::{LINK, OAuthApi};

/// Largest registration, in bytes.
const LARGEST_REGISTRATION: usize = 32 << 10;

/// Registers a client.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#dynamic-client-registration-flow>
pub(crate) async fn register(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    api.base_url(authority)?;
    let said: Result<Map<String, Value>, ApiError> = match call.body.len() {
        0..=LARGEST_REGISTRATION => parse_json(&call.body),
        _ => Err(ApiError::too_large("The registration is too large")),
    };
    let said = match said {
        Ok(said) => said,
        Err(error) => {
            return Ok(refusal(StatusCode::BAD_REQUEST, Code::InvalidClientMetadata, error.message()));
        }
    };
    match api.oauth.register(authority, &said, call.address).await {
        Ok(client) => Ok(uncached(json_response(StatusCode::CREATED, &client.answer()))),
        Err(error) => refused(error),
    }
}

/// Gives tokens: for a code, for a refresh token, for the consent that a device waited for.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#grant-types>
pub(crate) async fn token(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    api.base_url(authority)?;
    let form = match form_of(&call) {
        Ok(form) => form,
        Err(bad) => return Ok(unreadable(bad)),
    };
    let agent = call.user_agent();
    let (client, from, agent) = (form.get("client_id"), call.address, agent.as_deref());
    for needed in ["grant_type", "client_id"] {
        if form.find(needed).is_none() {
            return Ok(missing(needed));
        }
    }
    let granted = match form.get("grant_type") {
        "authorization_code" => {
            for needed in ["code", "redirect_uri", "code_verifier"] {
                if form.find(needed).is_none() {
                    return Ok(missing(needed));
                }
            }
            let shown = Exchange {
                client,
                code: form.get("code"),
                redirect_uri: form.get("redirect_uri"),
                verifier: form.get("code_verifier"),
                from,
                agent,
            };
            api.oauth.redeem(authority, shown).await
        }
        "refresh_token" => match form.find("refresh_token") {
            Some(token) => api.oauth.refresh(authority, client, token, from).await,
            None => return Ok(missing("refresh_token")),
        },
        "urn:ietf:params:oauth:grant-type:device_code" => match form.find("device_code") {
            Some(code) => api.oauth.poll(authority, client, code, from, agent).await,
            None => return Ok(missing("device_code")),
        },
        _ => {
            let text = "grant_type is none that is offered here";
            return Ok(refusal(StatusCode::BAD_REQUEST, Code::UnsupportedGrantType, text));
        }
    };
    match granted {
        Ok(granted) => Ok(tokens_answer(&granted)),
        Err(error) => refused(error),
    }
}

fn tokens_answer(granted: &Granted) -> Response {
    let mut answer = json!({ "access_token": granted.tokens.access, "token_type": "Bearer" });
    if let Some(lifetime) = granted.tokens.expires_in {
        answer["expires_in"] = json!(lifetime.as_secs());
    }
    if let Some(refresh) = &granted.tokens.refresh {
        answer["refresh_token"] = json!(refresh);
    }
    if let Some(scope) = &granted.scope {
        answer["scope"] = json!(scope);
    }
    uncached(json_response(StatusCode::OK, &answer))
}

/// Ends the session of a token.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-revocation>
pub(crate) async fn revoke(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    api.base_url(authority)?;
    let form = match form_of(&call) {
        Ok(form) => form,
        Err(bad) => return Ok(unreadable(bad)),
    };
    let Some(token) = form.find("token") else { return Ok(missing("token")) };
    match api.oauth.revoke(authority, token, call.address).await {
        Ok(()) => Ok(uncached(json_response(StatusCode::OK, &json!({})))),
        Err(error) => refused(error),
    }
}

/// A device begins to wait for a user's consent.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#device-authorisation-flow>
pub(crate) async fn begin_device(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    let base = api.base_url(authority)?;
    let form = match form_of(&call) {
        Ok(form) => form,
        Err(bad) => return Ok(unreadable(bad)),
    };
    let Some(client) = form.find("client_id") else { return Ok(missing("client_id")) };
    match api.oauth.begin_device(authority, client, form.get("scope"), call.address).await {
        Ok(codes) => {
            let uri = format!("{base}{LINK}");
            let answer = json!({
                "device_code": codes.device_code,
                "verification_uri_complete": format!("{uri}?user_code={}", codes.user_code),
                "verification_uri": uri,
                "user_code": codes.user_code,
                "expires_in": codes.expires_in.as_secs(),
                "interval": codes.interval.as_secs(),
            });
            Ok(uncached(json_response(StatusCode::OK, &answer)))
        }
        Err(error) => refused(error),
    }
}

fn form_of(call: &RawCall<Open>) -> Result<Form, BadForm> {
    Form::of_body(&call.parts.headers, &call.body)
}

fn unreadable(bad: BadForm) -> Response {
    refusal(StatusCode::BAD_REQUEST, Code::InvalidRequest, bad.0)
}

fn missing(field: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, Code::InvalidRequest, &format!("{field} is missing"))
}

/// The answer to what was refused. What is not the client's fault has a status that says so, and it tries again.
fn refused(error: Error) -> Result<Response, ApiError> {
    match error {
        Error::Refused { code: code @ Code::InvalidClient, text } => {
            Ok(refusal(StatusCode::UNAUTHORIZED, code, &text))
        }
        Error::Refused { code, text } => Ok(refusal(StatusCode::BAD_REQUEST, code, &text)),
        // As the specification has it for locked accounts everywhere: the session is kept.
        Error::Account(cause @ account::Error::Locked) => Err(cause.into()),
        other => {
            let error = match other {
                Error::Account(cause) => ApiError::from(cause),
                other => ApiError::from(other),
            };
            // 429 and 5xx keep their own form, with the time to wait; whatever else an account refuses is a refusal.
            match error.status() {
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Err(error),
                _ => Ok(refusal(StatusCode::BAD_REQUEST, Code::InvalidRequest, error.message())),
            }
        }
    }
}

fn refusal(status: StatusCode, code: Code, text: &str) -> Response {
    // The grammar of descriptions knows no quotes, backslashes or letters beyond ASCII.
    let may_stand = |letter: &char| matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\');
    let text: String = text.chars().filter(may_stand).take(500).collect();
    let answer = json!({ "error": code.word(), "error_description": text });
    uncached(json_response(status, &answer))
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
