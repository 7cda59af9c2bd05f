//! What is sent to a browser, encrypted so that its push service learns nothing: one record of `aes128gcm`.
//!
//! Each message has a key pair of its own, whose public half goes along in the header of the record.
//!
//! RFC 8291, with RFC 8188 for the record.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::{SecureRandom, SystemRandom},
};

/// Most that one message tells: push services take 4,096 bytes, of which 103 are not the text's.
pub(crate) const MOST_TEXT: usize = 3_993;

/// The record size that is told. There is one record, which is shorter.
const RECORD: u32 = 4_096;

/// The last record ends with this, before padding.
const LAST: u8 = 2;

const PUBLIC_KEY_BYTES: usize = 65;
const SECRET_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

/// For whom something is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// Its public key, uncompressed.
    public: [u8; PUBLIC_KEY_BYTES],
    /// What only it and the app know.
    secret: [u8; SECRET_BYTES],
}

/// Nothing can be encrypted for this receiver, or not so much.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    /// The key is on no curve.
    #[error("the public key is none")]
    NoKey,
    /// The text has more than [`MOST_TEXT`] bytes.
    #[error("the text is too long")]
    TooLong,
    /// The machine has no chance to give.
    #[error("no random numbers")]
    NoChance,
}

impl Receiver {
    /// Of the two texts in a subscription, `p256dh` and `auth`; with padding or without, in either alphabet.
    pub(crate) fn parse(public: &str, secret: &str) -> Option<Self> {
        let bytes = |text: &str| {
            let text: String = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
            URL_SAFE_NO_PAD.decode(text).ok()
        };
        let public: [u8; PUBLIC_KEY_BYTES] = bytes(public)?.try_into().ok()?;
        let secret = bytes(secret)?.try_into().ok()?;
        (public[0] == 4).then_some(Self { public, secret })
    }

    /// A message that only this receiver can read.
    ///
    /// # Errors
    /// [`SealError`].
    pub(crate) fn seal(&self, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let random = SystemRandom::new();
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt).map_err(|_| SealError::NoChance)?;
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(|_| SealError::NoChance)?;
        let sender = private.compute_public_key().map_err(|_| SealError::NoChance)?;
        let sender: [u8; PUBLIC_KEY_BYTES] = sender.as_ref().try_into().map_err(|_| SealError::NoKey)?;
        let receiver = UnparsedPublicKey::new(&ECDH_P256, self.public);
        agree_ephemeral(private, &receiver, |shared| self.seal_with(shared, &sender, &salt, text))
            .map_err(|_| SealError::NoKey)?
    }

    /// The same with what both have in common, the sender's public key and a salt.
    fn seal_with(
        &self,
        shared: &[u8],
        sender: &[u8; PUBLIC_KEY_BYTES],
        salt: &[u8; SALT_BYTES],
        text: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if text.len() > MOST_TEXT {
            return Err(SealError::TooLong);
        }
        let ours = [b"WebPush: info\0".as_slice(), &self.public, sender].concat();
        let input: [u8; 32] = derive(&self.secret, shared, &ours);
        let key: [u8; KEY_BYTES] = derive(salt, &input, b"Content-Encoding: aes128gcm\0");
        let nonce: [u8; NONCE_BYTES] = derive(salt, &input, b"Content-Encoding: nonce\0");
        let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| SealError::NoKey)?;
        let mut record = Vec::with_capacity(text.len() + 1 + AES_128_GCM.tag_len());
        record.extend_from_slice(text);
        record.push(LAST);
        let nonce = Nonce::assume_unique_for_key(nonce);
        // The key is of this message alone, and so is the nonce.
        LessSafeKey::new(key)
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut record)
            .map_err(|_| SealError::TooLong)?;
        let length = u8::try_from(sender.len()).map_err(|_| SealError::NoKey)?;
        let head = [salt.as_slice(), &RECORD.to_be_bytes(), &[length], sender].concat();
        Ok([head, record].concat())
    }
}

/// A length that is asked of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF with SHA-256, as far as one block of it reaches.
fn derive<const BYTES: usize>(salt: &[u8], input: &[u8], info: &[u8]) -> [u8; BYTES] {
    const { assert!(BYTES <= 32, "one block") };
    let mut out = [0; BYTES];
    let key = Salt::new(HKDF_SHA256, salt).extract(input);
    let info = [info];
    let filled = key.expand(&info, Length(BYTES)).and_then(|found| found.fill(&mut out));
    filled.expect("HKDF gives 255 blocks");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 8291, section 5 and appendix A.
    #[test]
    fn the_example_of_the_standard_comes_out_as_it_stands_there() {
        let receiver = Receiver::parse(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "BTBZMqHH6r4Tts7J_aSIgg",
        )
        .unwrap();
        let shared = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let sender =
            bytes("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw");
        let text = b"When I grow up, I want to be a watermelon";

        let sealed = receiver
            .seal_with(&shared, &sender.try_into().unwrap(), &salt.try_into().unwrap(), text)
            .unwrap();

        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w\
            EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(URL_SAFE_NO_PAD.encode(sealed), expected);
    }

    #[test]
    fn a_key_is_read_in_either_alphabet_and_has_its_length() {
        let public = URL_SAFE_NO_PAD.encode([[4; 1].as_slice(), &[0xfb; 64]].concat());
        let secret = URL_SAFE_NO_PAD.encode([0xff; 16]);
        let receiver = Receiver::parse(&public, &secret).unwrap();
        let other = format!("{}=", public.replace('-', "+").replace('_', "/"));
        assert_eq!(Receiver::parse(&other, &format!("{secret}==")), Some(receiver.clone()));
        for (public, secret) in [("", &*secret), (&*public, ""), (&public[2..], &*secret), ("あ", &*secret)]
        {
            assert_eq!(Receiver::parse(public, secret), None, "{public} {secret}");
        }
        // It has the form of a point, and is none.
        assert_eq!(receiver.seal(b"x"), Err(SealError::NoKey));
    }
}
