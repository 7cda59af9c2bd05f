//! Why something was not done.

use intake::Words;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not done, for a reason that people are told.
    #[error("{}", .0.en)]
    Refused(Words),
    /// The accounts could not be asked.
    #[error("the accounts could not be asked: {0}")]
    Account(#[from] account::Error),
    /// The organisation could not be read.
    #[error("the organisation could not be read: {0}")]
    Organisation(#[from] organisation::Error),
    /// No change set was made.
    #[error("no change set was made: {0}")]
    Personnel(#[from] personnel::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
    /// Somebody could not be told now.
    #[error("somebody could not be told: {0}")]
    Telling(#[from] cases::PortError),
    /// The clock shows a day after the year 9999.
    #[error("the clock shows no day")]
    NoDay,
    /// The work ended by a fault of the program.
    #[error("the work ended by a fault of the program")]
    Failed(#[from] base::TaskFailed),
}

impl Error {
    /// The sentence for whoever wanted it; none where it is no matter of his.
    #[must_use]
    pub fn words(&self) -> Option<Words> {
        match self {
            Self::Refused(words) => Some(words.clone()),
            Self::Personnel(error) => error.words(),
            Self::Account(_)
            | Self::Organisation(_)
            | Self::Store(_)
            | Self::Commit(_)
            | Self::Telling(_)
            | Self::NoDay
            | Self::Failed(_) => None,
        }
    }
}

/// Both languages beside each other: `words!("日本語 {x}", "English {x}")`.
macro_rules! words {
    ($ja:literal, $en:literal $(,)?) => {
        ::intake::Words { ja: ::std::format!($ja), en: ::std::format!($en) }
    };
}

pub(crate) use words;
