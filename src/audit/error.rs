//! Why a chain could not be carried on, or records could not go.

/// Why a chain could not be carried on, or records could not go. It is tried again; no row is lost by it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
    /// The log is not as it must be, and is left as it is.
    #[error("the log does not fit: {0}")]
    Wrong(&'static str),
    /// It changed again and again meanwhile.
    #[error("what is kept was changed by others meanwhile")]
    Moving,
}

impl Error {
    /// Whether it is about what was to be read, and not about the store as a whole.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Store(error) if is_damage(error))
    }
}

/// Whether something that is stored cannot be read, though the store can.
pub(crate) fn is_damage(error: &store::Error) -> bool {
    matches!(error, store::Error::Backend { .. } | store::Error::Corrupt { .. })
}
