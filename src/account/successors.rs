//! What a user's settings for a room become when another room takes its place.

use ruma::{
    RoomId, UserId,
    push::{NewPushRule, NewSimplePushRule, Ruleset},
};

use crate::{Accounts, Error, put_push_rule};

impl Accounts {
    /// Gives a user's settings for a room to the room that takes its place: push rule and tags.
    ///
    /// # Errors
    /// [`Error::Deactivated`], [`Error::TooLarge`], [`Error::Contended`], [`Error::Store`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>
    pub async fn carry_over(&self, user: &UserId, old_room: &RoomId, new_room: &RoomId) -> Result<(), Error> {
        let rules = self.push_rules(user).await?;
        if let Some(rule) = rules.rules.room.iter().find(|rule| rule.rule_id == old_room) {
            let change = |rules: &mut Ruleset| {
                let copy = NewSimplePushRule::new(new_room.to_owned(), rule.actions.clone());
                put_push_rule(rules, NewPushRule::Room(copy), None, None)
            };
            self.change_push_rules(user, change).await?;
        }
        for (tag, details) in self.room_tags(user, old_room).await? {
            self.set_room_tag(user, new_room, &tag, &details).await?;
        }
        Ok(())
    }

    /// As [`Accounts::carry_over`], if the room took the place of one that the user was in. The user is in the new room
    /// whether this works or not, so a failure is no more than a line of the log.
    pub async fn carry_over_from_predecessor(&self, user: &UserId, room_id: &RoomId) {
        let engine = &self.inner.engine;
        let carried = async {
            let Some(old_room) = engine.predecessor(room_id).await? else { return Ok(()) };
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
