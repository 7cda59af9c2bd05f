//! What of an event is searched: the three keys of the specification.

use room::read::event::StoredEvent;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Query;

/// Larger events are not looked through before they are read whole: many of them would hold up others.
const PLAIN: usize = 8_192;

/// A part of an event that is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `content.body` of messages.
    Body,
    /// `content.name` of `m.room.name`.
    Name,
    /// `content.topic` of `m.room.topic`.
    Topic,
}

/// A text of an event and what it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) field: Field,
    pub(crate) text: String,
    /// It is said in the place of another event.
    pub(crate) is_edit: bool,
}

/// What an event says; nothing for what is not searched: other kinds, what was emptied, what is encrypted. Of an edit, what
/// it says instead.
pub(crate) fn said(event: &StoredEvent) -> Option<Said> {
    if event.meta().redacted_by.is_some() {
        return None;
    }
    let content = event.pdu().content_str();
    let (field, key) = match (event.kind(), event.state_key()) {
        ("m.room.name", Some("")) => (Field::Name, "name"),
        ("m.room.topic", Some("")) => (Field::Topic, "topic"),
        (_, None) => (Field::Body, "body"),
        _ => return None,
    };
    let is_edit = field == Field::Body && event.relation().is_some_and(|it| it.rel_type == "m.replace");
    let text = match is_edit {
        true => string_in(&object_in(content, "m.new_content")?, key)?,
        false => string_in(content, key)?,
    };
    Some(Said { field, text, is_edit })
}

/// What is looked for, and where.
pub(crate) struct Sought {
    pub(crate) query: Query,
    pub(crate) fields: Vec<Field>,
}

impl Sought {
    /// Whether an event may say what is looked for, by its JSON alone. Most that the index leads to does, but a word of many
    /// common pairs of letters leads to thousands that do not. Where it is not plain the event may: [`said`] has the last word.
    pub(crate) fn may_be_in(&self, json: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            content: Content<'a>,
        }
        #[derive(Deserialize)]
        struct Content<'a> {
            #[serde(borrow)]
            body: Option<&'a RawValue>,
            #[serde(borrow)]
            name: Option<&'a RawValue>,
            #[serde(borrow)]
            topic: Option<&'a RawValue>,
            #[serde(borrow, rename = "m.new_content")]
            instead: Option<&'a RawValue>,
        }
        if json.len() > PLAIN {
            return true;
        }
        let Ok(Event { content }) = serde_json::from_slice(json) else { return true };
        let says = |value: Option<&RawValue>, field| {
            let text = value.and_then(|value| serde_json::from_str::<String>(value.get()).ok());
            text.is_some_and(|text| self.fields.contains(&field) && self.query.score(&text, field).is_some())
        };
        content.instead.is_some()
            || says(content.body, Field::Body)
            || says(content.name, Field::Name)
            || says(content.topic, Field::Topic)
    }
}

/// A string of an object, whatever else is in it.
fn string_in(object: &str, key: &str) -> Option<String> {
    serde_json::from_str(value_in(object, key)?.get()).ok()
}

fn object_in(object: &str, key: &str) -> Option<String> {
    value_in(object, key).map(|value| value.get().to_owned())
}

fn value_in<'a>(object: &'a str, key: &str) -> Option<&'a RawValue> {
    // Keys are owned, as one with an escape cannot be lent.
    #[derive(Deserialize)]
    struct Fields<'a>(#[serde(borrow)] std::collections::BTreeMap<String, &'a RawValue>);
    let Fields(mut fields) = serde_json::from_str(object).ok()?;
    fields.remove(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Field, Query, Sought};

    #[test]
    fn what_may_say_it_passes_and_what_plainly_does_not_is_left_out() {
        let sought = |fields: &[Field]| Sought { query: Query::new("避難所"), fields: fields.to_vec() };
        let is_in = |content: &str| sought(&[Field::Body]).may_be_in(content.as_bytes());
        let of = |content: serde_json::Value| json!({ "type": "x", "content": content }).to_string();

        assert!(is_in(&of(json!({ "msgtype": "m.text", "body": "第一避難所を開設" }))));
        for says_not in [
            json!({ "body": "避難をして、所々" }),
            json!({ "body": 5 }),
            json!({ "body": null }),
            json!({ "name": "避難所" }),
            json!({}),
        ] {
            assert!(!is_in(&of(says_not.clone())), "{says_not}");
        }
        // Where it is not plain: an edit, a key twice, one with an escape, no JSON, a large one.
        let large = json!({ "body": "避".repeat(3_000) });
        for unplain in [
            of(json!({ "body": "x", "m.new_content": { "body": "避難所" } })),
            r#"{"content":{"body":"x","body":"避難所"}}"#.to_owned(),
            r#"{"content":{"b\u006fdy":"避難所"}}"#.to_owned(),
            "{".to_owned(),
            of(large),
        ] {
            assert!(is_in(&unplain), "{unplain}");
        }
        let topic = of(json!({ "topic": "避難所" }));
        assert!(sought(&[Field::Topic]).may_be_in(topic.as_bytes()) && !is_in(&topic));
    }
}
