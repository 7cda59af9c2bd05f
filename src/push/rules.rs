//! A user's push rules, made ready, and what they say of an event.
//!
//! Of the kinds in their order the first rule that matches decides. Those of a user who has changed nothing are the same
//! for all who have not: what is about the user himself is put in when it is asked.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#push-rules>

use std::{ops::RangeBounds, sync::Arc};

use account::{Accounts, PushRules, THREAD_SUBSCRIPTION};
use base::{Cache, Caches};
use pdu::RoomPower;
use ruma::{
    OwnedRoomId, OwnedUserId, UInt, UserId,
    push::{Action, AnyPushRuleRef, PushCondition, RoomMemberCountIs, Ruleset, ScalarJsonValue},
};
use serde_json::Value;
use store::{Position, Store, Topic, UpTo};

use crate::{
    Error,
    facts::{Facts, Way, way_of},
    glob::{Budget, Glob, fold, has_words},
};

/// The predefined rules that an event which says whom it mentions does not ask.
const BY_TEXT: [&str; 3] =
    [".m.rule.contains_display_name", ".m.rule.roomnotif", ".m.rule.contains_user_name"];

/// The rules of a user that are in force, in the order in which they are asked.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// Whether it matters how many members a room has.
    pub(crate) needs_members: bool,
    /// Whether one asks for the power of the sender that the predefined ones would not.
    pub(crate) needs_power: bool,
    /// Whether it matters which threads the user is subscribed to.
    pub(crate) needs_threads: bool,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    conditions: Vec<Condition>,
    by_text: bool,
    pub(crate) actions: Vec<Action>,
    pub(crate) notifies: bool,
    pub(crate) highlights: bool,
}

#[derive(Debug)]
enum Condition {
    Text(Way, Glob),
    Words(Glob),
    /// The text is the user's id.
    Me(Way),
    Is(Way, Value),
    Contains(Way, Value),
    /// The list has the user's id.
    ContainsMe(Way),
    MyLocalpart,
    MyName,
    Members(RoomMemberCountIs),
    Permission(String),
    Room(OwnedRoomId),
    Sender(OwnedUserId),
    /// The event is in a thread that the user is, or is not, subscribed to.
    Subscribed(bool),
    Never,
}

/// What rules ask beside the event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// Whose rules they are.
    pub(crate) user: &'a UserId,
    /// What he is called in the room, folded.
    pub(crate) name: Option<&'a str>,
    /// How many members the room has.
    pub(crate) members: Option<u64>,
    /// Who has which power there.
    pub(crate) power: Option<&'a RoomPower>,
    /// Whether he is subscribed to the thread that it is in, if it is in one.
    pub(crate) subscribed: Option<bool>,
}

impl Rules {
    /// Makes the rules of a user ready.
    pub(crate) fn new(all: &PushRules, user: &UserId) -> Self {
        let ruleset = &all.rules;
        let mut rules: Vec<Rule> = Vec::new();
        for rule in in_order(all).filter(|rule| rule.enabled()) {
            let conditions = conditions_of(rule, user);
            if conditions.iter().any(|condition| matches!(condition, Condition::Never)) {
                continue;
            }
            let actions = rule.actions().to_vec();
            let notifies = actions.iter().any(Action::should_notify);
            rules.push(Rule {
                conditions,
                by_text: rule.is_server_default() && BY_TEXT.contains(&rule.rule_id()),
                notifies,
                highlights: notifies && actions.iter().any(Action::is_highlight),
                actions,
            });
        }
        let has = |is_it: fn(&Condition) -> bool| rules.iter().any(|rule| rule.conditions.iter().any(is_it));
        let needs_members = has(|condition| matches!(condition, Condition::Members(_)));
        let needs_threads = has(|condition| matches!(condition, Condition::Subscribed(_)));
        let own = ruleset.iter().filter(|rule| !rule.is_server_default() && rule.enabled());
        let needs_power = own
            .flat_map(|rule| conditions_of(rule, user))
            .any(|condition| matches!(condition, Condition::Permission(_)));
        Self { rules, needs_members, needs_power, needs_threads }
    }

    /// The rule that decides what happens to an event of somebody else; none: nothing does.
    pub(crate) fn find(&self, facts: &Facts, around: &Surroundings<'_>) -> Option<&Rule> {
        let mut budget = Budget::of_event();
        let has_mentions = facts.has_mentions();
        self.rules.iter().find(|rule| {
            !(rule.by_text && has_mentions)
                && rule.conditions.iter().all(|condition| condition.holds(facts, around, &mut budget))
        })
    }

    fn memory_bytes(&self) -> usize {
        let of_condition = |condition: &Condition| match condition {
            Condition::Text(way, glob) => 24 * way.len() + glob.memory_bytes(),
            Condition::Words(glob) => glob.memory_bytes(),
            Condition::Is(way, value) | Condition::Contains(way, value) => {
                24 * way.len() + value.as_str().map_or(0, str::len)
            }
            Condition::Permission(text) => text.len(),
            Condition::Room(room) => room.as_str().len(),
            Condition::Sender(user) => user.as_str().len(),
            _ => 32,
        };
        let of_rule = |rule: &Rule| {
            let conditions = rule.conditions.iter().map(|it| size_of::<Condition>() + of_condition(it) + 16);
            // An action that is no word has a map of its own.
            size_of::<Rule>() + conditions.sum::<usize>() + 96 * rule.actions.len()
        };
        size_of::<Self>() + 16 + self.rules.iter().map(of_rule).sum::<usize>()
    }
}

/// A user's rules, the most important first.
fn in_order(all: &PushRules) -> impl Iterator<Item = AnyPushRuleRef<'_>> {
    let is_before =
        |rule: &AnyPushRuleRef<'_>| matches!(rule, AnyPushRuleRef::Override(_) | AnyPushRuleRef::Content(_));
    let before = all.rules.iter().filter(is_before);
    let after = all.rules.iter().filter(move |rule| !is_before(rule));
    before.chain(all.postcontent.iter().map(AnyPushRuleRef::Override)).chain(after)
}

fn conditions_of(rule: AnyPushRuleRef<'_>, user: &UserId) -> Vec<Condition> {
    match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
            rule.conditions.iter().map(|condition| Condition::new(condition, user)).collect()
        }
        AnyPushRuleRef::Content(rule) if rule.default && rule.pattern == user.localpart() => {
            vec![Condition::MyLocalpart]
        }
        AnyPushRuleRef::Content(rule) => vec![Condition::Words(Glob::new(&rule.pattern))],
        AnyPushRuleRef::Room(rule) => vec![Condition::Room(rule.rule_id.clone())],
        AnyPushRuleRef::Sender(rule) => vec![Condition::Sender(rule.rule_id.clone())],
        _ => vec![Condition::Never],
    }
}

impl Condition {
    fn new(condition: &PushCondition, user: &UserId) -> Self {
        #[expect(deprecated, reason = "rules may still ask for names")]
        match condition {
            PushCondition::EventMatch(of) if of.key == "content.body" => Self::Words(Glob::new(&of.pattern)),
            PushCondition::EventMatch(of) if of.pattern == user.as_str() => Self::Me(way_of(&of.key)),
            PushCondition::EventMatch(of) => Self::Text(way_of(&of.key), Glob::new(&of.pattern)),
            PushCondition::EventPropertyIs(of) => Self::Is(way_of(&of.key), value_of(&of.value)),
            PushCondition::EventPropertyContains(of) if of.value.as_str() == Some(user.as_str()) => {
                Self::ContainsMe(way_of(&of.key))
            }
            PushCondition::EventPropertyContains(of) => Self::Contains(way_of(&of.key), value_of(&of.value)),
            PushCondition::ContainsDisplayName => Self::MyName,
            PushCondition::RoomMemberCount(of) => Self::Members(of.is),
            PushCondition::SenderNotificationPermission(of) => Self::Permission(of.key.to_string()),
            other if other.kind() == THREAD_SUBSCRIPTION => {
                let data = other.data();
                data.get("subscribed").and_then(Value::as_bool).map_or(Self::Never, Self::Subscribed)
            }
            _ => Self::Never,
        }
    }

    fn holds(&self, facts: &Facts, around: &Surroundings<'_>, budget: &mut Budget) -> bool {
        let body = || facts.body();
        match self {
            Self::Text(way, glob) => facts
                .find(way)
                .is_some_and(|found| found.folded().is_some_and(|text| glob.matches(&text, budget))),
            Self::Words(glob) => body().is_some_and(|body| glob.matches_words(body, budget)),
            Self::Me(way) => {
                let me = || fold(around.user.as_str());
                facts.find(way).is_some_and(|found| found.folded().is_some_and(|text| *text == me()))
            }
            Self::Is(way, value) => facts.find(way).is_some_and(|found| found.is(value)),
            Self::Contains(way, value) => {
                facts.find(way).is_some_and(|found| found.contains(|item| item == value))
            }
            Self::ContainsMe(way) => {
                let me = Some(around.user.as_str());
                facts.find(way).is_some_and(|found| found.contains(|item| item.as_str() == me))
            }
            Self::MyLocalpart => {
                body().is_some_and(|body| has_words(body, &fold(around.user.localpart()), budget))
            }
            Self::MyName => {
                let named = body().zip(around.name);
                named.is_some_and(|(body, name)| has_words(body, name, budget))
            }
            Self::Members(is) => {
                let members = around.members.and_then(|members| UInt::try_from(members).ok());
                members.is_some_and(|members| is.contains(&members))
            }
            Self::Permission(kind) => {
                around.power.is_some_and(|power| power.may_notify(facts.event.sender(), kind))
            }
            Self::Room(room) => facts.event.room_id() == room,
            Self::Sender(sender) => facts.event.sender() == sender,
            Self::Subscribed(wanted) => around.subscribed == Some(*wanted),
            Self::Never => false,
        }
    }
}

fn value_of(value: &ScalarJsonValue) -> Value {
    match value {
        ScalarJsonValue::Null => Value::Null,
        ScalarJsonValue::Bool(value) => Value::from(*value),
        ScalarJsonValue::Integer(value) => Value::from(i64::from(*value)),
        ScalarJsonValue::String(value) => Value::from(value.as_str()),
    }
}

/// Rules of users, and those of everybody who has changed none.
#[derive(Debug)]
pub(crate) struct RulesCache {
    users: Cache<OwnedUserId, Arc<Known>>,
    predefined: Arc<Rules>,
}

#[derive(Debug)]
struct Known {
    up_to: UpTo,
    at: Position,
    rules: Arc<Rules>,
    is_own: bool,
}

impl RulesCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        let owned = |user: &OwnedUserId, known: &Arc<Known>| {
            let rules = if known.is_own { known.rules.memory_bytes() } else { 0 };
            user.as_str().len() + size_of::<Known>() + 16 + rules
        };
        // Whose they are is put in when they are asked, and makes no difference here.
        let anybody = ruma::user_id!("@user:example.org");
        let rules = Rules::new(&PushRules::predefined(anybody), anybody);
        // Of messages in rooms of two they make more noise, not more notifications.
        let predefined = Arc::new(Rules { needs_members: false, ..rules });
        Self { users: Cache::new(caches, "push_rules", bytes, owned).borrowing(), predefined }
    }

    /// A user's rules; the same ones until he changes them.
    pub(crate) async fn of(
        &self,
        store: &Store,
        accounts: &Accounts,
        user: &UserId,
    ) -> Result<Arc<Rules>, Error> {
        let known = self.users.get(user);
        if let Some(known) = &known
            && known.up_to.holds(store, [Topic::account_data(user.as_str())])
        {
            return Ok(known.rules.clone());
        }
        // Before the read: what is committed during it may be in it, what was before surely is.
        let up_to = UpTo::new(store.head());
        let at = known.as_ref().map(|known| known.at);
        let fresh = match (accounts.push_rules_but(user, at).await?, known) {
            (None, Some(known)) => {
                Known { up_to, at: known.at, rules: known.rules.clone(), is_own: known.is_own }
            }
            (None, None) => {
                Known { up_to, at: Position::START, rules: self.predefined.clone(), is_own: false }
            }
            (Some((ruleset, at)), _) => {
                let is_own = !is_predefined(&ruleset, user);
                let rules = match is_own {
                    true => Arc::new(Rules::new(&ruleset, user)),
                    false => self.predefined.clone(),
                };
                Known { up_to, at, rules, is_own }
            }
        };
        let rules = fresh.rules.clone();
        self.users.insert(user.to_owned(), Arc::new(fresh));
        Ok(rules)
    }
}

/// Whether a user has changed nothing.
fn is_predefined(rules: &PushRules, user: &UserId) -> bool {
    let json = |ruleset: &Ruleset| serde_json::to_string(ruleset).ok();
    rules.postcontent.is_empty() && json(&rules.rules) == json(&account::default_push_rules(user))
}
