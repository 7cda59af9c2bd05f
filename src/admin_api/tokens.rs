//! Registration tokens.
//!
//! Format: <https://element-hq.github.io/synapse/latest/usage/administration/admin_api/registration_tokens.html>

use std::sync::Arc;

use account::{RegistrationToken, TokenChange};
use base::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use web::{ApiError, RawCall, Response, StatusCode, json_response};

use crate::{AdminApi, Administrator, own::word_in};

/// Letters of a token that we make up, and at most.
const LENGTH: usize = 16;
const LONGEST: usize = 64;

/// The last moment that a token may run out at: the end of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

fn told(token: &RegistrationToken) -> Value {
    json!({
        "token": token.token,
        "uses_allowed": token.uses_allowed,
        // A use is counted in the batch that makes the account, and not before.
        "pending": 0,
        "completed": token.used,
        "expiry_time": token.expires.map(Timestamp::millis),
    })
}

/// A value that is there, be it null.
pub(crate) fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Option<T>, D::Error> {
    T::deserialize(json).map(Some)
}

fn expiry(millis: Option<i64>, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    // What is before 1970 is past.
    match millis.map(|millis| u64::try_from(millis).unwrap_or_default()) {
        Some(millis) if millis < now.millis() => {
            Err(ApiError::invalid_param("expiry_time must not be in the past"))
        }
        Some(millis) if millis > LAST_MS => Err(ApiError::invalid_param("expiry_time is too late")),
        millis => Ok(millis.map(Timestamp)),
    }
}

/// A number that a tool sends, which may be below nothing or beyond everything.
fn uses(allowed: Option<i64>) -> Result<Option<u32>, ApiError> {
    let number = |allowed| u32::try_from(allowed);
    let bad = |_| ApiError::invalid_param("uses_allowed must be a non-negative integer or null");
    allowed.map(number).transpose().map_err(bad)
}

/// `GET /_synapse/admin/v1/registration_tokens`: the authority's tokens; those of the configuration are not among them.
pub(crate) async fn list(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        valid: Option<bool>,
    }
    let Query { valid } = call.query()?;
    let now = api.clock.now();
    let is_valid = |token: &RegistrationToken| {
        token.uses_allowed.is_none_or(|allowed| token.used < allowed)
            && token.expires.is_none_or(|expires| expires > now)
    };
    let tokens = api.accounts.registration_tokens(call.caller.authority()).await?;
    let wanted = tokens.iter().filter(|token| valid.is_none_or(|valid| is_valid(token) == valid));
    let tokens: Vec<Value> = wanted.map(told).collect();
    Ok(json_response(StatusCode::OK, &json!({ "registration_tokens": tokens })))
}

/// `GET /_synapse/admin/v1/registration_tokens/{token}`
pub(crate) async fn get(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let word = word_in(&call, 0)?;
    let token = api.accounts.registration_token(call.caller.authority(), &word).await?;
    Ok(json_response(StatusCode::OK, &told(&token)))
}

/// `POST /_synapse/admin/v1/registration_tokens/new`
pub(crate) async fn add(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        token: Option<String>,
        uses_allowed: Option<i64>,
        expiry_time: Option<i64>,
        length: Option<usize>,
    }
    let Body { token, uses_allowed, expiry_time, length } = call.json()?;
    let length = length.unwrap_or(LENGTH);
    if !(1..=LONGEST).contains(&length) {
        return Err(ApiError::invalid_param("length must be between 1 and 64"));
    }
    let token = RegistrationToken {
        token: token.unwrap_or_else(|| api.random.token(length)),
        uses_allowed: uses(uses_allowed)?,
        used: 0,
        expires: expiry(expiry_time, api.clock.now())?,
    };
    let by = call.caller.actor(call.address);
    api.accounts.add_registration_token(call.caller.authority(), token.clone(), &by).await?;
    Ok(json_response(StatusCode::OK, &told(&token)))
}

/// `PUT /_synapse/admin/v1/registration_tokens/{token}`
pub(crate) async fn change(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        #[serde(deserialize_with = "there")]
        uses_allowed: Option<Option<i64>>,
        #[serde(deserialize_with = "there")]
        expiry_time: Option<Option<i64>>,
    }
    let word = word_in(&call, 0)?;
    let Body { uses_allowed, expiry_time } = call.json()?;
    let expires = expiry_time.map(|millis| expiry(millis, api.clock.now())).transpose()?;
    let (authority, by) = (call.caller.authority(), call.caller.actor(call.address));
    let uses_allowed = uses_allowed.map(uses).transpose()?;
    let change = TokenChange { uses_allowed, expires };
    let token = api.accounts.change_registration_token(authority, &word, change, &by).await?;
    Ok(json_response(StatusCode::OK, &told(&token)))
}

/// `DELETE /_synapse/admin/v1/registration_tokens/{token}`
pub(crate) async fn remove(api: Arc<AdminApi>, call: RawCall<Administrator>) -> Result<Response, ApiError> {
    let word = word_in(&call, 0)?;
    let (authority, by) = (call.caller.authority(), call.caller.actor(call.address));
    // Whoever names one that is not there hears so.
    api.accounts.registration_token(authority, &word).await?;
    api.accounts.remove_registration_token(authority, &word, &by).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}
