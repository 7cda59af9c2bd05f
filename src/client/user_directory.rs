//! Finding users by name.

use std::{collections::HashSet, sync::Arc};

use base::Term;
use room::Found;
use ruma::{
    OwnedUserId, UserId,
    api::client::user_directory::search_users::{self, v3::User as Shown},
};
use web::{ApiError, Call, User};

use crate::ClientApi;

/// Most users that one search gives.
const MAX_FOUND: usize = 50;
/// So many more are looked for than are given, since not all are to be shown.
const SPARE: usize = 20;
/// So many people are compared with the term in one go.
const COMPARED_AT_ONCE: usize = 32;

/// `POST /_matrix/client/v3/user_directory/search`: the caller's colleagues whom the words mean, then users whose id or name
/// holds the term, among those who share a room with the caller or are in a room that is open to everybody.
///
/// Names of our users are those of profiles: what somebody calls himself in one room is not shown elsewhere. Others are
/// called as in a room that the caller may look into. Colleagues are called as their organisation has it, so that two of one
/// name are told apart.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch>
pub(crate) async fn search(
    api: Arc<ClientApi>,
    call: Call<search_users::v3::Request, User>,
) -> Result<search_users::v3::Response, ApiError> {
    let text = &call.request.search_term;
    let term = Term::new(text);
    let limit = usize::try_from(u64::from(call.request.limit)).unwrap_or(MAX_FOUND).min(MAX_FOUND);
    let caller = &call.caller.user_id;
    let colleagues = api.colleagues.find(caller, text, limit).await?;
    let people = api.rooms.find_people(caller, &term, limit + SPARE).await?;
    let mut shown = show_colleagues(&api, colleagues.people).await?;
    let others = show(&api, &people.people, &term).await?;
    let known: HashSet<OwnedUserId> = shown.iter().map(|user| user.user_id.clone()).collect();
    shown.extend(others.into_iter().filter(|user| !known.contains(&user.user_id)));
    let limited = colleagues.limited || people.limited || shown.len() > limit;
    shown.truncate(limit);
    Ok(search_users::v3::Response::new(shown, limited))
}

/// Colleagues with their pictures.
async fn show_colleagues(
    api: &ClientApi,
    colleagues: Vec<(OwnedUserId, String)>,
) -> Result<Vec<Shown>, ApiError> {
    let users: Vec<&UserId> = colleagues.iter().map(|(user, _)| &**user).collect();
    let profiles = api.accounts.member_profiles(&users).await?;
    let shown = colleagues.into_iter().zip(profiles).map(|((user_id, name), profile)| {
        let mut user = Shown::new(user_id);
        user.display_name = Some(name);
        user.avatar_url = profile.avatar_url.map(Into::into);
        user
    });
    Ok(shown.collect())
}

/// Those of the people whom the term is about and who are to be found, in their order.
async fn show(api: &ClientApi, people: &[Found], term: &Term) -> Result<Vec<Shown>, ApiError> {
    let ours: Vec<&UserId> =
        people.iter().map(|found| &*found.user_id).filter(|user| api.is_ours(user)).collect();
    let profiles = api.accounts.member_profiles(&ours).await?;
    let mut of_ours = profiles.into_iter().zip(api.accounts.have_open_accounts(&ours).await?);
    let mut shown = Vec::new();
    for (number, Found { user_id, appearance, .. }) in people.iter().enumerate() {
        let mut user = Shown::new(user_id.clone());
        let is_there = if api.is_ours(user_id) {
            let (profile, is_open) = of_ours.next().unwrap_or_default();
            user.display_name = profile.displayname;
            user.avatar_url = profile.avatar_url.map(Into::into);
            is_open
        } else {
            let appearance = appearance.clone().unwrap_or_default();
            user.display_name = appearance.displayname;
            user.avatar_url = appearance.avatar_url;
            true
        };
        if number % COMPARED_AT_ONCE == COMPARED_AT_ONCE - 1 {
            // Long names of many people are not to hold up others' requests.
            tokio::task::yield_now().await;
        }
        if is_there && matches(&user, term) {
            shown.push(user);
        }
    }
    Ok(shown)
}

fn matches(user: &Shown, term: &Term) -> bool {
    let name = user.display_name.as_deref();
    term.is_in(user.user_id.as_str()) || name.is_some_and(|name| term.is_in(name))
}
