//! Presence: what a user says of being there, and who else is.

use std::sync::Arc;

use account::State;
use room::tables::Membership;
use ruma::{
    UserId,
    api::client::presence::{get_presence, set_presence},
    presence::PresenceState,
};
use web::{ApiError, Call, User};

use crate::ClientApi;

/// Rooms that are looked at together for one that two users share.
const ROOMS_AT_ONCE: usize = 1_000;

/// `PUT /_matrix/client/v3/presence/{userId}/status`: says whether the caller is there.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3presenceuseridstatus>
pub(crate) async fn set(
    api: Arc<ClientApi>,
    call: Call<set_presence::v3::Request, User>,
) -> Result<set_presence::v3::Response, ApiError> {
    let set_presence::v3::Request { user_id, presence, status_msg, .. } = call.request;
    call.caller.must_be(&user_id)?;
    let Some(state) = State::named(presence.as_str()) else {
        return Err(ApiError::bad_json("`presence` is `online`, `offline` or `unavailable`"));
    };
    api.accounts.presence().set(&user_id, &call.caller.device_id, state, status_msg);
    Ok(set_presence::v3::Response::new())
}

/// `GET /_matrix/client/v3/presence/{userId}/status`: whether somebody is there, for those who
/// share a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3presenceuseridstatus>
pub(crate) async fn get(
    api: Arc<ClientApi>,
    call: Call<get_presence::v3::Request, User>,
) -> Result<get_presence::v3::Response, ApiError> {
    let user = &call.request.user_id;
    if call.caller.user_id != *user && !share_a_room(&api, &call.caller.user_id, user).await? {
        return Err(ApiError::forbidden("You share no room with this user"));
    }
    let Some(seen) = api.accounts.presence().look_up(user) else {
        return Ok(get_presence::v3::Response::new(PresenceState::Offline));
    };
    let mut response = get_presence::v3::Response::new(PresenceState::from(seen.state.name()));
    response.status_msg = seen.status;
    response.last_active_ago = Some(seen.active_ago);
    response.currently_active = Some(seen.is_active);
    Ok(response)
}

async fn share_a_room(api: &ClientApi, one: &UserId, other: &UserId) -> Result<bool, ApiError> {
    let rooms = api.rooms.memberships(one).await?;
    let pairs: Vec<_> = rooms.with(Membership::Join).map(|row| (row.room, other)).collect();
    for some in pairs.chunks(ROOMS_AT_ONCE) {
        if api.rooms.are_joined(some).await?.contains(&true) {
            return Ok(true);
        }
    }
    Ok(false)
}
