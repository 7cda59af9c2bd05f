//! Parts of an organisation, of which alone somebody is told, or which alone he changes.

use std::collections::BTreeSet;

use intake::Date;
use serde::{Deserialize, Serialize};

use crate::{
    calling::UnitNames,
    ids::{BodyId, PersonId, UnitId},
    item::Change,
    organisation::{Key, Organisation},
    statement::{Charged, Tenure, What},
    words::{Words, words},
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
        let all = self.tops_of(scope, day).into_iter().flat_map(|top| self.subtree(top, day));
        all.map(|unit| unit.unit).collect()
    }

    /// Those of them below which the others are.
    #[must_use]
    pub fn tops_of(&self, scope: &Scope, day: Date) -> BTreeSet<UnitId> {
        let bodies = scope.bodies.iter().flat_map(|body| self.top_units(*body, day));
        let mut tops: BTreeSet<UnitId> = bodies.map(|unit| unit.unit).collect();
        tops.extend(self.in_place_of(&scope.units, day));
        tops
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
        let unit = UnitNames::of(self, None, day).find(name).map(|unit| unit.unit);
        let body = self.bodies(day).find(|body| body.name == name.trim()).map(|body| body.body);
        match (body, unit) {
            (Some(body), Ok(unit)) => {
                let (body, unit) = (body.0, unit.0);
                Err(words!(
                    "「{name}」という機関と所属があります。機関なら body:{body}、所属なら unit:{unit} と指定してください。",
                    "There are a body and a unit called \"{name}\"; please say body:{body} for the one or unit:{unit} for the other."
                ))
            }
            (Some(body), Err(_)) => Ok(Scope { bodies: BTreeSet::from([body]), ..Scope::default() }),
            (None, unit) => Ok(Scope { units: BTreeSet::from([unit?]), ..Scope::default() }),
        }
    }

    /// Whom an address reaches, reached or will reach, whatever the day.
    #[must_use]
    pub fn ever_reached(&self, name: &str) -> BTreeSet<Charged> {
        let all = self.addresses_under(&Key::Address(name.to_owned()));
        all.map(|(.., address)| address.of).collect()
    }

    /// Whether somebody has his main post in one of these units on a day.
    #[must_use]
    pub fn is_mainly_in(&self, person: PersonId, units: &BTreeSet<UnitId>, day: Date) -> bool {
        let posts = self.posts_of(person, day);
        posts.iter().any(|holder| holder.tenure == Tenure::Main && units.contains(&holder.post.unit))
    }

    /// Whether what a change is about is of these units on a day: what they are responsible for or reached by, and who has his
    /// main post in them. Units, bodies, posts and appointments themselves are of no scope.
    #[must_use]
    pub fn is_about(&self, change: &Change, units: &BTreeSet<UnitId>, day: Date) -> bool {
        let is_own = |what: &What| match what {
            What::Charge(charge) => self.unit_of(charge.of, day).is_some_and(|unit| units.contains(&unit)),
            What::Address(address) => self.unit_of(address.of, day).is_some_and(|unit| units.contains(&unit)),
            What::Away(away) => self.is_mainly_in(away.person, units, day),
            What::Person(person) => self.is_mainly_in(person.person, units, day),
            What::Body(_) | What::Unit(_) | What::Post(_) | What::Appointment(_) | What::Succession(_) => {
                false
            }
        };
        [&change.before, &change.after].into_iter().flatten().all(|said| is_own(&said.what))
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
