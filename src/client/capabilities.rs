//! What users may do here.

use std::{collections::BTreeMap, sync::Arc};

use pdu::RoomVersion;
use serde_json::json;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// `GET /_matrix/client/v3/capabilities`: what users may do here.
///
/// Every capability is named, also where it is what clients assume: some look for the key.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities>
pub(crate) async fn get_capabilities(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let versions: BTreeMap<&str, &str> =
        RoomVersion::SUPPORTED.iter().map(|version| (version.as_str(), "stable")).collect();
    let yes = json!({ "enabled": true });
    let moderates = call.caller.is_admin;
    // What the organisation decides a client need not offer to change.
    let names_himself = !api.accounts.is_given(&call.caller.user_id).await?;
    let mut fields = yes.clone();
    if !names_himself {
        fields = json!({ "enabled": true, "disallowed": account::GIVEN_FIELDS });
    }
    let capabilities = json!({
        "m.change_password": yes,
        "m.room_versions": {
            "default": api.config.default_room_version.as_str(),
            "available": versions,
        },
        "m.set_displayname": { "enabled": names_himself },
        "m.set_avatar_url": yes,
        "m.profile_fields": fields,
        "uk.tcpip.msc4133.profile_fields": fields,
        "m.3pid_changes": { "enabled": api.accounts.takes_emails(call.face.server_name()) },
        "m.get_login_token": yes,
        "m.account_moderation": { "lock": moderates, "suspend": moderates },
        "org.matrix.msc4140.delayed_events": yes,
        "org.matrix.msc4155.invite_permission_config_enforced": yes,
    });
    Ok(json_response(StatusCode::OK, &json!({ "capabilities": capabilities })))
}
