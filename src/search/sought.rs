//! What is looked for, and which events plainly do not say it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Query, text::Field};

/// Larger events are not looked through before they are read whole: many of them would hold up others.
const PLAIN: usize = 8_192;

/// What is looked for, and where.
pub(crate) struct Sought {
    pub(crate) query: Query,
    pub(crate) fields: Vec<Field>,
}

impl Sought {
    /// Whether an event may say what is looked for, by its JSON alone. Most that the index leads to does, but a word of many
    /// common pairs of letters leads to thousands that do not. Where it is not plain the event may: [`said`](crate::text::said) has the last word.
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
