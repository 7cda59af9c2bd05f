//! A client's address, as limits count it.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::{Buckets, Instant, Rate};

/// An IPv4 address, or the /64 network of an IPv6 address: whoever has one address of such a network has
/// all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u128);

impl Address {
    /// The address that this one counts as.
    pub fn of(ip: IpAddr) -> Address {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Address(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Address(ip.to_bits() & !u128::from(u64::MAX)),
        }
    }

    /// `192.0.2.1` or `2001:db8::/64`: for records that are to tell it. It has no `Display`, so that no line of
    /// the log does.
    pub fn written(&self) -> String {
        let ip = Ipv6Addr::from_bits(self.0);
        ip.to_ipv4_mapped().map_or_else(|| format!("{ip}/64"), |ip| ip.to_string())
    }

    /// The same, back.
    pub fn read(written: &str) -> Option<Address> {
        let ip = written.strip_suffix("/64").unwrap_or(written);
        ip.parse().ok().map(Address::of)
    }

    /// The networks that this one lies in, smallest first: one address of IPv4; of IPv6 also those that providers give to one
    /// customer, who has all addresses in it.
    pub fn networks(&self) -> impl Iterator<Item = Network> + use<> {
        let is_alone = Ipv6Addr::from_bits(self.0).to_ipv4_mapped().is_some();
        let (address, sizes) = (self.0, if is_alone { &SIZES[..1] } else { &SIZES[..] });
        sizes.iter().map(move |(bits, share)| Network {
            bits: if is_alone { 128 } else { *bits },
            first: if is_alone { address } else { address & (u128::MAX << (128 - bits)) },
            share: *share,
        })
    }
}

/// Leading bits of networks, and how many times the share of an address all in one have together.
const SIZES: [(u32, u32); 3] = [(64, 1), (56, 2), (48, 4)];

/// A network that addresses lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    bits: u32,
    first: u128,
    share: u32,
}

impl Network {
    /// How many times the share of one address all addresses in it have together.
    pub fn share(&self) -> u32 {
        self.share
    }
}

/// How often something may be done from an address, and from the networks around it, which have larger shares.
#[derive(Debug)]
pub struct AddressBuckets([Buckets; SIZES.len()]);

impl AddressBuckets {
    /// With this rate for an address.
    pub fn new(rate: Rate) -> AddressBuckets {
        AddressBuckets(SIZES.map(|(_, share)| {
            let burst = rate.burst.saturating_mul(share);
            Buckets::new(Rate { per_second: rate.per_second * f64::from(share), burst })
        }))
    }

    /// Takes a token of the address and of each of its networks, for what is about to be done; of none where one has none.
    ///
    /// # Errors
    /// The time after which there will be one; never zero.
    pub fn take(&self, what: &impl Hash, from: Address, now: Instant) -> Result<(), Duration> {
        let taken: Vec<_> = self.0.iter().zip(from.networks()).collect();
        for (at, (buckets, network)) in taken.iter().enumerate() {
            if let Err(wait) = buckets.take(&(what, network), now) {
                for (buckets, network) in &taken[..at] {
                    buckets.put_back(&(what, network), now);
                }
                return Err(wait);
            }
        }
        Ok(())
    }

    /// Puts back what was taken: what was to be done was not, or does not count.
    pub fn put_back(&self, what: &impl Hash, from: Address, now: Instant) {
        for (buckets, network) in self.0.iter().zip(from.networks()) {
            buckets.put_back(&(what, network), now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::Clock;

    fn address(ip: &str) -> Address {
        Address::of(ip.parse().unwrap())
    }

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for ip in ["192.0.2.1", "2001:db8:1:2:3:4:5:6", "::ffff:192.0.2.1"] {
            assert_eq!(Address::read(&address(ip).written()), Some(address(ip)), "{ip}");
        }
        assert_eq!(Address::read("anna"), None);
    }

    #[test]
    fn who_has_a_larger_network_has_a_larger_share_and_no_more() {
        let now = Clock::system().instant();
        let taken = |ips: &mut dyn Iterator<Item = String>| {
            let buckets = AddressBuckets::new(Rate { per_second: 0.001, burst: 10 });
            ips.filter(|ip| buckets.take(&"x", address(ip), now).is_ok()).count()
        };
        assert_eq!(taken(&mut (0..99).map(|n| format!("2001:db8::{n}"))), 10);
        assert_eq!(taken(&mut (0..99).map(|n| format!("2001:db8:0:{n}::1"))), 20);
        assert_eq!(taken(&mut (0..99).map(|n| format!("2001:db8:0:{n}00::1"))), 40);
        assert_eq!(taken(&mut (0..99).map(|n| format!("2001:db8:{n}::1"))), 99);
        assert_eq!(taken(&mut (0..99).map(|n| format!("192.0.2.{n}"))), 99);
    }
}
