//! [`Key`]: what follows from a secret of the service and from something that others know, and is known to nobody else.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret that others follow from. It has no `Debug`: it belongs into no log.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// Of these bytes.
    pub fn of(secret: impl AsRef<[u8]>) -> Self {
        Self(secret.as_ref().to_vec())
    }

    /// What follows for a purpose from a value: HMAC-SHA256 (RFC 2104) of both, the purpose having no NUL in it.
    pub fn derive(&self, purpose: &str, value: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

/// Bytes in lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_another_thing_for_each_secret_purpose_and_value_and_stays_what_it_was() {
        let of = |secret: &str, purpose: &str, value: &[u8]| hex(&Key::of(secret).derive(purpose, value));
        let one = of("as-token", "room", b"@hanako:kanazawa.test");
        assert_ne!(one, of("as-tokem", "room", b"@hanako:kanazawa.test"));
        assert_ne!(one, of("as-token", "code", b"@hanako:kanazawa.test"));
        assert_ne!(one, of("as-token", "room", b"@hanak:kanazawa.test"));
        // Aliases and links that are out there follow from it.
        assert_eq!(one, "14c4f35afd58c9c737dc3ea24323c1a100d1187ba0be9950e3aad6592bc0e0ac");
    }
}
