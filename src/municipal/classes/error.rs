//! Why it could not be found out who is of which class.

/// Why it could not be found out who is of which class.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The organisation could not be read.
    #[error("the organisation could not be read: {0}")]
    Organisation(#[from] organisation::Error),
    /// The store could not be read or written.
    #[error("the store could not be read or written: {0}")]
    Store(#[from] store::Error),
    /// The clock shows a day after the year 9999.
    #[error("the clock shows no day")]
    NoDay,
    /// The work ended by a fault of the program.
    #[error("the work ended by a fault of the program")]
    Failed(#[from] base::TaskFailed),
}
