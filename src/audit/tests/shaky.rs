//! A store in memory under which one read of the records panics or takes long.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use async_trait::async_trait;
use store::{Backend, Error, Interposed, MemoryBackend, Order, RawRange, RawRow};

use tokio::sync::oneshot;

use crate::tables::RECORDS;

#[derive(Default)]
pub(super) struct Shaky {
    memory: MemoryBackend,
    panics: AtomicBool,
    held: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

impl Shaky {
    /// Lets the next read of records panic, and no other.
    pub(super) fn panic_next(&self) {
        self.panics.store(true, SeqCst);
    }

    /// Holds up the next read of records with what it has found: when it is reached, and what lets it go.
    pub(super) fn hold_next(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((reached, is_reached), (go_on, goes_on)) = (oneshot::channel(), oneshot::channel());
        *self.held.lock().unwrap() = Some((reached, goes_on));
        (is_reached, go_on)
    }

    pub(super) fn has_panicked(&self) -> bool {
        !self.panics.load(SeqCst)
    }
}

#[async_trait]
impl Interposed for Shaky {
    fn behind(&self) -> &dyn Backend {
        &self.memory
    }

    async fn scan(&self, ranges: &[RawRange], order: Order, limit: usize) -> Result<Vec<Vec<RawRow>>, Error> {
        let of_records = ranges.iter().any(|range| range.table.id == RECORDS.raw().id);
        assert!(!(of_records && self.panics.swap(false, SeqCst)), "as the test wishes");
        let found = self.memory.scan(ranges, order, limit).await;
        let held = self.held.lock().unwrap().take_if(|_| of_records);
        if let Some((reached, goes_on)) = held {
            reached.send(()).unwrap();
            goes_on.await.unwrap();
        }
        found
    }
}
