//! What a room shows of itself to those who may join it, alone or as part of a space.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base::Instant;
use room::read::space::{Looker, RoomSummary, SpaceChild};
use ruma::{OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::debug;
use web::{ApiError, RawCall, Response, StatusCode, User, json_response};

use crate::ClientApi;

/// Rooms of a page when the client does not say, and at most.
const DEFAULT_ROOMS: usize = 50;
const MAX_ROOMS: usize = 100;
/// Rooms that are walked for one answer, so that a large space cannot keep the server busy.
const MAX_WALK: usize = 2_000;
/// Questions to other servers for one answer, the time for all of them, and how many servers are asked for one
/// room.
const MAX_QUESTIONS: usize = 50;
const MAX_ASKING: Duration = Duration::from_secs(15);
const MAX_SERVERS: usize = 3;

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
        Err(alias) => api.rooms.resolve_alias(caller, alias).await?.room_id,
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

#[derive(Deserialize)]
struct HierarchyQuery {
    from: Option<String>,
    limit: Option<usize>,
    max_depth: Option<usize>,
    #[serde(default)]
    suggested_only: bool,
    /// Servers that know the room, where we do not.
    #[serde(default)]
    via: Vec<OwnedServerName>,
}

/// `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`: the rooms of a space, depth first.
///
/// A page is the same walk again from where the last one ended, so nothing is kept between pages. Rooms that we
/// take no part in are described by the servers that the space names; who does not answer in time is left out.
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
    let mut walk = Walk::new(&api, &call.caller.user_id, query.suggested_only);

    let mut page = Vec::new();
    let mut walked = HashSet::new();
    let mut found = 0_usize;
    let mut more = false;
    let mut ahead = vec![(room_id.clone(), query.via, 0_usize)];
    while let Some((next, via, depth)) = ahead.pop() {
        if walked.len() >= MAX_WALK || !walked.insert(next.clone()) {
            continue;
        }
        let Some((mut shown, children)) = walk.look(&next, &via).await? else {
            if next == room_id {
                return Err(ApiError::forbidden("You cannot see this room"));
            }
            continue;
        };
        if query.max_depth.is_none_or(|max_depth| depth < max_depth) {
            // The first child is to be taken first.
            let children = children.iter().rev();
            ahead.extend(children.map(|child| (child.room_id.clone(), child.via.clone(), depth + 1)));
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

/// A user who walks through a space.
struct Walk<'a> {
    api: &'a ClientApi,
    user: &'a UserId,
    suggested_only: bool,
    /// Rooms of which another server told together with their space.
    told: HashMap<OwnedRoomId, RoomSummary>,
    /// Rooms that we may not see, by what another server said.
    closed: HashSet<OwnedRoomId>,
    /// How many questions to other servers are left.
    questions: usize,
    /// When the walk began; after [`MAX_ASKING`], none is asked.
    since: Instant,
}

impl<'a> Walk<'a> {
    fn new(api: &'a ClientApi, user: &'a UserId, suggested_only: bool) -> Self {
        Self {
            api,
            user,
            suggested_only,
            told: HashMap::new(),
            closed: HashSet::new(),
            questions: MAX_QUESTIONS,
            since: api.clock.instant(),
        }
    }

    /// What a room shows to the user, and its children; nothing where it is not for these eyes.
    async fn look(
        &mut self,
        room_id: &RoomId,
        via: &[OwnedServerName],
    ) -> Result<Option<(RoomSummary, Vec<SpaceChild>)>, ApiError> {
        let rooms = &self.api.rooms;
        if rooms.takes_part_in(room_id).await? {
            let Some((room, shown)) = rooms.room_summary(room_id, Looker::User(self.user)).await? else {
                return Ok(None);
            };
            let children = match shown.is_space() {
                true => rooms.space_children(&room, self.suggested_only).await?,
                false => Vec::new(),
            };
            return Ok(Some((shown, children)));
        }
        if self.closed.contains(room_id) {
            return Ok(None);
        }
        let told = self.told.remove(room_id);
        let shown = match told {
            Some(told) if !told.is_space() => Some(told),
            told => self.ask(room_id, via).await.or(told),
        };
        let Some(mut shown) = shown else { return Ok(None) };
        if !rooms.may_see_summary(&shown, Looker::User(self.user)).await? {
            return Ok(None);
        }
        let events = shown.children_state.take().unwrap_or_default();
        let read = |event| SpaceChild::read(event, self.suggested_only);
        let mut children: Vec<SpaceChild> = events.into_iter().filter_map(read).collect();
        SpaceChild::sort(&mut children);
        Ok(Some((shown, children)))
    }

    /// What other servers tell of a room, and of its children.
    async fn ask(&mut self, room_id: &RoomId, via: &[OwnedServerName]) -> Option<RoomSummary> {
        let from = self.user.server_name();
        for server in via.iter().filter(|server| !self.api.authorities.is_ours(server)).take(MAX_SERVERS) {
            if self.questions == 0 || self.api.clock.instant().since(self.since) > MAX_ASKING {
                return None;
            }
            self.questions -= 1;
            let asked = self.api.elsewhere.space(from, server, room_id, self.suggested_only).await;
            match asked {
                Ok(answer) if answer.room.room_id == room_id => {
                    let children = answer.children.into_iter();
                    self.told.extend(children.map(|child| (child.room_id.clone(), child)));
                    self.closed.extend(answer.inaccessible_children);
                    return Some(answer.room);
                }
                Ok(_) => debug!(%room_id, destination = %server, "another room was described"),
                Err(error) => debug!(%room_id, destination = %server, %error, "a room was not described"),
            }
        }
        None
    }
}
