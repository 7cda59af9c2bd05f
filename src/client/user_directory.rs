//! Finding users by name.

use std::{collections::BTreeMap, sync::Arc};

use room::tables::Membership;
use ruma::{
    OwnedUserId, RoomId, UserId,
    api::client::user_directory::search_users::{self, v3::User as Found},
};
use web::{ApiError, Call, User};

use crate::ClientApi;

/// Most users that one search gives.
const MAX_FOUND: usize = 50;
/// Rooms of the caller that are searched, the ones with the smallest serials first.
const MAX_ROOMS: usize = 200;
/// When so many users were looked at, no further room is.
const MAX_CANDIDATES: usize = 5_000;

/// `POST /_matrix/client/v3/user_directory/search`: users whose id or name holds the term, among
/// those who share a room with the caller or are in a room of the directory.
///
/// Names are those of profiles: what somebody calls himself in one room is not shown elsewhere.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch>
pub(crate) async fn search(
    api: Arc<ClientApi>,
    call: Call<search_users::v3::Request, User>,
) -> Result<search_users::v3::Response, ApiError> {
    let term = call.request.search_term.to_lowercase();
    let limit = usize::try_from(u64::from(call.request.limit)).unwrap_or(MAX_FOUND).min(MAX_FOUND);
    let caller = &call.caller.user_id;

    let mut candidates = BTreeMap::new();
    let rooms = api.rooms.memberships(caller).await?;
    for room in rooms.with(Membership::Join).take(MAX_ROOMS) {
        collect(&api, &room.room_id, &mut candidates).await?;
    }
    let listed = api.rooms.public_rooms(call.face.server_name(), &Default::default()).await?;
    for room in listed.chunk.iter().take(MAX_ROOMS) {
        collect(&api, &room.room_id, &mut candidates).await?;
    }
    candidates.remove(caller);
    show_profiles(&api, &mut candidates).await?;

    let mut found: Vec<Found> = candidates
        .into_values()
        .filter(|user| {
            let name = user.display_name.as_deref().unwrap_or_default().to_lowercase();
            user.user_id.as_str().to_lowercase().contains(&term) || name.contains(&term)
        })
        .collect();
    let limited = found.len() > limit;
    found.truncate(limit);
    Ok(search_users::v3::Response::new(found, limited))
}

type Candidates = BTreeMap<OwnedUserId, Found>;

/// Adds the members of a room, until there are enough.
async fn collect(api: &ClientApi, room_id: &RoomId, into: &mut Candidates) -> Result<(), ApiError> {
    if into.len() >= MAX_CANDIDATES {
        return Ok(());
    }
    let Some(room) = api.rooms.room(room_id).await? else { return Ok(()) };
    for member in api.rooms.joined_profiles(&room).await? {
        let mut user = Found::new(member.user_id.clone());
        user.display_name = member.displayname;
        user.avatar_url = member.avatar_url;
        into.entry(member.user_id).or_insert(user);
    }
    Ok(())
}

/// Puts the profiles of our own users in the place of what they show in rooms.
async fn show_profiles(api: &ClientApi, candidates: &mut Candidates) -> Result<(), ApiError> {
    let ours: Vec<OwnedUserId> = candidates.keys().filter(|user| api.is_ours(user)).cloned().collect();
    let users: Vec<&UserId> = ours.iter().map(|user| &**user).collect();
    for (user, profile) in ours.iter().zip(api.member_profiles(&users).await?) {
        if let Some(found) = candidates.get_mut(user) {
            found.display_name = profile.displayname;
            found.avatar_url = profile.avatar_url.map(Into::into);
        }
    }
    Ok(())
}
