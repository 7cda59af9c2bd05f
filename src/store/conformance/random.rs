//! Random work against the model, racing writers, crashes.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{COUNTERS, NUMBERS, Opened, Place, WORDS, model::*};
use crate::{Batch, CommitError, Position, Store, Topic, error::Error};
use bytes::Bytes;

/// How many groups a random run commits.
const GROUPS: usize = 150;

/// Submits a group of random batches at once and checks each answer against the model.
async fn random_group(store: &Store, model: &mut Model, random: &mut StdRng, head: &mut Position) {
    let steps: Vec<_> = (0..random.random_range(1..12)).map(|_| random_steps(random, model)).collect();
    let receipts: Vec<_> = steps.iter().map(|steps| store.submit(batch_of(steps))).collect();
    for (steps, receipt) in steps.iter().zip(receipts) {
        let expected = model.apply(steps, head.plus(1));
        let outcome = receipt.await;
        match (expected, outcome) {
            (None, Err(CommitError::Conflict { .. })) => {}
            (Some(count), Ok(committed)) => {
                assert_eq!(u64::from(committed.count()), count, "{steps:?}");
                *head = head.plus(count);
                assert_eq!(committed.last(), *head, "{steps:?}");
                assert!(committed.head() >= *head);
            }
            (expected, outcome) => panic!("the model says {expected:?}, the store {outcome:?}: {steps:?}"),
        }
    }
    assert_eq!(store.head(), *head);
}

/// Any sequence of batches, however grouped, has the results and effects that the model has.
pub async fn random_batches_do_what_the_model_does(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let mut random = StdRng::seed_from_u64(1);
    let (mut model, mut head) = (Model::default(), opened.store.head());
    for round in 0..GROUPS {
        random_group(&opened.store, &mut model, &mut random, &mut head).await;
        if round % 25 == 0 {
            assert_eq!(Model::read(&opened.store).await, model);
        }
    }
    assert_eq!(Model::read(&opened.store).await, model);
    opened.close().await;

    let opened = Opened::at(place).await;
    assert_eq!(Model::read(&opened.store).await, model, "after closing and opening");
    opened.close().await;
}

/// After a crash everything acknowledged is there, and positions go on above all given before.
pub async fn a_crash_loses_nothing_acknowledged_and_reuses_no_position(place: &dyn Place) {
    let mut random = StdRng::seed_from_u64(2);
    let mut model = Model::default();
    let mut highest = Position::START;
    for _ in 0..8 {
        let opened = Opened::at(place).await;
        assert_eq!(Model::read(&opened.store).await, model);
        assert!(opened.store.head() >= highest, "the head went back");
        let mut head = opened.store.head();
        for _ in 0..random.random_range(1..10) {
            random_group(&opened.store, &mut model, &mut random, &mut head).await;
            if random.random_ratio(1, 4) {
                let given = opened.store.publish([Topic::room("!a")]).await.expect("a position");
                assert_eq!(given, head.plus(1));
                head = given;
            }
        }
        highest = head;
        opened.crash(place).await;
    }
}

/// After random work and ephemeral positions, every row and the chain of the log are in order.
pub async fn what_was_written_verifies(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let mut random = StdRng::seed_from_u64(3);
    let (mut model, mut head) = (Model::default(), opened.store.head());
    for _ in 0..20 {
        random_group(&opened.store, &mut model, &mut random, &mut head).await;
        head = opened.store.publish([Topic::room("!a")]).await.expect("a position");
    }
    let report = opened.store.verify(&[WORDS.check(), NUMBERS.check(), COUNTERS.check()]).await;
    let report = report.expect("a report");
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!(report.entries, model.log.len() as u64);
    assert_eq!(report.unchecked, (model.queue.len() + model.stamps.len()) as u64);
    opened.close().await;
}

/// Many tasks that read, add one and replace, again and again until it works, lose no step.
pub async fn racing_writers_lose_no_update(place: &dyn Place) {
    const WRITERS: u8 = 8;
    const STEPS: u64 = 20;
    let opened = Opened::at(place).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = opened.store.clone();
            tokio::spawn(async move {
                for _ in 0..STEPS {
                    count_up(&store, 0, writer).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    let expected = u64::from(WRITERS) * STEPS;
    assert_eq!(counted(&opened.store, 0).await, expected);
    let added = opened.store.get(&COUNTERS, &0).await.expect("read").expect("a counter");
    assert_eq!(u64::try_from(added.0), Ok(expected));
    let entries = opened.store.changes(Position::START, usize::MAX).await.expect("the log");
    assert_eq!(entries.len() as u64, expected);
    opened.close().await;
}

/// Raises the number in a row by one, with a precondition, and a counter beside it.
pub(super) async fn count_up(store: &Store, key: u64, writer: u8) {
    loop {
        let old = store.get(&NUMBERS, &key).await.expect("read");
        let count = old.as_ref().map_or(0, number) + 1;
        let new = Bytes::copy_from_slice(&count.to_be_bytes());
        let mut batch = Batch::new();
        match &old {
            None => batch.insert(&NUMBERS, &key, &new),
            Some(old) => batch.replace(&NUMBERS, &key, old, &new),
        };
        batch.add(&COUNTERS, &0, 1);
        batch.put(&WORDS, &(writer, "last"), &new);
        batch.log(1, new.clone(), [Topic::room("!count")]);
        match store.commit(batch).await {
            Ok(_) => return,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => panic!("{error:?}: {:?}", cause(&error)),
        }
    }
}

fn cause(error: &CommitError) -> Option<&Error> {
    if let CommitError::Store(error) = error { Some(error) } else { None }
}

fn number(bytes: &Bytes) -> u64 {
    u64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes"))
}

pub(super) async fn counted(store: &Store, key: u64) -> u64 {
    store.get(&NUMBERS, &key).await.expect("read").as_ref().map_or(0, number)
}
