//! In which form a client wants its events: `event_format` and `event_fields` of its filter.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use base::Timestamp;
use room::read::view::{Form, Look};
use ruma::api::client::filter::{EventFormat, FilterDefinition};
use serde_json::{Map, Value};

/// The form of the events of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// As servers send them to each other.
    federation: bool,
    /// Only these fields, each the way to it from the outside in; `None` is all.
    fields: Option<Vec<Vec<String>>>,
}

impl Shape {
    pub(crate) fn new(filter: &FilterDefinition) -> Self {
        let fields = filter.event_fields.as_ref().filter(|fields| !fields.is_empty());
        Self {
            federation: filter.event_format == EventFormat::Federation,
            fields: fields.map(|fields| fields.iter().map(|field| way_to(field)).collect()),
        }
    }

    /// Writes an event.
    pub(crate) fn write(&self, out: &mut Vec<u8>, look: &Look, now: Timestamp) {
        let Some(fields) = &self.fields else { return self.write_whole(out, look, now) };
        let mut whole = Vec::new();
        self.write_whole(&mut whole, look, now);
        // Our own writers make valid JSON.
        let whole: Value = serde_json::from_slice(&whole).unwrap_or_default();
        let mut chosen = Value::Object(Map::new());
        for way in fields {
            copy(&whole, way, &mut chosen);
        }
        out.extend_from_slice(chosen.to_string().as_bytes());
    }

    fn write_whole(&self, out: &mut Vec<u8>, look: &Look, now: Timestamp) {
        match self.federation {
            true => look.write_federation(out, now),
            false => look.write(out, Form::InRoom, now),
        }
    }
}

/// `content.body` is `body` in `content`; a dot or backslash of a name itself has a backslash before it.
fn way_to(field: &str) -> Vec<String> {
    let mut way = vec![String::new()];
    let mut letters = field.chars();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '.' => None,
            '\\' => Some(letters.next().unwrap_or('\\')),
            other => Some(other),
        };
        match (literal, way.last_mut()) {
            (Some(literal), Some(name)) => name.push(literal),
            _ => way.push(String::new()),
        }
    }
    way
}

/// Copies one field, with the objects that it lies in, if it is there.
fn copy(from: &Value, way: &[String], to: &mut Value) {
    let (Some((name, rest)), Value::Object(to)) = (way.split_first(), to) else { return };
    let Some(field) = from.get(name) else { return };
    if rest.is_empty() {
        to.insert(name.clone(), field.clone());
    } else if field.is_object() {
        copy(field, rest, to.entry(name.clone()).or_insert_with(|| Value::Object(Map::new())));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_by_its_way() {
        let event = json!({ "type": "t", "content": { "body": "b", "a.b": 1, "c": { "d": 2, "e": 3 } } });
        let chosen = |fields: &[&str]| {
            let mut chosen = json!({});
            for field in fields {
                copy(&event, &way_to(field), &mut chosen);
            }
            chosen
        };
        assert_eq!(chosen(&["content.body", "type"]), json!({ "type": "t", "content": { "body": "b" } }));
        assert_eq!(chosen(&[r"content.a\.b"]), json!({ "content": { "a.b": 1 } }));
        assert_eq!(chosen(&["content.c.d", "content.c"]), json!({ "content": { "c": { "d": 2, "e": 3 } } }));
        assert_eq!(chosen(&["content.c", "content.c.d"]), json!({ "content": { "c": { "d": 2, "e": 3 } } }));
        assert_eq!(chosen(&["nothing", "type.nothing", ""]), json!({}));
        assert_eq!(way_to(r"a\\.b\"), [r"a\", r"b\"]);
    }
}
