//! How often somebody may change before it is told later: each change wakes all who share a room with him.

use std::time::Duration;

use base::Instant;

/// Changes that may be told at once.
const MOST: u32 = 6;

/// Each of them is forgotten after so long.
const EACH: Duration = Duration::from_secs(10);

/// The changes of somebody of late, of which one is forgotten after another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flips {
    /// When none of them counts any more.
    until: Option<Instant>,
}

impl Flips {
    /// Whether one more may be told now.
    pub(super) fn may(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until.since(now) <= EACH * (MOST - 1))
    }

    /// One more was told.
    pub(super) fn note(&mut self, now: Instant) {
        self.until = Some(self.until.map_or(now, |until| until.max(now)) + EACH);
    }
}

#[cfg(test)]
mod tests {
    use base::Clock;

    use super::*;

    #[test]
    fn some_come_at_once_then_one_after_another() {
        let mut now = Clock::manual(0).0.instant();
        let mut flips = Flips::default();
        for _ in 0..MOST {
            assert!(flips.may(now));
            flips.note(now);
        }
        assert!(!flips.may(now));
        now = now + EACH;
        assert!(flips.may(now));
        flips.note(now);
        assert!(!flips.may(now));
        now = now + EACH * (MOST + 1);
        (0..MOST).for_each(|_| flips.note(now));
        assert!(!flips.may(now));
    }
}
