//! Why something was not done for an application service.

/// Why something was not done for an application service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Rooms could not be read.
    #[error(transparent)]
    Room(#[from] room::Error),
    /// Accounts could not be read.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// What is kept for encryption could not be read.
    #[error(transparent)]
    Encryption(#[from] encryption::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
}
