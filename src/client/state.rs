//! The state of a room and its members.

use std::sync::Arc;

use room::{
    read::{event::membership_named, members::MemberFilter, token::Token, view::Look},
    tables::Membership,
};
use ruma::{OwnedRoomId, serde::Raw};
use serde::Deserialize;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::{
    ClientApi,
    api::viewer,
    large::{self, Telling},
    send::hide_room,
};

/// Events as they go into an answer.
pub(crate) fn raw_events<T>(api: &ClientApi, looks: &[Look]) -> Vec<Raw<T>> {
    let now = api.clock.now();
    looks.iter().map(|look| look.to_raw(now)).collect()
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state`: all state of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>
pub(crate) async fn all(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let list = api.rooms.state_list(&viewer(&call.caller), &room_id).await.map_err(hide_room)?;
    large::answer(api, list, Telling::Events).await
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
pub(crate) async fn members(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let query: MembersQuery = call.query()?;
    let at = query.at.as_deref().map(parse_token).transpose()?;
    let filter = MemberFilter {
        membership: query.membership.as_deref().map(parse_membership).transpose()?,
        not_membership: query.not_membership.as_deref().map(parse_membership).transpose()?,
    };
    let list = api.rooms.member_list(&viewer(&call.caller), &room_id, at, filter).await.map_err(hide_room)?;
    large::answer(api, list, Telling::Chunk).await
}

#[derive(Deserialize)]
struct MembersQuery {
    at: Option<String>,
    membership: Option<String>,
    not_membership: Option<String>,
}

fn parse_membership(name: &str) -> Result<Membership, ApiError> {
    membership_named(name).ok_or_else(|| ApiError::invalid_param(format!("There is no membership `{name}`")))
}

/// A place in a timeline, as this server writes it.
pub(crate) fn parse_token(text: &str) -> Result<Token, ApiError> {
    Token::of_sync(text).map_err(|_| ApiError::invalid_param("This is not a token of this server"))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/joined_members`: names and pictures of a room's members.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members>
pub(crate) async fn joined_members(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let list = api.rooms.joined_members(&call.caller.user_id, &room_id).await.map_err(hide_room)?;
    large::answer(api, list, Telling::Joined).await
}
