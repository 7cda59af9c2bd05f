//! An authenticator in software, for tests: it makes a passkey of ES256 and signs as one does.

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use sha2::{Digest, Sha256};

/// There, and verified.
pub(crate) const USUAL: u8 = 0x05;

pub(crate) struct Authenticator {
    key: EcdsaKeyPair,
    random: SystemRandom,
    pub(crate) credential: Vec<u8>,
    pub(crate) counter: u32,
    pub(crate) flags: u8,
}

impl Authenticator {
    pub(crate) fn new(credential: &[u8]) -> Authenticator {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap();
        Authenticator { key, random, credential: credential.to_vec(), counter: 0, flags: USUAL }
    }

    /// What a browser says that it was asked; the challenge is written as it stands on a page.
    pub(crate) fn client_data(what: &str, challenge: &str, origin: &str) -> Vec<u8> {
        format!(
            r#"{{"type":"webauthn.{what}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
        )
        .into_bytes()
    }

    /// What it says beside a signature.
    pub(crate) fn data(&self, party: &str) -> Vec<u8> {
        let mut data = Sha256::digest(party.as_bytes()).to_vec();
        data.push(self.flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// The key as COSE has it.
    pub(crate) fn cose_key(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        [&[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20][..], x, &[0x22, 0x58, 0x20], y]
            .concat()
    }

    /// What it says of the passkey that it has made.
    pub(crate) fn attestation(&self, party: &str) -> Vec<u8> {
        Authenticator::attestation_of(&self.data_with_key(party, &self.cose_key()))
    }

    pub(crate) fn data_with_key(&self, party: &str, key: &[u8]) -> Vec<u8> {
        let mut data = self.data(party);
        data[32] |= 0x40;
        data.extend([7; 16]);
        data.extend(u16::try_from(self.credential.len()).unwrap().to_be_bytes());
        data.extend(&self.credential);
        data.extend(key);
        data
    }

    pub(crate) fn attestation_of(data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        let mut all = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        all.extend(length);
        all.extend(data);
        all
    }

    pub(crate) fn sign(&self, data: &[u8], client_data: &[u8]) -> Vec<u8> {
        let signed = [data, &Sha256::digest(client_data)].concat();
        self.key.sign(&self.random, &signed).unwrap().as_ref().to_vec()
    }
}
