//! Redaction: what stays of an event when its content is taken away.
//!
//! What stays is what the authorisation rules look at, so that a redacted event still stands where it
//! stood. The same form is what is hashed for the event id and signed; therefore redaction changes
//! neither.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#redactions>

use ruma::room_version_rules::RedactionRules;

use crate::{
    Pdu, RoomVersion,
    error::FormatError,
    members::{ObjectWriter, find, members},
};

/// The redacted form of an event; its id, signatures and place in the room are unchanged.
///
/// # Errors
/// None for an event of ours; the result is read again and must hold the form of an event.
pub fn redact(pdu: &Pdu) -> Result<Pdu, FormatError> {
    let json = redacted(pdu.version(), pdu.json_str(), Keep::Signatures);
    Pdu::read(pdu.version(), json, pdu.event_id().to_owned()).map(|redacted| redacted.like(pdu))
}

/// The redacted form of a content of this type, as JSON text.
pub fn redact_content(version: RoomVersion, kind: &str, content: &str) -> String {
    let mut out = String::new();
    write_content(&mut out, &version.rules().redaction, kind, content);
    out
}

/// Whether signatures stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Signatures,
    /// The form that is hashed and signed.
    Signed,
}

/// The redacted form of canonical event JSON.
pub(crate) fn redacted(version: RoomVersion, object: &str, keep: Keep) -> String {
    let rules = &version.rules().redaction;
    let kind = find(object, "type").and_then(crate::members::string).unwrap_or_default();
    let mut writer = ObjectWriter::with_capacity(object.len());
    for (key, value) in members(object) {
        let stays = match key {
            "content" => {
                write_content(writer.key(key), rules, &kind, value);
                continue;
            }
            "event_id" | "type" | "room_id" | "sender" | "state_key" | "hashes" | "depth" | "prev_events"
            | "auth_events" | "origin_server_ts" => true,
            "signatures" => keep == Keep::Signatures,
            "origin" | "membership" | "prev_state" => rules.keep_origin_membership_prev_state,
            _ => false,
        };
        if stays {
            writer.raw(key, value);
        }
    }
    writer.finish()
}

fn write_content(out: &mut String, rules: &RedactionRules, kind: &str, content: &str) {
    if kind == "m.room.create" && rules.keep_room_create_content {
        out.push_str(content);
        return;
    }
    let mut writer = ObjectWriter::with_capacity(2);
    for (key, value) in members(content) {
        let stays = match (kind, key) {
            ("m.room.member", "membership") => true,
            ("m.room.member", "join_authorised_via_users_server") => {
                rules.keep_room_member_join_authorised_via_users_server
            }
            ("m.room.member", "third_party_invite") => {
                if rules.keep_room_member_third_party_invite_signed {
                    writer.raw(key, &signed_only(value));
                }
                false
            }
            ("m.room.create", "creator") => true,
            ("m.room.join_rules", "join_rule") => true,
            ("m.room.join_rules", "allow") => rules.keep_room_join_rules_allow,
            (
                "m.room.power_levels",
                "ban" | "events" | "events_default" | "kick" | "redact" | "state_default" | "users"
                | "users_default",
            ) => true,
            ("m.room.power_levels", "invite") => rules.keep_room_power_levels_invite,
            ("m.room.history_visibility", "history_visibility") => true,
            ("m.room.redaction", "redacts") => rules.keep_room_redaction_redacts,
            ("m.room.aliases", "aliases") => rules.keep_room_aliases_aliases,
            _ => false,
        };
        if stays {
            writer.raw(key, value);
        }
    }
    out.push_str(&writer.finish());
}

/// `third_party_invite` with nothing but `signed`; another JSON type than an object stays as it is.
fn signed_only(value: &str) -> String {
    if !value.starts_with('{') {
        return value.to_owned();
    }
    let mut writer = ObjectWriter::with_capacity(value.len());
    if let Some(signed) = find(value, "signed") {
        writer.raw("signed", signed);
    }
    writer.finish()
}
