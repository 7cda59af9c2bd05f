//! A user's rooms.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use base::{Cache, Caches};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use store::{Moved, Position, Range, Topic, UpTo};

use crate::{
    Error, EventSerial, RoomSerial, Rooms, Root,
    purge::known::purges_moved,
    read::{
        receipts::{ReceiptKind, own_receipts_in},
        room::RoomInfo,
    },
    tables::{DEPARTURES, MEMBERS, MEMBERSHIPS, Membership},
};

/// Where a user who was in a room got out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The position at which he got out.
    pub position: Position,
    /// The room's current state with that.
    pub current: Root,
}

/// A user's relation to one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRoom {
    /// The room.
    pub room: RoomSerial,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// What the user is in it.
    pub membership: Membership,
    /// The member event that says so, if there is one.
    pub event: Option<EventSerial>,
    /// Who sent that event.
    pub sender: OwnedUserId,
    /// Since which position.
    pub position: Position,
    /// The user does not want to see it again.
    pub forgotten: bool,
    /// The room's state with the last change; empty for a room we are not in.
    pub current: Root,
    /// Where he last got out after he had been in, however much happened since; also of one who is in
    /// again. What he saw until then he may go on seeing.
    pub departure: Option<Box<Departure>>,
}

impl UserRoom {
    /// Where the history ends that the user may look back at, having been in and being out.
    pub fn seen_until(&self) -> Option<Departure> {
        let is_out = self.membership != Membership::Join && !self.forgotten;
        self.departure.as_deref().copied().filter(|_| is_out)
    }
}

impl UserRoom {
    /// The same in a room of which nothing is shown any more: the user is out of it, and that is all.
    fn of_closed(self) -> Self {
        let membership = match self.membership {
            Membership::Ban => Membership::Ban,
            _ => Membership::Leave,
        };
        Self { membership, event: None, current: Root::EMPTY, departure: None, ..self }
    }
}

/// The rooms of a user, as of some position.
#[derive(Debug)]
pub struct UserRooms {
    /// Nothing that was committed up to here is missing; later changes may be in it too.
    up_to: UpTo,
    /// The latest position of a change among the rooms.
    pub newest: Position,
    /// The rooms, by serial.
    pub rooms: Vec<UserRoom>,
    user: OwnedUserId,
    by_topic: OnceLock<[ByTopic; 2]>,
    /// Places in [`UserRooms::rooms`], in the order of their positions.
    by_position: OnceLock<Box<[u32]>>,
}

/// The topic of its kind for a name.
type OfName<'a> = &'a dyn Fn(&str) -> Topic;

/// What it is that moves with a topic of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Events,
    Ephemeral,
    DeviceLists,
    OwnReceipts(ReceiptKind),
}

/// What moves with topics that have their ids in common, in the order of these.
#[derive(Debug)]
struct ByTopic {
    /// Their kinds, and what moves with each.
    sorts: Vec<(u8, Sort)>,
    places: Box<[TopicPlace]>,
}

/// A topic's id, and a place in [`UserRooms::rooms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TopicPlace {
    /// The id, its higher half first: fifty readers of a thousand rooms have many of these, so none is padded.
    id: [u32; 2],
    place: u32,
}

impl TopicPlace {
    fn new(topic: Topic, place: u32) -> Self {
        let [higher, lower] = [topic.id >> 32, topic.id & u64::from(u32::MAX)];
        Self { id: [higher, lower].map(|half| u32::try_from(half).unwrap_or(0)), place }
    }

    fn id(self) -> u64 {
        u64::from(self.id[0]) << 32 | u64::from(self.id[1])
    }
}

impl ByTopic {
    fn new(sorts: Vec<(u8, Sort)>, places: impl Iterator<Item = TopicPlace>) -> Self {
        let mut places: Box<[_]> = places.collect();
        places.sort_unstable();
        Self { sorts, places }
    }

    /// What stands at the id of a topic. Two rooms may have the same one.
    fn places_of(&self, id: u64) -> impl Iterator<Item = u32> {
        let found = self.places[self.first_from(id)..].iter().take_while(move |other| other.id() == id);
        found.map(|other| other.place)
    }

    /// The first entry whose id is this or a higher one.
    ///
    /// Ids are hashes, so that an id itself says about where it stands; fifty readers of a thousand rooms have
    /// larger lists than a processor's cache holds, and what is looked for all over a list is not there.
    fn first_from(&self, id: u64) -> usize {
        let count = self.places.len();
        let guess = usize::try_from((u128::from(id) * count as u128) >> 64).unwrap_or(0);
        let width = 2 * count.isqrt() + 4;
        let (start, end) = (guess.saturating_sub(width), (guess + width).min(count));
        let before = |entry: &TopicPlace| entry.id() < id;
        let is_within =
            (start == 0 || before(&self.places[start - 1])) && (end == count || !before(&self.places[end]));
        match is_within {
            true => start + self.places[start..end].partition_point(before),
            false => self.places.partition_point(before),
        }
    }
}

/// A room in which there may be something to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedRoom {
    /// Its place in [`UserRooms::rooms`].
    pub place: u32,
    /// There may be events.
    pub events: bool,
    /// There may be receipts or typing of anybody.
    pub ephemeral: bool,
    /// There may be receipts that only the user himself is told of.
    pub own_receipts: bool,
    /// Among those of anybody there may be his own.
    pub own_public: bool,
    /// Devices of members may have changed.
    pub device_lists: bool,
}

impl UserRooms {
    /// The rooms in which the user is this.
    pub fn with(&self, membership: Membership) -> impl Iterator<Item = &UserRoom> {
        self.rooms.iter().filter(move |room| room.membership == membership)
    }

    /// The user's relation to one room.
    pub fn find(&self, room: RoomSerial) -> Option<&UserRoom> {
        self.rooms.binary_search_by_key(&room, |row| row.room).ok().map(|index| &self.rooms[index])
    }

    /// The places in [`UserRooms::rooms`] of those in which the user became something else after a position.
    pub fn changed_since(&self, since: Position) -> impl Iterator<Item = u32> {
        let changed = match self.newest > since {
            false => &[],
            true => {
                let by_position = self.by_position.get_or_init(|| {
                    let mut all: Box<[_]> = (0..).zip(&self.rooms).map(|(place, _)| place).collect();
                    all.sort_unstable_by_key(|place| self.position_at(*place));
                    all
                });
                &by_position[by_position.partition_point(|place| self.position_at(*place) <= since)..]
            }
        };
        changed.iter().copied()
    }

    fn position_at(&self, place: u32) -> Position {
        usize::try_from(place)
            .ok()
            .and_then(|place| self.rooms.get(place))
            .map_or(Position::START, |row| row.position)
    }

    /// The place in [`UserRooms::rooms`] of a room that the user is in.
    pub fn place_of_joined(&self, room_id: &RoomId) -> Option<u32> {
        let is_it = |place: &u32| {
            let row = usize::try_from(*place).ok().and_then(|place| self.rooms.get(place));
            row.is_some_and(|row| row.room_id == room_id)
        };
        let [of_rooms, _] = self.by_topic();
        of_rooms.places_of(Topic::room(room_id.as_str()).id).find(is_it)
    }

    /// What it takes in memory, in bytes, with the orders that are made on first use.
    fn memory_bytes(&self) -> usize {
        let texts = self.rooms.iter().map(|row| row.room_id.as_str().len() + row.sender.as_str().len());
        let departures = self.rooms.iter().filter(|row| row.departure.is_some()).count();
        let row = size_of::<UserRoom>() + 2 * size_of::<TopicPlace>() + size_of::<u32>();
        let owned = texts.sum::<usize>() + departures * size_of::<Departure>();
        size_of::<Self>() + 16 + self.user.as_str().len() + self.rooms.len() * row + owned
    }

    /// What moves when there is something to tell of a room that the user is in.
    fn by_topic(&self) -> &[ByTopic; 2] {
        self.by_topic.get_or_init(|| {
            let joined = || (0..).zip(&self.rooms).filter(|(_, row)| row.membership == Membership::Join);
            let of = |sorts: &[(OfName<'_>, Sort)]| {
                // Topics of one name have one id.
                let id_of = sorts[0].0;
                let places = joined().map(|(place, row)| TopicPlace::new(id_of(row.room_id.as_str()), place));
                ByTopic::new(sorts.iter().map(|(topic, sort)| (topic("").kind, *sort)).collect(), places)
            };
            use ReceiptKind::{Private, Public};
            let private = |room_id: &str| own_receipts_in(Private, &self.user, room_id);
            let public = |room_id: &str| own_receipts_in(Public, &self.user, room_id);
            [
                of(&[
                    (&Topic::room, Sort::Events),
                    (&Topic::ephemeral, Sort::Ephemeral),
                    (&Topic::device_lists, Sort::DeviceLists),
                ]),
                of(&[(&private, Sort::OwnReceipts(Private)), (&public, Sort::OwnReceipts(Public))]),
            ]
        })
    }
}

/// The same with nothing told of rooms that are closed but that the user is out. Of one that he has to do with anew, that
/// alone.
fn without_closed(mut rooms: Vec<UserRoom>, closed: &HashSet<RoomSerial>) -> Vec<UserRoom> {
    if rooms.iter().any(|row| closed.contains(&row.room)) {
        let open: HashSet<OwnedRoomId> =
            rooms.iter().filter(|row| !closed.contains(&row.room)).map(|row| row.room_id.clone()).collect();
        rooms.retain(|row| !closed.contains(&row.room) || !open.contains(&row.room_id));
    }
    let shown = |row: UserRoom| if closed.contains(&row.room) { row.of_closed() } else { row };
    rooms.into_iter().map(shown).collect()
}

/// So many moves are looked through also for a user of few rooms.
const MOVES_LOOKED_AT: usize = 64;

/// Lists of rooms of users who were asked about recently.
#[derive(Debug)]
pub(crate) struct UserRoomsCache(Cache<OwnedUserId, Arc<UserRooms>>);

impl UserRoomsCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |user: &OwnedUserId, rooms: &Arc<UserRooms>| user.as_str().len() + rooms.memory_bytes();
        Self(Cache::of_large(caches, "room_user_rooms", bytes, owned).borrowing())
    }
}

impl Rooms {
    /// All rooms that a user of ours has or had to do with, forgotten ones included.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn memberships(&self, user: &UserId) -> Result<Arc<UserRooms>, Error> {
        let cache = &self.reader().user_rooms.0;
        let topic = Topic::memberships(user.as_str());
        if let Some(known) = cache.get(user)
            && known.up_to.holds(self.store(), [topic, purges_moved()])
        {
            return Ok(known);
        }
        // Before the read: what is committed during it may be in it, what was before surely is.
        let up_to = UpTo::new(self.store().head());
        let prefix = || Range::prefix(user.as_str());
        let rows = self.store().scan(&MEMBERSHIPS, prefix(), store::Order::Ascending, usize::MAX).await?;
        // After the memberships: whose row says that he is out, his departure is there.
        let departures =
            self.store().scan(&DEPARTURES, prefix(), store::Order::Ascending, usize::MAX).await?;
        let closed = self.closed_rooms().await?;
        let departures: HashMap<RoomSerial, Departure> = departures
            .into_iter()
            .map(|((_, room), row)| (room, Departure { position: row.position, current: row.value.current }))
            .collect();
        let rooms: Vec<UserRoom> = rows
            .into_iter()
            .map(|((_, room), row)| UserRoom {
                room,
                room_id: row.value.room_id,
                membership: row.value.membership,
                event: row.value.event,
                sender: row.value.sender,
                position: row.position,
                forgotten: row.value.forgotten,
                current: row.value.current,
                // The change itself may be the departure, in rows from before those were kept apart.
                departure: departures
                    .get(&room)
                    .copied()
                    .or_else(|| {
                        let left = row.value.previous == Some(Membership::Join)
                            && row.value.membership != Membership::Join
                            && row.value.current != Root::EMPTY;
                        left.then_some(Departure { position: row.position, current: row.value.current })
                    })
                    .map(Box::new),
            })
            .collect();
        let mut rooms = without_closed(rooms, &closed);
        // It is kept, and was made in the place of larger rows.
        rooms.shrink_to_fit();
        let newest = rooms.iter().map(|room| room.position).max().unwrap_or_default();
        let (by_topic, by_position) = (OnceLock::new(), OnceLock::new());
        let fresh =
            Arc::new(UserRooms { up_to, newest, rooms, user: user.to_owned(), by_topic, by_position });
        cache.insert(user.to_owned(), fresh.clone());
        Ok(fresh)
    }

    /// In which of the rooms that a user is in there may be something to tell since a position, in their order. It
    /// takes as long as there is much that moved, not as there are rooms, unless that was long ago.
    ///
    /// Take the [`store::Store::head`] that the answer is to hold for before asking.
    pub fn moved(&self, rooms: &UserRooms, since: Position) -> Vec<MovedRoom> {
        let by_topic = rooms.by_topic();
        let topics: usize = by_topic.iter().map(|list| list.sorts.len() * list.places.len()).sum();
        let mut places: Vec<(u32, Sort)> = Vec::new();
        match self.store().moved_since(since, topics.max(MOVES_LOOKED_AT)) {
            Some(moved) => {
                for topic in moved {
                    let of_kind = |list: &ByTopic| {
                        list.sorts.iter().find(|(kind, _)| *kind == topic.kind).map(|(_, sort)| *sort)
                    };
                    for list in by_topic {
                        if let Some(sort) = of_kind(list) {
                            places.extend(list.places_of(topic.id).map(|place| (place, sort)));
                        }
                    }
                }
            }
            None => {
                for list in by_topic {
                    for (kind, sort) in &list.sorts {
                        let topics = list.places.iter().map(|at| Topic { kind: *kind, id: at.id() });
                        let moved = list.places.iter().zip(self.store().moved_of(topics, since));
                        let moved = moved.filter(|(_, moved)| *moved != Moved::No);
                        places.extend(moved.map(|(at, _)| (at.place, *sort)));
                    }
                }
            }
        }
        places.sort_unstable();
        let mut moved: Vec<MovedRoom> = Vec::new();
        for (place, sort) in places {
            if moved.last().is_none_or(|last| last.place != place) {
                moved.push(MovedRoom { place, ..MovedRoom::default() });
            }
            if let Some(last) = moved.last_mut() {
                match sort {
                    Sort::Events => last.events = true,
                    Sort::Ephemeral => last.ephemeral = true,
                    Sort::DeviceLists => last.device_lists = true,
                    Sort::OwnReceipts(ReceiptKind::Private) => last.own_receipts = true,
                    Sort::OwnReceipts(ReceiptKind::Public) => last.own_public = true,
                }
            }
        }
        moved
    }

    /// A user of ours' relation to a room.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn membership(&self, user: &UserId, room_id: &RoomId) -> Result<Option<UserRoom>, Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(None) };
        Ok(self.memberships(user).await?.find(room.serial).cloned())
    }

    /// The rooms that a user of ours is joined to.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn joined_rooms(&self, user: &UserId) -> Result<Vec<OwnedRoomId>, Error> {
        let rooms = self.memberships(user).await?;
        Ok(rooms.with(Membership::Join).map(|room| room.room_id.clone()).collect())
    }

    /// What any user, of ours or not, is in a room by its current state.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn membership_in(&self, room: &RoomInfo, user: &UserId) -> Result<Option<Membership>, Error> {
        let row = self.store().get(&MEMBERS, &(room.serial, user.as_str())).await?;
        Ok(row.map(|row| row.membership))
    }

    /// Whether a user is joined to a room now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_joined(&self, user: &UserId, room_id: &RoomId) -> Result<bool, Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(false) };
        Ok(self.membership_in(&room, user).await? == Some(Membership::Join))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_topic_is_found_however_ids_are_spread() {
        let spread = |count: u64| (0..count).map(|number| Topic::room(&format!("!{number}")).id);
        let crowded = (0..500).chain((0..500).map(|number| u64::MAX - number));
        let lists: [Vec<u64>; 5] = [
            Vec::new(),
            vec![7, 7, u64::MAX],
            spread(1_200).collect(),
            crowded.collect(),
            (0..300).map(|number| u64::MAX / 2 + number / 3).collect(),
        ];
        for mut ids in lists {
            ids.sort_unstable();
            let places =
                ids.iter().zip(0..).map(|(id, place)| TopicPlace::new(Topic { kind: 1, id: *id }, place));
            let list = ByTopic::new(vec![(1, Sort::Events)], places);
            let around = |id: &u64| [id.saturating_sub(1), *id, id.saturating_add(1)];
            let asked = ids.iter().flat_map(around).chain([0, 1, u64::MAX / 2, u64::MAX]);
            for id in asked {
                let at = (0..).zip(&ids).filter(|(_, other)| **other == id).map(|(place, _)| place);
                assert_eq!(list.places_of(id).collect::<Vec<u32>>(), at.collect::<Vec<u32>>(), "{id}");
            }
        }
    }

    fn rooms(count: u64, user: &UserId) -> Arc<UserRooms> {
        let row = |n: u64| UserRoom {
            room: RoomSerial(n),
            room_id: format!("!{n:018}:kanazawa.example.jp").try_into().unwrap(),
            membership: Membership::Join,
            event: Some(EventSerial(n)),
            sender: user.to_owned(),
            position: Position(n),
            forgotten: false,
            current: Root::EMPTY,
            departure: None,
        };
        Arc::new(UserRooms {
            up_to: UpTo::new(Position(count)),
            newest: Position(count),
            rooms: (0..count).map(row).collect(),
            user: user.to_owned(),
            by_topic: OnceLock::new(),
            by_position: OnceLock::new(),
        })
    }

    #[test]
    fn lists_of_rooms_are_charged_what_they_take_however_many_rooms_there_are() {
        for (users, count) in [(1_000, 1), (100, 30), (10, 1_200)] {
            let (cache, in_use) = meter::kept(|| {
                let cache = UserRoomsCache::new(&Caches::new(), 1 << 26);
                for n in 0..users {
                    let user = OwnedUserId::try_from(format!("@shokuin{n}:kanazawa.example.jp")).unwrap();
                    let rooms = rooms(count, &user);
                    let _made = (rooms.by_topic().len(), rooms.changed_since(Position::START).count());
                    cache.0.insert(user, rooms);
                }
                cache
            });
            assert_eq!(cache.0.len(), users);
            meter::assert_charged(&format!("{count} rooms"), cache.0.bytes(), in_use);
        }
    }
}
