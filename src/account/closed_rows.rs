//! What is kept for a week of accounts that were closed.

use serde::{Deserialize, Serialize};
use store::row;

/// An account that was closed lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosedRow {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Its profile: fields and their JSON.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// How the organisation had its user called.
    pub(crate) given: Option<String>,
    /// Whether its user had a second factor, which is gone.
    pub(crate) had_factor: bool,
    /// Whether it was locked.
    pub(crate) locked: bool,
    /// Whether it was suspended.
    pub(crate) suspended: bool,
    /// Whether an identity system had locked it.
    pub(crate) by_source: bool,
}
row!(ClosedRow, schema = 1);

#[cfg(test)]
mod tests {
    use store::Value;

    use super::ClosedRow;

    #[test]
    fn a_row_has_the_bytes_that_are_on_disk() {
        let closed = ClosedRow {
            at_ms: 1,
            fields: vec![("f".into(), b"\"a\"".to_vec())],
            given: Some("b".into()),
            had_factor: true,
            locked: true,
            suspended: false,
            by_source: true,
        };
        assert_eq!(&closed.encode()[..], b"\x01\x01\x01\x01f\x03\"a\"\x01\x01b\x01\x01\x00\x01");
    }
}
