//! Google's push service (Firebase Cloud Messaging, HTTP v1): who we are to it, and what it is posted.
//!
//! See <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>

use std::time::Duration;

use base::Timestamp;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::Mutex;
use pdu::lenient::field;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Post, Protocol};

/// Where it is.
const SERVICE: &str = "https://fcm.googleapis.com";

/// Most that an app is told, in bytes of names and texts.
pub(crate) const MOST_DATA: usize = 4_096;

/// What we ask to be let do.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// An assertion of who we are is good for so long: the longest that is taken.
const ASSERTED_FOR: u64 = 60 * 60;

/// A token is not used when it ends within this, and is not believed to be good for longer than that.
const LEAST: u64 = 5 * 60;
const LONGEST: u64 = 60 * 60;

/// An account of an app's maker at Google, by which messages to the app are sent.
pub struct FcmAccount {
    project: String,
    email: String,
    token_uri: String,
    service: String,
    key: RsaKeyPair,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    /// In seconds since 1970.
    ends: u64,
}

impl std::fmt::Debug for FcmAccount {
    /// Keys do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FcmAccount").field("project", &self.project).finish_non_exhaustive()
    }
}

/// A service account's file, as Google's console gives it.
#[derive(Deserialize)]
struct File {
    project_id: String,
    client_email: String,
    private_key: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct LoggedIn {
    access_token: String,
    #[serde(default, deserialize_with = "field")]
    expires_in: Option<u64>,
}

/// What is wrong, where something is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Failure {
    #[serde(deserialize_with = "field")]
    error: Option<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(deserialize_with = "field")]
    details: Option<Vec<Detail>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    #[serde(deserialize_with = "field")]
    error_code: Option<String>,
}

impl FcmAccount {
    /// An account as its file says; nothing if that is no service account's file with a key (RSA, PKCS#8 in PEM).
    pub fn parse(json: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(json).ok()?;
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        if file.project_id.is_empty() || !file.project_id.chars().all(is_name) {
            return None;
        }
        if !file.token_uri.starts_with("https://") {
            return None;
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes()).ok()?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?;
        let File { project_id: project, client_email: email, token_uri, .. } = file;
        let service = SERVICE.to_owned();
        Some(Self { project, email, token_uri, service, key, token: Mutex::default() })
    }

    /// The same, told over a service elsewhere (scheme, host and port): what stands in for Google's.
    #[must_use]
    pub fn at(self, service: String) -> Self {
        Self { service, ..self }
    }

    /// Where its messages are posted.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// The token of the last log-in, unless it ends soon.
    pub(crate) fn kept_token(&self, now: Timestamp) -> Option<String> {
        let now = seconds(now);
        let token = self.token.lock();
        // Also where the calendar was set back.
        let holds = |token: &&Token| (now + LEAST..=now + LONGEST).contains(&token.ends);
        token.as_ref().filter(holds).map(|token| token.text.clone())
    }

    /// A token is taken no more.
    pub(crate) fn forget_token(&self, text: &str) {
        // Somebody may have another one already.
        self.token.lock().take_if(|token| token.text == text);
    }

    /// What is posted for a token; nothing where it cannot be signed.
    ///
    /// RFC 7523, section 2.1.
    pub(crate) fn log_in(&self, now: Timestamp) -> Option<Post> {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let now = seconds(now);
        let head = part(json!({ "typ": "JWT", "alg": "RS256" }));
        let claims = part(json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + ASSERTED_FOR,
        }));
        let signed = format!("{head}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).ok()?;
        let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        let body =
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
        let body = Bytes::from(body);
        Some(Post { url: self.token_uri.clone(), headers, body, protocol: Protocol::Usual })
    }

    /// Keeps the token of an answer, if there is one.
    pub(crate) fn keep_token(&self, answer: &[u8], now: Timestamp) -> Option<String> {
        let LoggedIn { access_token: text, expires_in } = serde_json::from_slice(answer).ok()?;
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        if text.is_empty() || !text.bytes().all(is_plain) {
            return None;
        }
        let ends = seconds(now) + expires_in.unwrap_or(LONGEST).min(LONGEST);
        *self.token.lock() = Some(Token { text: text.clone(), ends });
        Some(text)
    }

    /// What is posted for an app.
    pub(crate) fn message(
        &self,
        token: &str,
        push_key: &str,
        data: Map<String, Value>,
        is_low: bool,
        kept: Duration,
    ) -> Post {
        let priority = if is_low { "normal" } else { "high" };
        let android = json!({ "priority": priority, "ttl": format!("{}s", kept.as_secs()) });
        let message = json!({ "message": { "token": push_key, "data": data, "android": android } });
        Post {
            url: format!("{}/v1/projects/{}/messages:send", self.service, self.project),
            headers: vec![
                ("authorization", format!("Bearer {token}")),
                ("content-type", "application/json".to_owned()),
            ],
            body: Bytes::from(message.to_string()),
            protocol: Protocol::Usual,
        }
    }
}

/// Whether an answer says that nobody is behind a push key: not any more, or not for this account's app. That something else is wrong
/// with a message says nothing of it.
///
/// See <https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode>
pub(crate) fn is_gone(answer: &[u8]) -> bool {
    let failure: Failure = serde_json::from_slice(answer).unwrap_or_default();
    let details = failure.error.unwrap_or_default().details.unwrap_or_default();
    let is_gone = |code: &str| matches!(code, "UNREGISTERED" | "SENDER_ID_MISMATCH");
    details.iter().any(|detail| detail.error_code.as_deref().is_some_and(is_gone))
}

fn seconds(now: Timestamp) -> u64 {
    now.millis() / 1_000
}
