//! Keys for end-to-end encryption: of devices, for cross-signing, one-time keys.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use encryption::{Claimed, Claims, KeyCounts, KeyUpload, SignatureFailure, Signed, UserKeys, Wanted};
use room::read::token::Token;
use ruma::{CanonicalJsonObject, OwnedServerName, OwnedUserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response, parse_json};

use crate::{ClientApi, interactive::asked};

/// How long other servers are waited for, if the client does not say.
const WAIT_MS: u64 = 10_000;

/// `POST /_matrix/client/v3/keys/upload`: keys of the caller's device.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload>
pub(crate) async fn upload(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        device_keys: Option<Value>,
        one_time_keys: Option<Map<String, Value>>,
        fallback_keys: Option<Map<String, Value>>,
        #[serde(rename = "org.matrix.msc2732.fallback_keys")]
        unstable_fallback_keys: Option<Map<String, Value>>,
    }
    let body: Body = call.json()?;
    let User { user_id, device_id, .. } = &call.caller;
    let upload = KeyUpload {
        device_keys: body.device_keys,
        one_time_keys: body.one_time_keys.unwrap_or_default(),
        fallback_keys: body.fallback_keys.or(body.unstable_fallback_keys).unwrap_or_default(),
    };
    let KeyCounts { one_time, .. } = api.encryption.upload_keys(user_id, device_id, upload).await?;
    Ok(json_response(StatusCode::OK, &json!({ "one_time_key_counts": one_time })))
}

/// `POST /_matrix/client/v3/keys/query`: keys of users, ours and others.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>
pub(crate) async fn query(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        device_keys: Wanted,
        timeout: Option<u64>,
    }
    #[derive(Default, Serialize)]
    struct Answer {
        device_keys: BTreeMap<OwnedUserId, BTreeMap<ruma::OwnedDeviceId, Box<RawValue>>>,
        master_keys: BTreeMap<OwnedUserId, CanonicalJsonObject>,
        self_signing_keys: BTreeMap<OwnedUserId, CanonicalJsonObject>,
        user_signing_keys: BTreeMap<OwnedUserId, CanonicalJsonObject>,
        failures: BTreeMap<OwnedServerName, Value>,
    }
    let Body { device_keys, timeout } = call.json()?;
    let timeout = Duration::from_millis(timeout.unwrap_or(WAIT_MS));
    let queried = api.encryption.query_keys(&call.caller.user_id, device_keys, timeout).await?;
    let mut answer = Answer { failures: failures(queried.failures), ..Answer::default() };
    for (user, UserKeys { devices, master, self_signing, user_signing }) in queried.users {
        answer.master_keys.extend(master.map(|key| (user.clone(), key)));
        answer.self_signing_keys.extend(self_signing.map(|key| (user.clone(), key)));
        answer.user_signing_keys.extend(user_signing.map(|key| (user.clone(), key)));
        answer.device_keys.insert(user, devices);
    }
    Ok(json_response(StatusCode::OK, &answer))
}

/// `POST /_matrix/client/v3/keys/claim`: one-time keys of devices, ours and others'.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim>
pub(crate) async fn claim(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        one_time_keys: Claims,
        timeout: Option<u64>,
    }
    // No `json!`: it would read again what others wrote, and panics over what it cannot.
    #[derive(Serialize)]
    struct Told {
        one_time_keys: Claimed,
        failures: BTreeMap<OwnedServerName, Value>,
    }
    let Body { one_time_keys, timeout } = call.json()?;
    let timeout = Duration::from_millis(timeout.unwrap_or(WAIT_MS));
    let (one_time_keys, silent) =
        api.encryption.claim_keys(&call.caller.user_id, one_time_keys, timeout).await?;
    Ok(json_response(StatusCode::OK, &Told { one_time_keys, failures: failures(silent) }))
}

/// Servers that could not be asked, as clients are told.
fn failures(failures: BTreeMap<OwnedServerName, String>) -> BTreeMap<OwnedServerName, Value> {
    let told = |reason: String| json!({ "errcode": "M_UNREACHABLE", "error": reason, "status": 503 });
    failures.into_iter().map(|(server, reason)| (server, told(reason))).collect()
}

/// `GET /_matrix/client/v3/keys/changes`: whose keys changed between two tokens of syncs.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges>
pub(crate) async fn changes(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        from: String,
        to: String,
    }
    let Query { from, to } = call.query()?;
    let position = |name: &str, text: &str| match text.parse::<Token>() {
        Ok(token) => Ok(token.position()),
        Err(_) => Err(ApiError::invalid_param(format!("`{name}` is not a token of this server"))),
    };
    let (from, to) = (position("from", &from)?, position("to", &to)?);
    let changes = api.encryption.list_changes_between(&call.caller.user_id, from, to).await?;
    Ok(json_response(StatusCode::OK, &json!({ "changed": changes.changed, "left": changes.left })))
}

/// `POST /_matrix/client/v3/keys/device_signing/upload`: the caller's cross-signing keys.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload>
pub(crate) async fn upload_signing(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let asked = asked(&call)?;
    let User { user_id, device_id, .. } = &call.caller;
    match call.caller.service() {
        Some(_) => {
            api.encryption.upload_signing_keys_for_service(user_id, device_id, &asked.request).await?;
        }
        None => api.encryption.upload_signing_keys(user_id, device_id, asked).await?,
    }
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// `POST /_matrix/client/v3/keys/signatures/upload`: signatures that the caller made.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload>
pub(crate) async fn upload_signatures(
    api: Arc<ClientApi>,
    call: RawCall<User>,
) -> Result<Response, ApiError> {
    let signed: Signed = parse_json(&call.body)?;
    let failures = api.encryption.upload_signatures(&call.caller.user_id, &signed).await?;
    let told = |failure| match failure {
        SignatureFailure::NotFound => {
            json!({ "errcode": "M_NOT_FOUND", "error": "There is no such key, or it is another one" })
        }
        SignatureFailure::Wrong => {
            json!({ "errcode": "M_INVALID_SIGNATURE", "error": "The signature is missing or wrong" })
        }
    };
    let failures: BTreeMap<OwnedUserId, BTreeMap<String, Value>> = failures
        .into_iter()
        .map(|(user, keys)| (user, keys.into_iter().map(|(key, failure)| (key, told(failure))).collect()))
        .collect();
    Ok(json_response(StatusCode::OK, &json!({ "failures": failures })))
}
