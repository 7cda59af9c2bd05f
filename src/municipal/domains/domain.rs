//! [`MailDomain`]: a domain of mail, and what whoever runs it publishes to say whose it is.

use std::{fmt, str::FromStr};

use ruma::ServerName;

/// Longest domain, and longest label of one, in bytes.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What stands before the server name, in the record and in the file.
pub(crate) const WORD: &str = "yakuba-authority=";

/// A domain of mail as addresses have it: small letters, as DNS writes it. It says nothing of domains below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailDomain(String);

/// What was given is no domain that mails are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no domain that mails are sent to")]
pub struct BadDomain;

impl MailDomain {
    /// The domain.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in DNS below which a TXT record says whose it is.
    #[must_use]
    pub fn record_name(&self) -> String {
        format!("_yakuba.{}", self.0)
    }

    /// Where a file says so.
    #[must_use]
    pub fn file_url(&self) -> String {
        format!("https://{}/.well-known/yakuba-authority", self.0)
    }

    /// What the record, or a line of the file, says. It names the authority, and is no secret: who writes it runs the domain, and
    /// says by it whose it is. Several may be there, where a domain is that of several authorities.
    #[must_use]
    pub fn says(authority: &ServerName) -> String {
        format!("{WORD}{authority}")
    }
}

impl fmt::Display for MailDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MailDomain {
    type Err = BadDomain;

    fn from_str(text: &str) -> Result<Self, BadDomain> {
        let domain = idna::domain_to_ascii_strict(text.trim()).map_err(|_| BadDomain)?;
        let is_label = |label: &str| {
            let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = label.as_bytes();
            bytes.len() <= LONGEST_LABEL && is_edge(bytes.first()) && is_edge(bytes.last())
        };
        let last = domain.rsplit('.').next().unwrap_or_default();
        // An address of a machine is no domain.
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
        let is_good = domain.len() <= LONGEST && domain.contains('.') && domain.split('.').all(is_label);
        if is_good && !is_number { Ok(Self(domain)) } else { Err(BadDomain) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn a_domain_has_one_form_and_what_is_none_is_refused() {
        let read = |text: &str| text.parse::<MailDomain>().map(|domain| domain.to_string());
        assert_eq!(read(" City.Kanazawa.LG.jp ").unwrap(), "city.kanazawa.lg.jp");
        assert!(read("金沢市.jp").unwrap().starts_with("xn--"));
        for bad in [
            "",
            "jp",
            "localhost",
            "192.0.2.7",
            "[::1]",
            "a..jp",
            "-a.jp",
            "a@b.jp",
            "a.jp/x",
            "a_b.jp",
            "a.jp:443",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(format!("{}.jp", "a".repeat(64)).parse::<MailDomain>().is_err());
    }

    #[test]
    fn what_is_published_names_the_authority() {
        let domain: MailDomain = "city.kanazawa.lg.jp".parse().unwrap();
        assert_eq!(domain.record_name(), "_yakuba.city.kanazawa.lg.jp");
        assert_eq!(domain.file_url(), "https://city.kanazawa.lg.jp/.well-known/yakuba-authority");
        assert_eq!(MailDomain::says(server_name!("kanazawa.test")), "yakuba-authority=kanazawa.test");
    }
}
