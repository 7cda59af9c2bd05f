//! Finding users by name.

use std::{collections::BTreeMap, sync::Arc};

use base::Term;
use room::{EventSerial, RoomSerial, tables::Membership};
use ruma::{
    OwnedUserId, UserId,
    api::client::user_directory::search_users::{self, v3::User as Found},
};
use web::{ApiError, Call, User};

use crate::ClientApi;

/// Most users that one search gives.
const MAX_FOUND: usize = 50;
/// So many rooms are read, and names compared, in one round.
const ROOMS_AT_ONCE: usize = 100;
const NAMES_AT_ONCE: usize = 500;
/// So many people are compared with the term in one go.
const COMPARED_AT_ONCE: usize = 32;
/// Most people that one search looks for among the members of rooms. Who comes after them is found by a room that
/// fewer are in.
const MAX_PEOPLE: usize = 200_000;
/// Most people of other servers whose names one search reads; all are compared by their ids.
const MAX_NAMES_ELSEWHERE: usize = 20_000;

/// `POST /_matrix/client/v3/user_directory/search`: users whose id or name holds the term, among
/// those who share a room with the caller or are in a room that is open to everybody.
///
/// Names are those of profiles: what somebody calls himself in one room is not shown elsewhere.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch>
pub(crate) async fn search(
    api: Arc<ClientApi>,
    call: Call<search_users::v3::Request, User>,
) -> Result<search_users::v3::Response, ApiError> {
    let term = Term::new(&call.request.search_term);
    let limit = usize::try_from(u64::from(call.request.limit)).unwrap_or(MAX_FOUND).min(MAX_FOUND);
    let mut people = people(&api, &call.caller.user_id).await?;
    people.remove(&call.caller.user_id);

    let mut found = Vec::new();
    let mut names_left = MAX_NAMES_ELSEWHERE;
    let mut limited = people.len() >= MAX_PEOPLE;
    let people: Vec<Person> = people.into_iter().collect();
    for some in people.chunks(NAMES_AT_ONCE) {
        let shown = show(&api, some, &term, &mut names_left).await?;
        for (number, user) in shown.into_iter().enumerate() {
            if number % COMPARED_AT_ONCE == COMPARED_AT_ONCE - 1 {
                // Long names of many people are not to hold up others' requests.
                tokio::task::yield_now().await;
            }
            if matches(&user, &term) && api.rooms.policy().find(&call.caller.user_id, &user.user_id) {
                found.push(user);
            }
        }
        if found.len() > limit {
            limited = true;
            break;
        }
    }
    limited |= names_left == 0;
    found.truncate(limit);
    Ok(search_users::v3::Response::new(found, limited))
}

/// Somebody, and a member event that tells how he appears.
type Person = (OwnedUserId, (RoomSerial, EventSerial));

fn matches(user: &Found, term: &Term) -> bool {
    let name = user.display_name.as_deref();
    term.is_in(user.user_id.as_str()) || name.is_some_and(|name| term.is_in(name))
}

/// Everybody whom the caller may find.
async fn people(
    api: &ClientApi,
    caller: &UserId,
) -> Result<BTreeMap<OwnedUserId, (RoomSerial, EventSerial)>, ApiError> {
    let memberships = api.rooms.memberships(caller).await?;
    let mut rooms: Vec<RoomSerial> = memberships.with(Membership::Join).map(|room| room.room).collect();
    // Of many rooms with many people, the caller's own come first.
    rooms.extend(api.rooms.open_rooms().await?);
    let mut people = BTreeMap::new();
    for some in rooms.chunks(ROOMS_AT_ONCE) {
        for (room, members) in some.iter().zip(api.rooms.people_of(some).await?) {
            for (user, event) in members {
                people.entry(user).or_insert((*room, event));
            }
        }
        if people.len() >= MAX_PEOPLE {
            break;
        }
    }
    Ok(people)
}

/// People as they are shown to others: ours by their profiles, others as they appear in a room.
async fn show(
    api: &ClientApi,
    people: &[Person],
    term: &Term,
    names_left: &mut usize,
) -> Result<Vec<Found>, ApiError> {
    let (ours, others): (Vec<&Person>, Vec<&Person>) = people.iter().partition(|(user, _)| api.is_ours(user));
    let mut found: BTreeMap<&UserId, Found> =
        people.iter().map(|(user, _)| (&**user, Found::new(user.clone()))).collect();

    let users: Vec<&UserId> = ours.iter().map(|(user, _)| &**user).collect();
    for (user, profile) in users.iter().zip(api.member_profiles(&users).await?) {
        if let Some(found) = found.get_mut(user) {
            found.display_name = profile.displayname;
            found.avatar_url = profile.avatar_url.map(Into::into);
        }
    }
    // Whose id matches is shown with a name even when no more names are read for their own sake.
    let mut read = Vec::new();
    for person in others {
        if *names_left > 0 || term.is_in(person.0.as_str()) {
            *names_left = names_left.saturating_sub(1);
            read.push(person);
        }
    }
    let events: Vec<_> = read.iter().map(|(_, event)| *event).collect();
    for ((user, _), appearance) in read.iter().zip(api.rooms.appearances(&events).await?) {
        if let Some(found) = found.get_mut(&**user) {
            found.display_name = appearance.displayname;
            found.avatar_url = appearance.avatar_url;
        }
    }
    Ok(found.into_values().collect())
}
