//! Questions about users, aliases and the room directory.

use std::sync::Arc;

use room::read::{
    bounded::MAX_CHILD,
    directory::DirectoryQuery,
    space::{Looker, Shown, SpaceAnswer},
};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, UserId, room::RoomType};
use serde::Deserialize;
use serde_json::value::to_raw_value;
use web::{ApiError, Open, Origin, RawCall, Response, StatusCode, json_response};

use super::{
    FederationApi,
    json::{Object, object_body},
};

/// Rooms of a space that are named in one answer, and how many of them are described too. The asking server asks
/// for the others one by one.
const MAX_CHILDREN: usize = 10_000;
const MAX_DESCRIBED: usize = 500;
/// What the names and what the descriptions may take of an answer, in bytes. Both together are less than what we
/// ourselves read of one.
const MAX_NAMES_BYTES: usize = 4 << 20;
const MAX_DESCRIPTIONS_BYTES: usize = 2 << 20;

/// `GET /query/profile`: the profile of a user of ours, or one field of it.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile>
pub(super) async fn profile(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        user_id: OwnedUserId,
        field: Option<String>,
    }

    let Query { user_id, field } = call.query()?;
    must_be_of(&call.caller, &user_id)?;
    let profile = api.accounts.profile(&user_id).await?;
    let mut object = Object::new();
    for (name, value) in &profile.0 {
        if field.as_ref().is_none_or(|field| field == name) {
            object = object.json(name, value.get());
        }
    }
    Ok(object.answer())
}

/// `GET /query/directory`: the room that an alias of ours stands for.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory>
pub(super) async fn directory(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        room_alias: OwnedRoomAliasId,
    }

    let Query { room_alias } = call.query()?;
    let unknown = || ApiError::not_found("There is no such alias here");
    if room_alias.server_name() != call.caller.destination {
        return Err(unknown());
    }
    let found = api.engine.local_alias(&room_alias).await?.ok_or_else(unknown)?;
    Ok(Object::new()
        .string("room_id", found.room_id.as_str())
        .strings("servers", found.servers.iter().map(|server| server.as_str()))
        .answer())
}

/// `GET /query/{queryType}` of no type that the specification has.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryquerytype>
pub(super) async fn unknown(_: Arc<FederationApi>, _: RawCall<Origin>) -> Result<Response, ApiError> {
    Err(ApiError::not_found("There are no queries of this type"))
}

/// `GET /publicRooms`
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1publicrooms>
pub(super) async fn public_rooms(
    api: Arc<FederationApi>,
    call: RawCall<Origin>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        limit: Option<u32>,
        since: Option<String>,
    }

    let Query { limit, since } = call.query()?;
    let query = DirectoryQuery { limit: to_limit(limit), since, ..DirectoryQuery::default() };
    page(&api, &call.caller, &query).await
}

/// `POST /publicRooms`
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1publicrooms>
pub(super) async fn public_rooms_filtered(
    api: Arc<FederationApi>,
    call: RawCall<Origin>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        limit: Option<u32>,
        since: Option<String>,
        #[serde(default)]
        filter: Filter,
    }
    #[derive(Default, Deserialize)]
    struct Filter {
        generic_search_term: Option<String>,
        room_types: Option<Vec<Option<RoomType>>>,
    }

    let Body { limit, since, filter } = object_body(&call)?;
    let query = DirectoryQuery {
        limit: to_limit(limit),
        since,
        search: filter.generic_search_term,
        types: filter.room_types,
        ..DirectoryQuery::default()
    };
    page(&api, &call.caller, &query).await
}

fn to_limit(limit: Option<u32>) -> Option<usize> {
    limit.and_then(|limit| usize::try_from(limit).ok())
}

async fn page(api: &FederationApi, caller: &Origin, query: &DirectoryQuery) -> Result<Response, ApiError> {
    let page = api.rooms.public_rooms(&caller.destination, query).await?;
    Ok(json_response(StatusCode::OK, &page.to_json().map_err(ApiError::internal)?))
}

/// `GET /hierarchy/{roomId}`: what a space, or another room, and the rooms in it show to the asking server.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid>
pub(super) async fn hierarchy(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(default)]
        suggested_only: bool,
    }

    let room_id: OwnedRoomId = call.args.get(0)?;
    let Query { suggested_only } = call.query()?;
    let looker = Looker::Server(&call.caller.server);
    let unknown = || ApiError::not_found("There is no such room here");
    if !api.rooms.takes_part_in(&room_id).await? {
        return Err(unknown());
    }
    api.admit(&call.caller.server, &room_id).await?;
    let (info, mut room) = api.rooms.room_summary(&room_id, looker).await?.ok_or_else(unknown)?;
    let mut children =
        if room.is_space() { api.rooms.space_children(&info, suggested_only).await? } else { Vec::new() };
    children.retain(|child| child.event.get().len() <= MAX_CHILD);
    children.truncate(MAX_CHILDREN);
    children.truncate(how_many(children.iter().map(|child| child.event.get().len()), MAX_NAMES_BYTES));
    let mut answer =
        SpaceAnswer { room: room.clone(), children: Vec::new(), inaccessible_children: Vec::new() };
    let ids: Vec<OwnedRoomId> =
        children.iter().take(MAX_DESCRIBED).map(|child| child.room_id.clone()).collect();
    for (room_id, shown) in ids.iter().zip(api.rooms.room_summaries(&ids, looker).await?) {
        match shown {
            Shown::Room(_, child) => answer.children.push(*child),
            Shown::Closed => answer.inaccessible_children.push(room_id.clone()),
            Shown::Unknown => {}
        }
    }
    let written = answer.children.iter().map(|child| to_raw_value(child).map_or(0, |json| json.get().len()));
    answer.children.truncate(how_many(written, MAX_DESCRIPTIONS_BYTES));
    room.children_state = Some(children.into_iter().map(|child| child.event).collect());
    answer.room = room;
    Ok(json_response(StatusCode::OK, &answer))
}

/// How many of these sizes, from the first on, make no more than `most` together.
fn how_many(sizes: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut sum = 0;
    sizes
        .take_while(|size| {
            sum += size;
            sum <= most
        })
        .count()
}

/// `GET /openid/userinfo`: whose OpenID token this is.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo>
pub(super) async fn openid_userinfo(
    api: Arc<FederationApi>,
    call: RawCall<Open>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        access_token: Option<String>,
    }

    let query: Query = call.query()?;
    let Some(token) = query.access_token else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", "`access_token` is required"));
    };
    let user = api.accounts.openid_user(call.face.server_name(), &token).await?;
    Ok(Object::new().string("sub", user.as_str()).answer())
}

pub(super) fn must_be_of(caller: &Origin, user: &UserId) -> Result<(), ApiError> {
    if user.server_name() == caller.destination {
        return Ok(());
    }
    Err(ApiError::not_found("There is no such user here"))
}

#[cfg(test)]
mod tests {
    use super::how_many;

    #[test]
    fn as_many_are_told_as_fit() {
        assert_eq!(how_many([3, 4, 5].into_iter(), 7), 2);
        assert_eq!(how_many([3, 4, 5].into_iter(), 100), 3);
        assert_eq!(how_many([3, 4, 1].into_iter(), 2), 0);
    }
}
