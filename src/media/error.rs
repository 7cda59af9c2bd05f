//! Why something was not done with a file.

use std::{io, sync::Arc, time::Duration};

use base::ByteSize;
use room::Denial;
use sanitise::Reason;

/// Why something was not done with a file. Each variant is something that a caller answers differently.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file, or none that is shown.
    #[error("there is no such media")]
    NotFound,
    /// Its id was given out, and its file did not come in the time that was waited for it.
    #[error("the media is not uploaded yet")]
    NotYetUploaded,
    /// The id has its file.
    #[error("the media was uploaded already")]
    AlreadyUploaded,
    /// The id was given to somebody else.
    #[error("the id belongs to somebody else")]
    NotTheirs,
    /// The deployment's policy says no.
    #[error("refused by policy: {}", .0.private)]
    Denied(Denial),
    /// Nothing of the file leaves to the zone that asks.
    #[error("refused to the zone: {}", .0.code())]
    Refused(Reason),
    /// A scanner did not look at the file; worth another try later. The text is for the log.
    #[error("not scanned: {0}")]
    NotScanned(String),
    /// The zone's rules could not be applied to the file; worth another try later. The text is for the log.
    #[error("not judged: {0}")]
    Unjudged(String),
    /// The file is larger than is taken.
    #[error("the file is larger than {0}")]
    TooLarge(ByteSize),
    /// Another server's file is larger than is fetched.
    #[error("another server's file is larger than {0}")]
    TooLargeElsewhere(ByteSize),
    /// Another server could not be asked for its file, or its answer made no sense; the text is for the log.
    #[error("another server gave no file: {0}")]
    Elsewhere(String),
    /// An authority withholds very many files already, and this would be another server's.
    #[error("very many files are withheld already")]
    TooManyWithheld,
    /// Previews of links are switched off.
    #[error("previews are switched off")]
    NoPreviews,
    /// No thumbnail is made of a picture of more points than this.
    #[error("the picture has more than {0} points")]
    TooManyPoints(u64),
    /// No thumbnail can be made of the file; the text is public.
    #[error("no thumbnail: {0}")]
    NoThumbnail(&'static str),
    /// The user, or all users of the authority, have as much as they may.
    #[error("{of} may keep {bound} and no more")]
    Quota {
        /// Whose bound it is.
        of: QuotaOf,
        /// How much may be kept.
        bound: ByteSize,
    },
    /// Too many at once; worth another try after the wait.
    #[error("over the limit {limit}")]
    Limited {
        /// Which limit; the name is public.
        limit: &'static str,
        /// How long to wait.
        retry_after: Duration,
    },
    /// A value cannot be used; the text is public.
    #[error("invalid: {0}")]
    Invalid(&'static str),
    /// There is no room for more files.
    #[error("there is no room for more files: {0}")]
    NoRoom(String),
    /// The row is there and its file is not.
    #[error("the file {0} is gone")]
    FileGone(String),
    /// Files could not be read or written.
    #[error("a file could not be {doing}")]
    Files {
        /// What was to be done to it.
        doing: &'static str,
        /// Why it was not.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store that keeps files is away, or refuses us; worth another try later.
    #[error("a file could not be {doing} by the store that keeps files")]
    Away {
        /// What was to be done to it.
        doing: &'static str,
        /// Why it was not.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The bucket is that of another store.
    #[error(
        "the bucket and prefix belong to another server, whose files this one would remove; give each its own prefix"
    )]
    Foreign,
    /// Others wrote the same rows at the same time, again and again.
    #[error("the rows changed under every attempt")]
    Contended,
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] store::Error),
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Commit(store::CommitError),
}

/// Whose bound on what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaOf {
    /// One user's.
    User,
    /// That of all users of an authority.
    Authority,
}

impl std::fmt::Display for QuotaOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::User => "a user",
            Self::Authority => "an authority",
        })
    }
}

impl Error {
    /// A file that could not be "written", "read", "removed".
    pub(crate) fn file(doing: &'static str, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull {
            return Self::NoRoom(error.to_string());
        }
        Self::Files { doing, cause: Arc::new(error) }
    }

    /// The same from a storage that is elsewhere.
    pub(crate) fn object(doing: &'static str, error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::FileGone(path),
            error => Self::Files { doing, cause: Arc::new(error) },
        }
    }
}

impl From<store::CommitError> for Error {
    fn from(cause: store::CommitError) -> Self {
        match cause {
            store::CommitError::Conflict { .. } => Self::Contended,
            store::CommitError::Unknown | store::CommitError::Busy | store::CommitError::Store(_) => {
                Self::Commit(cause)
            }
        }
    }
}
