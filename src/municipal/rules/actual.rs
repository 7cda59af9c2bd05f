//! A room as it is, as far as rules look at it.

use std::collections::{BTreeMap, BTreeSet};

use ruma::OwnedUserId;
use serde_json::Value;

/// What somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// He is in it.
    Joined,
    /// He is invited, or asks to come in.
    Waiting,
    /// He is kept out.
    Banned,
}

/// A piece of state: its type and its key.
pub type Piece = (String, String);

/// A room as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actual {
    /// The contents of the pieces of state that were asked for, as far as they are there.
    pub state: BTreeMap<Piece, Value>,
    /// Everybody who is in it, waits or is kept out.
    pub members: BTreeMap<OwnedUserId, Presence>,
    /// Who has all power because he made the room; power levels may not name him.
    pub creators: BTreeSet<OwnedUserId>,
    /// Whether other servers take part.
    pub is_shared: bool,
}

impl Actual {
    /// What somebody is in it.
    #[must_use]
    pub fn presence(&self, user: &OwnedUserId) -> Option<Presence> {
        self.members.get(user).copied()
    }

    pub(crate) fn content(&self, kind: &str, key: &str) -> Option<&Value> {
        self.state.get(&(kind.to_owned(), key.to_owned()))
    }
}
