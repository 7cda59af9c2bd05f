//! Timelines: the events of a room in the order in which clients see them.
//!
//! Live events stand in the order of their commits, events backfilled later lie before all of them.
//! `/sync` asks for the live end again and again; so the newest rows of each room are kept in memory
//! (a [`Tail`]) as far as they are known, and read on only when the store knows that the room moved:
//! fifty readers that one message wakes cost one read.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use base::{Cache, Caches};
use parking_lot::Mutex;
use ruma::RoomId;
use store::{Committed, Moved, Position, Range, Slot, Store, Topic};

use crate::{
    Error, EventSerial, Order, RoomSerial, Rooms, Root,
    purge::known::AsOf,
    read::{event::StoredEvent, lacking::lacking_moved, room::RoomInfo, token::Token},
    tables::{TIMELINE, TimelineRow},
};

/// Rows of a room kept in memory at most.
const TAIL_ROWS: usize = 128;

/// A row of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The place.
    pub order: Order,
    /// The event.
    pub event: EventSerial,
    /// The room's state once it was there; for a backfilled event, the state after it.
    pub current: Root,
    /// Whether all that came just before it was missing here: the row before does not lead up to it.
    pub gap: bool,
}

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From older to newer.
    Forward,
    /// From newer to older.
    Backward,
}

/// A part of a room's timeline: what comes after one place and not after another.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// The room.
    pub room: RoomSerial,
    /// Where it begins.
    pub after: Token,
    /// Where it ends.
    pub through: Token,
}

/// What is asked of the live end of a room's timeline.
#[derive(Clone, Copy, Debug)]
pub struct RecentQuery<'a> {
    /// The room.
    pub room: RoomSerial,
    /// Its id.
    pub room_id: &'a RoomId,
    /// Only what was committed after this.
    pub after: Position,
    /// Only what was committed up to this.
    pub through: Position,
    /// At most this many rows, the newest.
    pub limit: usize,
}

/// The live end of a room's timeline.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// The newest rows, oldest first.
    pub entries: Vec<Entry>,
    /// The row before those; it may lie outside the stretch that was asked for.
    pub before: Option<Entry>,
    /// Whether the stretch holds more rows than `entries`.
    pub more: bool,
}

/// The newest live rows of a room, complete from the first of them on.
#[derive(Debug, Default)]
struct Tail {
    /// Up to here all is known.
    through: Position,
    /// Oldest first.
    rows: VecDeque<Entry>,
    /// Whether there is nothing live before the first row.
    from_start: bool,
}

/// A room's tail, and the lock under which it is read on.
#[derive(Debug, Default)]
struct TailCell {
    tail: Mutex<Option<Tail>>,
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// A tail's cell, and what the tail took when it was last read on.
#[derive(Clone, Debug, Default)]
struct KeptTail {
    cell: Arc<TailCell>,
    bytes: usize,
}

/// A cell without its tail's rows: two locks and their counts.
const CELL_BYTES: usize = size_of::<TailCell>() + size_of::<tokio::sync::Mutex<()>>() + 32;

/// Tails of recently read rooms.
#[derive(Debug)]
pub(crate) struct TailCache {
    rooms: Cache<RoomSerial, KeptTail>,
    as_of: AsOf,
    landed: Mutex<Landed>,
}

/// What the group of batches that lands now has appended so far: where nobody else sees yet that a room moved.
#[derive(Debug, Default)]
struct Landed {
    /// Which group: the head after it.
    group: Position,
    /// The last position of each room's batches.
    rooms: HashMap<RoomSerial, Position>,
}

impl Landed {
    /// Notes a batch; the last position of the one before it in the same group and room.
    fn note(&mut self, room: RoomSerial, committed: &Committed) -> Option<Position> {
        if self.group != committed.head() {
            *self = Landed { group: committed.head(), rooms: HashMap::new() };
        }
        self.rooms.insert(room, committed.last())
    }
}

impl TailCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let rooms = Cache::new(caches, "room_tails", bytes, |_, kept: &KeptTail| CELL_BYTES + kept.bytes);
        Self { rooms, as_of: AsOf::default(), landed: Mutex::default() }
    }

    /// The same with no rows that were written anew since, as they are when the members of a room come: that is seldom,
    /// and then all are read again.
    fn fresh(&self, store: &Store) -> &Self {
        self.as_of.renew_by(store, lacking_moved(), || self.rooms.clear());
        self
    }

    fn cell(&self, room: RoomSerial) -> Arc<TailCell> {
        match self.rooms.get(&room) {
            Some(kept) => kept.cell,
            None => {
                // Two cells at once only cost a read.
                let kept = KeptTail::default();
                self.rooms.insert(room, kept.clone());
                kept.cell
            }
        }
    }

    /// Charges a tail as it is now.
    fn charge(&self, room: RoomSerial, cell: &Arc<TailCell>) {
        let rows = cell.tail.lock().as_ref().map_or(0, |tail| tail.rows.capacity());
        self.rooms.insert(room, KeptTail { cell: cell.clone(), bytes: rows * size_of::<Entry>() });
    }
}

impl Tail {
    /// Answers from memory; `None` when the tail does not reach back far enough.
    fn answer(&self, query: &RecentQuery<'_>) -> Option<Recent> {
        let (after, through) = (Order::live(query.after), Order::live(query.through));
        let end = self.rows.partition_point(|row| row.order <= through);
        let first_new = self.rows.partition_point(|row| row.order <= after).min(end);
        let start = first_new.max(end.saturating_sub(query.limit));
        // The row before must be here as well, or be known not to be.
        if start == 0 && !self.from_start {
            return None;
        }
        Some(Recent {
            entries: self.rows.range(start..end).copied().collect(),
            before: start.checked_sub(1).map(|index| self.rows[index]),
            more: start > first_new,
        })
    }

    /// Puts the rows that follow (oldest first) at the end.
    fn extend(&mut self, rows: impl IntoIterator<Item = Entry>, through: Position) {
        let known = self.rows.back().map(|row| row.order);
        self.rows.extend(rows.into_iter().filter(|row| known.is_none_or(|known| row.order > known)));
        while self.rows.len() > TAIL_ROWS {
            self.rows.pop_front();
            self.from_start = false;
        }
        self.through = self.through.max(through);
    }
}

pub(crate) fn entry(((_, order), row): ((RoomSerial, Order), TimelineRow)) -> Entry {
    Entry { order, event: row.event, current: row.current, gap: row.gap }
}

impl Rooms {
    /// The live ends of many rooms' timelines, in the order of `queries`.
    ///
    /// Rooms that did not move since they were last read cost no read, all others one together.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn recent(&self, queries: &[RecentQuery<'_>]) -> Result<Vec<Recent>, Error> {
        let tails = self.reader().tails.fresh(self.store());
        let cells: Vec<Arc<TailCell>> = queries.iter().map(|query| tails.cell(query.room)).collect();
        self.read_on(queries, &cells).await?;

        let mut answers: Vec<Option<Recent>> = queries
            .iter()
            .zip(&cells)
            .map(|(query, cell)| {
                let tail = cell.tail.lock();
                tail.as_ref().filter(|tail| tail.through >= query.through).and_then(|tail| tail.answer(query))
            })
            .collect();

        // What memory does not reach is read as it is asked for, one row further.
        let missing: Vec<usize> = (0..queries.len()).filter(|index| answers[*index].is_none()).collect();
        if !missing.is_empty() {
            let limit = missing.iter().map(|index| queries[*index].limit).max().unwrap_or(0);
            let stretches: Vec<Stretch> = missing
                .iter()
                .map(|index| &queries[*index])
                .map(|query| Stretch {
                    room: query.room,
                    after: Token::after(Position::START),
                    through: Token::after(query.through),
                })
                .collect();
            let found = self.scan_timelines(&stretches, Direction::Backward, limit.saturating_add(1)).await?;
            for (index, mut rows) in missing.into_iter().zip(found) {
                rows.reverse();
                let tail = Tail { through: queries[index].through, rows: rows.into(), from_start: true };
                answers[index] = tail.answer(&queries[index]);
            }
        }
        Ok(answers.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Puts what a batch has appended to a room's timeline at the end of its tail, if there is one and it reaches up to
    /// there. To be called as [`Store::submit_with`] calls, for every batch that appends to a timeline.
    pub fn extend_tail(&self, room: &RoomInfo, shown: &[(Slot, TimelineRow)], committed: &Committed) {
        // Over shared data others may have written in between.
        if shown.is_empty() || self.store().is_shared() {
            return;
        }
        let tails = &self.reader().tails;
        // Also where there is no tail: one that is put there before the next batch of the group lands lacks this one.
        let before = tails.landed.lock().note(room.serial, committed);
        let Some(kept) = tails.rooms.get(&room.serial) else { return };
        if let Some(tail) = &mut *kept.cell.tail.lock() {
            let lacks_what_landed = before.is_some_and(|before| tail.through < before);
            let topic = Topic::room(room.room_id.as_str());
            if lacks_what_landed || self.store().moved(topic, tail.through) != Moved::No {
                return;
            }
            let rows = shown.iter().map(|(slot, row)| {
                let order = Order::live(committed.position(*slot));
                Entry { order, event: row.event, current: row.current, gap: row.gap }
            });
            tail.extend(rows, committed.last());
        }
        tails.charge(room.serial, &kept.cell);
    }

    /// Brings the tails of these rooms up to the head.
    async fn read_on(&self, queries: &[RecentQuery<'_>], cells: &[Arc<TailCell>]) -> Result<(), Error> {
        let is_stale = |query: &RecentQuery<'_>, cell: &TailCell| match &*cell.tail.lock() {
            None => true,
            Some(tail) => {
                tail.through < query.through
                    && self.store().moved(Topic::room(query.room_id.as_str()), tail.through) != Moved::No
            }
        };
        let mut stale: Vec<usize> =
            (0..queries.len()).filter(|index| is_stale(&queries[*index], &cells[*index])).collect();
        if !stale.is_empty() {
            // In the order of serials, so that two readers never wait for each other.
            stale.sort_unstable_by_key(|index| queries[*index].room);
            stale.dedup_by_key(|index| queries[*index].room);
            let mut guards = Vec::with_capacity(stale.len());
            for index in &stale {
                guards.push(cells[*index].reading.clone().lock_owned().await);
            }
            // Somebody else may have read on while we waited.
            stale.retain(|index| is_stale(&queries[*index], &cells[*index]));
            self.read_tails(queries, cells, &stale).await?;
        }
        // What did not move is known up to the head that was asked for.
        for (query, cell) in queries.iter().zip(cells) {
            if let Some(tail) = &mut *cell.tail.lock()
                && tail.through < query.through
                && self.store().moved(Topic::room(query.room_id.as_str()), tail.through) == Moved::No
            {
                tail.through = query.through;
            }
        }
        Ok(())
    }

    async fn read_tails(
        &self,
        queries: &[RecentQuery<'_>],
        cells: &[Arc<TailCell>],
        stale: &[usize],
    ) -> Result<(), Error> {
        if stale.is_empty() {
            return Ok(());
        }
        let head = self.store().head();
        let mut fresh = Vec::new();
        let mut known = Vec::new();
        for index in stale {
            match &*cells[*index].tail.lock() {
                Some(tail) => known.push((*index, tail.through)),
                None => fresh.push(*index),
            }
        }

        let following: Vec<Stretch> = known
            .iter()
            .map(|(index, through)| Stretch {
                room: queries[*index].room,
                after: Token::after(*through),
                through: Token::after(head),
            })
            .collect();
        let following = self.scan_timelines(&following, Direction::Forward, TAIL_ROWS).await?;
        for ((index, _), rows) in known.into_iter().zip(following) {
            if rows.len() >= TAIL_ROWS {
                // Far behind: what is in between is of no use.
                fresh.push(index);
            } else {
                if let Some(tail) = &mut *cells[index].tail.lock() {
                    tail.extend(rows, head);
                }
                self.reader().tails.charge(queries[index].room, &cells[index]);
            }
        }

        let wanted = |index: &usize| queries[*index].limit.saturating_add(1).clamp(24, TAIL_ROWS);
        let limit = fresh.iter().map(wanted).max().unwrap_or(0);
        let whole: Vec<Stretch> = fresh
            .iter()
            .map(|index| Stretch {
                room: queries[*index].room,
                after: Token::after(Position::START),
                through: Token::after(head),
            })
            .collect();
        let newest = self.scan_timelines(&whole, Direction::Backward, limit).await?;
        for (index, mut rows) in fresh.into_iter().zip(newest) {
            let from_start = rows.len() < limit;
            rows.reverse();
            // They are kept, and were made in the place of larger rows.
            rows.shrink_to_fit();
            *cells[index].tail.lock() = Some(Tail { through: head, rows: rows.into(), from_start });
            self.reader().tails.charge(queries[index].room, &cells[index]);
        }
        // Written anew while they were read: they are read again by who comes next, and here as they are asked for.
        if self.store().moved(lacking_moved(), head) != Moved::No {
            stale.iter().for_each(|index| *cells[*index].tail.lock() = None);
        }
        Ok(())
    }

    /// Rows of many timelines, at most `limit` of each, in the order of `stretches`.
    pub(crate) async fn scan_timelines(
        &self,
        stretches: &[Stretch],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, Error> {
        if stretches.is_empty() {
            return Ok(Vec::new());
        }
        let order = match direction {
            Direction::Forward => store::Order::Ascending,
            Direction::Backward => store::Order::Descending,
        };
        let ranges = stretches
            .iter()
            .map(|stretch| {
                Range::prefix(&stretch.room)
                    .after(&(stretch.room, stretch.after.0))
                    .through(&(stretch.room, stretch.through.0))
            })
            .collect::<Vec<_>>();
        let rows = self.store().scan_many(&TIMELINE, ranges, order, limit).await?;
        Ok(rows.into_iter().map(|rows| rows.into_iter().map(entry).collect()).collect())
    }

    /// A page of a room's timeline.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn timeline(
        &self,
        stretch: Stretch,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        Ok(self.scan_timelines(&[stretch], direction, limit).await?.into_iter().next().unwrap_or_default())
    }

    /// The room's current state as it was at a place: with all live events up to it, and none later.
    ///
    /// `None` when the place is before everything we have.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn state_at(&self, room: RoomSerial, place: Token) -> Result<Option<Root>, Error> {
        let stretch = Stretch { room, after: Token::START, through: place };
        let row = self.timeline(stretch, Direction::Backward, 1).await?;
        Ok(row.first().map(|entry| entry.current))
    }

    /// As [`Rooms::state_at`], for many rooms.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn states_at(&self, rooms: &[RoomSerial], place: Token) -> Result<Vec<Option<Root>>, Error> {
        let stretches: Vec<_> =
            rooms.iter().map(|room| Stretch { room: *room, after: Token::START, through: place }).collect();
        let rows = self.scan_timelines(&stretches, Direction::Backward, 1).await?;
        Ok(rows.iter().map(|rows| rows.first().map(|entry| entry.current)).collect())
    }

    /// The events of rows of timelines, in their order.
    ///
    /// An event is loaded anew when what is cached is from before it got its place.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Inconsistent`] when one is not there.
    pub async fn events_of(&self, rows: &[(RoomSerial, Entry)]) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let wanted: Vec<_> = rows.iter().map(|(room, entry)| (*room, entry.event)).collect();
        let mut events = self.load_events(&wanted).await?;
        let outdated: Vec<_> = wanted
            .iter()
            .zip(&events)
            .filter(|(_, event)| event.as_ref().is_some_and(|event| event.order().is_none()))
            .map(|(key, _)| *key)
            .collect();
        if !outdated.is_empty() {
            let anew = self.load_uncached(&outdated).await?;
            let anew: HashMap<EventSerial, _> =
                outdated.iter().map(|(_, serial)| *serial).zip(anew).collect();
            for ((_, serial), event) in wanted.iter().zip(&mut events) {
                if let Some(newer) = anew.get(serial) {
                    event.clone_from(newer);
                }
            }
        }
        events
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or(Error::Inconsistent("an event of a timeline is not there"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn row(position: u64) -> Entry {
        Entry {
            order: Order::live(Position(position)),
            event: EventSerial(position),
            current: Root::EMPTY,
            gap: false,
        }
    }

    fn query(after: u64, through: u64, limit: usize) -> RecentQuery<'static> {
        RecentQuery {
            room: RoomSerial(1),
            room_id: ruma::room_id!("!r:x"),
            after: Position(after),
            through: Position(through),
            limit,
        }
    }

    fn positions(recent: &Recent) -> Vec<u64> {
        recent.entries.iter().map(|entry| entry.event.0).collect()
    }

    #[test]
    fn a_tail_answers_what_it_holds_and_nothing_else() {
        let tail = Tail { through: Position(9), rows: (3..=8).map(row).collect(), from_start: false };
        let all_new = tail.answer(&query(5, 9, 10)).unwrap();
        assert_eq!((positions(&all_new), all_new.more), (vec![6, 7, 8], false));
        assert_eq!(all_new.before.unwrap().event.0, 5);
        let limited = tail.answer(&query(0, 8, 2)).unwrap();
        assert_eq!((positions(&limited), limited.more), (vec![7, 8], true));
        let nothing = tail.answer(&query(8, 9, 10)).unwrap();
        assert_eq!((positions(&nothing), nothing.before.unwrap().event.0), (vec![], 8));
        assert!(tail.answer(&query(0, 9, 10)).is_none());
        let start = Tail { from_start: true, ..tail };
        let whole = start.answer(&query(0, 9, 10)).unwrap();
        assert_eq!((positions(&whole), whole.before.is_none(), whole.more), ((3..=8).collect(), true, false));
    }

    #[test]
    fn a_tail_takes_no_row_twice_and_stays_bounded() {
        let mut tail = Tail { through: Position(3), rows: (1..=3).map(row).collect(), from_start: true };
        tail.extend((2..=400).map(row), Position(400));
        assert_eq!(tail.rows.len(), TAIL_ROWS);
        assert_eq!(tail.rows.back().unwrap().event.0, 400);
        assert!(!tail.from_start);
        assert!(tail.rows.iter().zip(tail.rows.iter().skip(1)).all(|(a, b)| a.order.0 + 1 == b.order.0));
    }
    #[test]
    fn tails_are_charged_what_they_take() {
        for rows in [0, 24, 128] {
            let (cache, in_use) = meter::kept(|| {
                let cache = TailCache::new(&Caches::new(), 1 << 24);
                for room in (0..1_000).map(RoomSerial) {
                    let cell = cache.cell(room);
                    let rows: Vec<_> = (0..rows).map(row).collect();
                    *cell.tail.lock() =
                        Some(Tail { through: Position(9), rows: rows.into(), from_start: true });
                    cache.charge(room, &cell);
                }
                cache
            });
            meter::assert_charged(&format!("{rows} rows"), cache.rooms.bytes(), in_use);
        }
    }
}
