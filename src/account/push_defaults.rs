//! The push rules that everybody begins with, how they stand among those that were stored, and where a rule of a user's own
//! stands among the others.
//!
//! Beside the rules of v1.19 these are the three that it has removed, which look for names in the text of events that
//! do not say whom they mention (bots, bridges and other servers send such), and those for polls, by the names that
//! clients use until these are stable.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#predefined-rules>

use ruma::{
    OwnedRoomId, OwnedUserId, UserId,
    power_levels::NotificationPowerLevelsKey,
    push::{
        Action, ConditionalPushRule, ConditionalPushRuleInit, EventMatchConditionData, HighlightTweakValue,
        NewPushRule, PatternedPushRule, PatternedPushRuleInit, PushCondition, RoomMemberCountConditionData,
        RoomMemberCountIs, Ruleset, SenderNotificationPermissionConditionData, SimplePushRule,
        SoundTweakValue, Tweak,
    },
};
use serde::Deserialize;

use crate::Error;

/// Most rules of a user's own, conditions and actions of one, and bytes of an id, key or pattern.
const MAX_RULES: usize = 500;
const MAX_PARTS: usize = 32;
const MAX_TEXT_BYTES: usize = 512;

/// The kinds of rules, as they are called in the content.
pub(crate) const KINDS: [&str; 5] = ["override", "content", "room", "sender", "underride"];

const MASTER: &str = ".m.rule.master";

/// The rules of a user who has changed none, those for his mentions with his own id.
pub fn default_push_rules(user: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user);
    let spec = std::mem::take(&mut rules.override_);
    for rule in spec {
        let beside = match &*rule.rule_id {
            ".m.rule.is_user_mention" => Some(contains_display_name()),
            ".m.rule.is_room_mention" => Some(room_notification()),
            _ => None,
        };
        rules.override_.insert(rule);
        rules.override_.extend(beside);
    }
    rules.override_.insert(of_poll("poll_response", &["response"], Vec::new()));
    rules.content.insert(contains_user_name(user));
    for what in ["start", "end"] {
        let actions = vec![Action::Notify, Action::SetTweak(Tweak::Sound(SoundTweakValue::Default))];
        rules.underride.insert(of_poll(&format!("poll_{what}_one_to_one"), &["2", what], actions));
        rules.underride.insert(of_poll(&format!("poll_{what}"), &[what], vec![Action::Notify]));
    }
    rules
}

fn conditional(rule_id: &str, conditions: Vec<PushCondition>, actions: Vec<Action>) -> ConditionalPushRule {
    ConditionalPushRuleInit { actions, default: true, enabled: true, rule_id: rule_id.to_owned(), conditions }
        .into()
}

fn loud_highlight() -> Vec<Action> {
    vec![
        Action::Notify,
        Action::SetTweak(Tweak::Sound(SoundTweakValue::Default)),
        Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes)),
    ]
}

#[expect(deprecated, reason = "for events that do not say whom they mention")]
fn contains_display_name() -> ConditionalPushRule {
    let condition = PushCondition::ContainsDisplayName;
    conditional(".m.rule.contains_display_name", vec![condition], loud_highlight())
}

fn room_notification() -> ConditionalPushRule {
    let permission = SenderNotificationPermissionConditionData::new(NotificationPowerLevelsKey::Room);
    let conditions = vec![matches("content.body", "@room"), permission.into()];
    let actions = vec![Action::Notify, Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes))];
    conditional(".m.rule.roomnotif", conditions, actions)
}

fn contains_user_name(user: &UserId) -> PatternedPushRule {
    PatternedPushRuleInit {
        actions: loud_highlight(),
        default: true,
        enabled: true,
        rule_id: ".m.rule.contains_user_name".to_owned(),
        pattern: user.localpart().to_owned(),
    }
    .into()
}

/// A rule for events of polls; `of` ends with which of them, and may begin with how many members the room has.
///
/// Source: <https://github.com/matrix-org/matrix-spec-proposals/pull/3930>
fn of_poll(name: &str, of: &[&str], actions: Vec<Action>) -> ConditionalPushRule {
    let (what, members) = of.split_last().unwrap_or((&"", &[]));
    let mut conditions: Vec<PushCondition> = members
        .iter()
        .map(|_| RoomMemberCountConditionData::new(RoomMemberCountIs::from(ruma::uint!(2))).into())
        .collect();
    conditions.push(matches("type", &format!("org.matrix.msc3381.poll.{what}")));
    conditional(&format!(".org.matrix.msc3930.rule.{name}"), conditions, actions)
}

fn matches(key: &str, pattern: &str) -> PushCondition {
    EventMatchConditionData::new(key.to_owned(), pattern.to_owned()).into()
}

/// Puts a rule of a user's own among his others: as the next more important than `before`, else as the next less
/// important than `after`, else where it was, else as the most important of its kind. One that is there keeps whether
/// it is in force.
///
/// # Errors
/// [`Error::NotFound`] when a neighbour is not there; [`Error::InvalidParam`] for what may not be an id or a neighbour;
/// [`Error::TooLarge`].
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleid>
pub fn put_push_rule(
    rules: &mut Ruleset,
    rule: NewPushRule,
    before: Option<&str>,
    after: Option<&str>,
) -> Result<(), Error> {
    check(&rule)?;
    let id = rule.rule_id().to_owned();
    for neighbour in [before, after].into_iter().flatten() {
        if neighbour.starts_with('.') || neighbour == id {
            let message = "a rule stands beside another rule of the user's own";
            return Err(Error::InvalidParam(message.to_owned()));
        }
    }
    let at = At { id: &id, before, after };
    // The sets are made anew, as their own moves know no places behind what moves.
    match rule {
        NewPushRule::Override(new) => {
            let old = rules.override_.iter().cloned().collect();
            let place = |rule: &ConditionalPushRule| rule.rule_id.clone();
            rules.override_ = at.put(old, new.into(), place, keep_enabled)?.into_iter().collect();
        }
        NewPushRule::Underride(new) => {
            let old = rules.underride.iter().cloned().collect();
            let place = |rule: &ConditionalPushRule| rule.rule_id.clone();
            rules.underride = at.put(old, new.into(), place, keep_enabled)?.into_iter().collect();
        }
        NewPushRule::Content(new) => {
            let old = rules.content.iter().cloned().collect();
            let place = |rule: &PatternedPushRule| rule.rule_id.clone();
            let keep = |new: &mut PatternedPushRule, old: &PatternedPushRule| new.enabled = old.enabled;
            rules.content = at.put(old, new.into(), place, keep)?.into_iter().collect();
        }
        NewPushRule::Room(new) => {
            let old = rules.room.iter().cloned().collect();
            let place = |rule: &SimplePushRule<_>| ToString::to_string(&rule.rule_id);
            rules.room = at.put(old, new.into(), place, keep_enabled_simple)?.into_iter().collect();
        }
        NewPushRule::Sender(new) => {
            let old = rules.sender.iter().cloned().collect();
            let place = |rule: &SimplePushRule<_>| ToString::to_string(&rule.rule_id);
            rules.sender = at.put(old, new.into(), place, keep_enabled_simple)?.into_iter().collect();
        }
        _ => return Err(Error::InvalidParam("there is no such kind of push rule".to_owned())),
    }
    let own = rules.iter().filter(|rule| !rule.is_server_default()).count();
    match own > MAX_RULES {
        true => Err(Error::TooLarge("a user has at most 500 push rules of his own")),
        false => Ok(()),
    }
}

fn keep_enabled(new: &mut ConditionalPushRule, old: &ConditionalPushRule) {
    new.enabled = old.enabled;
}

fn keep_enabled_simple<T>(new: &mut SimplePushRule<T>, old: &SimplePushRule<T>) {
    new.enabled = old.enabled;
}

/// Where a rule is to stand.
struct At<'a> {
    id: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl At<'_> {
    fn put<T>(
        &self,
        mut list: Vec<T>,
        mut rule: T,
        id_of: impl Fn(&T) -> String,
        keep: impl Fn(&mut T, &T),
    ) -> Result<Vec<T>, Error> {
        let place_of = |list: &[T], id: &str| list.iter().position(|other| id_of(other) == id);
        let old = place_of(&list, self.id);
        if let Some(old) = old {
            keep(&mut rule, &list.remove(old));
        }
        let neighbour =
            |id: &str| place_of(&list, id).ok_or(Error::NotFound("there is no rule to put it beside"));
        let before = self.before.map(neighbour).transpose()?;
        let after = self.after.map(neighbour).transpose()?.map(|place| place + 1);
        // The master rule stands above all others.
        let first = usize::from(list.first().is_some_and(|rule| id_of(rule) == MASTER));
        let place = before.or(after).or(old).unwrap_or(first);
        list.insert(place.clamp(first, list.len()), rule);
        Ok(list)
    }
}

/// What would make rules that cost much to look through, or that no client could name again.
fn check(rule: &NewPushRule) -> Result<(), Error> {
    let id = rule.rule_id();
    if id.is_empty() || id.starts_with('.') || id.contains(['/', '\\']) {
        let message = "the id of a push rule has no slashes, and a dot is not its first letter";
        return Err(Error::InvalidParam(message.to_owned()));
    }
    let (conditions, pattern) = match rule {
        NewPushRule::Override(rule) | NewPushRule::Underride(rule) => (&*rule.conditions, ""),
        NewPushRule::Content(rule) => (&[][..], &*rule.pattern),
        _ => (&[][..], ""),
    };
    let is_long = |text: &str| text.len() > MAX_TEXT_BYTES;
    let has_long = |condition: &PushCondition| match condition {
        PushCondition::EventMatch(of) => is_long(&of.key) || is_long(&of.pattern),
        PushCondition::EventPropertyIs(of) => is_long(&of.key),
        PushCondition::EventPropertyContains(of) => is_long(&of.key),
        _ => false,
    };
    if is_long(id) || is_long(pattern) || conditions.iter().any(has_long) {
        return Err(Error::TooLarge("ids, keys and patterns of push rules have at most 512 bytes"));
    }
    let actions = match rule {
        NewPushRule::Override(rule) | NewPushRule::Underride(rule) => rule.actions.len(),
        NewPushRule::Content(rule) => rule.actions.len(),
        NewPushRule::Room(rule) => rule.actions.len(),
        NewPushRule::Sender(rule) => rule.actions.len(),
        _ => 0,
    };
    match conditions.len() > MAX_PARTS || actions > MAX_PARTS {
        true => Err(Error::TooLarge("a push rule has at most 32 conditions and 32 actions")),
        false => Ok(()),
    }
}

/// The rules of stored ones: the user's own, and the predefined ones of today as far as he has changed them.
pub(crate) fn parse(content: &[u8], user: &UserId) -> Ruleset {
    let mut rules = read(content).unwrap_or_default();
    rules.update_with_server_default(default_push_rules(user));
    rules
}

/// Reads stored rules, rule by rule: one that a later version of us wrote, or an earlier one, and that cannot be
/// read now, must not cost the others.
pub(crate) fn read(content: &[u8]) -> Option<Ruleset> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(deserialize_with = "pdu::lenient::field")]
        global: Option<Rules>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Rules {
        #[serde(rename = "override", deserialize_with = "pdu::lenient::list")]
        override_: Vec<ConditionalPushRule>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        content: Vec<PatternedPushRule>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        room: Vec<SimplePushRule<OwnedRoomId>>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        sender: Vec<SimplePushRule<OwnedUserId>>,
        #[serde(deserialize_with = "pdu::lenient::list")]
        underride: Vec<ConditionalPushRule>,
    }
    let read = serde_json::from_slice::<Content>(content).ok().and_then(|content| content.global);
    let Rules { override_, content, room, sender, underride } = read?;
    let mut rules = Ruleset::new();
    rules.override_.extend(override_);
    rules.content.extend(content);
    rules.room.extend(room);
    rules.sender.extend(sender);
    rules.underride.extend(underride);
    Some(rules)
}
