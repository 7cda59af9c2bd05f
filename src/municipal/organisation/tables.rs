//! Tables of this crate and the rows in them. Keys begin with the authority.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Table, TableCheck, Tuning, row};

use crate::{
    ids::{RecordId, SetId},
    item::Item,
    set::ChangeSet,
    statement::Statement,
};

/// How far an organisation has come; key: authority. Whatever changes one replaces this row, so that two who do so at once
/// know of each other.
pub(crate) static HEADS: Table<String, Head> = Table::new(320, "organisation.heads", Tuning::Small);
/// What was ever said; key: authority, record, number of the entry. Nothing changes a row or deletes one: the last of a
/// record is what stands.
pub(crate) static HISTORY: Table<(String, RecordId, u64), Entry> =
    Table::new(321, "organisation.history", Tuning::Append);
/// Change sets; key: authority, set.
pub(crate) static SETS: Table<(String, SetId), ChangeSet> =
    Table::new(322, "organisation.sets", Tuning::Small);
/// Items of change sets; key: authority, set, number from 0.
pub(crate) static ITEMS: Table<(String, SetId, u32), ItemRow> =
    Table::new(323, "organisation.items", Tuning::Append);

/// How far an organisation has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The first number that nothing has.
    pub(crate) next_id: u64,
    /// How many entries its history has. One with this number or a later one is of a commit that came after.
    pub(crate) entries: u64,
    /// The set that is being applied or undone.
    pub(crate) under_way: Option<SetId>,
    /// The sets that are not applied, taken back or stale yet, so that whoever looks for one that is due reads no others.
    pub(crate) waiting: Vec<SetId>,
}
row!(Head, schema = 1);

impl Head {
    /// Forgets that a set waits.
    pub(crate) fn waits_no_more(&mut self, id: SetId) {
        self.waiting.retain(|waiting| *waiting != id);
    }
}

impl Default for Head {
    fn default() -> Self {
        Self { next_id: 1, entries: 0, under_way: None, waiting: Vec::new() }
    }
}

/// What a record said from a moment on, until it said something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written.
    pub at: Timestamp,
    /// By which change set.
    pub set: SetId,
    /// By which of its items.
    pub item: u32,
    /// What it says; nothing if it was taken back.
    pub says: Option<Statement>,
}
row!(Entry, schema = 1);

row!(ChangeSet, schema = 1);

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemState {
    /// Nothing yet.
    Waiting,
    /// It is done.
    Applied,
    /// It is undone.
    Undone {
        /// Who wanted that.
        by: String,
        /// When.
        at: Timestamp,
    },
}

/// An item with what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// The item.
    pub item: Item,
    /// What became of it.
    pub state: ItemState,
}
row!(ItemRow, schema = 1);

/// The checks of all tables of this crate, for `verify` of the store.
pub fn checks() -> Vec<TableCheck> {
    vec![HEADS.check(), HISTORY.check(), SETS.check(), ITEMS.check()]
}

#[cfg(test)]
mod tests {
    use intake::{Class, Date};
    use store::Value;

    use super::*;
    use crate::{
        compare::{Guard, GuardKind},
        ids::{BodyId, PersonId, PostId, UnitId},
        item::{Kind, Told},
        set::{Approval, Role, State},
        span::Span,
        statement::{
            Absence, Address, Appointment, Away, Body, Charge, Charged, Person, Post, Succession, Tenure,
            Unit, What,
        },
    };

    fn says(what: What) -> Vec<u8> {
        let entry = Entry {
            at: Timestamp(300),
            set: SetId(2),
            item: 3,
            says: Some(Statement { span: Span::since(day()), what }),
        };
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes).ok(), Some(entry));
        bytes[8..].to_vec()
    }

    fn day() -> Date {
        Date::new(2026, 4, 1).unwrap_or_else(|| panic!("a day"))
    }

    /// What is on disk must stay readable: a change here needs a new schema number.
    #[test]
    fn rows_have_the_bytes_that_are_on_disk() {
        let head = Head { next_id: 300, entries: 1, under_way: Some(SetId(2)), waiting: vec![SetId(3)] };
        assert_eq!(&head.encode()[..], b"\x01\xac\x02\x01\x01\x02\x01\x03");
        // The schema, the moment, the set, the item, that it says something, from 2026-04-01, without an end.
        let gone = Entry { at: Timestamp(300), set: SetId(2), item: 3, says: None };
        assert_eq!(&gone.encode()[..], b"\x01\xac\x02\x02\x03\x00");
        let span = b"\x0a2026-04-01\x00";
        let is = |what: What, bytes: &[u8]| {
            assert_eq!(says(what.clone()), [&span[..], bytes].concat()[1..], "{what:?}")
        };
        is(What::Body(Body { body: BodyId(1), name: "a".into() }), b"\x00\x01\x01a");
        let unit =
            Unit { unit: UnitId(1), body: BodyId(2), parent: None, code: None, name: "a".into(), order: 3 };
        is(What::Unit(unit), b"\x01\x01\x02\x00\x00\x01a\x03");
        let post =
            Post { post: PostId(1), unit: UnitId(2), title: "a".into(), rank: None, heads: true, order: 3 };
        is(What::Post(post), b"\x02\x01\x02\x01a\x00\x01\x03");
        let person = Person {
            person: PersonId(1),
            body: BodyId(2),
            number: "0".into(),
            name: "a".into(),
            used_name: None,
            reading: None,
            class: Some(Class::FiscalYear),
            mail: None,
            account: None,
        };
        is(What::Person(person), b"\x03\x01\x02\x010\x01a\x00\x00\x01\x01\x00\x00");
        let appointment =
            Appointment { person: PersonId(1), post: PostId(2), tenure: Tenure::Additional, source: None };
        is(What::Appointment(appointment), b"\x04\x01\x02\x01\x00");
        let away = Away { person: PersonId(1), why: Absence::Seconded { to: "a".into() } };
        is(What::Away(away), b"\x05\x01\x02\x01a");
        is(What::Succession(Succession { from: UnitId(1), to: UnitId(2) }), b"\x06\x01\x02");
        let charge = Charge { of: Charged::Post(PostId(1)), words: vec!["a".into()] };
        is(What::Charge(charge), b"\x07\x01\x01\x01\x01a");
        let address = Address { name: "a".into(), of: Charged::Unit(UnitId(1)) };
        is(What::Address(address), b"\x08\x01a\x00\x01");
    }

    #[test]
    fn sets_and_items_have_the_bytes_that_are_on_disk() {
        let told = Told { ja: "j".into(), en: "e".into() };
        let set = ChangeSet {
            source: None,
            day: day(),
            at: Timestamp(1),
            made_by: "a".into(),
            made_at: Timestamp(2),
            state: State::Applying { done: 5 },
            items: 6,
            counts: vec![(Kind::Ended, 7)],
            guards: vec![Guard { kind: GuardKind::ManyEnd, told: told.clone() }],
            approvals: vec![Approval {
                role: Role::Administrator,
                account: "b".into(),
                person: None,
                at: Timestamp(3),
            }],
            stale: Vec::new(),
            ended_by: None,
        };
        let bytes = b"\x01\x00\x0a2026-04-01\x01\x01a\x02\x03\x05\x06\x01\x05\x07\x01\x01\x01j\x01e\x01\x01\x01b\x00\x03\x00\x00";
        assert_eq!(&set.encode()[..], bytes);
        let item = Item {
            kind: Kind::Wrong,
            about: "a".into(),
            rows: vec![2],
            told: vec![told],
            changes: Vec::new(),
        };
        let row = ItemRow { item, state: ItemState::Undone { by: "b".into(), at: Timestamp(1) } };
        assert_eq!(&row.encode()[..], b"\x01\x08\x01a\x01\x02\x01\x01j\x01e\x00\x02\x01b\x01");
    }
}
