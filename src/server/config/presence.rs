//! Keys about who tells whom that he is there.

use serde::{Deserialize, Serialize};

/// Whether it is shown who is there, and to whom it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PresenceSettings {
    /// Whether it is at all.
    pub enabled: bool,
    /// In rooms with more members nobody is told.
    pub largest_room: u64,
}

impl Default for PresenceSettings {
    fn default() -> PresenceSettings {
        PresenceSettings { enabled: false, largest_room: 100 }
    }
}
