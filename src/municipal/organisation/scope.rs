//! Parts of an organisation, of which alone somebody is told, or which alone he changes.

use std::collections::BTreeSet;

use intake::Date;
use serde::{Deserialize, Serialize};

use crate::{
    calling::UnitNames,
    ids::{BodyId, UnitId},
    organisation::{Key, Organisation},
    statement::Charged,
    words::Words,
};

/// Some bodies and units, with all below them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The bodies.
    pub bodies: BTreeSet<BodyId>,
    /// The units.
    pub units: BTreeSet<UnitId>,
}

impl Organisation {
    /// The units of a scope on a day. A unit that is no more has those in its place that took the place of units of the scope
    /// alone: what was merged with others is not, so that nobody gets to see to more than he was given.
    #[must_use]
    pub fn units_of(&self, scope: &Scope, day: Date) -> BTreeSet<UnitId> {
        let bodies = scope.bodies.iter().flat_map(|body| self.top_units(*body, day));
        let mut tops: BTreeSet<UnitId> = bodies.map(|unit| unit.unit).collect();
        tops.extend(self.in_place_of(&scope.units, day));
        let all = tops.into_iter().flat_map(|top| self.subtree(top, day));
        all.map(|unit| unit.unit).collect()
    }

    /// These units, and those that have taken their places and no other's.
    fn in_place_of(&self, units: &BTreeSet<UnitId>, day: Date) -> BTreeSet<UnitId> {
        let mut own = units.clone();
        loop {
            let next = own.iter().flat_map(|unit| self.successions_under(&Key::Successors(*unit)));
            let next = next.filter(|(_, span, _)| span.holds(day)).map(|(.., succession)| succession.to);
            let is_own = |unit: &UnitId| self.predecessors(*unit).iter().all(|before| own.contains(before));
            let next: Vec<UnitId> = next.filter(|unit| !own.contains(unit)).filter(is_own).collect();
            if next.is_empty() {
                return own;
            }
            own.extend(next);
        }
    }

    /// What a scope is called on a day: its bodies, and its units each behind those above it. Nothing, where nothing is left of
    /// it.
    #[must_use]
    pub fn scope_called(&self, scope: &Scope, day: Date) -> Option<String> {
        let bodies = self.bodies(day).filter(|body| scope.bodies.contains(&body.body));
        let bodies = bodies.map(|body| body.name.clone());
        let units = self.in_place_of(&scope.units, day).into_iter();
        let units = units.map(|unit| self.path(unit, day)).filter(|path| !path.is_empty());
        let units =
            units.map(|path| path.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>().join(" "));
        let all: Vec<String> = bodies.chain(units).collect();
        (!all.is_empty()).then(|| all.join("・"))
    }

    /// The body or the unit that is called so on a day, a unit as [`UnitNames`] finds it.
    ///
    /// # Errors
    /// The sentence for whoever calls it so, where there is none, or several.
    pub fn scope_named(&self, name: &str, day: Date) -> Result<Scope, Words> {
        if let Some(body) = self.bodies(day).find(|body| body.name == name.trim()) {
            return Ok(Scope { bodies: BTreeSet::from([body.body]), ..Scope::default() });
        }
        let unit = UnitNames::of(self, None, day).find(name)?.unit;
        Ok(Scope { units: BTreeSet::from([unit]), ..Scope::default() })
    }

    /// Whether whose account this is has a post in a scope on a day.
    #[must_use]
    pub fn serves_in(&self, account: &str, scope: &Scope, day: Date) -> bool {
        let Some(person) = self.owner(account) else { return false };
        let units = self.units_of(scope, day);
        self.posts_of(person, day).iter().any(|holder| units.contains(&holder.post.unit))
    }

    /// The unit of what is responsible for something on a day.
    #[must_use]
    pub fn unit_of(&self, of: Charged, day: Date) -> Option<UnitId> {
        match of {
            Charged::Unit(unit) => Some(unit),
            Charged::Post(post) => self.post(post, day).map(|post| post.unit),
        }
    }
}
