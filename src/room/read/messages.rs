//! Pages of a room's history: `/messages` and `/context`.

use std::{collections::HashSet, sync::Arc};

use ruma::{EventId, OwnedUserId, RoomId, UserId};

use crate::{
    Error, Order, RoomSerial, Rooms, Root,
    read::{
        event::StoredEvent,
        filter::{EventFilter, LazyMembers},
        lookup::StateQuery,
        room::RoomInfo,
        state::Standpoint,
        timeline::{Direction, Entry, Stretch},
        token::Token,
        view::{Look, Viewer},
        visibility::Sight,
    },
    tables::Membership,
};

/// The most events of a page, whatever is asked for.
pub const MAX_PAGE: usize = 1_000;

/// How many rows are looked at for one page when a filter or visibility lets little through.
const MAX_ROWS: usize = 5_000;

/// Which part of a room's history is wanted.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Where to begin; the end of the history that the direction comes from, if absent.
    pub from: Option<Token>,
    /// Where to stop.
    pub to: Option<Token>,
    /// Which way.
    pub direction: Direction,
    /// At most this many events, and at most [`MAX_PAGE`].
    pub limit: usize,
    /// Which events.
    pub filter: EventFilter,
}

/// A part of a room's history.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it begins.
    pub start: Token,
    /// Where to go on; absent when there is nothing more: going backward, at the room's beginning only.
    pub end: Option<Token>,
    /// The events, in the direction that was asked for.
    pub chunk: Vec<Look>,
    /// The members who sent them, if members are loaded lazily.
    pub state: Vec<Look>,
    /// Going backward without an end, what we have came to its end before the page was full: if there is more, other
    /// servers have it.
    pub ran_out: bool,
}

/// An event and what is around it.
#[derive(Clone, Debug)]
pub struct Context {
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
    /// The state after the last of these events.
    pub state: Vec<Look>,
}

/// What is around an event.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where to go on backward.
    pub start: Token,
    /// Where to go on forward.
    pub end: Token,
    /// What was before it, newest first.
    pub before: Vec<Look>,
    /// What came after it, oldest first.
    pub after: Vec<Look>,
}

/// What a walk over a timeline found.
#[derive(Default)]
struct Found {
    events: Vec<(Arc<StoredEvent>, Sight)>,
    /// The last row that was looked at.
    last: Option<Entry>,
    /// Whether the stretch came to its end.
    exhausted: bool,
    /// Whether it ends where the viewer does not read further back: below that there is nothing for him.
    is_bounded: bool,
}

impl Rooms {
    /// A page of what we have of a room's history, as the viewer may see it.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages>
    pub async fn messages(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        query: &PageQuery,
    ) -> Result<Page, Error> {
        self.reach_places([query.from, query.to]).await?;
        let room = self.get_room(room_id).await?;
        let standpoint = self.standpoint(viewer.user, &room).await?;
        let limit = query.limit.min(MAX_PAGE);
        let until = Token(standpoint.until);
        let start = match (query.from, query.direction) {
            (Some(from), _) => from.min(until),
            (None, Direction::Forward) => Token::START,
            (None, Direction::Backward) => Token::after(self.store().head()).min(until),
        };
        // Before the rows: what is fetched from now on gets places below it.
        let floor = self.heads(&[room.serial]).await?.pop().flatten().map(|head| head.history_floor);
        let stretch = match query.direction {
            Direction::Backward => {
                Stretch { room: room.serial, after: query.to.unwrap_or(Token::START), through: start }
            }
            Direction::Forward => Stretch {
                room: room.serial,
                after: start,
                through: query.to.unwrap_or(Token::END).min(until),
            },
        };

        let found = self.walk(viewer, stretch, query.direction, limit, &query.filter).await?;
        let ran_out = query.direction == Direction::Backward
            && query.to.is_none()
            && found.exhausted
            && !found.is_bounded
            && found.events.len() < limit;
        let end = match (found.last, found.exhausted) {
            (_, true)
                if query.direction == Direction::Backward && query.to.is_none() && !found.is_bounded =>
            {
                match found.last.map(|last| Token::before(last.order)) {
                    // Where a filter chose, the place that was reached is told with what it let through, as other
                    // servers do; the next page is empty and has no end.
                    Some(reached) if !query.filter.passes_all() && !found.events.is_empty() => Some(reached),
                    Some(reached) => self.has_more_history(&room).await?.then_some(reached),
                    None => self.has_more_history(&room).await?.then(|| other_token(start, floor)),
                }
            }
            (_, true) => None,
            (Some(last), false) => Some(past(last.order, query.direction)),
            (None, false) => None,
        };
        let state = self.lazy_members(viewer, &room, &standpoint, &found.events, query.filter.lazy).await?;
        let mut chunk = self.dress(viewer, found.events).await?;
        self.aggregate(viewer, &mut chunk).await?;
        Ok(Page { start, end, chunk, state, ran_out })
    }

    /// An event, what is around it, and the state there.
    ///
    /// # Errors
    /// As [`Rooms::event_for`] and [`Rooms::standpoint`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid>
    pub async fn context(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        event_id: &EventId,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Context, Error> {
        // First the event: who may not see it is told the same of a room that is not there.
        let mut event = self.event_for(viewer, room_id, event_id).await?;
        let room = self.get_room(room_id).await?;
        if filter.lazy == LazyMembers::Off && self.lacking().await?.lacks(room.serial) {
            self.await_members(&room).await?;
            // As it is now that they have come.
            event = self.event_for(viewer, room_id, event_id).await?;
        }
        let standpoint = self.standpoint(viewer.user, &room).await?;
        let order = event.event.order().ok_or_else(|| Error::NoEvent(event_id.to_owned()))?;
        let limit = limit.min(MAX_PAGE);
        let here = Token(order);
        let backward = Stretch { room: room.serial, after: Token::START, through: Token::before(order) };
        let forward = Stretch { room: room.serial, after: here, through: Token(standpoint.until) };
        let before = self.walk(viewer, backward, Direction::Backward, limit / 2, filter).await?;
        let after = self.walk(viewer, forward, Direction::Forward, limit - limit / 2, filter).await?;

        let start = before.last.map_or(Token::before(order), |last| Token::before(last.order));
        let end = after.last.map_or(here, |last| Token(last.order));
        let newest = after.events.last().map_or(&event.event, |(event, _)| event);
        let root = newest.meta().after;
        let mut senders: HashSet<OwnedUserId> =
            before.events.iter().chain(&after.events).map(|(event, _)| event.sender().to_owned()).collect();
        senders.insert(event.event.sender().to_owned());
        let mut state = self.all_state(room.serial, root).await?;
        state.retain(|event| {
            let wanted = filter.lazy == LazyMembers::Off
                || event.kind() != "m.room.member"
                || event.state_key().is_some_and(|key| senders.iter().any(|sender| sender == key));
            wanted && filter.passes(event)
        });
        if filter.lazy != LazyMembers::Off {
            let said: Vec<&Arc<StoredEvent>> =
                before.events.iter().chain(&after.events).map(|(event, _)| event).collect();
            let lacking = self.lacking_senders(&state, said.into_iter().chain([&event.event])).await?;
            state.extend(lacking.into_iter().filter(|event| filter.passes(event)));
        }
        let mut before = self.dress(viewer, before.events).await?;
        let mut after = self.dress(viewer, after.events).await?;
        for part in [&mut before[..], &mut after[..], std::slice::from_mut(&mut event)] {
            self.aggregate(viewer, part).await?;
        }
        Ok(Context { start, end, before, after, state: self.looks(viewer, state, &[]).await?, event })
    }

    /// What was said around an event that the viewer may see, as far as he may see that, without what was redacted.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`]; [`Error::NoEvent`] when the event has no place.
    pub async fn surroundings(
        &self,
        viewer: &Viewer<'_>,
        event: &StoredEvent,
        before: usize,
        after: usize,
    ) -> Result<Surroundings, Error> {
        let room = self.get_room(event.room_id()).await?;
        let standpoint = self.standpoint(viewer.user, &room).await?;
        let order = event.order().ok_or_else(|| Error::NoEvent(event.event_id().to_owned()))?;
        let filter = EventFilter::default().without_redacted();
        let here = Token(order);
        let backward = Stretch { room: room.serial, after: Token::START, through: Token::before(order) };
        let forward = Stretch { room: room.serial, after: here, through: Token(standpoint.until) };
        let before = self.walk(viewer, backward, Direction::Backward, before.min(MAX_PAGE), &filter).await?;
        let after = self.walk(viewer, forward, Direction::Forward, after.min(MAX_PAGE), &filter).await?;
        let start = before.last.map_or(Token::before(order), |last| Token::before(last.order));
        let end = after.last.map_or(here, |last| Token(last.order));
        let mut before = self.dress(viewer, before.events).await?;
        let mut after = self.dress(viewer, after.events).await?;
        for part in [&mut before[..], &mut after[..]] {
            self.aggregate(viewer, part).await?;
        }
        Ok(Surroundings { start, end, before, after })
    }

    /// Collects events of a stretch that the viewer may see and the filter lets through.
    async fn walk(
        &self,
        viewer: &Viewer<'_>,
        stretch: Stretch,
        direction: Direction,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Found, Error> {
        let mut found = Found::default();
        let mut rest = stretch;
        let horizon = self.horizon(viewer.user);
        if let Some(horizon) = &horizon {
            let floor = self.floor_in(horizon, stretch.room).await?;
            found.is_bounded = rest.after < floor;
            rest.after = rest.after.max(floor);
            if rest.after >= rest.through {
                found.exhausted = true;
                return Ok(found);
            }
        }
        // Where it is not known when things came, a whole part that claims to be older is taken for the end.
        let ends_by_word = horizon.filter(|_| direction == Direction::Backward && !found.is_bounded);
        let mut looked_at = 0;
        while found.events.len() < limit && looked_at < MAX_ROWS {
            let wanted = (limit - found.events.len()).max(20);
            let rows = self.timeline(rest, direction, wanted).await?;
            found.exhausted = rows.len() < wanted;
            looked_at += rows.len();
            let Some(last) = rows.last().copied() else { break };
            let places: Vec<_> = rows.iter().map(|entry| (stretch.room, *entry)).collect();
            let events = self.events_of(&places).await?;
            let sights = self.sights(viewer.user, &events).await?;
            found.last = Some(last);
            if ends_by_word.is_some_and(|horizon| events.iter().all(|event| horizon.is_claimed(event))) {
                (found.exhausted, found.is_bounded) = (true, true);
                break;
            }
            for ((event, sight), entry) in events.into_iter().zip(sights).zip(&rows) {
                if sight.visible && !viewer.is_spared(&event) && filter.passes(&event) {
                    found.events.push((event, sight));
                    if found.events.len() == limit {
                        found.exhausted = found.exhausted && entry.order == last.order;
                        found.last = Some(*entry);
                        return Ok(found);
                    }
                }
            }
            match direction {
                Direction::Backward => rest.through = Token::before(last.order),
                Direction::Forward => rest.after = Token(last.order),
            }
            if found.exhausted {
                break;
            }
        }
        Ok(found)
    }

    async fn dress(
        &self,
        viewer: &Viewer<'_>,
        events: Vec<(Arc<StoredEvent>, Sight)>,
    ) -> Result<Vec<Look>, Error> {
        let (events, sights): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        let memberships: Vec<_> =
            sights.into_iter().map(|sight| Some(sight.membership.unwrap_or(Membership::Leave))).collect();
        self.looks(viewer, events, &memberships).await
    }

    /// The member events of those who sent these events, if members are loaded lazily.
    async fn lazy_members(
        &self,
        viewer: &Viewer<'_>,
        room: &RoomInfo,
        standpoint: &Standpoint,
        events: &[(Arc<StoredEvent>, Sight)],
        lazy: LazyMembers,
    ) -> Result<Vec<Look>, Error> {
        if lazy == LazyMembers::Off || events.is_empty() {
            return Ok(Vec::new());
        }
        let mut senders: Vec<&str> = events.iter().map(|(event, _)| event.sender().as_str()).collect();
        senders.sort_unstable();
        senders.dedup();
        let mut members = self.members_in(room.serial, standpoint.root, &senders).await?;
        let lacking = self.lacking_senders(&members, events.iter().map(|(event, _)| event)).await?;
        members.extend(lacking);
        self.looks(viewer, members, &[]).await
    }

    /// Those of the senders of events who are not among some members, each once, as far as the room lacks members.
    async fn lacking_senders(
        &self,
        members: &[Arc<StoredEvent>],
        events: impl Iterator<Item = &Arc<StoredEvent>>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut known: HashSet<&str> = members
            .iter()
            .filter(|event| event.membership().is_some())
            .filter_map(|event| event.state_key())
            .collect();
        let said: Vec<&Arc<StoredEvent>> =
            events.filter(|event| event.meta().partial && known.insert(event.sender().as_str())).collect();
        Ok(self.senders_as_named(&said).await?.into_iter().flatten().collect())
    }

    /// The member events of these users in a snapshot, as far as there are any.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn members_in(
        &self,
        room: RoomSerial,
        root: Root,
        users: &[&str],
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let queries: Vec<_> =
            users.iter().map(|user| StateQuery { room, root, kind: "m.room.member", key: user }).collect();
        Ok(self.state_events(&queries).await?.into_iter().flatten().collect())
    }

    /// The member events of users in snapshots, in the order of `places`.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn members_at(
        &self,
        places: &[(RoomSerial, Root, &UserId)],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let queries: Vec<_> = places
            .iter()
            .map(|(room, root, user)| StateQuery {
                room: *room,
                root: *root,
                kind: "m.room.member",
                key: user.as_str(),
            })
            .collect();
        self.state_events(&queries).await
    }
}

/// Another token for the place before everything that we have: clients take the same one for the end. Below
/// the oldest event one place is always free (the floor of the head), so there are two.
fn other_token(from: Token, floor: Option<u64>) -> Token {
    let floor = floor.map_or(Token::START, |floor| Token(Order::history(floor)));
    if from == floor { Token::before(floor.0) } else { floor }
}

/// The place behind a row, in the direction of reading.
fn past(order: Order, direction: Direction) -> Token {
    match direction {
        Direction::Backward => Token::before(order),
        Direction::Forward => Token(order),
    }
}
