//! Which topics moved since a position.

use std::collections::{HashMap, VecDeque};

use crate::position::{Position, Topic};

/// Whether something touched a topic after a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Certainly nothing did.
    No,
    /// Something did, or it is too long ago to be known.
    Maybe,
}

/// So many moves are remembered in their order.
const RECENT: usize = 8_192;

/// So many of the last moves are looked through for a topic before it is looked up.
const LATELY: usize = 32;

/// The last position that touched each of the recently touched topics.
///
/// Two generations: when the newer is full, the older is forgotten and the floor rises to the
/// last position that it held. Above the floor the answers are exact.
///
/// The last [`RECENT`] moves are also there in their order, for readers of so many topics that asking for
/// each would take longer than looking through what moved at all.
pub(crate) struct Moves {
    recent: VecDeque<(Position, Topic)>,
    /// All moves after this position are among the recent ones.
    recent_floor: Position,
    newer: HashMap<Topic, Position>,
    older: HashMap<Topic, Position>,
    newer_last: Position,
    older_last: Position,
    floor: Position,
    capacity: usize,
}

impl Moves {
    pub(crate) fn new(floor: Position, capacity: usize) -> Self {
        Self {
            recent: VecDeque::new(),
            recent_floor: floor,
            newer: HashMap::new(),
            older: HashMap::new(),
            newer_last: floor,
            older_last: floor,
            floor,
            capacity: capacity.max(1),
        }
    }

    pub(crate) fn note(&mut self, topic: Topic, position: Position) {
        if self.newer.len() >= self.capacity && !self.newer.contains_key(&topic) {
            self.floor = self.floor.max(self.older_last);
            self.older = std::mem::take(&mut self.newer);
            self.older_last = self.newer_last;
        }
        // Positions may come late, and what the older generation knows of a topic is asked for no more once it is among
        // the newer.
        let last = self
            .newer
            .entry(topic)
            .or_insert_with(|| self.older.get(&topic).copied().unwrap_or(Position::START));
        *last = position.max(*last);
        self.newer_last = self.newer_last.max(position);
        self.note_recent(topic, position);
    }

    /// Nothing is known any more of what was up to a position.
    pub(crate) fn forget(&mut self, through: Position) {
        self.floor = self.floor.max(through);
        self.recent.clear();
        self.recent_floor = self.recent_floor.max(through);
    }

    fn note_recent(&mut self, topic: Topic, position: Position) {
        // Positions may come again or late; one that is said to have moved later than it did is only looked at
        // in vain.
        let last = self.recent.back().map_or(self.recent_floor, |(last, _)| *last);
        if self.recent.len() >= RECENT
            && let Some((forgotten, _)) = self.recent.pop_front()
        {
            self.recent_floor = forgotten;
        }
        self.recent.push_back((position.max(last), topic));
    }

    /// The topics that moved after a position, some perhaps several times. `None`: there are more than `limit`, or it
    /// is too long ago.
    pub(crate) fn since(&self, since: Position, limit: usize) -> Option<Vec<Topic>> {
        if since < self.recent_floor {
            return None;
        }
        let first = self.recent.partition_point(|(position, _)| *position <= since);
        if self.recent.len() - first > limit {
            return None;
        }
        Some(self.recent.range(first..).map(|(_, topic)| *topic).collect())
    }

    pub(crate) fn moved(&self, topic: Topic, since: Position) -> Moved {
        if since < self.floor {
            return Moved::Maybe;
        }
        if let Some(moved) = self.moved_lately(topic, since) {
            return moved;
        }
        let last = self.newer.get(&topic).or_else(|| self.older.get(&topic));
        if last.is_some_and(|last| *last > since) { Moved::Maybe } else { Moved::No }
    }

    /// The same by the last [`LATELY`] moves alone, where they reach back to the position. Most ask about a moment ago,
    /// and the tables of topics do not fit into a processor's caches.
    fn moved_lately(&self, topic: Topic, since: Position) -> Option<Moved> {
        if since < self.recent_floor {
            return None;
        }
        for (position, moved) in self.recent.iter().rev().take(LATELY) {
            if *position <= since {
                return Some(Moved::No);
            }
            if *moved == topic {
                return Some(Moved::Maybe);
            }
        }
        (self.recent.len() <= LATELY).then_some(Moved::No)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeSet;

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
                let found = moves.since(since, touches.len()).unwrap();
                let truly = truth.iter().filter(|(_, last)| **last > since).map(|(id, _)| *id);
                prop_assert_eq!(found.iter().map(|topic| topic.id).collect::<BTreeSet<_>>(), truly.collect());
                prop_assert!(found.is_empty() || moves.since(since, found.len() - 1).is_none());
            }
        }
    }

    proptest! {
        #[test]
        fn a_topic_that_moved_is_never_said_to_rest_although_what_was_noted_comes_again_late(
            touches in proptest::collection::vec((0_u64..20, any::<prop::sample::Index>()), 1..300),
            capacity in 1_usize..20,
        ) {
            let mut moves = Moves::new(Position(0), capacity);
            let mut truth = HashMap::new();
            for (at, (id, earlier)) in touches.iter().enumerate() {
                moves.note(topic(*id), Position(at as u64 + 1));
                truth.insert(*id, at as u64 + 1);
                let earlier = earlier.index(at + 1);
                moves.note(topic(touches[earlier].0), Position(earlier as u64 + 1));
            }
            for since in 0..=touches.len() as u64 {
                for (id, _) in truth.iter().filter(|(_, last)| **last > since) {
                    prop_assert_eq!(moves.moved(topic(*id), Position(since)), Moved::Maybe);
                }
            }
        }
    }

    #[test]
    fn what_moved_is_told_as_far_back_as_it_is_remembered_and_late_positions_are_not_lost() {
        let mut moves = Moves::new(Position(5), 1 << 20);
        assert_eq!(moves.since(Position(4), 10), None);
        assert_eq!(moves.since(Position(5), 10), Some(Vec::new()));
        for position in 6..=5 + RECENT as u64 {
            moves.note(topic(position), Position(position));
        }
        assert_eq!(moves.since(Position(5), RECENT).unwrap().len(), RECENT);
        // One that comes late counts as the last.
        moves.note(topic(1), Position(7));
        assert_eq!(moves.since(Position(5), RECENT), None);
        assert_eq!(moves.since(Position(6), RECENT).unwrap().len(), RECENT);
        assert_eq!(
            moves.since(Position(4 + RECENT as u64), 10),
            Some(vec![topic(5 + RECENT as u64), topic(1)])
        );
    }
}
