//! How often somebody may do something: token buckets, one for each who does it.
//!
//! A bucket holds [`Rate::burst`] tokens and gets [`Rate::per_second`] more until it is full. Only those
//! that are not full are kept, and only so many: when strangers fill the table, who is new to it shares one
//! bucket with all others who are, and those who are in it notice nothing. Time is the stopwatch's, so
//! that setting the calendar neither frees nor locks anybody.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    time::Duration,
};

use parking_lot::Mutex;

use crate::Instant;

/// Buckets that are kept.
const MOST_BUCKETS: usize = 20_000;

/// So many times what one may do, all may do together who find no place in the table.
const SHARED: f64 = 10.0;

/// Full buckets are looked for at most so often.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// So often in the long run. Zero or less: there is no limit.
    pub per_second: f64,
    /// So often at once.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Rate = Rate { per_second: 0.0, burst: 0 };

    /// Whether there is no limit.
    pub fn is_unlimited(&self) -> bool {
        self.per_second <= 0.0
    }

    /// The time in which one token comes back.
    fn interval(&self) -> f64 {
        1.0 / self.per_second
    }
}

/// The buckets of all who do one thing. Who they are is told by anything that can be hashed.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    most: usize,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: HashMap<u64, Used>,
    /// The bucket of those who found no place.
    shared: Option<Used>,
    tidied: Option<Instant>,
}

/// What is missing in a bucket: in seconds until it is full, counted from a moment.
#[derive(Clone, Copy, Debug)]
struct Used {
    seconds: f64,
    at: Instant,
}

impl Used {
    fn left(self, now: Instant) -> f64 {
        (self.seconds - now.since(self.at).as_secs_f64()).max(0.0)
    }
}

impl Buckets {
    /// Full buckets for everybody.
    pub fn new(rate: Rate) -> Buckets {
        Buckets::at_most(rate, MOST_BUCKETS)
    }

    /// The same with another bound on those that are kept.
    pub fn at_most(rate: Rate, most: usize) -> Buckets {
        Buckets { rate, most, hasher: RandomState::new(), state: Mutex::default() }
    }

    /// Takes a token, for what is about to be done.
    ///
    /// # Errors
    /// The time after which there will be one; never zero.
    pub fn take(&self, who: &impl Hash, now: Instant) -> Result<(), Duration> {
        if self.rate.is_unlimited() {
            return Ok(());
        }
        let who = self.hasher.hash_one(who);
        let mut state = self.state.lock();
        if !state.used.contains_key(&who) && state.used.len() >= self.most {
            state.tidy(now);
            if state.used.len() >= self.most {
                let rate = Rate { per_second: self.rate.per_second * SHARED, ..self.rate };
                return one_more(state.shared.get_or_insert(Used { seconds: 0.0, at: now }), rate, now);
            }
        }
        if self.rate.burst == 0 {
            return Err(wait(self.rate.interval()));
        }
        one_more(state.used.entry(who).or_insert(Used { seconds: 0.0, at: now }), self.rate, now)
    }

    /// Whether there is a token; nothing is taken.
    ///
    /// # Errors
    /// The time after which there will be one.
    pub fn check(&self, who: &impl Hash, now: Instant) -> Result<(), Duration> {
        if self.rate.is_unlimited() {
            return Ok(());
        }
        let used = self.state.lock().used.get(&self.hasher.hash_one(who)).copied();
        one_more(&mut used.unwrap_or(Used { seconds: 0.0, at: now }), self.rate, now)
    }

    /// Puts a token back: what was to be done was not, or does not count.
    pub fn put_back(&self, who: &impl Hash, now: Instant) {
        let who = self.hasher.hash_one(who);
        let mut state = self.state.lock();
        if let Some(used) = state.used.get_mut(&who) {
            let left = used.left(now) - self.rate.interval();
            if left > 0.0 {
                *used = Used { seconds: left, at: now };
            } else {
                state.used.remove(&who);
            }
        }
    }

    /// Fills the bucket.
    pub fn forgive(&self, who: &impl Hash) {
        self.state.lock().used.remove(&self.hasher.hash_one(who));
    }

    /// How many buckets are kept now.
    pub fn len(&self) -> usize {
        self.state.lock().used.len()
    }

    /// Whether all buckets are full.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    /// Forgets full buckets, which are as good as none.
    fn tidy(&mut self, now: Instant) {
        if self.tidied.is_some_and(|tidied| now.since(tidied) < TIDY_EVERY) {
            return;
        }
        self.tidied = Some(now);
        self.used.retain(|_, used| used.left(now) > 0.0);
    }
}

fn one_more(used: &mut Used, rate: Rate, now: Instant) -> Result<(), Duration> {
    let left = used.left(now);
    let after = left + rate.interval();
    let over = after - f64::from(rate.burst) * rate.interval();
    // Less than that is what floating point loses.
    if over > 1e-9 {
        return Err(wait(over));
    }
    *used = Used { seconds: after, at: now };
    Ok(())
}

fn wait(seconds: f64) -> Duration {
    let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    wait.max(Duration::from_millis(1))
}
