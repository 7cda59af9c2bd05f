//! [`MailRates`]: how many mails may be asked for.

use base::{Address, Buckets, Clock, Rate};
use mail::EmailAddress;
use ruma::ServerName;

use crate::Error;

/// Mails to one address, whoever asks for them.
const TO_ADDRESS: Rate = Rate { per_second: 1.0 / 300.0, burst: 5 };
/// Mails that one network address may ask for: an office of 500 registers on one morning.
const OF_CLIENT: Rate = Rate { per_second: 0.5, burst: 600 };
/// Mails of one authority, whoever asks for them.
const OF_AUTHORITY: Rate = Rate { per_second: 1.0, burst: 2_000 };

/// How many mails were asked for.
pub(crate) struct MailRates {
    clock: Clock,
    to_address: Buckets,
    of_client: Buckets,
    of_authority: Buckets,
}

impl MailRates {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            to_address: Buckets::new(TO_ADDRESS),
            of_client: Buckets::new(OF_CLIENT),
            of_authority: Buckets::new(OF_AUTHORITY),
        }
    }

    /// Counts a mail that may be sent, whether or not one will be: nobody learns from it who is known.
    pub(crate) fn take(
        &self,
        authority: &ServerName,
        to: &EmailAddress,
        from: Option<Address>,
    ) -> Result<(), Error> {
        let now = self.clock.instant();
        let limited = |limit| move |retry_after| Error::Limited { limit, retry_after };
        // Those whose address is not known are counted together.
        self.of_client.take(&from, now).map_err(limited("mails_of_client"))?;
        let taken = self.to_address.take(&(authority, to), now).map_err(limited("mails_to_address"));
        taken.inspect_err(|_| self.of_client.put_back(&from, now))?;
        self.of_authority.take(&authority, now).map_err(limited("mails_of_authority")).inspect_err(|_| {
            self.of_client.put_back(&from, now);
            self.to_address.put_back(&(authority, to), now);
        })
    }
}
