//! The auth graph of a room: which events an event refers to for its right, which those refer to, and so on.
//!
//! Of every event that others may refer to there is a row with its edges alone ([`AUTH`]), written in the event's own
//! batch. Who asks takes an [`AuthGraph`] for all of his walks, in which that part of the graph where they went stands as
//! numbers (`nodes`). What a walk meets that is not there is taken from what is kept in memory of all rooms (`kept`),
//! then read in plural, and where the graph turns out to be wide or deep, with the page around it; pages grow with
//! their number. So no read follows the depth of the graph, nothing is computed or locked when an event is written, and
//! a chain that somebody makes long on purpose costs its length in memory and no more.
//!
//! What an event refers to never changes once all of it is here, so nothing is invalidated. Events without a row, those
//! that lacked something when they were stored or that nobody can rightly refer to, are looked at themselves.

use room::{Error, ids::EventSerial};

mod kept;
mod nodes;
mod rows;

use std::collections::HashSet;

use store::Order;

use self::kept::Edges;
pub(crate) use self::kept::Kept;
use self::nodes::{Marks, Nodes};
#[cfg(test)]
pub(crate) use self::rows::AuthRow;
pub use self::rows::index_auth;
use self::rows::names_what_is_here;
pub(crate) use self::rows::{AUTH, note_auth};
use crate::view::View;

/// How many rows are read, and from how many events a walk goes on, at a time.
const AT_ONCE: usize = 4_096;
/// How many rows the first page has; each one after it has twice as many.
const FIRST_PAGE: usize = 64;
/// With more unread events than this, or after so many rounds, what is around them is taken too.
const WIDE: usize = 256;
const DEEP: usize = 3;

/// That part of a room's auth graph where somebody's walks went.
#[derive(Default)]
pub(crate) struct AuthGraph {
    nodes: Nodes,
    /// How many pages were read.
    pages: u32,
}

/// A walk over the auth graph of a room, which visits no event twice.
pub(crate) struct AuthWalk<'a> {
    view: View<'a>,
    graph: &'a mut AuthGraph,
    reached: Marks,
    /// Events whose auth events are still to be reached.
    pending: Vec<u32>,
    /// How often the walk stopped at events that were not known, and how often the store was asked then.
    rounds: usize,
    reads: usize,
    /// The newest event of the last page.
    newest: EventSerial,
}

impl<'a> View<'a> {
    /// A walk that has reached nothing yet. A graph must be walked by views of one room alone that see the same of it.
    pub(crate) fn auth_walk(&self, graph: &'a mut AuthGraph) -> AuthWalk<'a> {
        AuthWalk {
            view: *self,
            graph,
            reached: Marks::default(),
            pending: Vec::new(),
            rounds: 0,
            reads: 0,
            newest: EventSerial(u64::MAX),
        }
    }

    /// The auth chain of some events: all events that they refer to as auth events, and so on. The
    /// events themselves are in it only where another one refers to them.
    ///
    /// Of an event that is not here, what it refers to is left out.
    #[crate::boxed]
    pub(crate) async fn auth_chain(
        &self,
        graph: &mut AuthGraph,
        of: &[EventSerial],
    ) -> Result<HashSet<EventSerial>, Error> {
        let mut walk = self.auth_walk(graph);
        walk.go(of).await?;
        Ok(walk.reached())
    }
}

impl AuthWalk<'_> {
    /// Reaches all that these events refer to, and so on.
    #[crate::boxed]
    pub(crate) async fn go(&mut self, from: &[EventSerial]) -> Result<(), Error> {
        for part in from.chunks(AT_ONCE) {
            let nodes = &mut self.graph.nodes;
            self.pending.extend(part.iter().map(|event| nodes.number(*event)));
            while let unread = self.advance()
                && !unread.is_empty()
            {
                self.read(unread).await?;
            }
            // A large room is many steps that need not wait.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Whether an event was reached.
    pub(crate) fn has(&self, event: EventSerial) -> bool {
        self.graph.nodes.find(event).is_some_and(|number| self.reached.has(number))
    }

    /// All that was reached.
    pub(crate) fn reached(&self) -> HashSet<EventSerial> {
        self.reached.iter().filter_map(|number| self.graph.nodes.serial(number)).collect()
    }

    /// Goes as far as what is known leads. Answers the events whose auth events are not.
    fn advance(&mut self) -> Vec<EventSerial> {
        let nodes = &self.graph.nodes;
        let mut unread = Vec::new();
        while let Some(number) = self.pending.pop() {
            match nodes.auth(number) {
                Some(auth) => {
                    let new = auth.iter().filter(|target| self.reached.set(**target));
                    self.pending.extend(new);
                }
                None => unread.extend(nodes.serial(number)),
            }
        }
        unread
    }

    /// Finds out what events refer to, so that the walk can go on from them.
    async fn read(&mut self, unread: Vec<EventSerial>) -> Result<(), Error> {
        let (fresh, mut missing): (Vec<_>, Vec<_>) =
            unread.iter().partition(|event| self.view.fresh_event(**event).is_some());
        let mut bare = self.look_at_fresh(fresh);
        self.rounds += 1;
        missing.sort_unstable();
        self.take_kept(&mut missing);
        if !missing.is_empty() {
            self.reads += 1;
        }
        if missing.len() > WIDE || self.reads > DEEP {
            self.read_page(&missing).await?;
            missing.retain(|event| !self.graph.nodes.knows(*event));
        }
        for part in missing.chunks(AT_ONCE) {
            bare.extend(self.read_rows(part).await?);
        }
        let nodes = &self.graph.nodes;
        let known = unread.into_iter().filter(|event| nodes.knows(*event));
        self.pending.extend(known.filter_map(|event| nodes.find(event)));
        self.look_at(&bare).await
    }

    /// Takes what events refer to that are on their way to disk; answers those that lacked something.
    fn look_at_fresh(&mut self, fresh: Vec<EventSerial>) -> Vec<EventSerial> {
        let mut bare = Vec::new();
        for event in fresh {
            match self.view.fresh_event(event).filter(|event| names_what_is_here(event)) {
                Some(found) => self.graph.nodes.add(event, &found.meta().auth),
                None => bare.push(event),
            }
        }
        bare
    }

    /// Takes what is kept in memory off the list.
    fn take_kept(&mut self, missing: &mut Vec<EventSerial>) {
        let around = self.rounds > DEEP;
        let nodes = &mut self.graph.nodes;
        let kept = &self.view.engine.0.auth_kept;
        kept.find(self.view.room.serial, missing, around, |event, auth| nodes.add(event, auth));
        missing.retain(|event| !self.graph.nodes.knows(*event));
    }

    /// Notes what was read, in the order of the events.
    fn add(&mut self, rows: &[Edges]) {
        for (event, auth) in rows {
            self.graph.nodes.add(*event, auth);
        }
        self.view.engine.0.auth_kept.keep(self.view.room.serial, rows);
    }

    /// Reads the rows of these events; answers those that have none.
    async fn read_rows(&mut self, events: &[EventSerial]) -> Result<Vec<EventSerial>, Error> {
        let keys: Vec<_> = events.iter().map(|event| (self.view.room.serial, *event)).collect();
        let found = self.view.engine.store().get_many(&AUTH, &keys).await?;
        let mut rows = Vec::with_capacity(events.len());
        let mut bare = Vec::new();
        for (event, row) in events.iter().zip(found) {
            match row {
                Some(row) => rows.push((*event, row.auth)),
                None => bare.push(*event),
            }
        }
        self.add(&rows);
        Ok(bare)
    }

    /// Reads the rows around these events. What they refer to is mostly older, and so are its serials; but where several
    /// processes write a room, it may be the other way.
    async fn read_page(&mut self, events: &[EventSerial]) -> Result<(), Error> {
        let (Some(oldest), Some(newest)) = (events.first(), events.last()) else { return Ok(()) };
        let room = self.view.room.serial;
        let goes_down = *newest < self.newest;
        self.newest = *newest;
        let range = store::Range::prefix(&room);
        let (range, order) = match goes_down {
            true => (range.through(&(room, *newest)), Order::Descending),
            false => (range.from(&(room, *oldest)), Order::Ascending),
        };
        let doubled = FIRST_PAGE.checked_shl(self.graph.pages).unwrap_or(AT_ONCE);
        let size = doubled.max(events.len()).min(AT_ONCE);
        self.graph.pages = (self.graph.pages + 1).min(AT_ONCE.ilog2());
        let found = self.view.engine.store().scan(&AUTH, range, order, size).await?;
        let mut rows: Vec<Edges> = found.into_iter().map(|((_, event), row)| (event, row.auth)).collect();
        if goes_down {
            rows.reverse();
        }
        self.add(&rows);
        Ok(())
    }

    /// Goes on from events without a row: by what they name, as far as that is here by now.
    async fn look_at(&mut self, events: &[EventSerial]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = self.view.events(events).await?.into_iter().flatten().collect();
        let named: HashSet<_> = events.iter().flat_map(|event| event.pdu().auth_events().to_vec()).collect();
        let named: Vec<_> = named.into_iter().collect();
        let here = self.view.find_serials(&named).await?;
        for event in here.into_iter().flatten() {
            let number = self.graph.nodes.number(event);
            if self.reached.set(number) {
                self.pending.push(number);
            }
        }
        Ok(())
    }
}
