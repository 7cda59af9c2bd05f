//! Reading requests that need user-interactive authentication.

use account::Asked;
use serde_json::{Map, Value, json};
use web::{ApiError, RawCall, parse_json};

/// Takes a request apart into what is shown, the session that is named, and what is asked. No body asks for
/// nothing, and an `auth` without a type shows nothing.
///
/// # Errors
/// 400.
pub(crate) fn asked<C>(call: &RawCall<C>) -> Result<Asked, ApiError> {
    let (from, agent) = (call.address, call.user_agent());
    if call.body.trim_ascii().is_empty() {
        return Ok(Asked { from, agent, ..Asked::default() });
    }
    let mut request: Map<String, Value> = parse_json(&call.body)?;
    let auth = match request.remove("auth") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(auth)) => auth,
        Some(_) => return Err(ApiError::bad_json("`auth` is to be an object")),
    };
    let session = match auth.get("session") {
        None | Some(Value::Null) => None,
        Some(Value::String(session)) => Some(session.clone()),
        Some(_) => return Err(ApiError::bad_json("`session` is to be a string")),
    };
    let auth = match auth.contains_key("type") {
        true => {
            Some(serde_json::from_value(Value::Object(with_identifier(auth))).map_err(|_unreadable| {
                ApiError::bad_json("`auth` lacks a key that its `type` needs, or has one in another form")
            })?)
        }
        false => None,
    };
    Ok(Asked { auth, session, request, from, agent })
}

/// Passwords are shown with an `identifier`; older clients write the bare `user` in its place, as they do
/// at `/login`.
fn with_identifier(mut auth: Map<String, Value>) -> Map<String, Value> {
    let lacks_identifier = auth.get("identifier").is_none_or(Value::is_null);
    if lacks_identifier
        && auth.get("type").is_some_and(|kind| kind == "m.login.password")
        && let Some(user @ Value::String(_)) = auth.remove("user")
    {
        auth.insert("identifier".to_owned(), json!({ "type": "m.id.user", "user": user }));
    }
    auth
}
