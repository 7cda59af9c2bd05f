//! Snapshots over a store.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use base::{Caches, Metrics, Tasks};
use store::{Batch, CommitError, Options, Store};

use super::{Change, Error, Reached, Reclaimed, Snapshots};
use crate::ids::{EventSerial, RoomSerial, Root, StateKeySerial};

const ROOM: RoomSerial = RoomSerial(4);

async fn open(cache_bytes: u64) -> (Store, Snapshots) {
    let metrics = Metrics::new();
    let tasks = Tasks::new(&metrics);
    let backend = Arc::new(store::MemoryBackend::new());
    let store = Store::open(backend, Options::default(), &tasks, &metrics).await.unwrap();
    (store.clone(), Snapshots::new(store, metrics.caches(), cache_bytes, &tasks))
}

fn set(key: u64, event: u64) -> Change {
    (StateKeySerial(key), Some(EventSerial(event)))
}

async fn stored(store: &Store, snapshots: &Snapshots, root: Root, changes: &[Change]) -> Root {
    let mut batch = Batch::new();
    let root = snapshots.apply(ROOM, root, changes, &mut batch).await.unwrap();
    store.commit(batch).await.unwrap();
    root
}

#[tokio::test]
async fn a_snapshot_is_read_by_another_process() {
    let (store, snapshots) = open(1 << 20).await;
    let many: Vec<_> = (0..3_000).map(|key| set(key, key + 1)).collect();
    let root = stored(&store, &snapshots, Root::EMPTY, &many).await;

    let tasks = Tasks::new(&Metrics::new());
    let other = Snapshots::new(store, &Caches::new(), 0, &tasks);
    let keys = [StateKeySerial(2_999), StateKeySerial(3_000)];
    assert_eq!(other.get(ROOM, root, &keys).await.unwrap(), [Some(EventSerial(3_000)), None]);
    assert_eq!(other.all(ROOM, root).await.unwrap().len(), 3_000);
    assert_eq!(other.len(ROOM, root).await.unwrap(), 3_000);
    assert!(other.verify(ROOM, &[root]).await.unwrap().broken.is_empty());
}

#[tokio::test]
async fn a_new_root_can_be_used_before_its_batch_is_written() {
    let (store, snapshots) = open(0).await;
    let mut root = Root::EMPTY;
    let mut receipts = Vec::new();
    for key in 0..500 {
        let mut batch = Batch::new();
        root = snapshots.apply(ROOM, root, &[set(key, key)], &mut batch).await.unwrap();
        receipts.push(store.submit(batch));
    }
    assert_eq!(snapshots.all(ROOM, root).await.unwrap().len(), 500);
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert!(snapshots.verify(ROOM, &[root]).await.unwrap().broken.is_empty());
}

async fn reached(snapshots: &Snapshots, live: &[Root]) -> Reached {
    let mut reached = Reached::default();
    snapshots.reach(ROOM, live, &mut reached).await.unwrap();
    reached
}

/// Condemns what these snapshots do not reach.
async fn condemn(store: &Store, snapshots: &Snapshots, live: &[Root]) -> u64 {
    let (reached, mut count, mut after) = (reached(snapshots, live).await, 0, None);
    loop {
        let mut batch = Batch::new();
        let page = snapshots.stage_condemned(&mut batch, ROOM, &reached, after).await.unwrap();
        let Some(page) = page else { return count };
        store.commit(batch).await.unwrap();
        count += page.condemned;
        after = Some(page.last);
    }
}

/// Deletes of what is condemned what these snapshots do not reach.
async fn delete(store: &Store, snapshots: &Snapshots, live: &[Root]) -> Reclaimed {
    let reached = reached(snapshots, live).await;
    let (mut done, mut after) = (Reclaimed::default(), None);
    loop {
        let mut batch = Batch::new();
        let page = snapshots.stage_deleted(&mut batch, ROOM, &reached, after).await.unwrap();
        let Some(page) = page else { return done };
        store.commit(batch).await.unwrap();
        snapshots.forget(ROOM, &page.doomed);
        done += page.counts;
        after = Some(page.last);
    }
}

async fn reclaim(store: &Store, snapshots: &Snapshots, live: &[Root]) -> Reclaimed {
    let condemned = condemn(store, snapshots, live).await;
    let done = delete(store, snapshots, live).await;
    assert_eq!(done.deleted, condemned);
    done
}

#[tokio::test]
async fn reclaiming_keeps_what_live_snapshots_reach_and_deletes_the_rest() {
    let (store, snapshots) = open(1 << 20).await;
    let many: Vec<_> = (0..2_000).map(|key| set(key, key)).collect();
    let first = stored(&store, &snapshots, Root::EMPTY, &many).await;
    let mut last = first;
    for key in 0..200 {
        last = stored(&store, &snapshots, last, &[set(key * 7, 90_000 + key)]).await;
    }

    let done = reclaim(&store, &snapshots, &[first, last]).await;

    assert!(done.deleted > 300 && done.kept > 50, "{done:?}");
    let report = snapshots.verify(ROOM, &[first, last]).await.unwrap();
    assert_eq!((report.chunks, report.broken), (done.kept, Vec::new()));
    let again = reclaim(&store, &snapshots, &[first, last]).await;
    assert_eq!((again.kept, again.deleted), (done.kept, 0));
    assert_eq!(reclaim(&store, &snapshots, &[]).await.deleted, done.kept);
    assert_eq!(snapshots.verify(ROOM, &[last]).await.unwrap().broken.len(), 1);
}

#[tokio::test]
async fn what_is_condemned_is_read_and_whoever_makes_it_anew_keeps_it() {
    let (store, snapshots) = open(1 << 20).await;
    let many: Vec<_> = (0..2_000).map(|key| set(key, key)).collect();
    let root = stored(&store, &snapshots, Root::EMPTY, &many).await;
    let count = condemn(&store, &snapshots, &[]).await;
    assert!(count > 30);
    assert_eq!(condemn(&store, &snapshots, &[]).await, count, "as who begins anew finds it");

    let other = Snapshots::new(store.clone(), &Caches::new(), 0, &Tasks::new(&Metrics::new()));
    assert_eq!(other.all(ROOM, root).await.unwrap().len(), 2_000);
    assert!(other.verify(ROOM, &[root]).await.unwrap().broken.is_empty());

    // Between what shows that nobody needs it and its end.
    let nothing = reached(&snapshots, &[]).await;
    let mut late = Batch::new();
    assert!(
        snapshots.stage_deleted(&mut late, ROOM, &nothing, None).await.unwrap().unwrap().doomed.len() > 30
    );
    assert_eq!(stored(&store, &other, Root::EMPTY, &many).await, root);
    assert!(matches!(store.commit(late).await, Err(CommitError::Conflict { .. })));
    assert_eq!(delete(&store, &snapshots, &[]).await.deleted, 0);
    assert!(snapshots.verify(ROOM, &[root]).await.unwrap().broken.is_empty());
}

#[tokio::test]
async fn what_is_reached_after_it_was_condemned_is_so_no_more() {
    let (store, snapshots) = open(1 << 20).await;
    let many: Vec<_> = (0..2_000).map(|key| set(key, key)).collect();
    let root = stored(&store, &snapshots, Root::EMPTY, &many).await;
    condemn(&store, &snapshots, &[]).await;
    assert_eq!(delete(&store, &snapshots, &[root]).await.deleted, 0);
    // Without another look at what is condemned.
    assert_eq!(delete(&store, &snapshots, &[]).await.deleted, 0);
    assert!(snapshots.verify(ROOM, &[root]).await.unwrap().broken.is_empty());
}

#[tokio::test]
async fn what_snapshots_reach_is_found_in_whatever_order_they_are_named() {
    let (store, snapshots) = open(1 << 20).await;
    let mut roots = vec![Root::EMPTY];
    for round in 0..60_u64 {
        // From any of those before, by some that come and some that go: trees of many shapes.
        let from = roots[usize::try_from(round * round * 7).unwrap() % roots.len()];
        let changes: Vec<_> = (0..1 + round * 13 % 300)
            .map(|step| (StateKeySerial(step * round % 700), (step % 3 > 0).then_some(EventSerial(round))))
            .collect();
        roots.push(stored(&store, &snapshots, from, &changes).await);
    }
    let named: Vec<Root> =
        roots.iter().copied().step_by(3).chain(roots.iter().rev().copied().step_by(7)).collect();
    let whole = snapshots.verify(ROOM, &named).await.unwrap();
    let done = reclaim(&store, &snapshots, &named).await;
    assert!(done.deleted > 100, "{done:?}");
    assert_eq!(snapshots.verify(ROOM, &named).await.unwrap(), whole);
    assert!(whole.broken.is_empty());
    // Each visited once for each place that it has, of which there may be several.
    assert!(done.kept <= whole.chunks, "{done:?} {whole:?}");
}

#[tokio::test]
async fn a_damaged_chunk_is_found_and_not_believed() {
    let (store, snapshots) = open(1 << 20).await;
    let many: Vec<_> = (0..1_000).map(|key| set(key, key)).collect();
    let root = stored(&store, &snapshots, Root::EMPTY, &many).await;
    let mut batch = Batch::new();
    let mut bytes = store.get(&super::CHUNKS, &(ROOM, root.0)).await.unwrap().unwrap().to_vec();
    bytes[5] ^= 1;
    batch.put(&super::CHUNKS, &(ROOM, root.0), &bytes.into());
    store.commit(batch).await.unwrap();

    let tasks = Tasks::new(&Metrics::new());
    let other = Snapshots::new(store, &Caches::new(), 0, &tasks);
    assert!(matches!(other.all(ROOM, root).await, Err(Error::Broken(_))));
    assert_eq!(other.verify(ROOM, &[root]).await.unwrap().broken.len(), 1);
}

/// Each change stands on the one before, and all are in one batch that nobody has submitted.
#[tokio::test]
async fn a_batch_of_many_changes_can_be_built_upon_until_it_is_submitted() {
    let (store, snapshots) = open(0).await;
    let hold = snapshots.hold();
    let mut batch = Batch::new();
    let mut root = Root::EMPTY;
    for key in 0..8_000 {
        root = snapshots.apply(ROOM, root, &[set(key, key)], &mut batch).await.unwrap();
    }
    let receipt = store.submit(batch);
    drop(hold);

    assert_eq!(snapshots.len(ROOM, root).await.unwrap(), 8_000);
    receipt.await.unwrap();
    assert!(snapshots.verify(ROOM, &[root]).await.unwrap().broken.is_empty());
}

#[tokio::test]
async fn chunks_are_let_go_when_nobody_holds_them_any_more() {
    let (_store, snapshots) = open(0).await;
    let (first, second) = (snapshots.hold(), snapshots.hold());
    let mut batch = Batch::new();
    let mut root = Root::EMPTY;
    for key in 0..8_000 {
        root = snapshots.apply(ROOM, root, &[set(key, key)], &mut batch).await.unwrap();
    }
    let held = snapshots.shelf().made_bytes();

    drop(first);
    assert_eq!(snapshots.shelf().made_bytes(), held, "the second one holds them still");
    drop(second);
    assert!(snapshots.shelf().made_bytes() <= 4 << 20);
}

/// Of another batch that nobody wrote, a chunk was in memory already when it was made anew.
#[tokio::test]
async fn what_is_made_anew_in_a_batch_is_there_until_it_is_submitted() {
    for is_forgotten in [false, true] {
        let (store, snapshots) = open(0).await;
        let few: Vec<_> = (0..100).map(|key| set(key, key)).collect();
        let mut given_up = Batch::new();
        let root = snapshots.apply(ROOM, Root::EMPTY, &few, &mut given_up).await.unwrap();
        drop(given_up);
        if is_forgotten {
            snapshots.forget(ROOM, &[super::ChunkHash(root.0)]);
        }

        let hold = snapshots.hold();
        let mut batch = Batch::new();
        assert_eq!(snapshots.apply(ROOM, Root::EMPTY, &few, &mut batch).await.unwrap(), root);
        let mut other = Root::EMPTY;
        for key in 0..8_000 {
            other = snapshots.apply(ROOM, other, &[set(key, key + 1)], &mut batch).await.unwrap();
        }
        assert_eq!(snapshots.len(ROOM, root).await.unwrap(), 100);
        let receipt = store.submit(batch);
        drop(hold);
        receipt.await.unwrap();
        assert!(snapshots.verify(ROOM, &[root, other]).await.unwrap().broken.is_empty());
    }
}
