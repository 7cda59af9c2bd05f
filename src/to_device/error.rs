//! Why messages were not taken.

/// Why messages were not taken. Nothing of them was kept then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A message has not the shape that it must have; the text is public.
    #[error("bad message: {0}")]
    BadMessage(String),
    /// A name in the request is longer than is kept; the text is public.
    #[error("invalid: {0}")]
    InvalidParam(&'static str),
    /// The messages are larger or more than go at once; the text is public.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// So much of what the sender has sent waits for one of the devices that nothing more of his is kept for it.
    #[error("the share that the sender has of an inbox is full")]
    ShareFull,
    /// Devices changed under every attempt.
    #[error("the devices changed under every attempt")]
    Contended,
    /// Devices could not be looked up.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
}
