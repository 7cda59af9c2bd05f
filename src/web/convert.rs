//! The one table from errors to statuses and errcodes.
//!
//! Every `match` is exhaustive without `_`: a new variant does not compile until somebody has
//! chosen its answer.

use http::StatusCode;
use ruma::api::error::{DeserializationError, FromHttpRequestError, HeaderDeserializationError};
use store::CommitError;

use crate::{ApiError, SignatureError, TokenError, json::bad_body};

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> ApiError {
        let unauthorized = |errcode, message| ApiError::new(StatusCode::UNAUTHORIZED, errcode, message);
        match error {
            TokenError::Missing => unauthorized("M_MISSING_TOKEN", "Missing access token"),
            TokenError::Unknown { soft_logout } => {
                unauthorized("M_UNKNOWN_TOKEN", "Unknown access token").with("soft_logout", soft_logout)
            }
            TokenError::Locked => {
                unauthorized("M_USER_LOCKED", "This account is locked").with("soft_logout", true)
            }
            TokenError::Failed(cause) => ApiError::internal(cause),
        }
    }
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> ApiError {
        match error {
            SignatureError::Missing => ApiError::unauthorized("The request is not signed"),
            SignatureError::Malformed(_) => ApiError::unauthorized("The authorization header cannot be read"),
            SignatureError::WrongDestination => {
                ApiError::unauthorized("The request is meant for another server")
            }
            SignatureError::BadBody(message) => ApiError::not_json(message),
            SignatureError::Unverified(_) => {
                ApiError::unauthorized("The signature of the request does not hold")
            }
            SignatureError::Denied(_) => ApiError::forbidden("This server does not talk with yours"),
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> ApiError {
        match error {
            store::Error::Backend { .. }
            | store::Error::Corrupt { .. }
            | store::Error::NotACounter(_)
            | store::Error::NewerSchema { .. }
            | store::Error::InUse { .. }
            | store::Error::Refused(_) => ApiError::internal(error),
            store::Error::Closed => ApiError::unavailable(error),
        }
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> ApiError {
        match error {
            CommitError::Conflict { .. } | CommitError::Unknown => ApiError::internal(error),
            CommitError::Busy => ApiError::unavailable(error),
            CommitError::Store(cause) => cause.into(),
        }
    }
}

/// What is wrong with a request that ruma could not read.
pub(crate) fn bad_request(error: FromHttpRequestError, body: &[u8]) -> ApiError {
    match error {
        FromHttpRequestError::Deserialization(DeserializationError::Json(error)) => bad_body(&error, body),
        FromHttpRequestError::Deserialization(DeserializationError::Query(error)) => bad_parameter(&error),
        FromHttpRequestError::Deserialization(DeserializationError::Header(
            HeaderDeserializationError::MissingHeader(name),
        )) => ApiError::missing_param(format!("The header {name} is missing")),
        FromHttpRequestError::Deserialization(error) => ApiError::invalid_param(error.to_string()),
        error => ApiError::invalid_param(error.to_string()),
    }
}

/// What is wrong with a query or a path.
pub(crate) fn bad_parameter(error: &ruma::exports::serde_html_form::de::Error) -> ApiError {
    let message = error.to_string();
    if message.starts_with("missing field") {
        return ApiError::missing_param(message);
    }
    ApiError::invalid_param(message)
}
