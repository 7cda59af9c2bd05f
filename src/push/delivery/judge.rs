//! What a user's rules say of one event, outside of any count.

use std::{collections::HashMap, sync::Arc};

use pdu::RoomPower;
use room::{Order, Root, read::event::StoredEvent, read::token::Token};
use ruma::{UserId, push::Action};
use tokio::sync::OnceCell;

use crate::{Error, Push, facts::Facts, rules::Surroundings, unread::name_in};

/// An event that is looked at for several users: what is asked of its room is asked once.
pub(super) struct Scene {
    pub(super) event: Arc<StoredEvent>,
    facts: Arc<Facts>,
    root: OnceCell<Option<Root>>,
    power: OnceCell<Option<RoomPower>>,
    members: OnceCell<Option<u64>>,
}

impl Scene {
    pub(super) fn new(push: &Push, event: Arc<StoredEvent>) -> Self {
        let facts = push.facts().of(&event);
        Self { event, facts, root: OnceCell::new(), power: OnceCell::new(), members: OnceCell::new() }
    }

    /// The state of the room with the event.
    pub(super) async fn root(&self, push: &Push) -> Result<Option<Root>, Error> {
        let read = async || {
            let order = self.event.order().unwrap_or(Order::FIRST);
            Ok::<_, Error>(push.rooms().state_at(self.event.room(), Token(order)).await?)
        };
        self.root.get_or_try_init(read).await.copied()
    }

    /// What is to be done for a user who did not send it; nothing unless it notifies him.
    pub(super) async fn actions_for(&self, push: &Push, user: &UserId) -> Result<Option<Vec<Action>>, Error> {
        let rules = push.rules(user).await?;
        let (room, facts) = (self.event.room(), &self.facts);
        // Always: in a room of two the rules of everybody make another sound, which counts do not ask for.
        let read = async || {
            let counts = push.rooms().member_counts(&[room]).await?;
            Ok::<_, Error>(counts.first().map(|counts| counts.joined))
        };
        let members = *self.members.get_or_try_init(read).await?;
        let power = match rules.needs_power || facts.may_notify_room() {
            true => {
                let root = self.root(push).await?;
                let read = async || match root {
                    Some(root) => push.power((room, root)).await,
                    None => Ok(None),
                };
                self.power.get_or_try_init(read).await?.as_ref()
            }
            false => None,
        };
        let mut name = None;
        if facts.body().is_some()
            && !facts.has_mentions()
            && let Some(root) = self.root(push).await?
        {
            let member = push.rooms().members_at(&[(room, root, user)]).await?.pop().flatten();
            name = member.and_then(|member| name_in(&member));
        }
        let subscribed = match rules.needs_threads {
            true => push.subscribed(user, std::slice::from_ref(&self.event)).await?,
            false => HashMap::new(),
        };
        let around = Surroundings {
            user,
            name: name.as_deref(),
            members,
            power,
            subscribed: subscribed.get(&self.event.serial()).copied(),
        };
        Ok(rules.find(facts, &around).filter(|rule| rule.notifies).map(|rule| rule.actions.clone()))
    }
}
