//! Where links of documents may lead: the web and mail, as a reader of the address expects it.

/// Whether an address leads to where links may lead.
///
/// An address that names somebody in front of its machine (`https://www.city.example.jp@evil.example/`) leads elsewhere than it
/// reads, and so do signs that readers take for others or pass over.
pub(crate) fn is_open(address: &str) -> bool {
    let address = address.trim().to_ascii_lowercase();
    if address.starts_with("mailto:") {
        return true;
    }
    let Some(rest) = ["https://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme)) else {
        return false;
    };
    // Browsers pass over more slashes, and over ends of lines and tabs.
    let rest = rest.trim_start_matches('/');
    let machine = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !machine.contains(['@', '\\', '\t', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_leads_elsewhere_than_it_reads_is_not_open() {
        for address in [
            "https://www.city.kanazawa.lg.jp/",
            " HTTP://www.city.kanazawa.lg.jp",
            "https://example.jp/@kanazawa",
            "https://example.jp?mail=a@b.example",
            "https://example.jp#a@b",
            "https://example.jp:8448/地図 1.pdf",
            "http://[2001:db8::1]/",
            "mailto:kanazawa@city.example.jp",
        ] {
            assert!(is_open(address), "{address}");
        }
        for address in [
            "http://x@evil.example/",
            "https://www.city.kanazawa.lg.jp:443@evil.example/",
            "https://www.city.kanazawa.lg.jp%2f@evil.example",
            "http:///x@evil.example/",
            "http:////x@evil.example/",
            "http://www.city.kanazawa.lg.jp\\@evil.example/",
            "http://\\x@evil.example/",
            "http://\t/x@evil.example/",
            "http://exa\nmple.jp/",
            "file://x/",
            "//evil.example/",
            "\\\\evil.example\\x",
            "javascript:1",
            "",
        ] {
            assert!(!is_open(address), "{address}");
        }
    }
}
