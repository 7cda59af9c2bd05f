//! An organisation as it is known: all that is said of it, found by what it is about.
//!
//! It is a value: nothing here reads or writes a store, and no question is answered without a day. What stands now is the
//! last statement of each record; what was said before is in the history ([`crate::Organisations::history`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{BodyId, PersonId, PostId, RecordId, UnitId},
    span::Span,
    statement::{
        Address, Appointment, Away, Body, Charge, Charged, Person, Post, Statement, Succession, Unit, What,
    },
};

/// By what records are looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// All bodies.
    Bodies,
    Body(BodyId),
    Unit(UnitId),
    /// Units at the top of a body.
    Top(BodyId),
    /// Units whose parent it is.
    Below(UnitId),
    Post(PostId),
    PostsOf(UnitId),
    Person(PersonId),
    /// People of a body.
    PeopleOf(BodyId),
    Number(BodyId, String),
    Account(String),
    AppointmentsOf(PersonId),
    AppointmentsTo(PostId),
    AbsencesOf(PersonId),
    Successors(UnitId),
    Predecessors(UnitId),
    ChargesOf(Charged),
    Address(String),
    AddressesOf(Charged),
}

/// What is said of bodies, units, posts, people and appointments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Organisation {
    records: BTreeMap<RecordId, Statement>,
    index: BTreeMap<Key, BTreeSet<RecordId>>,
}

impl Organisation {
    /// What a record says now, if it says anything.
    #[must_use]
    pub fn find(&self, record: RecordId) -> Option<&Statement> {
        self.records.get(&record)
    }

    /// How many records say something.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All records with what they say.
    pub fn records(&self) -> impl Iterator<Item = (RecordId, &Statement)> {
        self.records.iter().map(|(record, said)| (*record, said))
    }

    /// Lets a record say something else from now on, or nothing.
    pub(crate) fn say(&mut self, record: RecordId, statement: Option<Statement>) {
        if let Some(old) = self.records.remove(&record) {
            for key in keys(&old.what) {
                if let Some(under) = self.index.get_mut(&key) {
                    under.remove(&record);
                    if under.is_empty() {
                        self.index.remove(&key);
                    }
                }
            }
        }
        if let Some(new) = statement {
            for key in keys(&new.what) {
                self.index.entry(key).or_default().insert(record);
            }
            self.records.insert(record, new);
        }
    }

    /// The records under a key.
    pub(crate) fn under(&self, key: &Key) -> impl Iterator<Item = (RecordId, &Statement)> + use<'_> {
        let records = self.index.get(key).into_iter().flatten();
        records.filter_map(|record| Some((*record, self.records.get(record)?)))
    }

    pub(crate) fn bodies_under(&self, key: &Key) -> impl Iterator<Item = (RecordId, Span, &Body)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Body(body) => Some((record, said.span, body)),
            _ => None,
        })
    }

    pub(crate) fn units_under(&self, key: &Key) -> impl Iterator<Item = (RecordId, Span, &Unit)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Unit(unit) => Some((record, said.span, unit)),
            _ => None,
        })
    }

    pub(crate) fn posts_under(&self, key: &Key) -> impl Iterator<Item = (RecordId, Span, &Post)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Post(post) => Some((record, said.span, post)),
            _ => None,
        })
    }

    pub(crate) fn people_under(
        &self,
        key: &Key,
    ) -> impl Iterator<Item = (RecordId, Span, &Person)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Person(person) => Some((record, said.span, person)),
            _ => None,
        })
    }

    pub(crate) fn appointments_under(
        &self,
        key: &Key,
    ) -> impl Iterator<Item = (RecordId, Span, &Appointment)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Appointment(appointment) => Some((record, said.span, appointment)),
            _ => None,
        })
    }

    pub(crate) fn absences_under(
        &self,
        key: &Key,
    ) -> impl Iterator<Item = (RecordId, Span, &Away)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Away(away) => Some((record, said.span, away)),
            _ => None,
        })
    }

    pub(crate) fn successions_under(
        &self,
        key: &Key,
    ) -> impl Iterator<Item = (RecordId, Span, &Succession)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Succession(succession) => Some((record, said.span, succession)),
            _ => None,
        })
    }

    pub(crate) fn addresses_under(
        &self,
        key: &Key,
    ) -> impl Iterator<Item = (RecordId, Span, &Address)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Address(address) => Some((record, said.span, address)),
            _ => None,
        })
    }

    pub(crate) fn charges_under(
        &self,
        key: &Key,
    ) -> impl Iterator<Item = (RecordId, Span, &Charge)> + use<'_> {
        self.under(key).filter_map(|(record, said)| match &said.what {
            What::Charge(charge) => Some((record, said.span, charge)),
            _ => None,
        })
    }
}

/// The keys under which a statement is found.
fn keys(what: &What) -> Vec<Key> {
    match what {
        What::Body(body) => vec![Key::Bodies, Key::Body(body.body)],
        What::Unit(unit) => {
            let above = unit.parent.map_or(Key::Top(unit.body), Key::Below);
            vec![Key::Unit(unit.unit), above]
        }
        What::Post(post) => vec![Key::Post(post.post), Key::PostsOf(post.unit)],
        What::Person(person) => {
            let number = Key::Number(person.body, person.number.clone());
            let mut keys = vec![Key::Person(person.person), Key::PeopleOf(person.body), number];
            keys.extend(person.account.clone().map(Key::Account));
            keys
        }
        What::Appointment(Appointment { person, post, .. }) => {
            vec![Key::AppointmentsOf(*person), Key::AppointmentsTo(*post)]
        }
        What::Away(away) => vec![Key::AbsencesOf(away.person)],
        What::Succession(Succession { from, to }) => vec![Key::Successors(*from), Key::Predecessors(*to)],
        What::Charge(charge) => vec![Key::ChargesOf(charge.of)],
        What::Address(address) => vec![Key::Address(address.name.clone()), Key::AddressesOf(address.of)],
    }
}
