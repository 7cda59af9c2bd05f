//! [`Turns`]: whose turn it is.
//!
//! Whoever waits is served one thing at a time, and so many are at once; the others follow in the order in which they came to
//! be due. Who fails rests for longer and longer. Times are those since some moment, by a clock that nobody sets.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

/// How long one rests after a first failure; twice as long after each further one.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Those who wait and those who are served.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    at_once: usize,
    busy: usize,
    /// When somebody's turn is, and whose.
    queue: BTreeSet<(Duration, K)>,
    known: HashMap<K, State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it is in the queue for; none while it is served.
    due: Option<Duration>,
    /// Whether something came while it was served.
    is_woken: bool,
    failures: u32,
    rests_until: Duration,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How long until there is something to do again; none: nothing is left.
    pub(crate) next: Option<Duration>,
    pub(crate) has_failed: bool,
}

impl<K: Clone + Eq + Hash + Ord> Turns<K> {
    /// Of whom so many are served at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { at_once, busy: 0, queue: BTreeSet::new(), known: HashMap::new() }
    }

    /// There is something new for one; it is looked at when he does not rest.
    pub(crate) fn wake(&mut self, who: &K) {
        let is_new = !self.known.contains_key(who);
        let state = self.known.entry(who.clone()).or_default();
        match state.due {
            Some(due) => {
                self.queue.remove(&(due, who.clone()));
            }
            None if is_new => {}
            None => {
                state.is_woken = true;
                return;
            }
        }
        let due = state.rests_until;
        state.due = Some(due);
        self.queue.insert((due, who.clone()));
    }

    /// Who is served next, if it is time and not too many are.
    pub(crate) fn next(&mut self, now: Duration) -> Option<K> {
        let (due, who) =
            self.queue.first().filter(|(due, _)| self.busy < self.at_once && *due <= now)?.clone();
        self.queue.remove(&(due, who.clone()));
        self.known.entry(who.clone()).or_default().due = None;
        self.busy += 1;
        Some(who)
    }

    /// One was served.
    pub(crate) fn end(&mut self, who: &K, outcome: Outcome, now: Duration) {
        self.busy = self.busy.saturating_sub(1);
        let Some(state) = self.known.get_mut(who) else { return };
        state.failures = if outcome.has_failed { state.failures.saturating_add(1) } else { 0 };
        state.rests_until = now + rest(state.failures);
        let next = if std::mem::take(&mut state.is_woken) { Some(Duration::ZERO) } else { outcome.next };
        let Some(next) = next else {
            self.known.remove(who);
            return;
        };
        let due = (now + next).max(state.rests_until);
        state.due = Some(due);
        self.queue.insert((due, who.clone()));
    }

    /// When somebody can be served who cannot now, as far as that is known; none while enough are.
    pub(crate) fn earliest(&self) -> Option<Duration> {
        self.queue.first().filter(|_| self.busy < self.at_once).map(|(due, _)| *due)
    }
}

fn rest(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    FIRST_REST.saturating_mul(1 << doublings.min(10)).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const MORE: Outcome = Outcome { next: Some(Duration::ZERO), has_failed: false };
    const FAILED: Outcome = Outcome { next: Some(Duration::ZERO), has_failed: true };
    const NOTHING: Outcome = Outcome { next: None, has_failed: false };

    #[test]
    fn who_has_much_to_do_waits_behind_everybody_else_after_each_turn() {
        let mut turns = Turns::new(1);
        turns.wake(&"sakura");
        assert_eq!(turns.next(NOW), Some("sakura"));
        turns.wake(&"taro");
        assert_eq!(turns.next(NOW), None);
        turns.end(&"sakura", MORE, NOW);
        assert_eq!(turns.next(NOW), Some("taro"));
        turns.end(&"taro", NOTHING, NOW);
        assert_eq!(turns.next(NOW), Some("sakura"));
    }

    #[test]
    fn who_fails_rests_longer_and_longer_and_what_is_new_does_not_shorten_it() {
        let mut turns = Turns::new(2);
        turns.wake(&"sakura");
        let mut now = NOW;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(turns.next(now), Some("sakura"));
            turns.end(&"sakura", FAILED, now);
            turns.wake(&"sakura");
            let due = now + Duration::from_secs(seconds);
            assert_eq!((turns.next(now), turns.earliest()), (None, Some(due)));
            now = due;
        }
        assert_eq!(turns.next(now), Some("sakura"));
        turns.end(&"sakura", MORE, now);
        assert_eq!(turns.next(now), Some("sakura"));
    }

    #[test]
    fn what_comes_while_one_is_served_is_looked_at_afterwards_and_who_has_nothing_is_forgotten() {
        let mut turns = Turns::new(1);
        turns.wake(&"sakura");
        assert_eq!(turns.next(NOW), Some("sakura"));
        turns.wake(&"sakura");
        assert_eq!(turns.earliest(), None);
        turns.end(&"sakura", NOTHING, NOW);
        assert_eq!(turns.next(NOW), Some("sakura"));
        turns.end(&"sakura", NOTHING, NOW);
        assert_eq!((turns.next(NOW), turns.known.len()), (None, 0));
    }
}
