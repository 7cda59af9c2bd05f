//! Making events of our own: from what someone wants to say to signed canonical JSON.
//!
//! Reading order: [`Draft`], [`build`], [`sign`]; then [`countersign`] for events of others.

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::value::RawValue as RawJsonValue;

use crate::{
    Authority, MAX_AUTH_EVENTS, MAX_ID_BYTES, MAX_PREV_EVENTS, Pdu, RoomVersion, Verified,
    error::FormatError,
    event::raw_size,
    hash,
    json::{self, Numbers},
    members::{ObjectWriter, find, with_member},
    redact::{Keep, redacted},
    verify::required_servers,
};

/// What someone wants to say in a room, before it has a place there.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The event type.
    pub kind: TimelineEventType,
    /// The state key, if it is a state event.
    pub state_key: Option<String>,
    /// The content: a JSON object, in any spelling.
    pub content: Box<RawJsonValue>,
    /// Who says it.
    pub sender: OwnedUserId,
    /// What an `m.room.redaction` redacts; [`build`] puts it where the room version wants it.
    pub redacts: Option<OwnedEventId>,
}

impl Draft {
    /// A message event.
    ///
    /// # Errors
    /// When the content cannot be written as JSON.
    pub fn message(
        sender: &UserId,
        kind: TimelineEventType,
        content: &impl serde::Serialize,
    ) -> Result<Self, serde_json::Error> {
        let content = serde_json::value::to_raw_value(content)?;
        Ok(Self { kind, state_key: None, content, sender: sender.to_owned(), redacts: None })
    }

    /// A state event.
    ///
    /// # Errors
    /// When the content cannot be written as JSON.
    pub fn state(
        sender: &UserId,
        kind: StateEventType,
        state_key: &str,
        content: &impl serde::Serialize,
    ) -> Result<Self, serde_json::Error> {
        let content = serde_json::value::to_raw_value(content)?;
        let state_key = Some(state_key.to_owned());
        Ok(Self { kind: kind.into(), state_key, content, sender: sender.to_owned(), redacts: None })
    }
}

/// An event that has its place in the room, but neither hash nor signature nor id.
#[derive(Debug, Clone)]
pub struct Unsigned {
    version: RoomVersion,
    json: String,
}

impl Unsigned {
    /// The event as a template for another server, which completes and signs it: the answer to
    /// `make_join`, `make_leave` and `make_knock`.
    pub fn to_raw(&self) -> Box<RawJsonValue> {
        RawJsonValue::from_string(self.json.clone()).unwrap_or_default()
    }
}

/// A template that another server made for an event of ours.
///
/// It is a proposal: the caller compares the draft with what was wanted before [building](build) it.
#[derive(Debug, Clone)]
pub struct Template {
    /// What we would say.
    pub draft: Draft,
    /// Where.
    pub room_id: OwnedRoomId,
    /// The newest events of the room.
    pub prev_events: Vec<OwnedEventId>,
    /// The events that should allow it.
    pub auth_events: Vec<OwnedEventId>,
    /// Its distance from the create event.
    pub depth: u64,
}

impl Template {
    /// Reads the `event` of an answer to `make_join` and its like.
    ///
    /// # Errors
    /// [`FormatError`]
    pub fn parse(version: RoomVersion, raw: &RawJsonValue) -> Result<Self, FormatError> {
        raw_size(raw.get().as_bytes())?;
        let json = json::canonicalize(raw.get().as_bytes(), Numbers::Strict)?;
        if json.len() > crate::MAX_PDU_BYTES {
            return Err(FormatError::TooLarge { size_bytes: json.len() });
        }
        // What the template need not have, the head must.
        let mut json = with_member(&json, "hashes", "{}");
        json = with_member(&json, "signatures", "{}");
        if find(&json, "origin_server_ts").is_none() {
            json = with_member(&json, "origin_server_ts", "0");
        }
        let pdu = Pdu::from_canonical(version, json)?;
        Ok(Self {
            draft: Draft {
                kind: pdu.kind().clone(),
                state_key: pdu.state_key().map(str::to_owned),
                content: pdu.content().to_owned(),
                sender: pdu.sender().to_owned(),
                redacts: None,
            },
            room_id: pdu.room_id().to_owned(),
            prev_events: pdu.prev_events().to_vec(),
            auth_events: pdu.auth_events().to_vec(),
            depth: pdu.depth(),
        })
    }
}

/// Gives a draft its place in the room.
///
/// `room_id` is `None` only for the create event of a version 12 room, which makes its own.
/// The create event must not be among `auth` in version 12.
///
/// # Errors
/// [`FormatError`] when the draft cannot be an event: content that is no canonical JSON object, ids
/// that are too long, too many events referred to, or certainly too large.
pub fn build(
    version: RoomVersion,
    draft: &Draft,
    room_id: Option<&RoomId>,
    prev: &[OwnedEventId],
    auth: &[OwnedEventId],
    depth: u64,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
) -> Result<Unsigned, FormatError> {
    let names_room = version.has_hashed_room_id() && draft.kind == TimelineEventType::RoomCreate;
    let room_id = match room_id {
        Some(_) if names_room => return Err(FormatError::Unexpected { field: "room_id" }),
        None if !names_room => return Err(FormatError::Missing { field: "room_id" }),
        room_id => room_id,
    };
    limit("prev_events", prev, MAX_PREV_EVENTS)?;
    limit("auth_events", auth, MAX_AUTH_EVENTS)?;
    let kind = draft.kind.to_string();
    id_length("type", &kind)?;
    id_length("state_key", draft.state_key.as_deref().unwrap_or_default())?;
    id_length("sender", draft.sender.as_str())?;
    let depth = i64::try_from(depth)
        .ok()
        .filter(|depth| *depth <= json::MAX_SAFE_INTEGER)
        .ok_or(FormatError::OutOfRange { field: "depth" })?;

    // New events are strict in every version: a number that servers spell differently helps nobody.
    let nesting = json::MAX_OWN_NESTING - 1;
    let mut content = json::canonicalize_within(draft.content.get().as_bytes(), Numbers::Strict, nesting)?;
    if !content.starts_with('{') {
        return Err(FormatError::WrongType { field: "content", expected: "an object" });
    }
    let redacts = draft.redacts.as_ref().filter(|_| draft.kind == TimelineEventType::RoomRedaction);
    if let Some(redacts) = redacts
        && version.has_redacts_in_content()
    {
        let mut id = String::new();
        json::write_string(redacts.as_str(), &mut id);
        content = with_member(&content, "redacts", &id);
    }

    let mut writer = ObjectWriter::with_capacity(draft.content.get().len() + 512);
    write_ids(writer.key("auth_events"), auth);
    writer.raw("content", &content);
    writer.integer("depth", depth);
    writer.integer("origin_server_ts", i64::from(origin_server_ts.get()));
    write_ids(writer.key("prev_events"), prev);
    if let Some(redacts) = redacts
        && !version.has_redacts_in_content()
    {
        writer.string("redacts", redacts.as_str());
    }
    if let Some(room_id) = room_id {
        writer.string("room_id", room_id.as_str());
    }
    writer.string("sender", draft.sender.as_str());
    if let Some(state_key) = &draft.state_key {
        writer.string("state_key", state_key);
    }
    writer.string("type", &kind);
    let json = writer.finish();
    if json.len() > crate::MAX_PDU_BYTES {
        return Err(FormatError::TooLarge { size_bytes: json.len() });
    }
    Ok(Unsigned { version, json })
}

/// Why an event could not be signed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Hash and signatures make it too long.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It needs the signature of a server that is none of the signers.
    #[error("the event needs the signature of {server}")]
    NotOurs {
        /// Which one.
        server: OwnedServerName,
    },
}

/// Hashes and signs an event that needs no signature but this authority's, which gives it its id.
///
/// # Errors
/// [`SignError`]
pub fn sign(unsigned: Unsigned, authority: &Authority) -> Result<Verified, SignError> {
    sign_together(unsigned, authority, None)
}

/// As [`sign`], for an event that may need the signature of two authorities of ours: a join that a user
/// of the second one vouches for.
///
/// # Errors
/// [`SignError`]
pub fn sign_together(
    unsigned: Unsigned,
    authority: &Authority,
    cosigner: Option<&Authority>,
) -> Result<Verified, SignError> {
    let mut pdu = sign_part(unsigned, authority)?;
    if let Some(cosigner) = cosigner {
        pdu = add_signature(&pdu, cosigner)?;
    }
    let has_signed = |server: &OwnedServerName| {
        server == authority.name() || cosigner.is_some_and(|cosigner| server == cosigner.name())
    };
    match required_servers(&pdu).into_iter().find(|server| !has_signed(server)) {
        Some(server) => Err(SignError::NotOurs { server }),
        None => Ok(Verified::signed_here(pdu)),
    }
}

/// Hashes an event and puts one signature to it, which need not be all that it needs: for what goes to
/// another server to be signed there too.
///
/// # Errors
/// [`FormatError::TooLarge`] when hash and signature make it too long.
pub fn sign_part(unsigned: Unsigned, authority: &Authority) -> Result<Pdu, FormatError> {
    let Unsigned { version, json } = unsigned;
    let hashes = format!(r#"{{"sha256":"{}"}}"#, hash::base64(&hash::content_hash(&json)));
    let hashed = with_member(&json, "hashes", &hashes);
    let signed = redacted(version, &hashed, Keep::Signed);
    let event_id = hash::event_id(version, &signed)?;
    let json = with_member(&hashed, "signatures", &signature_member("{}", authority, &signed));
    Pdu::read(version, json, event_id)
}

/// Adds an authority's signature to an event of someone else: an invitation that one of its users
/// gets. Hash and id stay.
///
/// # Errors
/// [`FormatError::TooLarge`] when there is no room for another signature.
pub fn countersign(event: &Verified, authority: &Authority) -> Result<Verified, FormatError> {
    Ok(event.with_pdu(add_signature(event.pdu(), authority)?))
}

/// As [`countersign`], for an event that can be verified only when this signature is there: a join that
/// the authority vouches for.
///
/// # Errors
/// [`FormatError::TooLarge`] when there is no room for another signature.
pub fn add_signature(pdu: &Pdu, authority: &Authority) -> Result<Pdu, FormatError> {
    let signed = redacted(pdu.version(), pdu.json_str(), Keep::Signed);
    let signatures = find(pdu.json_str(), "signatures").unwrap_or("{}");
    let signatures = signature_member(signatures, authority, &signed);
    let json = with_member(pdu.json_str(), "signatures", &signatures);
    Ok(Pdu::read(pdu.version(), json, pdu.event_id().to_owned())?.like(pdu))
}

/// `signatures` with that of `authority` over `message` put in.
fn signature_member(signatures: &str, authority: &Authority, message: &str) -> String {
    let mut signature = String::with_capacity(88);
    json::write_string(&authority.sign_bytes(message.as_bytes()), &mut signature);
    let name = authority.name().as_str();
    let own = find(signatures, name).filter(|own| own.starts_with('{')).unwrap_or("{}");
    with_member(signatures, name, &with_member(own, authority.key_id().as_str(), &signature))
}

fn limit(field: &'static str, ids: &[OwnedEventId], limit: usize) -> Result<(), FormatError> {
    if ids.len() > limit { Err(FormatError::TooMany { field, limit }) } else { Ok(()) }
}

fn id_length(field: &'static str, id: &str) -> Result<(), FormatError> {
    if id.len() > MAX_ID_BYTES { Err(FormatError::TooLong { field }) } else { Ok(()) }
}

fn write_ids(out: &mut String, ids: &[OwnedEventId]) {
    out.push('[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json::write_string(id.as_str(), out);
    }
    out.push(']');
}
