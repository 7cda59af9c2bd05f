//! What push rules look at in an event, made once for all who are told of it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use base::{Cache, Caches};
use room::{EventSerial, read::event::StoredEvent};
use serde_json::{Value, value::RawValue};

use crate::glob::fold;

/// So much of a text is looked through for words.
const MOST_BODY_BYTES: usize = 8 * 1024;

const MENTIONS: &str = "m.mentions";

/// What rules look at in an event.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) event: Arc<StoredEvent>,
    /// The fields of its content. One that is nested too deeply is as good as absent.
    content: BTreeMap<String, Value>,
    /// `content.body` for words, folded.
    body: Option<Box<str>>,
}

/// A property of an event, by the names of the objects that it lies in and its own.
pub(crate) type Way = Box<[Box<str>]>;

/// What stands at a way.
pub(crate) enum Found<'a> {
    Text(&'a str),
    Value(&'a Value),
}

impl Facts {
    pub(crate) fn of(event: Arc<StoredEvent>) -> Self {
        // Without raw values a field that is nested too deeply would cost all.
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(event.pdu().content_str()).unwrap_or_default();
        let content: BTreeMap<String, Value> = fields
            .into_iter()
            .filter_map(|(name, field)| Some((name, serde_json::from_str(field.get()).ok()?)))
            .collect();
        let body = content.get("body").and_then(Value::as_str);
        let body = body.map(|body| fold(room::read::bounded::cut(body, MOST_BODY_BYTES)).into());
        Self { event, content, body }
    }

    /// What stands at a way. A dot in a name has a backslash before it, as has a backslash.
    pub(crate) fn find(&self, way: &[Box<str>]) -> Option<Found<'_>> {
        let (first, rest) = way.split_first()?;
        let of_event = match &**first {
            "content" => {
                let (field, within) = rest.split_first()?;
                let value =
                    within.iter().try_fold(self.content.get(&**field)?, |value, name| value.get(&**name));
                // A list has no names.
                return value.map(Found::Value);
            }
            "type" => Some(self.event.kind()),
            "sender" => Some(self.event.sender().as_str()),
            "room_id" => Some(self.event.room_id().as_str()),
            "event_id" => Some(self.event.event_id().as_str()),
            "state_key" => self.event.state_key(),
            _ => None,
        };
        of_event.filter(|_| rest.is_empty()).map(Found::Text)
    }

    /// The text, folded, that is looked through for words.
    pub(crate) fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// Whether it says itself whom it mentions.
    pub(crate) fn has_mentions(&self) -> bool {
        self.content.contains_key(MENTIONS)
    }

    /// Whether it may be meant to notify all who are in the room.
    pub(crate) fn may_notify_room(&self) -> bool {
        match self.content.get(MENTIONS) {
            Some(mentions) => mentions.get("room") == Some(&Value::Bool(true)),
            None => self.body().is_some_and(|body| body.contains("@room")),
        }
    }

    /// About what it takes in memory beside the event, in bytes.
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + 16 + 3 * self.event.pdu().content_str().len() + 96 * self.content.len()
    }
}

impl Found<'_> {
    /// The text, folded, if it is one.
    pub(crate) fn folded(&self) -> Option<Cow<'_, str>> {
        let text = match self {
            Self::Text(text) => text,
            Self::Value(value) => value.as_str()?,
        };
        let is_folded = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        Some(if is_folded { Cow::Borrowed(text) } else { Cow::Owned(fold(text)) })
    }

    /// Whether it is exactly this.
    pub(crate) fn is(&self, wanted: &Value) -> bool {
        match self {
            Self::Text(text) => wanted.as_str() == Some(text),
            Self::Value(value) => !(value.is_object() || value.is_array()) && *value == wanted,
        }
    }

    /// Whether it is a list that has exactly this.
    pub(crate) fn contains(&self, is_wanted: impl Fn(&Value) -> bool) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Value(value) => value.as_array().is_some_and(|list| list.iter().any(is_wanted)),
        }
    }
}

/// Splits a path at its dots.
pub(crate) fn way_of(path: &str) -> Way {
    let mut way = vec![String::new()];
    let mut letters = path.chars().peekable();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '.' => None,
            '\\' => Some(letters.next_if(|next| matches!(next, '.' | '\\')).unwrap_or('\\')),
            other => Some(other),
        };
        match (literal, way.last_mut()) {
            (Some(literal), Some(name)) => name.push(literal),
            _ => way.push(String::new()),
        }
    }
    way.into_iter().map(String::into_boxed_str).collect()
}

/// Facts of recent events.
#[derive(Debug)]
pub(crate) struct FactsCache(Cache<EventSerial, Arc<Facts>>);

impl FactsCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        Self(Cache::new(caches, "push_facts", bytes, |_, facts: &Arc<Facts>| facts.memory_bytes()))
    }

    /// The facts of an event as it is now: those of one that was emptied since are none of it.
    pub(crate) fn of(&self, event: &Arc<StoredEvent>) -> Arc<Facts> {
        let serial = event.serial();
        if let Some(known) = self.0.get(&serial)
            && known.event.meta().redacted_by == event.meta().redacted_by
        {
            return known;
        }
        let facts = Arc::new(Facts::of(event.clone()));
        self.0.insert(serial, facts.clone());
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_its_dots() {
        let names = |path: &str| way_of(path).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(r"content.m\.mentions.user_ids"), ["content", "m.mentions", "user_ids"]);
        assert_eq!(names(r"a\\.b\c\"), [r"a\", r"b\c\"]);
        assert_eq!(names("type"), ["type"]);
        assert_eq!(names("."), ["", ""]);
    }
}
