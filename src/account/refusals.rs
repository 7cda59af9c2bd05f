//! Tries at what is for others, for the audit log: somebody who administers nothing asks to have an account locked.
//!
//! Whoever asks is signed in, so a row says who. Of one account so many are written in an hour ([`OF_ACCOUNT`]), of all of them
//! together a multiple; what lies beyond is counted, and the account's next row tells how often that was. A crash loses the
//! counts, not the rows.

use std::collections::HashMap;

use base::{Buckets, Clock, Rate};
use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};

/// Rows of one account: ten, and ten an hour.
const OF_ACCOUNT: Rate = Rate { per_second: 10.0 / 3600.0, burst: 10 };
/// Rows of all accounts of a process.
const OF_ALL: Rate = Rate { per_second: 0.5, burst: 1_000 };

/// Accounts whose counts are kept.
const MOST_KEPT: usize = 5_000;

/// Tries that were counted and have no row.
pub(crate) struct Refusals {
    clock: Clock,
    of_account: Buckets,
    of_all: Buckets,
    untold: Mutex<HashMap<OwnedUserId, u64>>,
}

impl Refusals {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            of_account: Buckets::new(OF_ACCOUNT),
            of_all: Buckets::new(OF_ALL),
            untold: Mutex::default(),
        }
    }

    /// Counts a try. How many a row tells of, if one is to be written now.
    pub(crate) fn count(&self, user: &UserId) -> Option<u64> {
        let now = self.clock.instant();
        let mut untold = self.untold.lock();
        let may_write = self.of_account.take(&user, now).is_ok() && self.of_all.take(&(), now).is_ok();
        if may_write {
            return Some(1 + untold.remove(user).unwrap_or_default());
        }
        if let Some(count) = untold.get_mut(user) {
            *count = count.saturating_add(1);
        } else if untold.len() < MOST_KEPT {
            untold.insert(user.to_owned(), 1);
        }
        None
    }
}
