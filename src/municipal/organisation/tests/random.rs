//! Whatever files and deeds follow each other: no law is broken, the past stays, and each can be undone.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{Absence, NewUnit, Span, calendar::before};

/// A row of a file: who, in which unit, as what, whether additionally, from and until which month.
#[derive(Clone, Debug)]
struct RandomRow {
    number: u8,
    unit: u8,
    title: u8,
    is_additional: bool,
    from: Option<u8>,
    until: Option<u8>,
}

/// What follows each other.
#[derive(Clone, Debug)]
enum Deed {
    Import(Vec<RandomRow>),
    Merge(u8, u8),
    Rename(u8, u8),
    Close(u8),
    Away(u8),
    Undo,
}

const UNITS: [&str; 6] = ["総務部", "総務部 人事課", "総務部 防災課", "税務課", "税務課 収納係", "防災課"];
const TITLES: [&str; 4] = ["課長", "主査", "主事", ""];

/// The first day of a month, counted from April 2024.
fn month(number: u8) -> Date {
    let months = 3 + u16::from(number);
    Date::new(2024 + months / 12, u8::try_from(months % 12 + 1).unwrap(), 1).unwrap()
}

fn row() -> impl Strategy<Value = RandomRow> {
    let days = (proptest::option::of(0..48_u8), proptest::option::weighted(0.3, 0..48_u8));
    (0..8_u8, 0..6_u8, 0..4_u8, any::<bool>(), days).prop_map(
        |(number, unit, title, is_additional, (from, until))| RandomRow {
            number,
            unit,
            title,
            is_additional,
            from,
            until,
        },
    )
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => vec(row(), 0..12).prop_map(Deed::Import),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(one, other)| Deed::Merge(one, other)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(unit, name)| Deed::Rename(unit, name)),
        1 => any::<u8>().prop_map(Deed::Close),
        1 => (0..8_u8).prop_map(Deed::Away),
        2 => Just(Deed::Undo),
    ]
}

fn csv(rows: &[RandomRow]) -> String {
    let text = |day: Option<u8>| day.map(|day| month(day).to_string()).unwrap_or_default();
    let lines = rows.iter().map(|row| {
        let (unit, title) = (UNITS[usize::from(row.unit)], TITLES[usize::from(row.title)]);
        let kind = if row.is_additional { "兼務" } else { "" };
        let until = row.until.map(month).and_then(before).map(|day| day.to_string()).unwrap_or_default();
        format!("{n},山田 花子{n},,{unit},{title},{kind},{},{until}\n", text(row.from), n = row.number)
    });
    lines.collect()
}

/// Does it, if it is not refused.
fn do_it(town: &mut Town, deed: &Deed, on: Date) -> Vec<Item> {
    let (body, known) = (town.body(), town.known.clone());
    let units = known.top_units(body, on);
    let pick = |number: u8| units.get(usize::from(number) % units.len().max(1)).map(|unit| unit.unit);
    let mut by_hand = Reorganisation::of(&known, on, &mut town.ids);
    let item = match deed {
        Deed::Import(rows) => {
            let intake = read(&format!("{HEADER}9,田中 太郎,,税務課,主事,,,\n{}", csv(rows)));
            let terms = Terms { new_units: NewUnits::Made, ..Terms::of(on) };
            return compare(&known, &town.source, &intake, &terms, &mut town.ids).items;
        }
        Deed::Merge(one, other) => {
            let units: BTreeSet<_> = [pick(*one), pick(*other)].into_iter().flatten().collect();
            let into = NewUnit { body, parent: None, code: None, name: format!("第{one}課"), order: 0 };
            by_hand.merge_units(&units, into).ok().map(|(_, item)| item)
        }
        Deed::Rename(unit, name) => {
            pick(*unit).and_then(|unit| by_hand.rename_unit(unit, &format!("第{name}課")).ok())
        }
        Deed::Close(unit) => pick(*unit).and_then(|unit| by_hand.close_unit(unit).ok()),
        Deed::Away(number) => known
            .numbered(body, &number.to_string(), on)
            .and_then(|person| by_hand.away(person.person, Absence::Suspended, None).ok()),
        Deed::Undo => None,
    };
    item.into_iter().collect()
}

/// Who is where on a day, as text.
fn seen(known: &Organisation, on: Date) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for (_, said) in known.records() {
        if let crate::What::Person(person) = &said.what {
            for post in known.posts_of(person.person, on) {
                let path = known.path(post.post.unit, on);
                let path: Vec<_> = path.iter().map(|unit| unit.name.as_str()).collect();
                seen.insert(format!("{} {path:?} {} {:?}", post.person.number, post.post.title, post.tenure));
            }
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_law_is_broken_and_all_can_be_undone(deeds in vec(deed(), 1..10)) {
        let mut town = Town::new();
        let mut done: Vec<(Organisation, Vec<Item>)> = Vec::new();
        for (number, deed) in (0_u8..).zip(&deeds) {
            let on = month(3 * number + 6);
            if matches!(deed, Deed::Undo) {
                if let Some((before, items)) = done.pop() {
                    take_back(&mut town.known, &items);
                    prop_assert_eq!(&town.known, &before);
                }
                continue;
            }
            let before = town.known.clone();
            let items = do_it(&mut town, deed, on);
            for item in &items {
                prop_assert!(item.kind != Kind::Unchanged || item.changes.is_empty());
                prop_assert!(item.kind != Kind::Wrong || (item.changes.is_empty() && !item.told.is_empty()));
            }
            apply(&mut town.known, &items);
            prop_assert_eq!(town.known.breaches(), vec![], "{:?} on {}", deed, on);
            done.push((before, items));
        }
        while let Some((before, items)) = done.pop() {
            take_back(&mut town.known, &items);
            prop_assert_eq!(&town.known, &before);
        }
    }

    #[test]
    fn a_file_that_was_applied_changes_nothing_more(deeds in vec(vec(row(), 0..12), 1..5)) {
        let mut town = Town::new();
        for (number, rows) in (0_u8..).zip(deeds) {
            let (deed, on) = (Deed::Import(rows), month(6 * number + 6));
            let items = do_it(&mut town, &deed, on);
            apply(&mut town.known, &items);
            let again = do_it(&mut town, &deed, on);
            let changes: Vec<_> = again.iter().filter(|item| !item.changes.is_empty()).collect();
            prop_assert!(changes.is_empty(), "{:#?} after {:#?}", changes, deed);
        }
    }

    #[test]
    fn what_a_file_without_days_changes_is_not_before_its_day(deeds in vec(vec(row(), 0..12), 2..6)) {
        let mut town = Town::new();
        for (number, rows) in (0_u8..).zip(deeds) {
            let rows: Vec<_> = rows.into_iter().map(|row| RandomRow { from: None, until: None, ..row }).collect();
            let on = month(6 * number + 6);
            let days = [before(on), Some(month(6 * number)), Some(month(0))].into_iter().flatten();
            let past: Vec<_> = days.map(|day| (day, seen(&town.known, day))).collect();
            let items = do_it(&mut town, &Deed::Import(rows), on);
            apply(&mut town.known, &items);
            for (day, was) in past {
                prop_assert_eq!(seen(&town.known, day), was, "on {}", day);
            }
        }
    }

    #[test]
    fn a_span_is_the_set_of_its_days(
        one in (proptest::option::of(0..12_u8), proptest::option::of(0..12_u8)),
        other in (proptest::option::of(0..12_u8), proptest::option::of(0..12_u8)),
        more in vec((proptest::option::of(0..12_u8), proptest::option::of(0..12_u8)), 0..4),
        cut in 0..12_u8,
    ) {
        let span = |(from, until): (Option<u8>, Option<u8>)| Span::new(from.map(month), until.map(month));
        // Days that stand for all: one before, one after, and the first of each month.
        let days: Vec<_> = [Date::new(1999, 1, 1).unwrap(), Date::new(2100, 1, 1).unwrap()]
            .into_iter().chain((0..12).map(month)).collect();
        let on = |span: Span| days.iter().copied().filter(|day| span.holds(*day)).collect::<BTreeSet<_>>();
        let (Some(one), Some(other)) = (span(one), span(other)) else { return Ok(()) };
        prop_assert!(!on(one).is_empty());
        prop_assert_eq!(one.overlaps(other), !on(one).is_disjoint(&on(other)));
        let cut = month(cut);
        let parts = [one.before(cut), one.after(cut)].map(|part| part.map(on).unwrap_or_default());
        prop_assert!(parts[0].is_disjoint(&parts[1]));
        prop_assert_eq!(&parts[0] | &parts[1], on(one));
        let more: Vec<_> = more.into_iter().filter_map(span).collect();
        let union: BTreeSet<_> = more.iter().flat_map(|span| on(*span)).collect();
        prop_assert_eq!(one.is_covered_by(&more), on(one).is_subset(&union));
    }
}
