//! The client format: an event as one reader is sent it.
//!
//! All but `unsigned` is the same for everyone; [`Look::write`] writes both straight into the answer. What `unsigned` needs of other events
//! (the state event that was replaced, the redaction) is loaded for a whole answer at once by
//! [`Rooms::looks`].
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-event-format>

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use base::Timestamp;
use ruma::{EventId, serde::Raw};
use serde_json::value::RawValue;

use crate::{
    Error, EventSerial, Rooms,
    read::{
        aggregations::Aggregations,
        event::{Keep, StoredEvent, name_of},
    },
    tables::Membership,
};

pub use super::viewer::Viewer;
pub use pdu::json::{write_number, write_str};

/// Whether the answer's surroundings already say which room an event is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// They do not: `room_id` is written.
    Full,
    /// They do, as in `/sync`.
    InRoom,
}

/// An event as one reader sees it.
#[derive(Clone, Debug)]
pub struct Look {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// What the reader was in the room at the event, changes by the event included.
    pub membership: Option<Membership>,
    /// The state event whose place it took, if the reader may see that one.
    pub replaced: Option<Arc<StoredEvent>>,
    /// The redaction that emptied it.
    pub redaction: Option<Arc<StoredEvent>>,
    /// The transaction id, if the reader's device sent it.
    pub own_txn: bool,
    /// The id of the state event whose place it took.
    pub replaces: Option<ruma::OwnedEventId>,
    /// What is told of its relations, where that is told ([`Rooms::aggregate`]).
    pub aggregations: Option<Box<Aggregations>>,
}

impl Look {
    /// The event with as much of `unsigned` as follows from itself and the reader.
    pub fn plain(event: Arc<StoredEvent>, viewer: &Viewer<'_>) -> Self {
        let own_txn = event.meta().txn.as_ref().is_some_and(|txn| {
            viewer.device.is_some_and(|device| device.as_str() == txn.device) && event.sender() == viewer.user
        });
        Self { own_txn, ..Self::bare(event) }
    }

    /// The event with nothing but its age in `unsigned`.
    pub fn bare(event: Arc<StoredEvent>) -> Self {
        Self {
            event,
            membership: None,
            replaced: None,
            redaction: None,
            own_txn: false,
            replaces: None,
            aggregations: None,
        }
    }

    /// Writes the event as a JSON object.
    pub fn write(&self, out: &mut Vec<u8>, form: Form, now: Timestamp) {
        pdu::open_client_event(self.event.pdu(), form == Form::Full, out);
        self.write_unsigned(out, form, now);
        out.push(b'}');
    }

    /// Writes the event in the form in which servers send it to each other, with its id and with
    /// `unsigned` as in the client format.
    pub fn write_federation(&self, out: &mut Vec<u8>, now: Timestamp) {
        let json = with_id(self.event.pdu().json(), self.event.event_id());
        out.extend_from_slice(open(&json));
        self.write_unsigned(out, Form::Full, now);
        out.push(b'}');
    }

    /// The event as a JSON object, with `room_id`.
    pub fn to_json(&self, now: Timestamp) -> Box<RawValue> {
        let mut out = Vec::new();
        self.write(&mut out, Form::Full, now);
        raw_value(out)
    }

    /// The event as ruma's answers hold it, with `room_id`.
    pub fn to_raw<T>(&self, now: Timestamp) -> Raw<T> {
        Raw::from_json(self.to_json(now))
    }

    fn write_unsigned(&self, out: &mut Vec<u8>, form: Form, now: Timestamp) {
        let sent = u64::from(self.event.pdu().origin_server_ts().get());
        out.extend_from_slice(b",\"unsigned\":{\"age\":");
        write_age(out, now.millis(), sent);
        if let Some(membership) = self.membership {
            out.extend_from_slice(b",\"membership\":\"");
            out.extend_from_slice(name_of(membership).as_bytes());
            out.push(b'"');
        }
        if let Some(replaced) = &self.replaced {
            out.extend_from_slice(b",\"prev_content\":");
            out.extend_from_slice(replaced.pdu().content_str().as_bytes());
            // Not of the specification, but clients learn from it who had invited them.
            out.extend_from_slice(b",\"prev_sender\":");
            write_str(out, replaced.sender().as_str());
        }
        if let Some(redaction) = &self.redaction {
            out.extend_from_slice(b",\"redacted_because\":");
            pdu::open_client_event(redaction.pdu(), form == Form::Full, out);
            out.extend_from_slice(b",\"unsigned\":{\"age\":");
            write_age(out, now.millis(), u64::from(redaction.pdu().origin_server_ts().get()));
            out.extend_from_slice(b"}}");
        }
        if let Some(replaces) = &self.replaces {
            out.extend_from_slice(b",\"replaces_state\":");
            write_str(out, replaces.as_str());
        }
        if let Some(aggregations) = &self.aggregations {
            out.extend_from_slice(b",\"m.relations\":");
            aggregations.write(out, form, now);
        }
        if self.own_txn
            && let Some(txn) = &self.event.meta().txn
        {
            out.extend_from_slice(b",\"transaction_id\":");
            write_str(out, &txn.id);
        }
        out.push(b'}');
    }
}

/// An event in federation format, with its id.
fn with_id(pdu: &[u8], event_id: &EventId) -> Vec<u8> {
    let mut id = Vec::new();
    write_str(&mut id, event_id.as_str());
    let id = raw_value(id);
    // What is stored was parsed before; an event that is not an object would be no event. Keys are owned, as one
    // with an escape cannot be lent.
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(pdu).unwrap_or_default();
    fields.insert("event_id".to_owned(), &id);
    serde_json::to_vec(&fields).unwrap_or_else(|_| b"{}".to_vec())
}

/// A JSON object without its last brace.
fn open(object: &[u8]) -> &[u8] {
    object.strip_suffix(b"}").unwrap_or(object)
}

/// The age in milliseconds; negative when the sender's clock is ahead of ours.
fn write_age(out: &mut Vec<u8>, now: u64, sent: u64) {
    if sent > now {
        out.push(b'-');
    }
    write_number(out, now.abs_diff(sent));
}

/// Bytes that are a JSON value, as one.
pub(crate) fn raw_value(json: Vec<u8>) -> Box<RawValue> {
    // Our own writers make valid JSON; were one wrong, an empty object would be the answer.
    String::from_utf8(json).ok().and_then(|text| RawValue::from_string(text).ok()).unwrap_or_default()
}

impl Rooms {
    /// Loads what the reader's copies of these events need beyond the events themselves.
    ///
    /// `memberships` is what [`Rooms::sights`] found, in the order of `events`, or empty.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn looks(
        &self,
        viewer: &Viewer<'_>,
        events: Vec<Arc<StoredEvent>>,
        memberships: &[Option<Membership>],
    ) -> Result<Vec<Look>, Error> {
        self.looks_keeping(viewer, events, memberships, Keep::All).await
    }

    /// As [`Rooms::looks`], with a choice of what is cached afterwards.
    pub(crate) async fn looks_keeping(
        &self,
        viewer: &Viewer<'_>,
        events: Vec<Arc<StoredEvent>>,
        memberships: &[Option<Membership>],
        keep: Keep,
    ) -> Result<Vec<Look>, Error> {
        let mut wanted: Vec<_> = events
            .iter()
            .flat_map(|event| {
                let meta = event.meta();
                [meta.redacted_by, meta.replaces].into_iter().flatten().map(|other| (event.room(), other))
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let loaded = if wanted.is_empty() { Vec::new() } else { self.find_events(&wanted, keep).await? };
        let others: HashMap<EventSerial, Arc<StoredEvent>> =
            wanted.iter().zip(loaded).filter_map(|((_, serial), event)| Some((*serial, event?))).collect();
        let seen = self.replaced_seen(viewer, &events, &others).await?;
        let (others, events) = self.shown_with(viewer, others, events).await?;

        let looks = events.into_iter().enumerate().map(|(index, event)| {
            let find = |serial: Option<EventSerial>| serial.and_then(|serial| others.get(&serial)).cloned();
            let replaced = find(event.meta().replaces);
            let redaction = find(event.meta().redacted_by);
            let replaces = replaced.as_ref().map(|replaced| replaced.event_id().to_owned());
            let mut look = Look::plain(event, viewer);
            look.membership = memberships.get(index).copied().flatten();
            look.replaced = replaced.filter(|replaced| seen.contains(&replaced.serial()));
            look.redaction = redaction;
            look.replaces = replaces;
            look
        });
        Ok(looks.collect())
    }

    /// [`Rooms::shown_to`], for events and what their copies need beyond them.
    async fn shown_with(
        &self,
        viewer: &Viewer<'_>,
        others: HashMap<EventSerial, Arc<StoredEvent>>,
        mut events: Vec<Arc<StoredEvent>>,
    ) -> Result<(HashMap<EventSerial, Arc<StoredEvent>>, Vec<Arc<StoredEvent>>), Error> {
        if !self.is_anybody_erased(viewer.user).await? {
            return Ok((others, events));
        }
        let count = events.len();
        events.extend(others.into_values());
        let mut events = self.shown_to(viewer.user, events).await?;
        let others = events.split_off(count);
        Ok((others.into_iter().map(|event| (event.serial(), event)).collect(), events))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_key_with_an_escape_costs_an_event_in_federation_format_nothing() {
        let event = with_id(br#"{"type":"m.room.message","a\"b":1,"content":{}}"#, ruma::event_id!("$x"));
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!((&event["type"], &event["event_id"]), (&"m.room.message".into(), &"$x".into()));
        assert_eq!(event["a\"b"], 1);
    }
}
