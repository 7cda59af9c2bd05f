//! E-mail addresses.

use std::{fmt, str::FromStr};

/// Longest address, and longest part before its `@`, in bytes, as SMTP has them.
const LONGEST: usize = 254;
const LONGEST_LOCAL: usize = 64;

/// An e-mail address in the one form in which it is kept and compared: small letters, its domain as DNS writes it.
///
/// Addresses whose local part needs quotes or other letters than those of ASCII are not taken: few servers do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress(String);

/// What was given is no e-mail address that mails can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no e-mail address that mails can be sent to")]
pub struct BadAddress;

impl EmailAddress {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address without what stands behind a `+`, which most servers put into the same box: for counting what goes there.
    pub fn without_detail(&self) -> String {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or((self.0.as_str(), ""));
        let name = local.split_once('+').map_or(local, |(name, _)| name);
        format!("{name}@{domain}")
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EmailAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(BadAddress);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(BadAddress)?;
        let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let is_local = local.len() <= LONGEST_LOCAL
            && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom));
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| BadAddress)?;
        let is_label = |label: &str| {
            let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = label.as_bytes();
            bytes.len() <= 63
                && is_edge(bytes.first())
                && is_edge(bytes.last())
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        };
        let has_dot = domain.contains('.') || domain == "localhost";
        if !is_local || !has_dot || !domain.split('.').all(is_label) {
            return Err(BadAddress);
        }
        let address = format!("{local}@{domain}").to_ascii_lowercase();
        if address.len() > LONGEST { Err(BadAddress) } else { Ok(Self(address)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (given, kept) in [
            ("Hanako.Sato@City.Kanazawa.Example.JP", "hanako.sato@city.kanazawa.example.jp"),
            (" hanako+matrix@example.jp ", "hanako+matrix@example.jp"),
            ("hanako@金沢.example.jp", "hanako@xn--6uw360f.example.jp"),
            ("ｈanako@example.jp", ""),
            ("hanako@ｅｘａｍｐｌｅ.jp", "hanako@example.jp"),
        ] {
            let address = given.parse::<EmailAddress>();
            match kept {
                "" => assert_eq!(address, Err(BadAddress), "{given}"),
                kept => assert_eq!(address.map(|address| address.to_string()), Ok(kept.to_owned())),
            }
        }
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_no_address() {
        let long = format!("{}@example.jp", "x".repeat(65));
        let longer = format!("a@{}.jp", "example.".repeat(40));
        for given in [
            "",
            "hanako",
            "@example.jp",
            "hanako@",
            "hanako@example",
            "hanako@-a.jp",
            "hanako@a..jp",
            "ha nako@example.jp",
            "hanako@exam ple.jp",
            "hanako@example.jp\r\nBcc: taro@example.jp",
            "hanako\r\nBcc: taro@example.jp",
            "\"hanako\"@example.jp",
            "hanako,taro@example.jp",
            "<hanako@example.jp>",
            "a@b@example.jp",
            ".hanako@example.jp",
            "hanako@[192.0.2.1]",
            &long,
            &longer,
        ] {
            assert_eq!(given.parse::<EmailAddress>(), Err(BadAddress), "{given}");
        }
    }
}
