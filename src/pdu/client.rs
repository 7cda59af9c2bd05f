//! The forms in which clients get events.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-event-format>

use bytes::Bytes;
use ruma::{EventId, events::TimelineEventType};
use serde_json::value::RawValue as RawJsonValue;

use crate::{
    Pdu,
    event::RawParts,
    json::{write_number, write_str, write_string},
    members::{ObjectWriter, find, with_member},
};

/// The event as clients see it, without `unsigned`.
///
/// A non-empty JSON object: `unsigned` is spliced in before its last byte, see [`with_unsigned`]. What a
/// redaction redacts stands both beside and in the content, as clients of all ages look for it.
pub fn client_event(pdu: &Pdu) -> Bytes {
    let mut out = Vec::new();
    open_client_event(pdu, true, &mut out);
    out.push(b'}');
    out.into()
}

/// Writes what [`client_event`] answers, without its last brace; also without `room_id`, for answers that are sorted by
/// room, as of `/sync`.
///
/// It is written each time: kept, it would be a good part of what an event takes.
pub fn open_client_event(pdu: &Pdu, with_room: bool, out: &mut Vec<u8>) {
    let RawParts { content, sender, state_key, kind } = pdu.raw_parts();
    out.reserve(content.len() + ROOM_FOR_HEAD);
    out.extend_from_slice(b"{\"content\":");
    match pdu.redacts() {
        Some(redacts) => write_redacting(pdu, redacts, out),
        None => out.extend_from_slice(content),
    }
    out.extend_from_slice(b",\"event_id\":");
    write_str(out, pdu.event_id().as_str());
    out.extend_from_slice(b",\"origin_server_ts\":");
    write_number(out, pdu.origin_server_ts().get().into());
    if let Some(redacts) = pdu.redacts() {
        out.extend_from_slice(b",\"redacts\":");
        write_str(out, redacts.as_str());
    }
    if with_room {
        out.extend_from_slice(b",\"room_id\":");
        write_str(out, pdu.room_id().as_str());
    }
    out.extend_from_slice(b",\"sender\":");
    out.extend_from_slice(sender);
    if let Some(state_key) = state_key {
        out.extend_from_slice(b",\"state_key\":");
        out.extend_from_slice(state_key);
    }
    out.extend_from_slice(b",\"type\":");
    out.extend_from_slice(kind);
}

/// What is reserved for what stands beside the content, with `unsigned`, which others write.
const ROOM_FOR_HEAD: usize = 448;

/// Writes the content of a redaction, with what it redacts.
fn write_redacting(pdu: &Pdu, redacts: &EventId, out: &mut Vec<u8>) {
    let content = pdu.content_str();
    if *pdu.kind() != TimelineEventType::RoomRedaction || find(content, "redacts").is_some() {
        return out.extend_from_slice(content.as_bytes());
    }
    let mut raw = String::new();
    write_string(redacts.as_str(), &mut raw);
    out.extend_from_slice(with_member(content, "redacts", &raw).as_bytes());
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
