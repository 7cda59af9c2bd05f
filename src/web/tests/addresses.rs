//! Whose word on the client's address is believed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Address, Network, Proxies, ProxyHeader};

fn proxies(header: ProxyHeader) -> Proxies {
    let networks = ["127.0.0.0/8", "10.9.0.0/16", "fd00:9::/32"];
    Proxies { networks: networks.map(|text| text.parse().unwrap()).to_vec(), header }
}

fn headers(all: &[(&'static str, impl AsRef<[u8]>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn client(header: ProxyHeader, peer: &str, sent: &[(&'static str, impl AsRef<[u8]>)]) -> Option<String> {
    let peer: SocketAddr = peer.parse().unwrap();
    proxies(header).client(Some(peer), &headers(sent)).map(|ip| ip.to_string())
}

#[test]
fn only_a_named_proxy_is_believed_and_only_the_entry_that_it_wrote() {
    let forwarded =
        |peer: &str, value: &str| client(ProxyHeader::XForwardedFor, peer, &[("x-forwarded-for", value)]);
    // A stranger's header is his own word.
    assert_eq!(forwarded("203.0.113.5:1", "198.51.100.1").as_deref(), Some("203.0.113.5"));
    assert_eq!(forwarded("127.0.0.1:1", "198.51.100.1").as_deref(), Some("198.51.100.1"));
    // What the client wrote stands before what the proxy wrote.
    assert_eq!(forwarded("127.0.0.1:1", "192.0.2.66, 198.51.100.1").as_deref(), Some("198.51.100.1"));
    // Two proxies of ours in a row.
    assert_eq!(
        forwarded("127.0.0.1:1", "192.0.2.66,198.51.100.1, 10.9.3.4").as_deref(),
        Some("198.51.100.1")
    );
    assert_eq!(forwarded("[fd00:9::1]:1", "2001:db8::7").as_deref(), Some("2001:db8::7"));
    assert_eq!(forwarded("127.0.0.1:1", "[2001:db8::7]:443").as_deref(), Some("2001:db8::7"));
    assert_eq!(forwarded("127.0.0.1:1", "198.51.100.1:5555").as_deref(), Some("198.51.100.1"));
    // Who cannot be known counts for the proxy that does not know him, and never for whoever stands further left.
    for unknown in
        ["", "unknown", "198.51.100.1, unknown", "198.51.100.1, _hidden", "198.51.100.1,", "::1%lo"]
    {
        assert_eq!(forwarded("127.0.0.1:1", unknown).as_deref(), Some("127.0.0.1"), "{unknown}");
    }
    assert_eq!(forwarded("127.0.0.1:1", "198.51.100.1, unknown, 10.9.3.4").as_deref(), Some("10.9.3.4"));
    let proxies = ["10.9.3.4"; 40].join(",");
    assert_eq!(forwarded("127.0.0.1:1", &proxies).as_deref(), Some("10.9.3.4"));
    // A proxy that does not write the header at all tells nobody from anybody.
    assert_eq!(client(ProxyHeader::XForwardedFor, "127.0.0.1:1", &[("forwarded", "for=192.0.2.66")]), None);
}

#[test]
fn nothing_that_a_client_writes_hides_what_the_proxy_wrote() {
    let own = "203.0.113.77";
    for junk in [
        &b"\xff"[..],
        b"",
        b",",
        b"unknown",
        b"\"",
        b"for=\"",
        b"\\",
        b"1.2.3.4:x",
        b"[::1",
        b"\xe3\x81",
        b"\t",
    ] {
        for (header, name, entry) in [
            (ProxyHeader::XForwardedFor, "x-forwarded-for", own.to_owned()),
            (ProxyHeader::XForwardedFor, "x-forwarded-for", format!("{own}:4711")),
            (ProxyHeader::Forwarded, "forwarded", format!("for={own};proto=https")),
            (ProxyHeader::Forwarded, "forwarded", format!("For=\"{own}:4711\"; host=\"a,for=192.0.2.66\"")),
        ] {
            let one_line = [(name, [junk, b", ", entry.as_bytes()].concat())];
            assert_eq!(client(header, "127.0.0.1:1", &one_line).as_deref(), Some(own), "{one_line:?}");
            let a_line_each = [(name, junk.to_vec()), (name, entry.into_bytes())];
            assert_eq!(client(header, "127.0.0.1:1", &a_line_each).as_deref(), Some(own), "{a_line_each:?}");
        }
    }
    let twice = [("forwarded", "for=192.0.2.66;for=192.0.2.67")];
    assert_eq!(client(ProxyHeader::Forwarded, "127.0.0.1:1", &twice).as_deref(), Some("127.0.0.1"));
}

#[test]
fn the_other_header_is_not_read() {
    let both = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=192.0.2.66")];
    assert_eq!(client(ProxyHeader::XForwardedFor, "127.0.0.1:1", &both).as_deref(), Some("198.51.100.1"));
    assert_eq!(client(ProxyHeader::Forwarded, "127.0.0.1:1", &both).as_deref(), Some("192.0.2.66"));
    let quoted = [("forwarded", "proto=https;for=192.0.2.66, For=\"[2001:db8::7]:443\";by=10.9.0.1")];
    assert_eq!(client(ProxyHeader::Forwarded, "127.0.0.1:1", &quoted).as_deref(), Some("2001:db8::7"));
}

#[test]
fn an_ipv6_network_of_one_house_counts_as_one_address() {
    let address = |text: &str| Address::of(text.parse::<IpAddr>().unwrap());
    assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff::9"));
    assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
    assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    assert_ne!(address("192.0.2.2"), address("192.0.2.1"));
}

#[test]
fn a_network_is_an_address_and_a_prefix_of_its_kind() {
    for (text, inside, outside) in [
        ("10.0.0.0/8", "10.200.1.1", "11.0.0.1"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("fd00::/8", "fd12::1", "fe80::1"),
        ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
    ] {
        let network: Network = text.parse().unwrap();
        assert!(network.contains(inside.parse().unwrap()), "{text}");
        assert!(!network.contains(outside.parse().unwrap()), "{text}");
    }
    for wrong in ["", "10.0.0.0/33", "fd00::/129", "example.test", "10.0.0.0/x"] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
}
