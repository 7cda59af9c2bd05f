//! The tables of this crate.

use base::Timestamp;
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use store::{Counter, Table, TableCheck, Tuning, row};

use crate::{
    case::{Case, Event},
    ids::CaseId,
};

/// Cases as they stand; key: authority, number.
pub(crate) static CASES: Table<(String, CaseId), Case> = Table::new(380, "cases.cases", Tuning::Point);

/// What was done to cases, of which nothing is ever changed; key: authority, number of the case, number of the line from 0.
pub(crate) static HISTORY: Table<(String, CaseId, u32), Event> =
    Table::new(381, "cases.history", Tuning::Append);

/// How far the numbers of an authority's cases have come.
pub(crate) static HEADS: Table<String, HeadRow> = Table::new(382, "cases.heads", Tuning::Small);

/// Whose cases are which; key: authority, user who asked, number.
pub(crate) static ASKED: Table<(String, String, CaseId), ()> = Table::new(383, "cases.asked", Tuning::Small);

/// Cases that are open; key: authority, number.
pub(crate) static OPEN: Table<(String, CaseId), ()> = Table::new(384, "cases.open", Tuning::Queue);

/// When something has to be done about which case; key: authority, moment in milliseconds, number.
pub(crate) static DUE: Table<(String, u64, CaseId), ()> = Table::new(385, "cases.due", Tuning::Queue);

/// Who decides for whom, and when; key: authority, the user for whom.
pub(crate) static DEPUTIES: Table<(String, String), DeputiesRow> =
    Table::new(386, "cases.deputies", Tuning::Small);

/// For whom somebody decides; key: authority, deputy, the user for whom.
pub(crate) static REPRESENTS: Table<(String, String, String), ()> =
    Table::new(389, "cases.represents", Tuning::Small);

/// The last case about a thing of which there may be one open case at most; key: authority, kind, thing.
pub(crate) static THINGS: Table<(String, String, String), ThingRow> =
    Table::new(390, "cases.things", Tuning::Small);

/// How many cases of an authority are open.
pub(crate) static COUNTS: Table<String, Counter> = Table::new(388, "cases.counts", Tuning::Small);

/// What people have still to be told; key: authority, case, the line of its history that it follows from.
pub(crate) static TOLD: Table<(String, CaseId, u32), TellRow> = Table::new(387, "cases.told", Tuning::Queue);

/// How far the cases of an authority have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadRow {
    /// The number of the last one.
    pub(crate) last: u64,
}

/// The last case about a thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThingRow {
    pub(crate) case: CaseId,
}

/// Somebody who decides for another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deputy {
    /// Who.
    pub user: OwnedUserId,
    /// From the begin of this day.
    pub from: Timestamp,
    /// Until then, when a day has ended.
    pub until: Timestamp,
    /// Who said so.
    pub by: String,
}

impl Deputy {
    /// Whether it is his to decide at a moment.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

/// The deputies of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeputiesRow {
    pub(crate) deputies: Vec<Deputy>,
}

/// Why people are told something of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    /// It begins to wait for them.
    Waits,
    /// It has waited for them for a while.
    StillWaits,
    /// It came to something, of which who asked is told.
    Asker,
}

/// Something that people have still to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TellRow {
    pub(crate) why: Why,
    /// Whom, once that was found out.
    pub(crate) to: Option<Vec<OwnedUserId>>,
    /// Not before then, where it failed.
    pub(crate) not_before: Timestamp,
    /// How often it has failed.
    pub(crate) tries: u8,
}

row!(Case, schema = 1);
row!(Event, schema = 1);
row!(HeadRow, schema = 1);
row!(DeputiesRow, schema = 1);
row!(TellRow, schema = 1);
row!(ThingRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![
        CASES.check(),
        HISTORY.check(),
        HEADS.check(),
        COUNTS.check(),
        ASKED.check(),
        OPEN.check(),
        DUE.check(),
        DEPUTIES.check(),
        REPRESENTS.check(),
        TOLD.check(),
        THINGS.check(),
    ]
}

#[cfg(test)]
mod tests {
    use organisation::{PersonId, PostId, UnitId};
    use store::Value;

    use super::*;
    use crate::{
        case::{Approval, Deed, State, Step, Who},
        words::Told,
    };

    fn user(name: &str) -> OwnedUserId {
        OwnedUserId::try_from(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn told() -> Told {
        Told { ja: "j".into(), en: "e".into() }
    }

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let case = Case {
            kind: "k".into(),
            title: told(),
            asker: user("@a:b"),
            asker_person: Some(PersonId(1)),
            subjects: vec![user("@c:b")],
            fields: vec![("f".into(), "v".into())],
            reason: "r".into(),
            asked_at: Timestamp(2),
            steps: vec![Step {
                who: vec![
                    Who::Duty("d".into()),
                    Who::Administrator,
                    Who::Head(UnitId(3)),
                    Who::Post(PostId(4)),
                ],
                count: 5,
                asker_may: true,
                reminds_after_hours: 6,
            }],
            approvals: vec![Approval {
                step: 0,
                user: user("@d:b"),
                person: None,
                for_whom: Some(user("@e:b")),
                at: Timestamp(7),
            }],
            state: State::Failed(told()),
            waits_since: Timestamp(8),
            reminded: true,
            expires: Timestamp(9),
            until: Some(Timestamp(10)),
            due: Some(Timestamp(11)),
            version: 12,
        };
        let bytes: &[u8] = b"\x01\x01k\x01j\x01e\x04@a:b\x01\x01\x01\x04@c:b\x01\x01f\x01v\x01r\x02\x01\x04\x00\x01d\x01\x02\x03\x03\x04\x05\x01\x06\x01\x00\x04@d:b\x00\x01\x04@e:b\x07\x06\x01j\x01e\x08\x01\x09\x01\x0a\x01\x0b\x0c";
        assert_eq!(&case.encode()[..], bytes);
        let event = Event {
            at: Timestamp(1),
            by: "@a:b".into(),
            for_whom: None,
            deed: Deed::Ended,
            step: Some(2),
            text: "t".into(),
            fields: vec![("f".into(), "v".into())],
        };
        assert_eq!(&event.encode()[..], b"\x01\x01\x04@a:b\x00\x0c\x01\x02\x01t\x01\x01f\x01v");
        assert_eq!(&HeadRow { last: 1 }.encode()[..], b"\x01\x01");
        let deputy = Deputy { user: user("@a:b"), from: Timestamp(1), until: Timestamp(2), by: "c".into() };
        assert_eq!(&DeputiesRow { deputies: vec![deputy] }.encode()[..], b"\x01\x01\x04@a:b\x01\x02\x01c");
        let tell =
            TellRow { why: Why::Asker, to: Some(vec![user("@a:b")]), not_before: Timestamp(3), tries: 4 };
        assert_eq!(&ThingRow { case: CaseId(300) }.encode()[..], b"\x01\xac\x02");
        assert_eq!(&tell.encode()[..], b"\x01\x02\x01\x01\x04@a:b\x03\x04");
    }

    #[test]
    fn states_have_their_places() {
        let all = [
            State::Asked,
            State::Returned,
            State::Refused,
            State::Withdrawn,
            State::Expired,
            State::Approved,
            State::Failed(told()),
            State::Done,
            State::Ended,
            State::Undone,
        ];
        assert_eq!(all.each_ref().map(State::word), State::WORDS);
        for state in &all {
            assert_eq!(Some(state.words()), State::words_of(state.word()));
        }
    }
}
