//! Why something was not done.

use base::TaskFailed;

use crate::{
    kind::KindError,
    people::PortError,
    words::{Told, words},
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such authority here.
    #[error("no such authority is here")]
    NoAuthority,
    /// There is no such case that he may see.
    #[error("there is no such case")]
    NoCase,
    /// He may see it, and not do this.
    #[error("it is not his to do")]
    NotYours,
    /// It is not done, for a reason that people are told.
    #[error("{}", .0.en)]
    Refused(Told),
    /// Somebody else changed something at the same moment, or since he looked.
    #[error("somebody else changed it meanwhile")]
    Changed,
    /// Too many orders wait for their turn.
    #[error("too many orders wait already")]
    Crowded,
    /// The organisation could not be read.
    #[error(transparent)]
    Organisation(#[from] organisation::Error),
    /// The duties could not be read.
    #[error(transparent)]
    Duties(#[from] duties::Error),
    /// Accounts, or what a kind does, failed now and may not the next time.
    #[error("{0}")]
    Port(String),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
    /// The process is about to end.
    #[error("the process is about to end")]
    Stopping,
    /// A fault of ours.
    #[error(transparent)]
    Failed(#[from] TaskFailed),
}

impl From<PortError> for Error {
    fn from(error: PortError) -> Self {
        Self::Port(error.0)
    }
}

impl From<KindError> for Error {
    fn from(error: KindError) -> Self {
        match error {
            KindError::Refused(told) => Self::Refused(told),
            KindError::Changed => Self::Changed,
            KindError::Failed(why) => Self::Port(why),
        }
    }
}

impl Error {
    /// The sentence for whoever wanted it; none where it is no matter of his.
    #[must_use]
    pub fn words(&self) -> Option<Told> {
        Some(match self {
            Self::NoAuthority => {
                words!("その機関はこのサーバーにありません。", "There is no such authority here.")
            }
            Self::NoCase => words!("その番号の案件はありません。", "There is no case of this number."),
            Self::NotYours => words!(
                "この案件についてその操作をする権限がありません。",
                "That is not yours to do with this case."
            ),
            Self::Refused(told) => told.clone(),
            Self::Changed => words!(
                "表示したあとに案件の状態が変わりました。内容をもう一度確かめてください。",
                "The case has changed since you opened it; please look at it once more."
            ),
            Self::Crowded => words!(
                "ただいま混み合っています。しばらく待ってから、もう一度お試しください。",
                "Too many wait already; please try again in a while."
            ),
            Self::Stopping => words!(
                "サーバーが停止しようとしています。しばらくしてから、もう一度お試しください。",
                "The server is about to stop; please try again later."
            ),
            Self::Organisation(_)
            | Self::Duties(_)
            | Self::Port(_)
            | Self::Store(_)
            | Self::Commit(_)
            | Self::Failed(_) => return None,
        })
    }
}
