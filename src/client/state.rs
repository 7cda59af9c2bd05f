//! The state of a room and its members.

use std::sync::Arc;

use room::{
    read::{event::membership_named, members::MemberFilter, token::Token, view::Look},
    tables::Membership,
};
use ruma::{
    OwnedRoomId,
    api::client::{membership::get_member_events, state::get_state_events},
    events::room::member::MembershipState,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Map, json};
use web::{ApiError, Call, RawCall, Response, StatusCode, User, json_response};

use crate::{ClientApi, api::viewer, send::hide_room};

/// Events as they go into an answer.
pub(crate) fn raw_events<T>(api: &ClientApi, looks: &[Look]) -> Vec<Raw<T>> {
    let now = api.clock.now();
    looks.iter().map(|look| look.to_raw(now)).collect()
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state`: all state of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>
pub(crate) async fn all(
    api: Arc<ClientApi>,
    call: Call<get_state_events::v3::Request, User>,
) -> Result<get_state_events::v3::Response, ApiError> {
    let looks = api.rooms.state(&viewer(&call.caller), &call.request.room_id).await.map_err(hide_room)?;
    Ok(get_state_events::v3::Response::new(raw_events(&api, &looks)))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Content,
    Event,
}

#[derive(Deserialize)]
struct FormatQuery {
    #[serde(default)]
    format: Format,
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: a piece of state.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey>
pub(crate) async fn one(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let kind: String = call.args.get(1)?;
    let key: String = call.args.get(2)?;
    let FormatQuery { format } = call.query()?;

    let look =
        api.rooms.state_event(&viewer(&call.caller), &room_id, &kind, &key).await.map_err(hide_room)?;

    match format {
        Format::Content => Ok(json_response(StatusCode::OK, &look.event.pdu().content())),
        Format::Event => Ok(json_response(StatusCode::OK, &look.to_json(api.clock.now()))),
    }
}

/// `GET /_matrix/client/v3/rooms/{roomId}/members`: the member events of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers>
pub(crate) async fn members(
    api: Arc<ClientApi>,
    call: Call<get_member_events::v3::Request, User>,
) -> Result<get_member_events::v3::Response, ApiError> {
    let request = call.request;
    let at = request.at.as_deref().map(parse_token).transpose()?;
    let filter = MemberFilter {
        membership: request.membership.as_ref().and_then(known),
        not_membership: request.not_membership.as_ref().and_then(known),
    };

    let viewer = viewer(&call.caller);
    let looks = api.rooms.members(&viewer, &request.room_id, at, filter).await.map_err(hide_room)?;

    Ok(get_member_events::v3::Response::new(raw_events(&api, &looks)))
}

fn known(membership: &MembershipState) -> Option<Membership> {
    membership_named(membership.as_str())
}

/// A place in a timeline, as this server writes it.
pub(crate) fn parse_token(text: &str) -> Result<Token, ApiError> {
    text.parse().map_err(|_| ApiError::invalid_param("This is not a token of this server"))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/joined_members`: names and pictures of a room's members.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members>
pub(crate) async fn joined_members(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let members = api.rooms.joined_members(&call.caller.user_id, &room_id).await.map_err(hide_room)?;
    // Both keys are there even when they are null.
    let joined: Map<_, _> = members
        .into_iter()
        .map(|member| {
            let shown = json!({ "display_name": member.displayname, "avatar_url": member.avatar_url });
            (member.user_id.to_string(), shown)
        })
        .collect();
    Ok(json_response(StatusCode::OK, &json!({ "joined": joined })))
}
