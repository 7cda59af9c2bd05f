//! Who is where on a day, as people read it.

use std::collections::{BTreeMap, BTreeSet};

use base::folded;
use intake::Date;
use organisation::{
    Charged, Directory, Holder, Listed, Organisation, Scope, Seen, UNIT_NUMBER, Unit, UnitId,
};
use ruma::ServerName;

use crate::{
    answer::{Answer, FoundPerson, Known, Member, Shown, ShownBody, ShownUnit},
    error::Error,
    personnel::Personnel,
    words::words,
};

/// Most people who are told at once; how many more there are is counted.
const MOST_MEMBERS: usize = 50_000;

/// Most people who are found at once.
const MOST_FOUND: usize = 50;

/// Most letters of a unit's name that are compared.
const LONGEST_NAME: usize = 100;

impl Personnel {
    pub(crate) async fn known(&self, authority: &ServerName) -> Result<Answer, Error> {
        let today = self.today()?;
        let known = self.inner.organisations.load(authority).await?.organisation;
        let bodies = known.bodies(today).map(|body| body.name.clone()).collect();
        Ok(Answer::Known(Known {
            bodies,
            mappings: self.mapping_names(authority).await?,
            told: self.count_told(authority).await?,
        }))
    }

    pub(crate) async fn find(
        &self,
        authority: &ServerName,
        text: &str,
        within: Option<&Scope>,
    ) -> Result<Answer, Error> {
        let today = self.today()?;
        let known = self.inner.organisations.load(authority).await?.organisation;
        // Whoever asks here and does not see to a part alone sees all bodies of the authority.
        let bodies: BTreeSet<_> = known.bodies(today).map(|body| body.body).collect();
        let units = within.map(|scope| known.units_of(scope, today));
        let seen = units.as_ref().map_or(Seen::Bodies(&bodies), Seen::Units);
        let directory = Directory::of(&known, today);
        let found = directory.search(text, seen, MOST_FOUND);
        let people = found.people.iter().map(|(_, listed)| FoundPerson {
            called: listed.called.clone(),
            reading: listed.reading.clone(),
            account: listed.account.clone(),
            posts: directory
                .posts(listed, Some(seen))
                .map(|post| (post.path.to_vec(), post.title.to_owned()))
                .collect(),
            charges: charges(&directory, listed, seen),
            away: listed.away.clone(),
        });
        Ok(Answer::Found { people: people.collect(), more: found.more })
    }

    pub(crate) async fn show(
        &self,
        authority: &ServerName,
        (day, unit): (Option<Date>, Option<&str>),
        within: Option<&Scope>,
    ) -> Result<Answer, Error> {
        let day = match day {
            Some(day) => day,
            None => self.today()?,
        };
        if within.is_some() && day > self.today()? {
            // Who comes and goes is no department's to know before it is so.
            return Err(Error::Refused(words!(
                "先の日付の組織は、人事担当と全体管理者だけが見られます。",
                "How the organisation will be is for personnel officers and administrators to see."
            )));
        }
        let known = self.inner.organisations.load(authority).await?.organisation;
        let units = within.map(|scope| known.units_of(scope, day));
        let (bodies, more) = bodies(&known, day, unit, units.as_ref());
        if let Some(unit) = unit.filter(|_| bodies.is_empty()) {
            let era = day.in_era();
            return Err(Error::Refused(words!(
                "{era}に「{unit}」という所属はありません。",
                "On {day} there is no unit \"{unit}\"."
            )));
        }
        Ok(Answer::Shown(Shown { day, bodies, more }))
    }
}

/// What somebody is responsible for, by his posts and then by his units, each matter once.
fn charges(directory: &Directory, listed: &Listed, seen: Seen<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for post in directory.posts(listed, Some(seen)) {
        for matter in post.charges.into_iter().flatten() {
            if !all.contains(matter) {
                all.push(matter.clone());
            }
        }
    }
    all
}

/// The bodies with their units and people, of one unit and those below it if that is named, and of some units alone if others
/// may not be told; and how many more people there are than are told at once.
fn bodies(
    known: &Organisation,
    day: Date,
    wanted: Option<&str>,
    within: Option<&BTreeSet<UnitId>>,
) -> (Vec<ShownBody>, usize) {
    let key = |name: &str| folded(name, LONGEST_NAME);
    let wanted = wanted.map(|name| (name, key(name)));
    let is_wanted = |unit: &Unit| {
        wanted.as_ref().is_none_or(|(name, folded)| match name.strip_prefix(UNIT_NUMBER) {
            Some(number) => number.parse() == Ok(unit.unit.0),
            None => unit.code.as_deref() == Some(*name) || key(&unit.name) == *folded,
        })
    };
    let all_addresses = known.addresses(day);
    let (mut told, mut room, mut more) = (Vec::new(), MOST_MEMBERS, 0);
    for body in known.bodies(day) {
        let mut units = Vec::new();
        for top in known.top_units(body.body, day) {
            for unit in known.subtree(top.unit, day) {
                if within.is_some_and(|units| !units.contains(&unit.unit)) {
                    continue;
                }
                let path = known.path(unit.unit, day);
                if !path.iter().any(|above| is_wanted(above)) {
                    continue;
                }
                let mut members = known.members(unit.unit, day);
                more += members.len().saturating_sub(room);
                members.truncate(room);
                room -= members.len();
                units.push(ShownUnit {
                    unit: unit.unit,
                    depth: path.len().saturating_sub(1),
                    name: unit.name.clone(),
                    code: unit.code.clone(),
                    charges: known.charges(Charged::Unit(unit.unit), day).to_vec(),
                    addresses: addresses(known, &all_addresses, unit.unit, day),
                    members: members.iter().map(|holder| member(known, holder, day)).collect(),
                });
            }
        }
        if (wanted.is_none() && within.is_none()) || !units.is_empty() {
            told.push(ShownBody { name: body.name.clone(), units });
        }
    }
    (told, more)
}

/// The addresses of a unit and of its posts, each with what it is of.
fn addresses(
    known: &Organisation,
    all: &BTreeMap<&str, Option<Charged>>,
    unit: UnitId,
    day: Date,
) -> Vec<(String, String)> {
    let is_its = |of: Charged| known.unit_of(of, day) == Some(unit);
    let its = all.iter().filter_map(|(name, of)| Some((name, of.filter(|of| is_its(*of))?)));
    its.filter_map(|(name, of)| Some(((*name).to_owned(), known.called(of, day)?))).collect()
}

fn member(known: &Organisation, holder: &Holder<'_>, day: Date) -> Member {
    Member {
        number: holder.person.number.clone(),
        called: holder.person.called().to_owned(),
        reading: holder.person.reading.clone(),
        class: holder.person.class,
        account: holder.person.account.clone(),
        title: holder.post.title.clone(),
        charges: known.charges(Charged::Post(holder.post.post), day).to_vec(),
        tenure: holder.tenure,
        from: holder.span.from(),
        until: holder.span.until(),
        away: holder.away.cloned(),
    }
}
