//! Which events a user was notified of, newest first, in all rooms that he is in.
//!
//! Each room's timeline is read backwards as far as it is needed for the page; the room whose next event is the newest
//! comes next. Nothing is kept between pages but the place in the order of commits.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#listing-notifications>

use std::{
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    str::FromStr,
    sync::Arc,
};

use room::{
    Order,
    read::{
        event::StoredEvent,
        membership::UserRoom,
        receipts::ReadUpTo,
        timeline::{Direction, Entry, RecentQuery, Stretch},
        token::Token,
    },
    tables::Membership,
};
use ruma::{OwnedUserId, UserId, push::Action};
use store::Position;

use crate::{
    Error, Push,
    rules::{Rules, Surroundings},
    unread::name_in,
};

/// Most notifications on a page, and rows that are looked at for one.
const MOST: usize = 100;
const MOST_ROWS: usize = 3_000;

/// Rows of a room that are read together, and rooms whose newest row is.
const ROWS: usize = 50;
const ROOMS: usize = 200;

const PREFIX: &str = "n1_";

/// A place in the list: what comes next was committed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationToken(Position);

impl FromStr for NotificationToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.bytes().all(|it| it.is_ascii_digit()));
        let position = digits.and_then(|digits| digits.parse().ok()).ok_or(Error::BadToken)?;
        Ok(Self(Position(position)))
    }
}

impl std::fmt::Display for NotificationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", self.0.0)
    }
}

/// Which notifications are wanted.
#[derive(Clone, Copy, Debug)]
pub struct NotificationQuery {
    /// Where to go on; the newest when none.
    pub from: Option<NotificationToken>,
    /// At most this many, and at most 100.
    pub limit: usize,
    /// Only those that are to be shown in another way, mostly mentions.
    pub only_highlights: bool,
}

/// An event that a user was notified of.
#[derive(Clone, Debug)]
pub struct Notified {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// What his clients were to do.
    pub actions: Vec<Action>,
    /// Whether he has read it.
    pub read: bool,
}

/// A page of notifications.
#[derive(Clone, Debug, Default)]
pub struct Notifications {
    /// Newest first.
    pub notified: Vec<Notified>,
    /// Where to go on, if there may be more.
    pub next: Option<NotificationToken>,
}

/// A room that is being read backwards.
struct Reading<'a> {
    row: &'a UserRoom,
    /// What was read and notifies, newest first.
    ready: VecDeque<(Position, Notified)>,
    /// Up to where it was not read; nothing is left when none.
    rest: Option<Position>,
    read: Option<ReadUpTo>,
}

impl Reading<'_> {
    /// Where its next event stands, at most.
    fn next(&self) -> Option<Position> {
        self.ready.front().map(|(position, _)| *position).or(self.rest)
    }
}

impl Push {
    /// The events that a user was notified of, newest first, by his rules of now.
    ///
    /// A page may hold less than was asked for, and nothing at all, though more follows.
    ///
    /// # Errors
    /// [`Error::Room`], [`Error::Account`], [`Error::Store`].
    pub async fn notifications(
        &self,
        user: &UserId,
        ignored: &HashSet<OwnedUserId>,
        query: &NotificationQuery,
    ) -> Result<Notifications, Error> {
        let rules = self.rules(user).await?;
        let head = self.store().head();
        let through =
            query.from.map_or(head, |NotificationToken(from)| Position(from.0.saturating_sub(1)).min(head));
        let memberships = self.rooms().memberships(user).await?;
        let rows: Vec<&UserRoom> = memberships.with(Membership::Join).collect();
        let mut rooms = self.newest(&rows, through).await?;

        let mut heap: BinaryHeap<(Position, usize)> =
            rooms.iter().enumerate().filter_map(|(index, room)| Some((room.next()?, index))).collect();
        let mut page = Notifications::default();
        let mut left = MOST_ROWS;
        while let Some((position, index)) = heap.pop() {
            let room = &mut rooms[index];
            if let Some((_, notified)) = room.ready.pop_front() {
                if !query.only_highlights || notified.actions.iter().any(Action::is_highlight) {
                    page.notified.push(notified);
                }
                if page.notified.len() >= query.limit.clamp(1, MOST) {
                    page.next = Some(NotificationToken(position));
                    break;
                }
            } else if left == 0 {
                page.next = Some(NotificationToken(Position(position.0.saturating_add(1))));
                break;
            } else {
                left = left.saturating_sub(self.read_back(user, &rules, ignored, room).await?);
            }
            heap.extend(rooms[index].next().map(|next| (next, index)));
        }
        Ok(page)
    }

    /// Where the newest events of rooms stand.
    async fn newest<'a>(&self, rows: &[&'a UserRoom], through: Position) -> Result<Vec<Reading<'a>>, Error> {
        let mut rooms = Vec::with_capacity(rows.len());
        for some in rows.chunks(ROOMS) {
            let queries: Vec<_> = some
                .iter()
                .map(|row| RecentQuery {
                    room: row.room,
                    room_id: &row.room_id,
                    after: row.position,
                    through,
                    limit: 1,
                })
                .collect();
            for (row, recent) in some.iter().zip(self.rooms().recent(&queries).await?) {
                let rest = recent.entries.last().and_then(|entry| entry.order.position());
                rooms.push(Reading { row, ready: VecDeque::new(), rest, read: None });
            }
        }
        Ok(rooms)
    }

    /// Reads on in a room, and answers with how many rows.
    async fn read_back(
        &self,
        user: &UserId,
        rules: &Rules,
        ignored: &HashSet<OwnedUserId>,
        reading: &mut Reading<'_>,
    ) -> Result<usize, Error> {
        let Some(through) = reading.rest.take() else { return Ok(1) };
        let room = reading.row.room;
        let stretch =
            Stretch { room, after: Token::after(reading.row.position), through: Token::after(through) };
        let entries = self.rooms().timeline(stretch, Direction::Backward, ROWS).await?;
        if entries.len() == ROWS {
            let last = entries.last().and_then(|entry| entry.order.position());
            reading.rest = last.map(|last| Position(last.0.saturating_sub(1)));
        }
        let Some(newest) = entries.first() else { return Ok(1) };
        let members = self.rooms().member_counts(&[room]).await?;
        let members = members.first().map(|counts| counts.joined);
        let member = self.rooms().members_at(&[(room, newest.current, user)]).await?.pop().flatten();
        let name = member.and_then(|member| name_in(&member));
        if reading.read.is_none() {
            reading.read = self.rooms().read_up_to(user, &[room]).await?.pop();
        }
        let read = reading.read.clone().unwrap_or_default();

        let horizon = self.rooms().horizon(user);
        if horizon.is_some_and(|horizon| reading.rest.is_some_and(|rest| rest <= horizon.came)) {
            reading.rest = None;
        }
        let rows: Vec<_> = entries.iter().map(|entry| (room, *entry)).collect();
        let events = self.rooms().events_of(&rows).await?;
        let subscribed = match rules.needs_threads {
            true => self.subscribed(user, &events).await?,
            false => HashMap::new(),
        };
        let mut found: Vec<(Entry, Arc<StoredEvent>, Vec<Action>)> = Vec::new();
        for (entry, event) in entries.iter().zip(events) {
            let is_nothing = event.meta().redacted_by.is_some() || ignored.contains(event.sender());
            let is_behind = horizon.is_some_and(|horizon| horizon.hides_event(&event));
            if is_nothing || is_behind || event.sender() == user {
                continue;
            }
            let facts = self.facts().of(&event);
            let power = match rules.needs_power || facts.may_notify_room() {
                true => self.power((room, entry.current)).await?,
                false => None,
            };
            let around = Surroundings {
                user,
                name: name.as_deref(),
                members,
                power: power.as_ref(),
                subscribed: subscribed.get(&event.serial()).copied(),
            };
            if let Some(rule) = rules.find(&facts, &around).filter(|rule| rule.notifies) {
                found.push((*entry, event, rule.actions.clone()));
            }
        }
        let events: Vec<_> = found.iter().map(|(_, event, _)| event.clone()).collect();
        let threads = self.rooms().threads_of(&events).await?;
        for ((entry, event, actions), thread) in found.into_iter().zip(threads) {
            let is_read = entry.order <= read.of(thread.as_ref().map(|thread| thread.as_str()))
                || (event.relation().is_some_and(|relation| !relation.is_thread())
                    && entry.order <= read.main);
            let position = entry.order.position().unwrap_or_default();
            debug_assert!(entry.order >= Order::live(Position::START), "nothing from before the user came");
            reading.ready.push_back((position, Notified { event, actions, read: is_read }));
        }
        Ok(entries.len())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let token = NotificationToken(Position(4_711));
        assert_eq!(token.to_string().parse::<NotificationToken>().unwrap(), token);
        for text in ["", "abc", "n1_", "n1_-3", "n1_+3", "s1_3", "n1_99999999999999999999"] {
            assert!(matches!(text.parse::<NotificationToken>(), Err(Error::BadToken)), "{text}");
        }
    }
}
