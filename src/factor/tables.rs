//! The tables of this crate.

use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

use crate::codes::Hash;

/// Bytes of a secret: as many as the hash has (RFC 4226, 4, R6).
pub const SECRET: usize = 20;

/// What an app and we have in common.
pub type Secret = [u8; SECRET];

/// What an account is asked for beside its password; key: user id. Whoever never had a factor has no row.
pub(crate) static FACTORS: Table<String, FactorsRow> = Table::new(360, "factor.factors", Tuning::Point);
/// Recoveries that one has asked for and another has still to agree to; key: authority, user id.
pub(crate) static RECOVERIES: Table<(String, String), RecoveryRow> =
    Table::new(361, "factor.recoveries", Tuning::Small);

/// Whose a passkey is; key: authority, SHA-256 of what the passkey is called; value: user id.
pub(crate) static CREDENTIALS: Table<(String, Hash), String> =
    Table::new(362, "factor.credentials", Tuning::Point);
/// Challenges that passkeys have answered, until they would be too old anyhow; key: user id, SHA-256 of the challenge; value: when
/// it was answered, in milliseconds since 1970.
pub(crate) static ANSWERED: Table<(String, Hash), u64> = Table::new(363, "factor.answered", Tuning::Small);

/// All factors of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FactorsRow {
    /// The number of the next one.
    pub(crate) next: u32,
    /// How often the account was recovered: what was begun before is worth nothing after.
    pub(crate) recovered: u32,
    /// Authenticator apps.
    pub(crate) apps: Vec<AppRow>,
    /// Passkeys.
    pub(crate) passkeys: Vec<PasskeyRow>,
    /// Codes of its owner that were not used yet.
    pub(crate) codes: Vec<Hash>,
    /// The code of a recovery, until its owner has a factor again.
    pub(crate) handed: Option<HandedRow>,
    /// From where its owner showed a factor last, the newest first: parts of hashes.
    pub(crate) places: Vec<u64>,
}
row!(FactorsRow, schema = 1);

impl FactorsRow {
    /// How many factors there are.
    pub(crate) fn count(&self) -> usize {
        self.apps.len() + self.passkeys.len()
    }
}

/// An authenticator app.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppRow {
    /// Its number.
    pub(crate) id: u32,
    /// What its owner calls it.
    pub(crate) name: String,
    /// When it was set up, in milliseconds since 1970.
    pub(crate) added_ms: u64,
    /// What it computes codes from.
    pub(crate) secret: Secret,
    /// The step of the last code that was taken; it only grows.
    pub(crate) last_step: u64,
    /// By how many steps its clock was ahead then.
    pub(crate) drift: i8,
    /// The step of a code from afar, after which the next one gets in.
    pub(crate) expected_after: Option<u64>,
}

impl std::fmt::Debug for AppRow {
    /// Secrets do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppRow").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PasskeyRow {
    /// Its number.
    pub(crate) id: u32,
    /// What its owner calls it.
    pub(crate) name: String,
    /// When it was made, in milliseconds since 1970.
    pub(crate) added_ms: u64,
    /// What it is called between authenticators and us.
    pub(crate) credential: Vec<u8>,
    /// What checks its signatures.
    pub(crate) key: KeyRow,
    /// How often it was used, where its authenticator counts.
    pub(crate) counter: u32,
    /// Whether its authenticator may copy it to others of its owner.
    pub(crate) copied: bool,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyRow {
    /// A point of P-256, not compressed: ES256.
    P256(Vec<u8>),
    /// EdDSA.
    Ed25519(Vec<u8>),
    /// Modulus and exponent: RS256.
    Rsa(Vec<u8>, Vec<u8>),
}

/// The code of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedRow {
    /// Its hash.
    pub(crate) code: Hash,
    /// Until when it is good, in milliseconds since 1970.
    pub(crate) until_ms: u64,
}

/// A recovery that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecoveryRow {
    /// By whom: a user id.
    pub(crate) asked_by: String,
    /// When, in milliseconds since 1970.
    pub(crate) asked_ms: u64,
}
row!(RecoveryRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![FACTORS.check(), RECOVERIES.check(), CREDENTIALS.check(), ANSWERED.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let app = AppRow {
            id: 1,
            name: "a".into(),
            added_ms: 2,
            secret: [7; 20],
            last_step: 3,
            drift: -2,
            expected_after: Some(4),
        };
        let handed = Some(HandedRow { code: [9; 32], until_ms: 5 });
        let key = KeyRow::Rsa(vec![5], vec![6]);
        let passkey = PasskeyRow {
            id: 2,
            name: "b".into(),
            added_ms: 3,
            credential: vec![1, 2],
            key,
            counter: 4,
            copied: true,
        };
        let passkeys = vec![passkey];
        let row = FactorsRow {
            next: 2,
            recovered: 1,
            apps: vec![app],
            passkeys,
            codes: vec![[8; 32]],
            handed,
            places: vec![7],
        };
        let mut bytes = b"\x01\x02\x01\x01\x01\x01a\x02".to_vec();
        bytes.extend([7; 20]);
        bytes.extend(b"\x03\xfe\x01\x04\x01\x02\x01b\x03\x02\x01\x02\x02\x01\x05\x01\x06\x04\x01\x01");
        bytes.extend([8; 32]);
        bytes.push(1);
        bytes.extend([9; 32]);
        bytes.extend([5, 1, 7]);
        assert_eq!(&row.encode()[..], bytes);
        assert_eq!(FactorsRow::decode(&row.encode()).ok(), Some(row));
        let asked = RecoveryRow { asked_by: "@a:b".into(), asked_ms: 6 };
        assert_eq!(&asked.encode()[..], b"\x01\x04@a:b\x06");
    }
}
