//! What a personnel file changes: its rows against what stands.
//!
//! Five rules decide.
//!
//! - A file speaks for its source and its body alone: what another source or somebody here has said is neither ended nor
//!   moved by it.
//! - It speaks as of a day. Who is not in it any more ends on that day, and who has another post moves on the day that
//!   the row says, if that is after his present post began, or else on that day: the past is not made anew by a column
//!   that holds the day of employment.
//! - An appointment that goes on is not ended: a contract until 31 March and one from 1 April to the same post are one.
//! - What is planned for later stays, unless the file speaks of later too.
//! - What it does not say stays as it is: a file without readings takes none away.
//!
//! Reading order: [`compare`], `person`, `places` (which unit is meant), `guard`.

mod guard;
mod names;
mod person;
mod places;
mod why;

use std::collections::{BTreeMap, BTreeSet};

use intake::{Date, Intake, Row};

pub use guard::{Guard, GuardKind};

use self::{
    guard::Weighing,
    person::{Comparing, Found},
    places::Places,
};
use crate::{
    edit::Edit,
    ids::{BodyId, Ids},
    item::{Item, Kind, Told},
    organisation::{Key, Organisation},
    words::words,
};

/// Who sends files, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, by which it is known that an appointment is its to end.
    pub name: String,
    /// The body of whose people it tells.
    pub body: BodyId,
}

/// What becomes of units that are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewUnits {
    /// Rows that name them are wrong.
    #[default]
    Refused,
    /// They are made.
    Made,
}

/// Who it is that has a number with another name than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The same person, by a new name.
    Same,
    /// Another person, who has the number now.
    Other,
}

/// On which terms a file is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The day as of which it speaks (発令日).
    pub day: Date,
    /// What becomes of units that are not known.
    pub new_units: NewUnits,
    /// What somebody has said of numbers whose names changed.
    pub which: BTreeMap<String, Which>,
    /// Whether it tells of some people alone: nobody ends by not being in it.
    pub is_part: bool,
}

impl Terms {
    /// As of a day, with nothing said.
    #[must_use]
    pub fn of(day: Date) -> Self {
        Self { day, new_units: NewUnits::default(), which: BTreeMap::new(), is_part: false }
    }
}

/// A change set to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// What it does: units and posts before the people who need them.
    pub items: Vec<Item>,
    /// What somebody has to say that he means, before it is applied.
    pub guards: Vec<Guard>,
}

impl Draft {
    /// One that does what somebody wrote here.
    #[must_use]
    pub fn of(items: Vec<Item>) -> Self {
        Self { items, guards: Vec::new() }
    }

    /// How many items there are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.items.iter().filter(|item| item.kind == kind).count()
    }
}

/// Compares the rows of a source with what stands. Nothing is changed; numbers of new records come from `ids`.
#[must_use]
pub fn compare(
    known: &Organisation,
    source: &Source,
    intake: &Intake,
    terms: &Terms,
    ids: &mut Ids,
) -> Draft {
    let mut edit = Edit::of(known, ids);
    let mut places = Places::new(known, source.body, terms.day, terms.new_units);
    let mut structure = places.rename(&mut edit, &intake.rows);
    let mut rows: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &intake.rows {
        rows.entry(row.number.as_str()).or_default().push(row);
    }
    let mut comparing = Comparing {
        source,
        terms,
        places: &mut places,
        structure: &mut structure,
        says_end: intake.rows.iter().any(|row| row.until.is_some()),
        widths: widths(known, source.body, terms.day),
    };
    let mut people = Vec::new();
    // Of whom the file says something, be it wrong: they are not missing.
    let mut met = BTreeSet::new();
    for (number, rows) in &rows {
        let Found { item, person, meant } = comparing.person(&mut edit, number, rows);
        people.push(item);
        met.extend(person);
        met.extend(meant);
    }
    for (number, row) in &intake.held_back {
        met.extend(known.numbered(source.body, number.as_str(), terms.day).map(|person| person.person));
        people.push(held_back(number.as_str(), *row));
    }
    let missing = if terms.is_part { BTreeSet::new() } else { comparing.missing(known, &met) };
    let withheld = if intake.unread == 0 { 0 } else { missing.len() };
    if intake.unread == 0 {
        people.extend(missing.into_iter().map(|person| comparing.leaves(&mut edit, person)));
    }
    let weighing = Weighing { known, next: &edit.next, source, day: terms.day };
    let guards = weighing.guards(intake, &people, withheld);
    structure.append(&mut people);
    Draft { items: structure, guards }
}

fn held_back(number: &str, row: u32) -> Item {
    let told: Told = words!(
        "{row}行目に誤りがあるため、この職員は今のままにします。",
        "Row {row} was refused, so this person stays as he is."
    )
    .into();
    Item {
        kind: Kind::Wrong,
        about: number.to_owned(),
        rows: vec![row],
        told: vec![told],
        changes: Vec::new(),
    }
}

/// How many digits the numbers have of people who are known: all widths, if zeros begin some of them.
fn widths(known: &Organisation, body: BodyId, day: Date) -> BTreeSet<usize> {
    let people = known.people_under(&Key::PeopleOf(body)).filter(|(_, span, _)| span.holds(day));
    let numbers = people.map(|(.., person)| person.number.as_str());
    let padded =
        numbers.filter(|number| number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit()));
    padded.map(str::len).collect()
}
