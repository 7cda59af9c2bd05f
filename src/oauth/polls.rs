//! [`Poll`]: what is remembered of a device that waits.

use std::time::Duration;

use base::Instant;

/// When a device asked last.
#[derive(Debug)]
pub(crate) struct Poll {
    pub(crate) last: Instant,
    pub(crate) interval: Duration,
}
