//! In which form a client wants its events: `event_format` and `event_fields` of its filter.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use std::collections::BTreeMap;

use base::Timestamp;
use room::read::view::{Form, Look, write_str};
use ruma::api::client::filter::{EventFormat, FilterDefinition};
use serde_json::value::RawValue;

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
        let ways: Vec<&[String]> = fields.iter().map(Vec::as_slice).collect();
        choose(out, &whole, &ways);
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

/// Writes those fields of an object to which the ways lead, with the objects that they lie in. What is below a field
/// is copied as it is written, however deeply it is nested.
fn choose(out: &mut Vec<u8>, object: &[u8], ways: &[&[String]]) {
    // Our own writers make valid JSON.
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(object).unwrap_or_default();
    out.push(b'{');
    let mut is_first = true;
    for (name, field) in &fields {
        let through = ways.iter().filter_map(|way| way.split_first().filter(|(first, _)| *first == name));
        let rests: Vec<&[String]> = through.map(|(_, rest)| rest).collect();
        let is_whole = rests.iter().any(|rest| rest.is_empty());
        if rests.is_empty() || !(is_whole || field.get().starts_with('{')) {
            continue;
        }
        if !std::mem::replace(&mut is_first, false) {
            out.push(b',');
        }
        write_str(out, name);
        out.push(b':');
        match is_whole {
            true => out.extend_from_slice(field.get().as_bytes()),
            false => choose(out, field.get().as_bytes(), &rests),
        }
    }
    out.push(b'}');
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chosen(event: &str, fields: &[&str]) -> Value {
        let ways: Vec<_> = fields.iter().map(|field| way_to(field)).collect();
        let mut out = Vec::new();
        choose(&mut out, event.as_bytes(), &ways.iter().map(Vec::as_slice).collect::<Vec<_>>());
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_field_is_found_in_an_event_that_is_nested_deeply() {
        let deep = format!("{}1{}", "[".repeat(490), "]".repeat(490));
        let event = format!(r#"{{"type":"t","content":{{"body":"b","x":{deep}}},"a\"b":1}}"#);
        assert_eq!(
            chosen(&event, &["type", "content.body"]),
            json!({ "type": "t", "content": { "body": "b" } })
        );
        assert_eq!(chosen(&event, &["a\"b"]), json!({ "a\"b": 1 }));
    }

    #[test]
    fn a_field_is_found_by_its_way() {
        let event = json!({ "type": "t", "content": { "body": "b", "a.b": 1, "c": { "d": 2, "e": 3 } } });
        let chosen = |fields: &[&str]| chosen(&event.to_string(), fields);
        assert_eq!(chosen(&["content.body", "type"]), json!({ "type": "t", "content": { "body": "b" } }));
        assert_eq!(chosen(&[r"content.a\.b"]), json!({ "content": { "a.b": 1 } }));
        assert_eq!(chosen(&["content.c.d", "content.c"]), json!({ "content": { "c": { "d": 2, "e": 3 } } }));
        assert_eq!(chosen(&["content.c", "content.c.d"]), json!({ "content": { "c": { "d": 2, "e": 3 } } }));
        assert_eq!(chosen(&["nothing", "type.nothing", ""]), json!({}));
        assert_eq!(way_to(r"a\\.b\"), [r"a\", r"b\"]);
    }
}
