//! A client's address, as limits count it.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::{Buckets, Instant, Rate};

/// An IPv4 address, or the /64 network of an IPv6 address: whoever has one address of such a network has
/// all of them.
///
/// It carries the zone of the listener that it came through, for records of what was done from it. Limits do not look at that:
/// one address is one, whatever it comes through.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    bits: u128,
    zone: Option<ZoneName>,
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.bits == other.bits
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Address) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Address) -> Ordering {
        self.bits.cmp(&other.bits)
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

/// Longest name of a zone, in bytes.
pub const LONGEST_ZONE: usize = 30;

/// The name of a zone, small enough to go wherever an address goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ZoneName {
    length: u8,
    bytes: [u8; LONGEST_ZONE],
}

impl ZoneName {
    /// This name; of one that is longer than configurations allow, its beginning.
    pub fn of(name: &str) -> ZoneName {
        let name = &name[..name.floor_char_boundary(LONGEST_ZONE)];
        let mut bytes = [0; LONGEST_ZONE];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        ZoneName { length: name.len() as u8, bytes }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Address {
    /// The address that this one counts as.
    pub fn of(ip: IpAddr) -> Address {
        let bits = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits() & !u128::from(u64::MAX),
        };
        Address { bits, zone: None }
    }

    /// The same, come through a listener of this zone.
    #[must_use]
    pub fn through(self, zone: Option<ZoneName>) -> Address {
        Address { zone, ..self }
    }

    /// The zone of the listener that it came through, if that stands in one.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_ref().map(ZoneName::as_str)
    }

    /// `192.0.2.1` or `2001:db8::/64`: for records that are to tell it. It has no `Display`, so that no line of
    /// the log does.
    pub fn written(&self) -> String {
        let ip = Ipv6Addr::from_bits(self.bits);
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
        let is_alone = Ipv6Addr::from_bits(self.bits).to_ipv4_mapped().is_some();
        let (address, sizes) = (self.bits, if is_alone { &SIZES[..1] } else { &SIZES[..] });
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
    fn an_address_is_one_whatever_it_comes_through_and_tells_that() {
        let lgwan = address("192.0.2.1").through(Some(ZoneName::of("lgwan")));
        assert_eq!(lgwan, address("192.0.2.1"));
        assert_eq!((lgwan.zone(), address("192.0.2.1").zone()), (Some("lgwan"), None));
        assert_eq!(ZoneName::of(&"町".repeat(20)).as_str(), "町".repeat(10));
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
