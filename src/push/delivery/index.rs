//! Who of those in a room has pushers, in memory: so an event costs nothing for members who have none.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use room::{RoomSerial, tables::Membership};
use ruma::{
    OwnedUserId, UserId,
    api::client::push::{Pusher, PusherKind},
};
use url::Url;

use super::Delivery;
use crate::{
    Error, Push,
    pushers::{self, Placed},
    waiting::Key,
};

/// Pushers that are read at once, and users.
const PAGE: usize = 500;
const AT_ONCE: usize = 16;

/// Users with pushers, and the rooms that they are in.
#[derive(Debug, Default)]
pub(super) struct Index {
    users: HashMap<OwnedUserId, Known>,
    rooms: HashMap<RoomSerial, HashSet<OwnedUserId>>,
}

/// A user with pushers.
#[derive(Debug, Default)]
struct Known {
    pushers: Arc<[(Key, Arc<str>)]>,
    rooms: HashSet<RoomSerial>,
}

/// The gateway of a pusher: scheme, host and port of its address, however it is spelled. One that is asked in another way may
/// fail where this one does not.
pub(super) fn gateway_of(pusher: &Pusher) -> Option<String> {
    let PusherKind::Http(data) = &pusher.kind else { return None };
    Some(Url::parse(&data.url).ok()?.origin().ascii_serialization())
}

fn with_lanes(delivery: &Delivery, placed: Vec<Placed>) -> Arc<[(Key, Arc<str>)]> {
    let found = placed.into_iter().filter_map(|(pusher, key)| Some((key, delivery.lane_of(&pusher?)?)));
    found.collect()
}

impl Index {
    /// Reads who has pushers, and where they are.
    pub(super) async fn read(delivery: &Delivery) -> Result<Self, Error> {
        let push = &delivery.0.push;
        let mut of_users: BTreeMap<String, Vec<Placed>> = BTreeMap::new();
        let mut last: Option<Key> = None;
        loop {
            let page = pushers::page(push.store(), last.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            last = page.last().map(|(_, key)| key.clone());
            for placed in page {
                of_users.entry(placed.1.0.clone()).or_default().push(placed);
            }
            if is_last {
                break;
            }
        }
        let mut index = Self::default();
        let users = of_users.into_iter().filter_map(|(user, placed)| {
            let user = UserId::parse(user).ok()?;
            let pushers = with_lanes(delivery, placed);
            (!pushers.is_empty()).then_some((user, pushers))
        });
        let read = stream::iter(users)
            .map(async |(user, pushers)| Ok::<_, Error>((rooms_of(push, &user).await?, user, pushers)));
        let mut read = read.buffer_unordered(AT_ONCE);
        while let Some((rooms, user, pushers)) = read.try_next().await? {
            index.put(user, pushers, rooms);
        }
        Ok(index)
    }

    /// Reads a user's pushers anew.
    pub(super) async fn reload(&mut self, delivery: &Delivery, user: &UserId) -> Result<(), Error> {
        let push = &delivery.0.push;
        let pushers = with_lanes(delivery, pushers::of_user(push.store(), user).await?);
        self.remove(user);
        if !pushers.is_empty() {
            let rooms = rooms_of(push, user).await?;
            self.put(user.to_owned(), pushers, rooms);
        }
        Ok(())
    }

    fn put(&mut self, user: OwnedUserId, pushers: Arc<[(Key, Arc<str>)]>, rooms: HashSet<RoomSerial>) {
        for room in &rooms {
            self.rooms.entry(*room).or_default().insert(user.clone());
        }
        self.users.insert(user, Known { pushers, rooms });
    }

    fn remove(&mut self, user: &UserId) {
        let rooms = self.users.remove(user).map(|known| known.rooms).unwrap_or_default();
        for room in rooms {
            self.take(room, user);
        }
    }

    fn take(&mut self, room: RoomSerial, user: &UserId) {
        if let Some(users) = self.rooms.get_mut(&room) {
            users.remove(user);
            if users.is_empty() {
                self.rooms.remove(&room);
            }
        }
    }

    /// Somebody's membership in a room changed.
    pub(super) fn note(&mut self, room: RoomSerial, user: &UserId, membership: Membership) {
        let Some((user, known)) =
            self.users.get_key_value(user).map(|(user, _)| user.clone()).and_then(|user| {
                let known = self.users.get_mut(&user)?;
                Some((user, known))
            })
        else {
            return;
        };
        if membership == Membership::Join {
            known.rooms.insert(room);
            self.rooms.entry(room).or_default().insert(user);
        } else if known.rooms.remove(&room) {
            self.take(room, &user);
        }
    }

    /// Who in a room has pushers.
    pub(super) fn in_room(&self, room: RoomSerial) -> impl Iterator<Item = &OwnedUserId> {
        self.rooms.get(&room).into_iter().flatten()
    }

    /// A user as he is known here, if he has pushers.
    pub(super) fn find(&self, user: &UserId) -> Option<&OwnedUserId> {
        self.users.get_key_value(user).map(|(user, _)| user)
    }

    /// All users with pushers.
    pub(super) fn users(&self) -> impl Iterator<Item = &OwnedUserId> {
        self.users.keys()
    }

    /// A user's pushers, each with its lane.
    pub(super) fn pushers(&self, user: &UserId) -> Arc<[(Key, Arc<str>)]> {
        self.users.get(user).map(|known| known.pushers.clone()).unwrap_or_default()
    }
}

async fn rooms_of(push: &Push, user: &UserId) -> Result<HashSet<RoomSerial>, Error> {
    let memberships = push.rooms().memberships(user).await?;
    Ok(memberships.with(Membership::Join).map(|row| row.room).collect())
}
