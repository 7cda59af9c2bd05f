//! Which rooms there ought to be, by the rules of a day: with names, members, moderators and parents.
//!
//! A pure function of the organisation, the rules and the accounts of its people: [`wanted`]. The same gives the same, in the
//! same order, whoever asks. Rooms of one unit share one list of people where their rules choose the same.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use intake::Date;
use organisation::{Organisation, UnitId};
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::{
    book::{Book, RuleId},
    limits::{MAX_ROOM_NAME, MAX_ROOMS, MAX_TOPIC},
    pattern::{Names, is_named, made_of},
    roster::{Accounts, Roster, days_before},
    rule::{Members, Moderators, Rule, Template, Units},
};

/// Which room of which unit by which rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The rule.
    pub rule: RuleId,
    /// The unit.
    pub unit: UnitId,
    /// The key of the template.
    pub key: String,
}

/// As what somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// He had a post, and reads for some days more.
    Predecessor,
    /// He has a post.
    Member,
    /// He moderates.
    Moderator,
}

/// Who belongs into a room, each once, in the order of their ids.
pub type People = Vec<(OwnedUserId, Standing)>;

/// A room that there ought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRoom {
    /// Whose.
    pub place: Place,
    /// What it is like.
    pub template: Arc<Template>,
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: Option<String>,
    /// The space in which it is found.
    pub parent: Option<Place>,
    /// Who belongs into it.
    pub people: Arc<People>,
}

/// All rooms that there ought to be, a space before the rooms in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The rooms.
    pub rooms: Vec<WantedRoom>,
    /// How many more the rules want than there may be.
    pub left_out: usize,
}

/// The rooms that the rules of a day want for the organisation as it is on it. `accounts` are those of its people that are open.
#[must_use]
pub fn wanted(organisation: &Organisation, book: &Book, accounts: &Accounts, day: Date) -> Wanted {
    let rules: Vec<(RuleId, &Rule)> = book.on(day).collect();
    let longest = rules.iter().map(|(_, rule)| rule.hand_over_days).max().unwrap_or(0);
    let roster = Roster::of(organisation, accounts, day, days_before(day, longest));
    let rules: Vec<Chosen<'_>> = rules
        .into_iter()
        .map(|(id, rule)| {
            let below = rule.units.below.map(|unit| organisation.successors(unit, day));
            let templates = rule.rooms.iter().cloned().map(Arc::new).collect();
            Chosen { id, rule, templates, below, since: days_before(day, rule.hand_over_days) }
        })
        .collect();
    let mut lists: HashMap<(usize, Shape<'_>), Arc<People>> = HashMap::new();
    // The space of each unit that has one, by its place among the units.
    let mut spaces: Vec<Option<Place>> = Vec::with_capacity(roster.seats.len());
    let mut wanted = Wanted::default();
    for (at, seat) in roster.seats.iter().enumerate() {
        let above = seat.parent.and_then(|parent| spaces.get(parent).cloned().flatten());
        let chosen: Vec<&Chosen<'_>> = rules.iter().filter(|rule| rule.chooses(&roster, at)).collect();
        let place = |rule: &Chosen<'_>, template: &Template| Place {
            rule: rule.id,
            unit: seat.unit.unit,
            key: template.key.clone(),
        };
        let all = || chosen.iter().flat_map(|rule| rule.templates.iter().map(move |one| (*rule, one)));
        let own = all().find(|(_, template)| template.space).map(|(rule, template)| place(rule, template));
        // Spaces first, so that what is found in one comes after it.
        for (rule, template) in all().filter(|(_, one)| one.space).chain(all().filter(|(_, one)| !one.space))
        {
            if wanted.rooms.len() >= MAX_ROOMS {
                wanted.left_out += 1;
                continue;
            }
            let people =
                lists.entry((at, rule.shape())).or_insert_with(|| Arc::new(people(&roster, at, rule)));
            let people = people.clone();
            let names = Naming::of(&roster, at);
            let names = names.borrowed();
            wanted.rooms.push(WantedRoom {
                place: place(rule, template),
                template: template.clone(),
                name: made_of(&template.name, &names, MAX_ROOM_NAME),
                topic: template.topic.as_deref().map(|topic| made_of(topic, &names, MAX_TOPIC)),
                parent: if template.space { above.clone() } else { own.clone().or_else(|| above.clone()) },
                people,
            });
        }
        spaces.push(own.or(above));
    }
    wanted
}

/// A rule of the day.
struct Chosen<'a> {
    id: RuleId,
    rule: &'a Rule,
    templates: Vec<Arc<Template>>,
    /// What the unit that it names has become.
    below: Option<Vec<UnitId>>,
    /// Who lost his post before this day stays no more.
    since: Date,
}

/// What decides on the people of a rule's rooms, beside the unit.
#[derive(PartialEq, Eq, Hash)]
struct Shape<'a> {
    members: Members,
    since: String,
    heads: bool,
    titles: &'a [String],
    ranks: &'a [String],
}

impl<'a> Chosen<'a> {
    fn chooses(&self, roster: &Roster<'_>, at: usize) -> bool {
        let Some(seat) = roster.seats.get(at) else { return false };
        let Units { body, depth, named, .. } = &self.rule.units;
        let is_below = |units: &Vec<UnitId>| {
            let path = roster.path(at);
            path.iter().any(|at| roster.seats.get(*at).is_some_and(|seat| units.contains(&seat.unit.unit)))
        };
        body.is_none_or(|body| seat.unit.body == body)
            && depth.is_none_or(|(from, to)| (from..=to).contains(&seat.depth))
            && (named.is_empty() || named.iter().any(|pattern| is_named(pattern, &seat.unit.name)))
            && self.below.as_ref().is_none_or(is_below)
    }

    fn shape(&self) -> Shape<'a> {
        let Moderators { heads, titles, ranks } = &self.rule.moderators;
        Shape { members: self.rule.members, since: self.since.to_string(), heads: *heads, titles, ranks }
    }
}

/// What a unit is called, with what its names are borrowed from.
struct Naming<'a> {
    path: Vec<&'a str>,
    body: &'a str,
    code: &'a str,
}

impl<'a> Naming<'a> {
    fn of(roster: &Roster<'a>, at: usize) -> Self {
        let path = roster.path(at);
        let path = path.into_iter().filter_map(|at| roster.seats.get(at)).map(|seat| seat.unit.name.as_str());
        let unit = roster.seats.get(at).map(|seat| seat.unit);
        let body = unit.and_then(|unit| roster.bodies.get(&unit.body)).copied().unwrap_or_default();
        Self {
            path: path.collect(),
            body,
            code: unit.and_then(|unit| unit.code.as_deref()).unwrap_or_default(),
        }
    }

    fn borrowed(&self) -> Names<'_> {
        let unit = self.path.last().copied().unwrap_or_default();
        let parent = self.path.len().checked_sub(2).and_then(|at| self.path.get(at)).copied().unwrap_or(unit);
        Names { unit, parent, path: &self.path, body: self.body, code: self.code }
    }
}

/// Who belongs into the rooms of a unit by a rule.
fn people(roster: &Roster<'_>, at: usize, rule: &Chosen<'_>) -> People {
    let Some(seat) = roster.seats.get(at) else { return People::new() };
    let end = if rule.rule.members == Members::Below { seat.end } else { at + 1 };
    let seats = roster.seats.get(at..end).unwrap_or_default();
    let mut found: BTreeMap<&OwnedUserId, Standing> = BTreeMap::new();
    let mut add = |account, standing| {
        let known = found.entry(account).or_insert(standing);
        *known = standing.max(*known);
    };
    for seat in seats {
        let staying = seat.formers.iter().filter(|former| former.until > rule.since);
        staying.for_each(|former| add(former.account, Standing::Predecessor));
        seat.holdings.iter().for_each(|holding| add(holding.account, Standing::Member));
    }
    moderators(roster, at, &rule.rule.moderators)
        .into_iter()
        .for_each(|account| add(account, Standing::Moderator));
    found.into_iter().map(|(account, standing)| (account.clone(), standing)).collect()
}

/// Who moderates the rooms of a unit: whoever has one of the posts; where nobody has, or all are away, whoever heads it or
/// the nearest unit above it that is headed.
fn moderators<'a>(roster: &Roster<'a>, at: usize, by: &Moderators) -> Vec<&'a OwnedUserId> {
    let present = |at: usize| {
        let seat = roster.seats.get(at);
        seat.into_iter().flat_map(|seat| &seat.holdings).filter(|holding| !holding.is_away)
    };
    let own: Vec<_> = present(at).filter(|one| by.are_in(one.post)).map(|one| one.account).collect();
    if !own.is_empty() {
        return own;
    }
    let path = roster.path(at).into_iter().rev();
    let heads = path
        .map(|at| -> Vec<_> { present(at).filter(|one| one.post.heads).map(|one| one.account).collect() });
    heads.into_iter().find(|heads| !heads.is_empty()).unwrap_or_default()
}
