//! Rules: for every unit of a kind, rooms of these templates, with these members and moderators.
//!
//! A rule is data that somebody writes, with days on which it holds ([`crate::Book`]). Here is what it can say and what is
//! wrong with it; what it gives on a day is [`crate::wanted`]'s work.

use std::collections::{BTreeMap, BTreeSet};

use intake::Date;
use organisation::{BodyId, Organisation, Post, UnitId, UnitNames};
use serde::{Deserialize, Serialize};

use crate::{
    limits::{
        MAX_EVENT_LEVELS, MAX_HAND_OVER, MAX_NAME, MAX_PATTERNS, MAX_ROOM_NAME, MAX_TEMPLATES, MAX_TOPIC,
    },
    pattern::{check_made, check_named, is_named},
    words::{Words, words},
};

/// For which units there are rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[serde(bound(deserialize = "B: Deserialize<'de>, U: Deserialize<'de>"))]
pub struct Units<B = BodyId, U = UnitId> {
    /// Those of this body; of all, where none is said.
    pub body: Option<B>,
    /// This one and those below it, and what they became since.
    pub below: Option<U>,
    /// Those so many steps below the top, from and to: `[0, 0]` are the units at the top.
    pub depth: Option<(u8, u8)>,
    /// Those whose name is one of these, with a `*` at either end for whatever is there; of all names, where none is said.
    pub named: Vec<String>,
}

impl<B, U> Default for Units<B, U> {
    fn default() -> Self {
        Self { body: None, below: None, depth: None, named: Vec::new() }
    }
}

/// Who the members are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Members {
    /// Who has a post in the unit.
    #[default]
    Unit,
    /// Who has a post in it or in one below it.
    Below,
}

/// Who moderates: who has one of these posts of the unit. Where nobody has, whoever heads it does, or the nearest unit
/// above it that is headed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Moderators {
    /// Posts that head the unit (所属長).
    pub heads: bool,
    /// Posts with one of these titles (職名), with a `*` at either end for whatever is there.
    pub titles: Vec<String>,
    /// Posts of one of these ranks (職階), written the same way.
    pub ranks: Vec<String>,
}

impl Default for Moderators {
    fn default() -> Self {
        Self { heads: true, titles: Vec::new(), ranks: Vec::new() }
    }
}

impl Moderators {
    /// Whether who has this post moderates.
    pub(crate) fn are_in(&self, post: &Post) -> bool {
        let is_one = |patterns: &[String], word: &str| patterns.iter().any(|one| is_named(one, word));
        (self.heads && post.heads)
            || is_one(&self.titles, &post.title)
            || post.rank.as_deref().is_some_and(|rank| is_one(&self.ranks, rank))
    }
}

/// What newcomers see of what was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// All of it: a successor sees what his predecessors did.
    #[default]
    Shared,
    /// What is said from their coming on.
    Joined,
}

impl History {
    /// Its word in the room's state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Joined => "joined",
        }
    }
}

/// Which level a deed needs in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Levels {
    /// Of who moderates.
    pub moderators: i8,
    /// To say something.
    pub events_default: i8,
    /// To change the room's state.
    pub state_default: i8,
    /// To invite.
    pub invite: i8,
    /// To put somebody out.
    pub kick: i8,
    /// To put somebody out for good.
    pub ban: i8,
    /// To take away what others said.
    pub redact: i8,
    /// For events of a type.
    pub events: BTreeMap<String, i8>,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            moderators: 50,
            events_default: 0,
            state_default: 50,
            invite: 50,
            kick: 50,
            ban: 50,
            redact: 50,
            events: BTreeMap::new(),
        }
    }
}

/// How a room is made and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its word within the rule, by which it is the same room when the rule changes.
    pub key: String,
    /// Whether it is a space.
    #[serde(default)]
    pub space: bool,
    /// The pattern of its name: `{unit} 連絡`.
    pub name: String,
    /// The pattern of its topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// What newcomers see.
    #[serde(default)]
    pub history: History,
    /// Its label (機密性).
    #[serde(default)]
    pub label: Option<String>,
    /// Which level a deed needs.
    #[serde(default)]
    pub levels: Levels,
    /// Whether other servers can ever take part; that cannot be changed in a room that is there.
    #[serde(default = "yes")]
    pub federated: bool,
}

fn yes() -> bool {
    true
}

/// For every unit of a kind rooms of these templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "B: Deserialize<'de>, U: Deserialize<'de>"))]
pub struct Rule<B = BodyId, U = UnitId> {
    /// What people call it.
    pub title: String,
    /// For which units.
    #[serde(default)]
    pub units: Units<B, U>,
    /// Who the members are.
    #[serde(default)]
    pub members: Members,
    /// Who moderates.
    #[serde(default)]
    pub moderators: Moderators,
    /// For so many days who had a post before stays, reads and says nothing.
    #[serde(default)]
    pub hand_over_days: u16,
    /// The rooms of each unit.
    pub rooms: Vec<Template>,
}

/// A rule as people write it: bodies and units by name or code.
pub type Wish = Rule<String, String>;

impl Wish {
    /// The rule that is meant, with the bodies and units that have these names on a day.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn resolve(self, organisation: &Organisation, day: Date) -> Result<Rule, Words> {
        let Units { body, below, depth, named } = self.units;
        let body = body.map(|name| body_named(organisation, &name, day)).transpose()?;
        let names = UnitNames::of(organisation, body, day);
        let below = below.map(|name| names.find(&name).map(|unit| unit.unit)).transpose()?;
        let rule = Rule {
            title: self.title,
            units: Units { body, below, depth, named },
            members: self.members,
            moderators: self.moderators,
            hand_over_days: self.hand_over_days,
            rooms: self.rooms,
        };
        rule.check()?;
        Ok(rule)
    }
}

fn body_named(organisation: &Organisation, name: &str, day: Date) -> Result<BodyId, Words> {
    let found = organisation.bodies(day).find(|body| body.name == name);
    found
        .map(|body| body.body)
        .ok_or_else(|| words!("「{name}」という機関はありません。", "There is no body \"{name}\"."))
}

impl Rule {
    /// What is wrong with it, if something is.
    pub(crate) fn check(&self) -> Result<(), Words> {
        let too_long = |text: &str| text.is_empty() || text.chars().count() > MAX_NAME;
        if too_long(&self.title) || self.title.chars().any(char::is_control) {
            return Err(words!(
                "規則の名前は {MAX_NAME} 文字までで入力してください。",
                "A rule has a title of {MAX_NAME} letters at most."
            ));
        }
        if let Some((from, to)) = self.units.depth
            && from > to
        {
            return Err(words!(
                "階層の範囲が逆です({from}〜{to})。",
                "The depths are the wrong way round: {from} to {to}."
            ));
        }
        for patterns in [&self.units.named, &self.moderators.titles, &self.moderators.ranks] {
            if patterns.len() > MAX_PATTERNS {
                return Err(words!(
                    "パターンは {MAX_PATTERNS} 個までです。",
                    "There are {MAX_PATTERNS} patterns at most."
                ));
            }
            patterns.iter().try_for_each(|pattern| check_named(pattern))?;
        }
        if self.hand_over_days > MAX_HAND_OVER {
            return Err(words!(
                "引き継ぎの日数は {MAX_HAND_OVER} 日までです。",
                "The hand-over lasts {MAX_HAND_OVER} days at most."
            ));
        }
        if self.rooms.is_empty() || self.rooms.len() > MAX_TEMPLATES {
            return Err(words!(
                "部屋のひな形は 1〜{MAX_TEMPLATES} 個です。",
                "A rule has 1 to {MAX_TEMPLATES} templates of rooms."
            ));
        }
        let mut keys = BTreeSet::new();
        for template in &self.rooms {
            template.check()?;
            if !keys.insert(&template.key) {
                let key = &template.key;
                return Err(words!(
                    "ひな形のキー「{key}」が重複しています。",
                    "Two templates have the key \"{key}\"."
                ));
            }
        }
        Ok(())
    }
}

impl Template {
    fn check(&self) -> Result<(), Words> {
        let key = &self.key;
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if key.is_empty() || key.len() > MAX_NAME || !key.bytes().all(is_word) {
            return Err(words!(
                "ひな形のキー「{key}」は英小文字・数字・ハイフンで書いてください。",
                "The key \"{key}\" of a template is made of a-z, 0-9 and -."
            ));
        }
        check_made(&self.name, MAX_ROOM_NAME)?;
        if self.name.trim().is_empty() {
            return Err(words!("部屋の名前が空です({key})。", "The room `{key}` has no name."));
        }
        if let Some(topic) = &self.topic {
            check_made(topic, MAX_TOPIC)?;
        }
        if self.label.as_ref().is_some_and(|label| label.is_empty() || label.chars().count() > MAX_NAME) {
            return Err(words!(
                "ラベルは {MAX_NAME} 文字までです({key})。",
                "The label of `{key}` has {MAX_NAME} letters at most."
            ));
        }
        self.levels.check()
    }
}

/// Who makes the rooms has this level, and all others less: he could not take away from his equals what they have.
pub(crate) const STEWARD: i64 = 100;

impl Levels {
    fn check(&self) -> Result<(), Words> {
        if !(1..STEWARD).contains(&i64::from(self.moderators)) {
            return Err(words!(
                "モデレーターの権限レベルは 1〜99 です。",
                "Who moderates has a level from 1 to 99."
            ));
        }
        let Self { events_default, state_default, invite, kick, ban, redact, .. } = *self;
        let all = [events_default, state_default, invite, kick, ban, redact];
        if all.into_iter().chain(self.events.values().copied()).any(|level| !(0..=100).contains(&level)) {
            return Err(words!("権限レベルは 0〜100 です。", "Levels are from 0 to 100."));
        }
        let is_long = |kind: &String| kind.is_empty() || kind.len() > MAX_NAME;
        if self.events.len() > MAX_EVENT_LEVELS || self.events.keys().any(is_long) {
            return Err(words!(
                "種類別の権限レベルは {MAX_EVENT_LEVELS} 個までです。",
                "There are levels for {MAX_EVENT_LEVELS} types of events at most."
            ));
        }
        Ok(())
    }
}
