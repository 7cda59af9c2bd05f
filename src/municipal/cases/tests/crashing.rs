//! A process that dies between any two commits, or in one: nothing is lost or done twice.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use async_trait::async_trait;
use duties::Duty;
use store::{
    Backend, CommitError, Error as StoreError, Interposed, MemoryBackend, MemoryDisk, RawBatch, RawCommitted,
};

use super::*;
use crate::{
    Deed, State,
    tests::{
        effects::{deed, done},
        town::MIDNIGHT,
    },
};

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

const NOW: u64 = MIDNIGHT - 31 * 86_400_000 + 43_200_000;

async fn dying(disk: &MemoryDisk, left: i64, last_is_written: bool) -> Town {
    let memory = MemoryBackend::open(disk);
    let backend = Arc::new(Dying { memory, left: AtomicI64::new(left), last_is_written });
    Town::over(backend, NOW, true).await
}

/// Does what people would do next, as far as it goes.
async fn go_on(town: &Town, id: CaseId) -> Result<(), Error> {
    for name in ["bosai-cho", "p", "a", "b"] {
        match town.of(name, approve(id, None)).await {
            Ok(_) | Err(Error::NoCase | Error::NotYours | Error::Refused(_) | Error::Changed) => {}
            Err(error) => return Err(error),
        }
    }
    town.see_to().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn whoever_decides_and_carries_out_may_die_after_any_commit() {
    for kind in ["deed", "deed_alone", "duty"] {
        for (commits, last_is_written) in
            [(0, true), (1, false), (1, true), (2, false), (2, true), (3, true), (5, true)]
        {
            let disk = MemoryDisk::default();
            let town = Town::at(&disk, true).await;
            town.fill().await;
            let order = match kind {
                "duty" => duty_for("hanako", "reading"),
                kind => deed(kind, "防災課", "x"),
            };
            let id = town.ask("hanako", order).await;
            town.close().await;
            let mut kills = 0;
            loop {
                let town = dying(&disk, commits, last_is_written).await;
                // Whoever was to be told is told in the last life alone.
                *town.people.is_down.lock() = true;
                town.hand.advance(std::time::Duration::from_secs(120 * (kills + 1)));
                go_on(&town, id).await.ok();
                let state = town.state(id).await;
                town.close().await;
                kills += 1;
                assert!(kills < 60, "{kind} {commits} {last_is_written}: {state:?}");
                if state == State::Done {
                    break;
                }
            }
            let town = Town::at(&disk, true).await;
            let case = town.look(id).await;
            let count = |deed| case.history.iter().filter(|event| event.deed == deed).count();
            assert_eq!(
                (count(Deed::Approved), count(Deed::CarriedOut)),
                (2, 1),
                "{kind} {commits}: {:?}",
                case.history
            );
            match kind {
                "duty" => {
                    assert!(town.has("hanako", Duty::Reading).await);
                    assert_eq!(town.log("duty.give").await.len(), 6);
                }
                _ => assert_eq!(done(&town, "x", id).await, 1, "{kind} {commits}"),
            }
            let rows = town.log("case.").await;
            assert_eq!(rows.len(), 4, "a row for each deed: {rows:?}");
            town.hand.advance(std::time::Duration::from_secs(10_000));
            town.see_to().await;
            assert!(!town.people.told.lock().is_empty());
            assert_eq!(*town.people.again.lock(), 0);
            town.close().await;
        }
    }
}
