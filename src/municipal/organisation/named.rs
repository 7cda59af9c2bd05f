//! Whose account is meant by the name that an organisation has.

use ruma::{OwnedUserId, ServerName, UserId};

/// The user of a person's account: its localpart, or its whole id, of this authority alone. Names that begin with `_` are the
/// server's and its application services', and no person's.
#[must_use]
pub fn user_named(name: &str, authority: &ServerName) -> Option<OwnedUserId> {
    let user = match name.starts_with('@') {
        true => UserId::parse(name).ok().filter(|user| user.server_name() == authority),
        false => UserId::parse_with_server_name(name.to_ascii_lowercase(), authority).ok(),
    };
    user.filter(|user| !user.localpart().starts_with('_'))
}
