//! User names that nobody gets.

use ruma::{OwnedUserId, ServerName, UserId};

/// The localpart of who writes server notices.
pub(crate) const NOTICES: &str = "_server";

/// Who writes the notices of an authority.
pub(crate) fn writer_of(authority: &ServerName) -> Option<OwnedUserId> {
    UserId::parse_with_server_name(NOTICES, authority).ok()
}

/// The localpart of who makes the rooms of an organisation.
pub(crate) const STEWARD: &str = "_rooms";

/// Who makes the rooms of an authority's organisation.
pub(crate) fn steward_of(authority: &ServerName) -> Option<OwnedUserId> {
    UserId::parse_with_server_name(STEWARD, authority).ok()
}
