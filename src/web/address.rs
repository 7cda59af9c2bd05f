//! Where a request comes from, as far as it can be believed.
//!
//! Behind a proxy every connection comes from the proxy. It says in a header for whom it asks; whoever
//! connects directly can write the same header, so it is read only where the connection comes from a
//! proxy that the configuration names. Each proxy adds an entry at the end of the list, so the last
//! entry that is not itself such a proxy is the client; what stands before it is the client's own word.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName, header::FORWARDED};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// So many entries of the header are looked at, from its end.
const MOST_ENTRIES: usize = 16;

/// The addresses under one prefix, such as `10.0.0.0/8`, `fd00::/8` or `192.0.2.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    /// In bits of an IPv6 address; those of IPv4 stand in `::ffff:0:0/96`.
    prefix: u32,
}

/// What was given is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address range such as 10.0.0.0/8 or fd00::/8")]
pub struct NotANetwork(String);

impl Network {
    /// Whether the address is under the prefix.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let bits = to_bits(ip);
        let differs = (bits ^ self.base).leading_zeros();
        differs >= self.prefix
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(wrong());
        }
        Ok(Network { base: to_bits(address), prefix: prefix + 128 - bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.base);
        match address.to_ipv4_mapped() {
            Some(address) if self.prefix >= 96 => write!(f, "{address}/{}", self.prefix - 96),
            _ => write!(f, "{address}/{}", self.prefix),
        }
    }
}

fn to_bits(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The header in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`
    #[default]
    XForwardedFor,
    /// `Forwarded`, as RFC 7239 has it.
    Forwarded,
}

/// The proxies whose word on the client's address is believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they connect from.
    pub networks: Vec<Network>,
    /// Where they write it. Only one header is read: a proxy passes the other one on as the client
    /// sent it.
    pub header: ProxyHeader,
}

impl Proxies {
    /// The client's address; `None` when the transport does not know it, or a proxy does not say.
    pub fn client(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer?.ip().to_canonical();
        if !self.trust(peer) {
            return Some(peer);
        }
        for entry in self.entries(headers).iter().rev().take(MOST_ENTRIES) {
            // What a proxy of ours does not know or hides, nobody before it can tell.
            let ip = parse_entry(entry)?;
            if !self.trust(ip) {
                return Some(ip);
            }
        }
        None
    }

    fn trust(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// The list of the header, the nearest proxy's entry last.
    fn entries<'a>(&self, headers: &'a HeaderMap) -> Vec<&'a str> {
        let name = match self.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => FORWARDED,
        };
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let entries = values.flat_map(|value| value.split(','));
        match self.header {
            ProxyHeader::XForwardedFor => entries.collect(),
            ProxyHeader::Forwarded => entries.map(forwarded_for).collect(),
        }
    }
}

/// The `for` of an element of `Forwarded`; empty when it has none.
fn forwarded_for(element: &str) -> &str {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut of_client = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    of_client.next().map_or("", |(_, value)| value.trim().trim_matches('"'))
}

/// An address with or without a port; IPv6 with or without brackets.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    if let Ok(ip) = entry.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Ok(address) = entry.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let inside = entry.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical())
}
