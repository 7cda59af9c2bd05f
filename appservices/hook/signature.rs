//! Signatures of webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature`, as
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md> has them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

/// How far the clock of the sender may be from ours, and how long a message is under way.
pub(crate) const TOLERANCE_MS: u64 = 300_000;

/// Longest id.
const LONGEST_ID: usize = 256;

/// Signatures that one message may bear, while secrets are changed.
const MOST_SIGNATURES: usize = 8;

/// What is signed beside the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) id: String,
    timestamp: u64,
    signatures: Vec<Vec<u8>>,
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A header is missing, or is none.
    Headers,
    /// It is too old, or from the future.
    Time,
    /// Somebody else signed it, or something else.
    Signature,
}

impl Signed {
    /// What the headers say; its time is looked at here, before a body is read.
    pub(crate) fn read(headers: &HeaderMap, now_ms: u64) -> Result<Self, Doubt> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Doubt::Headers);
        let id = text("webhook-id")?;
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(Doubt::Headers);
        }
        let timestamp: u64 = text("webhook-timestamp")?.parse().map_err(|_| Doubt::Headers)?;
        if timestamp.saturating_mul(1_000).abs_diff(now_ms) > TOLERANCE_MS {
            return Err(Doubt::Time);
        }
        let signatures = text("webhook-signature")?
            .split(' ')
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
            .take(MOST_SIGNATURES)
            .collect();
        Ok(Self { id: id.to_owned(), timestamp, signatures })
    }

    /// Whether this body was signed with this secret.
    pub(crate) fn check(&self, secret: &str, body: &[u8]) -> Result<(), Doubt> {
        let mac = mac(secret, &self.id, self.timestamp, body);
        // `verify_slice` takes the same time wherever the difference is.
        let fits = self.signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok());
        if fits { Ok(()) } else { Err(Doubt::Signature) }
    }
}

/// Signs a body; the value of `webhook-signature`.
pub(crate) fn sign(secret: &str, id: &str, timestamp: u64, body: &[u8]) -> String {
    format!("v1,{}", STANDARD.encode(mac(secret, id, timestamp, body).finalize().into_bytes()))
}

fn mac(secret: &str, id: &str, timestamp: u64, body: &[u8]) -> Hmac<Sha256> {
    // Secrets of this form are base64 behind a prefix; others are taken as they are.
    let key = secret.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    let key = key.unwrap_or_else(|| secret.as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NOW_MS: u64 = 1_614_265_330_000;

    fn headers(id: &str, timestamp: u64, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", id),
            ("webhook-timestamp", &timestamp.to_string()),
            ("webhook-signature", signature),
        ] {
            headers
                .insert(http::HeaderName::try_from(name).expect("a name"), value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn what_is_signed_is_the_id_the_time_and_the_body() {
        // The example of the specification's libraries.
        let body = br#"{"test": 2432232314}"#;
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let signature = sign(SECRET, id, at, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let signed =
            Signed::read(&headers(id, at, &format!("v1,AAAA v2,x {signature}")), NOW_MS).expect("read");
        assert_eq!(signed.check(SECRET, body), Ok(()));
        assert_eq!(signed.check(SECRET, br#"{"test": 2432232315}"#), Err(Doubt::Signature));
        assert_eq!(signed.check("another secret of this length", body), Err(Doubt::Signature));
        let other = Signed::read(&headers("other", at, &signature), NOW_MS).expect("read");
        assert_eq!(other.check(SECRET, body), Err(Doubt::Signature));
        let later = Signed::read(&headers(id, at + 1, &signature), NOW_MS).expect("read");
        assert_eq!(later.check(SECRET, body), Err(Doubt::Signature));
    }

    #[test]
    fn a_message_of_ten_minutes_ago_and_one_of_the_future_are_refused() {
        for at in [1_614_265_330 - 600, 1_614_265_330 + 600, u64::MAX] {
            assert_eq!(Signed::read(&headers("a", at, "v1,AAAA"), NOW_MS), Err(Doubt::Time));
        }
        assert_eq!(Signed::read(&HeaderMap::new(), NOW_MS), Err(Doubt::Headers));
    }

    #[test]
    fn a_message_is_five_minutes_under_way_at_most_and_its_headers_are_of_a_bounded_length() {
        let at = NOW_MS / 1_000;
        for (at, is_read) in [(at - 300, true), (at - 301, false), (at + 300, true), (at + 301, false)] {
            let read = Signed::read(&headers("a", at, "v1,AAAA"), NOW_MS);
            assert_eq!(read.err(), (!is_read).then_some(Doubt::Time), "{at}");
        }
        for (length, is_read) in [(0, false), (1, true), (256, true), (257, false)] {
            let read = Signed::read(&headers(&"a".repeat(length), at, "v1,AAAA"), NOW_MS);
            assert_eq!(read.err(), (!is_read).then_some(Doubt::Headers), "{length}");
        }
    }

    #[test]
    fn of_many_signatures_eight_of_our_version_are_looked_at() {
        let (at, body) = (NOW_MS / 1_000, b"{}");
        let good = sign(SECRET, "a", at, body);
        let check = |signatures: &str| {
            Signed::read(&headers("a", at, signatures), NOW_MS).and_then(|signed| signed.check(SECRET, body))
        };
        let others = |count: usize| vec!["v1,AAAA"; count].join(" ");
        assert_eq!(check(&format!("{} {good}", others(7))), Ok(()));
        assert_eq!(check(&format!("{} {good}", others(8))), Err(Doubt::Signature));
        assert_eq!(check(&good.replacen("v1", "v1a", 1)), Err(Doubt::Signature));
        assert_eq!(check(&good.replacen("v1,", "", 1)), Err(Doubt::Signature));
        assert_eq!(check(""), Err(Doubt::Signature));
        // A secret with the prefix stands for its bytes, not for its letters.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(format!("a.{at}.{{}}").as_bytes());
        assert_eq!(good, format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    }
}
