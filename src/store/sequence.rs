//! Sequences: identity numbers that are never given twice.
//!
//! Numbers are reserved in durable blocks and handed out from memory, so most cost nothing. A
//! crash loses the rest of a block; numbers are unique and grow, but have holes.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::{
    batch::Batch,
    error::CommitError,
    store::{SEQUENCES, Store},
};

/// How many numbers are reserved with one commit.
const BLOCK: u64 = 1_024;

/// How often a reservation is tried again when another process was faster.
const ATTEMPTS: usize = 50;

/// A source of numbers; see [`Store::sequence`].
#[derive(Clone)]
pub struct Sequence {
    store: Store,
    block: Arc<Block>,
}

/// What is reserved and not yet given of one sequence.
pub(crate) struct Block {
    name: String,
    left: Mutex<std::ops::Range<u64>>,
}

impl Block {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), left: Mutex::new(0..0) })
    }
}

impl Sequence {
    pub(crate) fn new(store: Store, block: Arc<Block>) -> Self {
        Self { store, block }
    }

    /// Gives the next number, from 1.
    ///
    /// # Errors
    /// When a new block cannot be reserved; then no number was given.
    pub async fn next(&self) -> Result<u64, CommitError> {
        let mut left = self.block.left.lock().await;
        if let Some(number) = left.next() {
            return Ok(number);
        }
        *left = self.reserve().await?;
        left.next().ok_or(CommitError::Unknown)
    }

    async fn reserve(&self) -> Result<std::ops::Range<u64>, CommitError> {
        let mut outcome = CommitError::Unknown;
        for _ in 0..ATTEMPTS {
            let name = self.block.name.as_str();
            let row = self.store.get(&SEQUENCES, name).await?;
            let start = row.unwrap_or(1);
            let end = start + BLOCK;
            let mut batch = Batch::new();
            match row {
                None => batch.insert(&SEQUENCES, name, &end),
                Some(old) => batch.replace(&SEQUENCES, name, &old, &end),
            };
            match self.store.commit(batch).await {
                Ok(_) => return Ok(start..end),
                // Another process was faster, or the block is perhaps reserved and lost: the next will do.
                Err(error @ (CommitError::Conflict { .. } | CommitError::Unknown)) => outcome = error,
                Err(error) => return Err(error),
            }
        }
        Err(outcome)
    }
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sequence({})", self.block.name)
    }
}
