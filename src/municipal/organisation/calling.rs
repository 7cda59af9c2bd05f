//! Which unit is meant by what somebody calls it.

use std::collections::BTreeSet;

use base::folded;
use intake::Date;

use crate::{
    ids::{BodyId, UnitId},
    organisation::Organisation,
    statement::Unit,
    words::{Words, words},
};

/// What stands before the number of a unit where a unit is named by that: names may be several units'.
pub const UNIT_NUMBER: &str = "unit:";

/// Most letters of a name that are compared.
const LONGEST_NAME: usize = 100;

/// Most letters of what somebody calls a unit, with those above it.
const LONGEST_PATH: usize = 1_000;

/// Of several units of one name so many are told.
const MOST_NAMED: usize = 5;

/// The units of a day as people call them: by 所属コード, by name, by the names above it before that (`総務部/防災課`,
/// `総務部 防災課` from the top), or by number (`unit:12`).
pub struct UnitNames<'a> {
    known: &'a Organisation,
    day: Date,
    /// Each with its name as it is compared.
    units: Vec<(&'a Unit, String)>,
}

impl<'a> UnitNames<'a> {
    /// Those of a body, or of all.
    #[must_use]
    pub fn of(known: &'a Organisation, body: Option<BodyId>, day: Date) -> Self {
        let bodies = known.bodies(day).filter(|one| body.is_none_or(|body| one.body == body));
        let tops = bodies.flat_map(|body| known.top_units(body.body, day));
        let units = tops.flat_map(|top| known.subtree(top.unit, day));
        Self { known, day, units: units.map(|unit| (unit, key(&unit.name))).collect() }
    }

    /// Those of some units alone, as if there were no others.
    #[must_use]
    pub fn among(mut self, units: &BTreeSet<UnitId>) -> Self {
        self.units.retain(|(unit, _)| units.contains(&unit.unit));
        self
    }

    /// The one unit that is called so.
    ///
    /// # Errors
    /// The sentence for whoever calls it so, where there is none, or several.
    pub fn find(&self, name: &str) -> Result<&'a Unit, Words> {
        let name: String = name.trim().chars().take(LONGEST_PATH).collect();
        let found = match name.strip_prefix(UNIT_NUMBER) {
            Some(number) => {
                let units = self.units.iter().map(|(unit, _)| *unit);
                units.filter(|unit| number.parse() == Ok(unit.unit.0)).collect()
            }
            None => self.called(&name),
        };
        let (day, era) = (self.day, self.day.in_era());
        match found[..] {
            [unit] => Ok(unit),
            [] => Err(words!(
                "{era}に「{name}」という所属はありません。",
                "On {day} there is no unit \"{name}\"."
            )),
            _ => {
                let paths: Vec<_> =
                    found.iter().take(MOST_NAMED).map(|unit| self.distinct_path(unit)).collect();
                let paths = paths.join("、");
                Err(words!(
                    "「{name}」という所属が複数あります。所属コードか、上の所属から「/」で区切って指定してください: {paths}",
                    "Several units are called \"{name}\"; please say the code, or write those above it before it: {paths}"
                ))
            }
        }
    }

    /// All of them, each with those above it, as they may be called.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.units.iter().map(|(unit, _)| self.distinct_path(unit)).collect()
    }

    /// The names of a unit and of those above it, behind that of its body where another unit has the same ones.
    fn distinct_path(&self, unit: &Unit) -> String {
        let path = self.path(unit);
        let is_others =
            |other: &Unit| other.unit != unit.unit && other.body != unit.body && self.path(other) == path;
        let has_other = |name: &str| self.units.iter().any(|(other, key)| key == name && is_others(other));
        match has_other(&key(&unit.name)).then(|| self.body_of(unit)).flatten() {
            Some(body) => format!("{body}/{path}"),
            None => path,
        }
    }

    fn body_of(&self, unit: &Unit) -> Option<&'a str> {
        self.known.bodies(self.day).find(|body| body.body == unit.body).map(|body| body.name.as_str())
    }

    fn path(&self, unit: &Unit) -> String {
        let path: Vec<_> =
            self.known.path(unit.unit, self.day).iter().map(|above| above.name.as_str()).collect();
        path.join("/")
    }

    fn called(&self, name: &str) -> Vec<&'a Unit> {
        let coded = self.units.iter().map(|(unit, _)| *unit);
        let coded: Vec<_> = coded.filter(|unit| unit.code.as_deref() == Some(name)).collect();
        if !coded.is_empty() {
            return coded;
        }
        let parts: Vec<_> = name.split(['/', '\u{ff0f}', '>']).map(key).collect();
        let found = self.under(&parts);
        if !found.is_empty() || parts.len() > 1 {
            return found;
        }
        // Names seldom have spaces in them, so these are between the names from the top.
        let parts: Vec<_> = name.split_whitespace().map(key).collect();
        self.under(&parts).into_iter().filter(|unit| self.keys(unit).len() == parts.len()).collect()
    }

    /// The units whose names and those above them end so; of several the one whose whole way from the top that is.
    fn under(&self, parts: &[String]) -> Vec<&'a Unit> {
        let Some(last) = parts.last().filter(|last| !last.is_empty()) else { return Vec::new() };
        let called = self.units.iter().filter(|(_, name)| name == last).map(|(unit, _)| *unit);
        let called: Vec<_> = called.filter(|unit| self.keys(unit).ends_with(parts)).collect();
        if called.is_empty()
            && let Some((body, parts)) = parts.split_first()
        {
            // The body before all of them.
            let all = self.units.iter().filter(|(_, name)| name == last).map(|(unit, _)| *unit);
            let is_of = |unit: &&Unit| self.body_of(unit).map(key).as_ref() == Some(body);
            return all.filter(|unit| self.keys(unit) == parts).filter(is_of).collect();
        }
        let is_whole = |unit: &&Unit| self.keys(unit).len() == parts.len();
        match called.iter().filter(|unit| is_whole(unit)).count() {
            1 if parts.len() > 1 => called.into_iter().filter(|unit| is_whole(unit)).collect(),
            _ => called,
        }
    }

    fn keys(&self, unit: &Unit) -> Vec<String> {
        self.known.path(unit.unit, self.day).iter().map(|above| key(&above.name)).collect()
    }
}

fn key(name: &str) -> String {
    folded(name.trim(), LONGEST_NAME)
}
