//! Several stores over the same data, as several processes would have them.

use std::time::Duration;

use super::{NUMBERS, Opened, Place, laws::rows_lead_the_head, random::*};
use crate::{Batch, CommitError, Consumer, Moved, Position, Store, Term, Topic};
use base::{CancellationToken, Clock, Metrics};
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
    let mut any = right.store.watch_any();
    let given = left.store.publish([other]).await.expect("published");
    tokio::time::timeout(SOON, watch.changed()).await.expect("woken");
    tokio::time::timeout(SOON, any.changed()).await.expect("woken by any commit");
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

/// Of a consumer one store at a time does the work. When its process is gone another one goes on from its cursor, and
/// what the first had still to write is refused.
pub async fn one_replica_at_a_time_does_a_consumers_work(place: &dyn Place) {
    let (left, right) = (Opened::at(place).await, Opened::at(place).await);
    let (clock, hand) = Clock::manual(0);
    let mut working = [&left, &right].map(|opened| Working::begin(&opened.store, &clock));
    let (holder, first) = found(|| {
        (0..).zip(&mut working).find_map(|(at, one): (usize, _)| Some((at, one.terms.try_recv().ok()?)))
    })
    .await;
    let other = 1 - holder;
    let mut batch = Batch::new();
    first.set_cursor(&mut batch, Position(7));
    first.commit(batch).await.expect("the holder writes");
    for _ in 0..20 {
        // Whoever is to beat or to look has done so when he sleeps again.
        found(|| (hand.sleepers() == 2).then_some(())).await;
        hand.advance(Duration::from_secs(1));
    }
    assert!(working[other].terms.try_recv().is_err(), "who is there keeps it");

    // As SIGKILL would: nothing of it runs on, but a write of it is still under way.
    working[holder].task.abort();
    let second = found(|| {
        if hand.sleepers() > 0 {
            hand.advance(Duration::from_secs(1));
        }
        working[other].terms.try_recv().ok()
    })
    .await;
    assert_eq!(second.cursor(), Position(7));
    let mut late = Batch::new();
    first.set_cursor(&mut late, Position(9));
    let refused = first.commit(late).await;
    assert!(matches!(refused, Err(CommitError::Conflict { .. })), "{refused:?}");
    assert!(first.is_lost() && first.ended().is_cancelled());
    assert_eq!(right.store.cursor("conformance").await.expect("read"), Position(7));
    assert!(!second.is_lost());

    // Who goes in order is followed at once, without a look more.
    working[holder] = Working::begin(&[&left, &right][holder].store, &clock);
    found(|| (hand.sleepers() == 2).then_some(())).await;
    working[other].stop.cancel();
    let third = found(|| working[holder].terms.try_recv().ok()).await;
    assert!(third.commit(Batch::new()).await.is_ok());
    working.iter().for_each(|one| one.stop.cancel());
    left.close().await;
    right.close().await;
}

/// A consumer that tells of its terms and works until they end.
struct Working {
    terms: tokio::sync::mpsc::UnboundedReceiver<Term>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Working {
    fn begin(store: &Store, clock: &Clock) -> Self {
        let consumer = Consumer::new(store, "conformance", clock, &Metrics::new());
        let (tell, terms) = tokio::sync::mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let task = tokio::spawn(async move {
            let work = |term: Term| {
                tell.send(term.clone()).ok();
                async move {
                    term.ended().cancelled().await;
                    Ok::<(), crate::Error>(())
                }
            };
            consumer.run(until, work).await;
        });
        Self { terms, stop, task }
    }
}

/// Looks until there is what is looked for.
async fn found<T>(mut find: impl FnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = find() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, look).await.expect("found in time")
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

/// Who was away while the log was trimmed is not told that nothing was touched meanwhile, and gets up to the head.
pub async fn who_follows_a_log_that_was_trimmed_knows_that_something_is_missing(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let topic = Topic::room("!a");
    let mut given = Vec::new();
    for number in 0..10 {
        given.push(log_number(&opened.store, number, topic).await);
    }
    let away = place.open().await;
    let touched = async |after| away.touched(after, 100).await.expect("read");
    assert!(!touched(Position::START).await.has_holes);
    opened.store.trim_log_now(given[4]).await.expect("trimmed");
    let found = touched(given[3]).await;
    assert!(found.has_holes && found.through >= given[9]);
    let found = touched(given[4]).await;
    assert!(!found.has_holes && found.positions.len() >= 5 && found.through >= given[9]);
    away.close().await.expect("closed");
    opened.close().await;
}
