//! Where an outgoing webhook may go: to the addresses of the world, and to those of ours that its settings allow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bot_kit::url::{Host, Url};
use serde::{Deserialize, Deserializer};

/// Addresses of a name that are tried at most.
const MOST: usize = 8;

/// A range of addresses: `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    first: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let most = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { first: address, bits })
    }

    fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                first.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                first.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("10.1.0.0/16 のように書きます / write it like 10.1.0.0/16")
        })
    }
}

/// Where a URL leads, as far as we go there: the addresses that are connected to, and no others that the name may have a moment later.
pub(crate) async fn resolve(url: &Url, allow: &[Range]) -> Result<Vec<SocketAddr>, String> {
    let port = url.port_or_known_default().ok_or("no port")?;
    let found: Vec<SocketAddr> = match url.host().ok_or("no host")? {
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
        Host::Domain(name) => tokio::net::lookup_host((name, port))
            .await
            .map_err(|error| error.to_string())?
            .take(MOST)
            .collect(),
    };
    let allowed: Vec<SocketAddr> = found.into_iter().filter(|found| may_go(found.ip(), allow)).collect();
    if allowed.is_empty() {
        Err("the target is not at an address to which we go".to_owned())
    } else {
        Ok(allowed)
    }
}

fn may_go(address: IpAddr, allow: &[Range]) -> bool {
    // What a v4 address is called in v6 is that address.
    let address = address.to_canonical();
    allow.iter().any(|range| range.holds(address)) || is_of_the_world(address)
}

/// Whether an address is neither of this machine, nor of a network of somebody's own, nor of no use.
fn is_of_the_world(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4_is_of_the_world(address),
        IpAddr::V6(address) => v6_is_of_the_world(address),
    }
}

fn v4_is_of_the_world(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn v6_is_of_the_world(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is given out; of it, what leads to v4 (6to4, Teredo) and what is for documents are left out.
    // 64:ff9b::/96, which leads to v4 as well, is not in it.
    (0x2000..0x4000).contains(&a)
        && a != 0x2002
        && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
        && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_networks_are_gone_to_only_where_that_is_allowed() {
        for own in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "10.0.0.0",
            "10.255.255.255",
            "100.127.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "239.255.255.250",
            "2001:1ff::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "fec0::1",
        ] {
            assert!(!may_go(own.parse().expect("an address"), &[]), "{own}");
        }
        for other in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.114.1",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2400:4000::1",
            "3fff:1000::1",
            "3ffe::1",
        ] {
            assert!(may_go(other.parse().expect("an address"), &[]), "{other}");
        }
        let allow = [Range::parse("10.1.0.0/16").expect("a range"), Range::parse("::1").expect("one")];
        for (address, may) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("::ffff:10.1.0.1", true),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(may_go(address.parse().expect("an address"), &allow), may, "{address}");
        }
        for wrong in ["10.1.0.0/33", "x", "10.1.0.0/", "/8", "::/129"] {
            assert_eq!(Range::parse(wrong), None, "{wrong}");
        }
        let all = Range::parse("::/0").expect("all");
        assert!(all.holds("2606:4700::1111".parse().expect("an address")));
        assert!(!all.holds("9.9.9.9".parse().expect("an address")), "of the other kind");
        assert!(Range::parse("0.0.0.0/0").expect("all").holds("9.9.9.9".parse().expect("an address")));
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_as_its_address_is() {
        for url in [
            "http://localhost/",
            "http://127.1/",
            "http://2130706433/",
            "http://[::ffff:7f00:1]:80/",
            "http://0x7f.1/",
        ] {
            let url = Url::parse(url).expect("a URL");
            assert!(resolve(&url, &[]).await.is_err(), "{url}");
        }
        // Of several addresses only those that may be gone to.
        let all = [Range::parse("127.0.0.0/8").expect("a range"), Range::parse("::1").expect("one")];
        let url = Url::parse("http://localhost:81/").expect("a URL");
        let v4 = resolve(&url, &all[..1]).await.expect("somewhere");
        assert!(
            v4.iter().all(SocketAddr::is_ipv4) && resolve(&url, &all).await.expect("more").len() >= v4.len()
        );
        let home = [Range::parse("127.0.0.0/8").expect("a range")];
        let url = Url::parse("http://127.1:81/").expect("a URL");
        assert_eq!(resolve(&url, &home).await, Ok(vec!["127.0.0.1:81".parse().expect("an address")]));
    }
}
