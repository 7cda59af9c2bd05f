//! Several stores over the same data, as several processes would have them.

use std::time::Duration;

use super::{NUMBERS, Opened, Place, laws::rows_lead_the_head, random::*};
use crate::{Batch, Moved, Position, Store, Topic};
use bytes::Bytes;

/// How long a wake-up may take before the test fails.
const SOON: Duration = Duration::from_secs(20);

async fn log_number(store: &Store, number: u64, topic: Topic) -> Position {
    let payload = Bytes::copy_from_slice(&number.to_be_bytes());
    let mut batch = Batch::new();
    batch.put(&NUMBERS, &number, &payload);
    batch.log(1, payload, [topic]);
    store.commit(batch).await.expect("committed").last()
}

/// Writers on two stores that race for one row lose no step, and both see one log.
pub async fn two_replicas_lose_no_update(place: &dyn Place) {
    let (left, right) = (Opened::at(place).await, Opened::at(place).await);
    let writers: Vec<_> = [&left, &right, &left, &right]
        .into_iter()
        .zip(0_u8..)
        .map(|(opened, writer)| {
            let store = opened.store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    count_up(&store, 0, writer).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    for opened in [&left, &right] {
        assert_eq!(counted(&opened.store, 0).await, 100);
        caught_up(&opened.store, Position(100)).await;
        let entries = opened.store.changes(Position::START, 1_000).await.expect("the log");
        let counts: Vec<_> = entries.iter().map(|entry| (entry.position.0, entry.payload.clone())).collect();
        let expected: Vec<_> =
            (1_u64..=100).map(|count| (count, Bytes::copy_from_slice(&count.to_be_bytes()))).collect();
        assert_eq!(counts, expected);
    }
    left.close().await;
    right.close().await;
}

async fn caught_up(store: &Store, position: Position) {
    let mut watch = store.watch(vec![Topic::room("!count")]);
    while store.head() < position {
        tokio::time::timeout(SOON, watch.changed()).await.expect("woken");
    }
}

/// A commit on one store wakes the waiters of the other, which then sees it.
pub async fn a_replica_wakes_for_the_commits_of_the_other(place: &dyn Place) {
    let (left, right) = (Opened::at(place).await, Opened::at(place).await);
    let (topic, other) = (Topic::room("!a"), Topic::room("!other"));
    for number in 0..5 {
        let before = right.store.head();
        let mut watch = right.store.watch(vec![topic]);
        let position = log_number(&left.store, number, topic).await;
        tokio::time::timeout(SOON, watch.changed()).await.expect("woken");
        assert!(right.store.head() >= position);
        assert_eq!(right.store.moved(topic, before), Moved::Maybe);
        assert_eq!(right.store.moved(other, before), Moved::No);
        let changes = right.store.changes(before, 10).await.expect("the log");
        assert_eq!(changes.len(), 1);
    }
    let before = right.store.head();
    let mut watch = right.store.watch(vec![other]);
    let given = left.store.publish([other]).await.expect("published");
    tokio::time::timeout(SOON, watch.changed()).await.expect("woken");
    assert!(given > before && right.store.head() >= given);
    assert!(right.store.changes(before, 10).await.expect("the log").is_empty());
    left.close().await;
    right.close().await;
}

/// When a store commits itself right after the other did, its head does not jump over the
/// other's commit: what it says of moves holds for everything up to the head.
pub async fn a_replica_never_passes_over_a_commit_of_the_other(place: &dyn Place) {
    let (left, right) = (Opened::at(place).await, Opened::at(place).await);
    let (theirs, ours) = (Topic::room("!theirs"), Topic::room("!ours"));
    for number in 0..20 {
        let before = right.store.head();
        let first = log_number(&left.store, number, theirs).await;
        let second = log_number(&right.store, number, ours).await;
        assert!(first < second && right.store.head() >= second);
        assert_eq!(right.store.moved(theirs, before), Moved::Maybe);
    }
    left.close().await;
    right.close().await;
}

/// What one store commits, the other's reads find at once, and its head reaches it when asked to.
pub async fn what_one_replica_was_told_the_other_reaches(place: &dyn Place) {
    let (left, right) = (Opened::at(place).await, Opened::at(place).await);
    rows_lead_the_head(&left.store, &right.store).await;
    for number in 0..20 {
        let position = log_number(&left.store, number, Topic::room("!a")).await;
        assert!(right.store.get(&NUMBERS, &number).await.expect("read").is_some());
        assert!(right.store.reach(position).await.expect("reached") >= position);
        let log = right.store.changes(Position(position.0 - 1), 10).await.expect("the log");
        assert_eq!(log.first().map(|entry| entry.position), Some(position));
    }
    left.close().await;
    right.close().await;
}

/// Numbers of a sequence are unique over all stores.
pub async fn two_replicas_share_sequences(place: &dyn Place) {
    let (left, right) = (Opened::at(place).await, Opened::at(place).await);
    let mut given = std::collections::BTreeSet::new();
    let (one, other) = (left.store.sequence("rooms"), right.store.sequence("rooms"));
    for _ in 0..1_500 {
        let (a, b) = tokio::join!(one.next(), other.next());
        assert!(given.insert(a.expect("a number")));
        assert!(given.insert(b.expect("a number")));
    }
    left.close().await;
    right.close().await;
}
