//! What a room shows of itself to those who may join it.
//!
//! Of rooms that we take no part in other servers tell: those that the client names, that its alias names, and that
//! know the room because they invited the user or took his knock. What they tell is shown to whom a space's walk would
//! show it, and kept for its user for a minute, as clients ask for the same room again while it is looked at.

use std::sync::Arc;

use room::read::space::{Looker, RoomSummary};
use ruma::{OwnedRoomOrAliasId, OwnedServerName, RoomId, UserId};
use serde::{Deserialize, Serialize};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, hierarchy::describe};

/// A room's summary, and what the caller is in it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    room: RoomSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'static str>,
}

#[derive(Deserialize)]
struct Query {
    /// Servers that know the room, where we do not.
    #[serde(default)]
    via: Vec<OwnedServerName>,
}

/// `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`: what a room shows to those who may join it.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias>
pub(crate) async fn room_summary(
    api: Arc<ClientApi>,
    call: RawCall<Option<User>>,
) -> Result<Response, ApiError> {
    let target: OwnedRoomOrAliasId = call.args.get(0)?;
    let Query { mut via } = call.query()?;
    let caller = call.caller.as_ref().map(|user| &*user.user_id);
    let room_id = match <&RoomId>::try_from(&*target) {
        Ok(room_id) => room_id.to_owned(),
        Err(alias) => {
            let answer = api.engine.resolve_alias(caller, alias).await?;
            via.extend(answer.servers);
            answer.room_id
        }
    };
    let looker = caller.map_or(Looker::Anybody, Looker::User);
    let room = match (api.rooms.room_summary(&room_id, looker).await?, caller) {
        (Some((_, room)), _) => Some(room),
        // Who has no token makes us ask nobody.
        (None, None) => None,
        (None, Some(_)) if api.rooms.takes_part_in(&room_id).await? => None,
        (None, Some(user)) => elsewhere(&api, user, &room_id, &via).await?,
    };
    let room = room.ok_or_else(|| ApiError::not_found("There is no such room"))?;
    let membership = match caller {
        Some(user) => {
            let membership = api.rooms.membership(user, &room_id).await?.map(|room| room.membership);
            Some(membership.map_or("leave", room::read::event::name_of))
        }
        None => None,
    };
    Ok(json_response(StatusCode::OK, &Shown { room, membership }))
}

/// What others tell of a room, if it is for the eyes of this user.
async fn elsewhere(
    api: &ClientApi,
    user: &UserId,
    room_id: &RoomId,
    via: &[OwnedServerName],
) -> Result<Option<RoomSummary>, ApiError> {
    let shown = match api.summaries.find(user, room_id, api.clock.instant()) {
        Some(shown) => shown,
        None => {
            let servers = api.engine.helpers(user, room_id, via).await?;
            let Some(answer) = describe(api, user, false, room_id, &servers).await else { return Ok(None) };
            let shown = RoomSummary { children_state: None, ..answer.room };
            api.summaries.keep(user, shown.clone(), api.clock.instant());
            shown
        }
    };
    Ok(api.rooms.may_see_summary(&shown, Looker::User(user)).await?.then_some(shown))
}
