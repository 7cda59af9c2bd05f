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

/// Ranges that are not the public internet: private, loopback, link-local, documentation, multicast,
/// anycast to something near, tunnels, and all of IPv6 that is not given out for the internet.
///
/// Sources: <https://www.iana.org/assignments/iana-ipv4-special-registry>,
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>,
/// <https://www.iana.org/assignments/ipv6-address-space>
const SPECIAL: [Network; 22] = [
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
    // Everything outside 2000::/3, which is what the internet has.
    Network::v6(0, 0, 3),
    Network::v6(0x4000, 0, 2),
    Network::v6(0x8000, 0, 1),
    // And of that: protocol assignments with Teredo, documentation twice, 6to4.
    Network::v6(0x2001, 0, 23),
    Network::v6(0x2001, 0xdb8, 32),
    Network::v6(0x2002, 0, 16),
    Network::v6(0x3fff, 0, 20),
];

/// IPv4 addresses of which a translator makes IPv6 addresses, and the other way round (RFC 6052). Where
/// a network has no IPv4 of its own, DNS gives these for peers that have nothing else.
const TRANSLATED: Network = Network::v6(0x64, 0xff9b, 96);

/// The IPv4 addresses that packets to an IPv6 address may end up at: by translation, or in a tunnel.
fn carried(address: Ipv6Addr) -> Vec<IpAddr> {
    let bits = u128::from(address);
    let v4 = |bits: u128| IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or(0)));
    // So many bits from the right, as an IPv4 address.
    let at = |shift: u32| v4(bits >> shift);
    // Without the octet that a translator leaves free after the 64th bit, RFC 6052, 2.2.
    let embedding = (bits >> 64 << 56) | (bits & ((1 << 56) - 1));
    match address.segments() {
        // Translated, by a prefix of local use: of 48, 56, 64 or 96 bits, which nobody tells us. So each place
        // that the IPv4 address may stand at counts.
        [0x64, 0xff9b, 1, ..] => vec![v4(embedding >> 40), v4(embedding >> 32), v4(embedding >> 24), at(0)],
        // Translated, by the well-known prefix; IPv4-compatible.
        [0x64, 0xff9b, ..] | [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![at(0)],
        // 6to4.
        [0x2002, ..] => vec![at(80)],
        // Teredo: its server, and its client with all bits turned round.
        [0x2001, 0, ..] => {
            vec![at(64), v4(!bits)]
        }
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![at(0)],
        _ => Vec::new(),
    }
}

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
    ///
    /// An IPv6 address that carries an IPv4 address reaches what that reaches, so both have to be
    /// permitted.
    pub fn permits(&self, address: IpAddr) -> bool {
        // `::ffff:10.0.0.1` reaches the same machine as `10.0.0.1`.
        let address = address.to_canonical();
        let mut reached = match address {
            IpAddr::V4(_) => Vec::new(),
            IpAddr::V6(address) => carried(address),
        };
        // The prefix itself is as public as what it carries.
        if !TRANSLATED.contains(address) {
            reached.push(address);
        }
        let within = |ranges: &[Network]| ranges.iter().any(|range| range.contains(address));
        let all = reached.into_iter().all(|address| self.permits_alone(address));
        within(&self.allow) || (all && !within(&self.deny))
    }

    fn permits_alone(&self, address: IpAddr) -> bool {
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

    /// IANA's registries of special-purpose addresses, a row an entry: an address of the block, and whether we
    /// connect to it. Blocks that the registries call globally reachable are open, but for anycast
    /// addresses, which lead to something in our own network.
    #[test]
    fn every_special_purpose_block_of_iana_is_closed_unless_it_is_part_of_the_internet() {
        let closed = [
            ("this network, RFC 791", "0.0.0.1"),
            ("this host, RFC 1122", "0.0.0.0"),
            ("private use, RFC 1918", "10.1.2.3"),
            ("shared address space, RFC 6598", "100.64.0.1"),
            ("shared address space, RFC 6598", "100.127.255.254"),
            ("loopback, RFC 1122", "127.255.255.254"),
            ("link local, RFC 3927", "169.254.169.254"),
            ("private use, RFC 1918", "172.16.0.1"),
            ("private use, RFC 1918", "172.31.255.255"),
            ("IETF protocol assignments, RFC 6890", "192.0.0.200"),
            ("IPv4 service continuity prefix, RFC 7335", "192.0.0.1"),
            ("dummy address, RFC 7600", "192.0.0.8"),
            ("port control protocol anycast, RFC 7723", "192.0.0.9"),
            ("TURN anycast, RFC 8155", "192.0.0.10"),
            ("NAT64/DNS64 discovery, RFC 8880", "192.0.0.170"),
            ("documentation TEST-NET-1, RFC 5737", "192.0.2.1"),
            ("6to4 relay anycast, RFC 7526", "192.88.99.1"),
            ("private use, RFC 1918", "192.168.255.255"),
            ("benchmarking, RFC 2544", "198.18.0.1"),
            ("benchmarking, RFC 2544", "198.19.255.255"),
            ("documentation TEST-NET-2, RFC 5737", "198.51.100.1"),
            ("documentation TEST-NET-3, RFC 5737", "203.0.113.1"),
            ("multicast, RFC 5771", "224.0.0.1"),
            ("multicast, RFC 5771", "239.255.255.255"),
            ("reserved, RFC 1112", "240.0.0.1"),
            ("limited broadcast, RFC 8190", "255.255.255.255"),
            ("loopback, RFC 4291", "::1"),
            ("unspecified, RFC 4291", "::"),
            ("IPv4-mapped, private", "::ffff:10.0.0.1"),
            ("IPv4-mapped, loopback", "::ffff:127.0.0.1"),
            ("IPv4-mapped, metadata", "::ffff:169.254.169.254"),
            ("IPv4-compatible, RFC 4291", "::10.0.0.1"),
            ("IPv4-compatible, RFC 4291", "::8.8.8.8"),
            ("IPv4-translated, RFC 2765", "::ffff:0:10.0.0.1"),
            ("translated, private", "64:ff9b::10.0.0.1"),
            ("translated, loopback", "64:ff9b::127.0.0.1"),
            ("translated, metadata", "64:ff9b::169.254.169.254"),
            ("local translation, RFC 8215", "64:ff9b:1::1"),
            ("local translation, RFC 8215", "64:ff9b:1:ffff::8.8.8.8"),
            ("discard only, RFC 6666", "100::1"),
            ("dummy prefix, RFC 9780", "100:0:0:1::1"),
            ("IETF protocol assignments, RFC 2928", "2001:1ff::1"),
            ("Teredo, RFC 4380", "2001::1"),
            ("Teredo, RFC 4380", "2001:0:808:808::f5ff:fffe"),
            ("port control protocol anycast, RFC 7723", "2001:1::1"),
            ("TURN anycast, RFC 8155", "2001:1::2"),
            ("DNS-SD SRP anycast, RFC 9665", "2001:1::3"),
            ("benchmarking, RFC 5180", "2001:2::1"),
            ("AMT, RFC 7450", "2001:3::1"),
            ("AS112, RFC 7535", "2001:4:112::1"),
            ("ORCHID, RFC 4843", "2001:10::1"),
            ("ORCHIDv2, RFC 7343", "2001:20::1"),
            ("drone remote ID, RFC 9374", "2001:30::1"),
            ("documentation, RFC 3849", "2001:db8::1"),
            ("6to4, RFC 3056", "2002:808:808::1"),
            ("6to4, private", "2002:a00:1::1"),
            ("documentation, RFC 9637", "3fff::1"),
            ("documentation, RFC 9637", "3fff:fff:ffff::1"),
            ("segment routing SIDs, RFC 9602", "5f00::1"),
            ("unique local, RFC 4193", "fc00::1"),
            ("unique local, RFC 4193", "fd00::7"),
            ("link local, RFC 4291", "fe80::1"),
            ("site local, RFC 3879", "fec0::1"),
            ("multicast, RFC 4291", "ff02::1"),
            ("ISATAP to private, RFC 5214", "2606:4700::5efe:a00:1"),
            ("ISATAP to loopback, RFC 5214", "2606:4700::200:5efe:7f00:1"),
            ("not given out", "200::1"),
            ("not given out", "1fff::1"),
            ("not given out", "4000::1"),
            ("not given out", "8000::1"),
            ("not given out", "e000::1"),
        ];
        let open = [
            ("AS112, RFC 7535", "192.31.196.1"),
            ("AMT, RFC 7450", "192.52.193.1"),
            ("AS112, RFC 7534", "192.175.48.1"),
            ("AS112, RFC 7534", "2620:4f:8000::1"),
            ("the internet", "8.8.8.8"),
            ("the internet", "100.63.255.255"),
            ("the internet", "100.128.0.0"),
            ("the internet", "172.15.255.255"),
            ("the internet", "172.32.0.0"),
            ("the internet", "198.17.255.255"),
            ("the internet", "198.20.0.0"),
            ("the internet", "223.255.255.255"),
            ("the internet, IPv4-mapped", "::ffff:8.8.8.8"),
            ("the internet, translated", "64:ff9b::8.8.8.8"),
            ("the internet", "2001:200::1"),
            ("the internet", "2001:db7:ffff::1"),
            ("the internet", "2001:db9::1"),
            ("the internet", "2003::1"),
            ("the internet", "2400:4050::1"),
            ("the internet", "3ffe:ffff::1"),
            ("the internet", "3fff:1000::1"),
        ];
        let policy = AddressPolicy::default();
        for (what, address) in closed {
            assert!(!policy.permits(ip(address)), "{address} is open: {what}");
        }
        for (what, address) in open {
            assert!(policy.permits(ip(address)), "{address} is closed: {what}");
        }
    }

    #[test]
    fn a_denied_address_is_denied_in_every_dress_and_an_allowed_one_allowed() {
        let policy = AddressPolicy {
            private: true,
            deny: vec!["10.0.0.0/8".parse().unwrap(), "64:ff9b::808:0/112".parse().unwrap()],
            allow: vec!["10.1.2.0/24".parse().unwrap()],
        };
        for denied in [
            "10.9.9.9",
            "::ffff:10.9.9.9",
            "::10.9.9.9",
            "64:ff9b::10.9.9.9",
            "64:ff9b:1::10.9.9.9",
            "64:ff9b:1:a09:9:900::",
            "64:ff9b:1:a:9:909::",
            "64:ff9b:1:0:a:909:900:0",
            "2002:a09:909::1",
            "2001:0:a09:909::1",
            "2001:0:808:808::f5f6:f6f6",
            "fd00::5efe:a09:909",
            "::ffff:0:10.9.9.9",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(!policy.permits(ip(denied)), "{denied}");
        }
        for allowed in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "2002:808:808::1"] {
            assert!(policy.permits(ip(allowed)), "{allowed}");
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
