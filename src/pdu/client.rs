//! The forms in which clients get events.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-event-format>

use bytes::Bytes;
use ruma::events::TimelineEventType;
use serde_json::value::RawValue as RawJsonValue;

use crate::{
    Pdu,
    members::{ObjectWriter, find, with_member},
};

/// The event as clients see it, without `unsigned`.
///
/// A non-empty JSON object: `unsigned` is spliced in before its last byte, see [`with_unsigned`]. What a
/// redaction redacts stands both beside and in the content, as clients of all ages look for it.
pub fn client_event(pdu: &Pdu) -> Bytes {
    write(pdu, true)
}

/// As [`client_event`], without `room_id`: for answers that are sorted by room, as of `/sync`.
pub fn client_event_without_room(pdu: &Pdu) -> Bytes {
    write(pdu, false)
}

fn write(pdu: &Pdu, with_room: bool) -> Bytes {
    // Less than the event: hashes, signatures and edges are left out.
    let mut writer = ObjectWriter::with_capacity(pdu.json().len() / 2);
    write_content(pdu, writer.key("content"));
    writer.string("event_id", pdu.event_id().as_str());
    writer.integer("origin_server_ts", i64::from(pdu.origin_server_ts().get()));
    if let Some(redacts) = pdu.redacts() {
        writer.string("redacts", redacts.as_str());
    }
    if with_room {
        writer.string("room_id", pdu.room_id().as_str());
    }
    writer.string("sender", pdu.sender().as_str());
    if let Some(state_key) = pdu.state_key() {
        writer.string("state_key", state_key);
    }
    writer.string("type", &pdu.kind().to_string());
    // It is kept as long as the event: with no more room than it takes.
    writer.finish().into_boxed_str().into_boxed_bytes().into()
}

fn write_content(pdu: &Pdu, out: &mut String) {
    let content = pdu.content_str();
    match pdu.redacts() {
        Some(redacts)
            if *pdu.kind() == TimelineEventType::RoomRedaction && find(content, "redacts").is_none() =>
        {
            let mut raw = String::new();
            crate::json::write_string(redacts.as_str(), &mut raw);
            out.push_str(&with_member(content, "redacts", &raw));
        }
        _ => out.push_str(content),
    }
}

/// A client event with `unsigned`, which must be a JSON object.
pub fn with_unsigned(event: &[u8], unsigned: &str) -> Bytes {
    let open = event.strip_suffix(b"}").unwrap_or(event);
    let mut out = Vec::with_capacity(open.len() + unsigned.len() + 14);
    out.extend_from_slice(open);
    out.extend_from_slice(b",\"unsigned\":");
    out.extend_from_slice(unsigned.as_bytes());
    out.push(b'}');
    out.into()
}

/// The stripped form of a state event, by which invited and knocking users recognise a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
pub fn stripped(pdu: &Pdu) -> Box<RawJsonValue> {
    let mut writer = ObjectWriter::with_capacity(pdu.content_str().len() + 256);
    writer.raw("content", pdu.content_str());
    writer.string("sender", pdu.sender().as_str());
    writer.string("state_key", pdu.state_key().unwrap_or_default());
    writer.string("type", &pdu.kind().to_string());
    RawJsonValue::from_string(writer.finish()).unwrap_or_default()
}
