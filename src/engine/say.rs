//! Asking the policy whether somebody may say something.

use pdu::{
    Draft,
    json::{Numbers, canonicalize},
};
use room::Error;
use ruma::{RoomId, UserId, events::StateEventType};
use serde_json::{Map, Value, value::RawValue};

use crate::{Engine, draft::draft};

impl Engine {
    /// Whether somebody may say this.
    pub(crate) fn may_say(&self, room_id: Option<&RoomId>, draft: &Draft) -> Result<(), Error> {
        let policy = &self.0.policy;
        // The escapes of line breaks, quotes and backslashes are the event's too, and most that there are.
        let text = draft.content.get();
        if !(text.contains("\\u") || text.contains("\\/")) {
            return Ok(policy.send(room_id, draft)?);
        }
        // What cannot be written so is refused where the event is built.
        let canonical = canonicalize(draft.content.get().as_bytes(), Numbers::Lax).ok();
        match canonical.and_then(|canonical| RawValue::from_string(canonical).ok()) {
            Some(content) => Ok(policy.send(room_id, &Draft { content, ..draft.clone() })?),
            None => Ok(policy.send(room_id, draft)?),
        }
    }

    /// Whether somebody may say this of a membership, his own or another's.
    pub(crate) fn may_say_of_member(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &UserId,
        content: &Map<String, Value>,
    ) -> Result<(), Error> {
        let content = Value::Object(content.clone());
        self.may_say(Some(room_id), &draft(sender, StateEventType::RoomMember, target.as_str(), &content))
    }
}
