//! A browser's side of WebPush, over other libraries than ours: RFC 8291, section 3.4 read from the other end.

use aes_gcm::{Aes128Gcm, KeyInit as _, aead::Aead as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use p256::{
    PublicKey, SecretKey,
    ecdh::diffie_hellman,
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
    elliptic_curve::sec1::ToSec1Point as _,
};
use serde_json::{Value, json};
use sha2::Sha256;

pub(super) struct Browser {
    private: SecretKey,
    secret: [u8; 16],
}

impl Browser {
    pub(super) fn new() -> Self {
        Self::of(&[7; 32], [9; 16])
    }

    fn of(private: &[u8], secret: [u8; 16]) -> Self {
        Self { private: SecretKey::from_slice(private).unwrap(), secret }
    }

    fn public(&self) -> Vec<u8> {
        self.private.public_key().to_sec1_point(false).as_bytes().to_vec()
    }

    pub(super) fn key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public())
    }

    /// Its device as an app sets its pusher.
    pub(super) fn device(&self, more: &Value) -> Value {
        let mut data = more.clone();
        data["endpoint"] = json!("https://push.example/wpush/1");
        data["auth"] = json!(URL_SAFE_NO_PAD.encode(self.secret));
        json!({ "app_id": super::APP, "pushkey": self.key(), "data": data })
    }

    /// Reads a message.
    pub(super) fn open(&self, body: &[u8]) -> Vec<u8> {
        let (salt, rest) = body.split_at(16);
        let (size, rest) = rest.split_at(4);
        assert_eq!(size, 4_096_u32.to_be_bytes());
        let length = usize::from(rest[0]);
        let (sender, record) = rest[1..].split_at(length);
        let shared = {
            let sender = PublicKey::from_sec1_bytes(sender).unwrap();
            diffie_hellman(self.private.to_nonzero_scalar(), sender.as_affine())
        };
        let info = [b"WebPush: info\0".as_slice(), &self.public(), sender].concat();
        let input = hkdf(&self.secret, shared.raw_secret_bytes(), &info);
        let key = hkdf(salt, &input, b"Content-Encoding: aes128gcm\0");
        let nonce = hkdf(salt, &input, b"Content-Encoding: nonce\0");
        let cipher = Aes128Gcm::new_from_slice(&key[..16]).unwrap();
        let nonce: [u8; 12] = nonce[..12].try_into().unwrap();
        let mut text = cipher.decrypt(&nonce.into(), record).unwrap();
        while text.last() == Some(&0) {
            text.pop();
        }
        assert_eq!(text.pop(), Some(2), "the last record");
        text
    }
}

fn hkdf(salt: &[u8], input: &[u8], info: &[u8]) -> [u8; 32] {
    let mac = |key: &[u8], text: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        <[u8; 32]>::from(mac.finalize().into_bytes())
    };
    mac(&mac(salt, input), &[info, &[1]].concat())
}

/// The claims of an `Authorization`, if they are signed with this key.
pub(super) fn claims(authorization: &str, public: &str) -> Value {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (token, key) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    assert_eq!(key, public);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key = VerifyingKey::from_sec1_bytes(&bytes(key)).unwrap();
    key.verify(signed.as_bytes(), &Signature::from_slice(&bytes(signature)).unwrap()).unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let head: Value = serde_json::from_slice(&bytes(head)).unwrap();
    assert_eq!(head, json!({ "typ": "JWT", "alg": "ES256" }));
    serde_json::from_slice(&bytes(claims)).unwrap()
}

/// RFC 8291, section 5: what this browser reads is what the standard says.
#[test]
fn the_message_of_the_standard_is_read() {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let browser = Browser::of(
        &bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"),
        bytes("BTBZMqHH6r4Tts7J_aSIgg").try_into().unwrap(),
    );
    let message = bytes(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBr\
         u3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
    );
    assert_eq!(browser.open(&message), b"When I grow up, I want to be a watermelon");
}
