//! Why nobody could be looked for, or profiles could not follow.

/// Why nobody could be looked for, or profiles could not follow.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The organisation could not be read.
    #[error("the organisation could not be read: {0}")]
    Organisation(#[from] organisation::Error),
    /// Accounts could not be read or changed.
    #[error("accounts could not be read or changed: {0}")]
    Account(#[from] account::Error),
    /// The clock shows a day after the year 9999.
    #[error("the clock shows no day")]
    NoDay,
    /// Too many search at once; later it is answered.
    #[error("too many search at once")]
    Crowded,
    /// The process is about to end.
    #[error("the process is about to end")]
    Stopping,
    /// The work ended by a fault of the program.
    #[error("the work ended by a fault of the program")]
    Failed(#[from] base::TaskFailed),
}
