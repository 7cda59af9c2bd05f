//! What is told of the moment.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{NUMBERS, Opened, Place};
use crate::{Batch, Ear, MOST_TOLD, Moved, Position, Store, Topic};

/// An ear that keeps what it hears, and whether the head already showed it.
#[derive(Default)]
struct Listening {
    heard: Mutex<Vec<(Position, Bytes)>>,
    store: OnceLock<Store>,
}

impl Listening {
    /// Hears what is told to ears of this kind; [`Listening::hang_up`] lets the store go.
    fn at(store: &Store, kind: u8) -> Arc<Self> {
        let ear = Arc::new(Self { heard: Default::default(), store: OnceLock::from(store.clone()) });
        store.listen(kind, ear.clone());
        ear
    }

    fn heard(&self) -> Vec<(Position, Bytes)> {
        self.heard.lock().clone()
    }

    /// A store that its own ear holds would never end.
    fn hang_up(store: &Store, kind: u8) {
        store.listen(kind, Arc::new(Self::default()));
    }
}

impl Ear for Listening {
    fn hear(&self, position: Position, told: &[u8]) {
        if let Some(store) = self.store.get() {
            assert!(store.head() < position, "the head showed {position} before it was heard");
        }
        self.heard.lock().push((position, Bytes::copy_from_slice(told)));
    }
}

/// What is told is heard once, in the order of positions, before the head shows its position; an ear hears its own
/// kind alone. Batches that are refused tell nothing, and what was told is kept nowhere.
pub async fn what_is_told_is_heard_once_and_before_its_position_shows(place: &dyn Place) {
    let opened = Opened::at(place).await;
    let store = &opened.store;
    let (ear, other) = (Listening::at(store, 1), Listening::at(store, 2));
    let mut told = Vec::new();
    let mut submitted = Vec::new();
    for number in 0..40_u8 {
        let mut batch = Batch::new();
        if number % 3 == 0 {
            batch.log(1, Bytes::new(), [Topic::room("!a")]);
        }
        if number % 7 == 0 {
            // Refused: the row is never there.
            batch.require(&NUMBERS, &7, Some(&Bytes::from_static(b"there")));
        }
        let slot = batch.tell(1, &[number], [Topic::ephemeral("!a")]);
        batch.tell(9, &[number], []);
        submitted.push((number, slot, store.submit(batch)));
    }
    let before = Position::START;
    for (number, slot, receipt) in submitted {
        match receipt.await {
            Ok(committed) => told.push((committed.position(slot), Bytes::copy_from_slice(&[number]))),
            Err(_) => assert_eq!(number % 7, 0),
        }
    }
    assert_eq!(ear.heard(), told);
    assert_eq!(other.heard(), [], "it is for another");
    assert_eq!(store.moved(Topic::ephemeral("!a"), before), Moved::Maybe);
    let longest = vec![7; MOST_TOLD];
    let mut batch = Batch::new();
    batch.tell(2, &longest, []);
    store.commit(batch).await.expect("committed");
    assert_eq!(other.heard().pop().expect("it is heard").1, longest);
    let log = store.changes(Position::START, 100).await.expect("the log");
    assert!(log.iter().all(|entry| entry.kind == 1), "nothing of it is in the log");
    [1, 2].iter().for_each(|kind| Listening::hang_up(store, *kind));
    drop((ear, other));
    opened.crash(place).await;
    let opened = Opened::at(place).await;
    let ear = Listening::at(&opened.store, 1);
    assert_eq!(ear.heard(), []);
    Listening::hang_up(&opened.store, 1);
}

/// What either of two stores tells, both hear: once, in one order, before their heads show it.
pub async fn what_one_replica_tells_both_hear_at_its_position(place: &dyn Place) {
    let (left, right) = (Opened::at(place).await, Opened::at(place).await);
    let ears = [Listening::at(&left.store, 1), Listening::at(&right.store, 1)];
    let tellers: Vec<_> = [&left, &right]
        .into_iter()
        .zip(0_u8..)
        .map(|(opened, teller)| {
            let store = opened.store.clone();
            tokio::spawn(async move {
                let mut told = Vec::new();
                for number in 0..20 {
                    let mut batch = Batch::new();
                    let slot = batch.tell(1, &[teller, number], [Topic::ephemeral("!a")]);
                    let committed = store.commit(batch).await.expect("committed");
                    told.push((committed.position(slot), Bytes::copy_from_slice(&[teller, number])));
                }
                told
            })
        })
        .collect();
    let mut told = Vec::new();
    for teller in tellers {
        told.append(&mut teller.await.expect("the teller ends"));
    }
    told.sort();
    let last = told.last().expect("something was told").0;
    for (opened, ear) in [&left, &right].into_iter().zip(&ears) {
        opened.store.reach(last).await.expect("reached");
        assert_eq!(ear.heard(), told);
        Listening::hang_up(&opened.store, 1);
    }
    drop(ears);
    left.close().await;
    right.close().await;
}
