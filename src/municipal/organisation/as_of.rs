//! Who is where on a day: the questions that others ask of an organisation.
//!
//! Answers about units are in the order of their places, answers about people in the order of their posts and readings.
//! A day in the past answers as it is known now: what was corrected since is right.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use intake::{Class, Date};

use crate::{
    ids::{BodyId, PersonId, PostId, UnitId},
    limits::MAX_DEPTH,
    organisation::{Key, Organisation},
    span::Span,
    statement::{Absence, Body, Charged, Person, Post, Tenure, Unit, What},
};

/// Somebody in a post on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder<'a> {
    /// Who, as he is called on that day.
    pub person: &'a Person,
    /// The post.
    pub post: &'a Post,
    /// As what he has it.
    pub tenure: Tenure,
    /// From when until when.
    pub span: Span,
    /// Why he is away from it, if he is.
    pub away: Option<&'a Absence>,
}

impl Organisation {
    /// The bodies on a day.
    pub fn bodies(&self, day: Date) -> impl Iterator<Item = &Body> {
        let bodies = self.bodies_under(&Key::Bodies);
        bodies.filter(move |(_, span, _)| span.holds(day)).map(|(.., body)| body)
    }

    /// A unit as it is on a day, if it is there then.
    #[must_use]
    pub fn unit(&self, unit: UnitId, day: Date) -> Option<&Unit> {
        self.units_under(&Key::Unit(unit)).find(|(_, span, _)| span.holds(day)).map(|(.., unit)| unit)
    }

    /// The units at the top of a body on a day.
    #[must_use]
    pub fn top_units(&self, body: BodyId, day: Date) -> Vec<&Unit> {
        self.sisters(&Key::Top(body), day)
    }

    /// The units right below another on a day.
    #[must_use]
    pub fn units_below(&self, unit: UnitId, day: Date) -> Vec<&Unit> {
        self.sisters(&Key::Below(unit), day)
    }

    fn sisters(&self, key: &Key, day: Date) -> Vec<&Unit> {
        let units = self.units_under(key).filter(|(_, span, _)| span.holds(day));
        let mut units: Vec<_> = units.map(|(.., unit)| unit).collect();
        units.sort_by_key(|unit| (unit.order, unit.code.as_deref(), unit.name.as_str(), unit.unit));
        units
    }

    /// A unit with all below it on a day, each before those below itself; nothing if it is not there then.
    #[must_use]
    pub fn subtree(&self, unit: UnitId, day: Date) -> Vec<&Unit> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let mut waiting: Vec<_> = self.unit(unit, day).into_iter().collect();
        while let Some(unit) = waiting.pop() {
            if seen.insert(unit.unit) {
                found.push(unit);
                waiting.extend(self.units_below(unit.unit, day).into_iter().rev());
            }
        }
        found
    }

    /// A unit and those above it on a day, from the top.
    #[must_use]
    pub fn path(&self, unit: UnitId, day: Date) -> Vec<&Unit> {
        let mut path = Vec::new();
        let mut next = self.unit(unit, day);
        while let Some(unit) = next.filter(|_| path.len() <= MAX_DEPTH) {
            path.push(unit);
            next = unit.parent.and_then(|parent| self.unit(parent, day));
        }
        path.reverse();
        path
    }

    /// The posts of a unit on a day, the higher first.
    #[must_use]
    pub fn posts(&self, unit: UnitId, day: Date) -> Vec<&Post> {
        let posts = self.posts_under(&Key::PostsOf(unit)).filter(|(_, span, _)| span.holds(day));
        let mut posts: Vec<_> = posts.map(|(.., post)| post).collect();
        posts.sort_by_key(|post| (post.order, post.title.as_str(), post.post));
        posts
    }

    /// A post as it is on a day, if it is there then.
    #[must_use]
    pub fn post(&self, post: PostId, day: Date) -> Option<&Post> {
        self.posts_under(&Key::Post(post)).find(|(_, span, _)| span.holds(day)).map(|(.., post)| post)
    }

    /// A person as he is called on a day, whether or not he has a post then.
    #[must_use]
    pub fn person(&self, person: PersonId, day: Date) -> Option<&Person> {
        let mut people = self.people_under(&Key::Person(person));
        people.find(|(_, span, _)| span.holds(day)).map(|(.., person)| person)
    }

    /// The person who has a number in a body on a day.
    #[must_use]
    pub fn numbered(&self, body: BodyId, number: &str, day: Date) -> Option<&Person> {
        let mut people = self.people_under(&Key::Number(body, number.to_owned()));
        people.find(|(_, span, _)| span.holds(day)).map(|(.., person)| person)
    }

    /// Whose an account is or was. An account is never given to another person.
    #[must_use]
    pub fn owner(&self, account: &str) -> Option<PersonId> {
        self.people_under(&Key::Account(account.to_owned())).map(|(.., person)| person.person).next()
    }

    /// The accounts of those who are of a class on a day, each with it, in the order of what is said.
    #[must_use]
    pub fn classes(&self, day: Date) -> Vec<(&str, Class)> {
        let people = self.records().filter_map(|(_, said)| match &said.what {
            What::Person(person) if said.span.holds(day) => Some(person),
            _ => None,
        });
        people.filter_map(|person| Some((person.account.as_deref()?, person.class?))).collect()
    }

    /// What a unit or a post is responsible for on a day.
    #[must_use]
    pub fn charges(&self, of: Charged, day: Date) -> &[String] {
        let mut charges = self.charges_under(&Key::ChargesOf(of)).filter(|(_, span, _)| span.holds(day));
        charges.next().map_or(&[], |(.., charge)| &charge.words)
    }

    /// What a unit or a post is called on a day: 防災課, or 防災課 課長.
    #[must_use]
    pub fn called(&self, of: Charged, day: Date) -> Option<String> {
        match of {
            Charged::Unit(unit) => self.unit(unit, day).map(|unit| unit.name.clone()),
            Charged::Post(post) => {
                let post = self.post(post, day)?;
                let unit = self.unit(post.unit, day)?;
                Some(format!("{} {}", unit.name, post.title).trim_end().to_owned())
            }
        }
    }

    /// All addresses that there are, were or will be, in their order, each with whom it reaches on a day, if anybody.
    #[must_use]
    pub fn addresses(&self, day: Date) -> BTreeMap<&str, Option<Charged>> {
        let mut all = BTreeMap::new();
        for (_, said) in self.records() {
            if let What::Address(address) = &said.what {
                let of = said.span.holds(day).then_some(address.of);
                let known = all.entry(address.name.as_str()).or_insert(None);
                *known = of.or(*known);
            }
        }
        all
    }

    /// Whom an address of a unit or a post reaches on a day: who has the post or is in the unit and is not away; nobody being
    /// there, who answers for the unit.
    #[must_use]
    pub fn reached(&self, of: Charged, day: Date) -> Vec<Holder<'_>> {
        let (mut people, unit) = match of {
            Charged::Unit(unit) => (self.members(unit, day), Some(unit)),
            Charged::Post(post) => (self.holders(post, day), self.post(post, day).map(|post| post.unit)),
        };
        people.retain(|holder| holder.away.is_none());
        match unit {
            Some(unit) if people.is_empty() => self.responsible(unit, day),
            _ => people,
        }
    }

    /// Who has a post on a day.
    #[must_use]
    pub fn holders(&self, post: PostId, day: Date) -> Vec<Holder<'_>> {
        let appointments = self.appointments_under(&Key::AppointmentsTo(post));
        let people =
            appointments.filter(|(_, span, _)| span.holds(day)).filter_map(|(_, span, appointment)| {
                self.holder(appointment.person, post, appointment.tenure, span, day)
            });
        sorted(people.collect())
    }

    /// The posts that somebody has on a day, the main one first.
    #[must_use]
    pub fn posts_of(&self, person: PersonId, day: Date) -> Vec<Holder<'_>> {
        let appointments = self.appointments_under(&Key::AppointmentsOf(person));
        let posts =
            appointments.filter(|(_, span, _)| span.holds(day)).filter_map(|(_, span, appointment)| {
                self.holder(person, appointment.post, appointment.tenure, span, day)
            });
        let mut posts: Vec<_> = posts.collect();
        posts.sort_by_key(|holder| (holder.tenure, holder.post.order, holder.post.post));
        posts
    }

    fn holder(
        &self,
        person: PersonId,
        post: PostId,
        tenure: Tenure,
        span: Span,
        day: Date,
    ) -> Option<Holder<'_>> {
        let (person, post) = (self.person(person, day)?, self.post(post, day)?);
        Some(Holder { person, post, tenure, span, away: self.absence(person.person, day) })
    }

    /// Why somebody is away on a day, if he is.
    #[must_use]
    pub fn absence(&self, person: PersonId, day: Date) -> Option<&Absence> {
        let mut absences = self.absences_under(&Key::AbsencesOf(person));
        absences.find(|(_, span, _)| span.holds(day)).map(|(.., away)| &away.why)
    }

    /// Whether an additional post lies in another body than the main one, which is called 併任.
    #[must_use]
    pub fn is_in_another_body(&self, holder: &Holder<'_>, day: Date) -> bool {
        let body = |post: &Post| self.unit(post.unit, day).map(|unit| unit.body);
        let posts = self.posts_of(holder.person.person, day);
        let main = posts.iter().find(|post| post.tenure == Tenure::Main).and_then(|main| body(main.post));
        holder.tenure == Tenure::Additional
            && main.zip(body(holder.post)).is_some_and(|(main, additional)| main != additional)
    }

    /// Who has a post in a unit itself, and not in one below it, on a day.
    #[must_use]
    pub fn members(&self, unit: UnitId, day: Date) -> Vec<Holder<'_>> {
        let posts = self.posts(unit, day);
        sorted(posts.into_iter().flat_map(|post| self.holders(post.post, day)).collect())
    }

    /// Who heads a unit on a day: those in a post that heads it who are not away, the higher and the main ones first. Nobody,
    /// where the post is empty; see [`Organisation::responsible`].
    #[must_use]
    pub fn heads(&self, unit: UnitId, day: Date) -> Vec<Holder<'_>> {
        let mut members = self.members(unit, day);
        members.retain(|holder| holder.post.heads && holder.away.is_none());
        members
    }

    /// Who answers for a unit on a day: who heads it, or else who heads the nearest unit above it that has a head.
    #[must_use]
    pub fn responsible(&self, unit: UnitId, day: Date) -> Vec<Holder<'_>> {
        let path = self.path(unit, day);
        let heads = path.into_iter().rev().map(|unit| self.heads(unit.unit, day));
        heads.into_iter().find(|heads| !heads.is_empty()).unwrap_or_default()
    }

    /// Whether somebody has a post on a day, be he away from it or not.
    #[must_use]
    pub fn serves(&self, person: PersonId, day: Date) -> bool {
        self.appointments_under(&Key::AppointmentsOf(person)).any(|(_, span, _)| span.holds(day))
    }

    /// Whether somebody has a post on a day or will have one.
    #[must_use]
    pub fn serves_from(&self, person: PersonId, day: Date) -> bool {
        self.appointments_under(&Key::AppointmentsOf(person)).any(|(_, span, _)| !span.is_over(day))
    }

    /// The units that are in the place of one on a day: itself while it is there, then those that it became, and what has
    /// become of them since.
    #[must_use]
    pub fn successors(&self, unit: UnitId, day: Date) -> Vec<UnitId> {
        let (mut found, mut seen, mut waiting) = (Vec::new(), BTreeSet::new(), vec![unit]);
        while let Some(unit) = waiting.pop() {
            if !seen.insert(unit) {
                continue;
            }
            if self.unit(unit, day).is_some() {
                found.push(unit);
                continue;
            }
            let next = self.successions_under(&Key::Successors(unit)).filter(|(_, span, _)| span.holds(day));
            waiting.extend(next.map(|(.., succession)| succession.to));
        }
        found.sort();
        found
    }

    /// The units whose place one took, on whatever day.
    #[must_use]
    pub fn predecessors(&self, unit: UnitId) -> Vec<UnitId> {
        self.successions_under(&Key::Predecessors(unit)).map(|(.., succession)| succession.from).collect()
    }

    /// All people of a body on a day who have a post in it or in another, once each.
    #[must_use]
    pub fn people(&self, body: BodyId, day: Date) -> Vec<&Person> {
        let people = self.people_under(&Key::PeopleOf(body)).filter(|(_, span, _)| span.holds(day));
        let people = people.map(|(.., person)| person);
        let mut people: Vec<_> = people.filter(|person| self.serves(person.person, day)).collect();
        people.sort_by_key(|person| (person.reading.as_deref(), person.called(), person.person));
        people
    }
}

fn sorted(mut people: Vec<Holder<'_>>) -> Vec<Holder<'_>> {
    people.sort_by_key(|holder| {
        let Holder { person, post, tenure, .. } = *holder;
        (Reverse(post.heads), post.order, tenure, person.reading.as_deref(), person.called(), person.person)
    });
    people
}
