//! The event itself: canonical JSON, its parsed head and its id, immutable and shared.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::value::RawValue as RawJsonValue;

use crate::{
    RoomVersion,
    error::FormatError,
    hash,
    json::{Numbers, canonicalize},
    members::{self, Span, items},
    named::{Named, NamedAt},
    power::{Creation, PowerLevels},
    redact::{Keep, redacted},
};

/// The largest event, in bytes of its canonical JSON with signatures and without `unsigned`.
pub const MAX_PDU_BYTES: usize = 65_536;
/// The largest event as others send it, before it is in its canonical form and without its `unsigned`.
///
/// Others may spell Japanese with twice the bytes (`\u5f79`), add white space, and in `unsigned` as much as an
/// event again. What is larger is refused before anybody looks into it.
const MAX_RAW_BYTES: usize = 4 * MAX_PDU_BYTES;
/// The longest sender, room id, event id, type and state key, in bytes.
pub const MAX_ID_BYTES: usize = 255;
/// The most previous events that an event may have.
pub const MAX_PREV_EVENTS: usize = 20;
/// The most auth events that an event may have.
pub const MAX_AUTH_EVENTS: usize = 10;

/// A room event in federation format (a *persistent data unit*), immutable and cheap to clone.
///
/// It holds the form of its room version, and its id is the hash of its bytes; whether its signatures
/// are right says [`crate::Verified`], whether the room accepts it the authorisation rules.
///
/// `unsigned` is not part of it: each server makes its own.
///
/// Spec: <https://spec.matrix.org/v1.19/server-server-api/#pdus>
pub struct Pdu {
    inner: Arc<Inner>,
    rejected: bool,
    /// For the rules, which want to be lent ids. Clones make their own: one that is kept for readers never does.
    lent: OnceLock<Box<Lent>>,
}

/// Copies of the ids that an event names.
struct Lent {
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
}

impl Clone for Pdu {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rejected: self.rejected, lent: OnceLock::new() }
    }
}

struct Inner {
    version: RoomVersion,
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    json: Bytes,
    head: Head,
    membership: OnceLock<Option<MembershipState>>,
    power_levels: OnceLock<Result<Box<PowerLevels>, String>>,
    creation: OnceLock<Result<Box<Creation>, String>>,
}

/// What is read of an event at once.
struct Head {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    kind: TimelineEventType,
    state_key: Option<String>,
    prev_events: NamedAt,
    auth_events: NamedAt,
    depth: u64,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    redacts: Option<OwnedEventId>,
    content: Span,
    /// Type, sender and state key as JSON strings.
    raw_kind: Span,
    raw_sender: Span,
    raw_state_key: Option<Span>,
}

impl Pdu {
    /// Reads an event that came from outside, strictly by the rules of the room version.
    ///
    /// Checks JSON, types, lengths and identifiers, not hashes and signatures: that is
    /// [`crate::verify`]. `unsigned` is dropped, all other unknown fields stay, for they are hashed.
    ///
    /// # Errors
    /// [`FormatError`]; the event must then be dropped.
    pub fn parse(version: RoomVersion, bytes: &[u8]) -> Result<Self, FormatError> {
        Self::from_canonical(version, canonical(version, bytes)?)
    }

    /// As [`Self::parse`], for a raw value of a request.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_raw(version: RoomVersion, raw: &RawJsonValue) -> Result<Self, FormatError> {
        Self::parse(version, raw.get().as_bytes())
    }

    /// The id of what would be an event if it did not name more previous or auth events than one may.
    ///
    /// An id is the hash of these lists too, so such bytes prove that no event has that id, whoever gives them. What is
    /// wrong in another way proves nothing: the hash does not cover contents and signatures.
    pub fn id_of_overfull(version: RoomVersion, raw: &RawJsonValue) -> Option<OwnedEventId> {
        let json = canonical(version, raw.get().as_bytes()).ok()?;
        let names_more = |field, limit| {
            let list = members::find(&json, field).filter(|list| list.starts_with('['));
            list.is_some_and(|list| items(list).count() > limit)
        };
        if !names_more("prev_events", MAX_PREV_EVENTS) && !names_more("auth_events", MAX_AUTH_EVENTS) {
            return None;
        }
        hash::event_id(version, &redacted(version, &json, Keep::Signed)).ok()
    }

    /// Takes an event from our own store, where [`Self::json`] was put before.
    ///
    /// Neither canonicalises nor hashes again: the bytes and the id are trusted.
    ///
    /// # Errors
    /// [`FormatError`] when the bytes are not an event, that is, when the store is damaged.
    pub fn from_stored(
        version: RoomVersion,
        json: Bytes,
        event_id: OwnedEventId,
    ) -> Result<Self, FormatError> {
        let text = std::str::from_utf8(&json)
            .map_err(|_| FormatError::WrongType { field: "event", expected: "UTF-8" })?;
        let head = Head::read(version, text)?;
        Self::new(version, json, event_id, head)
    }

    /// Completes canonical JSON without `unsigned` to an event.
    pub(crate) fn from_canonical(version: RoomVersion, json: String) -> Result<Self, FormatError> {
        if json.len() > MAX_PDU_BYTES {
            return Err(FormatError::TooLarge { size_bytes: json.len() });
        }
        let head = Head::read(version, &json)?;
        let event_id = hash::event_id(version, &redacted(version, &json, Keep::Signed))?;
        Self::new(version, trimmed(json), event_id, head)
    }

    /// Completes canonical JSON of a known id.
    pub(crate) fn read(
        version: RoomVersion,
        json: String,
        event_id: OwnedEventId,
    ) -> Result<Self, FormatError> {
        if json.len() > MAX_PDU_BYTES {
            return Err(FormatError::TooLarge { size_bytes: json.len() });
        }
        let head = Head::read(version, &json)?;
        Self::new(version, trimmed(json), event_id, head)
    }

    fn new(
        version: RoomVersion,
        json: Bytes,
        event_id: OwnedEventId,
        mut head: Head,
    ) -> Result<Self, FormatError> {
        let room_id = match head.room_id.take() {
            Some(room_id) => room_id,
            // Version 12: the create event names its room.
            None => RoomId::parse(event_id.as_str().replacen('$', "!", 1))
                .map_err(|source| FormatError::Id { field: "event_id", source })?,
        };
        let inner = Inner {
            version,
            event_id,
            room_id,
            json,
            head,
            membership: OnceLock::new(),
            power_levels: OnceLock::new(),
            creation: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner), rejected: false, lent: OnceLock::new() })
    }

    /// What it takes in memory, in bytes, with what is made of it on its first use and shared by its clones.
    pub fn memory_bytes(&self) -> usize {
        let Inner { event_id, room_id, json, head, .. } = &*self.inner;
        let id = |id: &OwnedEventId| size_of::<OwnedEventId>() + id.as_str().len();
        let strings = event_id.as_str().len()
            + room_id.as_str().len()
            + head.sender.as_str().len()
            + head.state_key.as_deref().map_or(0, str::len)
            + head.redacts.as_ref().map_or(0, id)
            + head.prev_events.memory_bytes()
            + head.auth_events.memory_bytes();
        // Levels are read into trees, whose nodes have room for eleven.
        let parsed = match head.kind {
            TimelineEventType::RoomPowerLevels => size_of::<PowerLevels>() + 3 * head.content.len(),
            TimelineEventType::RoomCreate => size_of::<Creation>() + 128,
            _ => 0,
        };
        size_of::<Inner>() + COUNTS + json.len() + strings + parsed
    }

    /// This event with the verdict of another.
    pub(crate) fn like(mut self, other: &Self) -> Self {
        self.rejected = other.rejected;
        self
    }

    /// Marks whether the room rejected this event, for the checks of events that refer to it.
    ///
    /// The mark belongs to this handle and its clones, not to the event.
    #[must_use]
    pub fn with_rejected(mut self, rejected: bool) -> Self {
        self.rejected = rejected;
        self
    }

    /// Whether this handle was marked with [`Self::with_rejected`].
    pub fn rejected(&self) -> bool {
        self.rejected
    }

    /// The room version whose rules it was read by.
    pub fn version(&self) -> RoomVersion {
        self.inner.version
    }

    /// The reference hash as an id.
    pub fn event_id(&self) -> &EventId {
        &self.inner.event_id
    }

    /// The room; of a version 12 create event, derived from its own id.
    pub fn room_id(&self) -> &RoomId {
        &self.inner.room_id
    }

    /// Who said it.
    pub fn sender(&self) -> &UserId {
        &self.inner.head.sender
    }

    /// The event type.
    pub fn kind(&self) -> &TimelineEventType {
        &self.inner.head.kind
    }

    /// The state key; a state event has one.
    pub fn state_key(&self) -> Option<&str> {
        self.inner.head.state_key.as_deref()
    }

    /// Whether it is a state event of this type and state key.
    pub fn is_state(&self, kind: &TimelineEventType, state_key: &str) -> bool {
        self.state_key() == Some(state_key) && self.kind() == kind
    }

    /// The content, as a raw value. It is read each time: [`Self::content_str`] costs less.
    pub fn content(&self) -> &RawJsonValue {
        serde_json::from_str(self.content_str()).unwrap_or(RawJsonValue::NULL)
    }

    /// The content as JSON text, always an object.
    pub fn content_str(&self) -> &str {
        self.inner.head.content.part(self.json_str())
    }

    /// Content, sender, state key and type as they stand in [`Self::json`].
    pub(crate) fn raw_parts(&self) -> RawParts<'_> {
        let Inner { json, head, .. } = &*self.inner;
        RawParts {
            content: head.content.bytes(json),
            sender: head.raw_sender.bytes(json),
            state_key: head.raw_state_key.map(|at| at.bytes(json)),
            kind: head.raw_kind.bytes(json),
        }
    }

    /// Reads the content into a type.
    ///
    /// # Errors
    /// When the content has not the form of `T`; contents come from anyone.
    pub fn content_as<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.content_str())
    }

    /// The events that the sender's server knew as the newest.
    pub fn prev_events(&self) -> Named<'_> {
        self.inner.head.prev_events.of(self.json_str())
    }

    /// The events that are said to allow this one.
    pub fn auth_events(&self) -> Named<'_> {
        self.inner.head.auth_events.of(self.json_str())
    }

    fn lent(&self) -> &Lent {
        self.lent.get_or_init(|| {
            let (prev_events, auth_events) = (self.prev_events().to_vec(), self.auth_events().to_vec());
            Box::new(Lent { prev_events, auth_events })
        })
    }

    /// The claimed distance from the create event.
    pub fn depth(&self) -> u64 {
        self.inner.head.depth
    }

    /// The claimed time.
    pub fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.inner.head.origin_server_ts
    }

    /// The event that an `m.room.redaction` redacts, from where the room version puts it.
    pub fn redacts(&self) -> Option<&EventId> {
        self.inner.head.redacts.as_deref()
    }

    /// Canonical JSON with signatures, without `unsigned`: what is stored and sent to other servers.
    pub fn json(&self) -> &Bytes {
        &self.inner.json
    }

    /// [`Self::json`] as text.
    pub fn json_str(&self) -> &str {
        // Every constructor checked it; the check of 500 bytes takes some 20 ns.
        std::str::from_utf8(&self.inner.json).unwrap_or("{}")
    }

    /// [`Self::json`] as a raw value, as requests and answers want it.
    pub fn to_raw(&self) -> Box<RawJsonValue> {
        RawJsonValue::from_string(self.json_str().to_owned()).unwrap_or_else(|_| empty_object())
    }

    /// The membership that an `m.room.member` event sets; `None` for other types and broken contents.
    pub fn membership(&self) -> Option<&MembershipState> {
        let read = || {
            #[derive(serde::Deserialize)]
            struct Content {
                membership: MembershipState,
            }
            if *self.kind() != TimelineEventType::RoomMember {
                return None;
            }
            self.content_as::<Content>().ok().map(|content| content.membership)
        };
        self.inner.membership.get_or_init(read).as_ref()
    }

    /// The levels that an `m.room.power_levels` event sets, read once per event.
    ///
    /// # Errors
    /// What is wrong with the content.
    pub fn power_levels(&self) -> Result<&PowerLevels, &str> {
        let read = || PowerLevels::read(self).map(Box::new);
        match self.inner.power_levels.get_or_init(read) {
            Ok(levels) => Ok(levels),
            Err(error) => Err(error),
        }
    }

    /// What an `m.room.create` event says, read once per event.
    pub(crate) fn creation(&self) -> Result<&Creation, &str> {
        let read = || Creation::read(self).map(Box::new);
        match self.inner.creation.get_or_init(read) {
            Ok(creation) => Ok(creation),
            Err(error) => Err(error),
        }
    }
}

/// See [`Pdu::raw_parts`].
pub(crate) struct RawParts<'a> {
    pub(crate) content: &'a [u8],
    pub(crate) sender: &'a [u8],
    pub(crate) state_key: Option<&'a [u8]>,
    pub(crate) kind: &'a [u8],
}

/// The counts of an `Arc`.
const COUNTS: usize = 16;

/// The bytes without room for more: an event is kept for long.
fn trimmed(json: String) -> Bytes {
    json.into_boxed_str().into_boxed_bytes().into()
}

#[cold]
fn empty_object() -> Box<RawJsonValue> {
    RawJsonValue::from_string("{}".to_owned()).unwrap_or_default()
}

impl PartialEq for Pdu {
    fn eq(&self, other: &Self) -> bool {
        self.event_id() == other.event_id() && self.json() == other.json()
    }
}

impl Eq for Pdu {}

impl fmt::Debug for Pdu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pdu")
            .field("event_id", &self.event_id())
            .field("kind", self.kind())
            .field("state_key", &self.state_key())
            .field("sender", &self.sender())
            .finish_non_exhaustive()
    }
}

impl ruma::state_res::Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.inner.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        // The rules ask for what stands in the event, not for what follows from it.
        let derived = self.version().has_hashed_room_id() && *self.kind() == TimelineEventType::RoomCreate;
        (!derived).then(|| Pdu::room_id(self))
    }

    fn sender(&self) -> &UserId {
        Pdu::sender(self)
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        Pdu::origin_server_ts(self)
    }

    fn event_type(&self) -> &TimelineEventType {
        self.kind()
    }

    fn content(&self) -> &RawJsonValue {
        Pdu::content(self)
    }

    fn state_key(&self) -> Option<&str> {
        Pdu::state_key(self)
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.lent().prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.lent().auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.inner.head.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}

/// The canonical JSON of an event without `unsigned`.
fn canonical(version: RoomVersion, bytes: &[u8]) -> Result<String, FormatError> {
    raw_size(bytes)?;
    let numbers = if version.has_strict_json() { Numbers::Strict } else { Numbers::Lax };
    let canonical = canonicalize(bytes, numbers)?;
    object("event", &canonical)?;
    Ok(members::without_member(canonical, "unsigned"))
}

impl Head {
    /// Reads and checks the head of canonical event JSON.
    fn read(version: RoomVersion, text: &str) -> Result<Self, FormatError> {
        let mut raw = RawHead::default();
        for (key, value) in members::members(text) {
            match key {
                "auth_events" => raw.auth_events = Some(value),
                "content" => raw.content = Some(value),
                "depth" => raw.depth = Some(value),
                "hashes" => raw.hashes = Some(value),
                "origin_server_ts" => raw.origin_server_ts = Some(value),
                "prev_events" => raw.prev_events = Some(value),
                "redacts" => raw.redacts = Some(value),
                "room_id" => raw.room_id = Some(value),
                "sender" => raw.sender = Some(value),
                "signatures" => raw.signatures = Some(value),
                "state_key" => raw.state_key = Some(value),
                "type" => raw.kind = Some(value),
                _ => {}
            }
        }
        let kind = name_string(version, "type", required("type", raw.kind)?)?;
        let kind = TimelineEventType::from(kind.as_ref());
        let state_key = raw.state_key.map(|raw| name_string(version, "state_key", raw)).transpose()?;
        let state_key = state_key.map(Cow::into_owned);
        let sender = id_string("sender", required("sender", raw.sender)?)?;
        let sender =
            UserId::parse(sender.as_ref()).map_err(|source| FormatError::Id { field: "sender", source })?;
        let content = required("content", raw.content)?;
        object("content", content)?;
        object("hashes", required("hashes", raw.hashes)?)?;
        object("signatures", required("signatures", raw.signatures)?)?;

        let names_room = kind == TimelineEventType::RoomCreate && version.has_hashed_room_id();
        let room_id = match raw.room_id {
            Some(_) if names_room => return Err(FormatError::Unexpected { field: "room_id" }),
            None if names_room => None,
            room_id => Some(read_room_id(required("room_id", room_id)?)?),
        };
        let prev_events =
            read_named(text, "prev_events", required("prev_events", raw.prev_events)?, MAX_PREV_EVENTS)?;
        let auth_events =
            read_named(text, "auth_events", required("auth_events", raw.auth_events)?, MAX_AUTH_EVENTS)?;
        let ts = read_unsigned("origin_server_ts", required("origin_server_ts", raw.origin_server_ts)?)?;
        let ts = UInt::new(ts).ok_or(FormatError::OutOfRange { field: "origin_server_ts" })?;
        let depth = read_unsigned("depth", required("depth", raw.depth)?)?;

        let redacts = if kind != TimelineEventType::RoomRedaction {
            None
        } else if version.has_redacts_in_content() {
            members::find(content, "redacts")
        } else {
            raw.redacts
        };
        // A redaction of something that is no event redacts nothing; it is an event all the same.
        let redacts = redacts.and_then(members::string).and_then(|id| EventId::parse(id.as_ref()).ok());

        let span = |part: &str| Span::of(part, text);
        Ok(Self {
            raw_kind: raw.kind.map(span).unwrap_or_default(),
            raw_sender: raw.sender.map(span).unwrap_or_default(),
            raw_state_key: raw.state_key.map(span),
            room_id,
            sender,
            kind,
            state_key,
            prev_events,
            auth_events,
            depth,
            origin_server_ts: MilliSecondsSinceUnixEpoch(ts),
            redacts,
            content: span(content),
        })
    }
}

#[derive(Default)]
struct RawHead<'a> {
    auth_events: Option<&'a str>,
    content: Option<&'a str>,
    depth: Option<&'a str>,
    hashes: Option<&'a str>,
    kind: Option<&'a str>,
    origin_server_ts: Option<&'a str>,
    prev_events: Option<&'a str>,
    redacts: Option<&'a str>,
    room_id: Option<&'a str>,
    sender: Option<&'a str>,
    signatures: Option<&'a str>,
    state_key: Option<&'a str>,
}

/// Refuses what is too large to be an event in any spelling.
pub(crate) fn raw_size(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() > MAX_RAW_BYTES { Err(FormatError::TooLarge { size_bytes: bytes.len() }) } else { Ok(()) }
}

fn required<'a>(field: &'static str, raw: Option<&'a str>) -> Result<&'a str, FormatError> {
    raw.ok_or(FormatError::Missing { field })
}

fn object(field: &'static str, raw: &str) -> Result<(), FormatError> {
    if raw.starts_with('{') { Ok(()) } else { Err(FormatError::WrongType { field, expected: "an object" }) }
}

fn id_string<'a>(field: &'static str, raw: &'a str) -> Result<Cow<'a, str>, FormatError> {
    let text = members::string(raw).ok_or(FormatError::WrongType { field, expected: "a string" })?;
    if text.len() > MAX_ID_BYTES {
        return Err(FormatError::TooLong { field });
    }
    Ok(text)
}

/// A type or state key. Rooms of versions before 11 have some of more than 255 bytes: servers used to count
/// characters, and a server that drops such an event loses the room's state. We make none.
fn name_string<'a>(
    version: RoomVersion,
    field: &'static str,
    raw: &'a str,
) -> Result<Cow<'a, str>, FormatError> {
    if version >= RoomVersion::V11 {
        return id_string(field, raw);
    }
    let text = members::string(raw).ok_or(FormatError::WrongType { field, expected: "a string" })?;
    if text.chars().count() > MAX_ID_BYTES {
        return Err(FormatError::TooLong { field });
    }
    Ok(text)
}

fn read_room_id(raw: &str) -> Result<OwnedRoomId, FormatError> {
    let text = id_string("room_id", raw)?;
    RoomId::parse(text.as_ref()).map_err(|source| FormatError::Id { field: "room_id", source })
}

/// Reads and checks a list of ids, a part of the event `json`.
fn read_named(json: &str, field: &'static str, raw: &str, limit: usize) -> Result<NamedAt, FormatError> {
    if !raw.starts_with('[') {
        return Err(FormatError::WrongType { field, expected: "an array" });
    }
    let mut count = 0_u32;
    for item in items(raw) {
        if count as usize == limit {
            return Err(FormatError::TooMany { field, limit });
        }
        let text = id_string(field, item)?;
        <&EventId>::try_from(text.as_ref()).map_err(|source| FormatError::Id { field, source })?;
        count += 1;
    }
    Ok(NamedAt::new(json, raw, count))
}

fn read_unsigned(field: &'static str, raw: &str) -> Result<u64, FormatError> {
    if !raw.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err(FormatError::WrongType { field, expected: "an integer" });
    }
    raw.parse::<i64>()
        .ok()
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(FormatError::OutOfRange { field })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn ids_are_read_where_they_stand_also_with_commas_and_escapes() {
        for (raw, expected) in [
            ("[]", vec![]),
            (r#"["$a"]"#, vec!["$a"]),
            (r#"["$a","$b,[]:c","$d"]"#, vec!["$a", "$b,[]:c", "$d"]),
            (r#"["$a","$b\"c","$d\\"]"#, vec!["$a", "$b\"c", "$d\\"]),
        ] {
            let json = format!(r#"{{"auth_events":{raw},"depth":1}}"#);
            let at = read_named(&json, "auth_events", &json[15..15 + raw.len()], 3).unwrap();
            let named = at.of(&json);
            assert_eq!(named.iter().map(EventId::as_str).collect::<Vec<_>>(), expected);
            assert_eq!((named.len(), named.is_empty()), (expected.len(), expected.is_empty()));
            assert_eq!(named.to_vec(), expected);
            assert!(expected.iter().all(|id| named.contains(<&EventId>::try_from(*id).unwrap())));
            assert!(!named.contains(<&EventId>::try_from("$x").unwrap()));
        }
    }

    #[test]
    fn what_is_no_list_of_ids_is_refused() {
        let read = |raw: &str| read_named(raw, "prev_events", raw, 2);
        assert!(matches!(read("{}"), Err(FormatError::WrongType { .. })));
        assert!(matches!(read("[1]"), Err(FormatError::WrongType { .. })));
        assert!(matches!(read(r#"["a"]"#), Err(FormatError::Id { .. })));
        assert!(matches!(read(r#"["$a","$b","$c"]"#), Err(FormatError::TooMany { .. })));
        let long = format!(r#"["${}"]"#, "a".repeat(300));
        assert!(matches!(read(&long), Err(FormatError::TooLong { .. })));
    }
}
