//! What a room shows of itself to those who may come in, and the rooms that a space names as its own.
//!
//! Clients see it as summaries and space hierarchies, other servers ask for it when a space of theirs names a
//! room of ours.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#spaces>,
//! <https://spec.matrix.org/v1.19/server-server-api/#spaces>

use std::{collections::HashSet, sync::Arc};

use pdu::lenient;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Error, RoomSerial, Rooms,
    read::{bounded, event::StoredEvent, room::RoomInfo, token::Token},
    tables::{Membership, SERVERS, Summary},
};

/// `room_type` of a space.
pub const SPACE: &str = "m.space";
const CHILD: &str = "m.space.child";
/// So many rooms are looked up in one round, each of them for every authority of the process.
const ROOMS_AT_ONCE: usize = 100;
/// So many spaces are looked through in one round.
const SPACES_AT_ONCE: usize = 10;
/// Servers that are kept of those that are said to know a child.
const MAX_VIA: usize = 20;
/// What a summary takes in memory beside its texts and lists, about.
const SUMMARY_BYTES: usize = 400;

/// A room as summaries describe it. Those that other servers send are read field by field: an odd field counts as
/// absent, and an odd join rule lets nobody in. Every text and list of theirs is bounded where it is read
/// ([`bounded`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoomSummary {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its main alias.
    #[serde(default, deserialize_with = "bounded::short", skip_serializing_if = "Option::is_none")]
    pub canonical_alias: Option<String>,
    /// Its name.
    #[serde(default, deserialize_with = "bounded::title", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its topic.
    #[serde(default, deserialize_with = "bounded::prose", skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its picture.
    #[serde(default, deserialize_with = "bounded::short", skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// What it is for; [`SPACE`] or something else.
    #[serde(default, deserialize_with = "bounded::short", skip_serializing_if = "Option::is_none")]
    pub room_type: Option<String>,
    /// How many are in it.
    #[serde(default, deserialize_with = "lenient::field")]
    pub num_joined_members: u64,
    /// How one may come in.
    #[serde(default = "public", deserialize_with = "join_rule")]
    pub join_rule: String,
    /// The rooms whose members may come in, where the join rule says so.
    #[serde(default, deserialize_with = "bounded::some_ids", skip_serializing_if = "Option::is_none")]
    pub allowed_room_ids: Option<Vec<OwnedRoomId>>,
    /// Whether all may read it.
    #[serde(default, deserialize_with = "lenient::field")]
    pub world_readable: bool,
    /// Whether guests may come in.
    #[serde(default, deserialize_with = "lenient::field")]
    pub guest_can_join: bool,
    /// How its messages are encrypted.
    #[serde(default, deserialize_with = "bounded::short", skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Its version.
    #[serde(default, deserialize_with = "bounded::short", skip_serializing_if = "Option::is_none")]
    pub room_version: Option<String>,
    /// The rooms that it names as its own: stripped `m.space.child` events with their time.
    #[serde(default, deserialize_with = "bounded::children", skip_serializing_if = "Option::is_none")]
    pub children_state: Option<Vec<Box<RawValue>>>,
}

/// What a summary that names no join rule means.
fn public() -> String {
    "public".to_owned()
}

fn join_rule<'de, D: serde::Deserializer<'de>>(json: D) -> Result<String, D::Error> {
    Ok(bounded::short(json)?.unwrap_or_else(|| "invite".to_owned()))
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

    /// About what it takes in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.canonical_alias,
            &self.name,
            &self.topic,
            &self.avatar_url,
            &self.room_type,
            &self.encryption,
            &self.room_version,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let allowed: usize = self.allowed_room_ids.iter().flatten().map(|id| id.as_str().len() + 16).sum();
        let children: usize = self.children_state.iter().flatten().map(|child| child.get().len() + 16).sum();
        SUMMARY_BYTES + self.room_id.as_str().len() + self.join_rule.len() + texts + allowed + children
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
    #[serde(default, deserialize_with = "bounded::rooms")]
    pub children: Vec<RoomSummary>,
    /// Those that it may not see.
    #[serde(default, deserialize_with = "bounded::ids")]
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
    pub event: Box<RawValue>,
    order: Option<String>,
    since: u64,
}

/// What a room shows to somebody.
#[derive(Clone, Debug)]
pub enum Shown {
    /// We do not take part in it, so what we know of it may be wrong.
    Unknown,
    /// It is not for these eyes.
    Closed,
    /// This.
    Room(Arc<RoomInfo>, Box<RoomSummary>),
}

impl SpaceChild {
    /// Reads a stripped `m.space.child` event with its time; one without servers names no child.
    pub fn read(event: Box<RawValue>, suggested_only: bool) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "type")]
            kind: String,
            state_key: OwnedRoomId,
            /// What does not say since when it is a child stands behind those that do.
            #[serde(default, deserialize_with = "lenient::field")]
            origin_server_ts: Option<u64>,
            #[serde(default, deserialize_with = "lenient::field")]
            content: Content,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Content {
            #[serde(deserialize_with = "lenient::list")]
            via: Vec<String>,
            #[serde(deserialize_with = "lenient::field")]
            order: Option<String>,
            #[serde(deserialize_with = "lenient::field")]
            suggested: bool,
        }
        let Event { kind, state_key, origin_server_ts, content } = serde_json::from_str(event.get()).ok()?;
        if kind != CHILD || content.via.is_empty() || (suggested_only && !content.suggested) {
            return None;
        }
        let is_order = |order: &str| {
            (1..=50).contains(&order.len()) && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        };
        Some(Self {
            room_id: state_key,
            via: content.via.iter().filter_map(|name| ServerName::parse(name).ok()).take(MAX_VIA).collect(),
            order: content.order.filter(|order| is_order(order)),
            since: origin_server_ts.unwrap_or(u64::MAX),
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

    /// What a room shows; nothing where we take no part in such a room, as what we know of it may be wrong, or it is
    /// not for these eyes.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn room_summary(
        &self,
        room_id: &RoomId,
        looker: Looker<'_>,
    ) -> Result<Option<(Arc<RoomInfo>, RoomSummary)>, Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(None) };
        if !self.is_resident(&room).await? {
            return Ok(None);
        }
        let summary = self.summaries(&[room.serial]).await?.pop().unwrap_or_default();
        let counts = self.member_counts(&[room.serial]).await?.pop().unwrap_or_default();
        let shown = RoomSummary::new(&room, summary, counts.joined);
        let may_see = self.may_see_summary(&shown, looker).await?
            || match looker {
                // Its user, who may join, sees the room by what we tell it.
                Looker::Server(server) => self.is_server_invited(server, room.serial).await?,
                Looker::Anybody | Looker::User(_) => false,
            };
        Ok(may_see.then_some((room, shown)))
    }

    /// What several rooms show, in the order of `room_ids`; each in a few rounds to the store for all.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn room_summaries(
        &self,
        room_ids: &[OwnedRoomId],
        looker: Looker<'_>,
    ) -> Result<Vec<Shown>, Error> {
        let known = self.rooms_by_id(room_ids).await?;
        let rooms: Vec<&Arc<RoomInfo>> = known.iter().flatten().collect();
        let serials: Vec<RoomSerial> = rooms.iter().map(|room| room.serial).collect();
        let resident = self.are_resident(&serials).await?;
        let (summaries, counts) = (self.summaries(&serials).await?, self.member_counts(&serials).await?);
        let mut shown = Vec::with_capacity(rooms.len());
        for ((room, resident), (summary, counts)) in
            rooms.into_iter().zip(resident).zip(summaries.into_iter().zip(counts))
        {
            let summary = RoomSummary::new(room, summary, counts.joined);
            shown.push(match resident {
                false => Shown::Unknown,
                true if self.may_see_summary(&summary, looker).await? => {
                    Shown::Room(room.clone(), Box::new(summary))
                }
                true => Shown::Closed,
            });
        }
        let mut shown = shown.into_iter();
        let mut next =
            |known: &Option<_>| known.as_ref().and_then(|_| shown.next()).unwrap_or(Shown::Unknown);
        Ok(known.iter().map(&mut next).collect())
    }

    /// Whether we take part in rooms, in their order.
    pub(crate) async fn are_resident(&self, rooms: &[RoomSerial]) -> Result<Vec<bool>, Error> {
        let names: Vec<&str> = self.authorities().iter().map(|authority| authority.name().as_str()).collect();
        let mut resident = Vec::with_capacity(rooms.len());
        for some in rooms.chunks(ROOMS_AT_ONCE) {
            let keys: Vec<(RoomSerial, &str)> =
                some.iter().flat_map(|room| names.iter().map(|name| (*room, *name))).collect();
            let counts = self.store().get_many(&SERVERS, &keys).await?;
            let is_there =
                |counts: &[Option<store::Counter>]| counts.iter().flatten().any(|count| count.0 > 0);
            resident.extend(counts.chunks(names.len().max(1)).map(is_there));
        }
        Ok(resident)
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

    /// The rooms that each of these spaces of ours names as its own, in their order. The members of a space cost nothing.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn rooms_in_spaces(&self, spaces: &[RoomSerial]) -> Result<Vec<HashSet<OwnedRoomId>>, Error> {
        let roots = self.states_at(spaces, Token::END).await?;
        let places: Vec<_> =
            spaces.iter().zip(roots).map(|(space, root)| (*space, root.unwrap_or_default())).collect();
        let mut all = Vec::with_capacity(spaces.len());
        for some in places.chunks(SPACES_AT_ONCE) {
            for state in self.full_states(some, false).await? {
                let events = state.iter().filter(|event| event.kind() == CHILD);
                let rooms =
                    events.filter_map(|event| Some(SpaceChild::read(stripped_child(event)?, false)?.room_id));
                all.push(rooms.collect());
            }
        }
        Ok(all)
    }
}

/// A stripped event with its time. Not by way of a `Value`: content of other servers is nested more deeply than those
/// can be read.
#[derive(Serialize)]
struct Stripped<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    state_key: &'a str,
    sender: &'a UserId,
    origin_server_ts: u64,
    content: &'a RawValue,
}

impl Stripped<'_> {
    fn to_json(&self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(self).ok()
    }
}

fn stripped_child(event: &StoredEvent) -> Option<Box<RawValue>> {
    let stripped = Stripped {
        kind: event.kind(),
        state_key: event.state_key()?,
        sender: event.sender(),
        origin_server_ts: event.pdu().origin_server_ts().get().into(),
        content: serde_json::from_str(event.pdu().content_str()).ok()?,
    };
    stripped.to_json()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::{SpaceAnswer, SpaceChild, Stripped};

    fn child(content: Value) -> Option<SpaceChild> {
        let event = json!({ "type": "m.space.child", "state_key": "!a:b.test", "sender": "@a:b.test",
            "origin_server_ts": 5, "content": content });
        SpaceChild::read(to_raw_value(&event).unwrap(), false)
    }

    #[test]
    fn a_child_whose_content_is_nested_deeply_is_a_child() {
        let content = format!(r#"{{"via":["b.test"],"x":{}1{}}}"#, "[".repeat(490), "]".repeat(490));
        let stripped = Stripped {
            kind: "m.space.child",
            state_key: "!a:b.test",
            sender: ruma::user_id!("@a:b.test"),
            origin_server_ts: 5,
            content: serde_json::from_str(&content).unwrap(),
        };
        let child = SpaceChild::read(stripped.to_json().unwrap(), false).unwrap();
        assert_eq!((child.room_id.as_str(), child.since), ("!a:b.test", 5));
        assert!(child.event.get().contains(&content));
    }

    #[test]
    fn an_odd_field_of_a_child_does_not_hide_it() {
        for content in [
            json!({ "via": ["b.test"], "suggested": null }),
            json!({ "via": ["b.test", 5, null] }),
            json!({ "via": ["b.test", "no name"], "order": 7, "suggested": "yes" }),
        ] {
            let child = child(content.clone());
            assert!(child.is_some_and(|child| child.via == ["b.test"] && child.order.is_none()), "{content}");
        }
        for content in [json!({}), json!({ "via": [] }), json!({ "via": "b.test" }), json!({ "via": [5] })] {
            assert!(child(content.clone()).is_none(), "{content}");
        }
    }

    #[test]
    fn children_without_an_order_or_a_time_stand_last() {
        let read = |key: &str, more: Value| {
            let mut event =
                json!({ "type": "m.space.child", "state_key": key, "content": { "via": ["b.test"] } });
            for (name, value) in more.as_object().into_iter().flatten() {
                match name.as_str() {
                    "order" => event["content"]["order"] = value.clone(),
                    _ => event[name] = value.clone(),
                }
            }
            SpaceChild::read(to_raw_value(&event).unwrap(), false).unwrap()
        };
        let mut children = vec![
            read("!d:b.test", json!({ "origin_server_ts": "soon" })),
            read("!c:b.test", json!({ "origin_server_ts": 2 })),
            read("!b:b.test", json!({ "origin_server_ts": 9, "order": "b" })),
            read("!a:b.test", json!({ "origin_server_ts": 9, "order": "a" })),
        ];
        SpaceChild::sort(&mut children);
        let order: Vec<_> = children.iter().map(|child| child.room_id.as_str()).collect();
        assert_eq!(order, ["!a:b.test", "!b:b.test", "!c:b.test", "!d:b.test"]);
    }

    #[test]
    fn an_odd_room_in_another_servers_answer_costs_that_room_alone() {
        let answer: SpaceAnswer = serde_json::from_value(json!({
            "room": { "room_id": "!a:b.test", "name": 5, "num_joined_members": "many", "room_type": "m.space",
                "children_state": [{}, 5, { "type": "m.space.child" }], "world_readable": null },
            "children": [{ "room_id": "!b:b.test", "join_rule": 7, "allowed_room_ids": ["!a:b.test", 3] },
                { "name": "no id" }, { "room_id": "nonsense" }, 5, { "room_id": "!c:b.test", "topic": "t" }],
            "inaccessible_children": ["!d:b.test", 5],
        }))
        .unwrap();

        assert_eq!((answer.room.name, answer.room.num_joined_members), (None, 0));
        assert!(answer.room.children_state.is_some_and(|children| children.len() == 3));
        let ids: Vec<_> = answer.children.iter().map(|room| room.room_id.as_str()).collect();
        assert_eq!(ids, ["!b:b.test", "!c:b.test"]);
        // What cannot be read opens nothing.
        assert_eq!(
            (answer.children[0].join_rule.as_str(), answer.children[1].join_rule.as_str()),
            ("invite", "public")
        );
        assert_eq!(answer.children[0].allowed_room_ids.as_deref().map(<[_]>::len), Some(1));
        assert_eq!(answer.inaccessible_children.len(), 1);
    }

    #[test]
    fn no_text_and_no_list_of_another_servers_summary_is_longer_than_its_bound() {
        let (long, many) = ("字".repeat(1 << 20), vec![json!("!a:b.test"); 100_000]);
        let child =
            json!({ "type": "m.space.child", "state_key": "!b:b.test", "content": { "via": ["b.test"] } });
        let fat = json!({ "type": "m.space.child", "state_key": "!c:b.test", "content": { "via": ["b.test"], "x": long } });
        let mut children = vec![child; 20_000];
        children.insert(0, fat);
        let room = json!({ "room_id": "!a:b.test", "name": long, "topic": long, "avatar_url": long,
            "canonical_alias": long, "room_type": long, "join_rule": long, "encryption": long, "room_version": long,
            "allowed_room_ids": many, "children_state": children, "more": long });
        let answer = json!({ "room": room, "children": vec![json!({ "room_id": "!d:b.test", "topic": "t" }); 20_000],
            "inaccessible_children": many });
        let answer: SpaceAnswer = serde_json::from_str(&answer.to_string()).unwrap();

        let room = &answer.room;
        assert!(room.name.as_ref().is_some_and(|name| name.len() <= 1_024 && name.starts_with('字')));
        assert!(room.topic.as_ref().is_some_and(|topic| topic.len() <= 4_096 && topic.starts_with('字')));
        assert!(room.avatar_url.is_none() && room.canonical_alias.is_none() && room.room_type.is_none());
        assert_eq!(room.join_rule, "invite");
        assert!(room.encryption.is_none() && room.room_version.is_none());
        assert_eq!(room.allowed_room_ids.as_ref().map(Vec::len), Some(100));
        assert!(room.children_state.as_ref().is_some_and(
            |children| children.len() == 1_000 && children.iter().all(|child| child.get().len() <= 4_096)
        ));
        assert_eq!((answer.children.len(), answer.inaccessible_children.len()), (1_000, 1_000));
        assert!((100_000..400_000).contains(&room.bytes()), "{}", room.bytes());
    }
}
