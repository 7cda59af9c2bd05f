//! Who has to hear that somebody's devices or keys changed.
//!
//! A change is one row, at its position, with the rooms in which it is told; an older one of the same user goes with it, so
//! there are as many rows as users. It touches a topic for each of the rooms: whose rooms have not moved so reads nothing,
//! and whose have reads the changes since he last asked, and keeps those of rooms that he is in. What is told in a room is so
//! if the room is encrypted, or has few members: in a large one without encryption nobody has a use for it, and each change
//! would wake everybody there.
//!
//! Besides, whoever comes into a room is new to those who are in it, and the other way round; that is found from the
//! difference of the room's states, which costs what differs.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use room::{
    RoomSerial, Rooms, Root,
    read::{event::StoredEvent, membership::UserRooms},
    tables::Membership,
};
use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId, UserId};
use store::{Batch, Moved, Order, Position, Range, Store, Topic};

use crate::{
    Encryption, Error,
    tables::{CHANGES, ChangeRow, LAST_CHANGE, LastRow, SIGNED},
};

/// Touched when devices or keys of a user of ours changed, for whoever tells other servers.
pub fn lists_moved() -> Topic {
    Topic::destination("device lists")
}

/// Changes are told in rooms of at most so many members, encrypted or not.
const FEW_MEMBERS: u64 = 500;

/// Rows that are read at a time.
const PAGE: usize = 1_000;

/// Who shares no room with the reader any more is found by looking at each of these and each of the reader's rooms: at most
/// at so many pairs. Beyond nobody is said to be gone, which costs clients nothing but some devices that they need not know.
const MOST_PAIRS: usize = 100_000;

/// Member events of one user that are looked back at; who has more of them between two syncs is looked up anew.
const MOST_STEPS: usize = 20;

/// What happened in a room between two of its states.
#[derive(Clone, Copy, Debug)]
pub struct Between {
    /// The room.
    pub room: RoomSerial,
    /// The state that the reader knows.
    pub before: Root,
    /// The state now.
    pub after: Root,
}

/// What is asked: whose keys a reader has to look up.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// The reader.
    pub reader: &'a UserId,
    /// His rooms.
    pub rooms: &'a UserRooms,
    /// Up to here he knows.
    pub after: Position,
    /// Up to here he is told.
    pub through: Position,
    /// Whether lists of devices may have changed in his rooms, or his own.
    pub has_moved: bool,
    /// Rooms that he is in and was in before, in which members came or went.
    pub between: &'a [Between],
    /// Rooms that he has come into.
    pub entered: &'a [RoomSerial],
    /// Rooms that he has got out of.
    pub left: &'a [RoomSerial],
}

/// Whose devices a client has to look up, and whose it may forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListChanges {
    /// Users whose devices or keys changed, or who share a room with the reader now.
    pub changed: BTreeSet<OwnedUserId>,
    /// Users who share none any more.
    pub left: BTreeSet<OwnedUserId>,
}

impl ListChanges {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }
}

/// What a change is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) devices: Vec<OwnedDeviceId>,
    pub(crate) cross_signing: bool,
}

/// Lists of devices.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    store: Store,
    rooms: Rooms,
}

impl Lists {
    pub(crate) fn new(store: Store, rooms: Rooms) -> Self {
        Self { store, rooms }
    }

    /// Adds to a batch that something about the devices of a user of ours changed. The batch fails if something else does
    /// at the same time.
    pub(crate) async fn put_change(
        &self,
        batch: &mut Batch,
        user: &UserId,
        changed: Changed,
    ) -> Result<(), Error> {
        let rooms = self.rooms_of(user).await?;
        self.put_change_in(batch, user, changed, &rooms).await
    }

    /// The same in these rooms, which are in order.
    pub(crate) async fn put_change_in(
        &self,
        batch: &mut Batch,
        user: &UserId,
        changed: Changed,
        rooms: &[(RoomSerial, OwnedRoomId)],
    ) -> Result<(), Error> {
        let last = self.store.get(&LAST_CHANGE, user.as_str()).await?;
        batch.require(&LAST_CHANGE, user.as_str(), last.as_ref());
        if let Some(last) = &last {
            batch.delete(&CHANGES, &last.position);
        }
        let previous = last.and_then(|last| match last.value.is_of_devices {
            true => Some(last.position),
            false => last.value.list,
        });
        let own = [Topic::devices(user.as_str()), lists_moved()];
        // Those who wait are woken as by what is of the moment: a topic more for each of somebody's rooms would be half as much
        // again of what watches take.
        let topics = rooms
            .iter()
            .flat_map(|(_, id)| [Topic::device_lists(id.as_str()), Topic::ephemeral(id.as_str())]);
        let topics = topics.chain(own);
        let slot = batch.mark(topics);
        let is_of_devices = !changed.devices.is_empty();
        let row = ChangeRow {
            user: user.to_owned(),
            rooms: rooms.iter().map(|(room, _)| room.0).collect(),
            devices: changed.devices,
            cross_signing: changed.cross_signing,
            previous,
        };
        batch.append(&CHANGES, &(), slot, &row);
        batch.put_stamped(&LAST_CHANGE, user.as_str(), slot, &LastRow { list: previous, is_of_devices });
        Ok(())
    }

    /// The rooms in which changes of a user of another server are told, in order: those that he shares with ours.
    pub(crate) async fn rooms_of_other(
        &self,
        user: &UserId,
    ) -> Result<Vec<(RoomSerial, OwnedRoomId)>, Error> {
        let listed = self.rooms.possible_rooms_of(user).await?;
        let mut joined = Vec::new();
        for some in listed.chunks(PAGE) {
            let pairs: Vec<(RoomSerial, &UserId)> = some.iter().map(|room| (*room, user)).collect();
            let are_joined = self.rooms.are_joined(&pairs).await?;
            joined.extend(some.iter().zip(are_joined).filter(|(_, joined)| *joined).map(|(room, _)| *room));
        }
        let told = self.told(joined.iter().copied()).await?;
        joined.retain(|room| told.contains(room));
        let infos = self.rooms.room_infos(&joined).await?;
        Ok(joined
            .into_iter()
            .zip(infos)
            .filter_map(|(room, info)| Some((room, info?.room_id.clone())))
            .collect())
    }

    /// The rooms in which changes of a user of ours are told, in order.
    async fn rooms_of(&self, user: &UserId) -> Result<Vec<(RoomSerial, OwnedRoomId)>, Error> {
        let rooms = self.rooms.memberships(user).await?;
        let joined = || rooms.with(Membership::Join);
        let told = self.told(joined().map(|row| row.room)).await?;
        Ok(joined()
            .filter(|row| told.contains(&row.room))
            .map(|row| (row.room, row.room_id.clone()))
            .collect())
    }

    /// Those of these rooms in which it is told that devices changed.
    pub(crate) async fn told(
        &self,
        rooms: impl Iterator<Item = RoomSerial>,
    ) -> Result<HashSet<RoomSerial>, Error> {
        let rooms: Vec<RoomSerial> = rooms.collect();
        let mut told = HashSet::new();
        for some in rooms.chunks(PAGE) {
            let are_small = self.rooms.have_at_most(some, FEW_MEMBERS).await?;
            let (small, large): (Vec<_>, Vec<_>) = some.iter().zip(are_small).partition(|(_, small)| *small);
            told.extend(small.into_iter().map(|(room, _)| *room));
            let large: Vec<RoomSerial> = large.into_iter().map(|(room, _)| *room).collect();
            if large.is_empty() {
                continue;
            }
            let summaries = self.rooms.summaries(&large).await?;
            let encrypted = large.iter().zip(summaries).filter(|(_, summary)| summary.encryption.is_some());
            told.extend(encrypted.map(|(room, _)| *room));
        }
        Ok(told)
    }

    /// Tells once more what was just told, if the user came into another room meanwhile: those who are there may have
    /// looked his devices up between his coming and the change, and are in no room of those it was told in.
    pub(crate) async fn tell_again(
        &self,
        user: &UserId,
        since: Position,
        changed: Changed,
    ) -> Result<(), Error> {
        if self.store.moved(Topic::memberships(user.as_str()), since) == Moved::No {
            return Ok(());
        }
        let mut batch = Batch::new();
        self.put_change(&mut batch, user, changed).await?;
        match self.store.commit(batch).await {
            // Another change: that one has the rooms of now.
            Ok(_) | Err(store::CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The users whose devices changed between two positions and of whom a reader is told.
    async fn changed_between(&self, query: &ListQuery<'_>) -> Result<BTreeSet<OwnedUserId>, Error> {
        let mut changed = BTreeSet::new();
        let is_shared = |row: &ChangeRow| {
            let is_in = |room: &u64| {
                query.rooms.find(RoomSerial(*room)).is_some_and(|row| row.membership == Membership::Join)
            };
            row.user == query.reader || row.rooms.iter().any(is_in)
        };
        let mut after = query.after;
        loop {
            let range = Range::all().after(&after).through(&query.through);
            let rows = self.store.scan(&CHANGES, range, Order::Ascending, PAGE).await?;
            let is_last = rows.len() < PAGE;
            for (position, row) in rows {
                after = position;
                if is_shared(&row) {
                    changed.insert(row.user);
                }
            }
            if is_last {
                break;
            }
        }
        let range = Range::prefix(query.reader.as_str());
        for ((_, user), signed) in self.store.scan(&SIGNED, range, Order::Ascending, usize::MAX).await? {
            if signed.position > query.after
                && signed.position <= query.through
                && let Ok(user) = UserId::parse(user)
            {
                changed.insert(user);
            }
        }
        Ok(changed)
    }

    /// Who has come into the reader's rooms, and who has got out of them.
    async fn moved_between(
        &self,
        query: &ListQuery<'_>,
    ) -> Result<(BTreeSet<OwnedUserId>, BTreeSet<OwnedUserId>), Error> {
        let rooms = query.between.iter().map(|between| between.room);
        let told = self.told(rooms.chain(query.entered.iter().chain(query.left).copied())).await?;
        let between: Vec<&Between> =
            query.between.iter().filter(|between| told.contains(&between.room)).collect();
        let places: Vec<_> = between.iter().map(|it| (it.room, it.before, it.after)).collect();
        let mut moved = Vec::new();
        for (between, events) in between.into_iter().zip(self.rooms.state_changes(&places).await?) {
            for event in events {
                let user = event.state_key().and_then(|user| UserId::parse(user).ok());
                if let Some(user) = user.filter(|user| *user != query.reader) {
                    moved.push((between, user, event));
                }
            }
        }
        let places: Vec<_> =
            moved.iter().map(|(between, user, _)| (between.room, between.before, &**user)).collect();
        let before = self.rooms.members_at(&places).await?;
        let (mut came, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for ((_, user, event), before) in moved.into_iter().zip(before) {
            let Some(membership) = event.membership() else { continue };
            let before = before.filter(|event| event.membership().is_some_and(is_there));
            let joins = |before: &StoredEvent| {
                membership == Membership::Join && before.membership() != Some(Membership::Join)
            };
            match (before, is_there(membership)) {
                (None, true) => drop(came.insert(user)),
                (Some(_), false) => drop(gone.insert(user)),
                // Of who is invited only those hear who share a room with him besides.
                (Some(before), true) if joins(&before) => drop(came.insert(user)),
                // What he did while he was away nobody was told.
                (Some(before), true) if self.was_away(&before, event).await? => drop(came.insert(user)),
                (Some(_), true) | (None, false) => {}
            }
        }
        let told_of = |rooms: &[RoomSerial]| -> Vec<RoomSerial> {
            rooms.iter().copied().filter(|room| told.contains(room)).collect()
        };
        came.extend(self.rooms.joined_users_of(&told_of(query.entered)).await?.into_iter().flatten());
        gone.extend(self.rooms.joined_users_of(&told_of(query.left)).await?.into_iter().flatten());
        for users in [&mut came, &mut gone] {
            users.remove(query.reader);
        }
        if !query.entered.is_empty() && !came.is_empty() {
            // His other devices meet those who are there as well.
            came.insert(query.reader.to_owned());
        }
        Ok((came, gone))
    }

    /// Whether somebody was out of a room between two events by which he is in it.
    async fn was_away(&self, before: &StoredEvent, mut event: Arc<StoredEvent>) -> Result<bool, Error> {
        for _ in 0..MOST_STEPS {
            // Most times it is another name, and nothing is read.
            let Some(replaced) = event.meta().replaces else { return Ok(true) };
            if replaced == before.serial() {
                return Ok(false);
            }
            let found = self.rooms.load_events(&[(event.room(), replaced)]).await?.pop().flatten();
            match found {
                Some(found) if found.membership().is_some_and(is_there) => event = found,
                _ => return Ok(true),
            }
        }
        Ok(true)
    }

    /// Those of these users who share no room with the reader.
    async fn strangers(
        &self,
        query: &ListQuery<'_>,
        users: BTreeSet<OwnedUserId>,
    ) -> Result<BTreeSet<OwnedUserId>, Error> {
        let joined: Vec<RoomSerial> = query.rooms.with(Membership::Join).map(|row| row.room).collect();
        if users.len().saturating_mul(joined.len()) > MOST_PAIRS {
            return Ok(BTreeSet::new());
        }
        let pairs: Vec<(RoomSerial, &UserId)> =
            users.iter().flat_map(|user| joined.iter().map(move |room| (*room, &**user))).collect();
        let mut share: HashSet<OwnedUserId> = HashSet::new();
        for some in pairs.chunks(PAGE) {
            let are_joined = self.rooms.are_joined(some).await?;
            let sharing = some.iter().zip(are_joined).filter(|(_, is_joined)| *is_joined);
            share.extend(sharing.map(|((_, user), _)| (*user).to_owned()));
        }
        Ok(users.into_iter().filter(|user| !share.contains(user)).collect())
    }
}

/// Whether somebody is given the keys of messages: who is invited is, by many clients.
fn is_there(membership: Membership) -> bool {
    matches!(membership, Membership::Join | Membership::Invite)
}

impl Encryption {
    /// Whose devices a reader has to look up, and whose he may forget. Reads nothing where nothing of what is asked has
    /// moved.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Room`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#extensions-to-sync>
    pub async fn list_changes(&self, query: &ListQuery<'_>) -> Result<ListChanges, Error> {
        let lists = &self.inner.lists;
        let mut changed = match query.has_moved && query.after < query.through {
            true => lists.changed_between(query).await?,
            false => BTreeSet::new(),
        };
        let mut left = BTreeSet::new();
        if !(query.between.is_empty() && query.entered.is_empty() && query.left.is_empty()) {
            let (came, gone) = lists.moved_between(query).await?;
            changed.extend(came);
            if !gone.is_empty() {
                left = lists.strangers(query, gone).await?;
            }
        }
        changed.retain(|user| !left.contains(user));
        Ok(ListChanges { changed, left })
    }

    /// The same between any two positions, found from the rooms as they are and were.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Room`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges>
    pub async fn list_changes_between(
        &self,
        reader: &UserId,
        after: Position,
        through: Position,
    ) -> Result<ListChanges, Error> {
        use room::read::token::Token;
        let (store, rooms) = (&self.inner.store, &self.inner.rooms);
        let through = through.min(store.reach(after.max(through)).await?);
        if after >= through {
            return Ok(ListChanges::default());
        }
        let own = rooms.memberships(reader).await?;
        let rows =
            || own.changed_since(after).filter_map(|place| own.rooms.get(usize::try_from(place).ok()?));
        let moved: Vec<RoomSerial> = rooms
            .moved(&own, after)
            .into_iter()
            .filter(|moved| moved.events)
            .filter_map(|moved| own.rooms.get(usize::try_from(moved.place).ok()?))
            .map(|row| row.room)
            .collect();
        let before = rooms.states_at(&moved, Token::after(after)).await?;
        let then = rooms.states_at(&moved, Token::after(through)).await?;
        let between: Vec<Between> = moved
            .iter()
            .zip(before.into_iter().zip(then))
            .map(|(room, (before, then))| Between {
                room: *room,
                before: before.unwrap_or_default(),
                after: then.unwrap_or_default(),
            })
            .collect();
        let own_before: Vec<_> = between.iter().map(|it| (it.room, it.before, reader)).collect();
        let was_in: HashSet<RoomSerial> = between
            .iter()
            .zip(rooms.members_at(&own_before).await?)
            .filter(|(_, own)| own.as_ref().and_then(|own| own.membership()) == Some(Membership::Join))
            .map(|(between, _)| between.room)
            .collect();
        let (between, entered): (Vec<Between>, Vec<Between>) =
            between.into_iter().partition(|between| was_in.contains(&between.room));
        let entered: Vec<RoomSerial> = entered.into_iter().map(|between| between.room).collect();
        let left: Vec<RoomSerial> = rows()
            .filter(|row| row.seen_until().is_some_and(|at| at.position > after))
            .map(|row| row.room)
            .collect();
        let query = ListQuery {
            reader,
            rooms: &own,
            after,
            through,
            has_moved: true,
            between: &between,
            entered: &entered,
            left: &left,
        };
        self.list_changes(&query).await
    }
}
