//! Why an organisation could not be read or changed.

use crate::set::Refusal;

/// Why an organisation could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(store::CommitError),
    /// Somebody else changed something meanwhile; nothing was done. Read again and decide anew.
    #[error("somebody else changed the organisation meanwhile")]
    Changed,
    /// There is no such change set.
    #[error("there is no such change set")]
    NoSet,
    /// It is over a bound of [`crate::limits`]; nothing was done.
    #[error("{1}")]
    TooLarge(&'static str, &'static str),
    /// It is not done, for a reason that people are told.
    #[error("refused: {}", .0.words().en)]
    Refused(Refusal),
}

impl From<store::CommitError> for Error {
    fn from(error: store::CommitError) -> Self {
        match error {
            store::CommitError::Conflict { .. } => Self::Changed,
            other => Self::Commit(other),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
