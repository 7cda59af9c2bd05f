//! Why something was not done.

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is in no room with the authority.
    #[error("no room is shared with that server")]
    NoServer,
    /// The server answers, as far as is known, so there is nothing to be tried again.
    #[error("that server does not fail")]
    NotFailing,
    /// What is known of accounts could not be read or written.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// What is known of rooms could not be read.
    #[error(transparent)]
    Room(#[from] room::Error),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] store::CommitError),
}
