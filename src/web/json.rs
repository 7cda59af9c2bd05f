//! JSON in and out.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{ApiError, Response};

/// Bodies nested deeper are refused. serde_json itself refuses typed values at 128.
pub const MAX_NESTING: usize = 100;

/// Reads a body as JSON of this type.
///
/// # Errors
/// 400 `M_NOT_JSON` when it is none, `M_BAD_JSON` when it has another shape or is nested too deep.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    check_body(body)?;
    serde_json::from_slice(body).map_err(|error| bad_body(&error, body))
}

/// An answer of this status with this body.
pub fn json_response<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(status, bytes.into()),
        Err(error) => ApiError::internal(error).into_response(""),
    }
}

pub(crate) fn json_bytes(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What is wrong with a body that could not be read.
pub(crate) fn bad_body(error: &serde_json::Error, body: &[u8]) -> ApiError {
    // A wrong type is seen before broken syntax that stands behind it; broken syntax weighs more.
    if serde_json::from_slice::<IgnoredAny>(body).is_err() {
        return ApiError::not_json(format!("The body is not valid JSON: {error}"));
    }
    ApiError::bad_json(format!("The body has an unexpected shape: {error}"))
}

/// Refuses bodies that are not UTF-8, and those that are nested deeper than [`MAX_NESTING`].
///
/// Readers skip what they do not know without looking at its text, so the first is seen to here; and
/// nobody behind has to recurse without a bound. Other bodies that are no JSON pass; their reader
/// refuses them.
pub(crate) fn check_body(body: &[u8]) -> Result<(), ApiError> {
    if std::str::from_utf8(body).is_err() {
        return Err(ApiError::not_json("The body is not UTF-8"));
    }
    check_nesting(body)
}

fn check_nesting(body: &[u8]) -> Result<(), ApiError> {
    let mut depth = 0_usize;
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(ApiError::bad_json(format!("The body is nested deeper than {MAX_NESTING} levels")));
        }
    }
    Ok(())
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}
