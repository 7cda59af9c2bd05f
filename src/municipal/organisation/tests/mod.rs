//! Tests of organisations: what files change, what people change, and what becomes of it in the store.

#![expect(clippy::unwrap_used, reason = "tests")]

mod charging;
mod comparing;
mod crashing;
mod listing;
mod random;
mod rehearsal;
mod reorganising;
mod scoping;
mod storing;

use intake::{Date, How, Intake, Sheet};

use store::Batch;

use crate::{
    BodyId, ChangeSet, Draft, Ids, Item, Kind, NewUnits, Organisation, PersonId, Reorganisation, SetId,
    Source, Tenure, Terms, UnitId, compare,
};

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// Of what is applied here no audit log tells.
fn unsaid(_: SetId, _: &ChangeSet) -> Batch {
    Batch::new()
}

/// A file as the intake reads it, with the columns that it guesses.
fn read(csv: &str) -> Intake {
    let sheet = Sheet::read(csv.as_bytes(), How::default()).unwrap();
    Intake::of(&sheet, &intake::Proposal::of(&sheet).unwrap().mapping).unwrap()
}

const HEADER: &str = "職員番号,氏名,フリガナ,所属,職名,兼務,発令日,任期満了日\n";

/// An authority whose changes are applied at once.
struct Town {
    known: Organisation,
    ids: Ids,
    source: Source,
}

impl Town {
    fn new() -> Self {
        let mut ids = Ids::from(1);
        let mut known = Organisation::default();
        let mut by_hand = Reorganisation::of(&known, day("2020-04-01"), &mut ids);
        let (body, item) = by_hand.make_body("首長部局").unwrap();
        apply(&mut known, &[item]);
        Self { known, ids, source: Source { name: "人事給与".to_owned(), body } }
    }

    /// One with people in it since 2020.
    fn with(rows: &str) -> Self {
        let mut town = Self::new();
        let draft = town.import(rows, "2020-04-01");
        assert_eq!(draft.count(Kind::Wrong), 0, "{draft:#?}");
        town
    }

    fn terms(on: &str) -> Terms {
        Terms { new_units: NewUnits::Made, ..Terms::of(day(on)) }
    }

    fn compare(&mut self, rows: &str, terms: &Terms) -> Draft {
        let intake = read(&format!("{HEADER}{rows}"));
        compare(&self.known, &self.source, &intake, terms, &mut self.ids)
    }

    /// Compares a file and applies it; what comes of it breaks no law.
    fn import(&mut self, rows: &str, on: &str) -> Draft {
        self.import_on(rows, &Self::terms(on))
    }

    fn import_on(&mut self, rows: &str, terms: &Terms) -> Draft {
        let draft = self.compare(rows, terms);
        apply(&mut self.known, &draft.items);
        assert_eq!(self.known.breaches(), []);
        draft
    }

    /// Does something by hand.
    fn by_hand<T>(&mut self, on: &str, does: impl FnOnce(&mut Reorganisation<'_>) -> (T, Item)) -> T {
        let mut by_hand = Reorganisation::of(&self.known, day(on), &mut self.ids);
        let (made, item) = does(&mut by_hand);
        apply(&mut self.known, &[item]);
        assert_eq!(self.known.breaches(), []);
        made
    }

    fn body(&self) -> BodyId {
        self.source.body
    }

    fn person(&self, number: &str, on: &str) -> PersonId {
        self.known.numbered(self.body(), number, day(on)).unwrap().person
    }

    fn unit(&self, name: &str, on: &str) -> UnitId {
        let mut waiting = self.known.top_units(self.body(), day(on));
        while let Some(unit) = waiting.pop() {
            if unit.name == name {
                return unit.unit;
            }
            waiting.extend(self.known.units_below(unit.unit, day(on)));
        }
        panic!("no unit {name} on {on}");
    }

    /// Where somebody is on a day: `防災課 主査`, additional ones with a plus.
    fn posts(&self, number: &str, on: &str) -> Vec<String> {
        let posts = self.known.posts_of(self.person(number, on), day(on));
        let told = posts.iter().map(|holder| {
            let unit = &self.known.unit(holder.post.unit, day(on)).unwrap().name;
            let mark = if holder.tenure == Tenure::Main { "" } else { "+" };
            format!("{mark}{unit} {}", holder.post.title)
        });
        told.collect()
    }
}

fn apply(known: &mut Organisation, items: &[Item]) {
    for change in items.iter().flat_map(|item| &item.changes) {
        assert_eq!(known.find(change.record), change.before.as_ref());
        known.say(change.record, change.after.clone());
    }
}

/// Takes back what was applied.
fn take_back(known: &mut Organisation, items: &[Item]) {
    for change in items.iter().rev().flat_map(|item| &item.changes) {
        assert_eq!(known.find(change.record), change.after.as_ref());
        known.say(change.record, change.before.clone());
    }
}

/// The kind and the first sentence of what a draft does to somebody.
fn of(draft: &Draft, about: &str) -> (Kind, String) {
    let item = draft.items.iter().find(|item| item.about.starts_with(about));
    let item = item.unwrap_or_else(|| panic!("nothing about {about}: {draft:#?}"));
    let told: Vec<_> = item.told.iter().map(|told| told.ja.as_str()).collect();
    (item.kind, told.join(" / "))
}
