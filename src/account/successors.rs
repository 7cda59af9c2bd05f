//! What a user's settings for a room become when another room takes its place.

use bytes::Bytes;
use ruma::{
    OwnedRoomId, RoomId, UserId,
    push::{
        ConditionalPushRule, EventMatchConditionData, NewConditionalPushRule, NewPushRule, NewSimplePushRule,
        PushCondition, RuleKind, Ruleset,
    },
};
use serde_json::{Map, Value};

use crate::{Accounts, Error, put_push_rule};

/// Type of the global account data that says which rooms are direct chats, and with whom.
const DIRECT: &str = "m.direct";

impl Accounts {
    /// Gives a user's settings for a room to the room that takes its place: push rules, tags, and with whom it is a direct
    /// chat. What can be carried over is, also where something else cannot.
    ///
    /// # Errors
    /// [`Error::Deactivated`], [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>
    pub async fn carry_over(&self, user: &UserId, old_room: &RoomId, new_room: &RoomId) -> Result<(), Error> {
        let rules = self.carry_over_rules(user, old_room, new_room).await;
        let direct = self.carry_over_direct(user, old_room, new_room).await;
        for (tag, details) in self.room_tags(user, old_room).await? {
            self.set_room_tag(user, new_room, &tag, &details).await?;
        }
        rules.and(direct)
    }

    async fn carry_over_rules(
        &self,
        user: &UserId,
        old_room: &RoomId,
        new_room: &RoomId,
    ) -> Result<(), Error> {
        if copies(&self.push_rules(user).await?.rules, old_room, new_room).is_empty() {
            return Ok(());
        }
        let change = |rules: &mut Ruleset| {
            for Copy { kind, rule, of, enabled } in copies(rules, old_room, new_room) {
                let id = rule.rule_id().to_owned();
                put_push_rule(rules, rule, None, Some(&of))?;
                rules.set_enabled(kind, id, enabled).ok();
            }
            Ok(())
        };
        self.change_push_rules(user, change).await
    }

    /// Whoever's direct chat the old room was, the new one is too.
    async fn carry_over_direct(
        &self,
        user: &UserId,
        old_room: &RoomId,
        new_room: &RoomId,
    ) -> Result<(), Error> {
        let with_new = |content: &[u8]| -> Option<Bytes> {
            let mut content: Map<String, Value> = serde_json::from_slice(content).ok()?;
            let mut is_changed = false;
            for rooms in content.values_mut().filter_map(Value::as_array_mut) {
                let has = |room: &RoomId| rooms.iter().any(|other| other.as_str() == Some(room.as_str()));
                if has(old_room) && !has(new_room) {
                    rooms.push(new_room.as_str().into());
                    is_changed = true;
                }
            }
            if is_changed { serde_json::to_vec(&content).ok().map(Bytes::from) } else { None }
        };
        match self.account_data(user, DIRECT).await {
            Ok(content) if with_new(&content).is_some() => {}
            Ok(_) | Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.change_data(user, None, DIRECT, |old| {
            let old = old.cloned().unwrap_or_else(|| Bytes::from_static(b"{}"));
            Ok(with_new(&old).unwrap_or(old))
        })
        .await
    }

    /// As [`Accounts::carry_over`], for somebody who came into a room, if it took the place of one that he was in, and that
    /// one says so too: a stranger's room takes nobody's place by naming his. He is in the new room whether this works or
    /// not, so a failure is no more than a line of the log.
    pub async fn carry_over_from_predecessor(&self, user: &UserId, room_id: &RoomId) {
        let old_room = self.inner.engine.succeeded(room_id).await;
        self.carry_over_if_known(user, old_room, room_id).await;
    }

    /// The same for somebody who made a room in the place of one that he is in: that it takes its place is what he says
    /// himself.
    pub async fn carry_over_into_own(&self, user: &UserId, room_id: &RoomId) {
        let old_room = self.inner.engine.predecessor(room_id).await;
        self.carry_over_if_known(user, old_room, room_id).await;
    }

    async fn carry_over_if_known(
        &self,
        user: &UserId,
        old_room: Result<Option<OwnedRoomId>, room::Error>,
        room_id: &RoomId,
    ) {
        let carried = async {
            let Some(old_room) = old_room? else { return Ok(()) };
            if self.inner.rooms.membership(user, &old_room).await?.is_none() {
                return Ok(());
            }
            self.carry_over(user, &old_room, room_id).await
        };
        if let Err::<(), Error>(error) = carried.await {
            tracing::warn!(user_id = %user, room_id = %room_id, error = %error, "settings of the old room were not carried over");
        }
    }
}

/// A rule for the new room, to stand behind the one that it is a copy of.
struct Copy {
    kind: RuleKind,
    rule: NewPushRule,
    of: String,
    enabled: bool,
}

/// The copies that a new room's rules are of the old one's. What is there already stays as it is: the user may have
/// changed it since.
fn copies(rules: &Ruleset, old_room: &RoomId, new_room: &RoomId) -> Vec<Copy> {
    let mut copies = Vec::new();
    let room_rule = |room: &RoomId| rules.room.iter().find(|rule| rule.rule_id == room);
    if let (Some(old), None) = (room_rule(old_room), room_rule(new_room)) {
        let rule = NewSimplePushRule::new(new_room.to_owned(), old.actions.clone());
        copies.push(Copy {
            kind: RuleKind::Room,
            rule: NewPushRule::Room(rule),
            of: old_room.to_string(),
            enabled: old.enabled,
        });
    }
    let sets = [
        (RuleKind::Override, &rules.override_, NewPushRule::Override as fn(_) -> _),
        (RuleKind::Underride, &rules.underride, NewPushRule::Underride as fn(_) -> _),
    ];
    for (kind, set, as_new) in sets {
        for old in set.iter().filter(|rule| !rule.default) {
            let Some(rule) = copy_of(old, old_room, new_room) else { continue };
            if set.iter().all(|other| other.rule_id != rule.rule_id) {
                let (of, enabled) = (old.rule_id.clone(), old.enabled);
                copies.push(Copy { kind: kind.clone(), rule: as_new(rule), of, enabled });
            }
        }
    }
    copies
}

/// The same rule for the new room, if it is about the old one: as clients mute a room, by the condition that an event is
/// of it. Its id names the new room where that of the old rule names the old one.
fn copy_of(
    rule: &ConditionalPushRule,
    old_room: &RoomId,
    new_room: &RoomId,
) -> Option<NewConditionalPushRule> {
    let is_about = |condition: &PushCondition| matches!(condition, PushCondition::EventMatch(of) if of.key == "room_id" && of.pattern == old_room.as_str());
    if !rule.conditions.iter().any(is_about) {
        return None;
    }
    let conditions = rule.conditions.iter().map(|condition| match is_about(condition) {
        true => PushCondition::EventMatch(EventMatchConditionData::new(
            "room_id".to_owned(),
            new_room.to_string(),
        )),
        false => condition.clone(),
    });
    let (old, new) = (old_room.as_str(), new_room.as_str());
    let id = match rule.rule_id.contains(old) {
        true => rule.rule_id.replace(old, new),
        false => format!("{}.{new}", rule.rule_id),
    };
    Some(NewConditionalPushRule::new(id, conditions.collect(), rule.actions.clone()))
}
