//! What a room takes over from the one whose place it takes.
//!
//! The specification recommends some types of state and leaves the rest to servers. We copy what describes the room
//! and what protects it: bans and policy rules too, or an upgrade would open the door to those who were shut out.

use pdu::{
    RoomVersion,
    json::{Numbers, canonicalize},
};
use room::{
    Error,
    read::{
        room::RoomInfo,
        view::{Look, Viewer},
    },
    tables::Membership,
};
use ruma::{OwnedUserId, RoomId, UserId, events::StateEventType};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Upgrade,
    levels::{Creators, of_successor},
};
use crate::{Ban, CreateRoom, Engine, InitialState, MAX_BANS, MAX_INVITES, Preset};

/// State with the empty state key that is copied as it is.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>
const TAKEN_OVER: [&str; 10] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.pinned_events",
];
/// State that is copied under all its keys: the rooms of a space and the spaces of a room, as far as they stand.
const RELATED: [&str; 2] = ["m.space.child", "m.space.parent"];
/// Types that begin so are copied under all keys: whom a policy list bars.
const POLICIES: [&str; 2] = ["m.policy.rule.", "org.matrix.mjolnir.rule."];

/// The old room, as whoever upgrades it sees it.
pub(super) struct OldRoom {
    state: Vec<Look>,
    version: RoomVersion,
}

impl OldRoom {
    pub(super) async fn read(engine: &Engine, user: &UserId, room_id: &RoomId) -> Result<Self, Error> {
        let state = engine.rooms().state(&Viewer::user(user), room_id).await?;
        Ok(Self { state, version: engine.rooms().get_room(room_id).await?.version })
    }

    fn find(&self, kind: &str) -> Option<&Look> {
        self.state.iter().find(|look| look.event.kind() == kind && look.event.state_key() == Some(""))
    }

    fn object(&self, kind: &str) -> Option<Map<String, Value>> {
        let content = self.find(kind)?.event.pdu().content_str();
        serde_json::from_str(content).ok()
    }

    /// Who stands above all levels, where the version has such users.
    fn creators(&self) -> Vec<OwnedUserId> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Create {
            #[serde(deserialize_with = "pdu::lenient::list")]
            additional_creators: Vec<OwnedUserId>,
        }
        let privileged = self.version.rules().authorization.explicitly_privilege_room_creators;
        let Some(create) = self.find("m.room.create").filter(|_| privileged) else { return Vec::new() };
        let Create { additional_creators } = pdu::lenient::read(create.event.pdu().content_str());
        std::iter::once(create.event.sender().to_owned()).chain(additional_creators).collect()
    }

    /// The members of one kind, with the reason that their member event gives.
    fn members(&self, membership: Membership) -> impl Iterator<Item = (OwnedUserId, Option<String>)> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Content {
            #[serde(deserialize_with = "pdu::lenient::field")]
            reason: Option<String>,
        }
        let members = self.state.iter().filter(move |look| look.event.membership() == Some(membership));
        members.filter_map(|look| {
            let user = OwnedUserId::try_from(look.event.state_key()?).ok()?;
            let Content { reason } = pdu::lenient::read(look.event.pdu().content_str());
            Some((user, reason))
        })
    }

    /// Everybody of whom the room has a member event.
    pub(super) fn member_ids(&self) -> impl Iterator<Item = OwnedUserId> {
        let members = self.state.iter().filter(|look| look.event.membership().is_some());
        members.filter_map(|look| OwnedUserId::try_from(look.event.state_key()?).ok())
    }

    /// Who is banned.
    pub(super) fn bans(&self) -> Vec<Ban> {
        self.members(Membership::Ban).map(|(user_id, reason)| Ban { user_id, reason }).collect()
    }

    /// Who is invited and has not answered; so many as one room may invite at first.
    pub(super) fn invited(&self) -> impl Iterator<Item = OwnedUserId> {
        self.members(Membership::Invite).take(MAX_INVITES).map(|(user_id, _)| user_id)
    }

    /// The state that is copied.
    fn copied(&self, user: &UserId) -> Vec<InitialState> {
        let events = self.state.iter().filter_map(|look| {
            let (kind, key) = (look.event.kind(), look.event.state_key()?);
            let is_copied = match key {
                "" if TAKEN_OVER.contains(&kind) => true,
                // Somebody else's own state cannot be set in his place.
                key if key.starts_with('@') && key != user.as_str() => false,
                _ if RELATED.contains(&kind) => is_standing(look),
                _ => POLICIES.iter().any(|policies| kind.starts_with(policies)),
            };
            // Old versions have numbers that new events may not have.
            let content = look.event.pdu().content();
            let fits = is_copied && canonicalize(content.get().as_bytes(), Numbers::Strict).is_ok();
            fits.then(|| InitialState {
                kind: StateEventType::from(kind),
                state_key: key.to_owned(),
                content: content.to_owned(),
            })
        });
        events.collect()
    }
}

/// Whether a relation to another room was not taken back: it names servers.
fn is_standing(look: &Look) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Content {
        #[serde(deserialize_with = "pdu::lenient::list")]
        via: Vec<String>,
    }
    let Content { via } = pdu::lenient::read(look.event.pdu().content_str());
    !via.is_empty()
}

/// The wishes for the room that takes another's place.
pub(super) async fn wishes(
    engine: &Engine,
    user: &UserId,
    info: &RoomInfo,
    old: &OldRoom,
    upgrade: &Upgrade,
) -> Result<CreateRoom, Error> {
    let Upgrade { version, additional_creators, profile, by } = upgrade;
    let mut creation_content = old.object("m.room.create").unwrap_or_default();
    // These are the new room's own.
    for key in ["creator", "room_version", "predecessor", "additional_creators"] {
        creation_content.remove(key);
    }
    let mut predecessor = json!({ "room_id": info.room_id });
    // From version 12 the id of the new room is known only after its create event is made, so the tombstone
    // cannot be named here: clients are to look for it.
    if !version.has_hashed_room_id()
        && let Some(last) = engine.rooms().forward_extremities(info).await?.pop()
    {
        predecessor["event_id"] = json!(last);
    }
    creation_content.insert("predecessor".to_owned(), predecessor);
    let rules = &version.rules().authorization;
    if rules.additional_room_creators && !additional_creators.is_empty() {
        creation_content.insert("additional_creators".to_owned(), json!(additional_creators));
    }

    let creators = Creators {
        upgrader: user,
        new: rules
            .explicitly_privilege_room_creators
            .then(|| std::iter::once(user).chain(additional_creators.iter().map(|user| &**user)).collect()),
        old: old.creators(),
    };
    let levels = of_successor(old.object("m.room.power_levels").as_ref(), &creators);
    let mut bans = old.bans();
    // The rest is banned one by one, after.
    bans.truncate(MAX_BANS);
    Ok(CreateRoom {
        version: Some(*version),
        preset: Preset::PrivateChat,
        creation_content,
        initial_state: old.copied(user),
        power_level_content_override: levels.first,
        settled_levels: levels.settled,
        bans,
        profile: profile.clone(),
        by: Some(by.clone()),
        ..CreateRoom::default()
    })
}
