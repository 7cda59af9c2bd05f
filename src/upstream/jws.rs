//! Signatures of tokens, and the keys that check them.
//!
//! A key says by its own type which algorithms it may check; what a token's header says must be among those. So `none`, and
//! an HMAC keyed with a public key, are nothing that any key checks.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc7515>, <https://www.rfc-editor.org/rfc/rfc7517>

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};

use crate::{Error, claims};

/// Longest token that is looked at, in bytes.
const LONGEST: usize = 64 << 10;
/// Keys of one provider.
const MOST_KEYS: usize = 64;

/// A token taken apart, of which nothing is believed yet.
pub(crate) struct Unverified<'a> {
    algorithm: String,
    /// The name of the key, if it says one.
    key: Option<String>,
    /// What kind of token it says that it is.
    kind: Option<String>,
    /// What is signed.
    signed: &'a str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(crate) fn parse(token: &'a str) -> Result<Unverified<'a>, Error> {
        let bad = || Error::Untrusted("the ID token is no signed token");
        if token.len() > LONGEST {
            return Err(bad());
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(bad)?;
        let (head, payload) = signed.split_once('.').ok_or_else(bad)?;
        let bytes = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| bad());
        let object = |part: &str| -> Result<Map<String, Value>, Error> {
            serde_json::from_slice(&bytes(part)?).map_err(|_| bad())
        };
        let head = object(head)?;
        if head.contains_key("crit") {
            return Err(Error::Untrusted("the ID token demands what is not known here"));
        }
        Ok(Unverified {
            algorithm: claims::text(&head, "alg").ok_or_else(bad)?.to_owned(),
            key: claims::text(&head, "kid").map(str::to_owned),
            kind: claims::text(&head, "typ").map(str::to_owned),
            signed,
            signature: bytes(signature)?,
            claims: object(payload)?,
        })
    }

    /// What kind of token it says that it is.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The claims, whoever has made them up: to find out early that it is of no use to look at the signature.
    pub(crate) fn alleged(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The claims, once one of these keys has signed them. Nothing where none of them can have.
    pub(crate) fn verify(&self, keys: &Keys) -> Option<&Map<String, Value>> {
        let may_be = |key: &&Key| match (&self.key, &key.id) {
            (Some(named), Some(id)) => named == id,
            // A provider with one key need not name it.
            _ => true,
        };
        let mut keys = keys.0.iter().filter(may_be);
        keys.any(|key| key.checks(&self.algorithm, self.signed.as_bytes(), &self.signature))
            .then_some(&self.claims)
    }

    /// Whether there is a key that may have signed it.
    pub(crate) fn names_one_of(&self, keys: &Keys) -> bool {
        self.key.is_none() || keys.0.iter().any(|key| key.id == self.key)
    }
}

/// The keys of a provider.
#[derive(Debug, Default)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if the provider says so.
    algorithm: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Keys {
    /// Reads a set of keys. One that cannot be used here costs itself alone.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when it is no such set, or none of its keys can be used.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Keys, Error> {
        let set: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| Error::Untrusted("the keys are no JSON"))?;
        let all = set.get("keys").and_then(Value::as_array).ok_or(Error::Untrusted("there are no keys"))?;
        let keys: Vec<Key> =
            all.iter().take(MOST_KEYS).filter_map(Value::as_object).filter_map(Key::parse).collect();
        if keys.is_empty() {
            return Err(Error::Untrusted("none of the keys can be used"));
        }
        Ok(Keys(keys))
    }
}

impl Key {
    fn parse(key: &Map<String, Value>) -> Option<Key> {
        if claims::text(key, "use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let bytes = |name| BASE64_URL_SAFE_NO_PAD.decode(claims::text(key, name)?).ok();
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            // Uncompressed.
            (x.len() == length && y.len() == length).then(|| [&[4], x.as_slice(), &y].concat())
        };
        let public = match (claims::text(key, "kty")?, claims::text(key, "crv")) {
            ("RSA", _) => Public::Rsa { modulus: bytes("n")?, exponent: bytes("e")? },
            ("EC", Some("P-256")) => Public::P256(point(32)?),
            ("EC", Some("P-384")) => Public::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes("x")?),
            _ => return None,
        };
        let text = |name| claims::text(key, name).map(str::to_owned);
        Some(Key { id: text("kid"), algorithm: text("alg"), public })
    }

    fn checks(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.as_deref().is_some_and(|only| only != algorithm) {
            return false;
        }
        let by = |kind: &'static dyn VerificationAlgorithm, public: &[u8]| {
            UnparsedPublicKey::new(kind, public).verify(signed, signature).is_ok()
        };
        match &self.public {
            Public::Rsa { modulus, exponent } => rsa(algorithm).is_some_and(|kind| {
                // A leading zero is not as it is to be written, and yet is.
                let start = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
                let n = modulus.get(start..).unwrap_or_default();
                RsaPublicKeyComponents { n, e: exponent.as_slice() }.verify(kind, signed, signature).is_ok()
            }),
            Public::P256(point) => algorithm == "ES256" && by(&signature::ECDSA_P256_SHA256_FIXED, point),
            Public::P384(point) => algorithm == "ES384" && by(&signature::ECDSA_P384_SHA384_FIXED, point),
            Public::Ed25519(point) => {
                matches!(algorithm, "EdDSA" | "Ed25519") && by(&signature::ED25519, point)
            }
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
