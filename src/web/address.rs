//! Where a request comes from, as far as it can be believed.
//!
//! Behind a proxy every connection comes from the proxy. It says in a header for whom it asks; whoever
//! connects directly can write the same header, so it is read only where the connection comes from a
//! proxy that the configuration names. Each proxy adds an entry at the end of the list, so the last
//! entry that is not itself such a proxy is the client; what stands before it is the client's own word.
//! So the list is read from its end, as bytes: nothing that a client writes hides what a proxy wrote. Where the
//! proxy's own entry tells no address, the request counts for the proxy.

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

impl ProxyHeader {
    pub(crate) fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => FORWARDED,
        }
    }
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
    /// The client's address; `None` when the transport does not know it, or a proxy does not write the header:
    /// then nobody behind it is told from anybody.
    ///
    /// Whoever is behind a proxy whose entry tells no address has the address of that proxy.
    pub fn client(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut writer = peer?.ip().to_canonical();
        if !self.trust(writer) {
            return Some(writer);
        }
        let mut entries = self.entries(headers).peekable();
        entries.peek()?;
        for entry in entries.take(MOST_ENTRIES) {
            // What a proxy of ours does not know or hides, nobody before it can tell.
            let Some(ip) = entry.and_then(parse_entry) else { break };
            writer = ip;
            if !self.trust(ip) {
                break;
            }
        }
        Some(writer)
    }

    fn trust(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// The list of the header, the nearest proxy's entry first; `None` for one that is no text.
    fn entries<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let quotes = self.header == ProxyHeader::Forwarded;
        let lines = headers.get_all(self.header.name()).into_iter().rev();
        let entries = lines.flat_map(move |line| from_the_end(line.as_bytes(), b',', quotes));
        entries.map(move |entry| if quotes { forwarded_for(entry) } else { str::from_utf8(entry).ok() })
    }
}

/// The parts between separators, the last first. With `quotes`, a separator inside a quoted string is none; strings
/// are told from the end, where an open quote further left changes nothing.
fn from_the_end(text: &[u8], separator: u8, quotes: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let left = rest?;
        let mut quoted = false;
        for (at, &byte) in left.iter().enumerate().rev() {
            let escaped = || left[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
            if quotes && byte == b'"' && !escaped() {
                quoted = !quoted;
            } else if byte == separator && !quoted {
                rest = Some(&left[..at]);
                return Some(&left[at + 1..]);
            }
        }
        rest = None;
        Some(left)
    })
}

/// The `for` of an element of `Forwarded`; nothing when it has none, or several.
fn forwarded_for(element: &[u8]) -> Option<&str> {
    let pairs =
        from_the_end(element, b';', true).filter_map(|pair| str::from_utf8(pair).ok()?.split_once('='));
    let mut of_client = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = of_client.next()?;
    of_client.next().is_none().then(|| value.trim().trim_matches('"'))
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
