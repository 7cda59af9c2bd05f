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
    /// Rooms could not be read.
    #[error(transparent)]
    Room(#[from] room::Error),
    /// Account data could not be read.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
}
