//! Who is in a room: joining, leaving, inviting, putting out.

use std::sync::Arc;

use engine::{Joining, ThirdPartyInvite};
use ruma::{
    OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, RoomId, UInt, UserId,
    api::client::membership::{
        ban_user, forget_room, get_mutual_rooms,
        invite_user::{self, v3::InvitationRecipient},
        joined_rooms, kick_user, leave_room, unban_user,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::warn;
use web::{ApiError, Call, RawCall, Response, StatusCode, User, costless, json_response};

use crate::{ClientApi, api::actor, send::hide_room};

/// Keys of a join's body that are no content of the member event.
const NOT_CONTENT: [&str; 4] =
    ["reason", "third_party_signed", "membership", "join_authorised_via_users_server"];

#[derive(Deserialize)]
struct Via {
    #[serde(default)]
    via: Vec<OwnedServerName>,
    /// The name of `via` before version 1.12 of the specification.
    #[serde(default)]
    server_name: Vec<OwnedServerName>,
}

/// `POST /_matrix/client/v3/join/{roomIdOrAlias}`: joins a room by its id or an alias.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias>
pub(crate) async fn join_by_id_or_alias(
    api: Arc<ClientApi>,
    call: RawCall<User>,
) -> Result<Response, ApiError> {
    let (room_id, via) = find_room(&api, &call).await?;
    join(&api, &call, room_id, via).await
}

/// The room that a path names by its id or an alias, and servers that may help to get in.
async fn find_room(
    api: &ClientApi,
    call: &RawCall<User>,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), ApiError> {
    let target: OwnedRoomOrAliasId = call.args.get(0)?;
    let Via { mut via, server_name } = call.query()?;
    via.extend(server_name);
    let room_id = match <&RoomId>::try_from(&*target) {
        Ok(room_id) => room_id.to_owned(),
        Err(alias) => {
            let answer = api.engine.resolve_alias(Some(&call.caller.user_id), alias).await?;
            via.extend(answer.servers);
            answer.room_id
        }
    };
    Ok((room_id, via))
}

/// `POST /_matrix/client/v3/rooms/{roomId}/join`: joins a room that this server takes part in, or
/// that the caller is invited to.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin>
pub(crate) async fn join_by_id(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    join(&api, &call, room_id, Vec::new()).await
}

async fn join(
    api: &ClientApi,
    call: &RawCall<User>,
    room_id: OwnedRoomId,
    via: Vec<OwnedServerName>,
) -> Result<Response, ApiError> {
    let user = &call.caller.user_id;
    let mut content: Map<String, Value> = if call.body.is_empty() { Map::new() } else { call.json()? };
    let reason = content.get("reason").and_then(Value::as_str).map(str::to_owned);
    if let Some(signed) = content.remove("third_party_signed").filter(|signed| !signed.is_null()) {
        take_up_invite(api, user, &room_id, signed).await?;
    }
    content.retain(|key, _| !NOT_CONTENT.contains(&key.as_str()));
    let joining = Joining { profile: api.member_profile(user).await?, reason, content };

    // Clients ask again and again, to be sure. For the alias of another server that was asked.
    let named: OwnedRoomOrAliasId = call.args.get(0)?;
    let is_found_here =
        named.server_name().is_none_or(|server| named.is_room_id() || api.authorities.is_ours(server));
    let was_in = api.rooms.is_joined(user, &room_id).await?;
    let costs_nothing = is_found_here && was_in;

    api.engine.join(user, &room_id, &via, joining).await?;
    if !was_in {
        // Who asks again may have other settings by now.
        api.accounts.carry_over_from_predecessor(user, &room_id).await;
        let by = actor(&call.caller, call.address);
        if let Err(error) = api.engine.take_over_aliases(user, &room_id, &by).await {
            // He has joined all the same.
            warn!(room_id = %room_id, %error, "aliases still lead to the room that was replaced");
        }
    }

    let answer = json_response(StatusCode::OK, &json!({ "room_id": room_id }));
    Ok(if costs_nothing { costless(answer) } else { answer })
}

/// Takes up an invite that was sent to a third-party id of the caller's, with the proof that it is his.
async fn take_up_invite(
    api: &ClientApi,
    user: &UserId,
    room_id: &RoomId,
    signed: Value,
) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what has to be there")]
    struct Signed {
        sender: OwnedUserId,
        mxid: OwnedUserId,
        token: String,
        signatures: Map<String, Value>,
    }
    let Signed { sender, .. } =
        Signed::deserialize(&signed).map_err(|error| ApiError::bad_json(error.to_string()))?;
    // The identity server signed all of it: what went missing here would make the signature a wrong one.
    let signed = serde_json::value::to_raw_value(&signed).map_err(ApiError::internal)?;
    let (room_id, target) = (room_id.to_owned(), user.to_owned());
    let invite = ThirdPartyInvite { room_id, sender, target, display_name: None, signed };
    let profile = api.member_profile(user).await?;
    api.engine.accept_third_party_invite(&invite, &profile).await.map_err(hide_room)
}

/// `POST /_matrix/client/v3/knock/{roomIdOrAlias}`: asks to be let into a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias>
pub(crate) async fn knock(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    #[derive(Default, Deserialize)]
    struct Body {
        reason: Option<String>,
    }
    let (room_id, via) = find_room(&api, &call).await?;
    let Body { reason } = if call.body.is_empty() { Body::default() } else { call.json()? };
    let user = &call.caller.user_id;
    let profile = api.member_profile(user).await?;

    api.engine.knock(user, &room_id, &via, &profile, reason.as_deref()).await?;

    Ok(json_response(StatusCode::OK, &json!({ "room_id": room_id })))
}

/// `POST /_matrix/client/v3/rooms/{roomId}/leave`: leaves a room, or refuses an invite.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave>
pub(crate) async fn leave(
    api: Arc<ClientApi>,
    call: Call<leave_room::v3::Request, User>,
) -> Result<leave_room::v3::Response, ApiError> {
    let leave_room::v3::Request { room_id, reason, .. } = call.request;
    api.engine.leave(&call.caller.user_id, &room_id, reason.as_deref()).await.map_err(hide_room)?;
    Ok(leave_room::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/forget`: takes a room that was left off the caller's lists.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget>
pub(crate) async fn forget(
    api: Arc<ClientApi>,
    call: Call<forget_room::v3::Request, User>,
) -> Result<forget_room::v3::Response, ApiError> {
    match api.engine.forget(&call.caller.user_id, &call.request.room_id).await {
        Ok(()) => Ok(forget_room::v3::Response::new()),
        Err(room::Error::NotAllowed(why)) => Err(ApiError::bad_request(why)),
        Err(error) => Err(error.into()),
    }
}

/// `POST /_matrix/client/v3/rooms/{roomId}/invite`: invites a user.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite>
pub(crate) async fn invite(
    api: Arc<ClientApi>,
    call: Call<invite_user::v3::Request, User>,
) -> Result<invite_user::v3::Response, ApiError> {
    let InvitationRecipient::UserId(invitee) = call.request.recipient else {
        return Err(ApiError::forbidden("Nobody is invited by e-mail or telephone here"));
    };
    let profile = api.member_profile(&invitee.user_id).await?;
    let (sender, room_id) = (&call.caller.user_id, &call.request.room_id);
    api.engine
        .invite(sender, room_id, &invitee.user_id, &profile, invitee.reason.as_deref())
        .await
        .map_err(hide_room)?;
    Ok(invite_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/kick`: puts a user out of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick>
pub(crate) async fn kick(
    api: Arc<ClientApi>,
    call: Call<kick_user::v3::Request, User>,
) -> Result<kick_user::v3::Response, ApiError> {
    let kick_user::v3::Request { room_id, user_id, reason, .. } = call.request;
    api.engine.kick(&call.caller.user_id, &room_id, &user_id, reason.as_deref()).await.map_err(hide_room)?;
    Ok(kick_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/ban`: puts a user out of a room for good.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban>
pub(crate) async fn ban(
    api: Arc<ClientApi>,
    call: Call<ban_user::v3::Request, User>,
) -> Result<ban_user::v3::Response, ApiError> {
    let ban_user::v3::Request { room_id, user_id, reason, .. } = call.request;
    api.engine.ban(&call.caller.user_id, &room_id, &user_id, reason.as_deref()).await.map_err(hide_room)?;
    Ok(ban_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/unban`: lifts a ban.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban>
pub(crate) async fn unban(
    api: Arc<ClientApi>,
    call: Call<unban_user::v3::Request, User>,
) -> Result<unban_user::v3::Response, ApiError> {
    let unban_user::v3::Request { room_id, user_id, reason, .. } = call.request;
    api.engine.unban(&call.caller.user_id, &room_id, &user_id, reason.as_deref()).await.map_err(hide_room)?;
    Ok(unban_user::v3::Response::new())
}

/// `GET /_matrix/client/v3/joined_rooms`: the rooms that the caller is joined to.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms>
pub(crate) async fn joined_rooms(
    api: Arc<ClientApi>,
    call: Call<joined_rooms::v3::Request, User>,
) -> Result<joined_rooms::v3::Response, ApiError> {
    let rooms = api.rooms.joined_rooms(&call.caller.user_id).await?;
    Ok(joined_rooms::v3::Response::new(rooms))
}

/// `GET /_matrix/client/v1/mutual_rooms`: the rooms that the caller shares with somebody.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms>
pub(crate) async fn mutual_rooms(
    api: Arc<ClientApi>,
    call: Call<get_mutual_rooms::v1::Request, User>,
) -> Result<get_mutual_rooms::v1::Response, ApiError> {
    let other = &call.request.user_id;
    if *other == call.caller.user_id {
        return Err(ApiError::invalid_param("You share all your rooms with yourself"));
    }
    let mut shared = Vec::new();
    for room_id in api.rooms.joined_rooms(&call.caller.user_id).await? {
        if api.rooms.is_joined(other, &room_id).await? {
            shared.push(room_id);
        }
    }
    Ok(get_mutual_rooms::v1::Response::new(UInt::try_from(shared.len()).unwrap_or_default(), shared))
}

/// Asks whether a user is joined to a room.
pub(crate) async fn must_be_joined(api: &ClientApi, user: &UserId, room_id: &RoomId) -> Result<(), ApiError> {
    if api.rooms.is_joined(user, room_id).await? {
        return Ok(());
    }
    Err(ApiError::forbidden("You are not in this room"))
}
