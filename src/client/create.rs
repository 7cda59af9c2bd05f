//! Creating rooms.

use std::sync::Arc;

use engine::{CreateRoom, InitialState, Invitee, MAX_INVITES, Preset, alias_of};
use pdu::RoomVersion;
use ruma::{
    UserId,
    api::client::room::{
        Visibility,
        create_room::{self, v3::RoomPreset},
    },
    events::{AnyInitialStateEvent, StateEventType},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use web::{ApiError, Call, StatusCode, User};

use crate::{ClientApi, api::actor, zones};

/// `POST /_matrix/client/v3/createRoom`: creates a room with its first state and invites.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>
pub(crate) async fn create_room(
    api: Arc<ClientApi>,
    call: Call<create_room::v3::Request, User>,
) -> Result<create_room::v3::Response, ApiError> {
    let by = Some(actor(&call.caller, call.address));
    if let Some(localpart) = &call.request.room_alias_name {
        api.accounts.check_alias(call.caller.service(), &alias_of(&call.caller.user_id, localpart)?)?;
    }
    let (creator, zone) = (call.caller.user_id, call.zone);
    let wishes = CreateRoom { by, ..wishes(&api, &creator, call.request).await? };
    for state in &wishes.initial_state {
        zones::may_set(zone.as_ref(), &state.kind.to_string())?;
    }
    let takes_a_place = wishes.creation_content.contains_key("predecessor");

    match api.engine.create(&creator, wishes).await {
        Ok(room_id) => {
            if takes_a_place {
                api.accounts.carry_over_into_own(&creator, &room_id).await;
            }
            Ok(create_room::v3::Response::new(room_id))
        }
        Err(room::Error::AliasTaken) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "M_ROOM_IN_USE", "The alias is taken"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn wishes(
    api: &ClientApi,
    creator: &UserId,
    request: create_room::v3::Request,
) -> Result<CreateRoom, ApiError> {
    if !request.invite_3pid.is_empty() {
        return Err(ApiError::forbidden("Nobody is invited by e-mail or telephone here"));
    }
    let version = match &request.room_version {
        Some(version) => Some(
            RoomVersion::parse(version.as_str())
                .map_err(|_| room::Error::UnsupportedVersion(version.to_string()))?,
        ),
        None => None,
    };
    let preset = match request.preset {
        Some(RoomPreset::PrivateChat) => Preset::PrivateChat,
        Some(RoomPreset::TrustedPrivateChat) => Preset::TrustedPrivateChat,
        Some(RoomPreset::PublicChat) => Preset::PublicChat,
        Some(_) => return Err(ApiError::bad_json("There is no such preset")),
        None if request.visibility == Visibility::Public => Preset::PublicChat,
        None => Preset::PrivateChat,
    };
    if !matches!(request.visibility, Visibility::Public | Visibility::Private) {
        return Err(ApiError::invalid_param("`visibility` is `public` or `private`"));
    }
    let alias = match &request.room_alias_name {
        Some(localpart) => Some(alias_of(creator, localpart)?),
        None => None,
    };
    if request.invite.len() > MAX_INVITES {
        return Err(ApiError::invalid_param(format!("A new room takes {MAX_INVITES} invites")));
    }
    let initial_state: Vec<InitialState> =
        request.initial_state.iter().map(initial_state).collect::<Result<_, _>>()?;
    let invited: Vec<&UserId> = request.invite.iter().map(|user| &**user).collect();
    let profiles = api.member_profiles(&invited).await?;
    let invitees = request.invite.iter().cloned().zip(profiles);
    let invite = invitees.map(|(user_id, profile)| Invitee { user_id, profile }).collect();
    Ok(CreateRoom {
        version,
        preset,
        name: request.name,
        topic: request.topic,
        alias,
        publish: request.visibility == Visibility::Public,
        creation_content: object(request.creation_content.as_ref())?,
        initial_state,
        power_level_content_override: object(request.power_level_content_override.as_ref())?,
        invite,
        is_direct: request.is_direct,
        profile: api.member_profile(creator).await?,
        ..CreateRoom::default()
    })
}

fn object<T>(raw: Option<&Raw<T>>) -> Result<Map<String, Value>, ApiError> {
    let Some(raw) = raw else { return Ok(Map::new()) };
    serde_json::from_str(raw.json().get()).map_err(|_| ApiError::bad_json("An object was expected"))
}

fn initial_state(event: &Raw<AnyInitialStateEvent>) -> Result<InitialState, ApiError> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: StateEventType,
        #[serde(default)]
        state_key: String,
        content: Box<RawValue>,
    }
    let event: Event = serde_json::from_str(event.json().get())
        .map_err(|error| ApiError::bad_json(format!("`initial_state` has an event that is none: {error}")))?;
    Ok(InitialState { kind: event.kind, state_key: event.state_key, content: event.content })
}
