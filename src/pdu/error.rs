//! What can be wrong with the form of an event.

use ruma::IdParseError;

use crate::json::JsonError;

/// Why bytes are not an event of the given room version. Such an event is dropped, not rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not acceptable as canonical JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The canonical form is longer than [`crate::MAX_PDU_BYTES`].
    #[error("the event has {size_bytes} bytes, more than {}", crate::MAX_PDU_BYTES)]
    TooLarge {
        /// Its size, signatures included.
        size_bytes: usize,
    },
    /// A field is absent.
    #[error("`{field}` is missing")]
    Missing {
        /// Which one.
        field: &'static str,
    },
    /// A field has another JSON type than it must have.
    #[error("`{field}` is not {expected}")]
    WrongType {
        /// Which one.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A string is longer than [`crate::MAX_ID_BYTES`].
    #[error("`{field}` is longer than {} bytes", crate::MAX_ID_BYTES)]
    TooLong {
        /// Which one.
        field: &'static str,
    },
    /// A number is negative or too large for its meaning.
    #[error("`{field}` is out of range")]
    OutOfRange {
        /// Which one.
        field: &'static str,
    },
    /// Too many previous or auth events.
    #[error("`{field}` names more than {limit} events")]
    TooMany {
        /// Which one.
        field: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// An identifier does not follow its grammar.
    #[error("`{field}` is not a valid identifier")]
    Id {
        /// Which one.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: IdParseError,
    },
    /// The field may not be there in this room version.
    #[error("`{field}` must be absent in this room version")]
    Unexpected {
        /// Which one.
        field: &'static str,
    },
}
