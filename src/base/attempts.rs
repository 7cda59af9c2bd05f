//! Trying a write again that those of others came before.

use std::time::Duration;

use crate::Random;

/// Tries of one write that must stand on what it has read.
///
/// Whoever writes again and again comes before another one with even chances each time: of some hundred writes that
/// are tried eight times each beside him, one would be given up. So there are many tries, with pauses of random length
/// between them; and of so many that all write once, everybody gets his turn, for each try that is lost is another's
/// success.
#[derive(Debug)]
pub struct Attempts {
    failed: u32,
    most: u32,
}

impl Default for Attempts {
    /// As many as nobody loses by chance.
    fn default() -> Self {
        Self::at_most(50)
    }
}

impl Attempts {
    /// So many, where each is dear.
    #[must_use]
    pub const fn at_most(most: u32) -> Self {
        Self { failed: 0, most }
    }

    /// How many have failed.
    #[must_use]
    pub const fn failed(&self) -> u32 {
        self.failed
    }

    /// Counts one that failed and, where several have, waits for some milliseconds. Whether there is another one.
    pub async fn again(&mut self, random: &Random) -> bool {
        self.failed = self.failed.saturating_add(1);
        if self.failed >= self.most {
            return false;
        }
        if self.failed > 2 {
            let most_ms = 1_u64 << self.failed.min(5);
            // Real time on purpose: a steered clock must not hold up a write.
            tokio::time::sleep(Duration::from_millis(random.range(0..most_ms))).await;
        }
        true
    }
}
