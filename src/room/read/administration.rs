//! Rooms as who administers an authority sees them: those in which it has members, and what they hold, whether he is in them
//! himself or not.
//!
//! Nothing here asks who may look: whoever lets somebody ask has to know that he administers the authority, and that it has
//! members in the room ([`Rooms::members_of_authority`]). What was said there he is shown as far as a server of this authority
//! alone would have been told it: of what others said among themselves, before somebody of his came, nothing where the room's
//! history is not for who comes later. Erased users' words are redacted for him as for any who comes later.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{EventId, OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use store::Range;

use crate::{
    Error, RoomSerial, Rooms,
    read::{
        directory::PUBLISHED,
        event::StoredEvent,
        filter::EventFilter,
        list::EventList,
        messages::{MAX_PAGE, PageQuery},
        room::RoomInfo,
        timeline::{Direction, Stretch},
        token::Token,
        view::{Look, Viewer},
    },
    tables::{MEMBER_COUNTS, Membership, SERVERS},
};

/// Rooms that are looked at at a time.
const ROOMS_AT_A_TIME: usize = 1_000;

/// How many rows are looked at for one page when a filter lets little through.
const MAX_ROWS: usize = 5_000;

/// A room in which an authority has members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityRoom {
    /// Its serial.
    pub serial: RoomSerial,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// How many joined members the authority has in it.
    pub members: u64,
}

/// A page of what was said in a room.
#[derive(Clone, Debug)]
pub struct OverseenPage {
    /// Where it begins.
    pub start: Token,
    /// Where to go on; absent when there is nothing more here.
    pub end: Option<Token>,
    /// The events, in the direction that was asked for.
    pub chunk: Vec<Look>,
}

/// An event and what is around it.
#[derive(Clone, Debug)]
pub struct OverseenContext {
    /// Where to go on backward.
    pub start: Token,
    /// Where to go on forward.
    pub end: Token,
    /// The event.
    pub event: Look,
    /// What was before it, newest first.
    pub before: Vec<Look>,
    /// What came after it, oldest first.
    pub after: Vec<Look>,
    /// The state after it, with those members alone who said these.
    pub state: Vec<Look>,
}

impl Rooms {
    /// The rooms in which an authority has joined members, by their serials.
    ///
    /// Servers are kept by room, and there is no index the other way: all rooms of the process are looked at, a thousand at a
    /// time, and those of the authority are held by id. So whoever lets others ask for this lets few do so at once.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rooms_of_authority(&self, authority: &ServerName) -> Result<Vec<AuthorityRoom>, Error> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let rooms = self.rooms_by_serial(after, ROOMS_AT_A_TIME).await?;
            let Some((last, _)) = rooms.last() else { return Ok(found) };
            after = Some(*last);
            let serials: Vec<RoomSerial> = rooms.iter().map(|(serial, _)| *serial).collect();
            let counts = self.members_of_server(&serials, authority).await?;
            found.extend(
                rooms
                    .into_iter()
                    .zip(counts)
                    .filter(|(_, members)| *members > 0)
                    .map(|((serial, room_id), members)| AuthorityRoom { serial, room_id, members }),
            );
        }
    }

    /// The servers that have joined members in rooms of an authority, but for itself. Looks at all rooms, as
    /// [`Rooms::rooms_of_authority`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn servers_beside(&self, authority: &ServerName) -> Result<BTreeSet<OwnedServerName>, Error> {
        let rooms = self.rooms_of_authority(authority).await?;
        let mut found = BTreeSet::new();
        for some in rooms.chunks(ROOMS_AT_A_TIME) {
            let ranges = some.iter().map(|room| Range::prefix(&room.serial)).collect();
            let rows = self.store().scan_many(&SERVERS, ranges, store::Order::Ascending, usize::MAX).await?;
            for ((_, server), count) in rows.into_iter().flatten() {
                if count.0 > 0
                    && server != authority.as_str()
                    && let Ok(server) = OwnedServerName::try_from(server)
                {
                    found.insert(server);
                }
            }
        }
        Ok(found)
    }

    /// The rooms of an authority in which another server has joined members. Looks at all rooms, as
    /// [`Rooms::rooms_of_authority`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rooms_shared_by(
        &self,
        authority: &ServerName,
        server: &ServerName,
    ) -> Result<Vec<OwnedRoomId>, Error> {
        let rooms = self.rooms_of_authority(authority).await?;
        let mut found = Vec::new();
        for some in rooms.chunks(ROOMS_AT_A_TIME) {
            let serials: Vec<RoomSerial> = some.iter().map(|room| room.serial).collect();
            let counts = self.members_of_server(&serials, server).await?;
            let shared = some.iter().zip(counts).filter(|(_, count)| *count > 0);
            found.extend(shared.map(|(room, _)| room.room_id.clone()));
        }
        Ok(found)
    }

    /// How many joined members a server has in rooms, in the order of `rooms`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn members_of_server(
        &self,
        rooms: &[RoomSerial],
        server: &ServerName,
    ) -> Result<Vec<u64>, Error> {
        let keys: Vec<(RoomSerial, &str)> = rooms.iter().map(|room| (*room, server.as_str())).collect();
        let counters = self.store().get_many(&SERVERS, &keys).await?;
        let number = |counter: Option<store::Counter>| {
            counter.map_or(0, |counter| u64::try_from(counter.0).unwrap_or_default())
        };
        Ok(counters.into_iter().map(number).collect())
    }

    /// The room of this id, if an authority has joined members in it, and how many.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn members_of_authority(
        &self,
        authority: &ServerName,
        room_id: &RoomId,
    ) -> Result<Option<(Arc<RoomInfo>, u64)>, Error> {
        let Some(room) = self.room(room_id).await? else { return Ok(None) };
        let members = self.members_of_server(&[room.serial], authority).await?.pop().unwrap_or_default();
        Ok((members > 0).then_some((room, members)))
    }

    /// Whether rooms are in the directory of an authority, in the order of `rooms`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn are_published(
        &self,
        authority: &ServerName,
        rooms: &[RoomSerial],
    ) -> Result<Vec<bool>, Error> {
        let keys: Vec<(&str, RoomSerial)> = rooms.iter().map(|room| (authority.as_str(), *room)).collect();
        let entries = self.store().get_many(&PUBLISHED, &keys).await?;
        Ok(entries.into_iter().map(|entry| entry.is_some()).collect())
    }

    /// About how many pieces of state rooms have: of members as many as there are, of all else what was ever set.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn state_counts(&self, rooms: &[RoomSerial]) -> Result<Vec<u64>, Error> {
        const KINDS: [Membership; 5] =
            [Membership::Invite, Membership::Join, Membership::Knock, Membership::Leave, Membership::Ban];
        let keys: Vec<(RoomSerial, u8)> =
            rooms.iter().flat_map(|room| KINDS.map(|kind| (*room, kind as u8))).collect();
        let counters = self.store().get_many(&MEMBER_COUNTS, &keys).await?;
        let others = self.keys_without_members(rooms).await?;
        let number = |counter: &Option<store::Counter>| {
            counter.map_or(0, |counter| u64::try_from(counter.0).unwrap_or_default())
        };
        Ok(counters
            .chunks(KINDS.len())
            .zip(others)
            .map(|(kinds, keys)| {
                kinds.iter().map(number).sum::<u64>() + u64::try_from(keys.len()).unwrap_or(u64::MAX)
            })
            .collect())
    }

    /// The current state of a room, of one type or of all, to be read part by part.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::Store`], [`Error::Inconsistent`].
    pub async fn overseen_state(&self, reader: &UserId, room: &RoomInfo) -> Result<EventList, Error> {
        let head = self.get_head(room).await?;
        let entries = self.snapshots().all(room.serial, head.current).await?;
        let events = entries.into_iter().map(|(_, event)| event).collect();
        Ok(EventList::new(self, &Viewer::user(reader), room.serial, events, None))
    }

    /// A page of what we have of a room's history, as far as the reader's authority may see it; other servers are not asked for
    /// more.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn overseen_messages(
        &self,
        reader: &UserId,
        room: &RoomInfo,
        query: &PageQuery,
    ) -> Result<OverseenPage, Error> {
        self.reach_places([query.from, query.to]).await?;
        let start = match (query.from, query.direction) {
            (Some(from), _) => from,
            (None, Direction::Forward) => Token::START,
            (None, Direction::Backward) => Token::after(self.store().head()),
        };
        let stretch = match query.direction {
            Direction::Backward => {
                Stretch { room: room.serial, after: query.to.unwrap_or(Token::START), through: start }
            }
            Direction::Forward => {
                Stretch { room: room.serial, after: start, through: query.to.unwrap_or(Token::END) }
            }
        };
        let limit = query.limit.min(MAX_PAGE);
        let authority = reader.server_name();
        let (events, end) =
            self.overseen_walk(authority, stretch, query.direction, limit, &query.filter).await?;
        let chunk = self.looks(&Viewer::user(reader), events, &[]).await?;
        Ok(OverseenPage { start, end, chunk })
    }

    /// An event of a room and what is around it; `limit` events at most beside it.
    ///
    /// # Errors
    /// [`Error::NoEvent`], also for one that the reader's authority may not see; [`Error::Store`], [`Error::Inconsistent`].
    pub async fn overseen_context(
        &self,
        reader: &UserId,
        room: &RoomInfo,
        event_id: &EventId,
        limit: usize,
    ) -> Result<OverseenContext, Error> {
        let event = self.get_event(&room.room_id, event_id).await?;
        let none = || Error::NoEvent(event_id.to_owned());
        let order = event.order().filter(|_| event.is_shown()).ok_or_else(none)?;
        let authority = reader.server_name();
        if self.visible_to_server(authority, std::slice::from_ref(&event)).await? != [true] {
            return Err(none());
        }
        let (limit, filter, here) = (limit.min(MAX_PAGE), EventFilter::default(), Token(order));
        let backward = Stretch { room: room.serial, after: Token::START, through: Token::before(order) };
        let forward = Stretch { room: room.serial, after: here, through: Token::END };
        let (before, start) =
            self.overseen_walk(authority, backward, Direction::Backward, limit / 2, &filter).await?;
        let (after, end) =
            self.overseen_walk(authority, forward, Direction::Forward, limit - limit / 2, &filter).await?;
        let root = after.last().unwrap_or(&event).meta().after;
        let mut senders: Vec<&str> =
            before.iter().chain(&after).chain([&event]).map(|event| event.sender().as_str()).collect();
        senders.sort_unstable();
        senders.dedup();
        let mut state = self.full_states(&[(room.serial, root)], false).await?.pop().unwrap_or_default();
        state.extend(self.members_in(room.serial, root, &senders).await?);
        let viewer = Viewer::user(reader);
        let event = self.looks(&viewer, vec![event], &[]).await?.pop().ok_or_else(none)?;
        Ok(OverseenContext {
            start: start.unwrap_or_else(|| Token::before(order)),
            end: end.unwrap_or(here),
            event,
            before: self.looks(&viewer, before, &[]).await?,
            after: self.looks(&viewer, after, &[]).await?,
            state: self.looks(&viewer, state, &[]).await?,
        })
    }

    /// Events of a stretch that are shown, that the authority may see and that the filter lets through, and where to go on.
    async fn overseen_walk(
        &self,
        authority: &ServerName,
        stretch: Stretch,
        direction: Direction,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<(Vec<Arc<StoredEvent>>, Option<Token>), Error> {
        let mut found = Vec::new();
        let (mut rest, mut end, mut looked_at) = (stretch, None, 0);
        while found.len() < limit && looked_at < MAX_ROWS {
            let wanted = (limit - found.len()).max(20);
            let rows = self.timeline(rest, direction, wanted).await?;
            looked_at += rows.len();
            let places: Vec<_> = rows.iter().map(|entry| (stretch.room, *entry)).collect();
            let events = self.events_of(&places).await?;
            let visible = self.visible_to_server(authority, &events).await?;
            for ((event, entry), visible) in events.into_iter().zip(&rows).zip(visible) {
                end = Some(match direction {
                    Direction::Backward => Token::before(entry.order),
                    Direction::Forward => Token(entry.order),
                });
                if visible && event.is_shown() && filter.passes(&event) {
                    found.push(event);
                    if found.len() == limit {
                        return Ok((found, end));
                    }
                }
            }
            if rows.len() < wanted {
                return Ok((found, None));
            }
            match (direction, end) {
                (Direction::Backward, Some(end)) => rest.through = end,
                (Direction::Forward, Some(end)) => rest.after = end,
                (_, None) => return Ok((found, None)),
            }
        }
        Ok((found, end))
    }
}
