//! Waiting for commits: who is woken by what, and which topics moved since a position.
//!
//! A commit's topics are first noted as moved, then the head moves, then waiters are woken. So a
//! reader that creates its [`Watch`], takes the head and reads, misses nothing: what came later
//! wakes the watch.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::position::{Position, Topic};

const SHARDS: usize = 16;

/// Whether something touched a topic after a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Certainly nothing did.
    No,
    /// Something did, or it is too long ago to be known.
    Maybe,
}

/// The head, the waiters and the recent moves of one store.
pub(crate) struct Hub {
    head: AtomicU64,
    advancing: Mutex<()>,
    advanced: Notify,
    moves: Mutex<Moves>,
    shards: [Mutex<HashMap<Topic, Vec<Waiter>>>; SHARDS],
    next_waiter: AtomicU64,
}

struct Waiter {
    id: u64,
    signal: Arc<Notify>,
}

impl Hub {
    /// A hub that knows nothing of what was before `head`; it remembers the moves of at least
    /// `remembered` topics.
    pub(crate) fn new(head: Position, remembered: usize) -> Arc<Self> {
        Arc::new(Self {
            head: AtomicU64::new(head.0),
            advancing: Mutex::new(()),
            advanced: Notify::new(),
            moves: Mutex::new(Moves::new(head, remembered)),
            shards: std::array::from_fn(|_| Mutex::default()),
            next_waiter: AtomicU64::new(0),
        })
    }

    pub(crate) fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    /// Waits until everything up to a position is visible.
    pub(crate) async fn reached(&self, position: Position) {
        loop {
            let mut advanced = std::pin::pin!(self.advanced.notified());
            // Before the look: an advance in between must not be missed.
            advanced.as_mut().enable();
            if self.head() >= position {
                return;
            }
            advanced.await;
        }
    }

    /// Makes everything up to `head` visible and wakes those who wait for the topics.
    ///
    /// Calls may overlap and repeat; the head never goes back.
    pub(crate) fn advance<'a>(
        &self,
        touched: impl Iterator<Item = (Position, &'a [Topic])> + Clone,
        head: Position,
    ) {
        {
            let _one_at_a_time = self.advancing.lock();
            let mut moves = self.moves.lock();
            for (position, topics) in touched.clone() {
                for topic in topics {
                    moves.note(*topic, position);
                }
            }
            drop(moves);
            self.head.fetch_max(head.0, Ordering::AcqRel);
        }
        self.advanced.notify_waiters();
        for (_, topics) in touched {
            for topic in topics {
                self.wake(*topic);
            }
        }
    }

    pub(crate) fn moved(&self, topic: Topic, since: Position) -> Moved {
        self.moves.lock().moved(topic, since)
    }

    fn wake(&self, topic: Topic) {
        if let Some(waiters) = self.shard(topic).lock().get(&topic) {
            for waiter in waiters {
                waiter.signal.notify_one();
            }
        }
    }

    fn shard(&self, topic: Topic) -> &Mutex<HashMap<Topic, Vec<Waiter>>> {
        let index = usize::try_from(topic.id % (SHARDS as u64)).unwrap_or(0);
        &self.shards[index]
    }

    pub(crate) fn watch(self: &Arc<Self>, mut topics: Vec<Topic>) -> Watch {
        topics.sort_unstable();
        topics.dedup();
        let id = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        let signal = Arc::new(Notify::new());
        for topic in &topics {
            let waiter = Waiter { id, signal: signal.clone() };
            self.shard(*topic).lock().entry(*topic).or_default().push(waiter);
        }
        Watch { hub: self.clone(), id, signal, topics }
    }
}

/// A standing wait for commits that touch one of some topics; see [`crate::Store::watch`].
pub struct Watch {
    hub: Arc<Hub>,
    id: u64,
    signal: Arc<Notify>,
    topics: Vec<Topic>,
}

impl Watch {
    /// Waits for a commit, after the watch was made or after this last returned, that touched one
    /// of the topics. May return in vain.
    pub async fn changed(&mut self) {
        self.signal.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for topic in &self.topics {
            let mut shard = self.hub.shard(*topic).lock();
            if let Some(waiters) = shard.get_mut(topic) {
                if let Some(at) = waiters.iter().position(|waiter| waiter.id == self.id) {
                    waiters.swap_remove(at);
                }
                if waiters.is_empty() {
                    shard.remove(topic);
                }
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// The last position that touched each of the recently touched topics.
///
/// Two generations: when the newer is full, the older is forgotten and the floor rises to the
/// last position that it held. Above the floor the answers are exact.
struct Moves {
    newer: HashMap<Topic, Position>,
    older: HashMap<Topic, Position>,
    newer_last: Position,
    older_last: Position,
    floor: Position,
    capacity: usize,
}

impl Moves {
    fn new(floor: Position, capacity: usize) -> Self {
        Self {
            newer: HashMap::new(),
            older: HashMap::new(),
            newer_last: floor,
            older_last: floor,
            floor,
            capacity: capacity.max(1),
        }
    }

    fn note(&mut self, topic: Topic, position: Position) {
        if self.newer.len() >= self.capacity && !self.newer.contains_key(&topic) {
            self.floor = self.floor.max(self.older_last);
            self.older = std::mem::take(&mut self.newer);
            self.older_last = self.newer_last;
        }
        let last = self.newer.entry(topic).or_insert(position);
        *last = position.max(*last);
        self.newer_last = self.newer_last.max(position);
    }

    fn moved(&self, topic: Topic, since: Position) -> Moved {
        if since < self.floor {
            return Moved::Maybe;
        }
        let last = self.newer.get(&topic).or_else(|| self.older.get(&topic));
        if last.is_some_and(|last| *last > since) { Moved::Maybe } else { Moved::No }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn topic(id: u64) -> Topic {
        Topic { kind: 1, id }
    }

    proptest! {
        #[test]
        fn a_topic_that_moved_is_never_said_to_rest(
            touches in proptest::collection::vec(0_u64..40, 1..300),
            capacity in 1_usize..20,
        ) {
            let mut moves = Moves::new(Position(0), capacity);
            let mut truth = HashMap::new();
            for (position, id) in (1..).map(Position).zip(&touches) {
                moves.note(topic(*id), position);
                truth.insert(*id, position);
                prop_assert!(moves.newer.len() + moves.older.len() <= 2 * capacity);
            }
            for since in (0..=touches.len() as u64).map(Position) {
                for id in 0..40 {
                    let did = truth.get(&id).is_some_and(|last| *last > since);
                    let said = moves.moved(topic(id), since);
                    prop_assert!(!did || said == Moved::Maybe);
                    prop_assert!(since < moves.floor || (said == Moved::Maybe) == did);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_watch_remembers_a_wake_up_that_came_before_the_wait() {
        let hub = Hub::new(Position(0), 10);
        let mut watch = hub.watch(vec![topic(1), topic(1), topic(2)]);
        hub.advance([(Position(1), [topic(1)].as_slice())].into_iter(), Position(1));
        watch.changed().await;
        assert_eq!(hub.head(), Position(1));
    }

    #[test]
    fn a_dropped_watch_leaves_nothing_behind() {
        let hub = Hub::new(Position(0), 10);
        let first = hub.watch(vec![topic(1), topic(2)]);
        let second = hub.watch(vec![topic(2)]);
        drop(first);
        assert!(hub.shard(topic(1)).lock().is_empty());
        assert_eq!(hub.shard(topic(2)).lock().get(&topic(2)).unwrap().len(), 1);
        drop(second);
        assert!(hub.shard(topic(2)).lock().is_empty());
    }
}
