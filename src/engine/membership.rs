//! Joining, leaving, kicking, banning, unbanning, forgetting; for users of ours.
//!
//! Here is what happens in rooms that we take part in, all of it local. Joining through another
//! server is [`crate::join`]'s, invites are [`crate::invites`]'s.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-membership>

use std::sync::Arc;

use audit::Deed;
use pdu::Authority;
use room::{
    Error, RemoteError,
    attempts::Attempts,
    read::room::RoomInfo,
    tables::{DEPARTURES, INVITES, LOCAL_MEMBERS, MEMBERS, MEMBERSHIPS, Membership, Summary},
};
use ruma::{OwnedEventId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId, events::StateEventType};
use serde_json::{Map, Value};
use store::{Batch, Topic};

use crate::{
    Engine,
    draft::draft,
    pipeline::{Sending, Stage, name},
    profile::{GRANTING, Profile, ProfileChange, member_content},
    send::{Outcome, single, stage_draft},
};

/// How a user joins.
#[derive(Clone, Debug, Default)]
pub struct Joining {
    /// How the user appears.
    pub profile: Profile,
    /// Why, in the user's words.
    pub reason: Option<String>,
    /// Further content of the member event.
    pub content: Map<String, Value>,
}

impl Joining {
    /// The content of the join, without a word on who grants it: that is not for the user to say.
    pub(crate) fn content(&self) -> Map<String, Value> {
        let mut content = member_content(Membership::Join, &self.profile, self.reason.as_deref());
        content.extend(self.content.clone());
        content.remove(GRANTING);
        content
    }
}

/// A change of somebody's membership by one of our users.
struct MemberChange<'a> {
    sender: &'a UserId,
    target: &'a UserId,
    content: Map<String, Value>,
    /// What the target must be; anything else is refused with this sentence.
    from: &'a [Membership],
    otherwise: &'static str,
    /// What of the present member event's content changes, in the place of `content`.
    profile: Option<&'a ProfileChange>,
}

impl Engine {
    /// Lets a user of ours join a room: here if the room is here, else with the help of `via`.
    ///
    /// Joining a room one is in already changes nothing.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Denied`]; [`Error::NoRoom`] when nobody knows the room;
    /// [`Error::Remote`] with the last server's answer when none helped.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#joining-rooms>
    pub async fn join(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        joining: Joining,
    ) -> Result<(), Error> {
        self.check_joining(user, room_id, &joining).await?;
        if let Some(room) = self.rooms().room(room_id).await? {
            let residents = self.servers_in(&room).await?;
            let (ours, others): (Vec<_>, Vec<_>) =
                residents.into_iter().partition(|server| self.is_ours(server));
            if !ours.is_empty() || (others.is_empty() && self.has_head(&room).await?) {
                return match self.join_here(user, &room, &joining, None).await {
                    Err(Error::UnableToAuthoriseJoin | Error::UnableToGrantJoin) if !others.is_empty() => {
                        self.join_through(user, room_id, &others, joining).await?;
                        self.leave_as_guest(user, room_id).await
                    }
                    outcome => outcome,
                };
            }
        }
        self.join_through(user, room_id, via, joining).await?;
        self.leave_as_guest(user, room_id).await
    }

    /// What is asked of every join before the room is.
    pub(crate) async fn check_joining(
        &self,
        user: &UserId,
        room_id: &RoomId,
        joining: &Joining,
    ) -> Result<(), Error> {
        self.authority_of(user)?;
        self.0.policy.join(user, room_id)?;
        self.check_not_purged(user, room_id).await?;
        self.check_not_blocked(user, room_id).await?;
        self.may_say_of_member(room_id, user, user, &joining.content())
    }

    /// Of a room that another server let us into we know only now whether it takes guests; a guest of ours leaves it at
    /// once where it does not. (Where a stop comes between, the next start has him leave.)
    async fn leave_as_guest(&self, user: &UserId, room_id: &RoomId) -> Result<(), Error> {
        if !self.is_guest(user).await? {
            return Ok(());
        }
        let Some(room) = self.rooms().room(room_id).await? else { return Ok(()) };
        if self.rooms().summaries(&[room.serial]).await?.iter().all(Summary::takes_guests) {
            return Ok(());
        }
        self.leave(user, room_id, None).await?;
        Err(Error::NoGuests)
    }

    pub(crate) async fn is_guest(&self, user: &UserId) -> Result<bool, Error> {
        match self.0.invitees.get() {
            Some(accounts) if self.is_local(user) => accounts.is_guest(user).await,
            _ => Ok(false),
        }
    }

    /// Refuses the join of a guest of ours to a room that takes none.
    pub(crate) async fn must_take_guest(&self, stage: &mut Stage<'_>, user: &UserId) -> Result<(), Error> {
        match self.is_guest(user).await? && !stage.summary_mut().takes_guests() {
            true => Err(Error::NoGuests),
            false => Ok(()),
        }
    }

    /// A join of a room that we take part in.
    pub(crate) async fn join_here(
        &self,
        user: &UserId,
        room: &Arc<RoomInfo>,
        joining: &Joining,
        deed: Option<(&Deed, &ServerName)>,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, room, guard.live()?);
            let outcome = self.stage_join(&mut stage, user, joining).await;
            let Ok(Some(event_id)) = outcome else {
                if guard.is_current(self).await? {
                    return outcome.map(|_| ());
                }
                attempts.again(self.rooms()).await?;
                continue;
            };
            if let Some((deed, authority)) = deed {
                deed.write(stage.batch(), authority);
            }
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if self.landed(landing, &event_id, &mut attempts).await? {
                return Ok(());
            }
        }
    }

    /// Puts a join into a batch; `None` when the user is in the room already.
    async fn stage_join(
        &self,
        stage: &mut Stage<'_>,
        user: &UserId,
        joining: &Joining,
    ) -> Result<Option<OwnedEventId>, Error> {
        if stage.membership(user).await? == Some(Membership::Join) {
            return Ok(None);
        }
        self.must_take_guest(stage, user).await?;
        let mut content = joining.content();
        let cosigner = self.grant_here(stage, user, &mut content).await?.flatten();
        let draft = draft(user, StateEventType::RoomMember, user.as_str(), &Value::Object(content));
        let sending = Sending { cosigner, ..Sending::default() };
        Ok(Some(stage.send(&draft, sending).await?.event_id().to_owned()))
    }

    /// Puts into the content of a join who of ours grants it, if the room asks for that. `None`: it does not;
    /// else the other authority of ours that must sign the join, if there is one.
    pub(crate) async fn grant_here(
        &self,
        stage: &mut Stage<'_>,
        user: &UserId,
        content: &mut Map<String, Value>,
    ) -> Result<Option<Option<Arc<Authority>>>, Error> {
        if matches!(stage.membership(user).await?, Some(Membership::Join | Membership::Invite)) {
            return Ok(None);
        }
        let Some(granting) = self.find_granting(stage, user).await? else { return Ok(None) };
        content.insert(GRANTING.to_owned(), granting.as_str().into());
        Ok(Some(self.cosigner(user, &granting)?))
    }

    /// The other authority of ours that must sign a join which one of its users grants.
    pub(crate) fn cosigner(
        &self,
        joining: &UserId,
        granting: &UserId,
    ) -> Result<Option<Arc<Authority>>, Error> {
        if joining.server_name() == granting.server_name() {
            return Ok(None);
        }
        Ok(Some(self.authority_of(granting)?.clone()))
    }

    /// For a restricted room: the user of ours in whose name the join is granted. `None` when the join
    /// rules do not ask for one, or the user is in none of the rooms that would allow the join.
    ///
    /// # Errors
    /// [`Error::UnableToAuthoriseJoin`] when a room that would allow it is not one of ours;
    /// [`Error::UnableToGrantJoin`] when it is allowed, but nobody here may invite.
    pub(crate) async fn find_granting(
        &self,
        stage: &mut Stage<'_>,
        user: &UserId,
    ) -> Result<Option<OwnedUserId>, Error> {
        // Loads the join rules into the summary's view of the tip; the summary itself is up to date.
        let summary = stage.summary_mut().clone();
        let rule = summary.join_rule.as_deref();
        if !matches!(rule, Some("restricted" | "knock_restricted")) {
            return Ok(None);
        }
        match self.is_allowed_by_rooms(user, &summary.allowed_rooms).await? {
            Some(true) => {}
            Some(false) => return Ok(None),
            None => return Err(Error::UnableToAuthoriseJoin),
        }
        self.find_inviter(stage).await?.map(Some).ok_or(Error::UnableToGrantJoin)
    }

    /// Whether the user is in one of these rooms; `None` when that cannot be told here.
    async fn is_allowed_by_rooms(
        &self,
        user: &UserId,
        rooms: &[ruma::OwnedRoomId],
    ) -> Result<Option<bool>, Error> {
        let mut unknown = false;
        let mut known = Vec::new();
        for room_id in rooms {
            match self.rooms().room(room_id).await? {
                Some(room) if self.rooms().is_resident(&room).await? => {
                    known.push((room.serial, user.as_str()))
                }
                _ => unknown = true,
            }
        }
        let members = self.store().get_many(&MEMBERS, &known).await?;
        if members.iter().flatten().any(|member| member.membership == Membership::Join) {
            return Ok(Some(true));
        }
        // Nor can it be told of a room that lacks members: he may be one of them.
        let lacking = self.rooms().lacking().await?;
        let open = unknown || known.iter().any(|(room, _)| lacking.lacks(*room));
        Ok(if open { None } else { Some(false) })
    }

    /// A joined user of ours who may invite to the room.
    async fn find_inviter(&self, stage: &mut Stage<'_>) -> Result<Option<OwnedUserId>, Error> {
        let power = stage.power().await?;
        let levels = stage.current_one(single(StateEventType::RoomPowerLevels)).await?;
        let mut candidates: Vec<OwnedUserId> =
            power.creators().iter().filter(|user| self.is_local(user)).cloned().collect();
        if let Some(levels) = &levels
            && let Ok(levels) = levels.pdu().power_levels()
        {
            candidates.extend(levels.users().keys().filter(|user| self.is_local(user)).cloned());
        }
        candidates.retain(|user| power.may_invite(user));
        let names: Vec<_> =
            candidates.iter().map(|user| name(StateEventType::RoomMember, user.as_str())).collect();
        let members = stage.current(&names).await?;
        let joined = |event: &Option<Arc<room::read::event::StoredEvent>>| {
            event.as_ref().is_some_and(|event| event.membership() == Some(Membership::Join))
        };
        if let Some(index) = members.iter().position(joined) {
            return Ok(candidates.get(index).cloned());
        }
        self.find_local_member(stage, |user| power.may_invite(user)).await
    }

    /// A joined user of ours of whom something holds, among the first thousands of them.
    pub(crate) async fn find_local_member(
        &self,
        stage: &Stage<'_>,
        may: impl Fn(&UserId) -> bool,
    ) -> Result<Option<OwnedUserId>, Error> {
        let room = stage.view().room.serial;
        let range = store::Range::prefix(&room);
        let ours = self.store().scan(&LOCAL_MEMBERS, range, store::Order::Ascending, 5_000).await?;
        let mut users = ours.into_iter().filter_map(|((_, user), ())| OwnedUserId::try_from(user).ok());
        // An authority that is served no more leaves its members behind.
        Ok(users.find(|user| self.is_local(user) && may(user)))
    }

    /// Lets a user of ours leave a room, refuse an invite, or take back a knock.
    ///
    /// An invite to a room we are not in is refused through the inviter's server; when that cannot be
    /// told, the user is rid of it all the same.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when banned; [`Error::NotJoined`] when there is nothing to leave; [`Error::ServerNotices`].
    pub async fn leave(&self, user: &UserId, room_id: &RoomId, reason: Option<&str>) -> Result<(), Error> {
        self.authority_of(user)?;
        let content = member_content(Membership::Leave, &Profile::default(), reason);
        self.may_say_of_member(room_id, user, user, &content)?;
        self.must_not_refuse(user, room_id).await?;
        let room = self.rooms().get_room(room_id).await?;
        if self.store().get(&INVITES, &(room.serial, user.as_str())).await?.is_some() {
            return self.leave_from_outside(user, &room, reason).await;
        }
        let change = MemberChange {
            sender: user,
            target: user,
            content,
            from: &[Membership::Join, Membership::Invite, Membership::Knock, Membership::Leave],
            otherwise: "you are not in this room",
            profile: None,
        };
        self.change_member(&room, change).await
    }

    /// Puts somebody out of a room.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; [`Error::NotAllowed`] when the target is not in it.
    pub async fn kick(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let content = member_content(Membership::Leave, &Profile::default(), reason);
        self.may_say_of_member(room_id, sender, target, &content)?;
        if sender == target {
            self.must_not_refuse(target, room_id).await?;
        }
        let room = self.rooms().get_room(room_id).await?;
        let change = MemberChange {
            sender,
            target,
            content,
            from: &[Membership::Join, Membership::Invite, Membership::Knock],
            otherwise: "the user is not in this room",
            profile: None,
        };
        self.change_member(&room, change).await
    }

    /// Puts somebody out of a room for good.
    ///
    /// # Errors
    /// [`Error::Forbidden`]
    pub async fn ban(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let content = member_content(Membership::Ban, &Profile::default(), reason);
        self.may_say_of_member(room_id, sender, target, &content)?;
        let room = self.rooms().get_room(room_id).await?;
        let change = MemberChange { sender, target, content, from: &[], otherwise: "", profile: None };
        self.change_member(&room, change).await
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; [`Error::NotAllowed`] when the target is not banned.
    pub async fn unban(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let content = member_content(Membership::Leave, &Profile::default(), reason);
        self.may_say_of_member(room_id, sender, target, &content)?;
        let room = self.rooms().get_room(room_id).await?;
        let change = MemberChange {
            sender,
            target,
            content,
            from: &[Membership::Ban],
            otherwise: "the user is not banned",
            profile: None,
        };
        self.change_member(&room, change).await
    }

    /// Shows a user's new name or picture in a room that the user is in. Elsewhere nothing happens.
    ///
    /// # Errors
    /// [`Error::Forbidden`]
    pub async fn update_profile(
        &self,
        user: &UserId,
        room_id: &RoomId,
        change: &ProfileChange,
    ) -> Result<(), Error> {
        let room = self.rooms().get_room(room_id).await?;
        if !self.rooms().is_joined(user, room_id).await? {
            return Ok(());
        }
        let change = MemberChange {
            sender: user,
            target: user,
            content: member_content(Membership::Join, &Profile::default(), None),
            from: &[Membership::Join],
            otherwise: "you are not in this room",
            profile: Some(change),
        };
        self.change_member(&room, change).await
    }

    /// Takes a room that a user left off the user's lists.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] while the user is in it.
    pub async fn forget(&self, user: &UserId, room_id: &RoomId) -> Result<(), Error> {
        let room = self.rooms().get_room(room_id).await?;
        let key = (user.as_str(), room.serial);
        let mut attempts = Attempts::default();
        loop {
            let Some(old) = self.store().get(&MEMBERSHIPS, &key).await? else {
                return Err(Error::NoRoom(room_id.to_owned()));
            };
            if !matches!(old.value.membership, Membership::Leave | Membership::Ban) {
                return Err(Error::NotAllowed("you are still in this room".to_owned()));
            }
            if old.value.forgotten {
                return Ok(());
            }
            let mut new = old.clone();
            new.value.forgotten = true;
            let mut batch = Batch::new();
            batch.replace(&MEMBERSHIPS, &key, &old, &new);
            batch.delete(&DEPARTURES, &key);
            batch.touch([Topic::memberships(user.as_str())]);
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn change_member(&self, room: &Arc<RoomInfo>, change: MemberChange<'_>) -> Result<(), Error> {
        self.authority_of(change.sender)?;
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, room, guard.live()?);
            let outcome = stage_change(&mut stage, &change).await;
            let Ok(Outcome::Placed(event_id)) = outcome else {
                if guard.is_current(self).await? {
                    return outcome.map(|_| ());
                }
                attempts.again(self.rooms()).await?;
                continue;
            };
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if self.landed(landing, &event_id, &mut attempts).await? {
                return Ok(());
            }
        }
    }

    /// The servers with joined members in a room, by its current state, or as we were told.
    pub(crate) async fn servers_in(&self, room: &RoomInfo) -> Result<Vec<OwnedServerName>, Error> {
        self.rooms().servers_in_room(room.serial).await
    }

    async fn has_head(&self, room: &RoomInfo) -> Result<bool, Error> {
        Ok(self.store().get(&room::tables::HEADS, &room.serial).await?.is_some())
    }
}

/// Puts a change of membership into a batch.
async fn stage_change(stage: &mut Stage<'_>, change: &MemberChange<'_>) -> Result<Outcome, Error> {
    let target = change.target.as_str();
    let current = stage.current_one(name(StateEventType::RoomMember, target)).await?;
    let content = match (change.profile, &current) {
        (Some(profile), Some(current)) => profile.apply(current.pdu().content_str()),
        _ => change.content.clone(),
    };
    let draft = draft(change.sender, StateEventType::RoomMember, target, &Value::Object(content));
    if change.profile.is_some() {
        stage.engine.may_say(Some(&stage.room.room_id), &draft)?;
    }
    let before = current.as_ref().and_then(|event| event.membership());
    let is_own = change.sender == change.target;
    if let Some(current) = &current
        && is_own
        && before == Some(Membership::Leave)
    {
        return Ok(Outcome::Unchanged(current.event_id().to_owned()));
    }
    if !change.from.is_empty() && before.is_none_or(|before| !change.from.contains(&before)) {
        // Who may not do it at all hears that first.
        if !is_own || before == Some(Membership::Ban) {
            stage.author(&draft, None, None).await?;
        } else if before.is_none() {
            let room = stage.view().room.room_id.clone();
            return Err(Error::NotJoined { user: change.sender.to_owned(), room });
        }
        return Err(Error::NotAllowed(change.otherwise.to_owned()));
    }
    stage_draft(stage, &draft, Sending::default()).await
}

/// The error for a request to no server at all.
pub(crate) fn nobody(room_id: &RoomId) -> Error {
    Error::NoRoom(room_id.to_owned())
}

/// What servers answered who said that the room does not want the user.
#[derive(Default)]
pub(crate) struct Refusals(Vec<RemoteError>);

impl Refusals {
    /// Whether asking the next server is of no use. One that refuses may be behind the others: it need not
    /// know yet that the user came into a room whose members are let in. Two know enough.
    pub(crate) fn is_final(&mut self, error: &RemoteError) -> bool {
        if matches!(error, RemoteError::Refused { code, .. } if code == "M_FORBIDDEN") {
            self.0.push(error.clone());
        }
        self.0.len() > 1
    }

    /// The outcome for the user: a refusal tells more than that the next server could not be reached.
    pub(crate) fn conclude(self, outcome: Result<(), Error>) -> Result<(), Error> {
        match (outcome, self.0.into_iter().next()) {
            (Err(_), Some(refusal)) => Err(Error::Remote(refusal)),
            (outcome, _) => outcome,
        }
    }
}
