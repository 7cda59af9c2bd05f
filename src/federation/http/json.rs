//! Answers written by hand, so that stored JSON goes into them as it is.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use pdu::json::{write_integer, write_string};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use web::{ApiError, Body, RawCall, Response};

/// A JSON object in the making.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Self("{".to_owned())
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        write_string(key, &mut self.0);
        self.0.push(':');
    }

    pub(super) fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        write_string(value, &mut self.0);
        self
    }

    pub(super) fn number(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        write_integer(i64::try_from(value).unwrap_or(i64::MAX), &mut self.0);
        self
    }

    pub(super) fn bool(mut self, key: &str, value: bool) -> Self {
        self.key(key);
        self.0.push_str(if value { "true" } else { "false" });
        self
    }

    /// A value that is JSON already.
    pub(super) fn json(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.push_str(value);
        self
    }

    /// A list of values that are JSON already.
    pub(super) fn list<'a>(mut self, key: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        self.key(key);
        self.0.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.0.push_str(value);
        }
        self.0.push(']');
        self
    }

    /// A list of strings.
    pub(super) fn strings<'a>(mut self, key: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        self.key(key);
        self.0.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            write_string(value, &mut self.0);
        }
        self.0.push(']');
        self
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// A successful answer with this object.
    pub(super) fn answer(self) -> Response {
        json_answer(self.finish())
    }
}

/// A successful answer with JSON that is written already.
pub(super) fn json_answer(json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body as this type. It must be an object: serde would take a list of the fields' values too.
pub(super) fn object_body<T: DeserializeOwned, C>(call: &RawCall<C>) -> Result<T, ApiError> {
    let start = call.body.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(start, Some(b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n')) {
        // What is no JSON at all says so in the signature's check or below.
        return Err(ApiError::bad_json("The body is not an object"));
    }
    call.json()
}

/// The text of a stored event: it is JSON, hence UTF-8.
pub(super) fn text(event: &Bytes) -> &str {
    std::str::from_utf8(event).unwrap_or("null")
}

/// The text of raw values.
pub(super) fn texts(values: &[Box<RawValue>]) -> impl Iterator<Item = &str> {
    values.iter().map(|value| value.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_json() {
        let object = Object::new()
            .string("a\"", "\u{1}é")
            .number("b", 7)
            .bool("c", true)
            .json("d", "{}")
            .list("e", ["1", "[]"])
            .list("f", [])
            .strings("g", ["x", "y"]);
        assert_eq!(
            object.finish(),
            r#"{"a\"":"\u0001é","b":7,"c":true,"d":{},"e":[1,[]],"f":[],"g":["x","y"]}"#
        );
        assert_eq!(Object::new().finish(), "{}");
    }
}
