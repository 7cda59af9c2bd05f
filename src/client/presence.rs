//! Presence: who is there just now. It lives in memory only.

use std::{collections::HashMap, sync::Arc};

use base::Instant;
use parking_lot::RwLock;
use ruma::{
    OwnedUserId, UserId,
    api::client::presence::{get_presence, set_presence},
    presence::PresenceState,
};
use web::{ApiError, Call, User};

use crate::ClientApi;

/// Longest status message that is kept, in characters.
const MAX_STATUS_CHARS: usize = 1_000;

/// What a user says of being there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPresence {
    /// Whether the user is there.
    pub state: PresenceState,
    /// What the user is doing.
    pub status: Option<String>,
    /// When the user said so.
    pub since: Instant,
}

/// What users of this process say of being there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<RwLock<HashMap<OwnedUserId, UserPresence>>>);

impl Presence {
    /// What a user said last.
    pub fn find(&self, user: &UserId) -> Option<UserPresence> {
        self.0.read().get(user).cloned()
    }

    /// Notes what a user says.
    pub fn set(&self, user: &UserId, presence: UserPresence) {
        self.0.write().insert(user.to_owned(), presence);
    }
}

/// `PUT /_matrix/client/v3/presence/{userId}/status`: says whether the caller is there.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3presenceuseridstatus>
pub(crate) async fn set(
    api: Arc<ClientApi>,
    call: Call<set_presence::v3::Request, User>,
) -> Result<set_presence::v3::Response, ApiError> {
    let set_presence::v3::Request { user_id, presence, status_msg, .. } = call.request;
    call.caller.must_be(&user_id)?;
    if !matches!(presence, PresenceState::Online | PresenceState::Offline | PresenceState::Unavailable) {
        return Err(ApiError::bad_json("`presence` is `online`, `offline` or `unavailable`"));
    }
    let status = status_msg.map(|status| status.chars().take(MAX_STATUS_CHARS).collect());
    api.presence.set(&user_id, UserPresence { state: presence, status, since: api.clock.instant() });
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
    let Some(presence) = api.presence.find(user) else {
        return Ok(get_presence::v3::Response::new(PresenceState::Offline));
    };
    let mut response = get_presence::v3::Response::new(presence.state.clone());
    response.status_msg = presence.status;
    response.last_active_ago = Some(api.clock.instant().since(presence.since));
    response.currently_active = Some(presence.state == PresenceState::Online);
    Ok(response)
}

async fn share_a_room(api: &ClientApi, one: &UserId, other: &UserId) -> Result<bool, ApiError> {
    for room in api.rooms.joined_rooms(one).await? {
        if api.rooms.is_joined(other, &room).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
