//! Apple's push service (APNs): who we are to it, what it is posted, and what its answers mean.
//!
//! We are known by a token that a key of the app's maker signs. Apple takes no token that is older than an hour, and bears no
//! provider that shows a new one more often than every 20 minutes. So a token is of a step of 20 minutes of the calendar, for
//! two of them: processes beside each other, and one that starts again and again, show tokens of the same moments.
//!
//! See <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>

use std::{fmt, sync::Arc, time::Duration};

use base::Timestamp;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use parking_lot::Mutex;
use pdu::lenient::field;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Post, Protocol, payload::Payload};

/// Where it is for apps from the store...
pub const PRODUCTION: &str = "https://api.push.apple.com";

/// ...and for those that are being developed.
pub const SANDBOX: &str = "https://api.sandbox.push.apple.com";

/// Tokens are of moments that are so many seconds apart: Apple bears no more...
const STEP: u64 = 20 * 60;

/// ...and are shown for so many seconds, of the hour that Apple takes them.
const SHOWN_FOR: u64 = 2 * STEP;

/// Longest device token in bytes. Apple's have 32, and may grow.
const MOST_TOKEN: usize = 256;

/// Longest reason that is written down.
const MOST_REASON: usize = 64;

/// A key of an app's maker at Apple. One may stand for several apps, whose messages then share its tokens.
pub struct ApnsKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    key_id: String,
    team_id: String,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    /// Of which moment it says to be, and when it was made, in seconds since 1970.
    issued: u64,
    made: u64,
}

impl fmt::Debug for ApnsKey {
    /// Keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApnsKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl ApnsKey {
    /// A key as Apple's file has it (P-256, PKCS#8 in PEM), with its id and that of the maker's team; nothing if it is none.
    pub fn parse(pem: &[u8], key_id: &str, team_id: &str) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        let random = SystemRandom::new();
        let der = der.secret_pkcs8_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).ok()?;
        let (key_id, team_id) = (key_id.to_owned(), team_id.to_owned());
        Some(Self { pair, random, key_id, team_id, token: Mutex::default() })
    }

    /// The token to show; nothing where there is no chance to be had.
    fn token(&self, now: Timestamp) -> Option<String> {
        let now = seconds(now);
        let mut token = self.token.lock();
        // Also where the calendar was set back: Apple takes none from the future.
        let holds = |token: &&Token| (token.issued..token.issued + SHOWN_FOR).contains(&now);
        if let Some(token) = token.as_ref().filter(holds) {
            return Some(token.text.clone());
        }
        let issued = step_of(now);
        let text = self.sign(issued)?;
        *token = Some(Token { text: text.clone(), issued, made: now });
        Some(text)
    }

    /// A token is taken no more. Whether there is another one, or may be one by now.
    pub(crate) fn renew(&self, text: &str, now: Timestamp) -> bool {
        let now = seconds(now);
        let mut token = self.token.lock();
        let Some(known) = token.as_ref().filter(|token| token.text == text) else { return true };
        // Then it is of a later moment, too.
        let may_renew = now >= known.made + STEP;
        if may_renew {
            *token = None;
        }
        may_renew
    }

    fn sign(&self, issued: u64) -> Option<String> {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({ "alg": "ES256", "kid": self.key_id }));
        let claims = part(json!({ "iss": self.team_id, "iat": issued }));
        let signed = format!("{head}.{claims}");
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// An app at Apple's push service.
#[derive(Debug)]
pub struct ApnsApp {
    /// By which we are known.
    pub key: Arc<ApnsKey>,
    /// Apple's name of the app: its bundle id.
    pub topic: String,
    /// Where the service is: scheme, host and port.
    pub service: String,
}

impl ApnsApp {
    /// What is posted for an app on a device; with the token that is shown. Nothing where it cannot be signed.
    pub(crate) fn message(
        &self,
        device: &str,
        payload: &Payload,
        collapse: Option<&str>,
        kept: Duration,
        now: Timestamp,
    ) -> Option<(Post, String)> {
        let token = self.key.token(now)?;
        let mut headers = vec![
            ("authorization", format!("bearer {token}")),
            ("content-type", "application/json".to_owned()),
            ("apns-topic", self.topic.clone()),
            ("apns-push-type", if payload.is_shown { "alert" } else { "background" }.to_owned()),
            ("apns-priority", if payload.is_urgent { "10" } else { "5" }.to_owned()),
            ("apns-expiration", (seconds(now) + kept.as_secs()).to_string()),
        ];
        if let Some(collapse) = collapse {
            headers.push(("apns-collapse-id", collapse.to_owned()));
        }
        let url = format!("{}/3/device/{device}", self.service);
        let body = Bytes::from(payload.text.clone());
        Some((Post { url, headers, body, protocol: Protocol::Shared }, token))
    }
}

/// A push key as Apple's service has it in its addresses: in hexadecimal. Apps give it so, or in Base64.
pub(crate) fn device_token(push_key: &str) -> Option<String> {
    if push_key.len() > 2 * MOST_TOKEN {
        return None;
    }
    let is_hex = push_key.len() >= 64
        && push_key.len().is_multiple_of(2)
        && push_key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        return Some(push_key.to_ascii_lowercase());
    }
    let bytes = STANDARD.decode(push_key).or_else(|_| STANDARD_NO_PAD.decode(push_key)).ok()?;
    if bytes.is_empty() || bytes.len() > MOST_TOKEN {
        return None;
    }
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    /// The app is not on the device any more, or the key is none of this app's.
    Gone,
    /// The message is too long.
    TooLarge,
    /// Who we say we are is too old.
    Expired,
    /// Who we say we are, or for which app, is wrong: that is so for all, and may be mended.
    Misconfigured,
    /// The service does not take it at the moment.
    Busy,
    Refused,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failure {
    #[serde(deserialize_with = "field")]
    reason: Option<String>,
    /// Since when nobody is there, in milliseconds since 1970.
    #[serde(deserialize_with = "field")]
    timestamp: Option<u64>,
}

/// What an answer means for a key that was set at this moment, in seconds since 1970; with the reason as it may be written down.
///
/// See <https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns>
pub(crate) fn verdict(status: u16, body: &[u8], key_set: Option<u64>) -> (Verdict, String) {
    let Failure { reason, timestamp } = serde_json::from_slice(body).unwrap_or_default();
    let reason = reason.unwrap_or_default();
    let was_set_since = || match (timestamp, key_set) {
        (Some(gone), Some(set)) => gone / 1_000 < set,
        _ => false,
    };
    let verdict = match (status, &*reason) {
        (200..300, _) => Verdict::Taken,
        // The app came back with the same key: whether it is to be given up shows in time.
        (410, _) if was_set_since() => Verdict::Refused,
        (410, _) | (400, "BadDeviceToken" | "DeviceTokenNotForTopic") => Verdict::Gone,
        (413, _) => Verdict::TooLarge,
        (403, "ExpiredProviderToken") => Verdict::Expired,
        (401 | 403, _) | (400, "BadTopic" | "MissingTopic" | "TopicDisallowed") => Verdict::Misconfigured,
        (408 | 429 | 500.., _) | (400, "IdleTimeout") => Verdict::Busy,
        _ => Verdict::Refused,
    };
    let letters = reason.chars().filter(char::is_ascii_alphanumeric).take(MOST_REASON);
    (verdict, letters.collect())
}

fn step_of(now: u64) -> u64 {
    now - now % STEP
}

fn seconds(now: Timestamp) -> u64 {
    now.millis() / 1_000
}
