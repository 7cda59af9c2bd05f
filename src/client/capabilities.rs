//! What users may do here.

use std::{collections::BTreeMap, sync::Arc};

use pdu::RoomVersion;
use ruma::{
    RoomVersionId,
    api::client::discovery::get_capabilities::{
        self,
        v3::{
            Capabilities, ChangePasswordCapability, GetLoginTokenCapability, ProfileFieldsCapability,
            RoomVersionStability, RoomVersionsCapability, ThirdPartyIdChangesCapability,
        },
    },
};
use web::{ApiError, Call, User};

use crate::ClientApi;

/// `GET /_matrix/client/v3/capabilities`: what users may do here.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities>
pub(crate) async fn get_capabilities(
    api: Arc<ClientApi>,
    _call: Call<get_capabilities::v3::Request, User>,
) -> Result<get_capabilities::v3::Response, ApiError> {
    let mut capabilities = Capabilities::new();
    capabilities.change_password = ChangePasswordCapability::new(true);
    capabilities.room_versions = room_versions(api.config.default_room_version);
    capabilities.thirdparty_id_changes = ThirdPartyIdChangesCapability::new(false);
    capabilities.get_login_token = GetLoginTokenCapability::new(false);
    capabilities.profile_fields = Some(ProfileFieldsCapability::new(true));
    Ok(get_capabilities::v3::Response::new(capabilities))
}

fn room_versions(default: RoomVersion) -> RoomVersionsCapability {
    let available: BTreeMap<RoomVersionId, RoomVersionStability> = RoomVersion::SUPPORTED
        .iter()
        .map(|version| (version.id().clone(), RoomVersionStability::Stable))
        .collect();
    RoomVersionsCapability::new(default.id().clone(), available)
}
