//! Replacing a room by one of a newer version.

use std::sync::Arc;

use engine::{Invitee, Upgrade, Upgraded};
use pdu::RoomVersion;
use room::Zone;
use ruma::{RoomId, UserId, api::client::room::upgrade_room};
use web::{ApiError, Call, User};

use crate::{
    ClientApi,
    api::{actor, viewer},
    send::hide_room,
    zones,
};

/// `POST /_matrix/client/v3/rooms/{roomId}/upgrade`: replaces a room by one of another version.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade>
pub(crate) async fn upgrade(
    api: Arc<ClientApi>,
    call: Call<upgrade_room::v3::Request, User>,
) -> Result<upgrade_room::v3::Response, ApiError> {
    let upgrade_room::v3::Request { room_id: old_room, new_version, additional_creators, .. } = call.request;
    let user = &call.caller.user_id;
    let version = RoomVersion::parse(new_version.as_str())
        .map_err(|_| room::Error::UnsupportedVersion(new_version.to_string()))?;
    may_replace(&api, call.zone.as_ref(), &call.caller, &old_room).await?;
    let profile = api.member_profile(user).await?;
    let by = actor(&call.caller, call.address);
    let wish = Upgrade { version, additional_creators, profile, by };

    let Upgraded { room_id, to_invite } =
        api.engine.upgrade(user, &old_room, wish).await.map_err(hide_room)?;

    let invited: Vec<&UserId> = to_invite.iter().map(|user| &**user).collect();
    let profiles = api.member_profiles(&invited).await?;
    let invitees = to_invite.iter().cloned().zip(profiles);
    let invitees = invitees.map(|(user_id, profile)| Invitee { user_id, profile }).collect();
    api.engine.invite_many(user, &room_id, invitees).await;
    if let Err(error) = api.accounts.carry_over(user, &old_room, &room_id).await {
        // The room is replaced, whatever becomes of what is only his.
        tracing::warn!(user_id = %user, %room_id, %error, "settings of the old room were not carried over");
    }
    Ok(upgrade_room::v3::Response::new(room_id))
}

/// Refuses to replace an encrypted room from a zone where nobody encrypts: the new one would be made encrypted.
async fn may_replace(
    api: &ClientApi,
    zone: Option<&Zone>,
    caller: &User,
    room_id: &RoomId,
) -> Result<(), ApiError> {
    if !zones::is_barred(zone) {
        return Ok(());
    }
    // Who sees nothing of the room is told so by what follows.
    match api.rooms.state_event(&viewer(caller), room_id, zones::ENCRYPTION, "").await {
        Ok(_) => Err(zones::refusal()),
        Err(_) => Ok(()),
    }
}
