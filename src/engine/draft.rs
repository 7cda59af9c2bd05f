//! Drafts of state events, and JSON as text.

use pdu::Draft;
use ruma::{UserId, events::StateEventType};
use serde_json::{Value, value::RawValue};

/// A state event of ours.
pub(crate) fn draft(sender: &UserId, kind: StateEventType, key: &str, content: &Value) -> Draft {
    Draft {
        kind: kind.into(),
        state_key: Some(key.to_owned()),
        content: raw(content),
        sender: sender.to_owned(),
        redacts: None,
    }
}

/// A JSON value as text.
pub(crate) fn raw(value: &Value) -> Box<RawValue> {
    // Values have string keys only, so they always encode.
    serde_json::value::to_raw_value(value).unwrap_or_default()
}
