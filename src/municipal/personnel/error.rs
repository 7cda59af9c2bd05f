//! Why something was not done.

use base::TaskFailed;
use intake::FileError;
use organisation::Error as OrganisationError;

use crate::{
    names::PortError,
    words::{Words, words},
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The organisation was not read or changed.
    #[error(transparent)]
    Organisation(#[from] OrganisationError),
    /// Nothing of a file is taken.
    #[error("the file is not taken: {}", .0.words().en)]
    File(FileError),
    /// It is not done, for a reason that people are told.
    #[error("{}", .0.en)]
    Refused(Words),
    /// There is no such authority here.
    #[error("no such authority is here")]
    NoAuthority,
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
    /// The process is about to end. What had begun goes on with the next one.
    #[error("the process is about to end")]
    Stopping,
    /// Whose the names of users are could not be asked.
    #[error("whose the names of users are could not be asked: {0}")]
    Names(#[from] PortError),
    /// Too many orders wait for their turn.
    #[error("too many orders wait already")]
    Crowded,
    /// A fault of ours.
    #[error(transparent)]
    Failed(#[from] TaskFailed),
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl Error {
    /// The sentence for whoever wanted it; none where it is no matter of his.
    #[must_use]
    pub fn words(&self) -> Option<Words> {
        Some(match self {
            Self::File(error) => error.words(),
            Self::Refused(words) => words.clone(),
            Self::NoAuthority => {
                words!("その機関はこのサーバーにありません。", "There is no such authority here.")
            }
            Self::Organisation(OrganisationError::NoSet) => {
                words!("その番号の変更案はありません。", "There is no change set of this number.")
            }
            Self::Organisation(OrganisationError::Changed) => words!(
                "同時に別の操作がありました。もう一度お試しください。",
                "Somebody else changed something at the same moment; please try again."
            ),
            Self::Organisation(OrganisationError::TooLarge(ja, en)) => {
                words!("上限を超えています({ja})。", "Over a bound: {en}.")
            }
            Self::Organisation(OrganisationError::Refused(refusal)) => refusal.words(),
            Self::Crowded => words!(
                "ただいま混み合っています。しばらく待ってから、もう一度お試しください。",
                "Too many wait already; please try again in a while."
            ),
            Self::Stopping => words!(
                "サーバーが停止しようとしています。始まった変更は次の起動で続きます。",
                "The server is about to stop; what has begun goes on with its next start."
            ),
            Self::Organisation(OrganisationError::Store(_) | OrganisationError::Commit(_))
            | Self::Store(_)
            | Self::Commit(_)
            | Self::Names(_)
            | Self::Failed(_) => return None,
        })
    }
}
