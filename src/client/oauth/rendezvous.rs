//! Letterboxes by which two devices meet: signing in by a QR code.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4108>

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::oauth::{
    Error,
    rendezvous::{LARGEST, Letter, tag_of},
};
use base::Timestamp;
use serde_json::json;
use web::{
    ApiError, Body, HeaderName, HeaderValue, Open, RawCall, Response, StatusCode, header, json_response,
};

use super::api::OAuthApi;

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous";

/// `POST …/rendezvous`: puts up a letterbox with a first letter.
pub(crate) async fn put_up(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let authority = call.face.server_name();
    let base = api.base_url(authority)?;
    let kind = content_type(&call)?;
    check_size(&call)?;
    let (id, letter) = api.oauth.put_up_rendezvous(authority, call.body.clone(), &kind, call.address).await?;
    let answer = json_response(StatusCode::CREATED, &json!({ "url": format!("{base}{PATH}/{id}") }));
    Ok(headed(answer, &letter))
}

/// `GET …/rendezvous/{id}`: reads the letter, unless it is the one that was read before.
pub(crate) async fn read(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let id: String = call.args.get(0)?;
    let letter = api.oauth.read_rendezvous(call.face.server_name(), &id).await?;
    let known = call.parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| tag_of(known) == letter.tag) {
        return Ok(headed(of_status(StatusCode::NOT_MODIFIED, Body::empty()), &letter));
    }
    let mut answer = of_status(StatusCode::OK, Body::from(letter.content.clone()));
    if let Ok(kind) = HeaderValue::from_str(&letter.content_type) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(headed(answer, &letter))
}

/// `PUT …/rendezvous/{id}`: writes a letter in answer to the one that was read.
pub(crate) async fn write(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let id: String = call.args.get(0)?;
    let read = call.parts.headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let read = read.ok_or_else(|| ApiError::missing_param("The header If-Match is missing"))?;
    let kind = content_type(&call)?;
    check_size(&call)?;
    let authority = call.face.server_name();
    match api.oauth.write_rendezvous(authority, &id, tag_of(read), call.body.clone(), &kind).await {
        Ok(letter) => Ok(headed(of_status(StatusCode::ACCEPTED, Body::empty()), &letter)),
        Err(Error::Overtaken(letter)) => {
            let told = json!({
                "errcode": "M_UNKNOWN",
                "org.matrix.msc4108.errcode": "M_CONCURRENT_WRITE",
                "error": "Somebody else has written meanwhile",
            });
            Ok(headed(json_response(StatusCode::PRECONDITION_FAILED, &told), &letter))
        }
        Err(error) => Err(error.into()),
    }
}

/// `DELETE …/rendezvous/{id}`: takes the letterbox down.
pub(crate) async fn take_down(api: Arc<OAuthApi>, call: RawCall<Open>) -> Result<Response, ApiError> {
    let id: String = call.args.get(0)?;
    api.oauth.take_down_rendezvous(call.face.server_name(), &id).await?;
    Ok(of_status(StatusCode::NO_CONTENT, Body::empty()))
}

fn check_size(call: &RawCall<Open>) -> Result<(), ApiError> {
    match call.body.len() {
        0..=LARGEST => Ok(()),
        _ => Err(ApiError::too_large(format!("A letter has at most {LARGEST} bytes"))),
    }
}

/// Only text: whatever a browser would run or show is nobody's letter.
fn content_type(call: &RawCall<Open>) -> Result<String, ApiError> {
    let named = call.parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let named = named.ok_or_else(|| ApiError::missing_param("The header Content-Type is missing"))?;
    match named.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/plain") {
        true => Ok(named.to_owned()),
        false => Err(ApiError::invalid_param("A letter is text/plain")),
    }
}

fn of_status(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Adds what is told of a letter besides itself. Nobody on the way is to keep or to change it.
fn headed(mut response: Response, letter: &Letter) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, format!("\"{}\"", letter.tag));
    set(header::EXPIRES, http_date(letter.expires));
    set(header::LAST_MODIFIED, http_date(letter.written));
    set(header::CACHE_CONTROL, "no-store, no-transform".to_owned());
    set(header::PRAGMA, "no-cache".to_owned());
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());
    response
}

fn http_date(at: Timestamp) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(at.millis()))
}
