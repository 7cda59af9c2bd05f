//! The state of a room for somebody who asks.
//!
//! Members are given the state now; who was in and got out, by whatever steps, the state in which he
//! got out; everybody, the state of a room that is open to the world.

use std::sync::Arc;

use ruma::{EventId, RoomId, UserId};
use store::Range;

use crate::{
    Error, EventSerial, Order, RoomSerial, Rooms, Root, StateKeySerial,
    read::{
        event::{Keep, StoredEvent},
        lacking::AllMembers,
        list::{EventList, PART},
        lookup::StateQuery,
        membership::UserRoom,
        room::RoomInfo,
        timeline::RecentQuery,
        view::{Look, Viewer},
        visibility::HistoryVisibility,
    },
    snapshot::Query,
    tables::{EVENT_IDS, Membership, STATE_KEYS},
};

/// From where somebody may look at a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// The state that he is given.
    pub root: Root,
    /// The last place of the timeline that he is given.
    pub until: Order,
    /// What he is in the room.
    pub membership: Option<Membership>,
}

impl Rooms {
    /// From where a user may look at a room.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::NotJoined`] when the user never was in the room, or forgot it, and
    /// it is not open to the world.
    pub async fn standpoint(&self, user: &UserId, room: &RoomInfo) -> Result<Standpoint, Error> {
        let rooms = self.memberships(user).await?;
        let row = rooms.find(room.serial).filter(|row| !row.forgotten);
        let membership = row.map(|row| row.membership);
        let refused = || Error::NotJoined { user: user.to_owned(), room: room.room_id.clone() };
        let left = row.and_then(UserRoom::seen_until).map(|until| Standpoint {
            root: until.current,
            until: Order::live(until.position),
            membership,
        });
        let Some(head) = self.heads(&[room.serial]).await?.pop().flatten() else {
            // Rooms we are not in, or not any more.
            return left.ok_or_else(refused);
        };
        if membership == Some(Membership::Join) {
            return Ok(Standpoint { root: head.current, until: Order::LAST, membership });
        }
        if self.visibility_at(room.serial, head.current).await? == HistoryVisibility::WorldReadable {
            let root = self.last_seen(room, head.current).await?;
            return Ok(Standpoint { root, until: Order::LAST, membership });
        }
        left.ok_or_else(refused)
    }

    /// The state of a room as of the last that was told in it. Where nobody of ours is in it, the current one may hold what
    /// is being brought in for a join, or what is left of one, and may not be open to the world.
    async fn last_seen(&self, room: &RoomInfo, current: Root) -> Result<Root, Error> {
        if self.is_resident(room).await? {
            return Ok(current);
        }
        let head = self.store().head();
        let query =
            RecentQuery { room: room.serial, room_id: &room.room_id, after: head, through: head, limit: 1 };
        let recent = self.recent(&[query]).await?.pop();
        Ok(recent.and_then(|recent| recent.before).map_or(current, |row| row.current))
    }

    /// From where a user may look at a room all of whose members he is given.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`] and [`Rooms::await_members`].
    pub(crate) async fn whole_standpoint(
        &self,
        user: &UserId,
        room: &RoomInfo,
    ) -> Result<(Standpoint, AllMembers), Error> {
        let standpoint = self.standpoint(user, room).await?;
        match self.all_members(room).await {
            Err(Error::MembersLacking(_)) => {}
            known => return Ok((standpoint, known?)),
        }
        let all = self.await_members(room).await?;
        // As it is now that they have come.
        Ok((self.standpoint(user, room).await?, all))
    }

    /// All state of a snapshot.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn all_state(&self, room: RoomSerial, root: Root) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let entries = self.snapshots().all(room, root).await?;
        let serials: Vec<_> = entries.into_iter().map(|(_, event)| event).collect();
        self.load_all(room, &serials).await
    }

    /// The states of several snapshots, in the order of `places`, with or without members.
    ///
    /// Without members the cost does not follow their number: their entries are not even looked at.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn full_states(
        &self,
        places: &[(RoomSerial, Root)],
        with_members: bool,
    ) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
        let serials: Vec<Vec<EventSerial>> = if with_members {
            let all = self.snapshots().all_of(places).await?;
            all.into_iter().map(|entries| entries.into_iter().map(|(_, event)| event).collect()).collect()
        } else {
            let rooms: Vec<RoomSerial> = places.iter().map(|(room, _)| *room).collect();
            let keys = self.keys_without_members(&rooms).await?;
            let queries: Vec<_> = places
                .iter()
                .zip(&keys)
                .map(|((room, root), keys)| Query { room: *room, root: *root, keys })
                .collect();
            let found = self.snapshots().get_many(&queries).await?;
            found.into_iter().map(|events| events.into_iter().flatten().collect()).collect()
        };
        self.load_lists(places.iter().map(|(room, _)| *room).zip(serials).collect()).await
    }

    /// What the second of two snapshots of a room holds otherwise than the first, for several rooms.
    /// What it does not hold at all is left out.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn state_changes(
        &self,
        places: &[(RoomSerial, Root, Root)],
    ) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
        let differences = self.snapshots().differences(places).await?;
        let changed =
            differences.into_iter().map(|found| found.into_iter().filter_map(|it| it.after).collect());
        self.load_lists(places.iter().map(|(room, ..)| *room).zip(changed).collect()).await
    }

    /// Loads lists of events in one round.
    async fn load_lists(
        &self,
        lists: Vec<(RoomSerial, Vec<EventSerial>)>,
    ) -> Result<Vec<Vec<Arc<StoredEvent>>>, Error> {
        let is_long = |list: &[EventSerial]| list.len() > PART;
        let find = async |long: bool, keep: Keep| {
            let lists = lists.iter().filter(|(_, list)| is_long(list) == long);
            let wanted: Vec<_> =
                lists.flat_map(|(room, events)| events.iter().map(|event| (*room, *event))).collect();
            let events = self.find_events(&wanted, keep).await?.into_iter().collect::<Option<Vec<_>>>();
            events.ok_or(Error::Inconsistent("an event of a snapshot is not there"))
        };
        let mut short = find(false, Keep::All).await?.into_iter();
        let mut long = find(true, Keep::Known).await?.into_iter();
        let mut take = |list: &[EventSerial]| match is_long(list) {
            true => long.by_ref().take(list.len()).collect(),
            false => short.by_ref().take(list.len()).collect(),
        };
        Ok(lists.iter().map(|(_, list)| take(list)).collect())
    }

    /// The state keys that rooms have ever had, but for those of members.
    pub async fn keys_without_members(
        &self,
        rooms: &[RoomSerial],
    ) -> Result<Vec<Vec<StateKeySerial>>, Error> {
        const MEMBER: &str = "m.room.member";
        const BEHIND: &str = "m.room.member\u{0}";
        let ranges = rooms
            .iter()
            .flat_map(|room| {
                [
                    Range::prefix(room).before(&(*room, MEMBER, "")),
                    Range::prefix(room).from(&(*room, BEHIND, "")),
                ]
            })
            .collect();
        let found = self.store().scan_many(&STATE_KEYS, ranges, store::Order::Ascending, usize::MAX).await?;
        Ok(found.chunks(2).map(|pair| pair.iter().flatten().map(|(_, serial)| *serial).collect()).collect())
    }

    /// The state of a room, as the viewer may see it.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>
    pub async fn state(&self, viewer: &Viewer<'_>, room_id: &RoomId) -> Result<Vec<Look>, Error> {
        self.state_list(viewer, room_id).await?.gather().await
    }

    /// As [`Rooms::state`], to be read part by part.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`] and [`Rooms::await_members`].
    pub async fn state_list(&self, viewer: &Viewer<'_>, room_id: &RoomId) -> Result<EventList, Error> {
        let room = self.get_room(room_id).await?;
        let (standpoint, _) = self.whole_standpoint(viewer.user, &room).await?;
        let entries = self.snapshots().all(room.serial, standpoint.root).await?;
        let events = entries.into_iter().map(|(_, event)| event).collect();
        Ok(EventList::new(self, viewer, room.serial, events, None))
    }

    /// One piece of the state of a room, as the viewer may see it.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`]; [`Error::NoState`] when nothing was ever set; for a member who is not known, as
    /// [`Rooms::await_members`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey>
    pub async fn state_event(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        kind: &str,
        key: &str,
    ) -> Result<Look, Error> {
        let room = self.get_room(room_id).await?;
        let find = async || {
            let standpoint = self.standpoint(viewer.user, &room).await?;
            let query = StateQuery { room: room.serial, root: standpoint.root, kind, key };
            Ok::<_, Error>(self.state_events(&[query]).await?.pop().flatten())
        };
        let mut event = find().await?;
        if event.is_none() && kind == "m.room.member" {
            self.await_members(&room).await?;
            event = find().await?;
        }
        let event = event.ok_or(Error::NoState)?;
        self.looks(viewer, vec![event], &[]).await?.pop().ok_or(Error::NoState)
    }

    /// One piece of the current state of a room, whoever asks; for use inside the server.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when we never took part in the room.
    pub async fn current_state_event(
        &self,
        room: &RoomInfo,
        kind: &str,
        key: &str,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let head = self.get_head(room).await?;
        let query = StateQuery { room: room.serial, root: head.current, kind, key };
        Ok(self.state_events(&[query]).await?.into_iter().flatten().next())
    }

    /// Several pieces of the state in a snapshot, in the order of `names` (type, state key).
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn state_in(
        &self,
        room: RoomSerial,
        root: Root,
        names: &[(&str, &str)],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let queries: Vec<_> = names.iter().map(|(kind, key)| StateQuery { room, root, kind, key }).collect();
        self.state_events(&queries).await
    }

    /// An event of a room, whoever asks; rejected events and outliers too.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn event(
        &self,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(None) };
        let place = self.store().get(&EVENT_IDS, event_id.as_str()).await?;
        let Some(place) = place.filter(|place| place.room == room.serial) else { return Ok(None) };
        Ok(self.load_events(&[(place.room, place.event)]).await?.pop().flatten())
    }

    /// Events by id, in the order of `ids`, of whatever rooms; absent ones are `None`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn events_by_id<I: AsRef<EventId>>(
        &self,
        ids: &[I],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let keys: Vec<&str> = ids.iter().map(|id| id.as_ref().as_str()).collect();
        let places = self.store().get_many(&EVENT_IDS, &keys).await?;
        let wanted: Vec<_> = places.iter().flatten().map(|place| (place.room, place.event)).collect();
        let mut events = self.load_events(&wanted).await?.into_iter();
        Ok(places.into_iter().map(|place| place.and_then(|_| events.next().flatten())).collect())
    }

    /// As [`Rooms::event`].
    ///
    /// # Errors
    /// [`Error::NoEvent`] when it is not there.
    pub async fn get_event(&self, room_id: &RoomId, event_id: &EventId) -> Result<Arc<StoredEvent>, Error> {
        self.event(room_id, event_id).await?.ok_or_else(|| Error::NoEvent(event_id.to_owned()))
    }

    /// An event as the viewer may see it.
    ///
    /// # Errors
    /// [`Error::NoEvent`] when there is none that he may see.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>
    pub async fn event_for(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Look, Error> {
        let event = self.get_event(room_id, event_id).await?;
        let sight = self.sights(viewer.user, std::slice::from_ref(&event)).await?;
        let membership = match sight.first() {
            Some(sight) if sight.visible && !viewer.is_spared(&event) => {
                sight.membership.or(Some(Membership::Leave))
            }
            _ => return Err(Error::NoEvent(event_id.to_owned())),
        };
        let look = self.looks(viewer, vec![event], &[membership]).await?.pop();
        look.ok_or_else(|| Error::NoEvent(event_id.to_owned()))
    }
}
