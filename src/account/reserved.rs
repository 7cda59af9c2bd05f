//! User names that nobody gets.

use ruma::{OwnedUserId, ServerName, UserId};

/// The localpart of who writes server notices.
pub(crate) const NOTICES: &str = "_server";

/// Who writes the notices of an authority.
pub(crate) fn writer_of(authority: &ServerName) -> Option<OwnedUserId> {
    UserId::parse_with_server_name(NOTICES, authority).ok()
}
