//! What rows say of each other: one person's appointments, and what two people cannot share.
//!
//! Nobody is taken by half: where a row of a person is refused, all of his are, or whoever compares the file with what is
//! known would end the appointment that it cannot see.

use std::collections::{BTreeMap, HashMap, HashSet};

use base::folded;

use crate::{
    class::Kind,
    code::PersonNumber,
    date::Date,
    limits::{MAX_APPOINTMENTS, MAX_NAME},
    problem::{Place, Problem, Problems, Reason},
    row::Row,
};

/// People of whom nothing is taken, each with a row that is the reason.
pub(crate) type Held = BTreeMap<PersonNumber, u32>;

/// Whether a column says which appointments are additional.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    Said,
    Unsaid,
}

/// Settles what rows say of each other; answers with those that are taken. `held` comes with the people of whom a row
/// was refused, and has all that are held back when this returns.
pub(crate) fn settle(rows: Vec<Row>, kinds: Kinds, held: &mut Held, problems: &mut Problems) -> Vec<Row> {
    let mut settling = Settling { told: HashSet::new(), held, problems };
    let mut people: BTreeMap<PersonNumber, Vec<Row>> = BTreeMap::new();
    for row in rows {
        people.entry(row.number.clone()).or_default().push(row);
    }
    for rows in people.values_mut() {
        settling.one_person(rows, kinds);
    }
    settling.numbers(&people);
    settling.accounts(&people);
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    for (number, rows) in people {
        let to = if settling.held.contains_key(&number) { &mut rest } else { &mut taken };
        to.extend(rows);
    }
    settling.tell_held_back(&rest);
    settling.mails(&taken);
    taken.sort_by_key(|row| row.place);
    taken
}

struct Settling<'a> {
    /// Rows that have a problem that refuses them.
    told: HashSet<u32>,
    held: &'a mut Held,
    problems: &'a mut Problems,
}

impl Settling<'_> {
    fn warn(&mut self, row: &Row, value: &str, reason: Reason) {
        self.problems.add(Problem::of_row(row.place, value, reason));
    }

    fn refuse(&mut self, row: &Row, value: &str, reason: Reason) {
        self.held.entry(row.number.clone()).or_insert(row.place.row);
        self.told.insert(row.place.row);
        self.problems.add(Problem::of_row(row.place, value, reason));
    }

    fn one_person(&mut self, rows: &mut Vec<Row>, kinds: Kinds) {
        self.without_repetitions(rows);
        if let Some(row) = rows.get(MAX_APPOINTMENTS) {
            self.refuse(row, row.number.as_str(), Reason::ManyAppointments);
            return;
        }
        if self.has_two_names(rows) || self.has_two_accounts(rows) {
            return;
        }
        match kinds {
            Kinds::Said => self.main_ones(rows),
            Kinds::Unsaid => self.take_later_ones_as_additional(rows),
        }
    }

    fn without_repetitions(&mut self, rows: &mut Vec<Row>) {
        let mut seen: HashMap<String, Place> = HashMap::new();
        rows.retain(|row| {
            let same_place = Row { place: Place { row: 0, line: 0 }, ..row.clone() };
            match seen.insert(format!("{same_place:?}"), row.place) {
                Some(before) => {
                    self.warn(row, row.number.as_str(), Reason::Repeated(before.row));
                    false
                }
                None => true,
            }
        });
    }

    /// Whether rows have different names. The same name in other letters is told, and becomes that of the first row.
    fn has_two_names(&mut self, rows: &mut [Row]) -> bool {
        let Some((first, others)) = rows.split_first_mut() else { return false };
        let wanted = folded(&first.name, MAX_NAME);
        let other = others.iter().find(|row| folded(&row.name, MAX_NAME) != wanted);
        if let Some(other) = other {
            self.refuse(other, &other.name, Reason::OtherName(first.place.row));
            self.refuse(first, &first.name, Reason::OtherName(other.place.row));
            return true;
        }
        for row in others.iter_mut().filter(|row| row.name != first.name) {
            self.warn(row, &row.name, Reason::OtherLetters(first.place.row));
            row.name.clone_from(&first.name);
        }
        false
    }

    fn has_two_accounts(&mut self, rows: &[Row]) -> bool {
        let mut with_account = rows.iter().filter_map(|row| Some((row, row.account.as_ref()?)));
        let Some((first, account)) = with_account.next() else { return false };
        let other = with_account.find(|(_, other)| *other != account);
        if let Some((row, other)) = other {
            self.refuse(row, other.as_str(), Reason::OtherAccount(first.place.row));
        }
        other.is_some()
    }

    fn main_ones(&mut self, rows: &[Row]) {
        let mains: Vec<_> = rows.iter().filter(|row| row.kind == Kind::Main).collect();
        for (at, row) in mains.iter().enumerate() {
            if let Some(before) = mains[..at].iter().find(|before| overlap(before, row)) {
                self.refuse(row, row.number.as_str(), Reason::SecondMain(before.place.row));
            }
        }
        if let Some(first) = rows.first().filter(|_| mains.is_empty()) {
            self.warn(first, first.number.as_str(), Reason::NoMain);
        }
    }

    fn take_later_ones_as_additional(&mut self, rows: &mut [Row]) {
        for at in 1..rows.len() {
            let (before, row) = rows.split_at_mut(at);
            let Some(row) = row.first_mut() else { continue };
            let main = before.iter().find(|before| before.kind == Kind::Main && overlap(before, row));
            if let Some(main) = main {
                row.kind = Kind::Additional;
                self.warn(row, row.number.as_str(), Reason::TakenAsAdditional(main.place.row));
            }
        }
    }

    /// Numbers that differ in capitals alone are hardly two people's.
    fn numbers(&mut self, people: &BTreeMap<PersonNumber, Vec<Row>>) {
        let mut known: HashMap<String, &Row> = HashMap::new();
        for row in people.values().filter_map(|rows| rows.first()) {
            let other = *known.entry(row.number.as_str().to_lowercase()).or_insert(row);
            if other.number != row.number {
                self.refuse(row, row.number.as_str(), Reason::OtherCase(other.place.row));
                self.refuse(other, other.number.as_str(), Reason::OtherCase(row.place.row));
            }
        }
    }

    /// An account is one person's.
    fn accounts(&mut self, people: &BTreeMap<PersonNumber, Vec<Row>>) {
        let mut owners: HashMap<&str, &Row> = HashMap::new();
        for row in people.values().flatten() {
            let Some(account) = &row.account else { continue };
            let owner = *owners.entry(account.as_str()).or_insert(row);
            if owner.number != row.number {
                self.refuse(row, account.as_str(), Reason::SharedAccount(owner.place.row));
                if !self.told.contains(&owner.place.row) {
                    self.refuse(owner, account.as_str(), Reason::SharedAccount(row.place.row));
                }
            }
        }
    }

    /// A mail address may be two people's (a section's), but seldom is.
    fn mails(&mut self, rows: &[Row]) {
        let mut owners: HashMap<String, &Row> = HashMap::new();
        for row in rows {
            let Some(mail) = &row.mail else { continue };
            let owner = *owners.entry(mail.as_str().to_lowercase()).or_insert(row);
            if owner.number != row.number {
                self.warn(row, mail.as_str(), Reason::SharedMail(owner.place.row));
            }
        }
    }

    fn tell_held_back(&mut self, rows: &[Row]) {
        for row in rows.iter().filter(|row| !self.told.contains(&row.place.row)) {
            if let Some(cause) = self.held.get(&row.number) {
                let reason = Reason::HeldBack(*cause);
                self.problems.add(Problem::of_row(row.place, row.number.as_str(), reason));
            }
        }
    }
}

/// Whether two appointments have a day in common.
fn overlap(one: &Row, other: &Row) -> bool {
    let begins_before_end =
        |from: Option<Date>, until: Option<Date>| from.zip(until).is_none_or(|(from, until)| from <= until);
    begins_before_end(one.from, other.until) && begins_before_end(other.from, one.until)
}
