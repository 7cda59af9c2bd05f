//! The tables of this crate.

use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

use crate::proof::{How, Problem};

/// What is known of the domains that authorities name; key: authority, domain.
pub(crate) static PROOFS: Table<(String, String), ProofRow> =
    Table::new(400, "domains.proofs", Tuning::Small);

/// Accounts that were put forward as somebody's, until their owners are told; key: authority, the account's name.
pub(crate) static CLAIMS: Table<(String, String), ClaimRow> =
    Table::new(401, "domains.claims", Tuning::Small);

/// What is known of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProofRow {
    /// When it was proven last, in ms since 1970, and by what; none where it never was, or is not any more.
    pub(crate) proven: Option<(u64, How)>,
    /// When it was looked at last.
    pub(crate) checked_ms: u64,
    /// Why it was not proven then.
    pub(crate) problem: Option<Problem>,
    /// So often in a row it was seen that it is not.
    pub(crate) misses: u8,
}
row!(ProofRow, schema = 1);

/// An account that was put forward as somebody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimRow {
    /// Whose, in the organisation.
    pub(crate) person: u64,
    /// By which address.
    pub(crate) email: String,
    /// When, in ms since 1970.
    pub(crate) asked_ms: u64,
}
row!(ClaimRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
#[must_use]
pub fn checks() -> Vec<TableCheck> {
    vec![PROOFS.check(), CLAIMS.check()]
}

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let proven = ProofRow { proven: Some((5, How::File)), checked_ms: 6, problem: None, misses: 0 };
        assert_eq!(&proven.encode()[..], b"\x01\x01\x05\x01\x06\x00\x00");
        let problem = Some(Problem::Unreached);
        let never = ProofRow { proven: None, checked_ms: 6, problem, misses: 3 };
        assert_eq!(&never.encode()[..], b"\x01\x00\x06\x01\x02\x03");
        let claim = ClaimRow { person: 7, email: "a@b".to_owned(), asked_ms: 8 };
        assert_eq!(&claim.encode()[..], b"\x01\x07\x03a@b\x08");
    }
}
