//! The auth graph of a room: which events an event refers to for its right, which those refer to, and so on.
//!
//! Of every event that others may refer to there is a row with its edges alone ([`AUTH`]), written in the event's own
//! batch; all of a room's graph is a few pages of such rows. What was read of it is kept in memory as numbers
//! (`nodes`). There a walk goes; what it meets that was not read yet it reads in plural, and where the graph turns
//! out to be wide or deep, with the page around it. So no read follows the depth of the graph, nothing is computed
//! or locked when an event is written, and a chain that somebody makes long on purpose costs its length in memory
//! and no more.
//!
//! What an event refers to never changes once all of it is here, so nothing is invalidated. Events without a row, those
//! that lacked something when they were stored or that nobody can rightly refer to, are looked at themselves.

mod nodes;
mod rows;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use parking_lot::{Mutex, RwLock};
use quick_cache::{Weighter, sync::Cache};
use store::Order;

use self::nodes::{Marks, Nodes};
#[cfg(test)]
pub(crate) use self::rows::AuthRow;
pub use self::rows::index_auth;
use self::rows::names_what_is_here;
pub(crate) use self::rows::{AUTH, note_auth};
use crate::{
    Error,
    ids::{EventSerial, RoomSerial},
    view::View,
};

/// How many rows are read, and from how many events a walk goes on, at a time.
const AT_ONCE: usize = 4_096;
/// With more unread events than this, or after so many rounds, the page around them is read too.
const WIDE: usize = 256;
const DEEP: usize = 3;

/// The auth graphs of rooms, as far as they are in memory.
#[derive(Debug)]
pub(crate) struct Graphs {
    used: Cache<RoomSerial, Kept, ByWeight>,
    /// Those that somebody walks: one that is too large to be kept is in memory once all the same.
    walked: Mutex<HashMap<RoomSerial, Weak<Graph>>>,
}

#[derive(Debug, Default)]
struct Graph(RwLock<Nodes>);

/// A graph with what it weighed when it was put into the cache, which counts on that.
#[derive(Clone, Debug)]
struct Kept {
    graph: Arc<Graph>,
    weight: usize,
}

#[derive(Clone, Debug)]
struct ByWeight;

impl Weighter<RoomSerial, Kept> for ByWeight {
    fn weight(&self, _: &RoomSerial, kept: &Kept) -> u64 {
        (128 + kept.weight) as u64
    }
}

impl Graphs {
    /// Keeps about so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        // Few and large: in one part, or none might hold the graph of a large room.
        const ITEMS: usize = 16;
        Self { used: Cache::with_weighter(ITEMS, bytes, ByWeight), walked: Mutex::default() }
    }

    fn graph(&self, room: RoomSerial) -> Arc<Graph> {
        if let Some(kept) = self.used.get(&room) {
            return kept.graph;
        }
        let mut walked = self.walked.lock();
        if let Some(graph) = walked.get(&room).and_then(Weak::upgrade) {
            return graph;
        }
        walked.retain(|_, graph| graph.strong_count() > 0);
        let graph = Arc::<Graph>::default();
        walked.insert(room, Arc::downgrade(&graph));
        graph
    }

    /// A graph has grown, and weighs more.
    fn keep(&self, room: RoomSerial, graph: &Arc<Graph>) {
        let weight = graph.0.read().weight();
        self.used.insert(room, Kept { graph: graph.clone(), weight });
    }
}

/// A walk over the auth graph of a room, which visits no event twice.
pub(crate) struct AuthWalk<'a> {
    view: View<'a>,
    graph: Arc<Graph>,
    reached: Marks,
    /// Events whose auth events are still to be reached.
    pending: Vec<u32>,
    rounds: usize,
    /// The newest event of the last round.
    newest: EventSerial,
}

impl<'a> View<'a> {
    /// A walk that has reached nothing yet.
    pub(crate) fn auth_walk(&self) -> AuthWalk<'a> {
        let graph = self.rooms.0.graphs.graph(self.room.serial);
        AuthWalk {
            view: *self,
            graph,
            reached: Marks::default(),
            pending: Vec::new(),
            rounds: 0,
            newest: EventSerial(u64::MAX),
        }
    }

    /// The auth chain of some events: all events that they refer to as auth events, and so on. The
    /// events themselves are in it only where another one refers to them.
    ///
    /// Of an event that is not here, what it refers to is left out.
    #[crate::boxed]
    pub(crate) async fn auth_chain(&self, of: &[EventSerial]) -> Result<HashSet<EventSerial>, Error> {
        let mut walk = self.auth_walk();
        walk.go(of).await?;
        Ok(walk.reached())
    }
}

impl AuthWalk<'_> {
    /// Reaches all that these events refer to, and so on.
    #[crate::boxed]
    pub(crate) async fn go(&mut self, from: &[EventSerial]) -> Result<(), Error> {
        for part in from.chunks(AT_ONCE) {
            {
                let mut nodes = self.graph.0.write();
                self.pending.extend(part.iter().map(|event| nodes.number(*event)));
            }
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
        self.graph.0.read().find(event).is_some_and(|number| self.reached.has(number))
    }

    /// All that was reached.
    pub(crate) fn reached(&self) -> HashSet<EventSerial> {
        let nodes = self.graph.0.read();
        self.reached.iter().filter_map(|number| nodes.serial(number)).collect()
    }

    /// Goes as far as what was read leads. Answers the events whose auth events were not.
    fn advance(&mut self) -> Vec<EventSerial> {
        let nodes = self.graph.0.read();
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

    /// Reads what events refer to, so that the walk can go on from them.
    async fn read(&mut self, unread: Vec<EventSerial>) -> Result<(), Error> {
        self.rounds += 1;
        let (fresh, mut missing): (Vec<_>, Vec<_>) =
            unread.iter().partition(|event| self.view.fresh_event(**event).is_some());
        if missing.len() > WIDE || self.rounds > DEEP {
            self.read_page(&missing).await?;
            let nodes = self.graph.0.read();
            missing.retain(|event| !nodes.knows(*event));
        }
        let mut bare = Vec::new();
        for part in missing.chunks(AT_ONCE) {
            bare.extend(self.read_rows(part).await?);
        }
        self.view.rooms.0.graphs.keep(self.view.room.serial, &self.graph);
        {
            let nodes = self.graph.0.read();
            let known = unread.iter().filter(|event| nodes.knows(**event));
            self.pending.extend(known.filter_map(|event| nodes.find(*event)));
        }
        for event in fresh {
            match self.view.fresh_event(event).cloned().filter(|event| names_what_is_here(event)) {
                Some(event) => self.reach(event.meta().auth.iter().copied()),
                None => bare.push(event),
            }
        }
        self.look_at(&bare).await
    }

    /// Reads the rows of these events; answers those that have none.
    async fn read_rows(&self, events: &[EventSerial]) -> Result<Vec<EventSerial>, Error> {
        let keys: Vec<_> = events.iter().map(|event| (self.view.room.serial, *event)).collect();
        let rows = self.view.rooms.store().get_many(&AUTH, &keys).await?;
        let mut nodes = self.graph.0.write();
        let mut bare = Vec::new();
        for (event, row) in events.iter().zip(rows) {
            match row {
                Some(row) => nodes.add(*event, &row.auth),
                None => bare.push(*event),
            }
        }
        Ok(bare)
    }

    /// Reads the rows around these events. What they refer to is mostly older, and so are its serials; but where several
    /// processes write a room, it may be the other way.
    async fn read_page(&mut self, events: &[EventSerial]) -> Result<(), Error> {
        let (Some(oldest), Some(newest)) = (events.iter().min(), events.iter().max()) else { return Ok(()) };
        let room = self.view.room.serial;
        let goes_down = *newest < self.newest;
        self.newest = *newest;
        let range = store::Range::prefix(&room);
        let (range, order) = match goes_down {
            true => (range.through(&(room, *newest)), Order::Descending),
            false => (range.from(&(room, *oldest)), Order::Ascending),
        };
        let rows = self.view.rooms.store().scan(&AUTH, range, order, AT_ONCE).await?;
        let mut nodes = self.graph.0.write();
        for ((_, event), row) in rows {
            nodes.add(event, &row.auth);
        }
        Ok(())
    }

    /// Goes on from events without a row: by what they name, as far as that is here by now.
    async fn look_at(&mut self, events: &[EventSerial]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = self.view.events(events).await?.into_iter().flatten().collect();
        let named: HashSet<_> = events.iter().flat_map(|event| event.pdu().auth_events()).cloned().collect();
        let named: Vec<_> = named.into_iter().collect();
        let here = self.view.find_serials(&named).await?;
        self.reach(here.into_iter().flatten());
        Ok(())
    }

    /// Reaches these events, without noting by whom.
    fn reach(&mut self, events: impl Iterator<Item = EventSerial>) {
        let mut nodes = self.graph.0.write();
        for event in events {
            let number = nodes.number(event);
            if self.reached.set(number) {
                self.pending.push(number);
            }
        }
    }
}
