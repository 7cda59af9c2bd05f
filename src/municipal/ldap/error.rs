//! Why something was not done.

use base::TaskFailed;

use crate::words::{Words, words};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authority has no such source.
    #[error("there is no such source")]
    NoSource,
    /// The authority has several, of which one has to be named.
    #[error("there are several sources: name one")]
    WhichSource,
    /// An account could not be made or changed.
    #[error("the account: {0}")]
    Account(#[from] account::Error),
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(#[from] store::CommitError),
    /// What is kept cannot be read.
    #[error("a stored row cannot be read")]
    Damaged,
    /// A fault of ours.
    #[error(transparent)]
    Failed(#[from] TaskFailed),
}

impl Error {
    /// Whether somebody else changed the same at the same moment, so that another try may do.
    pub(crate) fn is_contended(&self) -> bool {
        matches!(self, Self::Account(account::Error::Contended))
    }

    /// The sentence for whoever wanted it; none where it is no matter of his.
    #[must_use]
    pub fn words(&self) -> Option<Words> {
        match self {
            Self::NoSource => Some(words!(
                "その名前の LDAP の連携元は、この機関にありません。",
                "This authority has no LDAP source of this name."
            )),
            Self::WhichSource => Some(words!(
                "LDAP の連携元が複数あります。--source で選んでください。",
                "There are several LDAP sources; choose one with --source."
            )),
            Self::Account(_) | Self::Store(_) | Self::Commit(_) | Self::Damaged | Self::Failed(_) => None,
        }
    }
}
