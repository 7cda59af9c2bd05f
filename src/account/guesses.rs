//! Guesses: how often somebody may get a user's password wrong.
//!
//! Each user name, taken or not, has so many wrong guesses, and one more after each pause (see
//! [`GuessLimit`]). Who has used them up is turned away before a hash is computed. Held in memory: a
//! restart forgives.

use std::collections::HashMap;

use base::Timestamp;
use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};

use crate::{Error, GuessLimit, sessions::millis};

/// User names kept in mind; when there are more, those with few guesses are forgotten.
const MAX_NAMES: usize = 10_000;

/// Wrong guesses by user name.
pub(crate) struct Guesses {
    limit: GuessLimit,
    names: Mutex<HashMap<OwnedUserId, Wrong>>,
}

#[derive(Clone, Copy)]
struct Wrong {
    count: u32,
    since: Timestamp,
}

impl Wrong {
    /// What is left of the wrong guesses after time has passed.
    fn at(self, now: Timestamp, limit: &GuessLimit) -> Self {
        let periods = now.millis().saturating_sub(self.since.millis()) / millis(limit.pause).max(1);
        let forgiven = u32::try_from(periods).unwrap_or(u32::MAX);
        let count = self.count.saturating_sub(forgiven);
        let since = if forgiven == 0 { self.since } else { now };
        Self { count, since }
    }
}

impl Guesses {
    pub(crate) fn new(limit: GuessLimit) -> Self {
        Self { limit, names: Mutex::default() }
    }

    /// Whether the user's password may be guessed once more.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when it was guessed wrong too often.
    pub(crate) fn check(&self, user: &UserId, now: Timestamp) -> Result<(), Error> {
        let wrong = self.names.lock().get(user).map_or(0, |wrong| wrong.at(now, &self.limit).count);
        if wrong >= self.limit.wrong_allowed { Err(Error::Overloaded) } else { Ok(()) }
    }

    /// Notes a wrong guess.
    pub(crate) fn wrong(&self, user: &UserId, now: Timestamp) {
        let mut names = self.names.lock();
        if names.len() >= MAX_NAMES {
            names.retain(|_, wrong| wrong.at(now, &self.limit).count > self.limit.wrong_allowed / 2);
        }
        if names.len() >= MAX_NAMES && !names.contains_key(user) {
            return;
        }
        let wrong = names.entry(user.to_owned()).or_insert(Wrong { count: 0, since: now });
        *wrong = wrong.at(now, &self.limit);
        wrong.count = wrong.count.saturating_add(1);
    }

    /// The right password makes up for all wrong ones.
    pub(crate) fn right(&self, user: &UserId) {
        self.names.lock().remove(user);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::user_id;

    use super::*;

    #[test]
    fn as_many_wrong_guesses_as_the_limit_are_too_many_until_time_passes() {
        let limit = GuessLimit { wrong_allowed: 3, pause: Duration::from_secs(10) };
        let (guesses, user) = (Guesses::new(limit), user_id!("@hanako:kanazawa.test"));
        let at = |seconds: u64| Timestamp(1_000_000 + seconds * 1_000);
        for _ in 0..3 {
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
