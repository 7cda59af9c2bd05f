//! Why something was not done.

/// Accounts or rooms could not be asked now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// Why the addresses of an authority were not seen to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The organisation could not be read.
    #[error("the organisation could not be read: {0}")]
    Organisation(#[from] organisation::Error),
    /// Accounts or rooms could not be asked.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
    /// The clock shows a day after the year 9999.
    #[error("the clock shows no day")]
    NoDay,
    /// The work ended by a fault of the program.
    #[error("the work ended by a fault of the program")]
    Failed(#[from] base::TaskFailed),
}
