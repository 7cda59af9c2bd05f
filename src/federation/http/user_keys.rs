//! Keys of users of ours, as other servers may have them.

use std::{collections::BTreeMap, sync::Arc};

use encryption::{Claimed, Claims, UserKeys, Wanted};
use ruma::{CanonicalJsonObject, OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use web::{ApiError, Origin, RawCall, Response, StatusCode, json_response};

use super::{FederationApi, json::object_body, queries::must_be_of};

/// `GET /user/devices/{userId}`: the devices of a user of ours that take part in encryption, and the keys that vouch for
/// them.
///
/// Devices without keys are of no use to others and are not named.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid>
pub(super) async fn devices(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Device {
        device_id: OwnedDeviceId,
        keys: Box<RawValue>,
    }
    #[derive(Serialize)]
    struct Answer {
        user_id: OwnedUserId,
        stream_id: u64,
        devices: Vec<Device>,
        #[serde(skip_serializing_if = "Option::is_none")]
        master_key: Option<CanonicalJsonObject>,
        #[serde(skip_serializing_if = "Option::is_none")]
        self_signing_key: Option<CanonicalJsonObject>,
    }

    let user_id: OwnedUserId = call.args.get(0)?;
    must_be_of(&call.caller, &user_id)?;
    if api.accounts.find_user(&user_id).await?.is_none() {
        return Err(ApiError::not_found("There is no such user here"));
    }
    // Before the keys: what changes between the two is told once more, and not passed over.
    let stream_id = api.encryption.list_number(&user_id).await?;
    let wanted = Wanted::from([(user_id.clone(), Vec::new())]);
    let UserKeys { devices, master, self_signing, .. } =
        api.encryption.own_keys(None, &wanted).await?.remove(&user_id).unwrap_or_default();
    let device = |(device_id, keys)| Device { device_id, keys };
    let answer = Answer {
        user_id,
        stream_id,
        devices: devices.into_iter().map(device).collect(),
        master_key: master,
        self_signing_key: self_signing,
    };
    Ok(json_response(StatusCode::OK, &answer))
}

/// `POST /user/keys/query`: keys of users of ours. Of others nothing is answered.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysquery>
pub(super) async fn query(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        device_keys: Wanted,
    }
    #[derive(Default, Serialize)]
    struct Answer {
        device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Box<RawValue>>>,
        master_keys: BTreeMap<OwnedUserId, CanonicalJsonObject>,
        self_signing_keys: BTreeMap<OwnedUserId, CanonicalJsonObject>,
    }

    let Body { device_keys: mut wanted } = object_body(&call)?;
    wanted.retain(|user, _| user.server_name() == call.caller.destination);
    let mut answer = Answer::default();
    for (user, keys) in api.encryption.own_keys(None, &wanted).await? {
        let UserKeys { devices, master, self_signing, .. } = keys;
        answer.master_keys.extend(master.map(|key| (user.clone(), key)));
        answer.self_signing_keys.extend(self_signing.map(|key| (user.clone(), key)));
        answer.device_keys.insert(user, devices);
    }
    Ok(json_response(StatusCode::OK, &answer))
}

/// `POST /user/keys/claim`: one-time keys of devices of users of ours. Of others nothing is answered.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysclaim>
pub(super) async fn claim(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        one_time_keys: Claims,
    }
    // No `json!`: it would read again what users wrote, and panics over what it cannot.
    #[derive(Serialize)]
    struct Told {
        one_time_keys: Claimed,
    }

    let Body { one_time_keys: mut wanted } = object_body(&call)?;
    wanted.retain(|user, _| user.server_name() == call.caller.destination);
    let one_time_keys = api.encryption.claim_own(wanted).await?;
    Ok(json_response(StatusCode::OK, &Told { one_time_keys }))
}
