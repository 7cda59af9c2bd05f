//! What a room shows of itself to those who may join it.

use std::sync::Arc;

use room::read::space::{Looker, RoomSummary};
use ruma::{OwnedRoomOrAliasId, RoomId};
use serde::Serialize;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// A room's summary, and what the caller is in it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    room: RoomSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'static str>,
}

/// `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`: what a room shows to those who may join it.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias>
pub(crate) async fn room_summary(
    api: Arc<ClientApi>,
    call: RawCall<Option<User>>,
) -> Result<Response, ApiError> {
    let target: OwnedRoomOrAliasId = call.args.get(0)?;
    let caller = call.caller.as_ref().map(|user| &*user.user_id);
    let room_id = match <&RoomId>::try_from(&*target) {
        Ok(room_id) => room_id.to_owned(),
        Err(alias) => api.engine.resolve_alias(caller, alias).await?.room_id,
    };
    let looker = caller.map_or(Looker::Anybody, Looker::User);
    let (_, room) = api
        .rooms
        .room_summary(&room_id, looker)
        .await?
        .ok_or_else(|| ApiError::not_found("There is no such room"))?;
    let membership = match caller {
        Some(user) => {
            let membership = api.rooms.membership(user, &room_id).await?.map(|room| room.membership);
            Some(membership.map_or("leave", room::read::event::name_of))
        }
        None => None,
    };
    Ok(json_response(StatusCode::OK, &Shown { room, membership }))
}
