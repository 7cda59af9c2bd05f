//! Many changes of one room in one commit, by who administers it: members that an authority brings into its rooms and takes
//! out of them, and what those rooms say of themselves.
//!
//! Who is brought in is not asked, and so neither is whether he takes invites: these are his own authority's rooms. The room
//! is asked all the same: what its rules do not allow is not done, and told.

use std::sync::Arc;

use pdu::Draft;
use room::{
    Error,
    attempts::Attempts,
    read::room::RoomInfo,
    tables::{LOCAL_MEMBERS, Membership},
};
use ruma::{
    OwnedEventId, OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType, room::power_levels::UserPowerLevel},
};
use serde_json::{Map, Value, json, value::RawValue};
use store::Batch;

use crate::{
    Engine,
    draft::draft,
    membership::Joining,
    pipeline::{Sending, Stage},
    profile::{GRANTING, Profile, member_content},
    send::{Outcome, single, stage_draft},
};

/// A change of a room.
#[derive(Clone, Debug)]
pub enum RoomChange {
    /// A user of ours comes in.
    Join {
        /// Who.
        user: OwnedUserId,
        /// How he appears.
        profile: Profile,
    },
    /// Somebody is put out, or is waited for no more.
    Leave {
        /// Who.
        user: OwnedUserId,
        /// Why.
        reason: Option<String>,
    },
    /// A piece of state says something else.
    State {
        /// Its type.
        kind: StateEventType,
        /// Its key.
        key: String,
        /// What it says.
        content: Box<RawValue>,
    },
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// It is done.
    Done,
    /// It was so already.
    Unchanged,
    /// The room, or policy, does not allow it.
    Refused,
}

/// Writes into the batch of changes, by what becomes of them.
type BesideChanges<'a> = &'a (dyn Fn(&mut Batch, &[Landed]) + Send + Sync);

/// What a change makes of a room's batch.
enum Staged {
    Placed(OwnedEventId),
    Unchanged,
}

/// So many of a room's users of ours are asked whether they may give all power away.
const MOST_GIVERS: usize = 10;

/// Whose level is as high as that of who is given all power steps down, up to so many.
const MOST_EQUALS: usize = 20;

/// The level of who has all power in a room that he has not made, and that of who had it before.
const ALL_POWER: i64 = 100;
const AFTER_IT: i64 = 50;

impl Engine {
    /// Changes a room in the name of one who has the power, all of it in one commit, with what `beside` writes. Of what the
    /// room does not allow nothing is done, and the rest is. Where nothing is done nothing is written.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::NotOurs`], [`Error::Contended`], [`Error::Store`]; then nothing is changed.
    pub async fn change_together(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        changes: &[RoomChange],
        beside: BesideChanges<'_>,
    ) -> Result<Vec<Landed>, Error> {
        self.authority_of(sender)?;
        let room = self.rooms().get_room(room_id).await?;
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(&room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, &room, guard.live()?);
            let (mut landed, mut last) = (Vec::with_capacity(changes.len()), None);
            for change in changes {
                landed.push(match self.stage_one(&mut stage, sender, change).await {
                    Ok(Staged::Placed(event_id)) => {
                        last = Some(event_id);
                        Landed::Done
                    }
                    Ok(Staged::Unchanged) => Landed::Unchanged,
                    Err(error) if is_refusal(&error) => {
                        tracing::debug!(%room_id, %error, "a change of a room was refused");
                        Landed::Refused
                    }
                    Err(error) => return Err(error),
                });
            }
            let Some(event_id) = last else {
                if guard.is_current(self).await? {
                    return Ok(landed);
                }
                attempts.again(self.rooms()).await?;
                continue;
            };
            beside(stage.batch(), &landed);
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if self.landed(landing, &event_id, &mut attempts).await? {
                return Ok(landed);
            }
        }
    }

    async fn stage_one(
        &self,
        stage: &mut Stage<'_>,
        sender: &UserId,
        change: &RoomChange,
    ) -> Result<Staged, Error> {
        match change {
            RoomChange::Join { user, profile } => self.stage_brought(stage, sender, user, profile).await,
            RoomChange::Leave { user, reason } => {
                let present = stage.membership(user).await?;
                if !matches!(present, Some(Membership::Join | Membership::Invite | Membership::Knock)) {
                    return Ok(Staged::Unchanged);
                }
                let content = member_content(Membership::Leave, &Profile::default(), reason.as_deref());
                self.stage_member(stage, sender, user, content).await
            }
            RoomChange::State { kind, key, content } => {
                if *kind == StateEventType::RoomMember || *kind == StateEventType::RoomCreate {
                    return Err(Error::Invalid(format!("`{kind}` is changed by verbs of its own")));
                }
                let draft = Draft {
                    kind: TimelineEventType::from(kind.clone()),
                    state_key: Some(key.clone()),
                    content: content.clone(),
                    sender: sender.to_owned(),
                    redacts: None,
                };
                self.may_say(Some(&stage.room.room_id), &draft)?;
                Ok(match stage_draft(stage, &draft, Sending::default()).await? {
                    Outcome::Placed(event_id) => Staged::Placed(event_id),
                    Outcome::Unchanged(_) => Staged::Unchanged,
                })
            }
        }
    }

    async fn stage_member(
        &self,
        stage: &mut Stage<'_>,
        sender: &UserId,
        target: &UserId,
        content: Map<String, Value>,
    ) -> Result<Staged, Error> {
        self.may_say_of_member(&stage.room.room_id, sender, target, &content)?;
        let draft = draft(sender, StateEventType::RoomMember, target.as_str(), &Value::Object(content));
        let event = stage.send(&draft, Sending::default()).await?;
        Ok(Staged::Placed(event.event_id().to_owned()))
    }

    /// Brings a user of ours in. Where the room lets in who is granted it, the sender grants it; else he invites first.
    async fn stage_brought(
        &self,
        stage: &mut Stage<'_>,
        sender: &UserId,
        user: &UserId,
        profile: &Profile,
    ) -> Result<Staged, Error> {
        let room_id = stage.room.room_id.clone();
        self.authority_of(user)?;
        let present = stage.membership(user).await?;
        match present {
            Some(Membership::Join) => return Ok(Staged::Unchanged),
            Some(Membership::Ban) => return Err(Error::NotAllowed("the user is banned".to_owned())),
            _ => {}
        }
        self.0.policy.join(user, &room_id)?;
        self.must_take_guest(stage, user).await?;
        let mut content = Joining { profile: profile.clone(), ..Joining::default() }.content();
        let rule = stage.summary_mut().join_rule.clone();
        let is_granted = matches!(rule.as_deref(), Some("restricted" | "knock_restricted"));
        let mut cosigner = None;
        if present != Some(Membership::Invite) {
            if is_granted {
                content.insert(GRANTING.to_owned(), sender.as_str().into());
                cosigner = self.cosigner(user, sender)?;
            } else if rule.as_deref() != Some("public") {
                let invite = member_content(Membership::Invite, profile, None);
                self.stage_member(stage, sender, user, invite).await?;
            }
        }
        self.may_say_of_member(&room_id, user, user, &content)?;
        let draft = draft(user, StateEventType::RoomMember, user.as_str(), &Value::Object(content));
        let event = stage.send(&draft, Sending { cosigner, ..Sending::default() }).await?;
        Ok(Staged::Placed(event.event_id().to_owned()))
    }

    /// Gives a user of ours all power in a room, by those of ours who have it; they keep a moderator's. All of it is one
    /// commit, with what `beside` writes.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] where nobody of ours may; [`Error::NoRoom`], [`Error::Contended`], [`Error::Store`]. Then nothing
    /// is changed.
    pub async fn hand_over(
        &self,
        user: &UserId,
        room_id: &RoomId,
        profile: &Profile,
        beside: BesideChanges<'_>,
    ) -> Result<(), Error> {
        self.authority_of(user)?;
        let room = self.rooms().get_room(room_id).await?;
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(&room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, &room, guard.live()?);
            if has_all_power(&mut stage, user).await? {
                drop(stage);
                drop(guard);
                let mut batch = Batch::new();
                beside(&mut batch, &[Landed::Unchanged]);
                let committed = self.store().commit(batch).await;
                if attempts.judge(self.rooms(), committed).await?.is_some() {
                    return Ok(());
                }
                continue;
            }
            let givers = self.givers(&room, &mut stage, user).await?;
            drop(stage);
            let mut given = None;
            for giver in &givers {
                let mut stage = Stage::new(self, &room, guard.live()?);
                match self.stage_hand_over(&mut stage, giver, user, profile).await {
                    Ok(event_id) => {
                        given = Some((stage, event_id));
                        break;
                    }
                    Err(error) if is_refusal(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some((mut stage, event_id)) = given else {
                if guard.is_current(self).await? {
                    return Err(Error::NotAllowed("nobody of this server may give all power".to_owned()));
                }
                attempts.again(self.rooms()).await?;
                continue;
            };
            beside(stage.batch(), &[Landed::Done]);
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if self.landed(landing, &event_id, &mut attempts).await? {
                return Ok(());
            }
        }
    }

    /// Users of ours in a room who may have all power, the most powerful first.
    async fn givers(
        &self,
        room: &Arc<RoomInfo>,
        stage: &mut Stage<'_>,
        except: &UserId,
    ) -> Result<Vec<OwnedUserId>, Error> {
        let power = stage.power().await?;
        let range = store::Range::prefix(&room.serial);
        let ours = self.store().scan(&LOCAL_MEMBERS, range, store::Order::Ascending, 20_000).await?;
        let ours = ours.into_iter().filter_map(|((_, user), ())| OwnedUserId::try_from(user).ok());
        let mut givers: Vec<(bool, i64, OwnedUserId)> = ours
            .filter(|user| self.is_local(user) && **user != *except)
            .filter_map(|user| match power.user(&user) {
                UserPowerLevel::Infinite => Some((true, i64::MAX, user)),
                UserPowerLevel::Int(level) if i64::from(level) >= ALL_POWER => {
                    Some((false, level.into(), user))
                }
                _ => None,
            })
            .collect();
        givers.sort_by(|one, other| (other.0, other.1, &one.2).cmp(&(one.0, one.1, &other.2)));
        givers.truncate(MOST_GIVERS);
        Ok(givers.into_iter().map(|(.., user)| user).collect())
    }

    async fn stage_hand_over(
        &self,
        stage: &mut Stage<'_>,
        giver: &UserId,
        user: &UserId,
        profile: &Profile,
    ) -> Result<OwnedEventId, Error> {
        let mut last = match self.stage_brought(stage, giver, user, profile).await? {
            Staged::Placed(event_id) => Some(event_id),
            Staged::Unchanged => None,
        };
        let creators = stage.power().await?.creators().to_vec();
        if !creators.iter().any(|creator| creator == user) {
            let mut levels = self.levels_in(stage).await?;
            give(&mut levels, user, ALL_POWER);
            last = self.stage_levels(stage, giver, &levels).await?.or(last);
        }
        // Nobody can be lowered by his equal: each does it himself.
        let levels = self.levels_in(stage).await?;
        let users = levels.get("users").and_then(Value::as_object).cloned().unwrap_or_default();
        let equals = users.iter().filter(|(_, level)| level.as_i64().is_some_and(|level| level >= ALL_POWER));
        let equals = equals.filter_map(|(name, _)| <&UserId>::try_from(name.as_str()).ok());
        let equals = equals.filter(|equal| *equal != user && self.is_local(equal)).take(MOST_EQUALS);
        for equal in equals {
            if stage.membership(equal).await? != Some(Membership::Join) {
                continue;
            }
            let mut levels = self.levels_in(stage).await?;
            give(&mut levels, equal, AFTER_IT);
            last = self.stage_levels(stage, equal, &levels).await?.or(last);
        }
        last.ok_or_else(|| Error::NotAllowed("the user has all power already".to_owned()))
    }

    async fn levels_in(&self, stage: &mut Stage<'_>) -> Result<Map<String, Value>, Error> {
        let levels = stage.current_one(single(StateEventType::RoomPowerLevels)).await?;
        let levels = levels.and_then(|levels| serde_json::from_str(levels.pdu().content_str()).ok());
        Ok(levels.unwrap_or_default())
    }

    async fn stage_levels(
        &self,
        stage: &mut Stage<'_>,
        sender: &UserId,
        levels: &Map<String, Value>,
    ) -> Result<Option<OwnedEventId>, Error> {
        let draft = draft(sender, StateEventType::RoomPowerLevels, "", &Value::Object(levels.clone()));
        self.may_say(Some(&stage.room.room_id), &draft)?;
        Ok(match stage_draft(stage, &draft, Sending::default()).await? {
            Outcome::Placed(event_id) => Some(event_id),
            Outcome::Unchanged(_) => None,
        })
    }
}

async fn has_all_power(stage: &mut Stage<'_>, user: &UserId) -> Result<bool, Error> {
    if stage.membership(user).await? != Some(Membership::Join) {
        return Ok(false);
    }
    Ok(match stage.power().await?.user(user) {
        UserPowerLevel::Infinite => true,
        UserPowerLevel::Int(level) => i64::from(level) >= ALL_POWER,
        _ => false,
    })
}

/// Gives a user a level.
fn give(levels: &mut Map<String, Value>, user: &UserId, level: i64) {
    match levels.get_mut("users") {
        Some(Value::Object(users)) => drop(users.insert(user.to_string(), level.into())),
        // What is no object names nobody.
        _ => drop(levels.insert("users".to_owned(), json!({ user.as_str(): level }))),
    }
}

/// Whether an error tells of the change, and not that it could not be tried.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Forbidden(_)
            | Error::NotAllowed(_)
            | Error::Denied(_)
            | Error::NotJoined { .. }
            | Error::NotOurs(_)
            | Error::NoGuests
            | Error::Invalid(_)
            | Error::Format(_)
            | Error::TooLarge
    )
}
