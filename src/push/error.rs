//! Why there is no answer.

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `from` is no token of a list of notifications.
    #[error("`from` is not a token of this list")]
    BadToken,
    /// The event for which a client would subscribe its user to a thread is not in it.
    #[error("the event is not in the thread")]
    NotInThread,
    /// A pusher cannot be kept; the text is public.
    #[error("invalid: {0}")]
    Invalid(&'static str),
    /// It is larger than is kept; the text is public.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// Rooms could not be read.
    #[error(transparent)]
    Room(#[from] room::Error),
    /// Accounts could not be read, or did not do their part.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
}
