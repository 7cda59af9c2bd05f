//! Guesses: how often a password may be got wrong, and by whom.
//!
//! A wrong guess is counted against the account *and* the address that it comes from, so that whoever
//! guesses shuts out himself and not the account's owner. Guesses at one account from many addresses are
//! counted together, and those from one address at many accounts; neither holds for an address from which
//! the account's password was right before. Where no address is known (behind a proxy that tells none), only
//! that wide count holds: such guesses may be anybody's, and a few of them must not shut out the owner. A
//! session of the user that is asked for the password again is counted by itself: nobody else can use up its
//! guesses.
//!
//! A guess is counted before the password is looked at, and taken back when it was right; else a
//! thousand at the same moment would all be allowed. Held in memory: a restart forgives.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use base::{Address, Buckets, Clock, Rate};
use quick_cache::sync::Cache;
use ruma::{DeviceId, UserId};

use crate::{Error, GuessLimit};

/// Pairs of account and address that are known to belong together.
const MOST_KNOWN: usize = 50_000;

/// Strangers' guesses at one account, all addresses together: so many times what one address has.
const STRANGERS: u32 = 10;

/// Guesses from one address at all accounts: wrong ones, and those that are being looked at. An office of
/// 500 may log in at the same moment, and some get it wrong.
const OF_ADDRESS: Rate = Rate { per_second: 1.0, burst: 1_000 };

/// How often the code of a second factor may be got wrong, by somebody who has the password. Of a million codes a few are
/// good at a time: so who guesses for a year, from wherever, has one chance in three to hit one.
pub(crate) const fn of_codes() -> GuessLimit {
    GuessLimit { wrong_allowed: 5, pause: Duration::from_secs(5 * 60) }
}

/// Who shows a password.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guesser<'a> {
    /// Somebody who logs in, from this address if it is known.
    LogIn(Option<Address>),
    /// A session of the user itself.
    Session(&'a DeviceId),
}

/// Wrong guesses.
pub(crate) struct Guesses {
    clock: Clock,
    /// By account and address.
    here: Buckets,
    /// By account, from addresses that it is not known at or that are not known themselves.
    strangers: Buckets,
    /// By address.
    addresses: Buckets,
    /// By account and device.
    sessions: Buckets,
    known: Cache<u64, ()>,
    hasher: RandomState,
}

/// A guess that has been counted.
pub(crate) struct Guess<'a> {
    user: &'a UserId,
    by: Guesser<'a>,
    known: bool,
}

impl Guesses {
    pub(crate) fn new(limit: Option<GuessLimit>, clock: &Clock) -> Self {
        let (one, strangers, address) = match limit {
            Some(GuessLimit { wrong_allowed, pause }) => {
                let per_second = 1.0 / pause.as_secs_f64().max(0.001);
                let one = Rate { per_second, burst: wrong_allowed };
                let strangers = Rate { per_second, burst: wrong_allowed.saturating_mul(STRANGERS) };
                (one, strangers, OF_ADDRESS)
            }
            None => (Rate::UNLIMITED, Rate::UNLIMITED, Rate::UNLIMITED),
        };
        Self {
            clock: clock.clone(),
            here: Buckets::new(one),
            strangers: Buckets::new(strangers),
            addresses: Buckets::new(address),
            sessions: Buckets::new(one),
            known: Cache::new(MOST_KNOWN),
            hasher: RandomState::new(),
        }
    }

    /// Counts a guess that is about to be made.
    ///
    /// # Errors
    /// [`Error::Limited`] when there were too many wrong ones.
    pub(crate) fn begin<'a>(&self, user: &'a UserId, by: Guesser<'a>) -> Result<Guess<'a>, Error> {
        let now = self.clock.instant();
        let limited = |limit| move |retry_after| Error::Limited { limit, retry_after };
        let address = match by {
            Guesser::Session(device) => {
                self.sessions.take(&(user, device), now).map_err(limited("wrong_passwords_of_session"))?;
                return Ok(Guess { user, by, known: true });
            }
            Guesser::LogIn(None) => {
                self.strangers.take(&user, now).map_err(limited("wrong_passwords_of_account"))?;
                return Ok(Guess { user, by, known: false });
            }
            Guesser::LogIn(Some(address)) => address,
        };
        self.here.take(&(user, address), now).map_err(limited("wrong_passwords"))?;
        let known = self.knows(user, address);
        if !known {
            let checked = self.strangers.take(&user, now).map_err(limited("wrong_passwords_of_account"));
            let checked = checked.and_then(|()| {
                let taken = self.addresses.take(&address, now);
                taken
                    .inspect_err(|_| self.strangers.put_back(&user, now))
                    .map_err(limited("wrong_passwords_of_address"))
            });
            checked.inspect_err(|_| self.here.put_back(&(user, address), now))?;
        }
        Ok(Guess { user, by, known })
    }

    /// The password was right: the guess does not count, and those before it are forgiven.
    pub(crate) fn right(&self, guess: &Guess<'_>) {
        let now = self.clock.instant();
        let user = guess.user;
        match guess.by {
            Guesser::Session(device) => self.sessions.forgive(&(user, device)),
            Guesser::LogIn(address) => {
                self.forget_stranger(guess, address, now);
                if let Some(address) = address {
                    self.here.forgive(&(user, address));
                    self.known.insert(self.hasher.hash_one((user, address)), ());
                }
            }
        }
    }

    /// Nothing was guessed after all: the server could not look.
    pub(crate) fn undone(&self, guess: &Guess<'_>) {
        let now = self.clock.instant();
        match guess.by {
            Guesser::Session(device) => self.sessions.put_back(&(guess.user, device), now),
            Guesser::LogIn(address) => {
                if let Some(address) = address {
                    self.here.put_back(&(guess.user, address), now);
                }
                self.forget_stranger(guess, address, now);
            }
        }
    }

    fn forget_stranger(&self, guess: &Guess<'_>, address: Option<Address>, now: base::Instant) {
        if guess.known {
            return;
        }
        self.strangers.put_back(&guess.user, now);
        if let Some(address) = address {
            self.addresses.put_back(&address, now);
        }
    }

    /// From now on this address is one of the user's own.
    pub(crate) fn learn(&self, user: &UserId, address: Address) {
        self.known.insert(self.hasher.hash_one((user, address)), ());
    }

    /// Whether this account's password was right at this address.
    fn knows(&self, user: &UserId, address: Address) -> bool {
        self.known.get(&self.hasher.hash_one((user, address))).is_some()
    }
}

#[cfg(test)]
mod tests {
    use base::ManualClock;
    use ruma::user_id;

    use super::*;

    fn guesses() -> (Guesses, ManualClock) {
        let (clock, hand) = Clock::manual(1_700_000_000_000);
        let limit = GuessLimit { wrong_allowed: 3, pause: Duration::from_secs(10) };
        (Guesses::new(Some(limit), &clock), hand)
    }

    fn at(ip: &str) -> Guesser<'static> {
        Guesser::LogIn(ip.parse().ok().map(Address::of))
    }

    #[test]
    fn who_guesses_shuts_out_himself_and_not_the_owner_of_the_account() {
        let ((guesses, hand), hanako) = (guesses(), user_id!("@hanako:kanazawa.test"));
        for _ in 0..3 {
            assert!(guesses.begin(hanako, at("192.0.2.1")).is_ok());
        }
        let refused = guesses.begin(hanako, at("192.0.2.1"));
        assert!(matches!(
            refused,
            Err(Error::Limited { limit: "wrong_passwords", retry_after }) if retry_after == Duration::from_secs(10)
        ));
        assert!(guesses.begin(user_id!("@taro:kanazawa.test"), at("192.0.2.1")).is_ok());
        let right = guesses.begin(hanako, at("192.0.2.2")).ok();
        guesses.right(&right.expect("another address"));
        hand.advance(Duration::from_secs(10));
        assert!(guesses.begin(hanako, at("192.0.2.1")).is_ok());
        assert!(guesses.begin(hanako, at("192.0.2.1")).is_err());
    }

    #[test]
    fn guesses_from_many_addresses_are_counted_together_but_not_where_the_owner_was_before() {
        let ((guesses, _hand), hanako) = (guesses(), user_id!("@hanako:kanazawa.test"));
        let home = guesses.begin(hanako, at("203.0.113.1")).ok();
        guesses.right(&home.expect("nothing was guessed yet"));
        let through = (0..100).filter(|n| guesses.begin(hanako, at(&format!("192.0.2.{n}"))).is_ok());
        assert_eq!(through.count(), 30);
        assert!(guesses.begin(hanako, at("203.0.113.1")).is_ok());
        assert!(guesses.begin(hanako, at("203.0.113.2")).is_err());
    }

    #[test]
    fn guesses_from_nowhere_are_counted_by_the_account_alone_and_widely() {
        let ((guesses, _hand), hanako) = (guesses(), user_id!("@hanako:kanazawa.test"));
        let nowhere = Guesser::LogIn(None);
        let right = guesses.begin(hanako, nowhere).ok();
        guesses.right(&right.expect("nothing was guessed yet"));
        let undone = guesses.begin(hanako, nowhere).ok();
        guesses.undone(&undone.expect("nothing was guessed yet"));
        assert_eq!((0..100).filter(|_| guesses.begin(hanako, nowhere).is_ok()).count(), 30);
        assert!(guesses.here.is_empty());
    }

    #[test]
    fn one_address_tries_only_so_many_accounts() {
        let (guesses, _hand) = guesses();
        let user = |n: usize| ruma::OwnedUserId::try_from(format!("@u{n}:kanazawa.test")).ok();
        let users: Vec<_> = (0..2_000).filter_map(user).collect();
        assert_eq!(users.iter().filter(|user| guesses.begin(user, at("192.0.2.1")).is_ok()).count(), 1_000);
        assert!(guesses.begin(&users[1_999], at("192.0.2.2")).is_ok());
    }

    #[test]
    fn a_session_is_not_locked_by_the_guesses_of_others() {
        let ((guesses, _hand), hanako) = (guesses(), user_id!("@hanako:kanazawa.test"));
        while guesses.begin(hanako, at("192.0.2.1")).is_ok() {}
        let stolen = Guesser::Session("STOLEN".into());
        while guesses.begin(hanako, stolen).is_ok() {}
        let own = Guesser::Session("PHONE".into());
        for _ in 0..10 {
            let guess = guesses.begin(hanako, own).ok();
            guesses.right(&guess.expect("its own guesses"));
        }
    }

    #[test]
    fn right_passwords_count_for_nothing() {
        let ((guesses, _hand), hanako) = (guesses(), user_id!("@hanako:kanazawa.test"));
        for _ in 0..100 {
            let guess = guesses.begin(hanako, at("192.0.2.1")).ok();
            guesses.right(&guess.expect("none was wrong"));
        }
        assert!(guesses.here.is_empty() && guesses.strangers.is_empty() && guesses.addresses.is_empty());
    }
}
