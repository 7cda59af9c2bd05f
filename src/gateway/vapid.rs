//! Who we are to push services: a key that browsers are told when they subscribe, and tokens that it signs.
//!
//! RFC 8292.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use base::Timestamp;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;

/// A token is good for so long, of the 24 hours that the standard allows...
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// ...and is not used when it ends within this.
const LEAST: Duration = Duration::from_secs(6 * 60 * 60);

/// Push services whose tokens are kept.
const MOST_TOKENS: usize = 1_000;

/// Largest key file.
const MOST_KEY_BYTES: u64 = 64 * 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Others than its owner may read the file.
    #[error("others than its owner may read it; its mode must be 0600")]
    Open,
    /// It holds no key.
    #[error("it holds no key of the curve P-256 as PKCS#8 in PEM")]
    NoKey,
}

/// The key with which push services know us.
pub struct VapidKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    public: String,
    tokens: Mutex<HashMap<String, Token>>,
}

struct Token {
    text: String,
    /// In seconds since 1970.
    ends: u64,
}

impl std::fmt::Debug for VapidKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VapidKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl VapidKey {
    /// The key in a file, which is made with one, for its owner alone, where it is missing.
    ///
    /// Browsers subscribe with the key: with another one, none of them is reached any more until its user comes back.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(file: &Path) -> Result<Self, KeyError> {
        let found = match File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(file)?;
                File::open(file)?
            }
            found => found?,
        };
        if found.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Open);
        }
        let mut text = Vec::new();
        found.take(MOST_KEY_BYTES).read_to_end(&mut text)?;
        Self::parse(&text)
    }

    /// A key as PKCS#8 in PEM.
    ///
    /// # Errors
    /// [`KeyError::NoKey`].
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::NoKey)?;
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
                .map_err(|_| KeyError::NoKey)?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        Ok(Self { pair, random, public, tokens: Mutex::default() })
    }

    /// The public key as browsers are told it (`applicationServerKey`).
    pub fn public(&self) -> &str {
        &self.public
    }

    /// What a request to a push service has in `Authorization`; nothing where there is no chance to be had.
    pub(crate) fn authorization(&self, service: &str, subject: &str, now: Timestamp) -> Option<String> {
        let now = now.millis() / 1_000;
        let mut tokens = self.tokens.lock();
        // Also where the calendar was set back: no token may end more than 24 hours from now.
        let holds = |token: &&Token| (now + LEAST.as_secs()..=now + LIFETIME.as_secs()).contains(&token.ends);
        let token = match tokens.get(service).filter(holds) {
            Some(token) => token.text.clone(),
            None => {
                let ends = now + LIFETIME.as_secs();
                let text = self.sign(service, subject, ends)?;
                if tokens.len() >= MOST_TOKENS {
                    tokens.clear();
                }
                tokens.insert(service.to_owned(), Token { text: text.clone(), ends });
                text
            }
        };
        Some(format!("vapid t={token}, k={}", self.public))
    }

    fn sign(&self, service: &str, subject: &str, ends: u64) -> Option<String> {
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({ "typ": "JWT", "alg": "ES256" }));
        let claims = part(json!({ "aud": service, "exp": ends, "sub": subject }));
        let signed = format!("{head}.{claims}");
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Makes a file with a new key. Of several processes one makes it.
fn make(file: &Path) -> Result<(), KeyError> {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|_| io::Error::other("no random numbers"))?;
    let lines = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> =
        lines.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    // Whole or not at all: written beside and put in place where none is yet.
    let beside = file.with_extension(format!("{}.part", std::process::id()));
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    written.write_all(pem.as_bytes())?;
    written.sync_all()?;
    let placed = std::fs::hard_link(&beside, file);
    std::fs::remove_file(&beside)?;
    match placed {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        placed => Ok(placed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1_000;

    fn token(key: &VapidKey, service: &str, at_ms: u64) -> (String, u64) {
        let text = key.authorization(service, "mailto:a@example.jp", Timestamp(at_ms)).unwrap();
        let token = text.strip_prefix("vapid t=").unwrap().split(',').next().unwrap().to_owned();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["aud"], &claims["sub"]), (&json!(service), &json!("mailto:a@example.jp")));
        (token, claims["exp"].as_u64().unwrap() * 1_000)
    }

    #[test]
    fn a_token_is_used_again_and_signed_anew_long_before_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let key = VapidKey::open(&directory.path().join("push.pem")).unwrap();
        let begun = 1_800_000_000_000;
        let mut last = token(&key, "https://a.example", begun);
        assert_ne!(token(&key, "https://b.example", begun).0, last.0);
        let mut tokens = 1;
        for hour in 0..48 {
            let now = begun + hour * HOUR;
            let found = token(&key, "https://a.example", now);
            assert!(found.1 >= now + 6 * HOUR && found.1 <= now + 24 * HOUR, "{hour}");
            tokens += u32::from(found.0 != last.0);
            last = found;
        }
        assert!((4..=8).contains(&tokens), "{tokens}");
        // The calendar was a day too far.
        let found = token(&key, "https://a.example", begun);
        assert!(found.1 <= begun + 24 * HOUR);
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_no_other_file_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("push.pem");
        let first = VapidKey::open(&file).unwrap().public().to_owned();
        assert_eq!(VapidKey::open(&file).unwrap().public(), first);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(URL_SAFE_NO_PAD.decode(&first).unwrap().len(), 65);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(VapidKey::open(&file), Err(KeyError::Open)));
        assert!(matches!(VapidKey::parse(b"nothing"), Err(KeyError::NoKey)));
    }
}
