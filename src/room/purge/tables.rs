//! What is stored of a purge under way.

use audit::Actor;
use bytes::Bytes;
use ruma::UserId;
use serde::{Deserialize, Serialize};
use store::{Position, Table, Tuning};

use crate::ids::RoomSerial;

/// So many rooms are purged at a time; who orders more is told to come back.
pub const MOST_AT_ONCE: usize = 64;

/// Rooms that are being purged, and how far that is; key: room id.
pub static PURGES: Table<String, PurgeRow> = Table::new(88, "room.purges", Tuning::Small);

/// Rooms whose rows are all gone, but not the space that they took; key: the serial that the room had, value: of how many
/// tables it was given back.
pub static EMPTIED: Table<RoomSerial, u64> = Table::new(89, "room.emptied", Tuning::Small);

/// Row of [`PURGES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRow {
    /// The serial under which all is stored that has to go.
    pub room: RoomSerial,
    /// Whoever is left in the room is made to leave it.
    pub force: bool,
    /// Who ordered it, as the machine knows him.
    pub by: String,
    /// When, in ms since 1970.
    pub since: u64,
    /// What is done now.
    pub phase: Phase,
    /// The last key that is dealt with in the table of this phase.
    pub after: Option<Bytes>,
    /// How many rows are gone.
    pub rows: u64,
}
store::row!(PurgeRow, schema = 1);

/// What is done of a purge now, in this order. Up to [`Phase::Telling`] the room is here as ever, but that nobody
/// comes in; from [`Phase::Aliases`] on nobody knows it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Users of ours leave, if that is demanded; this often it was gone through all of them.
    Leaving {
        /// How often.
        rounds: u8,
    },
    /// Who reads the log comes past this position, and then the room is closed.
    Telling {
        /// The position.
        through: Position,
        /// Since when, in ms since 1970.
        since: u64,
    },
    /// Its aliases go.
    Aliases,
    /// Its former members keep that they left, and nothing else; the number is of the table in which they are found.
    Members(u8),
    /// The same for those whom no table of the room names any more; it is looked through all memberships for them.
    Strays,
    /// What came from other servers for it goes.
    Inbox,
    /// Its events go.
    Events,
    /// The rest goes; the number is of the table.
    Rest(u8),
    /// It is looked once more whether nobody who had begun before wrote something meanwhile; again by tables.
    Again(u8),
}

impl Phase {
    /// Whether the room is unknown by now.
    pub const fn is_closed(self) -> bool {
        !matches!(self, Self::Leaving { .. } | Self::Telling { .. })
    }

    /// Its word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leaving { .. } => "leaving",
            Self::Telling { .. } => "telling",
            Self::Aliases => "aliases",
            Self::Members(_) => "members",
            Self::Strays => "strays",
            Self::Inbox => "inbox",
            Self::Events => "events",
            Self::Rest(_) => "rest",
            Self::Again(_) => "again",
        }
    }
}

impl PurgeRow {
    /// The same in another phase, from its beginning.
    pub fn in_phase(&self, phase: Phase) -> Self {
        Self { phase, after: None, ..self.clone() }
    }

    /// Whoever ordered it, for the audit log.
    pub fn actor(&self) -> Actor {
        match <&UserId>::try_from(self.by.as_str()) {
            Ok(user) => Actor::user(user, true, None),
            Err(_) => Actor::operator(&self.by),
        }
    }
}
