//! What is stored of a room that is being entered.

use room::ids::{RoomSerial, Root};
use serde::{Deserialize, Serialize};
use store::{Table, Tuning};

/// Engine without a head of which somebody of ours is, or was, about to become a member; key: room. What is written for
/// that beforehand demands this row, which goes when the room gets its head.
pub(crate) static ENTERINGS: Table<RoomSerial, EnteringRow> = Table::new(86, "room.enterings", Tuning::Small);

/// Up to which state the projections of such a room have been brought; key: room. None: they are empty.
pub(crate) static BROUGHT: Table<RoomSerial, BroughtRow> = Table::new(87, "room.brought", Tuning::Small);

/// Row of [`ENTERINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnteringRow {
    /// Given once: who finds another one finds nothing of what he has written.
    pub(crate) number: u64,
    /// When somebody began the last time, in ms since 1970.
    pub(crate) since: u64,
    /// What was written is being taken away again.
    pub(crate) is_void: bool,
}
store::row!(EnteringRow, schema = 1);

/// Row of [`BROUGHT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BroughtRow {
    /// What the projections describe.
    pub(crate) projected: Root,
    /// Grows by one with each slice.
    pub(crate) slices: u64,
}
store::row!(BroughtRow, schema = 1);
