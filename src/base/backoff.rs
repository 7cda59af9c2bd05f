//! How long to wait before trying again.

use std::time::Duration;

use crate::Random;

/// Waits that double with each failure, up to a longest one, each with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `first` and never waits longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, failures: 0 }
    }

    /// Counts a failure and says how long to wait now: between half and all of
    /// `first × 2^failures`, at most `longest`.
    pub fn next(&mut self, random: &Random) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.min(31));
        self.failures = self.failures.saturating_add(1);
        random.jitter(self.first.saturating_mul(factor).min(self.longest))
    }

    /// It worked: the next failure starts again with the first wait.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How often it has failed since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes up a count that was remembered elsewhere, for instance before a restart.
    pub const fn resume(&mut self, failures: u32) {
        self.failures = failures;
    }
}
