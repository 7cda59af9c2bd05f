//! [`Event`]: what a service is told of.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::json;

/// What messages of programs have in their content, as well as those that are notices. A notice wakes no phone, which an alarm has to.
///
/// Spec: <https://github.com/matrix-org/matrix-spec-proposals/pull/3955>
pub(crate) const AUTOMATED: &str = "org.matrix.msc1767.automated";

/// The same where the proposal is accepted.
const AUTOMATED_LATER: &str = "m.automated";

/// An event as the homeserver gave it. Of its content nothing is known beyond that it is an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub event_id: OwnedEventId,
    /// Its room.
    pub room_id: OwnedRoomId,
    /// Whose it is.
    pub sender: OwnedUserId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its state key, if it is state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// What it says.
    #[serde(default, deserialize_with = "json::object")]
    pub content: Map<String, Value>,
    /// What a redaction redacts, in room versions before 11.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacts: Option<String>,
    /// Whether its sender is a user of an application service, as the homeserver says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_service: bool,
    /// When it came to the service, in milliseconds: by its own clock, unlike what an event says of itself. It is later than that of
    /// the event before ([`next_ms`]).
    #[serde(default)]
    pub received_ms: u64,
}

impl Event {
    /// Takes what a homeserver gave; none if it is no event of a room. Of one whose content nobody can read the content is empty.
    pub(crate) fn from_transaction(json: &str, services: &[String]) -> Option<Self> {
        // Field by field: what is odd in one costs no other. Of a key that is there twice the last counts, as elsewhere.
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
        let text = |key: &str| serde_json::from_str::<String>(fields.get(key)?.get()).ok();
        let content = fields.get("content").map(|content| json::read(content.get().as_bytes()));
        let sender = text("sender")?;
        Some(Self {
            of_service: services.contains(&sender),
            event_id: text("event_id")?.try_into().ok()?,
            room_id: text("room_id")?.try_into().ok()?,
            sender: sender.try_into().ok()?,
            kind: text("type")?,
            state_key: text("state_key"),
            content: match content {
                Some(Ok(Value::Object(content))) => content,
                _ => Map::new(),
            },
            redacts: text("redacts"),
            received_ms: now_ms(),
        })
    }

    /// Whether a program says it, for whoever may have written it: another service, or what marks itself so. Nobody obeys that.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#mnotice>
    pub fn is_of_program(&self) -> bool {
        let is_marked = |key: &str| self.content.get(key) == Some(&Value::Bool(true));
        self.of_service
            || self.text("msgtype") == Some("m.notice")
            || is_marked(AUTOMATED)
            || is_marked(AUTOMATED_LATER)
    }

    /// A text of its content.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.content.get(key)?.as_str()
    }

    /// The membership that it gives, and to whom, if it is one.
    pub fn membership(&self) -> Option<(&str, OwnedUserId)> {
        let user = self.state_key.as_deref().filter(|_| self.kind == "m.room.member")?;
        Some((self.text("membership")?, user.try_into().ok()?))
    }

    /// The event that it redacts, if it is a redaction.
    pub fn redacted(&self) -> Option<OwnedEventId> {
        let id = self.redacts.as_deref().or_else(|| self.text("redacts"));
        id.filter(|_| self.kind == "m.room.redaction")?.try_into().ok()
    }

    /// The event that it answers.
    pub fn replies_to(&self) -> Option<OwnedEventId> {
        self.content.get("m.relates_to")?.get("m.in_reply_to")?.get("event_id")?.as_str()?.try_into().ok()
    }

    /// What it relates to in this way (`m.replace`, `m.thread`, …).
    pub fn relates_to(&self, how: &str) -> Option<OwnedEventId> {
        let relation = self.content.get("m.relates_to")?;
        let fits = relation.get("rel_type").and_then(Value::as_str) == Some(how);
        relation.get("event_id")?.as_str().filter(|_| fits)?.try_into().ok()
    }

    /// The text of a message without what older clients quote of the one that it answers; none if a program says it.
    pub fn said(&self) -> Option<Cow<'_, str>> {
        if self.is_of_program() {
            return None;
        }
        let body = self.text("body")?;
        if self.replies_to().is_none() || !body.starts_with("> ") {
            return Some(body.into());
        }
        let rest: Vec<&str> =
            body.lines().skip_while(|line| line.starts_with("> ") || *line == ">").collect();
        Some(rest.join("\n").trim_start().to_owned().into())
    }
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that was ahead by more was set back since.
const MOST_AHEAD_MS: u64 = 60_000;

/// The moment of what comes now, behind the moment of what came last: what comes within one millisecond has moments of its own, one after
/// the other, so that whatever is kept by them keeps its order. Where a clock is set back far, its order begins anew.
pub fn next_ms(last_ms: u64, now_ms: u64) -> u64 {
    let is_set_back = last_ms > now_ms.saturating_add(MOST_AHEAD_MS);
    if is_set_back { now_ms } else { now_ms.max(last_ms.saturating_add(1)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments_of_what_comes_at_once_follow_each_other_and_a_clock_that_is_set_back_far_begins_anew() {
        for (last, now, next) in [
            (0, 10_000, 10_000),
            (9_999, 10_000, 10_000),
            (10_000, 10_000, 10_001),
            (10_005, 10_000, 10_006),
            (10_000 + MOST_AHEAD_MS, 10_000, 10_001 + MOST_AHEAD_MS),
            (10_001 + MOST_AHEAD_MS, 10_000, 10_000),
            (u64::MAX, u64::MAX, u64::MAX),
        ] {
            assert_eq!(next_ms(last, now), next, "{last} {now}");
        }
    }

    fn event(content: Value) -> Event {
        let value = json!({
            "event_id": "$a", "room_id": "!r:kanazawa.test", "sender": "@hanako:kanazawa.test",
            "type": "m.room.message", "content": content, "unsigned": { "age": 5 },
        });
        Event::from_transaction(&value.to_string(), &[]).expect("an event")
    }

    #[test]
    fn the_quotation_of_an_older_client_is_not_said() {
        let relation = json!({ "m.in_reply_to": { "event_id": "$b" } });
        let quoting = event(json!({ "body": "> <@a:b> 前の\n> 行\n\n消す", "m.relates_to": relation }));
        assert_eq!(quoting.said().as_deref(), Some("消す"));
        assert_eq!(event(json!({ "body": "> 引用" })).said().as_deref(), Some("> 引用"));
    }

    #[test]
    fn what_a_program_says_is_said_by_nobody() {
        for (content, is_said) in [
            (json!({ "msgtype": "m.text", "body": "!x" }), true),
            (json!({ "msgtype": "m.text", "body": "!x", "m.automated": false }), true),
            (json!({ "msgtype": "m.notice", "body": "!x" }), false),
            (json!({ "msgtype": "m.text", "body": "!x", "m.automated": true }), false),
            (json!({ "msgtype": "m.text", "body": "!x", "org.matrix.msc1767.automated": true }), false),
        ] {
            assert_eq!(event(content.clone()).said().is_some(), is_said, "{content}");
        }
        let json = r#"{"event_id":"$a","room_id":"!r:a","sender":"@irc_x:a","type":"m.room.message","content":{"body":"!x"}}"#;
        let ghost = Event::from_transaction(json, &["@irc_x:a".to_owned()]).expect("an event");
        let row = serde_json::to_vec(&ghost).expect("JSON");
        let again: Event = serde_json::from_slice(&row).expect("a row");
        assert!(ghost.is_of_program() && again.is_of_program());
    }

    #[test]
    fn what_is_odd_in_content_costs_nothing_else() {
        let odd = event(json!({ "body": 5, "m.relates_to": "x", "membership": [] }));
        assert_eq!((odd.said(), odd.replies_to(), odd.membership()), (None, None, None));
        assert!(
            Event::from_transaction(&json!({ "type": "m.typing", "content": {} }).to_string(), &[]).is_none()
        );
    }

    #[test]
    fn content_that_is_odd_or_too_deep_costs_no_more_than_itself_and_is_read_again_as_it_was() {
        let with = |content: &str| {
            let rest = r#""event_id":"$a","room_id":"!r:a","sender":"@b:a","type":"m.room.message""#;
            Event::from_transaction(&format!(r#"{{"content":{content},{rest}}}"#), &[]).expect("an event")
        };
        let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
        for content in [
            json!({ "$serde_json::private::RawValue": 5, "body": "x" }),
            json!({ "a": { "$serde_json::private::RawValue": deep }, "body": "x" }),
            json!({ "a": { "$serde_json::private::Number": "5" }, "body": "x" }),
        ] {
            let event = with(&content.to_string());
            assert_eq!(event.text("body"), Some("x"), "{content}");
            let row = serde_json::to_vec(&event).expect("JSON");
            let again: Event = serde_json::from_slice(&row).expect("a row");
            assert_eq!(Value::Object(again.content).to_string(), content.to_string());
        }
        // As deep as events of other servers may be.
        for depth in 1..500 {
            let event = with(&format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)));
            let row = serde_json::to_vec(&event).expect("JSON");
            serde_json::from_slice::<Event>(&row).unwrap_or_else(|error| unreachable!("{depth}: {error}"));
        }
        assert_eq!(with(r#""\ud800""#).content, Map::new());
    }
}
