//! Aliases of rooms and the directory of public rooms.

use std::sync::Arc;

use room::{
    Error,
    read::directory::{DirectoryQuery, Network},
};
use ruma::{
    OwnedServerName, ServerName, UInt, UserId,
    api::client::{
        alias::{create_alias, delete_alias, get_alias},
        directory::{get_room_visibility, set_room_visibility},
        room::{Visibility, aliases},
    },
    directory::RoomTypeFilter,
    room::RoomType,
};
use serde::Deserialize;
use web::{ApiError, Call, Open, RawCall, Response, StatusCode, User, json_response};

use crate::{
    ClientApi,
    api::{actor, known, viewer},
    send::hide_room,
};

/// `PUT /_matrix/client/v3/directory/room/{roomAlias}`: gives a room an alias.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directoryroomroomalias>
pub(crate) async fn create_alias(
    api: Arc<ClientApi>,
    call: Call<create_alias::v3::Request, User>,
) -> Result<create_alias::v3::Response, ApiError> {
    let create_alias::v3::Request { room_alias, room_id, .. } = call.request;
    api.accounts.check_alias(call.caller.service(), &room_alias)?;
    let by = actor(&call.caller, call.address);
    match api.engine.create_alias(&call.caller.user_id, &room_alias, &room_id, &by).await {
        Ok(()) => Ok(create_alias::v3::Response::new()),
        Err(Error::AliasTaken) => Err(ApiError::new(StatusCode::CONFLICT, "M_UNKNOWN", "The alias is taken")),
        Err(error) => Err(hide_room(error)),
    }
}

/// `GET /_matrix/client/v3/directory/room/{roomAlias}`: the room that an alias stands for. A stranger hears of aliases of
/// ours only.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directoryroomroomalias>
pub(crate) async fn get_alias(
    api: Arc<ClientApi>,
    call: Call<get_alias::v3::Request, Option<User>>,
) -> Result<get_alias::v3::Response, ApiError> {
    let caller = call.caller.as_ref().map(|user| &*user.user_id);
    let answer = api.engine.resolve_alias(caller, &call.request.room_alias).await?;
    Ok(get_alias::v3::Response::new(answer.room_id, answer.servers))
}

/// `DELETE /_matrix/client/v3/directory/room/{roomAlias}`: takes an alias away, also from the
/// room's own list of aliases if the caller may change that.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3directoryroomroomalias>
pub(crate) async fn delete_alias(
    api: Arc<ClientApi>,
    call: Call<delete_alias::v3::Request, User>,
) -> Result<delete_alias::v3::Response, ApiError> {
    let (user, alias) = (&call.caller.user_id, &call.request.room_alias);
    let by = actor(&call.caller, call.address);
    api.accounts.check_alias(call.caller.service(), alias)?;
    match call.caller.service() {
        // What is its alone whoever made it, and of what it shares what its users made.
        Some(service) => {
            let is_own = |maker: &UserId| service.keeps_alias(alias) || service.covers_user(maker);
            api.engine.delete_alias_of(user, alias, &is_own, &by).await?;
        }
        None => api.engine.delete_alias(user, alias, &by).await?,
    }
    Ok(delete_alias::v3::Response::new())
}

/// `GET /_matrix/client/v3/rooms/{roomId}/aliases`: the aliases that a room has at this server.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases>
pub(crate) async fn room_aliases(
    api: Arc<ClientApi>,
    call: Call<aliases::v3::Request, User>,
) -> Result<aliases::v3::Response, ApiError> {
    let viewer = viewer(&call.caller);
    let aliases = api.rooms.room_aliases(&viewer, &call.request.room_id).await.map_err(hide_room)?;
    Ok(aliases::v3::Response::new(aliases))
}

/// `GET /_matrix/client/v3/directory/list/room/{roomId}`: whether the directory shows a room.
///
/// A room that does not exist is private too: anybody may ask, and is not told which rooms there are.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid>
pub(crate) async fn get_visibility(
    api: Arc<ClientApi>,
    call: Call<get_room_visibility::v3::Request, Open>,
) -> Result<get_room_visibility::v3::Response, ApiError> {
    let published = api.rooms.is_published(call.face.server_name(), &call.request.room_id).await?;
    let visibility = if published { Visibility::Public } else { Visibility::Private };
    Ok(get_room_visibility::v3::Response::new(visibility))
}

/// `PUT /_matrix/client/v3/directory/list/room/{roomId}`: shows a room in the directory, or takes it out.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid>
pub(crate) async fn set_visibility(
    api: Arc<ClientApi>,
    call: Call<set_room_visibility::v3::Request, User>,
) -> Result<set_room_visibility::v3::Response, ApiError> {
    let set_room_visibility::v3::Request { room_id, visibility, .. } = call.request;
    let published = match visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(ApiError::bad_json("The visibility is `public` or `private`")),
    };
    let by = actor(&call.caller, call.address);
    api.rooms.set_published(&call.caller.user_id, &room_id, published, &by).await.map_err(hide_room)?;
    Ok(set_room_visibility::v3::Response::new())
}

/// `GET /_matrix/client/v3/publicRooms`: a page of a directory; for a stranger, of one of ours.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms>
pub(crate) async fn public_rooms(
    api: Arc<ClientApi>,
    call: RawCall<Option<User>>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        limit: Option<UInt>,
        since: Option<String>,
        server: Option<OwnedServerName>,
    }
    let Query { limit, since, server } = call.query()?;
    let query = DirectoryQuery { limit: limit.map(count), since, ..DirectoryQuery::default() };

    if let Some(server) = &server
        && !api.authorities.is_ours(server)
    {
        known(call.caller.as_ref())?;
    }
    let user = call.caller.as_ref().map(|user| &*user.user_id);
    directory_of(&api, user, call.face.server_name(), server.as_deref(), &query).await
}

/// `POST /_matrix/client/v3/publicRooms`: a page of a directory, searched.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3publicrooms>
pub(crate) async fn search_public_rooms(
    api: Arc<ClientApi>,
    call: RawCall<User>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        server: Option<OwnedServerName>,
    }
    #[derive(Default, Deserialize)]
    struct Body {
        limit: Option<UInt>,
        since: Option<String>,
        #[serde(default)]
        filter: Filter,
        #[serde(default)]
        include_all_networks: bool,
        third_party_instance_id: Option<String>,
    }
    #[derive(Default, Deserialize)]
    struct Filter {
        generic_search_term: Option<String>,
        #[serde(default)]
        room_types: Vec<RoomTypeFilter>,
    }
    let Query { server } = call.query()?;
    let Body { limit, since, filter, include_all_networks, third_party_instance_id } =
        if call.body.is_empty() { Body::default() } else { call.json()? };
    let types =
        (!filter.room_types.is_empty()).then(|| filter.room_types.into_iter().map(room_type).collect());
    let network = match third_party_instance_id {
        Some(_) if include_all_networks => {
            return Err(ApiError::invalid_param("One network is asked for, and all of them"));
        }
        Some(network) => Network::Third(network),
        None if include_all_networks => Network::All,
        None => Network::Own,
    };
    let search = filter.generic_search_term;
    let query = DirectoryQuery { limit: limit.map(count), since, search, network, types };

    let user = Some(&*call.caller.user_id);
    directory_of(&api, user, call.face.server_name(), server.as_deref(), &query).await
}

/// A page of the directory of one of our authorities, or of another server.
async fn directory_of(
    api: &ClientApi,
    user: Option<&UserId>,
    face: &ServerName,
    server: Option<&ServerName>,
    query: &DirectoryQuery,
) -> Result<Response, ApiError> {
    let server = server.unwrap_or(face);
    api.rooms.policy().look_up(user, server).map_err(Error::from)?;
    let page = if api.authorities.is_ours(server) {
        api.rooms.public_rooms(server, query).await?
    } else {
        api.elsewhere.public_rooms(face, server, query).await.map_err(Error::from)?
    };
    Ok(json_response(StatusCode::OK, &page.to_json().map_err(ApiError::internal)?))
}

fn count(limit: UInt) -> usize {
    usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
}

fn room_type(filter: RoomTypeFilter) -> Option<RoomType> {
    match filter {
        RoomTypeFilter::Default => None,
        RoomTypeFilter::Space => Some(RoomType::Space),
        other => Some(RoomType::from(other.as_str().unwrap_or_default())),
    }
}
