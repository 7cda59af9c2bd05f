//! [`Proxies`]: who may say whom a request comes from.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use serde::Deserialize;

/// Addresses of proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Proxies(Vec<IpAddr>);

impl FromIterator<IpAddr> for Proxies {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

impl Proxies {
    /// Whether this is the address of one, in whichever form.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|proxy| proxy.to_canonical() == address.to_canonical())
    }

    /// Whose request it is that came from a peer: the last address that `X-Forwarded-For` names and that is no proxy's, if a proxy sent
    /// it; what stands before that anybody may have written.
    pub fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contains(peer) {
            return peer;
        }
        let values = headers.get_all("x-forwarded-for").iter();
        let named: Vec<&str> =
            values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).collect();
        let addresses = named.iter().rev().map_while(|text| address(text.trim()));
        addresses.into_iter().find(|address| !self.contains(*address)).unwrap_or(peer)
    }
}

/// An address, beside which some proxies write a port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn who_sent_a_request_is_said_by_a_proxy_alone_and_by_the_last_one_that_is_none() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let proxies: Proxies = [ip("10.0.0.1"), ip("10.0.0.2")].into_iter().collect();
        let sender = |peer: &str, lists: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("x-forwarded-for", HeaderValue::from_static(list));
            }
            proxies.sender(ip(peer), &headers)
        };
        for (peer, lists, who) in [
            ("192.0.2.9", &["192.0.2.1"][..], "192.0.2.9"),
            ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.1", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            assert_eq!(sender(peer, lists), ip(who), "{peer} {lists:?}");
        }
    }
}
