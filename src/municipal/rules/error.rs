//! Why something was not done.

use base::TaskFailed;

use crate::{
    verbs::VerbError,
    words::{Words, words},
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The organisation could not be read.
    #[error(transparent)]
    Organisation(#[from] organisation::Error),
    /// It is not done, for a reason that people are told.
    #[error("{}", .0.en)]
    Refused(Words),
    /// There is no such authority here.
    #[error("no such authority is here")]
    NoAuthority,
    /// Somebody else changed the rules at the same moment.
    #[error("somebody else changed the rules meanwhile")]
    Changed,
    /// What is on disk is not what was written.
    #[error("the stored rule {0} cannot be read: {1}")]
    Unreadable(u64, serde_json::Error),
    /// A verb of rooms was not done.
    #[error(transparent)]
    Verb(#[from] VerbError),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(store::CommitError),
    /// The process is about to end. What had begun goes on with the next one.
    #[error("the process is about to end")]
    Stopping,
    /// A fault of ours.
    #[error(transparent)]
    Failed(#[from] TaskFailed),
}

impl From<store::CommitError> for Error {
    fn from(error: store::CommitError) -> Self {
        match error {
            store::CommitError::Conflict { .. } => Self::Changed,
            other => Self::Commit(other),
        }
    }
}

impl Error {
    /// The sentence for whoever wanted it; none where it is no matter of his.
    #[must_use]
    pub fn words(&self) -> Option<Words> {
        Some(match self {
            Self::Refused(words) => words.clone(),
            Self::NoAuthority => {
                words!("その機関はこのサーバーにありません。", "There is no such authority here.")
            }
            Self::Changed => words!(
                "同時に別の操作がありました。もう一度お試しください。",
                "Somebody else changed something at the same moment; please try again."
            ),
            Self::Verb(VerbError::Refused(why)) => {
                words!("部屋の側で断られました({why})。", "The room does not allow it: {why}.")
            }
            Self::Stopping => words!(
                "サーバーが停止しようとしています。残りは次の起動で続きます。",
                "The server is about to stop; what is left goes on with its next start."
            ),
            Self::Organisation(_)
            | Self::Unreadable(..)
            | Self::Verb(VerbError::Failed(_))
            | Self::Store(_)
            | Self::Commit(_)
            | Self::Failed(_) => return None,
        })
    }
}
