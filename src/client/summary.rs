//! What a room shows of itself to those who may join it, alone or as part of a space.
//!
//! Only rooms that this server takes part in are described; a room of a space that only other
//! servers know is left out.

use std::{collections::HashSet, sync::Arc};

use pdu::Pdu;
use room::{
    read::{room::RoomInfo, token::Token},
    tables::{Membership, Summary},
};
use ruma::{OwnedRoomId, OwnedRoomOrAliasId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// Rooms of a page when the client does not say, and at most.
const DEFAULT_ROOMS: usize = 50;
const MAX_ROOMS: usize = 100;
/// Rooms that are walked for one answer, so that a large space cannot keep the server busy.
const MAX_WALK: usize = 2_000;
const SPACE: &str = "m.space";

/// A room as summaries describe it.
#[derive(Serialize)]
struct Shown {
    room_id: OwnedRoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    canonical_alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_type: Option<String>,
    num_joined_members: u64,
    join_rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_room_ids: Option<Vec<OwnedRoomId>>,
    world_readable: bool,
    guest_can_join: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<String>,
    room_version: &'static str,
    /// Of the caller, in answers about one room.
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'static str>,
    /// In answers about a space.
    #[serde(skip_serializing_if = "Option::is_none")]
    children_state: Option<Vec<Value>>,
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
        Err(alias) => api.rooms.resolve_alias(caller, alias).await?.room_id,
    };
    let seen = Eyes { api: &api, user: caller };
    let (_, mut shown) =
        seen.look(&room_id).await?.ok_or_else(|| ApiError::not_found("There is no such room"))?;
    if let Some(user) = caller {
        let membership = api.rooms.membership(user, &room_id).await?.map(|room| room.membership);
        shown.membership = Some(membership.map_or("leave", room::read::event::name_of));
    }
    Ok(json_response(StatusCode::OK, &shown))
}

#[derive(Deserialize)]
struct HierarchyQuery {
    from: Option<String>,
    limit: Option<usize>,
    max_depth: Option<usize>,
    #[serde(default)]
    suggested_only: bool,
}

/// `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`: the rooms of a space, depth first.
///
/// A page is the same walk again from where the last one ended, so nothing is kept between pages.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy>
pub(crate) async fn hierarchy(api: Arc<ClientApi>, call: RawCall<User>) -> Result<Response, ApiError> {
    let room_id: OwnedRoomId = call.args.get(0)?;
    let query: HierarchyQuery = call.query()?;
    let skipped = match query.from.as_deref() {
        Some(from) => parse_page(from)?,
        None => 0,
    };
    let limit = query.limit.unwrap_or(DEFAULT_ROOMS).clamp(1, MAX_ROOMS);
    let eyes = Eyes { api: &api, user: Some(&call.caller.user_id) };

    let mut page = Vec::new();
    let mut walked = HashSet::new();
    let mut found = 0_usize;
    let mut more = false;
    let mut ahead = vec![(room_id.clone(), 0_usize)];
    while let Some((next, depth)) = ahead.pop() {
        if walked.len() >= MAX_WALK || !walked.insert(next.clone()) {
            continue;
        }
        let Some((room, mut shown)) = eyes.look(&next).await? else {
            if next == room_id {
                return Err(ApiError::forbidden("You cannot see this room"));
            }
            continue;
        };
        let is_space = shown.room_type.as_deref() == Some(SPACE);
        let children = if is_space { eyes.children(&room, query.suggested_only).await? } else { Vec::new() };
        if query.max_depth.is_none_or(|max_depth| depth < max_depth) {
            // The first child is to be taken first.
            ahead.extend(children.iter().rev().map(|child| (child.room_id.clone(), depth + 1)));
        }
        found += 1;
        if found <= skipped {
            continue;
        }
        if page.len() == limit {
            more = true;
            break;
        }
        shown.children_state = Some(children.into_iter().map(|child| child.event).collect());
        page.push(shown);
    }
    let mut answer = json!({ "rooms": page });
    if more {
        answer["next_batch"] = Value::String(format!("h1_{}", skipped + page.len()));
    }
    Ok(json_response(StatusCode::OK, &answer))
}

fn parse_page(token: &str) -> Result<usize, ApiError> {
    let number = token.strip_prefix("h1_").and_then(|number| number.parse().ok());
    number.ok_or_else(|| ApiError::invalid_param("This is not a token of this server"))
}

/// Somebody who looks at rooms from outside.
struct Eyes<'a> {
    api: &'a ClientApi,
    user: Option<&'a UserId>,
}

/// A room that a space names as its own.
struct Child {
    room_id: OwnedRoomId,
    order: Option<String>,
    since: u64,
    event: Value,
}

impl Eyes<'_> {
    /// What a room shows; nothing where it is not here or not for these eyes.
    async fn look(&self, room_id: &RoomId) -> Result<Option<(Arc<RoomInfo>, Shown)>, ApiError> {
        let rooms = &self.api.rooms;
        let Some(room) = rooms.room(room_id).await? else { return Ok(None) };
        let summary = rooms.summaries(&[room.serial]).await?.pop().unwrap_or_default();
        if !self.may_see(room_id, &summary).await? {
            return Ok(None);
        }
        let counts = rooms.member_counts(&[room.serial]).await?.pop().unwrap_or_default();
        let join_rule = summary.join_rule.unwrap_or_else(|| "invite".to_owned());
        let restricted = matches!(join_rule.as_str(), "restricted" | "knock_restricted");
        let shown = Shown {
            room_id: room_id.to_owned(),
            canonical_alias: summary.canonical_alias,
            name: summary.name,
            topic: summary.topic,
            avatar_url: summary.avatar,
            room_type: summary.room_type,
            num_joined_members: counts.joined,
            allowed_room_ids: restricted.then_some(summary.allowed_rooms),
            join_rule,
            world_readable: summary.history_visibility.as_deref() == Some("world_readable"),
            guest_can_join: summary.guest_access.as_deref() == Some("can_join"),
            encryption: summary.encryption,
            room_version: room.version.as_str(),
            membership: None,
            children_state: None,
        };
        Ok(Some((room, shown)))
    }

    /// Rooms are shown to those in them, to those who may join or knock, and where all may read.
    async fn may_see(&self, room_id: &RoomId, summary: &Summary) -> Result<bool, ApiError> {
        let open = matches!(summary.join_rule.as_deref(), Some("public" | "knock" | "knock_restricted"));
        if open || summary.history_visibility.as_deref() == Some("world_readable") {
            return Ok(true);
        }
        let Some(user) = self.user else { return Ok(false) };
        let rooms = self.api.rooms.memberships(user).await?;
        let is_in = |membership: Membership| {
            matches!(membership, Membership::Join | Membership::Invite | Membership::Knock)
        };
        if rooms.rooms.iter().any(|room| room.room_id == room_id && is_in(room.membership)) {
            return Ok(true);
        }
        let restricted = summary.join_rule.as_deref() == Some("restricted");
        Ok(restricted
            && rooms.with(Membership::Join).any(|room| summary.allowed_rooms.contains(&room.room_id)))
    }

    /// The rooms that a space names as its own, in the order of the specification.
    async fn children(&self, room: &RoomInfo, suggested_only: bool) -> Result<Vec<Child>, ApiError> {
        let rooms = &self.api.rooms;
        let Some(root) = rooms.state_at(room.serial, Token::END).await? else { return Ok(Vec::new()) };
        let state = rooms.all_state(room.serial, root).await?;
        let mut children: Vec<Child> = state
            .iter()
            .filter(|event| event.kind() == "m.space.child")
            .filter_map(|event| child(event.pdu(), suggested_only))
            .collect();
        children.sort_by(|a, b| {
            let by_order = (a.order.is_none(), &a.order).cmp(&(b.order.is_none(), &b.order));
            by_order.then(a.since.cmp(&b.since)).then_with(|| a.room_id.cmp(&b.room_id))
        });
        Ok(children)
    }
}

/// Reads an `m.space.child` event; one without servers names no child.
fn child(pdu: &Pdu, suggested_only: bool) -> Option<Child> {
    #[derive(Deserialize)]
    struct Content {
        via: Vec<String>,
        order: Option<Value>,
        #[serde(default)]
        suggested: bool,
    }
    let content: Content = serde_json::from_str(pdu.content().get()).ok()?;
    if content.via.is_empty() || (suggested_only && !content.suggested) {
        return None;
    }
    let room_id = OwnedRoomId::try_from(pdu.state_key()?).ok()?;
    let is_order = |order: &str| {
        (1..=50).contains(&order.len()) && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
    };
    let order = content.order.and_then(|order| order.as_str().map(str::to_owned));
    let since = u64::from(pdu.origin_server_ts().get());
    let raw: &RawValue = pdu.content();
    let event = json!({
        "type": "m.space.child",
        "state_key": room_id,
        "sender": pdu.sender(),
        "origin_server_ts": since,
        "content": serde_json::from_str::<Value>(raw.get()).ok()?,
    });
    Some(Child { room_id, order: order.filter(|order| is_order(order)), since, event })
}
