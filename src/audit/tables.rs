//! Tables of this crate and the rows in them.
//!
//! Rows are read as bytes: what is damaged is to be named, not to stand in the way of the rest, and hashes
//! are over what is stored. Keys begin with the authority. Records go once they were kept long enough, and their stubs come in
//! their place; nothing else is deleted from these tables.

use base::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Key, Position, Table, TableCheck, Tuning, Value, row};

use crate::{
    class::{Class, Years},
    day::Day,
    deed::Record,
};

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

/// What stays of records that have gone; key: authority, number; value: [`StubRow`].
pub(crate) static STUBS: Table<(String, u64), Bytes> = Table::new(205, "audit.stubs", Tuning::Append);
/// How far records have gone, and what is said about their going; key: authority; value: [`KeptRow`].
pub(crate) static KEPT: Table<String, Bytes> = Table::new(206, "audit.kept", Tuning::Small);

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

/// What stays of a record that has gone: that of it which its link is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StubRow {
    /// What was done; see [`crate::Action::word`].
    pub(crate) what: String,
    /// SHA-256 of the record.
    pub(crate) digest: Hash,
    /// Whether its link is of the first form, which was over the record itself and cannot be computed any more.
    pub(crate) is_former: bool,
    /// The number of the slice that it went with, which a row of the log tells of.
    pub(crate) slice: u64,
}
row!(StubRow, schema = 1);

/// How far the records of an authority have gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptRow {
    /// How many slices have gone.
    pub(crate) slices: u64,
    /// The years that the log has told last, and when; none as long as it has told nothing.
    pub(crate) years: Option<(Years, Timestamp)>,
    /// Who has said that nothing goes, if somebody has.
    pub(crate) hold: Option<HoldRow>,
    /// How far each class has gone.
    pub(crate) gone: Vec<GoneRow>,
}
row!(KeptRow, schema = 1);

/// That nothing goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldRow {
    /// Since when.
    pub(crate) since: Timestamp,
    /// Who said so.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
}

/// How far the records of a class have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoneRow {
    /// Which.
    pub(crate) class: Class,
    /// Up to which number they have.
    pub(crate) through: u64,
    /// The day whose seal covers that number.
    pub(crate) day: Day,
    /// How many went.
    pub(crate) rows: u64,
}

/// Reads a row that is the only way to write its value: another spelling of the same is damage too.
pub(crate) fn decode<V: Value>(bytes: &Bytes) -> Option<V> {
    V::decode(bytes).ok().filter(|row| row.encode() == bytes)
}

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![
        check::<_, Record>(&RECORDS),
        check::<_, LinkRow>(&LINKS),
        check::<_, SealRow>(&SEALS),
        check::<_, ChainRow>(&CHAINS),
        check::<_, StubRow>(&STUBS),
        check::<_, KeptRow>(&KEPT),
    ]
}

/// The check that a table's bytes are rows of this type.
fn check<K: Key, V: Value>(table: &Table<K, Bytes>) -> TableCheck {
    Table::<K, V>::new(table.raw().id.0, table.name(), table.raw().tuning).check()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn rows_about_what_has_gone_have_the_bytes_that_are_on_disk() {
        let stub = StubRow { what: "x".into(), digest: [7; 32], is_former: false, slice: 300 };
        assert_eq!(stub.encode()[..], [&b"\x01\x01x"[..], &[7; 32], b"\x00\xac\x02"].concat());
        assert_eq!(KeptRow::default().encode()[..], b"\x01\x00\x00\x00\x00"[..]);
        let gone = |(at, class)| GoneRow { class, through: at, day: Day(2), rows: 3 };
        let row = KeptRow {
            slices: 300,
            years: Some((Years::FIRST, Timestamp(4))),
            hold: Some(HoldRow { since: Timestamp(5), by: "@a:b".into(), reason: "y".into() }),
            gone: (0..).zip(Class::ALL).map(gone).collect(),
        };
        let expected = [
            &b"\x01\xac\x02\x01\x03\x03\x05\x05\x0a\x0a\x04\x01\x05\x04@a:b\x01y\x07"[..],
            &(0..7).flat_map(|at| [at, at, 2, 3]).collect::<Vec<u8>>(),
        ];
        assert_eq!(row.encode()[..], expected.concat());
    }

    #[test]
    fn another_spelling_of_the_same_row_is_none() {
        let long = Bytes::from([&b"\x01\x85\x00"[..], &[7; 32]].concat());
        assert!(LinkRow::decode(&long).is_ok() && decode::<LinkRow>(&long).is_none());
    }
}
