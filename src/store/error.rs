//! What can go wrong in the store.

use std::sync::Arc;

use crate::{position::Position, table::TableId};

/// Why stored bytes could not be read as a key or a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end before the value does.
    #[error("the bytes end too early")]
    TooShort,
    /// The value ends before the bytes do.
    #[error("{0} bytes are left over")]
    Trailing(usize),
    /// The row was written by a newer version of its type.
    #[error("the row has schema {found}, this version knows up to {known}")]
    NewerSchema {
        /// The schema byte of the row.
        found: u8,
        /// The newest one known here.
        known: u8,
    },
    /// The bytes cannot be what they should be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The serialisation format refused the bytes.
    #[error("not a row of its type: {0}")]
    Row(postcard::Error),
}

/// Why the store could not be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The back end failed: disk, network, database.
    #[error("the storage back end failed to {doing}")]
    Backend {
        /// What was tried.
        doing: &'static str,
        /// What the back end said.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// There is no room left for more data, or only what is kept in reserve. Nothing was written;
    /// reading goes on, and writing does once there is room again.
    #[error("there is no room left to write to: {0}")]
    Full(String),
    /// The back end does not take this now, though it may later: the connection is lost, the disk is
    /// read-only or failed. Nothing was written.
    #[error("the storage back end cannot {doing} at the moment")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// What the back end said.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Stored bytes are not what they should be.
    #[error("a row of table {table} cannot be read")]
    Corrupt {
        /// The table's name.
        table: &'static str,
        /// What was wrong.
        #[source]
        cause: CodecError,
    },
    /// A counter's row is not a counter.
    #[error("a row of table {0:?} is no counter")]
    NotACounter(TableId),
    /// The data were written by a newer version of the program, which this one must not touch.
    #[error("the data have schema version {found}, this program knows up to {known}: use a newer program")]
    NewerSchema {
        /// Of the data.
        found: u32,
        /// Of this program.
        known: u32,
    },
    /// Somebody else has the data open.
    #[error("{place} is in use by another process")]
    InUse {
        /// Where the data lie.
        place: String,
    },
    /// The log was [trimmed](crate::trim) behind the place from which it was to be read: entries that followed it are
    /// gone. Who reads on has to make up for them by other means, or to begin anew.
    #[error("the log is trimmed: what followed position {after} is gone, up to {through} at least")]
    Trimmed {
        /// From where it was to be read.
        after: Position,
        /// The last entry that is known to be missing.
        through: Position,
    },
    /// The store was closed; nothing was read or written.
    #[error("the store is closed")]
    Closed,
    /// Something was asked of the wrong place, in words for the operator.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// A failure that may pass while `doing` ("read rows", "commit").
    pub fn unavailable(
        doing: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { doing, cause: Arc::from(cause.into()) }
    }

    /// Whether the back end, as it is, takes no writes from anybody.
    #[must_use]
    pub fn stops_writes(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Unavailable { .. })
    }

    /// A failure of the back end while `doing` ("read rows", "commit").
    pub fn backend(doing: &'static str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Backend { doing, cause: Arc::from(cause.into()) }
    }
}

impl CommitError {
    /// Whether it says that the store takes no writes from anybody: the store tells the operator, so
    /// who meets it need not.
    #[must_use]
    pub fn stops_writes(&self) -> bool {
        matches!(self, Self::Store(error) if error.stops_writes())
    }
}

/// Which precondition of a batch: they are numbered from 0 in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Precondition(pub(crate) u32);

/// Why a batch was not committed, or not known to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A precondition did not hold; nothing of the batch was written. Read again and decide anew.
    #[error("precondition {} on table {table:?} does not hold", .which.0)]
    Conflict {
        /// The first precondition that failed.
        which: Precondition,
        /// Its table.
        table: TableId,
    },
    /// The answer was lost: the batch is written or not. Look before doing it again.
    #[error("it is not known whether the batch was written")]
    Unknown,
    /// Too many batches wait; nothing was written. Wait with [`crate::Store::ready`].
    #[error("too many batches wait to be written")]
    Busy,
    /// The back end failed before writing; nothing was written.
    #[error("the batch could not be written")]
    Store(#[from] Error),
}

impl CommitError {
    /// For who writes without preconditions and alone, as a migration does: anything but written is a failure.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Store(error) => error,
            error => Error::Refused(error.to_string()),
        }
    }
}
