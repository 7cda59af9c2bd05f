//! What administrators do in the rooms of their authority: bringing a user in, and giving one power. Each is an event as any
//! other, which the room's rules allow or not; the row in the audit log is of its batch.

use std::sync::Arc;

use audit::Deed;
use room::{
    Error,
    attempts::Attempts,
    read::room::RoomInfo,
    tables::{LOCAL_MEMBERS, Membership},
};
use ruma::{
    Int, OwnedEventId, OwnedUserId, RoomId, ServerName, UserId,
    events::{StateEventType, TimelineEventType, room::power_levels::UserPowerLevel},
};
use serde_json::{Map, Value};

use crate::{
    Engine, Joining,
    draft::draft,
    pipeline::{Sending, Stage},
    send::single,
};

/// What a user whose power has no end gives to others, unless more is needed.
const FULL_POWER: i32 = 100;

impl Engine {
    /// Brings a user of ours into a room that we take part in, with a row in the audit log of an authority. Who is in it
    /// stays in it, and nothing is written.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Denied`], [`Error::NoRoom`], [`Error::BeingPurged`]; nobody else is asked to let him in.
    pub async fn join_noted(
        &self,
        user: &UserId,
        room_id: &RoomId,
        joining: &Joining,
        deed: (&Deed, &ServerName),
    ) -> Result<(), Error> {
        self.check_joining(user, room_id, joining).await?;
        let room = self.rooms().get_room(room_id).await?;
        self.join_here(user, &room, joining, Some(deed)).await
    }

    /// Gives a user of an authority as much power in a room as the one of its users has who has most of it there and may give
    /// it; that one gives it, and is the answer. `None`: he has as much already.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] when no user of the authority may change who has which power; [`Error::BadRoomState`];
    /// [`Error::Forbidden`], [`Error::NoRoom`].
    pub async fn grant_power(
        &self,
        user: &UserId,
        room_id: &RoomId,
        deed: &Deed,
    ) -> Result<Option<OwnedUserId>, Error> {
        let room = self.rooms().get_room(room_id).await?;
        let mut attempts = Attempts::default();
        loop {
            let mut guard = self.lock(&room).await?;
            guard.head()?;
            let mut stage = Stage::new(self, &room, guard.live()?);
            let outcome = self.stage_power(&mut stage, &room, user).await;
            let Ok(Some((giver, event_id))) = outcome else {
                if guard.is_current(self).await? {
                    return outcome.map(|_| None);
                }
                attempts.again(self.rooms()).await?;
                continue;
            };
            deed.write(stage.batch(), user.server_name());
            let staged = stage.finish();
            let landing = guard.submit(self, staged, None);
            drop(guard);
            if self.landed(landing, &event_id, &mut attempts).await? {
                return Ok(Some(giver));
            }
        }
    }

    async fn stage_power(
        &self,
        stage: &mut Stage<'_>,
        room: &Arc<RoomInfo>,
        user: &UserId,
    ) -> Result<Option<(OwnedUserId, OwnedEventId)>, Error> {
        if stage.membership(user).await? == Some(Membership::Ban) {
            return Err(Error::NotAllowed("the user is banned from this room".to_owned()));
        }
        let power = stage.power().await?;
        let levels = stage.current_one(single(StateEventType::RoomPowerLevels)).await?;
        let levels = levels.ok_or_else(|| Error::BadRoomState("the room has no power levels".to_owned()))?;
        let may = |user: &UserId| power.may_send(user, &TimelineEventType::RoomPowerLevels, true);
        let authority = user.server_name();
        let mut candidates: Vec<OwnedUserId> = power.creators().to_vec();
        if let Ok(levels) = levels.pdu().power_levels() {
            candidates.extend(levels.users().keys().cloned());
        }
        candidates.retain(|candidate| candidate.server_name() == authority && may(candidate));
        candidates.sort_by_key(|candidate| std::cmp::Reverse(power.user(candidate)));
        let keys: Vec<_> = candidates.iter().map(|user| (room.serial, user.as_str())).collect();
        let joined = self.store().get_many(&LOCAL_MEMBERS, &keys).await?;
        let named = candidates.iter().zip(&joined).find(|(_, joined)| joined.is_some());
        let giver = match named {
            Some((giver, _)) => Some(giver.clone()),
            // Who is not named has the level of all.
            None => {
                let may = |member: &UserId| member.server_name() == authority && may(member);
                self.find_local_member(stage, may).await?
            }
        };
        let nobody = "no user of this server has the power to give others power in this room";
        let giver = giver.ok_or_else(|| Error::NotAllowed(nobody.to_owned()))?;
        let level = match power.user(&giver) {
            UserPowerLevel::Int(level) => level,
            _ => Int::from(FULL_POWER).max(power.needed_for(&TimelineEventType::RoomPowerLevels, true)),
        };
        if power.user(user) >= level {
            return Ok(None);
        }
        // Who is not there is to be invited by the same one: what he could not do is not half done.
        let is_there = matches!(stage.membership(user).await?, Some(Membership::Join | Membership::Invite));
        if !is_there
            && stage.summary_mut().join_rule.as_deref() != Some("public")
            && !power.may_invite(&giver)
        {
            let why = "nobody of this server who has power in this room may invite the user into it";
            return Err(Error::NotAllowed(why.to_owned()));
        }
        let mut content: Map<String, Value> = serde_json::from_str(levels.pdu().content_str())
            .map_err(|_| Error::BadRoomState("the power levels are no object".to_owned()))?;
        let users = content.entry("users").or_insert_with(|| Value::Object(Map::new()));
        let users = users.as_object_mut();
        let users = users.ok_or_else(|| Error::BadRoomState("the power levels are damaged".to_owned()))?;
        users.insert(user.to_string(), i64::from(level).into());
        let draft = draft(&giver, StateEventType::RoomPowerLevels, "", &Value::Object(content));
        self.may_say(Some(&room.room_id), &draft)?;
        let event = stage.send(&draft, Sending::default()).await?;
        Ok(Some((giver, event.event_id().to_owned())))
    }
}
