//! Which unit a row names: by its code, or else by its name and those above it.
//!
//! Where a unit stands in the tree is no matter of a personnel file: one that is known stays where it is.

use std::collections::{BTreeMap, BTreeSet};

use base::folded;
use intake::{Date, Row};

use super::{NewUnits, why::Why};
use crate::{
    calendar::before,
    edit::Edit,
    ids::{BodyId, PostId, UnitId},
    item::{Item, Kind},
    laws::Breach,
    limits::{MAX_DEPTH, MAX_NAME},
    organisation::{Key, Organisation},
    span::Span,
    statement::{Post, Unit, What},
    titles,
    words::words,
};

/// Where a row puts somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A unit that is there.
    Known(UnitId),
    /// One that is to be made, with those above it that are not there either, from the top.
    ToMake { under: Option<UnitId>, names: Vec<String>, code: Option<String> },
}

/// Names of units as they are compared.
pub(super) struct Places {
    body: BodyId,
    day: Date,
    new_units: NewUnits,
    /// Whether the body had no unit before, so that nobody knows since when there are those that a file names.
    is_first: bool,
    by_name: BTreeMap<String, BTreeSet<UnitId>>,
    by_code: BTreeMap<String, UnitId>,
}

fn key(name: &str) -> String {
    folded(name, MAX_NAME)
}

impl Places {
    pub(super) fn new(known: &Organisation, body: BodyId, day: Date, new_units: NewUnits) -> Self {
        let (mut by_name, mut by_code) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::new());
        let mut waiting: Vec<_> =
            known.units_under(&Key::Top(body)).map(|(_, span, unit)| (span, unit)).collect();
        let mut seen = BTreeSet::new();
        let is_first = waiting.is_empty();
        while let Some((span, unit)) = waiting.pop() {
            if !seen.insert((unit.unit, span)) {
                continue;
            }
            by_name.entry(key(&unit.name)).or_default().insert(unit.unit);
            if let Some(code) = &unit.code {
                // A code that was given again is that of the unit that has it now.
                let is_now = span.holds(day);
                let held = by_code.entry(code.clone()).or_insert(unit.unit);
                *held = if is_now { unit.unit } else { *held };
            }
            waiting.extend(known.units_under(&Key::Below(unit.unit)).map(|(_, span, unit)| (span, unit)));
        }
        Self { body, day, new_units, is_first, by_name, by_code }
    }

    /// Renames the units that all rows with their code call otherwise.
    pub(super) fn rename(&self, edit: &mut Edit<'_>, rows: &[Row]) -> Vec<Item> {
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut named_by: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for row in rows {
            let (Some(code), Some(name)) = (&row.unit_code, row.unit_path.last()) else { continue };
            names.entry(code.as_str()).or_default().insert(name.as_str());
            named_by.entry(code.as_str()).or_default().push(row.place.row);
        }
        let mut items = Vec::new();
        for (code, names) in names {
            let Some(unit) = self.by_code.get(code) else { continue };
            let [name] = names.iter().collect::<Vec<_>>()[..] else { continue };
            let found = edit.next.units_under(&Key::Unit(*unit)).find(|(_, span, _)| span.holds(self.day));
            let Some((record, _, old)) = found.filter(|(.., old)| old.name != **name) else { continue };
            let old = old.clone();
            edit.turn(record, self.day, What::Unit(Unit { name: (*name).to_owned(), ..old.clone() }));
            let Ok(changes) = edit.take() else { continue };
            let (from, ja_day, day) = (&old.name, self.day.in_era(), self.day);
            items.push(Item {
                kind: Kind::Renamed,
                about: from.clone(),
                rows: named_by.get(code).cloned().unwrap_or_default(),
                told: vec![
                    words!(
                        "「{from}」→「{name}」({ja_day}から)",
                        "\"{from}\" becomes \"{name}\" from {day} on"
                    )
                    .into(),
                ],
                changes,
            });
        }
        items
    }

    /// Where a row puts somebody on a day.
    pub(super) fn find(&self, now: &Organisation, row: &Row, day: Date) -> Result<Place, Why> {
        let code = row.unit_code.as_ref().map(|code| code.as_str());
        let Some(name) = row.unit_path.last().map(String::as_str).or(code) else { return Err(Why::NoUnit) };
        if let Some(code) = code
            && let Some(unit) = self.by_code.get(code)
        {
            let there = Self::there(now, *unit, day)?;
            if !row.unit_path.is_empty() && key(&there.name) != key(name) {
                return Err(Why::OtherName { code: code.to_owned(), name: there.name.clone() });
            }
            return Ok(Place::Known(*unit));
        }
        let found = self.called(now, &row.unit_path, day);
        if let Some(unit) = found.filter(|_| !row.unit_path.is_empty()).transpose()? {
            return match (&unit.code, code) {
                (Some(known), Some(code)) if known != code => {
                    Err(Why::OtherCode { name: unit.name.clone(), code: known.clone() })
                }
                _ => Ok(Place::Known(unit.unit)),
            };
        }
        if self.new_units == NewUnits::Refused {
            let path = row.unit_path.join(" ");
            return Err(Why::UnknownUnit(if path.is_empty() { name.to_owned() } else { path }));
        }
        let names = if row.unit_path.is_empty() { vec![name.to_owned()] } else { row.unit_path.clone() };
        self.to_make(now, names, code.map(str::to_owned), day)
    }

    fn to_make(
        &self,
        now: &Organisation,
        names: Vec<String>,
        code: Option<String>,
        day: Date,
    ) -> Result<Place, Why> {
        if names.len() > MAX_DEPTH {
            return Err(Why::Deep(names.concat()));
        }
        // The lowest of those above it that is there.
        for above in (1..names.len()).rev() {
            if let Some(unit) = self.called(now, &names[..above], day).transpose()? {
                let names = names[above..].to_vec();
                return Ok(Place::ToMake { under: Some(unit.unit), names, code });
            }
        }
        Ok(Place::ToMake { under: None, names, code })
    }

    /// The unit of this name, below units of those.
    fn called<'a>(
        &self,
        now: &'a Organisation,
        names: &[String],
        day: Date,
    ) -> Option<Result<&'a Unit, Why>> {
        let wanted: Vec<_> = names.iter().map(|name| key(name)).collect();
        let alike = self.by_name.get(wanted.last()?)?;
        let is_meant = |unit: UnitId, day: Date| {
            let path = now.path(unit, day);
            path.iter().map(|unit| key(&unit.name)).collect::<Vec<_>>().ends_with(&wanted)
        };
        let there = alike.iter().filter_map(|unit| now.unit(*unit, day));
        let mut there = there.filter(|unit| is_meant(unit.unit, day));
        match (there.next(), there.next()) {
            (Some(unit), None) => Some(Ok(unit)),
            (Some(_), Some(_)) => Some(Err(Why::ManyUnits(names.join(" ")))),
            // One that was called so, or will be, is told of rather than made a second time.
            (None, _) => alike.iter().find_map(|unit| {
                let spans = now.units_under(&Key::Unit(*unit)).map(|(_, span, _)| span);
                let mut days = spans.filter_map(|span| span.until().and_then(before).or(span.from()));
                days.any(|day| is_meant(*unit, day)).then(|| Err(Self::not_there(now, *unit, day)))
            }),
        }
    }

    /// A unit as it is on a day, if it is there then.
    fn there(now: &Organisation, unit: UnitId, day: Date) -> Result<&Unit, Why> {
        now.unit(unit, day).ok_or_else(|| Self::not_there(now, unit, day))
    }

    /// Why a unit cannot be meant on a day: it is not there yet, or no more, or has another name.
    fn not_there(now: &Organisation, unit: UnitId, day: Date) -> Why {
        let mut phases: Vec<_> = now.units_under(&Key::Unit(unit)).collect();
        phases.sort_by_key(|(_, span, _)| span.from());
        let past = phases.iter().rev().find(|(_, span, _)| span.is_over(day));
        if let Some((_, span, past)) = past {
            let successors = now.successors(unit, day).into_iter().filter_map(|unit| now.unit(unit, day));
            let successors: Vec<_> = successors.map(|unit| unit.name.as_str()).collect();
            let successors = if successors.is_empty() { "—".to_owned() } else { successors.join("、") };
            return Why::UnitEnds { name: past.name.clone(), day: span.until().unwrap_or(day), successors };
        }
        match phases.first() {
            Some((_, span, first)) => {
                Why::NotYet { name: first.name.clone(), day: span.from().unwrap_or(day) }
            }
            None => Why::NoUnit,
        }
    }

    /// The unit of a place, made if it is not there. Each that is made is an item of its own.
    pub(super) fn unit(
        &mut self,
        edit: &mut Edit<'_>,
        place: Place,
        since: Date,
        row: u32,
        items: &mut Vec<Item>,
    ) -> Result<UnitId, Why> {
        let (mut above, names, code) = match place {
            Place::Known(unit) => return Ok(unit),
            Place::ToMake { under, names, code } => (under, names, code),
        };
        let count = names.len();
        for (at, name) in names.into_iter().enumerate() {
            let unit = UnitId(edit.id());
            let code = code.clone().filter(|_| at + 1 == count);
            let span = if self.is_first { Span::ALWAYS } else { Span::since(since.min(self.day)) };
            let span = above.map_or(Some(span), |above| {
                let spans = edit.next.units_under(&Key::Unit(above)).map(|(_, span, _)| span);
                let from = spans.map(Span::from).min().flatten();
                Span::new(span.from().max(from), None)
            });
            let span = span.unwrap_or(Span::ALWAYS);
            self.by_name.entry(key(&name)).or_default().insert(unit);
            if let Some(code) = &code {
                self.by_code.insert(code.clone(), unit);
            }
            let said = Unit { unit, body: self.body, parent: above, code, name: name.clone(), order: 0 };
            edit.add(span, What::Unit(said));
            let changes = edit.take().map_err(first)?;
            let under = above.and_then(|above| edit.next.units_under(&Key::Unit(above)).next());
            let told = match under {
                Some((.., under)) => {
                    let under = &under.name;
                    words!("「{under}」の新しい所属「{name}」", "the new unit \"{name}\" of \"{under}\"")
                }
                None => words!("新しい所属「{name}」", "the new unit \"{name}\""),
            };
            let told = vec![told.into()];
            items.push(Item { kind: Kind::New, about: name, rows: vec![row], told, changes });
            above = Some(unit);
        }
        above.ok_or(Why::NoUnit)
    }

    /// What a unit is called, so that it is no other one: with those above it where several are called so.
    pub(super) fn full_name(&self, now: &Organisation, unit: &Unit) -> String {
        let is_alone = self.by_name.get(&key(&unit.name)).is_none_or(|units| units.len() < 2);
        let path = now.path(unit.unit, self.day);
        match is_alone || path.is_empty() {
            true => unit.name.clone(),
            false => path.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>().join(" "),
        }
    }

    /// The post that a row names in a unit, if it is there.
    pub(super) fn find_post(&self, now: &Organisation, unit: UnitId, row: &Row) -> Option<PostId> {
        let title = row.post.as_deref().unwrap_or_default();
        let alike = now.posts_under(&Key::PostsOf(unit));
        let there = alike.filter(|(_, span, post)| !span.is_over(self.day) && key(&post.title) == key(title));
        there.min_by_key(|(.., post)| (post.title != title, post.post)).map(|(.., post)| post.post)
    }

    /// The post that a row names in a unit, made if it is not there. Each that is made is an item of its own.
    pub(super) fn post(
        &self,
        edit: &mut Edit<'_>,
        unit: UnitId,
        row: &Row,
        items: &mut Vec<Item>,
    ) -> Result<PostId, Why> {
        if let Some(post) = self.find_post(&edit.next, unit, row) {
            return Ok(post);
        }
        let title = row.post.as_deref().unwrap_or_default();
        let units: Vec<_> = edit.next.units_under(&Key::Unit(unit)).collect();
        let from = units.iter().map(|(_, span, _)| span.from()).min().flatten();
        let last = units.iter().max_by_key(|(_, span, _)| span.from());
        let Some((_, last, said)) = last else { return Err(Why::NoUnit) };
        let (name, heads) = (said.name.clone(), titles::heads(title, &said.name));
        let span = Span::new(from, last.until()).unwrap_or(Span::ALWAYS);
        let post = PostId(edit.id());
        let (rank, order) = (row.rank.clone(), titles::order(title));
        edit.add(span, What::Post(Post { post, unit, title: title.to_owned(), rank, heads, order }));
        let changes = edit.take().map_err(first)?;
        let told =
            vec![words!("「{name}」の新しい職「{title}」", "the new post \"{title}\" of \"{name}\"").into()];
        let about = format!("{name} {title}").trim_end().to_owned();
        items.push(Item { kind: Kind::New, about, rows: vec![row.place.row], told, changes });
        Ok(post)
    }
}

/// Of what does not go together, the first.
pub(super) fn first(breaches: Vec<Breach>) -> Why {
    breaches.into_iter().next().map_or(Why::NoUnit, Why::Breach)
}
