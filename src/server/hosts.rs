//! Hosts as they stand in names and URLs.

use ruma::ServerName;

/// How a name with other letters than those of ASCII is written in DNS.
pub(crate) fn in_ascii(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let ascii = idna::domain_to_ascii(host).ok()?;
    let whole = port.map_or(ascii.clone(), |port| format!("{ascii}:{port}"));
    <&ServerName>::try_from(whole.as_str()).is_ok().then_some(whole)
}

/// The host of a URL, with its port if it has one.
pub(crate) fn host_of_url(url: &str) -> Option<&str> {
    url.split_once("//").map(|(_, rest)| rest.split('/').next().unwrap_or(rest))
}

/// The host without its port; IPv6 literals keep their brackets.
pub(crate) fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
