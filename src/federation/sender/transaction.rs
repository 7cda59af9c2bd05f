//! Transactions as bytes.
//!
//! The body is written in canonical form at once, from events that are canonical already, so that it
//! is signed as it stands and no event is parsed or written a second time.
//!
//! The transaction's id follows from the positions it covers and from what is in it, to the byte. So the same
//! transaction tried again, even after a crash, has the same id, and another one has not: nor has one of the same
//! events of which one was redacted meanwhile. Of what it is made is noted before it is sent
//! ([`crate::tables::LAST_SENT`]) where another process may go on with it.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#transactions>

use std::{collections::BTreeMap, sync::Arc};

use account::Seen;
use base::Timestamp;
use bytes::Bytes;
use pdu::json::{write_integer, write_string};
use room::read::event::StoredEvent;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName};
use store::Position;
use to_device::Unit;

use crate::tables::SentRow;

/// A transaction has at most so many events, and so many ephemeral units.
pub(crate) const MOST_PDUS: usize = 50;
pub(crate) const MOST_EDUS: usize = 100;

/// Events of more bytes in all are spread over several transactions.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// Users in one unit of presence, and its bytes about.
const MOST_PRESENT: usize = 100;
const PRESENCE_BYTES: usize = 48 * 1024;

/// How a unit of presence ends.
const PRESENCE_END: &str = "\"edu_type\":\"m.presence\"}";

/// The largest number that canonical JSON has.
const LONGEST_AGO: i64 = (1 << 53) - 1;

/// An event on its way out; the event itself is shared by all who get it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) position: Position,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) event: Arc<StoredEvent>,
}

/// A receipt on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutgoingReceipt {
    pub(crate) event_id: OwnedEventId,
    pub(crate) ts: u64,
    pub(crate) position: Position,
}

/// Whose receipt in which room and thread.
pub(crate) type ReceiptKey = (OwnedRoomId, OwnedUserId, Option<String>);

/// What goes into a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub(crate) origin: &'a ServerName,
    /// If it is part of what the peer lacked of one room.
    pub(crate) room: Option<&'a OwnedRoomId>,
    pub(crate) pdus: &'a [&'a Item],
    /// In canonical JSON, each with its position.
    pub(crate) edus: &'a [(Position, String)],
    /// Messages to devices, of which the positions say nothing of the log.
    pub(crate) units: &'a [Unit],
}

/// A transaction ready to be sent, to one server or to many, and sent again as it is.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: String,
    pub(crate) body: Bytes,
    /// How many events are in it.
    pub(crate) pdus: usize,
    /// How many ephemeral units are in it.
    pub(crate) edus: usize,
    /// How many units of messages to devices are in it besides.
    pub(crate) units: usize,
    /// Of the first and last thing in it, messages to devices apart.
    pub(crate) first: Position,
    pub(crate) last: Position,
    /// If it is part of what the peer lacked of one room.
    pub(crate) room: Option<OwnedRoomId>,
    origin: OwnedServerName,
    events: Vec<Arc<StoredEvent>>,
    /// From what it can be built again.
    parts: SentRow,
}

impl Transaction {
    /// What the store keeps of it while it is under way.
    pub(crate) fn row(&self) -> SentRow {
        self.parts.clone()
    }

    /// Whether it is what one of this content would be, but for the time.
    pub(crate) fn is_of(&self, content: &Content<'_>) -> bool {
        let Content { origin, room, pdus, edus, units } = content;
        let mut events = self.events.iter().zip(&self.parts.pdus).zip(pdus.iter());
        // An event that was redacted since is another value.
        let same =
            |((event, (.., position)), item): ((&Arc<StoredEvent>, &(_, _, Position)), &&Item)| -> bool {
                Arc::ptr_eq(event, &item.event) && *position == item.position
            };
        // Nobody else gets the same messages to devices.
        self.units == 0
            && units.is_empty()
            && self.origin == *origin
            && self.room.as_ref() == *room
            && self.parts.edus == *edus
            && self.events.len() == pdus.len()
            && events.all(same)
    }

    /// Whether it says nothing but who came and went.
    pub(crate) fn is_presence(&self) -> bool {
        let mut edus = self.parts.edus.iter();
        self.pdus == 0 && self.units == 0 && self.edus > 0 && edus.all(|(_, edu)| edu.ends_with(PRESENCE_END))
    }

    /// The place before its first event.
    pub(crate) fn before(&self) -> Position {
        let first = self.parts.pdus.first().map_or(self.first, |(.., position)| *position);
        Position(first.0.saturating_sub(1))
    }

    /// The place of its last event.
    pub(crate) fn last_pdu(&self) -> Option<Position> {
        self.parts.pdus.last().map(|(.., position)| *position)
    }
}

/// How many of these events, from the first on, go into one transaction of at most `limit` events.
pub(crate) fn fitting<'a>(items: impl IntoIterator<Item = &'a Item>, limit: usize) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for item in items.into_iter().take(limit.min(MOST_PDUS)) {
        bytes += item.event.pdu().json().len();
        if count > 0 && bytes > MOST_BYTES {
            break;
        }
        count += 1;
    }
    count
}

/// Writes a transaction.
pub(crate) fn build(content: &Content<'_>, now: Timestamp) -> Transaction {
    let Content { origin, room, pdus, edus, units } = *content;
    let mut size = 128;
    for pdu in pdus {
        size += pdu.event.pdu().json().len() + 1;
    }
    size += edus.iter().map(|(_, edu)| edu.len() + 1).sum::<usize>();
    size += units.iter().map(|unit| unit.json.len() + 1).sum::<usize>();
    let mut body = String::with_capacity(size);
    let mut hash = blake3::Hasher::new();
    body.push('{');
    // Units are written by ourselves, so they are text.
    let of_devices = units.iter().map(|unit| std::str::from_utf8(&unit.json).unwrap_or_default());
    let all = edus.iter().map(|(_, edu)| &**edu).chain(of_devices);
    for (index, edu) in all.enumerate() {
        body.push_str(if index == 0 { "\"edus\":[" } else { "," });
        body.push_str(edu);
        hash.update(edu.as_bytes());
    }
    if !(edus.is_empty() && units.is_empty()) {
        body.push_str("],");
    }
    body.push_str("\"origin\":");
    write_string(origin.as_str(), &mut body);
    body.push_str(",\"origin_server_ts\":");
    write_integer(i64::try_from(now.millis()).unwrap_or(i64::MAX), &mut body);
    body.push_str(",\"pdus\":[");
    for (index, item) in pdus.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        let json = item.event.pdu().json_str();
        body.push_str(json);
        hash.update(json.as_bytes());
    }
    body.push_str("]}");

    let positions = pdus.iter().map(|item| item.position).chain(edus.iter().map(|(position, _)| *position));
    let first = positions.clone().min().unwrap_or(Position(now.millis()));
    let last = positions.max().unwrap_or(first);
    let hash = hash.finalize().to_hex();
    let id = match (units.first(), units.last()) {
        (Some(one), Some(other)) => {
            format!("{first}-{last}-{}-{}-{}", one.position, other.position, &hash[..12])
        }
        _ => format!("{first}-{last}-{}", &hash[..12]),
    };
    let parts = SentRow {
        ts: now.millis(),
        room: room.map(ToString::to_string),
        pdus: pdus.iter().map(|item| (item.event.room(), item.event.serial(), item.position)).collect(),
        edus: edus.to_vec(),
    };
    Transaction {
        id,
        body: Bytes::from(body),
        pdus: pdus.len(),
        edus: edus.len(),
        units: units.len(),
        first,
        last,
        room: room.cloned(),
        origin: origin.to_owned(),
        events: pdus.iter().map(|item| item.event.clone()).collect(),
        parts,
    }
}

/// A typing notification as an ephemeral unit in canonical JSON.
pub(crate) fn typing_edu(room_id: &OwnedRoomId, user_id: &OwnedUserId, typing: bool) -> String {
    let mut out = String::from("{\"content\":{\"room_id\":");
    write_string(room_id.as_str(), &mut out);
    out.push_str(if typing { ",\"typing\":true,\"user_id\":" } else { ",\"typing\":false,\"user_id\":" });
    write_string(user_id.as_str(), &mut out);
    out.push_str("},\"edu_type\":\"m.typing\"}");
    out
}

/// What somebody is shown as, as other servers are told, in canonical JSON.
pub(crate) fn presence_unit(seen: &Seen) -> Arc<str> {
    let mut out = String::from("{\"currently_active\":");
    out.push_str(if seen.is_active { "true" } else { "false" });
    out.push_str(",\"last_active_ago\":");
    write_integer(i64::try_from(seen.active_ago.as_millis()).unwrap_or(i64::MAX).min(LONGEST_AGO), &mut out);
    out.push_str(",\"presence\":");
    write_string(seen.state.name(), &mut out);
    if let Some(status) = &seen.status {
        out.push_str(",\"status_msg\":");
        write_string(status, &mut out);
    }
    out.push_str(",\"user_id\":");
    write_string(seen.user.as_str(), &mut out);
    out.push('}');
    Arc::from(out)
}

/// Presence of some users as one ephemeral unit in canonical JSON.
fn presence_edu<'a>(units: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::from("{\"content\":{\"push\":[");
    for (index, unit) in units.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(unit);
    }
    out.push_str("]},");
    out.push_str(PRESENCE_END);
    out
}

/// One unit of those who came or went; the others follow.
pub(crate) fn take_presence(
    presence: &mut BTreeMap<OwnedUserId, (Arc<str>, Position)>,
) -> Option<(Position, String)> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(first) = presence.first_entry()
        && taken.len() < MOST_PRESENT
        && (taken.is_empty() || bytes + first.get().0.len() <= PRESENCE_BYTES)
    {
        let unit = first.remove();
        bytes += unit.0.len();
        taken.push(unit);
    }
    let last = taken.iter().map(|(_, position)| *position).max()?;
    Some((last, presence_edu(taken.iter().map(|(unit, _)| &**unit))))
}

/// Takes receipts, as `most` ephemeral units in canonical JSON or fewer: as few as can be, since one unit has one receipt
/// for each user and room. What a user with many threads has beyond that stays, and is taken next time.
pub(crate) fn take_receipts(
    receipts: &mut BTreeMap<ReceiptKey, OutgoingReceipt>,
    most: usize,
) -> Vec<(Position, String)> {
    let mut units: Vec<ReceiptUnit> = Vec::new();
    let mut later = BTreeMap::new();
    for ((room, user, thread), receipt) in std::mem::take(receipts) {
        let is_free = |unit: &ReceiptUnit| !unit.get(&room).is_some_and(|users| users.contains_key(&user));
        let index = units.iter().position(is_free).unwrap_or(units.len());
        if index >= most {
            later.insert((room, user, thread), receipt);
            continue;
        }
        if index == units.len() {
            units.push(ReceiptUnit::new());
        }
        units[index].entry(room).or_default().insert(user, (thread, receipt));
    }
    *receipts = later;
    units.iter().map(receipt_edu).collect()
}

/// By room and user, with the thread.
type ReceiptUnit = BTreeMap<OwnedRoomId, BTreeMap<OwnedUserId, (Option<String>, OutgoingReceipt)>>;

fn receipt_edu(unit: &ReceiptUnit) -> (Position, String) {
    let mut out = String::from("{\"content\":{");
    let mut last = Position::START;
    for (index, (room, users)) in unit.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(room.as_str(), &mut out);
        out.push_str(":{\"m.read\":{");
        for (index, (user, (thread, receipt))) in users.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_string(user.as_str(), &mut out);
            out.push_str(":{\"data\":{");
            if let Some(thread) = thread {
                out.push_str("\"thread_id\":");
                write_string(thread, &mut out);
                out.push(',');
            }
            out.push_str("\"ts\":");
            write_integer(i64::try_from(receipt.ts).unwrap_or(i64::MAX), &mut out);
            out.push_str("},\"event_ids\":[");
            write_string(receipt.event_id.as_str(), &mut out);
            out.push_str("]}");
            last = last.max(receipt.position);
        }
        out.push_str("}}");
    }
    out.push_str("},\"edu_type\":\"m.receipt\"}");
    (last, out)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use ruma::{owned_event_id, owned_room_id, owned_user_id, server_name};

    use super::*;
    use crate::xmatrix::canonical_body;

    fn receipts(users: &[(&str, Option<&str>)]) -> BTreeMap<ReceiptKey, OutgoingReceipt> {
        let room = owned_room_id!("!r:a.test");
        let one = |(user, thread): &(&str, Option<&str>)| {
            let key = (room.clone(), ruma::UserId::parse(*user).unwrap(), thread.map(str::to_owned));
            let receipt = OutgoingReceipt { event_id: owned_event_id!("$e"), ts: 7, position: Position(3) };
            (key, receipt)
        };
        users.iter().map(one).collect()
    }

    #[test]
    fn receipts_of_a_room_share_a_unit_unless_one_user_has_two() {
        let all = |users| take_receipts(&mut receipts(users), MOST_EDUS);
        let one = all(&[("@a:a.test", None), ("@b:a.test", Some("main"))]);
        assert_eq!(
            one,
            [(
                Position(3),
                r#"{"content":{"!r:a.test":{"m.read":{"@a:a.test":{"data":{"ts":7},"event_ids":["$e"]},"@b:a.test":{"data":{"thread_id":"main","ts":7},"event_ids":["$e"]}}}},"edu_type":"m.receipt"}"#.to_owned()
            )]
        );
        assert_eq!(all(&[("@a:a.test", None), ("@a:a.test", Some("$t"))]).len(), 2);
        assert!(all(&[]).is_empty());
    }

    #[test]
    fn receipts_that_find_no_place_stay() {
        let of_a = |threads: &[&'static str]| -> Vec<(&'static str, Option<&'static str>)> {
            threads.iter().map(|thread| ("@a:a.test", Some(*thread))).collect()
        };
        let mut waiting = receipts(&[of_a(&["$1", "$2", "$3"]), vec![("@b:a.test", Some("main"))]].concat());
        assert_eq!(take_receipts(&mut waiting, 2).len(), 2);
        assert_eq!(waiting.keys().collect::<Vec<_>>(), receipts(&of_a(&["$3"])).keys().collect::<Vec<_>>());
        assert!(take_receipts(&mut waiting, 0).is_empty());
        assert_eq!(take_receipts(&mut waiting, 2).len(), 1);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_transaction_is_canonical_and_its_id_follows_from_its_content() {
        let typing = typing_edu(&owned_room_id!("!r:a.test"), &owned_user_id!("@a:a.test"), true);
        let edus = [(Position(9), typing)];
        let content =
            |edus| Content { origin: server_name!("a.test"), room: None, pdus: &[], edus, units: &[] };
        let first = build(&content(&edus), Timestamp(5));
        assert_eq!(
            first.body,
            r#"{"edus":[{"content":{"room_id":"!r:a.test","typing":true,"user_id":"@a:a.test"},"edu_type":"m.typing"}],"origin":"a.test","origin_server_ts":5,"pdus":[]}"#
        );
        assert_eq!(canonical_body(&first.body).unwrap().unwrap(), first.body);

        let later = build(&content(&edus), Timestamp(6));
        assert_eq!(first.id, later.id);
        let again = [(Position(10), edus[0].1.clone())];
        assert_ne!(first.id, build(&content(&again), Timestamp(5)).id);
    }
}
