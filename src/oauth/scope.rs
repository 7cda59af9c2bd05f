//! Scopes: what a client may do with its tokens, and on which device.

use ruma::OwnedDeviceId;

use crate::{Code, Error};

/// The whole client-server API, as the specification writes it and as matrix-rust-sdk still does.
const API: [&str; 2] = ["urn:matrix:client:api:*", "urn:matrix:org.matrix.msc2967.client:api:*"];
/// Before the id of a device.
const DEVICE: [&str; 2] = ["urn:matrix:client:device:", "urn:matrix:org.matrix.msc2967.client:device:"];
/// The admin API of Synapse, as Synapse has it with MAS. A session has that power if it was asked for, and its user was an
/// administrator when he agreed: a client that has not asked cannot be made to use it.
const ADMIN: &str = "urn:synapse:admin:*";
/// Asked for out of habit; there are no ID tokens.
const OPENID: &str = "openid";

/// Longest scope that is read, in bytes.
const LONGEST: usize = 2_048;

/// What a client asks for: the whole API, on one device; and perhaps to administer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The device that the session will be of.
    pub device_id: OwnedDeviceId,
    /// What is granted of what was asked for, as it was written.
    pub granted: String,
    /// Whether the session is to administer its user's authority, if he does.
    pub administers: bool,
}

impl Scope {
    /// Reads a scope word by word. Words that mean nothing here are not granted.
    ///
    /// # Errors
    /// [`Code::InvalidScope`] when it is not the whole API, or not exactly one device.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#scope>
    pub fn parse(text: &str) -> Result<Scope, Error> {
        let invalid = |text| Error::refused(Code::InvalidScope, text);
        if text.len() > LONGEST {
            return Err(invalid("the scope is too long"));
        }
        let (mut granted, mut devices, mut has_api, mut administers) = (Vec::new(), Vec::new(), false, false);
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if let Some(device) = DEVICE.iter().find_map(|prefix| word.strip_prefix(prefix)) {
                devices.push(device);
            } else if API.contains(&word) {
                has_api = true;
            } else if word == ADMIN {
                administers = true;
            } else if word != OPENID {
                continue;
            }
            granted.push(word);
        }
        if !has_api {
            return Err(invalid("the scope has to hold urn:matrix:client:api:*"));
        }
        devices.dedup();
        let [device] = devices[..] else {
            return Err(invalid("the scope has to hold exactly one urn:matrix:client:device:<device_id>"));
        };
        // What RFC 6749 lets stand in a scope.
        let may_stand = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if !(1..=255).contains(&device.len()) || !device.bytes().all(may_stand) {
            return Err(invalid("the device id in the scope cannot be one"));
        }
        Ok(Scope { device_id: device.into(), granted: granted.join(" "), administers })
    }

    /// What of it is granted by who administers, or does not.
    pub(crate) fn granted_by(&self, administrator: bool) -> String {
        if administrator || !self.administers {
            return self.granted.clone();
        }
        self.granted.split(' ').filter(|word| *word != ADMIN).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn granted(text: &str) -> Option<(String, String)> {
        Scope::parse(text).ok().map(|scope| (scope.device_id.to_string(), scope.granted))
    }

    #[test]
    fn both_spellings_are_read_and_given_back_as_they_were_written() {
        for text in [
            "urn:matrix:client:api:* urn:matrix:client:device:AAABBBCCC",
            "urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:AAABBBCCC",
            "openid urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:client:device:AAABBBCCC",
        ] {
            assert_eq!(granted(text), Some(("AAABBBCCC".to_owned(), text.to_owned())));
        }
        let more = "urn:matrix:client:api:*  urn:mas:admin urn:matrix:client:device:A";
        let expected = "urn:matrix:client:api:* urn:matrix:client:device:A".to_owned();
        assert_eq!(granted(more), Some(("A".to_owned(), expected)));
    }

    #[test]
    fn who_does_not_administer_grants_all_but_that() {
        let text = "urn:matrix:client:api:* urn:synapse:admin:* urn:matrix:client:device:A";
        let scope = Scope::parse(text).unwrap();
        assert!(scope.administers);
        assert_eq!(scope.granted_by(true), text);
        let less = scope.granted_by(false);
        assert_eq!(less, "urn:matrix:client:api:* urn:matrix:client:device:A");
        assert!(!Scope::parse(&less).unwrap().administers);
    }

    #[test]
    fn a_scope_is_compared_word_by_word_and_has_one_device() {
        for text in [
            "",
            "urn:matrix:client:api:*x urn:matrix:client:device:A",
            "xurn:matrix:client:api:* urn:matrix:client:device:A",
            "urn:matrix:client:api: urn:matrix:client:device:A",
            "urn:matrix:client:api:*",
            "urn:matrix:client:device:A",
            "urn:matrix:client:api:* urn:matrix:client:device:",
            "urn:matrix:client:api:* urn:matrix:client:device:A urn:matrix:client:device:B",
            "urn:matrix:client:api:* urn:matrix:client:device:A\"B",
            "urn:matrix:client:api:* urn:matrix:client:device:役場",
        ] {
            assert_eq!(granted(text), None, "{text}");
        }
    }
}
