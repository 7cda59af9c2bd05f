//! Other servers' files that cost much and came to nothing: larger than is fetched, or cut short. To find that out costs up
//! to as much as the largest file that is fetched, so for a while it is known, and not found out for each who asks anew.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use base::Instant;
use ruma::OwnedServerName;

/// So long a file is known to be too large: it never changes, but its origin may have answered with a wrong one.
pub(crate) const TOO_LARGE_FOR: Duration = Duration::from_secs(60 * 60);

/// So long nobody asks again for one that broke off, as any connection may.
pub(crate) const BROKEN_FOR: Duration = Duration::from_secs(60);

/// What came of one that broke off and was no more than this is not worth remembering.
pub(crate) const LITTLE: u64 = 1 << 20;

/// So many are known; the oldest goes first. Whoever pushes one out has had us fetch as many of his own.
const MOST: usize = 4_096;

/// A file: its server and its id.
type Key = (OwnedServerName, String);

/// Files that are not fetched, as found of late.
#[derive(Debug)]
pub(crate) struct Refused {
    kept: Duration,
    known: HashSet<Key>,
    /// In the order in which they are forgotten.
    until: VecDeque<(Instant, Key)>,
}

impl Refused {
    /// None yet; each is known for so long.
    pub(crate) fn new(kept: Duration) -> Self {
        Self { kept, known: HashSet::new(), until: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, key: Key, now: Instant) {
        self.forget_old(now);
        if !self.known.insert(key.clone()) {
            return;
        }
        self.until.push_back((now + self.kept, key));
        if self.until.len() > MOST
            && let Some((_, oldest)) = self.until.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn is_known(&mut self, key: &Key, now: Instant) -> bool {
        self.forget_old(now);
        self.known.contains(key)
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((_, key)) = self.until.pop_front_if(|(until, _)| *until <= now) {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use base::Clock;

    use super::*;

    fn key(number: usize) -> Key {
        ("a.test".try_into().unwrap(), number.to_string())
    }

    #[test]
    fn it_is_known_for_a_while_and_the_oldest_of_many_goes_first() {
        let (clock, hand) = Clock::manual(0);
        let kept = Duration::from_secs(60);
        let mut files = Refused::new(kept);
        (0..=MOST).for_each(|number| files.note(key(number), clock.instant()));
        files.note(key(MOST), clock.instant());
        let mut is_known = |number| files.is_known(&key(number), clock.instant());
        assert_eq!([0, 1, MOST].map(&mut is_known), [false, true, true]);
        hand.advance(kept - Duration::from_millis(1));
        assert!(is_known(1));
        hand.advance(Duration::from_millis(1));
        assert!(!is_known(1));
        assert!(files.known.is_empty() && files.until.is_empty());
    }
}
