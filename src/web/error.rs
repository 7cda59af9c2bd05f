//! Errors as clients and servers see them: a status, an errcode and a sentence.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use ruma::api::client::uiaa::UiaaInfo;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::{debug, error};

use crate::{Response, json::json_body};

const NO_ROOM: &str = "M_RESOURCE_LIMIT_EXCEEDED";

/// An error answer. The cause, if there is one, goes to the log and not to the caller.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#standard-error-response>
pub struct ApiError(Box<Inner>);

struct Inner {
    status: StatusCode,
    errcode: Cow<'static, str>,
    message: Cow<'static, str>,
    /// Further keys of the answer's object.
    more: Map<String, Value>,
    retry_after: Option<Duration>,
    /// It was logged where it was noticed, for all requests that meet it.
    known: bool,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// How errors are told where that is not Matrix's: of a status and a sentence.
pub type ErrorForm = fn(StatusCode, &str) -> Response;

impl ApiError {
    /// An error of this status and errcode with a sentence for people.
    pub fn new(
        status: StatusCode,
        errcode: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> ApiError {
        ApiError(Box::new(Inner {
            status,
            errcode: errcode.into(),
            message: message.into(),
            more: Map::new(),
            retry_after: None,
            known: false,
            cause: None,
        }))
    }

    /// 400 `M_BAD_JSON`: JSON, but not what the endpoint takes.
    pub fn bad_json(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    /// 400 `M_NOT_JSON`.
    pub fn not_json(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", message)
    }

    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", message)
    }

    /// 400 `M_UNKNOWN`: a request that makes no sense and has no errcode of its own.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", message)
    }

    /// 401 `M_UNAUTHORIZED`.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message)
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    /// 403 `M_GUEST_ACCESS_FORBIDDEN`.
    pub fn guest_forbidden(message: &'static str) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", message)
    }

    /// 403 `M_USER_SUSPENDED`.
    pub fn suspended() -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "M_USER_SUSPENDED", "This account is suspended")
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    /// 404 `M_UNRECOGNIZED`: there is no such endpoint, or it is not built.
    pub fn unrecognized() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "Unrecognized request")
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    /// 429 `M_LIMIT_EXCEEDED`: come back after this wait.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#rate-limiting>
    pub fn limited(retry_after: Duration) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", "Too many requests")
            .after(retry_after)
    }

    /// 429 of a limit that has a name, which the answer and the log tell.
    pub fn over(limit: &'static str, retry_after: Duration) -> ApiError {
        let mut error = ApiError::limited(retry_after).with("limit", limit);
        error.0.message = format!("Too many requests (limit: {limit})").into();
        error
    }

    /// 401 with the steps of user-interactive authentication that are left.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>
    pub fn interactive(info: &UiaaInfo) -> ApiError {
        let mut error = ApiError::new(StatusCode::UNAUTHORIZED, "", "");
        match serde_json::to_value(info) {
            Ok(Value::Object(mut object)) => {
                offer_by_former_name(&mut object);
                error.0.more = object;
            }
            Ok(_) => return ApiError::internal("user-interactive authentication has no object"),
            Err(cause) => return ApiError::internal(cause),
        }
        error
    }

    /// 500 `M_UNKNOWN`: our fault. The cause is logged, the caller gets the request id only.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        let mut error =
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "Internal server error");
        error.0.cause = Some(cause.into());
        error
    }

    /// 503 `M_UNKNOWN`: not now; another attempt may work.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        let mut error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "M_UNKNOWN",
            "The server cannot do this at the moment",
        );
        error.0.cause = Some(cause.into());
        error.0.retry_after = Some(Duration::from_secs(1));
        error
    }

    /// 503 `M_RESOURCE_LIMIT_EXCEEDED`: there is no room to store anything; reading works.
    ///
    /// A status of the 500s, so that clients keep what they could not send and try again. Whom to turn
    /// to is added by the [`Kit`](crate::Kit).
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#common-error-codes>
    pub fn no_room(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        let mut error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            NO_ROOM,
            "The server has no room left to store anything; what it has can be read",
        );
        error.0.cause = Some(cause.into());
        error.0.retry_after = Some(Duration::from_secs(30));
        error.known()
    }

    /// Keeps it out of the log of errors: it was logged where it was noticed.
    #[must_use]
    pub fn known(mut self) -> ApiError {
        self.0.known = true;
        self
    }

    /// Names whom to turn to, where the specification demands that.
    #[must_use]
    pub(crate) fn naming(self, contact: &str) -> ApiError {
        if self.0.errcode == NO_ROOM { self.with("admin_contact", contact) } else { self }
    }

    /// Adds a key to the answer's object.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> ApiError {
        self.0.more.insert(key.to_owned(), value.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> ApiError {
        self.0.retry_after = Some(wait);
        // Rounded up: who comes back after the time told must not be too early.
        let millis = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        self.with("retry_after_ms", millis)
    }

    /// Keeps a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        self.0.cause = Some(cause.into());
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The errcode, such as `M_FORBIDDEN`; empty for user-interactive authentication.
    pub fn errcode(&self) -> &str {
        &self.0.errcode
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The answer in the form that errors have in Matrix.
    pub(crate) fn into_response(self, request_id: &str) -> Response {
        self.into_response_as(None, request_id)
    }

    /// The answer, in another form if there is one. An error of ours is logged here, once.
    pub(crate) fn into_response_as(self, form: Option<ErrorForm>, request_id: &str) -> Response {
        let Inner { status, errcode, mut message, more, retry_after, known, cause } = *self.0;
        if status.is_server_error() {
            let cause = cause.as_deref().map(Chain);
            let cause =
                cause.as_ref().map_or(&message as &dyn fmt::Display, |chain| chain as &dyn fmt::Display);
            let status = status.as_u16();
            if known {
                debug!(request_id, status, error = %cause, "request failed");
            } else {
                error!(request_id, status, error = %cause, "request failed");
            }
            if !request_id.is_empty() {
                message = format!("{message} (request {request_id})").into();
            }
        }
        let mut response = match form {
            Some(form) => form(status, &message),
            None => {
                let body = Body { errcode: &errcode, error: &message, more: &more };
                // Strings and values that were JSON before always serialise.
                let body = serde_json::to_vec(&body).map(Bytes::from).unwrap_or_default();
                json_body(status, body.into())
            }
        };
        if let Some(wait) = retry_after {
            let seconds = wait.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        response
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    errcode: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

/// An error with all its sources in one line.
struct Chain<'a>(&'a (dyn StdError + Send + Sync));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiError")
            .field("status", &self.0.status.as_u16())
            .field("errcode", &self.0.errcode)
            .field("message", &self.0.message)
            .field("more", &self.0.more)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.errcode, self.0.message)
    }
}

impl StdError for ApiError {}

/// Offers the stage `m.oauth` by the name that it had in MSC4312 as well, for clients that know that alone: ruma writes
/// both names as the later one.
fn offer_by_former_name(info: &mut Map<String, Value>) {
    let Some(Value::Array(flows)) = info.get_mut("flows") else { return };
    if flows.iter().any(|flow| flow["stages"] == json!(["m.oauth"])) {
        flows.push(json!({ "stages": ["org.matrix.cross_signing_reset"] }));
    }
}
