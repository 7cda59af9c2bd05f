//! Replacing a room by one of a newer version.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

mod levels;
mod successor;

use std::{collections::HashSet, sync::Arc};

use account::Actor;
use pdu::{Draft, RoomVersion};
use room::{Rooms, read::view::Viewer, tables::Membership};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::room::upgrade_room,
    events::TimelineEventType,
    push::{NewPushRule, NewSimplePushRule, Ruleset},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use web::{ApiError, Call, User};

use self::successor::OldRoom;
use crate::{ClientApi, api::actor, membership::must_be_joined, send::hide_room};

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
    must_be_joined(&api, user, &room_id).await?;
    if !api.rooms.may_set_state(user, &room_id, "m.room.tombstone").await.map_err(hide_room)? {
        return Err(ApiError::forbidden("You may not replace this room"));
    }

    // Two requests at once would make two rooms.
    let _turn = api.upgrades.lock().await;
    let old = OldRoom::read(&api, user, &room_id).await?;
    let new_room = match find_begun(&api, user, &room_id, version, &additional_creators).await? {
        Some(begun) => begun,
        None => {
            let wishes = successor::wishes(&api, user, &room_id, &old, version, &additional_creators).await?;
            api.rooms.create(user, wishes).await?
        }
    };
    // From here on each step may have been done before.
    entomb(&api, user, &room_id, &new_room).await?;
    move_aliases(&api, user, &room_id, &new_room, &actor(&call.caller, call.address)).await?;
    carry_members(&api, user, &old, &new_room).await?;
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
        let create: Create = pdu::lenient::read(event.pdu().content_str());
        let is_it = create.predecessor.is_some_and(|predecessor| predecessor.room_id == old_room)
            && create.additional_creators.iter().eq(others.iter().copied());
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

/// Keeps out of the new room whoever is banned from the old one, and invites whoever is invited there.
///
/// Bans come with the new room already, but for those of a very long list.
async fn carry_members(
    api: &ClientApi,
    user: &UserId,
    old: &OldRoom,
    new_room: &RoomId,
) -> Result<(), ApiError> {
    let there = OldRoom::read(api, user, new_room).await?;
    let known: HashSet<OwnedUserId> = there.member_ids().collect();
    for ban in old.bans().into_iter().filter(|ban| !known.contains(&ban.user_id)) {
        match api.rooms.ban(user, new_room, &ban.user_id, ban.reason.as_deref()).await {
            Ok(()) => {}
            Err(error @ (room::Error::Store(_) | room::Error::Commit(_))) => return Err(error.into()),
            Err(error) => tracing::warn!(room_id = %new_room, %error, "a ban was not carried over"),
        }
    }
    let mut invited = old.invited();
    invited.retain(|invitee| !known.contains(&invitee.user_id));
    let ids: Vec<&UserId> = invited.iter().map(|invitee| &*invitee.user_id).collect();
    let profiles = api.member_profiles(&ids).await?;
    for (invitee, profile) in invited.iter_mut().zip(profiles) {
        invitee.profile = profile;
    }
    api.rooms.invite_many(user, new_room, invited).await;
    Ok(())
}

/// Lets the aliases of this server lead to the new room, and the directory show it instead.
async fn move_aliases(
    api: &ClientApi,
    user: &UserId,
    old_room: &RoomId,
    new_room: &RoomId,
    by: &Actor,
) -> Result<(), ApiError> {
    for alias in api.rooms.room_aliases(&Viewer::user(user), old_room).await? {
        // Those that the user may not take away stay with the old room, and some may have gone meanwhile.
        match api.rooms.move_alias(user, &alias, new_room, by).await {
            Ok(()) | Err(room::Error::NotAllowed(_) | room::Error::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if api.rooms.is_published(user.server_name(), old_room).await? {
        // In this order, so that one of the two is listed at any time.
        api.rooms.set_published(user, new_room, true, by).await?;
        api.rooms.set_published(user, old_room, false, by).await?;
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
    let Ok(mut content) = serde_json::from_str::<Map<String, Value>>(content.get()) else { return Ok(()) };
    let ordinary = content.get("users_default").and_then(levels::level).unwrap_or(0);
    let needed = ordinary.saturating_add(1).max(50);
    let mut is_quiet = true;
    for key in ["events_default", "invite"] {
        let now = content.get(key).and_then(levels::level).unwrap_or(0);
        is_quiet &= now >= needed;
        content.insert(key.to_owned(), needed.max(now).into());
    }
    if is_quiet {
        return Ok(());
    }
    let content = Value::Object(content);
    match send_state(&api.rooms, user, old_room, TimelineEventType::RoomPowerLevels, &content).await {
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
    for (tag, details) in api.accounts.room_tags(user, old_room).await? {
        api.accounts.set_room_tag(user, new_room, &tag, &details).await?;
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
#[derive(Default, Deserialize)]
#[serde(default)]
struct Create {
    #[serde(deserialize_with = "pdu::lenient::field")]
    predecessor: Option<Predecessor>,
    #[serde(deserialize_with = "pdu::lenient::list")]
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
    let create: Create = pdu::lenient::read(event.pdu().content_str());
    Ok(create.predecessor.map(|predecessor| predecessor.room_id))
}
