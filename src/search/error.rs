//! Why there is no answer.

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `next_batch` is none that this server gave.
    #[error("`next_batch` is not a token of a search")]
    BadToken,
    /// Too many search at the same time; trying again a moment later helps.
    #[error("too many searches at once")]
    Busy,
    /// Rooms could not be read.
    #[error(transparent)]
    Room(#[from] room::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The index could not be written.
    #[error("the index could not be written: {0}")]
    Commit(#[from] store::CommitError),
}
