//! Which IP addresses a peer's name may lead to.
//!
//! A server name is chosen by whoever writes it, and its DNS records by its owner. Without a check a
//! stranger could have us send requests into our own network. So the check is made on the address
//! that is about to be connected to, after every look-up and redirect, never on a name.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A block of IP addresses, such as `10.0.0.0/8` or `fc00::/7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text names no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address range; write for instance 10.0.0.0/8, fc00::/7 or 192.0.2.1")]
pub struct NetworkError(String);

impl Network {
    const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6(first: u16, second: u16, bits: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)), bits }
    }

    /// Whether the address lies in this block.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |width: u8| u32::from(width.saturating_sub(self.bits));
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = u32::from(ours) ^ u32::from(theirs);
                differing.checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = u128::from(ours) ^ u128::from(theirs);
                differing.checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NetworkError(text.to_owned());
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| error())?;
        if bits > width {
            return Err(error());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Ranges that are not the public internet: private, loopback, link-local, documentation, multicast.
const SPECIAL: [Network; 26] = [
    Network::v4(0, 0, 0, 0, 8),
    Network::v4(10, 0, 0, 0, 8),
    Network::v4(100, 64, 0, 0, 10),
    Network::v4(127, 0, 0, 0, 8),
    Network::v4(169, 254, 0, 0, 16),
    Network::v4(172, 16, 0, 0, 12),
    Network::v4(192, 0, 0, 0, 24),
    Network::v4(192, 0, 2, 0, 24),
    Network::v4(192, 88, 99, 0, 24),
    Network::v4(192, 168, 0, 0, 16),
    Network::v4(198, 18, 0, 0, 15),
    Network::v4(198, 51, 100, 0, 24),
    Network::v4(203, 0, 113, 0, 24),
    Network::v4(224, 0, 0, 0, 4),
    Network::v4(240, 0, 0, 0, 4),
    Network::v6(0, 0, 96),
    Network::v6(0x64, 0xff9b, 96),
    Network::v6(0x100, 0, 64),
    Network::v6(0x2001, 0, 32),
    Network::v6(0x2001, 0xdb8, 32),
    Network::v6(0x2002, 0, 16),
    Network::v6(0xfc00, 0, 7),
    Network::v6(0xfe80, 0, 10),
    Network::v6(0xfec0, 0, 10),
    Network::v6(0xff00, 0, 8),
    Network::v6(0x5f00, 0, 16),
];

/// Decides whether an address may be connected to.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    /// Whether ranges that are not the public internet may be reached. `false` unless set: a closed
    /// network sets it, or names its own ranges in `allow`.
    pub private: bool,
    /// Ranges that may be reached in any case; wins over the other two.
    pub allow: Vec<Network>,
    /// Ranges that may not be reached.
    pub deny: Vec<Network>,
}

impl Default for AddressPolicy {
    /// The public internet only.
    fn default() -> Self {
        Self { private: false, allow: Vec::new(), deny: Vec::new() }
    }
}

impl AddressPolicy {
    /// Everything may be reached: for closed networks and tests.
    pub fn anywhere() -> Self {
        Self { private: true, ..Self::default() }
    }

    /// Whether a connection to this address may be made.
    pub fn permits(&self, address: IpAddr) -> bool {
        // `::ffff:10.0.0.1` reaches the same machine as `10.0.0.1`.
        let address = address.to_canonical();
        let within = |ranges: &[Network]| ranges.iter().any(|range| range.contains(address));
        within(&self.allow) || (!within(&self.deny) && (self.private || !within(&SPECIAL)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_public_internet_is_open_and_the_rest_is_closed_by_default() {
        let policy = AddressPolicy::default();
        for open in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2001:db9::1", "11.0.0.0"] {
            assert!(policy.permits(ip(open)), "{open}");
        }
        for closed in [
            "127.0.0.1",
            "10.255.255.255",
            "192.168.0.7",
            "172.31.255.255",
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::7",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "ff02::1",
            "::10.0.0.1",
        ] {
            assert!(!policy.permits(ip(closed)), "{closed}");
        }
    }

    #[test]
    fn an_allowed_range_wins_over_a_denied_one() {
        let policy = AddressPolicy {
            private: true,
            deny: vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()],
            allow: vec!["10.1.2.0/24".parse().unwrap()],
        };
        assert!(policy.permits(ip("10.1.2.3")));
        assert!(!policy.permits(ip("10.1.3.3")));
        assert!(policy.permits(ip("192.168.1.1")));
        assert!(!policy.permits(ip("2606:4700::1")));
    }

    #[test]
    fn ranges_are_read_and_nonsense_is_refused() {
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains(ip("9.9.9.9")));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
