//! What a pusher is told, found out when it is sent.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use room::{
    EventSerial, RoomSerial,
    read::{
        event::{Keep, StoredEvent},
        membership::UserRoom,
    },
    tables::Membership,
};
use ruma::{OwnedUserId, UserId, api::client::push::PusherKind};
use serde::Deserialize;
use store::{Batch, CommitError};
use tracing::{debug, warn};

use super::{
    gateway::{Answer, Outcome},
    judge::Scene,
    lanes::Round,
    notification::{self, Told},
};
use crate::{
    Asked, Error,
    counted::Counted,
    pushers::{self, Found, Refused},
    unread::MOST_UNREAD,
    waiting::{Item, Key, TOLD, WaitingRow},
};

/// Time for a gateway to answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// What a user has not read.
pub(super) struct Unread {
    /// In all rooms that he is in.
    pub(super) count: u64,
    /// What of that waits to be told, the next first, and what needs not be told any more.
    pub(super) waiting: Vec<Item>,
    pub(super) gone: Vec<Item>,
    /// What waits, as it is kept: what is told of it may be older.
    pub(super) kept: Vec<Item>,
    /// Whom he ignores.
    pub(super) ignored: Arc<HashSet<OwnedUserId>>,
    counted: HashMap<RoomSerial, Arc<Counted>>,
}

impl Unread {
    /// What is unread in a room that he is in, oldest first.
    pub(super) fn events(&self, room: RoomSerial) -> impl Iterator<Item = EventSerial> {
        let counted = self.counted.get(&room).into_iter();
        counted.flat_map(|counted| counted.unread.iter().map(|unread| unread.event))
    }

    /// Whether an event that was unread may still be: it is, or so many newer ones are that it is not listed with them.
    pub(super) fn may_have(&self, room: RoomSerial, event: EventSerial) -> bool {
        self.counted.get(&room).is_some_and(|counted| {
            counted.unread.len() >= MOST_UNREAD || counted.unread.iter().any(|unread| unread.event == event)
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    #[serde(deserialize_with = "pdu::lenient::field")]
    rejected: Option<Vec<String>>,
}

impl Round {
    /// Tells a pusher one thing.
    pub(super) async fn tell(&self, key: &Key) -> Outcome {
        match self.try_to_tell(key).await {
            Ok(outcome) => outcome,
            Err(error) => {
                warn!(user_id = key.0, %error, "a notification could not be made");
                Outcome::Failed(None)
            }
        }
    }

    async fn try_to_tell(&self, key: &Key) -> Result<Outcome, Error> {
        let push = &self.delivery.0.push;
        let Some(row) = self.take(key) else { return Ok(Outcome::Idle) };
        let found = pushers::find(push, key).await?;
        let (Some(found), Ok(user)) = (found, UserId::parse(&key.0)) else {
            self.forget(key).await?;
            return Ok(Outcome::Idle);
        };
        // Whoever has a locked account's telephone is not to read on. What is said meanwhile is not told later.
        if found.is_locked {
            self.settle(key, &row.items, true, Batch::new()).await?;
            return Ok(Outcome::Idle);
        }
        if let PusherKind::Email(_) = &found.pusher.kind {
            return self.mail(key, &user, &found, &row).await;
        }
        let unread = self.unread(&user, &row).await?;
        let (next, kept) = (unread.waiting.first(), unread.kept.first());
        let told = match next {
            Some(item) => self.told(&user, item).await?,
            None => None,
        };
        let mut gone = unread.gone;
        if told.is_none() {
            gone.extend(kept.cloned());
            let is_last = row.items.len() == gone.len();
            if found.told == unread.count || !is_last {
                self.settle(key, &gone, is_last, Batch::new()).await?;
                return Ok(Outcome::Idle);
            }
        }
        let body = notification::body(&user, &found.pusher, found.since, unread.count, told.as_ref());
        let outcome = self.post(key, &found, body).await?;
        if matches!(outcome, Outcome::Done) {
            if let (Some(_), Some(item)) = (&told, kept) {
                let waited = self.delivery.0.clock.now().millis().saturating_sub(item.since);
                self.delivery.0.seconds.observe(Duration::from_millis(waited).as_secs_f64());
                gone.push(item.clone());
            }
            let mut batch = Batch::new();
            batch.put(&TOLD, key, &unread.count);
            found.put_taken(&mut batch, key);
            self.settle(key, &gone, true, batch).await?;
        }
        Ok(outcome)
    }

    /// What a user has not read, and what of it a pusher has still to be told.
    pub(super) async fn unread(&self, user: &OwnedUserId, row: &WaitingRow) -> Result<Unread, Error> {
        let push = &self.delivery.0.push;
        let ignored = Arc::new(push.accounts().ignored_users(user).await?);
        // Before the read: what was committed until now is counted.
        let through = push.store().head();
        let memberships = push.rooms().memberships(user).await?;
        let joined: Vec<&UserRoom> = memberships.with(Membership::Join).collect();
        let asked: Vec<_> = joined.iter().map(|row| Asked { row, through }).collect();
        let counted = push.counted(user, &ignored, &asked).await?;
        let count = counted.iter().map(|counted| u64::from(counted.counts().all().notifications)).sum();
        let counted: HashMap<_, _> = joined.iter().map(|row| row.room).zip(counted).collect();
        let unread_of = |item: &Item| match memberships.find(item.room) {
            Some(row) if row.membership == Membership::Invite => {
                row.event.filter(|event| *event == item.event)
            }
            _ => counted.get(&item.room).and_then(|counted| newest_unread(counted, item)),
        };
        let (mut waiting, mut kept, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for item in row.items.iter().cloned() {
            match unread_of(&item) {
                Some(event) => {
                    waiting.push(Item { event, ..item.clone() });
                    kept.push(item);
                }
                None => gone.push(item),
            }
        }
        Ok(Unread { count, waiting, gone, kept, ignored, counted })
    }

    /// An event as it is told; nothing when it does not notify by the rules of now.
    async fn told(&self, user: &UserId, item: &Item) -> Result<Option<Told>, Error> {
        let push = &self.delivery.0.push;
        let event = push.rooms().find_events(&[(item.room, item.event)], Keep::All).await?.pop().flatten();
        // A gateway may have been away for longer than he reads back.
        let horizon = push.rooms().horizon(user);
        let is_shown = |event: &Arc<StoredEvent>| !horizon.is_some_and(|horizon| horizon.hides_event(event));
        let Some(event) = event.filter(is_shown) else { return Ok(None) };
        let scene = Scene::new(push, event.clone());
        let Some(actions) = scene.actions_for(push, user).await? else { return Ok(None) };
        let (mut sender_name, mut room_name, mut room_alias) = (None, None, None);
        if let Some(root) = scene.root(push).await? {
            let names = [
                ("m.room.member", event.sender().as_str()),
                ("m.room.name", ""),
                ("m.room.canonical_alias", ""),
            ];
            let mut found = push.rooms().state_in(item.room, root, &names).await?.into_iter();
            let mut text = |field| found.next().flatten().and_then(|event| text_in(&event, field));
            sender_name = text("displayname");
            room_name = text("name");
            room_alias = text("alias");
        }
        Ok(Some(Told { event, actions, sender_name, room_name, room_alias }))
    }

    async fn post(&self, key: &Key, found: &Found, body: bytes::Bytes) -> Result<Outcome, Error> {
        let delivery = &self.delivery;
        let Some(gateway) = delivery.lane_of(&found.pusher) else { return Ok(Outcome::Idle) };
        let gateway = &*gateway;
        let answer =
            delivery.0.clock.timeout(DEADLINE, delivery.0.gateways.notify(&found.pusher, body, DEADLINE));
        let answer = match answer.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                delivery.count(gateway, "unreached");
                debug!(destination = gateway, %error, "a push gateway was not reached");
                return Ok(Outcome::Failed(None));
            }
            Err(_elapsed) => {
                delivery.count(gateway, "late");
                return Ok(Outcome::Failed(None));
            }
        };
        match answer.status {
            200 => {
                let is_rejected = rejects(&answer, &key.3);
                delivery.count(gateway, if is_rejected { "rejected" } else { "taken" });
                match is_rejected {
                    true => self.remove(key, found, Batch::new()).await,
                    false => Ok(Outcome::Done),
                }
            }
            status if matches!(status, 408 | 429) || !(400..500).contains(&status) => {
                delivery.count(gateway, "failed");
                debug!(destination = gateway, status, "a push gateway fails");
                Ok(Outcome::Failed(answer.retry_after))
            }
            status => {
                let mut batch = Batch::new();
                let now = delivery.0.clock.now().millis();
                let refused = found.put_refused(&mut batch, key, now);
                let is_given_up = refused == Refused::GivenUp;
                delivery.count(gateway, if is_given_up { "given_up" } else { "refused" });
                match is_given_up {
                    true => warn!(
                        destination = gateway,
                        status,
                        user_id = key.0,
                        "a push gateway has refused a pusher for a week, it is given up"
                    ),
                    false => warn!(destination = gateway, status, "a push gateway refuses a notification"),
                }
                match self.term().commit(batch).await {
                    Ok(_) if is_given_up => self.forget(key).await.map(|()| Outcome::Done),
                    Ok(_) => Ok(Outcome::Refused),
                    // It was set anew: that one has still to be told.
                    Err(CommitError::Conflict { .. }) => Ok(Outcome::Idle),
                    Err(error) => Err(account::Error::from(error).into()),
                }
            }
        }
    }

    /// Nobody is behind the push key any more, as its gateway says or we know. If it was set anew meanwhile, that one has still to
    /// be told.
    pub(super) async fn remove(&self, key: &Key, found: &Found, mut batch: Batch) -> Result<Outcome, Error> {
        pushers::delete_found(&mut batch, key, found);
        match self.term().commit(batch).await {
            Ok(_) => self.forget(key).await.map(|()| Outcome::Done),
            Err(CommitError::Conflict { .. }) => Ok(Outcome::Idle),
            Err(error) => Err(account::Error::from(error).into()),
        }
    }
}

/// What an item stands for now: its event, or where that is read or deleted the newest of its kind that was not told.
fn newest_unread(counted: &Counted, item: &Item) -> Option<EventSerial> {
    let mut older = None;
    for unread in counted.unread.iter() {
        if unread.event == item.event {
            return Some(item.event);
        }
        if (item.first..item.event).contains(&unread.event) && unread.highlights == item.highlights {
            older = Some(unread.event);
        }
    }
    older
}

fn rejects(answer: &Answer, push_key: &str) -> bool {
    // An answer that cannot be read rejects nobody.
    let reply: Reply = serde_json::from_slice(&answer.body).unwrap_or_default();
    reply.rejected.is_some_and(|keys| keys.iter().any(|key| key == push_key))
}

/// A text in an event's content.
pub(super) fn text_in(event: &StoredEvent, field: &str) -> Option<String> {
    let content: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(event.pdu().content_str()).ok()?;
    let text = content.get(field)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
