//! Sign-outs at the identity provider of an authority, of which it tells by a logout token.
//!
//! Anybody may call this: who does is shown by the token. Answers are as the provider expects them, and never stored: 200 once
//! all is over and on disk, also where there was nothing; 400 for what is not believed; 503 where it could not be done, so that
//! the provider may try again with the same token.
//!
//! Spec: <https://openid.net/specs/openid-connect-backchannel-1_0.html>

use std::{sync::Arc, time::Duration};

use ::upstream::NotSignedOut;
use pages::Form;
use serde_json::json;
use web::{ApiError, Body, HeaderValue, Open, RawCall, Response, StatusCode, header, json_response};

use super::api::OAuthApi;

/// Largest body, in bytes: logout tokens have less than two thousand.
const LARGEST: usize = 16 << 10;
/// The field with the token.
const TOKEN: &str = "logout_token";

/// Takes a logout token.
pub(crate) async fn take(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let (authority, from) = (call.face.server_name(), call.address);
    if api.upstream.settings(authority).is_none() {
        return Err(ApiError::unrecognized());
    }
    if call.body.len() > LARGEST {
        return Ok(refusal(StatusCode::BAD_REQUEST, "the request is too large", None));
    }
    let form = match Form::of_body(&call.parts.headers, &call.body) {
        Ok(form) => form,
        Err(bad) => return Ok(refusal(StatusCode::BAD_REQUEST, bad.0, None)),
    };
    let Some(token) = form.find(TOKEN) else {
        return Ok(refusal(StatusCode::BAD_REQUEST, "logout_token is missing", None));
    };
    let token = match api.upstream.read_logout_token(authority, token, from).await {
        Ok(token) => token,
        Err(why) => {
            if let NotSignedOut::Bad(bad) = &why {
                api.accounts.note_refused_sign_out(authority, from, bad.word());
            }
            return Ok(refused(&why));
        }
    };
    match api.accounts.end_provider_logins(authority, &token.sign_out(), from).await {
        Ok(Some(_)) => Ok(uncached(Response::new(Body::empty()))),
        Ok(None) => {
            if let Err(too_often) = api.upstream.was_acted_on(authority, from) {
                return Ok(refused(&too_often));
            }
            api.accounts.note_refused_sign_out(authority, from, "logout_token_again");
            Ok(refusal(StatusCode::BAD_REQUEST, "jti was there before", None))
        }
        Err(error) => {
            tracing::error!(%authority, %error, "who signed out at the identity provider is not signed out here");
            let text = "the sign-out could not be carried out";
            Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, text, Some(Duration::from_secs(5))))
        }
    }
}

fn refused(why: &NotSignedOut) -> Response {
    let (status, retry_after) = match why {
        NotSignedOut::NotOffered => (StatusCode::NOT_FOUND, None),
        NotSignedOut::Bad(_) => (StatusCode::BAD_REQUEST, None),
        NotSignedOut::TooOften { retry_after } => (StatusCode::TOO_MANY_REQUESTS, Some(*retry_after)),
        NotSignedOut::Busy { retry_after } => (StatusCode::SERVICE_UNAVAILABLE, Some(*retry_after)),
        NotSignedOut::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(30))),
    };
    let text = match why {
        // What went wrong on the way to the provider is nobody's business.
        NotSignedOut::Unavailable(cause) => {
            tracing::warn!(cause, "a logout token could not be checked: the identity provider is away");
            "the keys of the provider cannot be had".to_owned()
        }
        other => other.to_string(),
    };
    refusal(status, &text, retry_after)
}

fn refusal(status: StatusCode, text: &str, retry_after: Option<Duration>) -> Response {
    let answer = json!({ "error": "invalid_request", "error_description": text });
    let mut response = uncached(json_response(status, &answer));
    if let Some(wait) = retry_after {
        // Rounded up: who comes back then is not refused again.
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
