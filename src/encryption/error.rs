//! Why something was not done with keys.

/// Why something was not done with keys. Each variant is something a caller answers differently.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A one-time key of this id is there and is another one; the text is public and says which.
    #[error("{0}")]
    KeyExists(String),
    /// A value cannot be used; the text is public.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Something has not the shape that it must have; the text is public.
    #[error("bad JSON: {0}")]
    BadJson(String),
    /// A signature is missing or wrong; the text is public.
    #[error("bad signature: {0}")]
    BadSignature(String),
    /// A needed value is absent; the text is public.
    #[error("missing: {0}")]
    Missing(&'static str),
    /// A request or an object is larger than is kept; the text is public.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// There is no such thing; the text is public.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// Keys are backed up in another version by now.
    #[error("the backup's version is {current}")]
    WrongVersion {
        /// The version that takes keys.
        current: String,
    },
    /// Somebody else changed the same again and again.
    #[error("the keys changed under every attempt")]
    Contended,
    /// The account did not do its part.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// The rooms did not do their part.
    #[error("the rooms could not be used")]
    Room(#[from] room::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(store::CommitError),
}

impl From<store::CommitError> for Error {
    fn from(cause: store::CommitError) -> Self {
        match cause {
            store::CommitError::Conflict { .. } => Self::Contended,
            store::CommitError::Unknown | store::CommitError::Busy | store::CommitError::Store(_) => {
                Self::Commit(cause)
            }
        }
    }
}
