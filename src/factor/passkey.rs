//! Passkeys: what an authenticator makes of a challenge, and by which rules it is believed (Web Authentication, Level 3).
//!
//! Of a new one we take the public key and ask nothing of who made its authenticator (attestation "none"); so what is parsed is a
//! few lines of two formats, and `ring` checks the signatures, as it does those of identity providers. The user is always to be
//! verified (a finger, a PIN), so that a passkey stands for itself beside a password, and in the place of one.
//!
//! Spec: <https://www.w3.org/TR/webauthn-3/#sctn-registering-a-new-credential>,
//! <https://www.w3.org/TR/webauthn-3/#sctn-verifying-assertion>

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use minicbor::{Decoder, data::Type};
use ring::signature::{self, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use ruma::UserId;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    codes::Hash,
    error::Refused,
    tables::{KeyRow, PasskeyRow},
};

/// Bytes of a challenge.
pub const CHALLENGE: usize = 32;

/// What an authenticator is to sign, once.
pub type Challenge = [u8; CHALLENGE];

/// Longest part of what a browser brings, in bytes.
const LONGEST: usize = 8 << 10;
/// Longest name of a passkey, which authenticators choose (Level 3, 5.1).
const LONGEST_CREDENTIAL: usize = 1_023;
/// Longest modulus of RSA.
const LONGEST_MODULUS: usize = 1_024;

/// The bytes before what is about a new passkey: hash of the party's id, flags, counter.
const HEAD: usize = 37;

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const MAY_BE_COPIED: u8 = 0x08;
const IS_COPIED: u8 = 0x10;
const HAS_KEY: u8 = 0x40;
const HAS_EXTENSIONS: u8 = 0x80;

/// Who we are to browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The host of our pages.
    pub id: String,
    /// Their origin, as browsers write it.
    pub origin: String,
}

impl Party {
    /// The party of pages at an address. Nothing where browsers know no passkeys: without TLS, and by a bare number.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let host = authority.split(':').next().unwrap_or_default();
        let is_safe = scheme == "https" || scheme == "http" && host == "localhost";
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
            && !host.is_empty()
            && host.parse::<std::net::IpAddr>().is_err();
        let default = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(default).unwrap_or(&authority);
        let party = || Self { id: host.to_owned(), origin: format!("{scheme}://{authority}") };
        (is_safe && is_name).then(party)
    }
}

/// What an authenticator has made for us.
#[derive(Clone, Copy)]
pub struct Made<'a> {
    /// What the browser says that was asked, as JSON.
    pub client_data: &'a [u8],
    /// What the authenticator says, as CBOR.
    pub attestation: &'a [u8],
}

/// What a passkey has signed.
#[derive(Clone, Copy)]
pub struct Asserted<'a> {
    /// What the passkey is called.
    pub credential: &'a [u8],
    /// What the browser says that was asked, as JSON.
    pub client_data: &'a [u8],
    /// What the authenticator says.
    pub authenticator_data: &'a [u8],
    /// Its signature.
    pub signature: &'a [u8],
    /// Whose the authenticator thinks the passkey is.
    pub user_handle: Option<&'a [u8]>,
}

/// A new passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct New {
    pub(crate) credential: Vec<u8>,
    pub(crate) key: KeyRow,
    pub(crate) counter: u32,
    pub(crate) copied: bool,
}

/// By what authenticators know a user: nothing that names him.
#[must_use]
pub fn handle_of(user: &UserId) -> [u8; 32] {
    Sha256::new_with_prefix(b"passkeys of ").chain_update(user.as_bytes()).finalize().into()
}

pub(crate) fn hash_of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Judges what an authenticator has made.
pub(crate) fn made(party: &Party, challenge: &Challenge, made: &Made<'_>) -> Result<New, Refused> {
    if made.client_data.len().max(made.attestation.len()) > LONGEST {
        return Err(Refused::Wrong);
    }
    must_be_asked(made.client_data, "webauthn.create", party, challenge)?;
    let data = authenticator_data(made.attestation).ok_or(Refused::Wrong)?;
    let Head { flags, counter } = head(data, party)?;
    if flags & HAS_KEY == 0 {
        return Err(Refused::Wrong);
    }
    let (credential, key) = new_key(data.get(HEAD..).unwrap_or_default(), flags).ok_or(Refused::Wrong)?;
    Ok(New { credential, key, counter, copied: flags & MAY_BE_COPIED != 0 })
}

/// Judges what a passkey has signed; how often it was used then.
pub(crate) fn asserted(
    passkey: &PasskeyRow,
    party: &Party,
    challenge: &Challenge,
    shown: &Asserted<'_>,
) -> Result<u32, Refused> {
    let parts = [shown.client_data, shown.authenticator_data, shown.signature];
    if parts.iter().any(|part| part.len() > LONGEST) {
        return Err(Refused::Wrong);
    }
    must_be_asked(shown.client_data, "webauthn.get", party, challenge)?;
    let data = shown.authenticator_data;
    let Head { flags, counter } = head(data, party)?;
    let has_more = flags & (HAS_EXTENSIONS | HAS_KEY) != 0;
    if (data.len() > HEAD) != has_more || (flags & MAY_BE_COPIED != 0) != passkey.copied {
        return Err(Refused::Wrong);
    }
    let signed = [data, &hash_of(shown.client_data)].concat();
    if !passkey.key.checks(&signed, shown.signature) {
        return Err(Refused::Wrong);
    }
    // Those that are copied among devices count nothing, and say 0 always.
    if (counter != 0 || passkey.counter != 0) && counter <= passkey.counter {
        return Err(Refused::Copied);
    }
    Ok(counter)
}

/// Whether a browser was asked just this: by us, for this challenge, in no frame of others.
fn must_be_asked(
    client_data: &[u8],
    what: &str,
    party: &Party,
    challenge: &Challenge,
) -> Result<(), Refused> {
    let said: Map<String, Value> = serde_json::from_slice(client_data).map_err(|_| Refused::Wrong)?;
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let shown = BASE64_URL_SAFE_NO_PAD.decode(text("challenge")).unwrap_or_default();
    let is_ours: bool = shown.ct_eq(challenge).into();
    let is_framed = said.get("crossOrigin").is_some_and(|is| *is != Value::Bool(false));
    match text("type") == what && text("origin") == party.origin && is_ours && !is_framed {
        true => Ok(()),
        false => Err(Refused::Wrong),
    }
}

struct Head {
    flags: u8,
    counter: u32,
}

/// What every answer of an authenticator begins with. The user has to be there and verified, whatever the browser was asked.
fn head(data: &[u8], party: &Party) -> Result<Head, Refused> {
    let head: &[u8; HEAD] = data.first_chunk().ok_or(Refused::Wrong)?;
    let (of_party, rest) = head.split_at(32);
    let [flags, counter @ ..] = rest else { return Err(Refused::Wrong) };
    let counter = u32::from_be_bytes(counter.try_into().map_err(|_| Refused::Wrong)?);
    let has = |flag: u8| flags & flag == flag;
    let is_odd = has(IS_COPIED) && !has(MAY_BE_COPIED);
    if of_party != hash_of(party.id.as_bytes()) || !has(PRESENT | VERIFIED) || is_odd {
        return Err(Refused::Wrong);
    }
    Ok(Head { flags: *flags, counter })
}

/// What the authenticator says, of what it has made; the rest is about who made the authenticator.
fn authenticator_data(attestation: &[u8]) -> Option<&[u8]> {
    let mut decoder = Decoder::new(attestation);
    for _ in 0..decoder.map().ok()?? {
        if decoder.str().ok()? == "authData" {
            return decoder.bytes().ok();
        }
        decoder.skip().ok()?;
    }
    None
}

/// What a new passkey is called, and its key.
fn new_key(rest: &[u8], flags: u8) -> Option<(Vec<u8>, KeyRow)> {
    let (_model, rest) = rest.split_at_checked(16)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (credential, rest) = rest.split_at_checked(length)?;
    if !(1..=LONGEST_CREDENTIAL).contains(&length) {
        return None;
    }
    let mut decoder = Decoder::new(rest);
    let key = cose_key(&mut decoder)?;
    if flags & HAS_EXTENSIONS != 0 {
        decoder.skip().ok()?;
    }
    (decoder.position() == rest.len()).then(|| (credential.to_vec(), key))
}

/// Most entries of a key.
const MOST_ENTRIES: u64 = 16;

/// A key as authenticators write it (RFC 9052, 7): ES256, EdDSA or RS256, which Windows makes.
fn cose_key(decoder: &mut Decoder<'_>) -> Option<KeyRow> {
    let (mut kind, mut algorithm, mut curve) = (None, None, None);
    // What -1, -2 and -3 stand for follows from the kind.
    let mut bytes: [Option<&[u8]>; 3] = [None; 3];
    let entries = decoder.map().ok()??;
    if entries > MOST_ENTRIES {
        return None;
    }
    for _ in 0..entries {
        match decoder.i64().ok()? {
            1 => kind = Some(decoder.i64().ok()?),
            3 => algorithm = Some(decoder.i64().ok()?),
            label @ -3..=-1 => {
                let place = usize::try_from(-1 - label).ok()?;
                match decoder.datatype().ok()? {
                    Type::Bytes => bytes[place] = Some(decoder.bytes().ok()?),
                    _ if label == -1 => curve = Some(decoder.i64().ok()?),
                    _ => return None,
                }
            }
            _ => decoder.skip().ok()?,
        }
    }
    match (kind?, algorithm?, curve, bytes) {
        (2, -7, Some(1), [None, Some(x), Some(y)]) if x.len() == 32 && y.len() == 32 => {
            Some(KeyRow::P256([&[4], x, y].concat()))
        }
        (1, -8, Some(6), [None, Some(x), None]) if x.len() == 32 => Some(KeyRow::Ed25519(x.to_vec())),
        (3, -257, None, [Some(n), Some(e), None]) if n.len() <= LONGEST_MODULUS && e.len() <= 8 => {
            Some(KeyRow::Rsa(n.to_vec(), e.to_vec()))
        }
        _ => None,
    }
}

impl KeyRow {
    fn checks(&self, signed: &[u8], by: &[u8]) -> bool {
        let checked = match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point).verify(signed, by)
            }
            Self::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(signed, by),
            Self::Rsa(n, e) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, by)
            }
        };
        checked.is_ok()
    }
}
