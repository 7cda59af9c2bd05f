//! Chance: the operating system's for real servers, a seeded one for tests that repeat.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Where randomness comes from. Cheap to clone; clones of a seeded one share its sequence.
#[derive(Clone)]
pub struct Random(Source);

#[derive(Clone)]
enum Source {
    Os,
    Seeded(Arc<Mutex<StdRng>>),
}

impl Random {
    /// Randomness fit for keys and tokens: a cryptographic generator seeded, and reseeded, by the
    /// operating system.
    pub const fn os() -> Random {
        Random(Source::Os)
    }

    /// The same sequence for the same seed. For tests only: anybody who knows the seed knows all.
    pub fn seeded(seed: u64) -> Random {
        Random(Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// Fills the buffer with random bytes.
    pub fn fill(&self, buffer: &mut [u8]) {
        match &self.0 {
            Source::Os => rand::rng().fill_bytes(buffer),
            Source::Seeded(generator) => generator.lock().fill_bytes(buffer),
        }
    }

    /// Any number.
    pub fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number of the range; the start when the range is empty.
    pub fn range(&self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return range.start;
        }
        match &self.0 {
            Source::Os => rand::rng().random_range(range),
            Source::Seeded(generator) => generator.lock().random_range(range),
        }
    }

    /// A word of `length` letters and digits, each with 5.95 bits of chance: 22 give 131 bits.
    pub fn token(&self, length: usize) -> String {
        let mut letters = String::with_capacity(length);
        let mut bytes = [0_u8; 64];
        while letters.len() < length {
            self.fill(&mut bytes);
            // 248 = 4 × 62: larger bytes are left out, so that no letter is likelier than another.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let missing = length - letters.len();
            letters.extend(fair.take(missing).map(|byte| char::from(ALPHANUMERIC[usize::from(byte % 62)])));
        }
        letters
    }

    /// A duration between half of the given one and all of it, so that many who wait do not all
    /// come back at once.
    pub fn jitter(&self, duration: Duration) -> Duration {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / 2;
        Duration::from_nanos(half.saturating_add(self.range(0..(nanos - half).saturating_add(1))))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Os => "Random::os",
            Source::Seeded(_) => "Random::seeded",
        })
    }
}
