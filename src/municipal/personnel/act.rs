//! What somebody does to an organisation by hand (機構改革, 休職, 事務分掌), as he names it: units and people by what he calls them.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use base::folded;
use intake::{AccountName, Date, typed_name};
use organisation::{
    Absence, BodyId, Charged, Item, NewUnit, Organisation, PersonId, Reorganisation, Scope, Unit, UnitId,
    UnitNames,
};
use serde::{Deserialize, Serialize};

use crate::words::{Words, names, words};

/// Most acts of one change set: a reform of a whole prefecture has some hundred.
pub const MOST_ACTS: usize = 500;

/// Most letters of a name that are compared.
const LONGEST_NAME: usize = 100;

/// As many letters of what is named are told as can be a name.
const LONGEST_TOLD: usize = 1_000;

/// What somebody does by hand. A unit is named by its 所属コード, its name, the names above it before that (`総務部/防災課`), or
/// its number (`unit:12`); a person by his account, his 職員番号, or his number here (`person:7`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// A new body.
    MakeBody {
        /// Its name.
        name: String,
    },
    /// A new unit, the last among its sisters.
    MakeUnit {
        /// Its name.
        name: String,
        /// 所属コード
        #[serde(default)]
        code: Option<String>,
        /// The unit above it; none at the top.
        #[serde(default)]
        parent: Option<String>,
        /// The body, where it is at the top and there are several.
        #[serde(default)]
        body: Option<String>,
    },
    /// Another name for a unit.
    RenameUnit {
        /// Which.
        unit: String,
        /// The name.
        name: String,
    },
    /// A unit goes below another one.
    MoveUnit {
        /// Which.
        unit: String,
        /// Below which; to the top where none is said.
        #[serde(default)]
        parent: Option<String>,
    },
    /// Units become one, which is made in the place of the first.
    MergeUnits {
        /// Which.
        units: Vec<String>,
        /// The name of the new one.
        name: String,
        /// 所属コード
        #[serde(default)]
        code: Option<String>,
    },
    /// A unit becomes several.
    SplitUnit {
        /// Which.
        unit: String,
        /// The names of the new ones.
        parts: Vec<String>,
        /// Where everybody goes: the name of a part, by who he is.
        goes: BTreeMap<String, String>,
    },
    /// A unit without people is closed.
    CloseUnit {
        /// Which.
        unit: String,
    },
    /// What a unit, or a post in it, is responsible for (事務分掌).
    Charge {
        /// Which unit.
        unit: String,
        /// 職名, where it is a post.
        #[serde(default)]
        title: Option<String>,
        /// The matters; none takes back what was said.
        matters: Vec<String>,
    },
    /// By which name of a user others reach a unit, or whoever has a post in it (`@bousai:…`).
    Address {
        /// The name: the localpart.
        name: String,
        /// Which unit; none takes the address back.
        #[serde(default)]
        unit: Option<String>,
        /// 職名, where it is a post.
        #[serde(default)]
        title: Option<String>,
    },
    /// Somebody is away from his posts.
    Away {
        /// Who.
        person: String,
        /// Why.
        why: Why,
        /// The day on which he is there again, where that is known.
        #[serde(default)]
        until: Option<Date>,
    },
    /// Somebody is there again.
    Back {
        /// Who.
        person: String,
    },
    /// The name that somebody uses at work (旧姓使用).
    UseName {
        /// Who.
        person: String,
        /// The name; his legal one where none is said.
        #[serde(default)]
        name: Option<String>,
    },
    /// The account of somebody who has none.
    GiveAccount {
        /// Who.
        person: String,
        /// Its name: the localpart.
        account: String,
    },
}

/// Why somebody is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Why {
    /// 休職
    Suspended,
    /// 育児休業・介護休業
    Leave,
    /// 出向
    Seconded {
        /// To whom.
        to: String,
    },
}

impl Act {
    /// How many names it has.
    pub(crate) fn names(&self) -> usize {
        match self {
            Self::MergeUnits { units, .. } => units.len(),
            Self::SplitUnit { parts, goes, .. } => parts.len().saturating_add(goes.len()),
            Self::Charge { matters, .. } => matters.len(),
            _ => 1,
        }
    }

    /// The localpart that others are to reach somebody by from now on.
    pub(crate) fn wanted_address(&self) -> Option<String> {
        match self {
            Self::Address { name, unit: Some(_), .. } => Some(localpart(name)),
            _ => None,
        }
    }

    /// Whether who sees to a part of the organisation may do it there: what a unit is responsible for and reached by, and who
    /// is there. Units themselves are whoever's who sees to the whole.
    fn is_of_a_part(&self) -> bool {
        match self {
            Self::Charge { .. }
            | Self::Address { .. }
            | Self::Away { .. }
            | Self::Back { .. }
            | Self::UseName { .. } => true,
            Self::MakeBody { .. }
            | Self::MakeUnit { .. }
            | Self::RenameUnit { .. }
            | Self::MoveUnit { .. }
            | Self::MergeUnits { .. }
            | Self::SplitUnit { .. }
            | Self::CloseUnit { .. }
            | Self::GiveAccount { .. } => false,
        }
    }

    /// Does it, on what the acts before it have left: one line of a change set; within a part of the organisation, if no more
    /// may be changed.
    ///
    /// # Errors
    /// The sentence that says why not; then nothing is done.
    pub(crate) fn done(
        &self,
        by_hand: &mut Reorganisation<'_>,
        day: Date,
        within: Option<&Within>,
    ) -> Result<Item, Words> {
        if within.is_some() && !self.is_of_a_part() {
            return Err(words!(
                "部局管理者が変えられるのは、担当部局の担当業務・宛先・休職等・氏名(旧姓)です。所属そのものの変更は人事担当に依頼してください。",
                "Within a department it is said what is responsible for what, by which addresses it is reached, who is away, and who uses which name; units are changed by a personnel officer."
            ));
        }
        let named = Named { known: by_hand.known(), day, within, units: OnceCell::new() };
        let done = match self {
            Self::MakeBody { name } => by_hand.make_body(&typed_name(name)?).map(|(_, item)| item),
            Self::MakeUnit { name, code, parent, body } => {
                let parent = parent.as_deref().map(|parent| named.unit(parent)).transpose()?;
                let body = match parent {
                    Some(parent) => parent.body,
                    None => named.body(body.as_deref())?,
                };
                let new = named.new_unit(body, parent.map(|unit| unit.unit), name, code.as_deref())?;
                named.must_be_free((body, new.parent), &new.name, &BTreeSet::new())?;
                by_hand.make_unit(new).map(|(_, item)| item)
            }
            Self::RenameUnit { unit, name } => {
                let (unit, name) = (named.unit(unit)?, typed_name(name)?);
                named.must_be_free((unit.body, unit.parent), &name, &BTreeSet::from([unit.unit]))?;
                let unit = unit.unit;
                by_hand.rename_unit(unit, &name)
            }
            Self::MoveUnit { unit, parent } => {
                let unit = named.unit(unit)?;
                let parent = parent.as_deref().map(|parent| named.unit(parent)).transpose()?;
                let parent = parent.map(|parent| parent.unit);
                named.must_be_free((unit.body, parent), &unit.name, &BTreeSet::from([unit.unit]))?;
                let unit = unit.unit;
                by_hand.move_unit(unit, parent)
            }
            Self::MergeUnits { units, name, code } => {
                let units = units.iter().map(|unit| named.unit(unit)).collect::<Result<Vec<_>, _>>()?;
                let Some(first) = units.first() else { return Err(no_units()) };
                let into = named.new_unit(first.body, first.parent, name, code.as_deref())?;
                let into = NewUnit { order: first.order, ..into };
                let units: BTreeSet<UnitId> = units.iter().map(|unit| unit.unit).collect();
                named.must_be_free((into.body, into.parent), &into.name, &units)?;
                by_hand.merge_units(&units, into).map(|(_, item)| item)
            }
            Self::SplitUnit { unit, parts, goes } => {
                let unit = named.unit(unit)?;
                let place = |part: &str| parts.iter().position(|name| name.trim() == part.trim());
                let mut people = BTreeMap::new();
                for (person, part) in goes {
                    let part = place(part).ok_or_else(|| {
                        let part = short(part);
                        words!("分割後の所属に「{part}」はありません。", "\"{part}\" is none of the parts.")
                    })?;
                    people.insert(named.person(person)?, part);
                }
                let new = |name: &String| named.new_unit(unit.body, unit.parent, name, None);
                let parts = parts.iter().map(new).collect::<Result<Vec<_>, _>>()?;
                let mut names = BTreeSet::new();
                for part in &parts {
                    named.must_be_free((part.body, part.parent), &part.name, &BTreeSet::from([unit.unit]))?;
                    if !names.insert(part.name.clone()) {
                        return Err(taken(&part.name));
                    }
                }
                let unit = unit.unit;
                by_hand.split_unit(unit, parts, &people).map(|(_, item)| item)
            }
            Self::CloseUnit { unit } => {
                let unit = named.unit(unit)?.unit;
                by_hand.close_unit(unit)
            }
            Self::Charge { unit, title, matters } => {
                let of = named.charged(unit, title.as_deref())?;
                let matters =
                    matters.iter().map(|matter| typed_name(matter)).collect::<Result<Vec<_>, _>>()?;
                let matters: Vec<_> = matters.into_iter().filter(|matter| !matter.is_empty()).collect();
                by_hand.charge(of, &matters)
            }
            Self::Address { name, unit, title } => {
                let of = unit.as_deref().map(|unit| named.charged(unit, title.as_deref())).transpose()?;
                named.must_reach_own(&localpart(name))?;
                match (of, localpart(name)) {
                    (Some(of), name) => by_hand.address(&name, of),
                    (None, name) => by_hand.end_address(&name),
                }
            }
            Self::Away { person, why, until } => {
                let person = named.person(person)?;
                let why = match why {
                    Why::Suspended => Absence::Suspended,
                    Why::Leave => Absence::Leave,
                    Why::Seconded { to } => Absence::Seconded { to: typed_name(to)? },
                };
                by_hand.away(person, why, *until)
            }
            Self::Back { person } => {
                let person = named.person(person)?;
                by_hand.back(person)
            }
            Self::UseName { person, name } => {
                let person = named.person(person)?;
                let name = name.as_deref().map(typed_name).transpose()?.filter(|name| !name.is_empty());
                if name.is_none() && within.is_some() {
                    // What is told of it would name the legal one.
                    return Err(words!(
                        "職場で使う氏名を入力してください。使用をやめるときは、人事担当に依頼してください。",
                        "Please say the name; that one is used no more is put forward by a personnel officer."
                    ));
                }
                by_hand.use_name(person, name.as_deref())
            }
            Self::GiveAccount { person, account } => {
                let person = named.person(person)?;
                let account = account_name(account)?;
                by_hand.give_account(person, &account)
            }
        };
        done.map_err(|refused| refused.words())
    }
}

/// The localpart of the user that is named by it, or by his whole id.
fn localpart(name: &str) -> String {
    let name = short(name);
    let id = name.strip_prefix('@').map(|id| id.split(':').next().unwrap_or(id));
    id.map(str::to_owned).unwrap_or(name)
}

/// As much of a name as can be one.
fn short(name: &str) -> String {
    name.trim().chars().take(LONGEST_TOLD).collect()
}

/// A name of an account, as somebody has typed it.
fn account_name(text: &str) -> Result<String, Words> {
    let text = short(text);
    let name = text.strip_prefix('@').map_or(text.as_str(), |id| id.split(':').next().unwrap_or(id));
    AccountName::read(name).map(|name| name.to_string()).map_err(|fault| fault.words())
}

fn taken(name: &str) -> Words {
    words!("同じ所属の下に「{name}」がすでにあります。", "There is a unit \"{name}\" at that place already.")
}

fn nobody(name: &str) -> Words {
    words!(
        "「{name}」という職員番号またはアカウントの職員はいません。",
        "Nobody has the number or the account \"{name}\"."
    )
}

fn no_units() -> Words {
    words!("統合する所属を選んでください。", "Please choose the units that are merged.")
}

/// What alone may be changed.
pub(crate) struct Within {
    /// The units, on the day of the change and today.
    units: BTreeSet<UnitId>,
    today: Date,
}

impl Within {
    pub(crate) fn of(known: &Organisation, scope: &Scope, day: Date, today: Date) -> Self {
        let mut units = known.units_of(scope, day);
        if day != today {
            let now = known.units_of(scope, today);
            units.retain(|unit| now.contains(unit));
        }
        Self { units, today }
    }

    /// Whether somebody has his main post in it on a day and today: who has gone meanwhile, or is yet to come, is another
    /// part's.
    fn has(&self, known: &Organisation, person: PersonId, day: Date) -> bool {
        [day, self.today].iter().all(|day| known.is_mainly_in(person, &self.units, *day))
    }
}

/// Who and what is meant on a day.
struct Named<'a> {
    known: &'a Organisation,
    day: Date,
    /// What alone may be meant.
    within: Option<&'a Within>,
    /// The units of the day; gathered once, where one is named.
    units: OnceCell<UnitNames<'a>>,
}

impl<'a> Named<'a> {
    fn body(&self, name: Option<&str>) -> Result<BodyId, Words> {
        let bodies: Vec<_> = self.known.bodies(self.day).collect();
        let found = match name {
            Some(name) => bodies.iter().find(|body| key(&body.name) == key(name)),
            None if bodies.len() == 1 => bodies.first(),
            None => None,
        };
        let all: Vec<_> = bodies.iter().map(|body| body.name.as_str()).collect();
        let all = names(&all);
        found
            .map(|body| body.body)
            .ok_or_else(|| words!("機関を選んでください: {all}", "Please choose a body: {all}"))
    }

    /// The one unit that is called so.
    fn unit(&self, name: &str) -> Result<&'a Unit, Words> {
        let units = self.units.get_or_init(|| {
            let all = UnitNames::of(self.known, None, self.day);
            match self.within {
                Some(within) => all.among(&within.units),
                None => all,
            }
        });
        units.find(name)
    }

    /// Refuses an address that reaches somebody else, or did or will: it is not this part's to turn or to end.
    fn must_reach_own(&self, name: &str) -> Result<(), Words> {
        let Some(within) = self.within else { return Ok(()) };
        let mut reached = self.known.ever_reached(name).into_iter();
        let is_own = reached
            .all(|of| self.known.unit_of(of, self.day).is_some_and(|unit| within.units.contains(&unit)));
        let name = short(name);
        is_own.then_some(()).ok_or_else(|| {
            words!(
                "宛先「{name}」は、担当部局のものではありません。別の名前にするか、人事担当に依頼してください。",
                "The address \"{name}\" is not of this department; please choose another name, or ask a personnel officer."
            )
        })
    }

    /// Refuses a name that a sister has who stays: nobody could say which of both he means.
    fn must_be_free(
        &self,
        (body, parent): (BodyId, Option<UnitId>),
        name: &str,
        but: &BTreeSet<UnitId>,
    ) -> Result<(), Words> {
        let sisters = match parent {
            Some(parent) => self.known.units_below(parent, self.day),
            None => self.known.top_units(body, self.day),
        };
        let mut others = sisters.into_iter().filter(|unit| !but.contains(&unit.unit));
        match others.any(|unit| key(&unit.name) == key(name)) {
            true => Err(taken(name)),
            false => Ok(()),
        }
    }

    fn charged(&self, unit: &str, title: Option<&str>) -> Result<Charged, Words> {
        let unit = self.unit(unit)?;
        let Some(title) = title.map(str::trim).filter(|title| !title.is_empty()) else {
            return Ok(Charged::Unit(unit.unit));
        };
        let posts = self.known.posts(unit.unit, self.day);
        let found = posts.iter().find(|post| key(&post.title) == key(title));
        let title = short(title);
        let titles: Vec<_> =
            posts.iter().map(|post| post.title.as_str()).filter(|one| !one.is_empty()).collect();
        let (unit, titles) = (&unit.name, names(&titles));
        found.map(|post| Charged::Post(post.post)).ok_or_else(|| {
            words!(
                "「{unit}」に「{title}」という職はありません(ある職: {titles})。",
                "There is no post \"{title}\" in \"{unit}\" (there are: {titles})."
            )
        })
    }

    /// The one person of this account or number.
    fn person(&self, name: &str) -> Result<PersonId, Words> {
        let name = &*short(name);
        let person = self.person_called(name)?;
        match self.may_mean(person) {
            true => Ok(person),
            false => Err(nobody(name)),
        }
    }

    fn may_mean(&self, person: PersonId) -> bool {
        self.within.is_none_or(|within| within.has(self.known, person, self.day))
    }

    fn person_called(&self, name: &str) -> Result<PersonId, Words> {
        // As programs name somebody, for whom a number of two bodies would not do.
        if let Some(person) =
            name.strip_prefix("person:").and_then(|number| number.parse().ok()).map(PersonId)
            && self.known.person(person, self.day).is_some()
        {
            return Ok(person);
        }
        let account = name.strip_prefix('@').map_or(name, |id| id.split(':').next().unwrap_or(id));
        if let Some(person) = self.known.owner(account)
            && self.known.person(person, self.day).is_some()
        {
            return Ok(person);
        }
        let bodies = self.known.bodies(self.day);
        let found = bodies.filter_map(|body| self.known.numbered(body.body, name, self.day));
        let found = found.map(|person| person.person);
        let found: Vec<_> = found.filter(|person| self.may_mean(*person)).collect();
        match found[..] {
            [person] => Ok(person),
            [] => Err(nobody(name)),
            _ => Err(words!(
                "職員番号「{name}」の職員が複数の機関にいます。アカウント名で指定してください。",
                "People of several bodies have the number \"{name}\"; please say the account."
            )),
        }
    }

    fn new_unit(
        &self,
        body: BodyId,
        parent: Option<UnitId>,
        name: &str,
        code: Option<&str>,
    ) -> Result<NewUnit, Words> {
        let sisters = match parent {
            Some(parent) => self.known.units_below(parent, self.day),
            None => self.known.top_units(body, self.day),
        };
        let order = sisters.iter().map(|unit| unit.order).max().map_or(0, |last| last.saturating_add(1));
        let code = code.map(typed_name).transpose()?.filter(|code| !code.is_empty());
        Ok(NewUnit { body, parent, code, name: typed_name(name)?, order })
    }
}

fn key(name: &str) -> String {
    folded(name.trim(), LONGEST_NAME)
}
