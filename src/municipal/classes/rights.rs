//! What people of a class may: [`Rights`].

use std::collections::BTreeSet;

/// Which rooms people of a class make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MakesRooms {
    /// All.
    #[default]
    All,
    /// Rooms for talking with one other person, as clients make them for direct messages.
    Direct,
    /// None.
    None,
}

/// What people of a class may. Everything, unless something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The zones from which they sign in; from everywhere, if there is no such list. An empty one lets nobody sign in.
    pub signs_in_from: Option<BTreeSet<String>>,
    /// The rooms that they make.
    pub makes_rooms: MakesRooms,
    /// Whether they list rooms in the directory.
    pub publishes_rooms: bool,
    /// Whether they invite users of other authorities.
    pub invites_outside: bool,
    /// Whether they send files.
    pub uploads: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            signs_in_from: None,
            makes_rooms: MakesRooms::All,
            publishes_rooms: true,
            invites_outside: true,
            uploads: true,
        }
    }
}
