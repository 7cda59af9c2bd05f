//! The push rules about threads that a user is, or is not, subscribed to (MSC4306).
//!
//! They are of a kind of their own, between those that look for words and those about rooms: what mentions a user rings in
//! whatever thread it is, and a thread that he is subscribed to rings in a room that is silent else.
//!
//! They stand in what is kept of a user's rules once he subscribes to a thread, and not before. Clients add none.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma::{
    UserId,
    push::{Action, ConditionalPushRule, ConditionalPushRuleInit, PushCondition, SoundTweakValue, Tweak},
};
use serde::Deserialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use crate::{Error, push_defaults::default_push_rules};

/// The kind of these rules.
pub const POSTCONTENT: &str = "postcontent";

/// The kind of a condition that asks whether the user is subscribed to the thread that an event is in.
pub const THREAD_SUBSCRIPTION: &str = "io.element.msc4306.thread_subscription";

/// The rules as they are when a user first subscribes to a thread, in the order in which they are asked.
fn predefined() -> [ConditionalPushRule; 2] {
    let sound = Action::SetTweak(Tweak::Sound(SoundTweakValue::Default));
    [
        rule("unsubscribed_thread", false, Vec::new()),
        rule("subscribed_thread", true, vec![Action::Notify, sound]),
    ]
}

fn rule(name: &str, subscribed: bool, actions: Vec<Action>) -> ConditionalPushRule {
    let condition = json!({ "kind": THREAD_SUBSCRIPTION, "subscribed": subscribed });
    let condition: PushCondition = serde_json::from_value(condition).expect("any kind of condition is read");
    ConditionalPushRuleInit {
        actions,
        default: true,
        enabled: true,
        rule_id: format!(".io.element.msc4306.rule.{name}"),
        conditions: vec![condition],
    }
    .into()
}

/// The rules as a user has set them; none if he has not subscribed to a thread yet.
pub(crate) fn read(content: &[u8]) -> Vec<ConditionalPushRule> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default, deserialize_with = "pdu::lenient::field")]
        global: Option<Rules>,
    }
    #[derive(Deserialize)]
    struct Rules {
        #[serde(default, deserialize_with = "pdu::lenient::list")]
        postcontent: Vec<ConditionalPushRule>,
    }
    let rules = serde_json::from_slice::<Content>(content).ok().and_then(|content| content.global);
    let stored = rules.map(|rules| rules.postcontent).unwrap_or_default();
    if stored.is_empty() {
        return Vec::new();
    }
    let as_set = |mut rule: ConditionalPushRule| {
        if let Some(stored) = stored.iter().find(|stored| stored.rule_id == rule.rule_id) {
            (rule.enabled, rule.actions) = (stored.enabled, stored.actions.clone());
        }
        rule
    };
    predefined().map(as_set).into()
}

/// The content with the rules in it; nothing if they are there.
///
/// # Errors
/// [`Error::InvalidParam`] when the rest cannot be written again.
pub(crate) fn added(content: Option<&Bytes>, user: &UserId) -> Result<Option<Bytes>, Error> {
    match content {
        Some(content) if !read(content).is_empty() => Ok(None),
        Some(content) => put(content, &predefined()).map(Some),
        None => {
            let content = json!({ "global": default_push_rules(user) });
            put(content.to_string().as_bytes(), &predefined()).map(Some)
        }
    }
}

/// The content with these rules of the kind.
///
/// # Errors
/// As [`added`].
pub(crate) fn put(content: &[u8], rules: &[ConditionalPushRule]) -> Result<Bytes, Error> {
    type Object = BTreeMap<String, Box<RawValue>>;
    let mut content: Object = serde_json::from_slice(content).unwrap_or_default();
    let global = content.get("global").and_then(|global| serde_json::from_str(global.get()).ok());
    let mut global: Object = global.unwrap_or_default();
    global.insert(POSTCONTENT.to_owned(), to_raw_value(rules).map_err(invalid)?);
    content.insert("global".to_owned(), to_raw_value(&global).map_err(invalid)?);
    Ok(Bytes::from(serde_json::to_vec(&content).map_err(invalid)?))
}

fn invalid(cause: serde_json::Error) -> Error {
    Error::InvalidParam(cause.to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::push_rules::write;

    #[test]
    fn they_are_added_once_and_stay_as_they_are_set_when_other_rules_change() {
        let user = user_id!("@a:b");
        let content = added(None, user).unwrap().unwrap();
        assert_eq!(added(Some(&content), user).unwrap(), None);
        let mut rules = read(&content);
        let ids: Vec<&str> = rules.iter().map(|rule| &*rule.rule_id).collect();
        assert_eq!(
            ids,
            [".io.element.msc4306.rule.unsubscribed_thread", ".io.element.msc4306.rule.subscribed_thread"]
        );
        assert_eq!(
            serde_json::to_value(&rules[1]).unwrap(),
            json!({ "rule_id": ".io.element.msc4306.rule.subscribed_thread", "default": true, "enabled": true,
                "conditions": [{ "kind": THREAD_SUBSCRIPTION, "subscribed": true }],
                "actions": ["notify", { "set_tweak": "sound", "value": "default" }] })
        );
        rules[0].enabled = false;
        let content = put(&content, &rules).unwrap();
        let content = Bytes::from(write(default_push_rules(user), Some(&content)).unwrap());
        assert_eq!(read(&content).iter().map(|rule| rule.enabled).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn what_is_no_such_rule_costs_nothing_else() {
        let content =
            br#"{"later":1,"global":{"postcontent":[5,{"rule_id":"mine","default":false,"enabled":true,
            "conditions":[],"actions":["notify"]}],"override":[{"rule_id":"x"}]}}"#;
        assert_eq!(read(content).len(), 2, "none but those that there are");
        let none = br#"{"later":1,"global":{"postcontent":{},"override":[{"rule_id":"x"}]}}"#;
        assert!(read(none).is_empty());
        let written = added(Some(&Bytes::from_static(none)), user_id!("@a:b")).unwrap().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!((&json["later"], &json["global"]["override"][0]["rule_id"]), (&json!(1), &json!("x")));
        assert!(added(Some(&Bytes::from_static(b"[]")), user_id!("@a:b")).unwrap().is_some());
    }
}
