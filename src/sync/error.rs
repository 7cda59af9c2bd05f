//! Why there is no answer.

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `since` is no token of this server.
    #[error("`since` is not a token of this server")]
    BadToken,
    /// The filter cannot be read, or there is none with this id.
    #[error("the filter cannot be used: {0}")]
    BadFilter(String),
    /// What is asked is more than is taken, or makes no sense.
    #[error("the request cannot be answered: {0}")]
    BadRequest(String),
    /// A connection of sliding sync is not known any more, or not at this place.
    #[error("the connection is not known, or not at this place")]
    UnknownPos,
    /// Rooms could not be read.
    #[error(transparent)]
    Room(#[from] room::Error),
    /// Account data could not be read.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// What is unread could not be counted.
    #[error(transparent)]
    Push(#[from] push::Error),
    /// Keys could not be read.
    #[error(transparent)]
    Encryption(#[from] encryption::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether it says nothing of what was read, but that for now the store gives nothing: whoever goes on from there
    /// as if there were nothing misses it for ever.
    pub(crate) fn is_of_the_store(&self) -> bool {
        let error = match self {
            Self::Push(push::Error::Room(
                room::Error::Interrupted | room::Error::Contended | room::Error::Busy,
            )) => return true,
            Self::Store(error)
            | Self::Push(
                push::Error::Store(error)
                | push::Error::Room(room::Error::Store(error))
                | push::Error::Account(account::Error::Store(error)),
            )
            | Self::Room(room::Error::Store(error))
            | Self::Account(account::Error::Store(error))
            | Self::Encryption(encryption::Error::Store(error)) => error,
            Self::Room(room::Error::Interrupted | room::Error::Contended | room::Error::Busy) => return true,
            _ => return false,
        };
        matches!(error, store::Error::Unavailable { .. } | store::Error::Full(_) | store::Error::Closed)
    }
}
