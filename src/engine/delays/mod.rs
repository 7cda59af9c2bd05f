//! The rows of delayed events, their bounds, and what state of others does to them. Who schedules and sends them is
//! `crate::delayed`.

mod overtaken;
pub mod tables;

use std::time::Duration;

pub(crate) use overtaken::DelayedRooms;

/// Bounds of delayed events.
#[derive(Clone, Copy, Debug)]
pub struct DelayLimits {
    /// The longest delay.
    pub longest: Duration,
    /// How many one user may have, beside those that he schedules at the same moment.
    pub most_of_user: usize,
}

impl Default for DelayLimits {
    fn default() -> Self {
        Self { longest: Duration::from_secs(24 * 60 * 60), most_of_user: 100 }
    }
}
