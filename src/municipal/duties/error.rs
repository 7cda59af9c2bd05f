//! Why a duty was not given or found.

/// Why a duty was not given or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More accounts of an authority have duties than may.
    #[error("{0} accounts of this authority have a duty, and no more may")]
    TooMany(usize),
    /// Somebody sees to more parts than he may.
    #[error("nobody sees to more than {0} parts of the organisation")]
    TooManyParts(usize),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
}
