//! The tree against a plain sorted map.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::{
    apply::{Change, apply},
    node::{ChunkHash, Entry, MAX_LEAF_ENTRIES, Made, Node},
    tree::{Broken, ChunkId, Chunks, Difference, Query, all, differences, look_up},
};
use crate::ids::{EventSerial, RoomSerial, Root, StateKeySerial};

const ROOM: RoomSerial = RoomSerial(1);

/// Chunks in memory, with a count of what was asked for.
#[derive(Default)]
struct Memory {
    chunks: HashMap<ChunkHash, Arc<Node>>,
    bytes: HashMap<ChunkHash, usize>,
    rounds: std::sync::atomic::AtomicUsize,
    reads: std::sync::atomic::AtomicUsize,
}

#[derive(Debug)]
struct Failed(#[expect(dead_code, reason = "shown by Debug")] Broken);

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self(broken)
    }
}

impl Chunks for Memory {
    type Error = Failed;

    async fn get(&self, wanted: &[ChunkId]) -> Result<Vec<Arc<Node>>, Failed> {
        use std::sync::atomic::Ordering::Relaxed;
        self.rounds.fetch_add(1, Relaxed);
        self.reads.fetch_add(wanted.len(), Relaxed);
        Ok(wanted.iter().map(|id| self.chunks[&id.hash].clone()).collect())
    }
}

/// A future of the memory source never waits.
fn now<T>(future: impl Future<Output = Result<T, Failed>>) -> T {
    future.now_or_never().unwrap().unwrap()
}

impl Memory {
    /// Applies, keeps the new chunks and says how many bytes they are.
    fn apply(&mut self, root: Root, changes: &[Change]) -> (Root, usize) {
        let (root, made) = now(apply(self, ROOM, root, changes));
        let written = made.iter().map(|chunk| chunk.bytes.len()).sum();
        for Made { hash, bytes, node } in made {
            assert_eq!(*node, Node::decode(&bytes).unwrap());
            self.bytes.insert(hash, bytes.len());
            self.chunks.insert(hash, node);
        }
        (root, written)
    }

    fn get(&self, root: Root, keys: &[StateKeySerial]) -> Vec<Option<EventSerial>> {
        now(look_up(self, &[Query { room: ROOM, root, keys }])).remove(0)
    }

    fn all(&self, root: Root) -> Vec<Entry> {
        now(all(self, &[(ROOM, root)])).remove(0)
    }

    fn difference(&self, before: Root, after: Root) -> Vec<Difference> {
        now(differences(self, &[(ROOM, before, after)])).remove(0)
    }
}

fn set(key: u64, event: u64) -> Change {
    (StateKeySerial(key), Some(EventSerial(event)))
}

fn remove(key: u64) -> Change {
    (StateKeySerial(key), None)
}

type Model = BTreeMap<StateKeySerial, EventSerial>;

fn change_model(model: &mut Model, changes: &[Change]) {
    for (key, event) in changes {
        match event {
            Some(event) => model.insert(*key, *event),
            None => model.remove(key),
        };
    }
}

fn model_difference(before: &Model, after: &Model) -> Vec<Difference> {
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differences = keys.into_iter().map(|key| Difference {
        key: *key,
        before: before.get(key).copied(),
        after: after.get(key).copied(),
    });
    differences.filter(|difference| difference.before != difference.after).collect()
}

/// Small chance for tests: the same numbers each time.
struct Dice(Cell<u64>);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        state % sides
    }
}

#[test]
fn a_hundred_thousand_random_operations_agree_with_a_sorted_map() {
    let dice = Dice(Cell::new(0x9af1_2b33));
    let mut memory = Memory::default();
    let mut model = Model::new();
    let mut root = Root::EMPTY;
    let (mut old_root, mut old_model) = (root, model.clone());

    for step in 0..100_000_u64 {
        // The map grows to a few thousand entries, shrinks to nothing, and grows again.
        let growing = (step / 20_000) % 2 == 0;
        let key = StateKeySerial(dice.roll(6_000));
        match (dice.roll(10), growing) {
            (0..2, _) => {
                assert_eq!(memory.get(root, &[key]), [model.get(&key).copied()]);
                continue;
            }
            (2..4, true) | (2..9, false) => {
                // Mostly a key that is there.
                let key = model.range(key..).next().map_or(key, |(key, _)| *key);
                root = memory.apply(root, &[remove(key.0)]).0;
                model.remove(&key);
            }
            _ => {
                let event = EventSerial(dice.roll(1 << 40));
                root = memory.apply(root, &[(key, Some(event))]).0;
                model.insert(key, event);
            }
        }
        if step % 1_000 == 0 {
            assert_eq!(memory.all(root), model.clone().into_iter().collect::<Vec<_>>());
            assert_eq!(memory.difference(old_root, root), model_difference(&old_model, &model));
            // Equal maps have equal roots: build this one at once, from nothing.
            let everything: Vec<_> = model.iter().map(|(key, event)| (*key, Some(*event))).collect();
            assert_eq!(memory.apply(Root::EMPTY, &everything).0, root);
            (old_root, old_model) = (root, model.clone());
        }
    }
}

fn changes(max: usize) -> impl Strategy<Value = Vec<Change>> {
    let change = (0..400_u64, prop::option::weighted(0.6, 0..50_u64))
        .prop_map(|(key, event)| (StateKeySerial(key), event.map(EventSerial)));
    prop::collection::vec(change, 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn equal_maps_have_equal_roots_whatever_their_history(steps in prop::collection::vec(changes(300), 0..6)) {
        let mut memory = Memory::default();
        let (mut root, mut model) = (Root::EMPTY, Model::new());
        for changes in &steps {
            root = memory.apply(root, changes).0;
            change_model(&mut model, changes);
        }

        prop_assert_eq!(memory.all(root), model.clone().into_iter().collect::<Vec<_>>());
        let mut one_by_one = Root::EMPTY;
        for (key, event) in model.iter().rev() {
            one_by_one = memory.apply(one_by_one, &[(*key, Some(*event))]).0;
        }
        prop_assert_eq!(one_by_one, root);
        prop_assert_eq!(root == Root::EMPTY, model.is_empty());
    }

    #[test]
    fn a_difference_is_what_two_sorted_maps_differ_in(
        common in changes(400), left in changes(150), right in changes(150),
    ) {
        let mut memory = Memory::default();
        let base = memory.apply(Root::EMPTY, &common).0;
        let (before, after) = (memory.apply(base, &left).0, memory.apply(base, &right).0);
        let mut model = Model::new();
        change_model(&mut model, &common);
        let (mut model_before, mut model_after) = (model.clone(), model);
        change_model(&mut model_before, &left);
        change_model(&mut model_after, &right);

        let found = memory.difference(before, after);

        prop_assert_eq!(&found, &model_difference(&model_before, &model_after));
        let back: Vec<_> = found.iter().map(|found| (found.key, found.before)).collect();
        prop_assert_eq!(memory.apply(after, &back).0, before);
    }
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    let mut memory = Memory::default();
    let many: Vec<_> = (0..5_000).map(|key| set(key, key + 9)).collect();
    let (root, _) = memory.apply(Root::EMPTY, &many);
    assert_eq!(memory.apply(root, &[set(17, 26), remove(9_999)]), (root, 0));
    assert_eq!(memory.apply(root, &[]), (root, 0));
}

#[test]
fn the_last_change_of_a_key_counts() {
    let mut memory = Memory::default();
    let (root, _) = memory.apply(Root::EMPTY, &[set(1, 5), remove(1), set(1, 6), set(2, 1), remove(2)]);
    assert_eq!(memory.all(root), [(StateKeySerial(1), EventSerial(6))]);
}

#[test]
fn extreme_keys_and_events_are_kept() {
    let mut memory = Memory::default();
    let many: Vec<_> = (0..200).flat_map(|n| [set(n, u64::MAX - n), set(u64::MAX - n, n)]).collect();
    let (root, _) = memory.apply(Root::EMPTY, &many);
    assert_eq!(memory.get(root, &[StateKeySerial(u64::MAX)]), [Some(EventSerial(0))]);
    assert_eq!(memory.all(root).len(), 400);
}

#[test]
fn a_branch_becomes_a_leaf_when_few_entries_are_left() {
    let mut memory = Memory::default();
    let limit = MAX_LEAF_ENTRIES as u64;
    let many: Vec<_> = (0..=limit).map(|key| set(key, key)).collect();
    let (small, _) = memory.apply(Root::EMPTY, &many[1..]);
    let (large, _) = memory.apply(small, &many[..1]);
    assert!(matches!(*memory.chunks[&ChunkHash(small.0)], Node::Leaf(_)));
    assert!(matches!(*memory.chunks[&ChunkHash(large.0)], Node::Branch(_)));
    assert_eq!(memory.apply(large, &[remove(0)]).0, small);
}

#[test]
fn equal_subtrees_are_not_read_by_a_comparison() {
    use std::sync::atomic::Ordering::Relaxed;
    let mut memory = Memory::default();
    let many: Vec<_> = (0..30_000).map(|key| set(key, key)).collect();
    let (before, _) = memory.apply(Root::EMPTY, &many);
    let (after, _) = memory.apply(before, &[set(12_345, 1)]);
    memory.reads.store(0, Relaxed);
    memory.rounds.store(0, Relaxed);

    assert_eq!(memory.difference(before, after).len(), 1);

    let (reads, rounds) = (memory.reads.load(Relaxed), memory.rounds.load(Relaxed));
    assert!(reads <= 10 && rounds <= 5, "{reads} chunks in {rounds} rounds");
}

#[test]
fn many_keys_of_many_maps_are_looked_up_in_one_round_per_level() {
    use std::sync::atomic::Ordering::Relaxed;
    let mut memory = Memory::default();
    let many: Vec<_> = (0..30_000).map(|key| set(key, key)).collect();
    let (large, _) = memory.apply(Root::EMPTY, &many);
    let (small, _) = memory.apply(Root::EMPTY, &many[..10]);
    memory.rounds.store(0, Relaxed);
    let keys: Vec<_> = (0..40).map(|n| StateKeySerial(n * 1_000)).collect();

    let queries = [large, Root::EMPTY, small].map(|root| Query { room: ROOM, root, keys: &keys });
    let answers = now(look_up(&memory, &queries));

    let expected = |count: u64| keys.iter().map(move |key| (key.0 < count).then_some(EventSerial(key.0)));
    assert!(answers[0].iter().copied().eq(expected(30_000)));
    assert!(answers[1].iter().all(Option::is_none));
    assert!(answers[2].iter().copied().eq(expected(10)));
    assert!(memory.rounds.load(Relaxed) <= 5);
}

#[test]
fn many_maps_are_read_and_compared_in_as_many_rounds_as_one() {
    use std::sync::atomic::Ordering::Relaxed;
    let mut memory = Memory::default();
    let roots: Vec<Root> = (1..=30)
        .map(|count| (0..count).map(|key| set(key, key + 100 * count)).collect::<Vec<_>>())
        .map(|changes| memory.apply(Root::EMPTY, &changes).0)
        .chain([Root::EMPTY])
        .collect();
    let sizes: Vec<usize> = (1..=30).chain([0]).collect();

    memory.rounds.store(0, Relaxed);
    let maps: Vec<_> = roots.iter().map(|root| (ROOM, *root)).collect();
    let found = now(all(&memory, &maps));
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
    assert!(
        found
            .iter()
            .zip(1..)
            .all(|(map, count)| map.iter().all(|(key, event)| event.0 == key.0 + 100 * count))
    );
    assert_eq!(memory.rounds.load(Relaxed), 1);

    memory.rounds.store(0, Relaxed);
    let pairs: Vec<_> = roots.iter().map(|root| (ROOM, *root, roots[0])).collect();
    let found = now(differences(&memory, &pairs));
    assert!(found[0].is_empty(), "the same as itself");
    let sizes: Vec<usize> = (1..=30).chain([1]).skip(1).collect();
    assert_eq!(found[1..].iter().map(Vec::len).collect::<Vec<_>>(), sizes);
    assert_eq!(memory.rounds.load(Relaxed), 1);
}

#[test]
fn single_changes_at_thirty_thousand_entries_write_little() {
    let dice = Dice(Cell::new(77));
    let mut memory = Memory::default();
    let many: Vec<_> = (0..30_000).map(|key| set(key + 1_000, 5 * key + dice.roll(200))).collect();
    let (mut root, _) = memory.apply(Root::EMPTY, &many);

    let mut sizes: Vec<usize> = Vec::new();
    for step in 0..5_000 {
        let key = dice.roll(30_000) + 1_000;
        let (next, written) = memory.apply(root, &[set(key, 1_000_000 + 7 * step)]);
        root = next;
        sizes.push(written);
    }

    sizes.sort_unstable();
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    let p99 = sizes[sizes.len() * 99 / 100];
    assert!(mean <= 1_280, "mean {mean} bytes");
    assert!(p99 <= 1_536, "p99 {p99} bytes");
}
