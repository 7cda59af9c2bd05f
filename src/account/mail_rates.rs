//! [`MailRates`]: how many mails may be asked for.

use base::{Address, Buckets, Clock, Rate};
use mail::EmailAddress;
use ruma::ServerName;

use crate::Error;

/// Mails to one address, whoever asks for them.
const TO_ADDRESS: Rate = Rate { per_second: 1.0 / 300.0, burst: 5 };
/// Mails that one network address may ask for: an office of 500 registers on one morning.
const OF_CLIENT: Rate = Rate { per_second: 0.5, burst: 600 };
/// Those of them that are few: what a household asks for.
const FEW_OF_CLIENT: Rate = Rate { per_second: 1.0 / 120.0, burst: 20 };
/// Mails of one authority to those who ask for few, and to those who ask for more: a handful of strangers who ask for as
/// many as they may keep nobody from getting his own.
const OF_AUTHORITY: Rate = Rate { per_second: 0.5, burst: 1_000 };

/// How many mails were asked for.
pub(crate) struct MailRates {
    clock: Clock,
    to_address: Buckets,
    of_client: Buckets,
    few_of_client: Buckets,
    of_authority: Buckets,
}

impl MailRates {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            to_address: Buckets::new(TO_ADDRESS),
            of_client: Buckets::new(OF_CLIENT),
            few_of_client: Buckets::new(FEW_OF_CLIENT),
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
        let to = (authority, to.without_detail());
        let taken = self.to_address.take(&to, now).map_err(limited("mails_to_address"));
        taken.inspect_err(|_| self.of_client.put_back(&from, now))?;
        let is_one_of_few = self.few_of_client.take(&(authority, from), now).is_ok();
        let taken = self.of_authority.take(&(authority, is_one_of_few), now);
        taken.map_err(limited("mails_of_authority")).inspect_err(|_| {
            self.of_client.put_back(&from, now);
            self.to_address.put_back(&to, now);
            if is_one_of_few {
                self.few_of_client.put_back(&(authority, from), now);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::server_name;

    use super::*;

    fn at(last: u8) -> Option<Address> {
        Some(Address::of(std::net::Ipv4Addr::new(192, 0, 2, last).into()))
    }

    fn to(name: &str) -> EmailAddress {
        format!("{name}@example.jp").parse().unwrap()
    }

    #[test]
    fn a_few_strangers_who_ask_for_all_they_may_keep_nobody_from_his_mail() {
        let (clock, _hand) = Clock::manual(0);
        let (rates, here) = (MailRates::new(&clock), server_name!("kanazawa.test"));
        let mut refused = 0;
        for stranger in 1..=10 {
            for number in 0..600 {
                let asked = rates.take(here, &to(&format!("u{stranger}.{number}")), at(stranger));
                refused += u32::from(asked.is_err());
            }
        }
        assert!(refused > 4_000, "{refused}");
        for number in 0..5 {
            rates.take(here, &to(&format!("hanako{number}")), at(99)).unwrap();
        }
        // Another authority has its own.
        rates.take(server_name!("wajima.test"), &to("u"), at(1)).unwrap_err();
        rates.take(server_name!("wajima.test"), &to("u"), at(98)).unwrap();
    }

    #[test]
    fn what_stands_behind_a_plus_makes_no_other_address_of_one() {
        let (clock, _hand) = Clock::manual(0);
        let (rates, here) = (MailRates::new(&clock), server_name!("kanazawa.test"));
        for number in 0..5 {
            rates.take(here, &to(&format!("hanako+{number}")), at(number)).unwrap();
        }
        for name in ["hanako", "hanako+x"] {
            let refused = rates.take(here, &to(name), at(9));
            assert!(matches!(refused, Err(Error::Limited { limit: "mails_to_address", .. })), "{name}");
        }
        rates.take(here, &to("taro+x"), at(9)).unwrap();
    }
}
