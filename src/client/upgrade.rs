//! Replacing a room by one of a newer version.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use std::sync::Arc;

use pdu::{Draft, RoomVersion};
use room::{CreateRoom, InitialState, Preset, Rooms, read::view::Viewer, tables::Membership};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::room::upgrade_room,
    events::{StateEventType, TimelineEventType},
    push::{NewPushRule, NewSimplePushRule, Ruleset},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use web::{ApiError, Call, User};

use crate::{ClientApi, send::hide_room};

/// State that the new room takes over as it is.
const TAKEN_OVER: [&str; 9] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.canonical_alias",
];

/// So many of the user's newest rooms are looked at for an upgrade that did not come to its end.
const LOOKED_AT: usize = 50;

/// `POST /_matrix/client/v3/rooms/{roomId}/upgrade`: replaces a room by one of another version.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade>
pub(crate) async fn upgrade(
    api: Arc<ClientApi>,
    call: Call<upgrade_room::v3::Request, User>,
) -> Result<upgrade_room::v3::Response, ApiError> {
    let upgrade_room::v3::Request { room_id, new_version, additional_creators, .. } = call.request;
    let user = &call.caller.user_id;
    let version = RoomVersion::parse(new_version.as_str())
        .map_err(|_| room::Error::UnsupportedVersion(new_version.to_string()))?;
    if !api.rooms.may_set_state(user, &room_id, "m.room.tombstone").await.map_err(hide_room)? {
        return Err(ApiError::forbidden("You may not replace this room"));
    }

    // Two requests at once would make two rooms.
    let _turn = api.upgrades.lock().await;
    let new_room = match find_begun(&api, user, &room_id, version, &additional_creators).await? {
        Some(begun) => begun,
        None => {
            let wishes = successor(&api, user, &room_id, version, &additional_creators).await?;
            api.rooms.create(user, wishes).await?
        }
    };
    // From here on each step may have been done before.
    entomb(&api, user, &room_id, &new_room).await?;
    move_aliases(&api, user, &room_id, &new_room).await?;
    quieten(&api, user, &room_id).await?;
    carry_over(&api, user, &room_id, &new_room).await?;
    Ok(upgrade_room::v3::Response::new(new_room))
}

/// The room that an upgrade like this one has made already.
///
/// Two rooms cannot be written in one batch, and a request can end between any two steps: by a crash,
/// or because the client went away. Then the same request, made again, goes on where it ended.
async fn find_begun(
    api: &ClientApi,
    user: &UserId,
    old_room: &RoomId,
    version: RoomVersion,
    additional_creators: &[OwnedUserId],
) -> Result<Option<OwnedRoomId>, ApiError> {
    let rooms = api.rooms.memberships(user).await?;
    let mut newest: Vec<_> = rooms.with(Membership::Join).collect();
    newest.sort_unstable_by_key(|row| std::cmp::Reverse(row.position));
    let replacement = replacement(api, old_room).await?;
    let names_creators = version.rules().authorization.additional_room_creators;
    let others = additional_creators.iter().filter(|other| names_creators && *other != user);
    let others: Vec<&OwnedUserId> = others.collect();
    for row in newest.into_iter().take(LOOKED_AT) {
        if replacement.as_ref().is_some_and(|replacement| *replacement != row.room_id) {
            continue;
        }
        let Some(room) = api.rooms.room(&row.room_id).await?.filter(|room| room.version == version) else {
            continue;
        };
        let Some(event) = api.rooms.current_state_event(&room, "m.room.create", "").await? else { continue };
        let content = serde_json::from_str::<Create>(event.pdu().content().get()).ok();
        let is_it = content.is_some_and(|create| {
            create.predecessor.is_some_and(|predecessor| predecessor.room_id == old_room)
                && create.additional_creators.iter().eq(others.iter().copied())
        });
        if event.sender() == user && is_it {
            return Ok(Some(row.room_id.clone()));
        }
    }
    Ok(None)
}

/// The room that a room says took its place.
async fn replacement(api: &ClientApi, room_id: &RoomId) -> Result<Option<OwnedRoomId>, ApiError> {
    #[derive(Deserialize)]
    struct Tombstone {
        replacement_room: OwnedRoomId,
    }
    let Some(room) = api.rooms.room(room_id).await? else { return Ok(None) };
    let event = api.rooms.current_state_event(&room, "m.room.tombstone", "").await?;
    let content = event.and_then(|event| serde_json::from_str::<Tombstone>(event.pdu().content().get()).ok());
    Ok(content.map(|tombstone| tombstone.replacement_room))
}

/// Says in the old room which one took its place.
async fn entomb(
    api: &ClientApi,
    user: &UserId,
    old_room: &RoomId,
    new_room: &RoomId,
) -> Result<(), ApiError> {
    if replacement(api, old_room).await?.is_some_and(|replacement| replacement == new_room) {
        return Ok(());
    }
    let tombstone = json!({ "body": "This room has been replaced", "replacement_room": new_room });
    send_state(&api.rooms, user, old_room, TimelineEventType::RoomTombstone, &tombstone).await
}

/// The wishes for the room that takes another's place.
async fn successor(
    api: &ClientApi,
    user: &UserId,
    old_room: &RoomId,
    version: RoomVersion,
    additional_creators: &[OwnedUserId],
) -> Result<CreateRoom, ApiError> {
    let state = api.rooms.state(&Viewer::user(user), old_room).await.map_err(hide_room)?;
    let find = |kind: &str| {
        let is_it =
            |event: &room::read::event::StoredEvent| event.kind() == kind && event.state_key() == Some("");
        state.iter().find(|look| is_it(&look.event)).map(|look| look.event.pdu().content())
    };
    let object = |kind: &str| -> Map<String, Value> {
        find(kind).and_then(|content| serde_json::from_str(content.get()).ok()).unwrap_or_default()
    };

    let mut creation_content = object("m.room.create");
    // These are the new room's own.
    for key in ["creator", "room_version", "predecessor", "additional_creators"] {
        creation_content.remove(key);
    }
    let mut predecessor = json!({ "room_id": old_room });
    // From version 12 the id of the new room is known only after its create event is made, so the tombstone
    // cannot be named here: clients are to look for it.
    if !version.has_hashed_room_id()
        && let Some(info) = api.rooms.room(old_room).await?
        && let Some(last) = api.rooms.forward_extremities(&info).await?.pop()
    {
        predecessor["event_id"] = json!(last);
    }
    creation_content.insert("predecessor".to_owned(), predecessor);
    let names_creators = version.rules().authorization.additional_room_creators;
    if names_creators && !additional_creators.is_empty() {
        creation_content.insert("additional_creators".to_owned(), json!(additional_creators));
    }

    let mut power_levels = object("m.room.power_levels");
    if names_creators && let Some(Value::Object(users)) = power_levels.get_mut("users") {
        // Creators have all power, and may not be named here.
        users.retain(|named, _| named != user.as_str() && !additional_creators.iter().any(|c| c == named));
    }

    let mut initial_state = Vec::new();
    for kind in TAKEN_OVER {
        if let Some(content) = find(kind) {
            let kind = StateEventType::from(kind);
            initial_state.push(InitialState { kind, state_key: String::new(), content: content.to_owned() });
        }
    }
    Ok(CreateRoom {
        version: Some(version),
        preset: Preset::PrivateChat,
        creation_content,
        initial_state,
        power_level_content_override: power_levels,
        profile: api.member_profile(user).await?,
        ..CreateRoom::default()
    })
}

async fn send_state(
    rooms: &Rooms,
    sender: &UserId,
    room_id: &RoomId,
    kind: TimelineEventType,
    content: &Value,
) -> Result<(), ApiError> {
    let draft = Draft {
        kind,
        state_key: Some(String::new()),
        content: serde_json::value::to_raw_value(content).map_err(ApiError::internal)?,
        sender: sender.to_owned(),
        redacts: None,
    };
    rooms.send(room_id, draft, None).await?;
    Ok(())
}

/// Lets the aliases of this server lead to the new room, and the directory show it instead.
async fn move_aliases(
    api: &ClientApi,
    user: &UserId,
    old_room: &RoomId,
    new_room: &RoomId,
) -> Result<(), ApiError> {
    for alias in api.rooms.room_aliases(&Viewer::user(user), old_room).await? {
        // Those that the user may not take away stay with the old room.
        match api.rooms.move_alias(user, &alias, new_room).await {
            Ok(()) | Err(room::Error::NotAllowed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if api.rooms.is_published(user.server_name(), old_room).await? {
        // In this order, so that one of the two is listed at any time.
        api.rooms.set_published(user, new_room, true).await?;
        api.rooms.set_published(user, old_room, false).await?;
    }
    Ok(())
}

/// Lets only the powerful speak in the old room. Where that cannot be, the tombstone must do.
async fn quieten(api: &ClientApi, user: &UserId, old_room: &RoomId) -> Result<(), ApiError> {
    let Some(room) = api.rooms.room(old_room).await? else { return Ok(()) };
    let Some(event) = api.rooms.current_state_event(&room, "m.room.power_levels", "").await? else {
        return Ok(());
    };
    let content: &RawValue = event.pdu().content();
    let Ok(mut levels) = serde_json::from_str::<Map<String, Value>>(content.get()) else { return Ok(()) };
    let ordinary = levels.get("users_default").and_then(Value::as_i64).unwrap_or(0);
    let needed = ordinary.saturating_add(1).max(50);
    let mut is_quiet = true;
    for key in ["events_default", "invite"] {
        let now = levels.get(key).and_then(Value::as_i64).unwrap_or(0);
        is_quiet &= now >= needed;
        levels.insert(key.to_owned(), needed.max(now).into());
    }
    if is_quiet {
        return Ok(());
    }
    let levels = Value::Object(levels);
    match send_state(&api.rooms, user, old_room, TimelineEventType::RoomPowerLevels, &levels).await {
        Err(error) if error.errcode() == "M_FORBIDDEN" => Ok(()),
        outcome => outcome,
    }
}

/// Gives a user's settings for a room to the room that takes its place: push rule and tags.
pub(crate) async fn carry_over(
    api: &ClientApi,
    user: &UserId,
    old_room: &RoomId,
    new_room: &RoomId,
) -> Result<(), ApiError> {
    let rules = api.accounts.push_rules(user).await?;
    if let Some(rule) = rules.room.iter().find(|rule| rule.rule_id == old_room) {
        let change = |rules: &mut Ruleset| {
            let copy = NewSimplePushRule::new(new_room.to_owned(), rule.actions.clone());
            let copied = rules.insert(NewPushRule::Room(copy), None, None);
            copied.map_err(|error| account::Error::InvalidParam(error.to_string()))
        };
        api.accounts.change_push_rules(user, change).await?;
    }
    for (tag, info) in api.accounts.room_tags(user, old_room).await? {
        api.accounts.set_room_tag(user, new_room, tag, info).await?;
    }
    Ok(())
}

/// As [`carry_over`], if the room took the place of one that the user was in. The user is in the new
/// room whether this works or not.
pub(crate) async fn carry_over_from_predecessor(api: &ClientApi, user: &UserId, room_id: &RoomId) {
    let carried = async {
        let Some(old_room) = predecessor(api, room_id).await? else { return Ok(()) };
        if api.rooms.membership(user, &old_room).await?.is_none() {
            return Ok(());
        }
        carry_over(api, user, &old_room, room_id).await
    };
    if let Err::<(), ApiError>(error) = carried.await {
        tracing::warn!(user_id = %user, room_id = %room_id, error = %error, "settings of the old room were not carried over");
    }
}

/// What is asked of a create event here.
#[derive(Deserialize)]
struct Create {
    predecessor: Option<Predecessor>,
    #[serde(default)]
    additional_creators: Vec<OwnedUserId>,
}

#[derive(Deserialize)]
struct Predecessor {
    room_id: OwnedRoomId,
}

async fn predecessor(api: &ClientApi, room_id: &RoomId) -> Result<Option<OwnedRoomId>, ApiError> {
    let Some(room) = api.rooms.room(room_id).await? else { return Ok(None) };
    let Some(event) = api.rooms.current_state_event(&room, "m.room.create", "").await? else {
        return Ok(None);
    };
    let content: &RawValue = event.pdu().content();
    let create = serde_json::from_str::<Create>(content.get()).ok();
    Ok(create.and_then(|create| create.predecessor).map(|predecessor| predecessor.room_id))
}
