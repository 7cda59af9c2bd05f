//! An attempt to sign in: what is sent along to the provider and comes back.
//!
//! Nothing of it is kept here, so strangers fill nothing up. The nonce and the code's verifier follow
//! from a number of chance and the secret of the browser that is sent away, the state from both and a secret of ours: what comes
//! back in another browser, or was sent away by somebody else, does not fit; nor does what a browser's owner, who has its
//! secret, makes up himself, to have begun later than he has. Each attempt has its own number, so several may be under way in one browser.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use ruma::ServerName;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How long somebody may be away.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Longest way back, in bytes: it goes along, and servers take only so long URLs.
pub(crate) const LONGEST_BACK: usize = 2_048;

/// Bytes of a state before that: number, time, purpose, position.
const BEFORE_BACK: usize = 16 + 8 + 1 + 8;

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To have what the provider knows somebody by belong to the account that is signed in.
    Link,
}

/// An attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) number: [u8; 16],
    /// When it was begun, in milliseconds since 1970.
    pub(crate) began_ms: u64,
    pub(crate) purpose: Purpose,
    /// The position up to which all was known then: what the provider ends later ends it as well.
    pub(crate) since: u64,
    /// Where the browser is to go in the end.
    pub(crate) back: String,
}

impl Attempt {
    /// What goes along and comes back; `key` is of [`state_key`].
    pub(crate) fn state(&self, key: &[u8; 32], authority: &ServerName) -> String {
        let mut bytes = self.number.to_vec();
        bytes.extend(self.began_ms.to_be_bytes());
        bytes.push(match self.purpose {
            Purpose::SignIn => 0,
            Purpose::Link => 1,
        });
        bytes.extend(self.since.to_be_bytes());
        bytes.extend(self.back.as_bytes());
        let proof = derived(key, b"state", &[authority.as_bytes(), &[0], &bytes]);
        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes), BASE64_URL_SAFE_NO_PAD.encode(proof))
    }

    /// The attempt of a state that came back, if it was sent away from this browser, not long ago.
    pub(crate) fn of_state(
        state: &str,
        key: &[u8; 32],
        authority: &ServerName,
        now_ms: u64,
    ) -> Option<Attempt> {
        let (bytes, proof) = state.split_once('.')?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(bytes).ok()?;
        let proof = BASE64_URL_SAFE_NO_PAD.decode(proof).ok()?;
        let known = derived(key, b"state", &[authority.as_bytes(), &[0], &bytes]);
        if !bool::from(known.as_slice().ct_eq(&proof)) {
            return None;
        }
        let (number, rest) = bytes.split_first_chunk::<16>()?;
        let (began, rest) = rest.split_first_chunk::<8>()?;
        let (purpose, rest) = rest.split_first()?;
        let (since, back) = rest.split_first_chunk::<8>()?;
        let since = u64::from_be_bytes(*since);
        let began_ms = u64::from_be_bytes(*began);
        // In either direction: a calendar may be set back.
        if u128::from(now_ms.abs_diff(began_ms)) >= LIFETIME.as_millis() {
            return None;
        }
        let purpose = if *purpose == 1 { Purpose::Link } else { Purpose::SignIn };
        let back = String::from_utf8(back.to_vec()).ok()?;
        Some(Attempt { number: *number, began_ms, purpose, since, back })
    }

    /// Where a browser says that it was to go, of a state that nothing is believed of.
    pub(crate) fn back_of(state: &str) -> Option<String> {
        let (bytes, _) = state.split_once('.')?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(bytes).ok()?;
        String::from_utf8(bytes.get(BEFORE_BACK..)?.to_vec()).ok()
    }

    /// What the ID token has to repeat.
    pub(crate) fn nonce(&self, key: &[u8; 32]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(derived(key, b"nonce", &[&self.number]))
    }

    /// What the code can be traded with alone (RFC 7636).
    pub(crate) fn verifier(&self, key: &[u8; 32]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(derived(key, b"verifier", &[&self.number]))
    }

    /// Its hash, which goes along.
    pub(crate) fn challenge(&self, key: &[u8; 32]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier(key)))
    }
}

/// By what the states of a browser's attempts are known: its own secret and ours.
pub(crate) fn state_key(ours: &[u8; 32], browser: &[u8; 32]) -> [u8; 32] {
    derived(ours, b"browser", &[browser])
}

fn derived(key: &[u8; 32], what: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(what);
    mac.update(&[0]);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
