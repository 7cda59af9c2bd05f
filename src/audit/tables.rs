//! Tables of rows and their chain, and the rows in them.
//!
//! Rows are read as bytes: what is damaged is to be named, not to stand in the way of the rest, and hashes
//! are over what is stored. Keys begin with the authority. Records go once they were kept long enough, and their stubs come in
//! their place; nothing else is deleted from these tables.

use base::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Position, Table, Tuning, Value, row};

use crate::day::Day;

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// What was done; key: authority, position of the commit; value: [`Record`].
pub(crate) static RECORDS: Table<(String, Position), Bytes> =
    Table::new(200, "audit.records", Tuning::Append);
/// The chain; key: authority, number of the record from 1; value: [`LinkRow`].
pub(crate) static LINKS: Table<(String, u64), Bytes> = Table::new(201, "audit.links", Tuning::Append);
/// The seals; key: authority, day; value: [`SealRow`].
pub(crate) static SEALS: Table<(String, Day), Bytes> = Table::new(202, "audit.seals", Tuning::Append);
/// How far each chain has come; key: authority; value: [`ChainRow`].
pub(crate) static CHAINS: Table<String, Bytes> = Table::new(203, "audit.chains", Tuning::Small);

/// A link: the record of its number, and the hash over it and the link before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkRow {
    /// Where the record is.
    pub(crate) position: Position,
    /// See [`crate::chain`].
    pub(crate) hash: Hash,
}
row!(LinkRow, schema = 1);

/// The end of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainRow {
    /// Of the last link; 0 before the first.
    pub(crate) number: u64,
    /// Of the last record that has a link.
    pub(crate) position: Position,
    /// Of the last link.
    pub(crate) hash: Hash,
    /// The day that is not sealed yet, which the next records belong to unless they are of a later one.
    pub(crate) day: Day,
    /// The last number that a seal covers.
    pub(crate) sealed: u64,
}
row!(ChainRow, schema = 1);

/// The seal of a day: a signature over everything that the links up to its last say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealRow {
    /// The first number that no earlier seal covers.
    pub(crate) first: u64,
    /// The last number that it covers.
    pub(crate) last: u64,
    /// Of the link of that number.
    pub(crate) hash: Hash,
    /// When it was made.
    pub(crate) made: Timestamp,
    /// The id of the key that made it.
    pub(crate) key_id: String,
    /// The public half of that key, so that the seal can be checked when the authority has another.
    pub(crate) public_key: [u8; 32],
    /// The signature of the seal's text; see [`crate::seal`].
    pub(crate) signature: Vec<u8>,
}
row!(SealRow, schema = 1);

/// Reads a row that is the only way to write its value: another spelling of the same is damage too.
pub(crate) fn decode<V: Value>(bytes: &Bytes) -> Option<V> {
    V::decode(bytes).ok().filter(|row| row.encode() == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deed::Record;

    /// What is on disk must stay readable and its hashes right: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let record = Record {
            at: Timestamp(300),
            who: "@a:b".into(),
            role: "user".into(),
            from: Some("::1".into()),
            what: "x".into(),
            whom: String::new(),
            before: vec![("k".into(), "v".into())],
            after: Vec::new(),
            zone: Some("z".into()),
            device: None,
            duty: Some("d".into()),
        };
        assert_eq!(
            &record.encode()[..],
            b"\x02\xac\x02\x04@a:b\x04user\x01\x03::1\x01x\x00\x01\x01k\x01v\x00\x01\x01z\x00\x01\x01d"
        );
        // Rows of before have one byte sequence for ever, over which their links are.
        let old = Bytes::from_static(b"\x01\xac\x02\x04@a:b\x04user\x01\x03::1\x01x\x00\x01\x01k\x01v\x00");
        assert_eq!(Record::decode(&old), Ok(Record { zone: None, duty: None, ..record }));
        let link = LinkRow { position: Position(300), hash: [7; 32] };
        assert_eq!(link.encode()[..], [&b"\x01\xac\x02"[..], &[7; 32]].concat());
        let chain = ChainRow { number: 2, position: Position(3), hash: [7; 32], day: Day(4), sealed: 1 };
        assert_eq!(chain.encode()[..], [&b"\x01\x02\x03"[..], &[7; 32], b"\x04\x01"].concat());
        let seal = SealRow {
            first: 1,
            last: 2,
            hash: [7; 32],
            made: Timestamp(3),
            key_id: "ed25519:a".into(),
            public_key: [8; 32],
            signature: vec![9; 64],
        };
        let expected =
            [&b"\x01\x01\x02"[..], &[7; 32], b"\x03\x09ed25519:a", &[8; 32], b"\x40", &[9; 64]].concat();
        assert_eq!(seal.encode()[..], expected);
    }

    #[test]
    fn another_spelling_of_the_same_row_is_none() {
        let long = Bytes::from([&b"\x01\x85\x00"[..], &[7; 32]].concat());
        assert!(LinkRow::decode(&long).is_ok() && decode::<LinkRow>(&long).is_none());
    }
}
