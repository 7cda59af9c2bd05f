//! What somebody is told who gave an [`Order`](crate::Order).

use intake::Date;
use organisation::{Told as Sentence, UnitId};
use serde::{Deserialize, Serialize};

use crate::{
    book::RuleId,
    plan::Step,
    rule::Rule,
    wanted::Standing,
    words::{Words, words},
};

/// What somebody is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The rules and their rooms.
    Shown(Shown),
    /// The number of a rule.
    Rule(RuleId),
    /// What would be done.
    Previewed(Previewed),
    /// What was done.
    Done(Done),
}

/// The rules of a day and their rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// The day.
    pub day: Date,
    /// The rules.
    pub rules: Vec<ShownRule>,
    /// The rooms that there are, all of them.
    pub rooms: Vec<ShownRoom>,
}

/// A rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownRule {
    /// Its number.
    pub id: RuleId,
    /// What it says on the day, with bodies and units by their numbers; what it said last, where it does not hold.
    pub rule: Rule,
    /// What it says last, where that is something else than on the day.
    #[serde(default)]
    pub last: Option<Box<Rule>>,
    /// Whether it holds on the day.
    pub holds: bool,
    /// How often something was said of it.
    pub entries: usize,
}

impl ShownRule {
    /// What it says last, which is what goes on where nobody says otherwise.
    #[must_use]
    pub fn last(&self) -> &Rule {
        self.last.as_deref().unwrap_or(&self.rule)
    }
}

/// A room that is somebody's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownRoom {
    /// By which rule.
    pub rule: RuleId,
    /// Of which unit.
    pub of: UnitId,
    /// The unit's name on the day, if it is there.
    pub unit: Option<String>,
    /// Which of the rule's rooms it is.
    pub key: String,
    /// Its id.
    pub room: String,
    /// Whether somebody made it by hand.
    pub is_adopted: bool,
    /// Since when nobody speaks in it.
    pub closed: Option<Date>,
}

/// What would be done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Previewed {
    /// How many rooms there ought to be.
    pub rooms: usize,
    /// How many rooms are made.
    pub makes: usize,
    /// How many times somebody comes in.
    pub joins: usize,
    /// How many times somebody leaves.
    pub leaves: usize,
    /// How many other things change.
    pub changes: usize,
    /// How many rooms are closed.
    pub closes: usize,
    /// How many rooms are over the bound, and not made.
    pub left_out: usize,
    /// The first of the steps.
    pub told: Vec<Told>,
}

/// One step, as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The name of the room.
    pub room: String,
    /// What is done.
    pub what: Sentence,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many rooms were made.
    pub makes: usize,
    /// How many times somebody came in.
    pub joins: usize,
    /// How many times somebody left.
    pub leaves: usize,
    /// How many other things were changed.
    pub changes: usize,
    /// How many rooms were closed.
    pub closes: usize,
    /// How many changes rooms did not allow.
    pub refused: usize,
}

impl Done {
    /// Whether nothing was done.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self { refused: self.refused, ..Self::default() }
    }
}

impl Previewed {
    /// Counts a step and tells it, if not too many are told already.
    pub(crate) fn add(&mut self, room: &str, step: &Step, most: usize) {
        match step {
            Step::Join(..) => self.joins += 1,
            Step::Leave(_) => self.leaves += 1,
            Step::Close(_) => self.closes += 1,
            Step::Note(_) | Step::Under(_) | Step::Drop(_) => return,
            Step::Reopen | Step::State(..) | Step::Child(..) => self.changes += 1,
        }
        self.tell(room, step.words(), most);
    }

    pub(crate) fn tell(&mut self, room: &str, what: Words, most: usize) {
        if self.told.len() < most {
            self.told.push(Told { room: room.to_owned(), what: what.into() });
        }
    }
}

impl Step {
    /// What people are told of it.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::Reopen => words!("再び使えるようにする", "is used again"),
            Self::Join(user, Standing::Moderator) => {
                words!("{user} が入る(モデレーター)", "{user} comes in and moderates")
            }
            Self::Join(user, _) => words!("{user} が入る", "{user} comes in"),
            Self::Note(user) => words!("{user} は規則による参加者", "{user} is in it by rule"),
            Self::State((kind, _), _) => match kind.as_str() {
                "m.room.power_levels" => words!("権限を変える", "its power levels change"),
                "m.room.name" => words!("名前を変える", "its name changes"),
                "m.room.topic" => words!("トピックを変える", "its topic changes"),
                kind => words!("設定を変える({kind})", "its {kind} changes"),
            },
            Self::Child(space, content) if content.get("via").is_some() => {
                words!("スペース {space} に載せる", "the space {space} leads to it")
            }
            Self::Child(space, _) => {
                words!("スペース {space} から外す", "the space {space} leads to it no more")
            }
            Self::Under(_) => words!("スペースを記録する", "its space is noted"),
            Self::Leave(user) => words!("{user} が出る", "{user} leaves"),
            Self::Drop(user) => {
                words!("{user} は規則による参加者でなくなる", "{user} is in it by rule no more")
            }
            Self::Close(day) => words!("{day} に閉じる(読むだけにする)", "is closed on {day}"),
        }
    }
}
