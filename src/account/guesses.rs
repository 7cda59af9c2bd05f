//! Guesses: how often somebody may get a user's password wrong.
//!
//! Each user name, taken or not, has ten wrong guesses, and one more every ten seconds. Who has used
//! them up is turned away before a hash is computed. Held in memory: a restart forgives.

use std::{collections::HashMap, time::Duration};

use base::Timestamp;
use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};

use crate::{Error, sessions::millis};

/// Wrong guesses that are forgiven at once.
const ALLOWED: u32 = 10;
/// After this time one more is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// User names kept in mind; when there are more, those with few guesses are forgotten.
const MAX_NAMES: usize = 10_000;

/// Wrong guesses by user name.
#[derive(Default)]
pub(crate) struct Guesses(Mutex<HashMap<OwnedUserId, Wrong>>);

#[derive(Clone, Copy)]
struct Wrong {
    count: u32,
    since: Timestamp,
}

impl Wrong {
    /// What is left of the wrong guesses after time has passed.
    fn at(self, now: Timestamp) -> Self {
        let periods = now.millis().saturating_sub(self.since.millis()) / millis(FORGIVEN_AFTER).max(1);
        let forgiven = u32::try_from(periods).unwrap_or(u32::MAX);
        let count = self.count.saturating_sub(forgiven);
        let since = if forgiven == 0 { self.since } else { now };
        Self { count, since }
    }
}

impl Guesses {
    /// Whether the user's password may be guessed once more.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when it was guessed wrong too often.
    pub(crate) fn check(&self, user: &UserId, now: Timestamp) -> Result<(), Error> {
        let wrong = self.0.lock().get(user).map_or(0, |wrong| wrong.at(now).count);
        if wrong >= ALLOWED { Err(Error::Overloaded) } else { Ok(()) }
    }

    /// Notes a wrong guess.
    pub(crate) fn wrong(&self, user: &UserId, now: Timestamp) {
        let mut names = self.0.lock();
        if names.len() >= MAX_NAMES {
            names.retain(|_, wrong| wrong.at(now).count >= ALLOWED / 2);
        }
        if names.len() >= MAX_NAMES && !names.contains_key(user) {
            return;
        }
        let wrong = names.entry(user.to_owned()).or_insert(Wrong { count: 0, since: now });
        *wrong = wrong.at(now);
        wrong.count = wrong.count.saturating_add(1);
    }

    /// The right password makes up for all wrong ones.
    pub(crate) fn right(&self, user: &UserId) {
        self.0.lock().remove(user);
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn ten_wrong_guesses_are_too_many_until_time_passes() {
        let (guesses, user) = (Guesses::default(), user_id!("@hanako:kanazawa.test"));
        let at = |seconds: u64| Timestamp(1_000_000 + seconds * 1_000);
        for _ in 0..ALLOWED {
            assert!(guesses.check(user, at(0)).is_ok());
            guesses.wrong(user, at(0));
        }
        assert!(matches!(guesses.check(user, at(9)), Err(Error::Overloaded)));
        assert!(guesses.check(user_id!("@taro:kanazawa.test"), at(0)).is_ok());
        assert!(guesses.check(user, at(10)).is_ok());
        guesses.wrong(user, at(10));
        assert!(guesses.check(user, at(10)).is_err());
        guesses.right(user);
        assert!(guesses.check(user, at(10)).is_ok());
    }
}
