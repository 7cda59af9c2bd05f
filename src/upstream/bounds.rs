//! How many logout tokens are looked at.

use base::{Address, AddressBuckets, Buckets, Instant, Rate};
use ruma::ServerName;

use crate::NotSignedOut;

/// Bad tokens of one address, and those of it that wait for keys.
const STRANGERS: Rate = Rate { per_second: 0.5, burst: 100 };
/// Good tokens of one authority's provider: all of 12,000 people in ten minutes. Each leaves rows for some minutes.
const ACCEPTED: Rate = Rate { per_second: 20.0, burst: 5_000 };

/// What bounds the taking of logout tokens.
pub(crate) struct Bounds {
    strangers: AddressBuckets,
    accepted: Buckets,
}

impl Bounds {
    pub(crate) fn new() -> Bounds {
        Bounds { strangers: AddressBuckets::new(STRANGERS), accepted: Buckets::new(ACCEPTED) }
    }

    /// Counts a token that is bad, or of which that is not known yet.
    pub(crate) fn count_bad(&self, from: Option<Address>, now: Instant) -> Result<(), NotSignedOut> {
        let Some(from) = from else { return Ok(()) };
        let taken = self.strangers.take(&(), from, now);
        taken.map_err(|retry_after| NotSignedOut::TooOften { retry_after })
    }

    /// It was not.
    pub(crate) fn was_good(&self, from: Option<Address>, now: Instant) {
        if let Some(from) = from {
            self.strangers.put_back(&(), from, now);
        }
    }

    /// Counts a good one.
    pub(crate) fn count_good(&self, authority: &ServerName, now: Instant) -> Result<(), NotSignedOut> {
        let taken = self.accepted.take(&authority, now);
        taken.map_err(|retry_after| NotSignedOut::Busy { retry_after })
    }

    /// It was there before.
    pub(crate) fn was_no_good_one(&self, authority: &ServerName, now: Instant) {
        self.accepted.put_back(&authority, now);
    }
}
