//! A process that dies between any two commits, or in one, while a set is applied or undone.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use async_trait::async_trait;
use base::Timestamp;
use store::{
    Backend, Batch, CommitError, Error as StoreError, Interposed, MemoryBackend, MemoryDisk, RawBatch,
    RawCommitted,
};

use super::{
    storing::{Office, kanazawa},
    *,
};
use crate::{Refusal, SetId, State, calendar::begin_of, limits::SLICE};

/// A disk that takes so many commits and then none.
struct Dying {
    memory: MemoryBackend,
    left: AtomicI64,
    /// Whether the last one is written, and only its answer is lost.
    last_is_written: bool,
}

#[async_trait]
impl Interposed for Dying {
    fn behind(&self) -> &dyn Backend {
        &self.memory
    }

    async fn commit(&self, batches: Arc<Vec<RawBatch>>) -> Vec<Result<RawCommitted, CommitError>> {
        let left = self.left.fetch_sub(1, SeqCst);
        let count = batches.len();
        if left > 0 {
            return self.memory.commit(batches).await;
        }
        if left == 0 && self.last_is_written {
            self.memory.commit(batches).await;
        }
        let dead = || StoreError::backend("commit", "the process is dead");
        (0..count).map(|_| Err(CommitError::Store(dead()))).collect()
    }
}

/// So many people that a transfer of all of them takes several slices.
fn everybody(unit: &str, on: &str) -> String {
    let count = SLICE;
    (1..=count).map(|n| format!("{n},山田 花子{n},,{unit},主事,,{on},\n")).collect()
}

struct Prepared {
    disk: MemoryDisk,
    set: SetId,
    before: Organisation,
}

const APRIL: &str = "2026-04-01";

/// A set that is approved and due.
async fn prepared() -> Prepared {
    let office = Office::new().await;
    office.import(&everybody("防災課", "2020-04-01"), "2020-04-01").await;
    let before = office.known().await;
    let set = office.propose(&everybody("税務課", APRIL), APRIL).await;
    office.approve(set).await;
    office.store.close().await.unwrap();
    Prepared { disk: office.disk.clone(), set, before }
}

/// Over a disk that takes so many commits.
async fn dying(disk: &MemoryDisk, left: i64, last_is_written: bool) -> Office {
    let dying = Dying { memory: MemoryBackend::open(disk), left: AtomicI64::new(left), last_is_written };
    Office::over(Arc::new(dying), disk).await
}

/// Kills whoever applies the set after 0, 1, 2, … commits, until somebody comes to its end; gives how often.
async fn apply_with_kills(disk: &MemoryDisk, commits: i64, last_is_written: bool) -> usize {
    let now = begin_of(day(APRIL)).unwrap();
    for kills in 0..100 {
        let office = dying(disk, commits, last_is_written).await;
        let done = office.all.apply_due(kanazawa(), now, &unsaid).await;
        let known = office.known().await;
        assert_eq!(known.breaches(), [], "a half of an item");
        office.store.close().await.ok();
        if done.is_ok() {
            return kills;
        }
    }
    panic!("it comes to no end");
}

#[tokio::test]
async fn whoever_applies_a_set_may_die_after_any_commit() {
    let whole = prepared().await;
    let office = Office::at(&whole.disk).await;
    office.all.apply_due(kanazawa(), begin_of(day(APRIL)).unwrap(), &unsaid).await.unwrap();
    let (wanted, set) = (office.known().await, whole.set);
    let history = |office: &Office, organisation: &Organisation| {
        let (all, records) =
            (office.all.clone(), organisation.records().map(|(record, _)| record).collect::<Vec<_>>());
        async move {
            let mut entries = Vec::new();
            for record in records {
                entries.push(all.history(kanazawa(), record).await.unwrap());
            }
            entries
        }
    };
    let wanted_history = history(&office, &wanted).await;
    assert_ne!(wanted, whole.before);

    // One commit and then none; two and then none; … whether or not the last of each process was written.
    for (commits, last_is_written) in [(1, false), (0, true), (1, true), (2, false), (3, true)] {
        let crashing = prepared().await;
        let kills = apply_with_kills(&crashing.disk, commits, last_is_written).await;
        assert!(kills > 0, "nobody died");
        let office = Office::at(&crashing.disk).await;
        assert_eq!(office.known().await, wanted, "after {kills} kills");
        assert_eq!(office.state(set).await, State::Applied);
        assert_eq!(history(&office, &wanted).await, wanted_history, "each entry once");
    }
}

#[tokio::test]
async fn an_undoing_goes_on_after_a_crash_too_and_nobody_else_comes_between() {
    let Prepared { disk, set, before } = prepared().await;
    let now = begin_of(day(APRIL)).unwrap();
    let office = Office::at(&disk).await;
    office.all.apply_due(kanazawa(), now, &unsaid).await.unwrap();
    office.store.close().await.unwrap();

    let office = dying(&disk, 2, false).await;
    office.all.undo(kanazawa(), set, "hana", now, Batch::new()).await.unwrap_err();
    office.store.close().await.ok();
    let office = Office::at(&disk).await;
    assert!(matches!(office.state(set).await, State::Undoing { left } if left > 0));
    let other = office.all.change_sets(kanazawa(), Some(set), 10).await.unwrap()[0].0;
    let other = office.all.undo(kanazawa(), other, "taro", now, Batch::new()).await;
    assert_eq!(super::storing::refusal(other), Refusal::Busy);
    office.store.close().await.unwrap();

    let kills = apply_with_kills(&disk, 1, true).await;
    let office = Office::at(&disk).await;
    assert_eq!(
        (office.known().await, office.state(set).await),
        (before, State::Undone),
        "after {kills} kills"
    );
    assert_eq!(
        office.all.change_set(kanazawa(), set).await.unwrap().ended_by,
        Some(("hana".to_owned(), now))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_apply_at_once_do_it_once() {
    let Prepared { disk, set, .. } = prepared().await;
    let office = Office::at(&disk).await;
    let now = Timestamp(begin_of(day(APRIL)).unwrap().millis() + 1);
    let both = [1, 2].map(|_| {
        let all = office.all.clone();
        tokio::spawn(async move { all.apply_due(kanazawa(), now, &unsaid).await })
    });
    for one in both {
        // One may see that the other was faster; then nothing is left to do.
        assert!(matches!(one.await.unwrap(), Ok(_) | Err(crate::Error::Changed)));
    }
    assert_eq!(office.state(set).await, State::Applied);
    let known = office.known().await;
    assert_eq!(known.breaches(), []);
    for (record, _) in known.records() {
        let said = office.all.history(kanazawa(), record).await.unwrap();
        assert!(said.iter().filter(|entry| entry.set == set).count() <= 1, "{said:?}");
    }
}
