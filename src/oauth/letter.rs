//! [`Letter`]: what two devices write to each other.

use base::Timestamp;
use bytes::Bytes;

/// What is in a letterbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What was written; encrypted, if the devices are honest.
    pub content: Bytes,
    /// Of which type.
    pub content_type: String,
    /// Tells this letter from those before and after it.
    pub tag: String,
    /// When it was written.
    pub written: Timestamp,
    /// When the letterbox goes, whatever is in it.
    pub expires: Timestamp,
}
