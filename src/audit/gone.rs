//! Tables of what has gone, and the rows in them.

use base::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Table, Tuning, row};

use crate::{
    class::{Class, Years},
    day::Day,
    tables::Hash,
};

/// What stays of records that have gone; key: authority, number; value: [`StubRow`].
pub(crate) static STUBS: Table<(String, u64), Bytes> = Table::new(205, "audit.stubs", Tuning::Append);
/// How far records have gone, and what is said about their going; key: authority; value: [`KeptRow`].
pub(crate) static KEPT: Table<String, Bytes> = Table::new(206, "audit.kept", Tuning::Small);

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

#[cfg(test)]
mod tests {
    use store::Value;

    use super::*;

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
}
