//! What people of a class may: [`Rights`].

use std::{
    collections::BTreeSet,
    num::{NonZeroU16, NonZeroUsize},
};

use serde::{Deserialize, Serialize};

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

/// Whether people of a class have to have a second factor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NeedsFactor {
    /// As far as the authority's setting for all says.
    #[default]
    No,
    /// They have to.
    Yes {
        /// But for these zones, where a password is enough, and from where alone they set up their first one. With none of them
        /// they have to everywhere, and set it up wherever they sign in next.
        but_from: BTreeSet<String>,
    },
}

/// In which form people of a class are given files. None gives more than the zone does that they are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GivesFiles {
    /// As their zone has it.
    #[default]
    OfZone,
    /// Sanitised (無害化) alone, also where their zone gives more.
    Sanitised,
    /// In none.
    Nothing,
}

/// What people of a class may. Everything, unless something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The zones from which they sign in; from everywhere, if there is no such list. An empty one lets nobody sign in.
    pub signs_in_from: Option<BTreeSet<String>>,
    /// Whether they have to have a second factor.
    pub needs_factor: NeedsFactor,
    /// On how many devices they are signed in; without a number, on as many as they wish.
    pub devices: Option<NonZeroUsize>,
    /// The rooms that they make.
    pub makes_rooms: MakesRooms,
    /// Whether they list rooms in the directory.
    pub publishes_rooms: bool,
    /// Whether they invite users of other authorities.
    pub invites_outside: bool,
    /// Whether they send files.
    pub uploads: bool,
    /// In which form they are given files.
    pub gives_files: GivesFiles,
    /// How many days back they read; without a number, as far as others do.
    pub reads_back: Option<NonZeroU16>,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            signs_in_from: None,
            needs_factor: NeedsFactor::No,
            devices: None,
            makes_rooms: MakesRooms::All,
            publishes_rooms: true,
            invites_outside: true,
            uploads: true,
            gives_files: GivesFiles::OfZone,
            reads_back: None,
        }
    }
}
