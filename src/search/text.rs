//! What of an event is searched: the three keys of the specification.

use room::read::event::StoredEvent;
use serde::Deserialize;
use serde_json::value::RawValue;

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
