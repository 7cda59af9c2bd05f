//! JSON in and out.

use axum::{BoxError, body::Body};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use pdu::json::MAX_SAFE_INTEGER;
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{ApiError, Response};

/// Bodies nested deeper are refused: an event of the deepest kind, inside a request that carries it. Whatever is read
/// into types, serde_json refuses at 128.
pub const MAX_NESTING: usize = pdu::json::MAX_NESTING + 8;

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
        Ok(bytes) => json_body(status, bytes.into()),
        Err(error) => ApiError::internal(error).into_response(""),
    }
}

/// An answer whose body is this JSON.
pub fn json_bytes(body: Bytes) -> Response {
    json_body(StatusCode::OK, Body::from(body))
}

/// An answer whose body is JSON in parts, each made when the one before was taken. An error breaks it off.
pub fn json_stream<E: Into<BoxError> + 'static>(
    parts: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Response {
    json_body(StatusCode::OK, Body::from_stream(parts))
}

pub(crate) fn json_body(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
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

/// Refuses bodies that are not UTF-8, that are lists, that hold half a surrogate pair, those that are nested deeper
/// than [`MAX_NESTING`], and those with a key that `serde_json` has for itself ([`has_private_key`]).
///
/// Readers skip what they do not know without looking at its text, and it would be stored and given to
/// clients that cannot read it; so texts are seen to here. And nobody behind has to recurse
/// without a bound. Other bodies that are no JSON pass; their reader refuses them.
pub(crate) fn check_body(body: &[u8]) -> Result<(), ApiError> {
    if std::str::from_utf8(body).is_err() {
        return Err(ApiError::not_json("The body is not UTF-8"));
    }
    let mut depth = 0_usize;
    let mut rest = body;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                rest = skip_string(after)?;
                if is_private_key(after, rest) {
                    return Err(ApiError::bad_json("The body holds a key that is kept for a reader of JSON"));
                }
            }
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(ApiError::bad_json(format!("The body is nested deeper than {MAX_NESTING} levels")));
        }
    }
    if body.trim_ascii_start().starts_with(b"[") {
        // Readers of structures would take its elements for fields by their order, and no body is a list.
        let list: Result<IgnoredAny, _> = serde_json::from_slice(body);
        return Err(match list {
            Ok(_) => ApiError::bad_json("The body is to be a JSON object"),
            Err(error) => bad_body(&error, body),
        });
    }
    Ok(())
}

/// Refuses numbers that clients cannot hold as they are: integers outside ±(2⁵³−1), and what is larger than any number
/// of theirs. Fractions pass, as not everything that is sent is canonical JSON.
pub(crate) fn check_numbers(body: &[u8]) -> Result<(), ApiError> {
    let mut rest = body;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => skip_string(after)?,
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                let (number, after) = rest.split_at(length);
                if !is_holdable(number) {
                    return Err(ApiError::bad_json("The body holds a number that is out of range"));
                }
                after
            }
            _ => after,
        };
    }
    Ok(())
}

fn is_holdable(number: &[u8]) -> bool {
    let is_integer = number.iter().all(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    // What is no number at all is left to the reader of the body.
    let text = std::str::from_utf8(number).unwrap_or_default();
    match is_integer {
        true => {
            text.parse::<i64>().is_ok_and(|integer| integer.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs())
        }
        false => text.parse::<f64>().map_or(true, f64::is_finite),
    }
}

/// What keys begin with by which `serde_json` hands texts to its own types.
const PRIVATE: &str = "$serde_json::private::";

/// Whether an object in this JSON has a key that `serde_json` keeps for itself. Its `Value` reads what stands behind it anew, and
/// counts that text's nesting anew: texts in texts go deeper than any stack, and the process is gone with its stack. Nobody
/// else writes such keys.
pub fn has_private_key(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        let inside = &rest[at + 1..];
        // Half a surrogate pair: no reader takes that.
        let Ok(after) = skip_string(inside) else { return true };
        if is_private_key(inside, after) {
            return true;
        }
        rest = after;
    }
    false
}

/// Whether a string is such a key, with its inside and what follows it.
fn is_private_key(inside: &[u8], after: &[u8]) -> bool {
    // Nearly no string begins so: no others are read.
    if !inside.starts_with(b"$") && !inside.starts_with(b"\\u0024") {
        return false;
    }
    let is_key = after.trim_ascii_start().starts_with(b":");
    let length = inside.len() - after.len();
    let text = [b"\"", &inside[..length]].concat();
    is_key && serde_json::from_slice::<String>(&text).is_ok_and(|key| key.starts_with(PRIVATE))
}

/// What follows the string whose inside begins here.
fn skip_string(mut rest: &[u8]) -> Result<&[u8], ApiError> {
    loop {
        rest = match rest {
            [] => return Ok(rest),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'u', after @ ..] => match (escaped(after), after.get(4..)) {
                (Some(0xD800..=0xDBFF), Some([b'\\', b'u', low @ ..]))
                    if matches!(escaped(low), Some(0xDC00..=0xDFFF)) =>
                {
                    &low[4..]
                }
                (Some(0xD800..=0xDFFF), _) => {
                    return Err(ApiError::not_json("The body holds half a surrogate pair"));
                }
                _ => after,
            },
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
        };
    }
}

/// The code unit that four hexadecimal digits at the beginning stand for.
fn escaped(digits: &[u8]) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(digits.get(..4)?).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_a_reader_keeps_for_itself_are_found_however_they_are_spelt() {
        for body in [
            r#"{"$serde_json::private::RawValue":"1"}"#,
            r#"{"a":[{"b":1,"$serde_json::private::Number" : "1"}]}"#,
            r#"{"a":{"\u0024serde_json::private::RawValue":"1"}}"#,
            r#"{"a":{"\u0024\u0073erde_json\u003a:private::RawValue"
 :"1"}}"#,
        ] {
            assert!(has_private_key(body.as_bytes()), "{body}");
            let refused = check_body(body.as_bytes());
            assert_eq!(
                refused.map_err(|error| error.status()).err(),
                Some(StatusCode::BAD_REQUEST),
                "{body}"
            );
        }
        for body in [
            r#"{"body":"$serde_json::private::RawValue"}"#,
            r#"{"$":1,"$serde":{"a":"\"$serde_json::private::RawValue\":"}}"#,
            r#"{"a":"\\","$b":"\u0024serde_json::private::Number"}"#,
            "{}",
            "\"",
        ] {
            assert!(!has_private_key(body.as_bytes()), "{body}");
            assert!(check_body(body.as_bytes()).is_ok(), "{body}");
        }
    }
}
