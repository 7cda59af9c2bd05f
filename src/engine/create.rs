//! Creating rooms: all first events of a room in one batch.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#creation>

use std::{collections::HashSet, sync::Arc};

use audit::Actor;
use futures_util::{StreamExt, stream};
use pdu::{Draft, RoomVersion};
use room::{
    Error, Making, Root,
    attempts::Attempts,
    read::room::RoomInfo,
    tables::{Membership, ROOM_IDS, ROOMS, RoomIdRow, RoomRow},
};
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Map, Value, json, value::RawValue};
use store::Batch;
use tracing::warn;

use crate::{
    Engine,
    canonical_alias::Aliases,
    draft::draft,
    pipeline::{Sending, Stage, timestamp},
    place::Placement,
    profile::{Profile, member_content},
    upgrade::Claim,
};

/// Sets of first state, as the specification names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// By invite only; guests may join when invited.
    #[default]
    PrivateChat,
    /// As the former, and everyone invited has the creator's power.
    TrustedPrivateChat,
    /// Anyone may join.
    PublicChat,
}

/// What the creator of a room wishes.
#[derive(Clone, Debug, Default)]
pub struct CreateRoom {
    /// Room version; the configured default when none.
    pub version: Option<RoomVersion>,
    /// Which first state.
    pub preset: Preset,
    /// Name, topic.
    pub name: Option<String>,
    /// Topic, as plain text.
    pub topic: Option<String>,
    /// An alias; it must be one of the creator's server.
    pub alias: Option<OwnedRoomAliasId>,
    /// Lists the room in its server's directory.
    pub publish: bool,
    /// Further content of the create event (`m.federate`, `type`, `predecessor`, `additional_creators`, …).
    pub creation_content: Map<String, Value>,
    /// State events set before name and topic.
    pub initial_state: Vec<InitialState>,
    /// Put over the default power levels, key by key.
    pub power_level_content_override: Map<String, Value>,
    /// Users that are kept out from the beginning.
    pub bans: Vec<Ban>,
    /// The power levels that hold in the end, where the first events need more than the creator is to keep.
    pub settled_levels: Option<Map<String, Value>>,
    /// Users to invite.
    pub invite: Vec<Invitee>,
    /// Marks the invites as those of a direct chat.
    pub is_direct: bool,
    /// How the creator appears in the room.
    pub profile: Profile,
    /// The creator, for the audit log; where nobody says more, a user from an unknown place.
    pub by: Option<Actor>,
}

impl CreateRoom {
    /// Whether it begins as a room for talking with one other person, as clients make them ([`Making::direct`]).
    fn begins_direct(&self) -> bool {
        let opens = |state: &InitialState| state.kind == StateEventType::RoomJoinRules;
        self.is_direct
            && self.preset != Preset::PublicChat
            && self.invite.len() <= 1
            && !self.publish
            && self.alias.is_none()
            && !self.creation_content.contains_key("type")
            && !self.initial_state.iter().any(opens)
    }
}

/// A state event of a new room.
#[derive(Clone, Debug)]
pub struct InitialState {
    /// Its type.
    pub kind: StateEventType,
    /// Its state key.
    pub state_key: String,
    /// Its content.
    pub content: Box<RawValue>,
}

/// A user who is kept out of a new room.
#[derive(Clone, Debug)]
pub struct Ban {
    /// The user.
    pub user_id: OwnedUserId,
    /// Why.
    pub reason: Option<String>,
}

/// A user to invite to a new room.
#[derive(Clone, Debug)]
pub struct Invitee {
    /// The user.
    pub user_id: OwnedUserId,
    /// Name and picture, as far as we know them.
    pub profile: Profile,
}

/// Most events of `initial_state`, users invited, and users banned, of a new room. All are made in one commit, so
/// these lists bound its size.
pub const MAX_INITIAL_STATE: usize = 10_000;
/// See [`MAX_INITIAL_STATE`].
pub const MAX_INVITES: usize = 1_000;
/// See [`MAX_INITIAL_STATE`].
pub const MAX_BANS: usize = 5_000;

/// So many users of other servers are invited side by side.
const INVITES_AT_ONCE: usize = 8;

/// So much later than now, in milliseconds, and less is a room made that is not made at the first try.
const LATER_AT_MOST_MS: u64 = 50;

/// Writes into the batch that makes a room.
pub type Beside<'a> = &'a (dyn Fn(&mut Batch, &RoomId) + Send + Sync);

/// What is in the commit that makes a room beside its first events.
struct With<'a> {
    claim: Option<Claim<'a>>,
    beside: Option<Beside<'a>>,
}

impl Engine {
    /// Creates a room, with all its first events in one commit.
    ///
    /// Users of other servers are invited after the commit; one that cannot be reached is skipped,
    /// since the room is there.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::AliasTaken`], [`Error::BadAlias`], [`Error::Invalid`]; [`Error::BadRoomState`] when the
    /// wishes contradict the auth rules. Nothing was created then.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>
    pub async fn create(&self, creator: &UserId, wishes: CreateRoom) -> Result<OwnedRoomId, Error> {
        for state in &wishes.initial_state {
            check_alias(state, wishes.alias.as_deref())?;
        }
        self.create_claimed(creator, wishes, None).await
    }

    /// As [`Engine::create`], with rows of who wants the room in the commit that makes it. They are written for each try
    /// anew; where what they demand is not so any more, no room is made.
    ///
    /// # Errors
    /// As [`Engine::create`]; [`Error::Contended`] where what the rows demand is not so.
    pub async fn create_beside(
        &self,
        creator: &UserId,
        wishes: CreateRoom,
        beside: Beside<'_>,
    ) -> Result<OwnedRoomId, Error> {
        for state in &wishes.initial_state {
            check_alias(state, wishes.alias.as_deref())?;
        }
        self.create_with(creator, wishes, With { claim: None, beside: Some(beside) }).await
    }

    /// As [`Engine::create`]; with a claim, as the room that takes another's place, or the one that has taken it meanwhile.
    pub(crate) async fn create_claimed(
        &self,
        creator: &UserId,
        wishes: CreateRoom,
        claim: Option<Claim<'_>>,
    ) -> Result<OwnedRoomId, Error> {
        self.create_with(creator, wishes, With { claim, beside: None }).await
    }

    async fn create_with(
        &self,
        creator: &UserId,
        wishes: CreateRoom,
        mut with: With<'_>,
    ) -> Result<OwnedRoomId, Error> {
        let version = wishes.version.unwrap_or(self.0.config.default_version);
        self.0.policy.create(creator, &Making { version: &version, direct: wishes.begins_direct() })?;
        let plan = Plan::new(creator, version, &wishes)?;
        for draft in plan.all() {
            self.may_say(None, draft)?;
        }
        if let Some(levels) = &wishes.settled_levels {
            self.may_say(None, &settled(creator, levels))?;
        }
        for invitee in &wishes.invite {
            self.must_take_invite(&invitee.user_id, creator).await?;
        }
        let mut attempts = Attempts::default();
        let mut later_ms = 0;
        let room = loop {
            if let Some(room) =
                self.try_create(creator, &plan, &wishes, &with, later_ms, &mut attempts).await?
            {
                break room;
            }
            // Of two that say the same at one moment the second is another room: see `make_create_event`.
            later_ms += self.0.random.range(1..LATER_AT_MOST_MS);
            if let Some(claim) = &mut with.claim
                && let Some(made) = claim.find(self).await?
            {
                return Ok(made);
            }
        };
        self.invite_first(creator, &room, &wishes).await;
        Ok(room.room_id.clone())
    }

    /// One try. `None`: somebody else wrote what we needed (an alias, a state key), try again.
    async fn try_create(
        &self,
        creator: &UserId,
        plan: &Plan,
        wishes: &CreateRoom,
        with: &With<'_>,
        later_ms: u64,
        attempts: &mut Attempts,
    ) -> Result<Option<Arc<RoomInfo>>, Error> {
        if let Some(alias) = &wishes.alias
            && self.rooms().find_alias(alias).await?.is_some()
        {
            return Err(Error::AliasTaken);
        }
        let create = self.make_create_event(creator, plan, later_ms)?;
        let serial = self.new_room_serial().await?;
        let room = Arc::new(RoomInfo { serial, room_id: create.room_id().to_owned(), version: plan.version });
        let mut guard = self.lock(&room).await?;
        let mut stage = Stage::new(self, &room, guard.live()?);

        let row = RoomRow { serial, version: plan.version.as_str().to_owned() };
        stage.batch().insert(&ROOMS, room.room_id.as_str(), &row);
        let row = RoomIdRow { room_id: room.room_id.clone(), version: row.version };
        stage.batch().put(&ROOM_IDS, &serial, &row);
        if let Some(claim) = &with.claim {
            claim.stage(stage.batch(), &room);
        }
        if let Some(beside) = with.beside {
            beside(stage.batch(), &room.room_id);
        }
        let create_id = create.event_id().to_owned();
        stage.place(Placement::ours(create, Root::EMPTY, Vec::new())).await?;
        for draft in &plan.drafts {
            stage.send(draft, Sending::default()).await.map_err(as_bad_state)?;
        }
        // Of other servers' users too: they are invited once the room is there, and whoever may not is told before.
        for invitee in &wishes.invite {
            self.0.policy.invite(creator, &invitee.user_id, &room.room_id)?;
        }
        for invitee in wishes.invite.iter().filter(|invitee| self.is_local(&invitee.user_id)) {
            let draft = plan.invite(creator, invitee, wishes.is_direct);
            self.may_say(Some(&room.room_id), &draft)?;
            stage.send(&draft, Sending::default()).await.map_err(as_bad_state)?;
        }
        if let Some(levels) = &wishes.settled_levels {
            stage.send(&settled(creator, levels), Sending::default()).await.map_err(as_bad_state)?;
        }
        let by = wishes.by.clone().unwrap_or_else(|| Actor::user(creator, false, None));
        if let Some(alias) = &wishes.alias {
            self.stage_alias(stage.batch(), alias, &room, creator, &by);
        }
        if wishes.publish {
            self.0.policy.publish(creator, &room.room_id)?;
            self.rooms().stage_published(stage.batch(), &room, creator, &by);
        }
        let staged = stage.finish();
        let landing = guard.submit(self, staged, None);
        drop(guard);
        Ok(self.landed(landing, &create_id, attempts).await?.then_some(room))
    }

    /// The create event, from which version 12 rooms have their id: what says the same at the same moment is the same room.
    fn make_create_event(&self, creator: &UserId, plan: &Plan, later_ms: u64) -> Result<pdu::Pdu, Error> {
        let authority = self.authority_of(creator)?;
        let room_id = match plan.version.has_hashed_room_id() {
            true => None,
            false => Some(self.new_room_id(creator)?),
        };
        let at = timestamp(self.now().saturating_add(later_ms));
        let unsigned = pdu::build(plan.version, &plan.create, room_id.as_deref(), &[], &[], 1, at)?;
        let create = pdu::sign(unsigned, authority)?.into_pdu();
        pdu::check_auth_independent(&create, |_| None).map_err(|why| Error::BadRoomState(why.to_string()))?;
        Ok(create)
    }

    fn new_room_id(&self, creator: &UserId) -> Result<OwnedRoomId, Error> {
        let id = format!("!{}:{}", self.0.random.token(18), creator.server_name());
        RoomId::parse(id).map_err(|_| Error::Invalid("the server name is too long for room ids".to_owned()))
    }

    /// Invites the users of other servers.
    async fn invite_first(&self, creator: &UserId, room: &RoomInfo, wishes: &CreateRoom) {
        let others = wishes.invite.iter().filter(|invitee| !self.is_local(&invitee.user_id));
        self.invite_all(creator, &room.room_id, others, wishes.is_direct).await;
    }

    /// Invites users, in the background where that goes over the network. One who cannot be invited is skipped.
    pub async fn invite_many(&self, sender: &UserId, room_id: &RoomId, invitees: Vec<Invitee>) {
        let (ours, others): (Vec<_>, Vec<_>) =
            invitees.into_iter().partition(|invitee| self.is_local(&invitee.user_id));
        self.invite_all(sender, room_id, ours.iter(), false).await;
        if others.is_empty() {
            return;
        }
        let (engine, sender, room_id) = (self.clone(), sender.to_owned(), room_id.to_owned());
        self.0.tasks.spawn("invites", async move {
            engine.invite_all(&sender, &room_id, others.iter(), false).await;
        });
    }

    async fn invite_all<'a>(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        invitees: impl Iterator<Item = &'a Invitee>,
        is_direct: bool,
    ) {
        let invite = async |invitee: &Invitee| {
            let content = Value::Object(invite_content(invitee, is_direct));
            if let Err(error) = self.invite_with(sender, room_id, &invitee.user_id, content).await {
                warn!(%room_id, user_id = %invitee.user_id, %error, "first invite failed");
            }
        };
        stream::iter(invitees).for_each_concurrent(INVITES_AT_ONCE, invite).await;
    }
}

/// The first events of a room, but for those whose content needs the room's id.
struct Plan {
    version: RoomVersion,
    create: Draft,
    drafts: Vec<Draft>,
}

impl Plan {
    fn new(creator: &UserId, version: RoomVersion, wishes: &CreateRoom) -> Result<Self, Error> {
        check_lengths(wishes)?;
        let create = create_content(creator, version, wishes)?;
        let mut plan = Self {
            version,
            create: draft(creator, StateEventType::RoomCreate, "", &create),
            drafts: Vec::new(),
        };
        let member = member_content(Membership::Join, &wishes.profile, None);
        plan.add(creator, StateEventType::RoomMember, creator.as_str(), &Value::Object(member));
        let levels = power_levels(creator, version, wishes)?;
        plan.add(creator, StateEventType::RoomPowerLevels, "", &levels);
        if let Some(alias) = &wishes.alias {
            if alias.server_name() != creator.server_name() {
                return Err(Error::Invalid("the alias is one of another server".to_owned()));
            }
            plan.add(creator, StateEventType::RoomCanonicalAlias, "", &json!({ "alias": alias }));
        }
        plan.add_preset(creator, wishes);
        for state in &wishes.initial_state {
            if state.kind == StateEventType::RoomCreate || state.kind == StateEventType::RoomMember {
                return Err(Error::Invalid(format!("`{}` may not be initial state", state.kind)));
            }
            plan.drafts.push(Draft {
                kind: TimelineEventType::from(state.kind.clone()),
                state_key: Some(state.state_key.clone()),
                content: state.content.clone(),
                sender: creator.to_owned(),
                redacts: None,
            });
        }
        if let Some(name) = &wishes.name {
            plan.add(creator, StateEventType::RoomName, "", &json!({ "name": name }));
        }
        if let Some(topic) = &wishes.topic {
            let rich = json!({ "topic": topic, "m.topic": { "m.text": [{ "body": topic }] } });
            plan.add(creator, StateEventType::RoomTopic, "", &rich);
        }
        for Ban { user_id, reason } in &wishes.bans {
            let member = member_content(Membership::Ban, &Profile::default(), reason.as_deref());
            plan.add(creator, StateEventType::RoomMember, user_id.as_str(), &Value::Object(member));
        }
        Ok(plan)
    }

    /// The preset's events, but for those that `initial_state` sets.
    fn add_preset(&mut self, creator: &UserId, wishes: &CreateRoom) {
        let is_public = wishes.preset == Preset::PublicChat;
        let join_rule = if is_public { "public" } else { "invite" };
        let mut events = vec![
            (StateEventType::RoomJoinRules, json!({ "join_rule": join_rule })),
            (StateEventType::RoomHistoryVisibility, json!({ "history_visibility": "shared" })),
        ];
        if !is_public {
            // In a public room guests are forbidden, which is what a room without the event says.
            events.push((StateEventType::RoomGuestAccess, json!({ "guest_access": "can_join" })));
        }
        for (kind, content) in events {
            let set = |state: &InitialState| state.kind == kind && state.state_key.is_empty();
            if !wishes.initial_state.iter().any(set) {
                self.add(creator, kind, "", &content);
            }
        }
    }

    /// What the creator says, but for invites.
    fn all(&self) -> impl Iterator<Item = &Draft> {
        std::iter::once(&self.create).chain(&self.drafts)
    }

    fn add(&mut self, creator: &UserId, kind: StateEventType, key: &str, content: &Value) {
        self.drafts.push(draft(creator, kind, key, content));
    }

    fn invite(&self, creator: &UserId, invitee: &Invitee, is_direct: bool) -> Draft {
        let content = Value::Object(invite_content(invitee, is_direct));
        draft(creator, StateEventType::RoomMember, invitee.user_id.as_str(), &content)
    }
}

/// The power levels that hold in the end.
fn settled(creator: &UserId, levels: &Map<String, Value>) -> Draft {
    draft(creator, StateEventType::RoomPowerLevels, "", &Value::Object(levels.clone()))
}

/// The aliases that a new room calls its own must lead to it, which only the one can that is made with it.
fn check_alias(state: &InitialState, made: Option<&RoomAliasId>) -> Result<(), Error> {
    if state.kind != StateEventType::RoomCanonicalAlias || !state.state_key.is_empty() {
        return Ok(());
    }
    match Aliases::parse(&state.content)?.all().find(|alias| Some(&***alias) != made) {
        Some(alias) => Err(Error::BadAlias(alias.clone())),
        None => Ok(()),
    }
}

fn check_lengths(wishes: &CreateRoom) -> Result<(), Error> {
    for (name, length, limit) in [
        ("initial_state", wishes.initial_state.len(), MAX_INITIAL_STATE),
        ("invite", wishes.invite.len(), MAX_INVITES),
        ("bans", wishes.bans.len(), MAX_BANS),
    ] {
        if length > limit {
            return Err(Error::Invalid(format!("`{name}` has {length} entries; a new room takes {limit}")));
        }
    }
    Ok(())
}

fn invite_content(invitee: &Invitee, is_direct: bool) -> Map<String, Value> {
    let mut content = member_content(Membership::Invite, &invitee.profile, None);
    if is_direct {
        content.insert("is_direct".to_owned(), Value::Bool(true));
    }
    content
}

fn create_content(creator: &UserId, version: RoomVersion, wishes: &CreateRoom) -> Result<Value, Error> {
    let mut content = wishes.creation_content.clone();
    content.insert("room_version".to_owned(), version.as_str().into());
    content.remove("creator");
    if !version.rules().authorization.use_room_create_sender {
        content.insert("creator".to_owned(), creator.as_str().into());
    }
    if version.has_hashed_room_id() {
        let creators = additional_creators(creator, wishes)?;
        if !creators.is_empty() {
            content.insert("additional_creators".to_owned(), json!(creators));
        }
    }
    Ok(Value::Object(content))
}

/// Who has infinite power in a version 12 room, beside the sender of the create event.
fn additional_creators(creator: &UserId, wishes: &CreateRoom) -> Result<Vec<OwnedUserId>, Error> {
    let bad = || Error::Invalid("`additional_creators` must be a list of user ids".to_owned());
    let mut creators: Vec<OwnedUserId> = match wishes.creation_content.get("additional_creators") {
        None => Vec::new(),
        Some(value) => serde_json::from_value(value.clone()).map_err(|_| bad())?,
    };
    if wishes.preset == Preset::TrustedPrivateChat {
        creators.extend(wishes.invite.iter().map(|invitee| invitee.user_id.clone()));
    }
    let mut seen: HashSet<OwnedUserId> = HashSet::from([creator.to_owned()]);
    creators.retain(|user| seen.insert(user.clone()));
    Ok(creators)
}

fn power_levels(creator: &UserId, version: RoomVersion, wishes: &CreateRoom) -> Result<Value, Error> {
    let privileged = version.rules().authorization.explicitly_privilege_room_creators;
    let mut users = Map::new();
    if !privileged {
        users.insert(creator.to_string(), 100.into());
        if wishes.preset == Preset::TrustedPrivateChat {
            users.extend(wishes.invite.iter().map(|invitee| (invitee.user_id.to_string(), 100.into())));
        }
    }
    let invite = if wishes.preset == Preset::PublicChat { 50 } else { 0 };
    let tombstone = if privileged { 150 } else { 100 };
    let mut content = json!({
        "ban": 50, "events_default": 0, "invite": invite, "kick": 50, "redact": 50,
        "state_default": 50, "users_default": 0, "users": users,
        "events": {
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.encryption": 100,
            "m.room.history_visibility": 100,
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": tombstone,
        },
    });
    if let Some(content) = content.as_object_mut() {
        content.extend(wishes.power_level_content_override.clone());
    }
    if privileged && let Some(users) = content.get("users").and_then(Value::as_object) {
        let mut creators = additional_creators(creator, wishes)?;
        creators.push(creator.to_owned());
        if creators.iter().any(|creator| users.contains_key(creator.as_str())) {
            return Err(Error::Invalid("creators of a version 12 room have no power level".to_owned()));
        }
    }
    Ok(content)
}

/// A refusal by the auth rules while a room is made is a fault of the wishes.
fn as_bad_state(error: Error) -> Error {
    match error {
        Error::Forbidden(failure) => Error::BadRoomState(failure.to_string()),
        other => other,
    }
}

/// An alias of the creator's server with this localpart.
///
/// # Errors
/// [`Error::Invalid`] when the localpart cannot be one.
pub fn alias_of(creator: &UserId, localpart: &str) -> Result<OwnedRoomAliasId, Error> {
    let bad = || Error::Invalid("`room_alias_name` cannot be part of an alias".to_owned());
    if localpart.contains([':', '\0', '#']) || localpart.is_empty() {
        return Err(bad());
    }
    RoomAliasId::parse(format!("#{localpart}:{}", creator.server_name())).map_err(|_| bad())
}
