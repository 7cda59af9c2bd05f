//! The verbs that rules of rooms need, over the engine and the accounts.

use std::collections::{BTreeMap, BTreeSet};

use account::Accounts;
use async_trait::async_trait;
use engine::{CreateRoom, Engine, InitialState, Landed, RoomChange};
use organisation::{PersonId, user_named};
use room::{read::room::RoomInfo, tables::Membership};
use rules::{Account, Actual, Beside, Change, NewRoom, Outcome, Piece, Presence, Rooms, VerbError};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Map, Value, json, value::RawValue};
use store::Batch;

/// Rooms and accounts, for rules.
pub(crate) struct ByRule {
    pub(crate) engine: Engine,
    pub(crate) accounts: Accounts,
}

/// What those who are put out read.
const REASON: &str = "人事異動による退出 / by the rules of the organisation";

/// The level of whoever makes a room of a version in which that does not give all power.
const ALL_POWER: i64 = 100;

#[async_trait]
impl Rooms for ByRule {
    async fn steward(&self, authority: &ServerName) -> Result<OwnedUserId, VerbError> {
        self.accounts.steward(authority).await.map_err(of_account)
    }

    async fn open_accounts(
        &self,
        authority: &ServerName,
        people: &[(PersonId, &str)],
    ) -> Result<Vec<(PersonId, Account)>, VerbError> {
        let named = people.iter().filter_map(|(person, name)| Some((*person, user_named(name, authority)?)));
        let named: Vec<(PersonId, OwnedUserId)> = named.collect();
        let users: Vec<&UserId> = named.iter().map(|(_, user)| &**user).collect();
        let open = self.accounts.open_accounts(&users).await.map_err(of_account)?;
        let open = named.into_iter().zip(open).filter_map(|((person, user), kept)| {
            let kept = kept?;
            Some((person, Account { user, can_act: !kept.locked && !kept.suspended }))
        });
        Ok(open.collect())
    }

    async fn look(&self, room: &RoomId, pieces: &[Piece]) -> Result<Option<Actual>, VerbError> {
        let rooms = self.engine.rooms();
        let Some(info) = rooms.room(room).await.map_err(of_room)? else { return Ok(None) };
        let members = match rooms.everybody_in(&info).await {
            Ok(members) => members,
            Err(room::Error::NoRoom(_)) => return Ok(None),
            Err(error) => return Err(of_room(error)),
        };
        let presence = |membership| match membership {
            Membership::Join => Some(Presence::Joined),
            Membership::Invite | Membership::Knock => Some(Presence::Waiting),
            Membership::Ban => Some(Presence::Banned),
            Membership::Leave => None,
        };
        let members = members.into_iter().filter_map(|(user, is)| Some((user, presence(is)?))).collect();
        let Some(contents) = self.contents(&info, pieces).await? else { return Ok(None) };
        let state = pieces.iter().cloned().zip(contents);
        let state: BTreeMap<_, _> = state.filter_map(|(piece, content)| Some((piece, content?))).collect();
        let servers = rooms.servers_in_room(info.serial).await.map_err(of_room)?;
        let is_shared = servers.iter().any(|server| !rooms.is_ours(server));
        let creators = self.creators(&info).await?;
        Ok(Some(Actual { state, members, creators, is_shared }))
    }

    async fn pieces(&self, room: &RoomId, pieces: &[Piece]) -> Result<Vec<Option<Value>>, VerbError> {
        let Some(info) = self.engine.rooms().room(room).await.map_err(of_room)? else {
            return Ok(Vec::new());
        };
        Ok(self.contents(&info, pieces).await?.unwrap_or_default())
    }

    async fn make(
        &self,
        steward: &UserId,
        room: NewRoom,
        beside: Beside<'_>,
    ) -> Result<OwnedRoomId, VerbError> {
        let NewRoom { is_space, is_federated, name, topic, levels, state } = room;
        let mut creation_content = Map::new();
        if is_space {
            creation_content.insert("type".to_owned(), json!("m.space"));
        }
        if !is_federated {
            creation_content.insert("m.federate".to_owned(), json!(false));
        }
        let mut levels = match levels {
            Value::Object(levels) => levels,
            _ => Map::new(),
        };
        let rules = self.engine.default_version().rules();
        if !rules.authorization.explicitly_privilege_room_creators
            && let Some(Value::Object(users)) = levels.get_mut("users")
        {
            users.insert(steward.to_string(), json!(ALL_POWER));
        }
        let initial_state = state.into_iter().map(|((kind, state_key), content)| {
            let content = raw(&content);
            InitialState { kind: kind.into(), state_key, content }
        });
        let wishes = CreateRoom {
            name: Some(name),
            topic,
            creation_content,
            initial_state: initial_state.collect(),
            power_level_content_override: levels,
            profile: self.accounts.member_profile(steward).await.map_err(of_account)?,
            ..CreateRoom::default()
        };
        let beside = |batch: &mut Batch, room: &RoomId| beside(batch, room, &[Outcome::Done]);
        self.engine.create_beside(steward, wishes, &beside).await.map_err(of_room)
    }

    async fn change(
        &self,
        steward: &UserId,
        room: &RoomId,
        changes: &[Change],
        beside: Beside<'_>,
    ) -> Result<Vec<Outcome>, VerbError> {
        let joining = changes.iter().filter_map(|change| match change {
            Change::Join(user) => Some(&**user),
            Change::Leave(_) | Change::State(..) => None,
        });
        let joining: Vec<&UserId> = joining.collect();
        let mut profiles = self.accounts.member_profiles(&joining).await.map_err(of_account)?.into_iter();
        let changes: Vec<RoomChange> = changes
            .iter()
            .map(|change| match change {
                Change::Join(user) => {
                    RoomChange::Join { user: user.clone(), profile: profiles.next().unwrap_or_default() }
                }
                Change::Leave(user) => {
                    RoomChange::Leave { user: user.clone(), reason: Some(REASON.to_owned()) }
                }
                Change::State((kind, key), content) => {
                    RoomChange::State { kind: kind.as_str().into(), key: key.clone(), content: raw(content) }
                }
            })
            .collect();
        let beside = |batch: &mut Batch, landed: &[Landed]| beside(batch, room, &outcomes(landed));
        let landed = self.engine.change_together(steward, room, &changes, &beside).await;
        Ok(outcomes(&landed.map_err(of_room)?))
    }

    async fn take_over(&self, steward: &UserId, room: &RoomId, beside: Beside<'_>) -> Result<(), VerbError> {
        let profile = self.accounts.member_profile(steward).await.map_err(of_account)?;
        let beside = |batch: &mut Batch, landed: &[Landed]| beside(batch, room, &outcomes(landed));
        self.engine.hand_over(steward, room, &profile, &beside).await.map_err(of_room)
    }
}

impl ByRule {
    /// The contents of pieces of a room's state; nothing where the room has none.
    async fn contents(
        &self,
        room: &RoomInfo,
        pieces: &[Piece],
    ) -> Result<Option<Vec<Option<Value>>>, VerbError> {
        let rooms = self.engine.rooms();
        let head = match rooms.get_head(room).await {
            Ok(head) => head,
            Err(room::Error::NoRoom(_)) => return Ok(None),
            Err(error) => return Err(of_room(error)),
        };
        let names: Vec<_> = pieces.iter().map(|(kind, key)| (kind.as_str(), key.as_str())).collect();
        let events = rooms.state_in(room.serial, head.current, &names).await.map_err(of_room)?;
        let content = |event: &room::read::event::StoredEvent| {
            // What cannot be read says nothing.
            serde_json::from_str(event.pdu().content_str()).unwrap_or_default()
        };
        Ok(Some(events.into_iter().map(|event| event.map(|event| content(&event))).collect()))
    }

    /// Who has all power in a room because he made it.
    async fn creators(&self, room: &RoomInfo) -> Result<BTreeSet<OwnedUserId>, VerbError> {
        if !room.version.rules().authorization.explicitly_privilege_room_creators {
            return Ok(BTreeSet::new());
        }
        let create = self.engine.rooms().current_state_event(room, "m.room.create", "").await;
        let Some(create) = create.map_err(of_room)? else { return Ok(BTreeSet::new()) };
        let content: Value = serde_json::from_str(create.pdu().content_str()).unwrap_or_default();
        let more = content.get("additional_creators").and_then(Value::as_array);
        let more = more.into_iter().flatten().filter_map(|user| UserId::parse(user.as_str()?).ok());
        Ok(more.chain([create.sender().to_owned()]).collect())
    }
}

fn raw(content: &Value) -> Box<RawValue> {
    // Values have string keys only, so they always encode.
    serde_json::value::to_raw_value(content).unwrap_or_default()
}

fn outcomes(landed: &[Landed]) -> Vec<Outcome> {
    let outcome = |landed: &Landed| match landed {
        Landed::Done => Outcome::Done,
        Landed::Unchanged => Outcome::Unchanged,
        Landed::Refused => Outcome::Refused,
    };
    landed.iter().map(outcome).collect()
}

fn of_account(error: account::Error) -> VerbError {
    match error {
        account::Error::InvalidParam(why) => VerbError::Refused(why),
        error => VerbError::Failed(error.to_string()),
    }
}

fn of_room(error: room::Error) -> VerbError {
    match error {
        room::Error::Forbidden(_)
        | room::Error::NotAllowed(_)
        | room::Error::Denied(_)
        | room::Error::NotJoined { .. }
        | room::Error::NotOurs(_)
        | room::Error::NoRoom(_)
        | room::Error::BadRoomState(_)
        | room::Error::Invalid(_)
        | room::Error::Format(_)
        | room::Error::TooLarge => VerbError::Refused(error.to_string()),
        error => VerbError::Failed(error.to_string()),
    }
}
