//! What a store should do, as plainly as possible: sorted maps and one batch after the other.

use std::collections::BTreeMap;

use rand::{RngExt, rngs::StdRng};

use super::{COUNTERS, NUMBERS, QUEUE, STAMPS, WORDS};
use crate::{
    Batch, Change, Position, Range, Slot, Topic,
    store::Store,
    table::Order,
    value::{Counter, Stamped},
};
use bytes::Bytes;

/// The rows that should be there, and the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) words: BTreeMap<(u8, String), Bytes>,
    pub(crate) numbers: BTreeMap<u64, Bytes>,
    pub(crate) counters: BTreeMap<u8, Counter>,
    pub(crate) queue: BTreeMap<(u8, Position), Bytes>,
    pub(crate) stamps: BTreeMap<u8, Stamped<Bytes>>,
    pub(crate) log: Vec<Change>,
}

/// What a random batch does, step by step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    PutWord((u8, String), Bytes),
    DeleteWord((u8, String)),
    DeleteWords(u8),
    PutNumber(u64, Bytes),
    DeleteNumber(u64),
    Add(u8, i64),
    InsertWord((u8, String), Bytes),
    ReplaceNumber(u64, Bytes, Bytes),
    RequireWord((u8, String), Option<Bytes>),
    Log(u8, Bytes, Vec<Topic>),
    Append(u8, Bytes),
    Stamp(u8, Bytes),
    ClearQueue(u8),
}

fn word(random: &mut StdRng) -> (u8, String) {
    let letters = ["", "a", "\0", "b\u{ffff}", "東"];
    let count = random.random_range(0..3);
    (random.random_range(0..3), (0..count).map(|_| letters[random.random_range(0..letters.len())]).collect())
}

fn bytes(random: &mut StdRng) -> Bytes {
    let length = if random.random_ratio(1, 40) { 6_000 } else { random.random_range(0..12) };
    (0..length).map(|_| random.random::<u8>()).collect()
}

/// A batch that often meets the model's rows; about one in four has a precondition that fails.
pub(crate) fn random_steps(random: &mut StdRng, model: &Model) -> Vec<Step> {
    let count = random.random_range(1..8);
    let mut logged = false;
    (0..count)
        .map(|_| match random.random_range(0..14) {
            0 | 1 => Step::PutWord(word(random), bytes(random)),
            2 => Step::DeleteWord(word(random)),
            3 if random.random_ratio(1, 4) => Step::DeleteWords(random.random_range(0..3)),
            3 | 4 => Step::PutNumber(random.random_range(0..20), bytes(random)),
            5 => Step::DeleteNumber(random.random_range(0..20)),
            6 => Step::Add(random.random_range(0..4), random.random_range(-2..3)),
            7 if random.random_ratio(1, 3) => Step::InsertWord(word(random), bytes(random)),
            8 => {
                let key = random.random_range(0..20);
                let old = model.numbers.get(&key).cloned().unwrap_or_default();
                Step::ReplaceNumber(key, old, bytes(random))
            }
            9 => {
                let key = word(random);
                let row = model.words.get(&key).cloned();
                Step::RequireWord(key, row)
            }
            10 if logged => Step::Append(random.random_range(0..2), bytes(random)),
            11 if logged => Step::Stamp(random.random_range(0..4), bytes(random)),
            12 if random.random_ratio(1, 4) => Step::ClearQueue(random.random_range(0..2)),
            _ => {
                logged = true;
                let topics = (0..random.random_range(0..3))
                    .map(|_| Topic { kind: 1, id: random.random_range(0..9) })
                    .collect();
                Step::Log(random.random_range(1..9), Bytes::from_static(b"payload"), topics)
            }
        })
        .collect()
}

/// The steps as a batch.
pub(crate) fn batch_of(steps: &[Step]) -> Batch {
    let mut batch = Batch::new();
    let mut last: Option<Slot> = None;
    for step in steps {
        match step {
            Step::PutWord(key, value) => batch.put(&WORDS, key, value),
            Step::DeleteWord(key) => batch.delete(&WORDS, key),
            Step::DeleteWords(prefix) => batch.delete_prefix(&WORDS, prefix),
            Step::PutNumber(key, value) => batch.put(&NUMBERS, key, value),
            Step::DeleteNumber(key) => batch.delete(&NUMBERS, key),
            Step::Add(key, delta) => batch.add(&COUNTERS, key, *delta),
            Step::InsertWord(key, value) => {
                batch.insert(&WORDS, key, value);
            }
            Step::ReplaceNumber(key, old, new) => {
                batch.replace(&NUMBERS, key, old, new);
            }
            Step::RequireWord(key, expected) => {
                batch.require(&WORDS, key, expected.as_ref());
            }
            Step::Log(kind, payload, topics) => {
                last = Some(batch.log(*kind, payload.clone(), topics.iter().copied()));
            }
            Step::Append(prefix, value) => {
                batch.append(&QUEUE, prefix, last.expect("after a log step"), value)
            }
            Step::Stamp(key, value) => {
                batch.put_stamped(&STAMPS, key, last.expect("after a log step"), value)
            }
            Step::ClearQueue(prefix) => batch.delete_prefix(&QUEUE, prefix),
        }
    }
    batch
}

impl Model {
    /// Applies the steps as a batch whose first log entry would get the position `next`.
    ///
    /// Says how many positions were taken; none when a precondition failed.
    pub(crate) fn apply(&mut self, steps: &[Step], next: Position) -> Option<u64> {
        let holds = steps.iter().all(|step| match step {
            Step::InsertWord(key, _) => !self.words.contains_key(key),
            Step::ReplaceNumber(key, old, _) => self.numbers.get(key) == Some(old),
            Step::RequireWord(key, expected) => self.words.get(key) == expected.as_ref(),
            _ => true,
        });
        if !holds {
            return None;
        }
        let mut count = 0;
        for step in steps {
            match step.clone() {
                Step::PutWord(key, value) | Step::InsertWord(key, value) => {
                    drop(self.words.insert(key, value))
                }
                Step::DeleteWord(key) => drop(self.words.remove(&key)),
                Step::DeleteWords(prefix) => self.words.retain(|key, _| key.0 != prefix),
                Step::PutNumber(key, value) | Step::ReplaceNumber(key, _, value) => {
                    self.numbers.insert(key, value);
                }
                Step::DeleteNumber(key) => drop(self.numbers.remove(&key)),
                Step::Add(key, delta) => {
                    let sum = self.counters.get(&key).map_or(0, |counter| counter.0) + delta;
                    if sum == 0 {
                        self.counters.remove(&key)
                    } else {
                        self.counters.insert(key, Counter(sum))
                    };
                }
                Step::RequireWord(..) => {}
                Step::Log(kind, payload, topics) => {
                    self.log.push(Change { position: next.plus(count), kind, payload, topics });
                    count += 1;
                }
                Step::Append(prefix, value) => {
                    self.queue.insert((prefix, next.plus(count - 1)), value);
                }
                Step::Stamp(key, value) => {
                    self.stamps.insert(key, Stamped { position: next.plus(count - 1), value });
                }
                Step::ClearQueue(prefix) => self.queue.retain(|key, _| key.0 != prefix),
            }
        }
        Some(count)
    }

    /// Reads everything back.
    pub(crate) async fn read(store: &Store) -> Self {
        const ALL: usize = 1_000_000;
        let up = Order::Ascending;
        Self {
            words: store.scan(&WORDS, Range::all(), up, ALL).await.expect("words").into_iter().collect(),
            numbers: store
                .scan(&NUMBERS, Range::all(), up, ALL)
                .await
                .expect("numbers")
                .into_iter()
                .collect(),
            counters: store
                .scan(&COUNTERS, Range::all(), up, ALL)
                .await
                .expect("counters")
                .into_iter()
                .collect(),
            queue: store.scan(&QUEUE, Range::all(), up, ALL).await.expect("queue").into_iter().collect(),
            stamps: store.scan(&STAMPS, Range::all(), up, ALL).await.expect("stamps").into_iter().collect(),
            log: store.changes(Position::START, ALL).await.expect("log"),
        }
    }
}
