//! What a room shows of itself to those who may come in, and the rooms that a space names as its own.
//!
//! Clients see it as summaries and space hierarchies, other servers ask for it when a space of theirs names a
//! room of ours.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#spaces>,
//! <https://spec.matrix.org/v1.19/server-server-api/#spaces>

use std::sync::Arc;

use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Error, Rooms,
    read::{event::StoredEvent, room::RoomInfo, token::Token},
    tables::{Membership, Summary},
};

/// `room_type` of a space.
pub const SPACE: &str = "m.space";
const CHILD: &str = "m.space.child";

/// A room as summaries describe it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoomSummary {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its main alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_alias: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// What it is for; [`SPACE`] or something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_type: Option<String>,
    /// How many are in it.
    #[serde(default)]
    pub num_joined_members: u64,
    /// How one may come in.
    #[serde(default = "public")]
    pub join_rule: String,
    /// The rooms whose members may come in, where the join rule says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_room_ids: Option<Vec<OwnedRoomId>>,
    /// Whether all may read it.
    #[serde(default)]
    pub world_readable: bool,
    /// Whether guests may come in.
    #[serde(default)]
    pub guest_can_join: bool,
    /// How its messages are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_version: Option<String>,
    /// The rooms that it names as its own: stripped `m.space.child` events with their time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children_state: Option<Vec<Value>>,
}

/// What a summary that names no join rule means.
fn public() -> String {
    "public".to_owned()
}

impl RoomSummary {
    fn new(room: &RoomInfo, summary: Summary, joined: u64) -> Self {
        let join_rule = summary.join_rule.unwrap_or_else(|| "invite".to_owned());
        let restricted = is_restricted(&join_rule);
        Self {
            room_id: room.room_id.clone(),
            canonical_alias: summary.canonical_alias,
            name: summary.name,
            topic: summary.topic,
            avatar_url: summary.avatar,
            room_type: summary.room_type,
            num_joined_members: joined,
            allowed_room_ids: restricted.then_some(summary.allowed_rooms),
            join_rule,
            world_readable: summary.history_visibility.as_deref() == Some("world_readable"),
            guest_can_join: summary.guest_access.as_deref() == Some("can_join"),
            encryption: summary.encryption,
            room_version: Some(room.version.as_str().to_owned()),
            children_state: None,
        }
    }

    /// Whether it is a space.
    pub fn is_space(&self) -> bool {
        self.room_type.as_deref() == Some(SPACE)
    }

    /// Whether it is shown to everybody: all may join, knock or read.
    fn is_open(&self) -> bool {
        self.world_readable || matches!(self.join_rule.as_str(), "public" | "knock" | "knock_restricted")
    }
}

fn is_restricted(join_rule: &str) -> bool {
    matches!(join_rule, "restricted" | "knock_restricted")
}

/// Another server's answer to the question for a space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpaceAnswer {
    /// The space, or another room, with its children's events.
    pub room: RoomSummary,
    /// Those of its children that the asking server may see.
    #[serde(default)]
    pub children: Vec<RoomSummary>,
    /// Those that it may not see.
    #[serde(default)]
    pub inaccessible_children: Vec<OwnedRoomId>,
}

/// A room that a space names as its own.
#[derive(Clone, Debug)]
pub struct SpaceChild {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that know it.
    pub via: Vec<OwnedServerName>,
    /// The stripped event, with its time.
    pub event: Value,
    order: Option<String>,
    since: u64,
}

impl SpaceChild {
    /// Reads a stripped `m.space.child` event with its time; one without servers names no child.
    pub fn read(event: Value, suggested_only: bool) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "type")]
            kind: String,
            state_key: OwnedRoomId,
            origin_server_ts: u64,
            content: Content,
        }
        #[derive(Deserialize)]
        struct Content {
            via: Vec<String>,
            order: Option<Value>,
            #[serde(default)]
            suggested: bool,
        }
        let Event { kind, state_key, origin_server_ts, content } = Event::deserialize(&event).ok()?;
        if kind != CHILD || content.via.is_empty() || (suggested_only && !content.suggested) {
            return None;
        }
        let is_order = |order: &str| {
            (1..=50).contains(&order.len()) && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        };
        let order = content.order.and_then(|order| order.as_str().map(str::to_owned));
        Some(Self {
            room_id: state_key,
            via: content.via.iter().filter_map(|name| ServerName::parse(name).ok()).collect(),
            order: order.filter(|order| is_order(order)),
            since: origin_server_ts,
            event,
        })
    }

    /// Children in the order of the specification.
    pub fn sort(children: &mut [Self]) {
        children.sort_by(|a, b| {
            let by_order = (a.order.is_none(), &a.order).cmp(&(b.order.is_none(), &b.order));
            by_order.then(a.since.cmp(&b.since)).then_with(|| a.room_id.cmp(&b.room_id))
        });
    }
}

/// Who looks at a room from outside.
#[derive(Clone, Copy, Debug)]
pub enum Looker<'a> {
    /// Nobody in particular.
    Anybody,
    /// A user of ours.
    User(&'a UserId),
    /// Another server, for any of its users.
    Server(&'a ServerName),
}

impl Rooms {
    /// Whether we take part in a room, so that what we know of it is what it is.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn takes_part_in(&self, room_id: &RoomId) -> Result<bool, Error> {
        match self.room(room_id).await? {
            Some(room) => self.is_resident(&room).await,
            None => Ok(false),
        }
    }

    /// What a room shows; nothing where we know no such room or it is not for these eyes.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn room_summary(
        &self,
        room_id: &RoomId,
        looker: Looker<'_>,
    ) -> Result<Option<(Arc<RoomInfo>, RoomSummary)>, Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(None) };
        let summary = self.summaries(&[room.serial]).await?.pop().unwrap_or_default();
        let counts = self.member_counts(&[room.serial]).await?.pop().unwrap_or_default();
        let shown = RoomSummary::new(&room, summary, counts.joined);
        Ok(self.may_see_summary(&shown, looker).await?.then_some((room, shown)))
    }

    /// Rooms are shown to those in them, to those who may join or knock, and where all may read.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn may_see_summary(&self, shown: &RoomSummary, looker: Looker<'_>) -> Result<bool, Error> {
        if shown.is_open() {
            return Ok(true);
        }
        let nothing = Vec::new();
        let allowed = match is_restricted(&shown.join_rule) {
            true => shown.allowed_room_ids.as_ref().unwrap_or(&nothing),
            false => &nothing,
        };
        match looker {
            Looker::Anybody => Ok(false),
            Looker::User(user) => {
                let rooms = self.memberships(user).await?;
                let is_in = |membership: Membership| {
                    matches!(membership, Membership::Join | Membership::Invite | Membership::Knock)
                };
                Ok(rooms.rooms.iter().any(|room| room.room_id == shown.room_id && is_in(room.membership))
                    || rooms.with(Membership::Join).any(|room| allowed.contains(&room.room_id)))
            }
            Looker::Server(server) => {
                for room_id in std::iter::once(&shown.room_id).chain(allowed) {
                    if let Some(room) = self.room(room_id).await?
                        && self.is_server_in_room(server, room.serial).await?
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// The rooms that a space of ours names as its own, in the order of the specification.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn space_children(
        &self,
        room: &RoomInfo,
        suggested_only: bool,
    ) -> Result<Vec<SpaceChild>, Error> {
        let Some(root) = self.state_at(room.serial, Token::END).await? else { return Ok(Vec::new()) };
        let state = self.all_state(room.serial, root).await?;
        let events = state.iter().filter(|event| event.kind() == CHILD);
        let mut children: Vec<SpaceChild> =
            events.filter_map(|event| SpaceChild::read(stripped_child(event)?, suggested_only)).collect();
        SpaceChild::sort(&mut children);
        Ok(children)
    }
}

fn stripped_child(event: &StoredEvent) -> Option<Value> {
    Some(json!({
        "type": event.kind(),
        "state_key": event.state_key()?,
        "sender": event.sender(),
        "origin_server_ts": u64::from(event.pdu().origin_server_ts().get()),
        "content": serde_json::from_str::<Value>(event.pdu().content_str()).ok()?,
    }))
}
