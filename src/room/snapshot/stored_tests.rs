//! Snapshots over a store.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use base::{Caches, Metrics, Tasks};
use store::{Batch, Options, Store, Table, Tuning};

use super::{Change, Error, Reclaimed, Snapshots};
use crate::ids::{EventSerial, RoomSerial, Root, StateKeySerial};

const ROOM: RoomSerial = RoomSerial(4);
static MARK: Table<u64, u64> = Table::new(999, "test.mark", Tuning::Small);

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

/// Deletes what these snapshots do not reach.
async fn reclaim(snapshots: &Snapshots, live: &[Root]) -> Reclaimed {
    let reached = snapshots.reached(ROOM, live).await.unwrap();
    let (mut done, mut after) = (Reclaimed::default(), None);
    while let Some(page) = snapshots.unreached(ROOM, &reached, after).await.unwrap() {
        snapshots.delete(Batch::new(), ROOM, &page.doomed).await.unwrap();
        done += page.counts;
        after = Some(page.last);
    }
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

    let done = reclaim(&snapshots, &[first, last]).await;

    assert!(done.deleted > 300 && done.kept > 50, "{done:?}");
    let report = snapshots.verify(ROOM, &[first, last]).await.unwrap();
    assert_eq!((report.chunks, report.broken), (done.kept, Vec::new()));
    let again = reclaim(&snapshots, &[first, last]).await;
    assert_eq!((again.kept, again.deleted), (done.kept, 0));
    assert_eq!(reclaim(&snapshots, &[]).await.deleted, done.kept);
    assert_eq!(snapshots.verify(ROOM, &[last]).await.unwrap().broken.len(), 1);
}

#[tokio::test]
async fn reclaiming_stops_when_the_room_is_written_meanwhile() {
    let (store, snapshots) = open(1 << 20).await;
    stored(&store, &snapshots, Root::EMPTY, &[set(1, 1)]).await;
    let mut batch = Batch::new();
    batch.put(&MARK, &1, &2);
    store.commit(batch).await.unwrap();

    let reached = snapshots.reached(ROOM, &[]).await.unwrap();
    let page = snapshots.unreached(ROOM, &reached, None).await.unwrap().unwrap();
    assert_eq!(page.doomed.len(), 1);
    let mut batch = Batch::new();
    batch.require(&MARK, &1, Some(&1));
    let outcome = snapshots.delete(batch, ROOM, &page.doomed).await;
    assert!(matches!(outcome, Err(Error::Changed)));
    assert_eq!(reclaim(&snapshots, &[]).await.deleted, 1, "it was still there");
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
