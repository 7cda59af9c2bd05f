//! A client's address, as limits count it.

use std::net::{IpAddr, Ipv6Addr};

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
}
