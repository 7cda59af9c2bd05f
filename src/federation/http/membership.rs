//! Helping users of other servers to join, leave and knock; being invited.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::sync::Arc;

use engine::{AcceptedJoin, ReceivedInvite};
use room::{Error, tables::Membership};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use web::{ApiError, Origin, RawCall, Response, StatusCode};

use super::{
    FederationApi,
    json::{Object, json_answer, object_body, text, texts},
};

/// `GET /make_join/{roomId}/{userId}`
pub(super) async fn make_join(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let versions = versions(&call)?;
    make(&api, &call, Membership::Join, &versions).await
}

/// `GET /make_leave/{roomId}/{userId}`
pub(super) async fn make_leave(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    make(&api, &call, Membership::Leave, &[]).await
}

/// `GET /make_knock/{roomId}/{userId}`
pub(super) async fn make_knock(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let versions = versions(&call)?;
    make(&api, &call, Membership::Knock, &versions).await
}

/// The room versions that the asker knows; one who names none knows the first only.
fn versions(call: &RawCall<Origin>) -> Result<Vec<RoomVersionId>, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(default)]
        ver: Vec<RoomVersionId>,
    }

    let Query { ver } = call.query()?;
    Ok(if ver.is_empty() { vec![RoomVersionId::V1] } else { ver })
}

async fn make(
    api: &FederationApi,
    call: &RawCall<Origin>,
    membership: Membership,
    versions: &[RoomVersionId],
) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let user_id: OwnedUserId = call.args.get(1)?;
    let template = api
        .engine
        .make_member_template(&call.caller.server, &room_id, &user_id, membership, versions)
        .await?;
    Ok(Object::new()
        .json("event", template.event.get())
        .string("room_version", template.version.as_str())
        .answer())
}

/// `PUT /v2/send_join/{roomId}/{eventId}`
pub(super) async fn send_join(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    Ok(json_answer(accept_join(&api, &call).await?))
}

/// `PUT /v1/send_join/{roomId}/{eventId}`: the same, wrapped in a list with the status.
pub(super) async fn send_join_v1(
    api: Arc<FederationApi>,
    call: RawCall<Origin>,
) -> Result<Response, ApiError> {
    let answer = accept_join(&api, &call).await?;
    Ok(json_answer(format!("[200,{answer}]")))
}

async fn accept_join(api: &FederationApi, call: &RawCall<Origin>) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    struct Query {
        #[serde(default)]
        omit_members: bool,
    }

    let (room_id, event_id, event) = sent(call)?;
    let Query { omit_members } = call.query()?;
    let Origin { server, destination } = &call.caller;
    let accepted = api.engine.accept_join(server, &room_id, &event_id, &event, omit_members).await?;
    let AcceptedJoin { event, state, auth_chain, members_omitted, servers_in_room } = accepted;
    let mut answer = Object::new()
        .list("auth_chain", auth_chain.iter().map(text))
        .json("event", event.get())
        .bool("members_omitted", members_omitted)
        .string("origin", destination.as_str())
        .list("state", state.iter().map(text));
    if members_omitted {
        // Those from before the join.
        let others = servers_in_room.iter().filter(|known| *known != server);
        answer = answer.strings("servers_in_room", others.map(|server| server.as_str()));
    }
    Ok(answer.finish())
}

/// `PUT /v2/send_leave/{roomId}/{eventId}`
pub(super) async fn send_leave(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    accept_leave(&api, &call).await?;
    Ok(json_answer("{}"))
}

/// `PUT /v1/send_leave/{roomId}/{eventId}`: the same, wrapped in a list with the status.
pub(super) async fn send_leave_v1(
    api: Arc<FederationApi>,
    call: RawCall<Origin>,
) -> Result<Response, ApiError> {
    accept_leave(&api, &call).await?;
    Ok(json_answer("[200,{}]"))
}

async fn accept_leave(api: &FederationApi, call: &RawCall<Origin>) -> Result<(), ApiError> {
    let (room_id, event_id, event) = sent(call)?;
    Ok(api.engine.accept_leave(&call.caller.server, &room_id, &event_id, &event).await?)
}

/// `PUT /send_knock/{roomId}/{eventId}`
pub(super) async fn send_knock(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    let (room_id, event_id, event) = sent(&call)?;
    let state = api.engine.accept_knock(&call.caller.server, &room_id, &event_id, &event).await?;
    Ok(Object::new().list("knock_room_state", texts(&state)).answer())
}

/// Room and event of the path, and the event of the body.
fn sent(call: &RawCall<Origin>) -> Result<(OwnedRoomId, OwnedEventId, Box<RawValue>), ApiError> {
    Ok((call.args.get(0)?, call.args.get(1)?, call.json()?))
}

/// `PUT /v2/invite/{roomId}/{eventId}`
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid>
pub(super) async fn invite(api: Arc<FederationApi>, call: RawCall<Origin>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        room_version: String,
        event: Box<RawValue>,
        #[serde(default)]
        invite_room_state: Vec<Box<RawValue>>,
    }

    let Body { room_version, event, invite_room_state } = object_body(&call)?;
    check_invitee(&api, &event).await?;
    let invite = ReceivedInvite {
        room_id: call.args.get(0)?,
        event_id: call.args.get(1)?,
        version: room_version,
        event,
        invite_room_state,
    };
    let signed =
        api.engine.receive_invite(&call.caller.server, invite).await.map_err(|error| match error {
            // To a client this would be M_UNSUPPORTED_ROOM_VERSION.
            Error::UnsupportedVersion(version) => incompatible(&version),
            error => error.into(),
        })?;
    Ok(Object::new().json("event", signed.get()).answer())
}

/// `PUT /v1/invite/{roomId}/{eventId}`: rooms of the versions 1 and 2 alone have such invites, as the request says nothing
/// of a version; and we take part in none.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1inviteroomideventid>
pub(super) async fn invite_v1(_: Arc<FederationApi>, _: RawCall<Origin>) -> Result<Response, ApiError> {
    Err(incompatible(RoomVersionId::V1.as_str()))
}

fn incompatible(version: &str) -> ApiError {
    let message = format!("This server does not know room version {version}");
    ApiError::new(StatusCode::BAD_REQUEST, "M_INCOMPATIBLE_ROOM_VERSION", message)
        .with("room_version", version)
}

/// Nothing is kept of invites of people who are not there, whoever sends them.
async fn check_invitee(api: &FederationApi, event: &RawValue) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Event {
        state_key: OwnedUserId,
    }
    let Ok(Event { state_key: invitee }) = serde_json::from_str(event.get()) else {
        return Err(ApiError::bad_json("The event does not say who is invited"));
    };
    if !api.authorities.is_ours(invitee.server_name()) {
        // The room engine says so in its own words.
        return Ok(());
    }
    match api.accounts.find_user(&invitee).await? {
        Some(user) if !user.deactivated => Ok(()),
        _ => Err(ApiError::forbidden("There is no such user to invite")),
    }
}
