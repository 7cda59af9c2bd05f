//! [`Undone`]: why something that the bot does by itself is not done yet.

use bot_kit::{Failure, StoreError};

use crate::drops::Error;

/// Why a file is not in its room yet, or a link not looked after.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undone {
    #[error(transparent)]
    Homeserver(#[from] Failure),
    #[error(transparent)]
    Drops(#[from] Error),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Drops(error.into())
    }
}

impl From<std::io::Error> for Undone {
    fn from(error: std::io::Error) -> Self {
        Self::Drops(error.into())
    }
}
