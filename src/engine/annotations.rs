//! Annotations: nobody says the same of an event twice, as long as the first is not taken back.
//!
//! Only what users of ours send is refused for that. What others send was said, and the room has it.
//!
//! The events that relate to the same one are looked through before the room is locked, as there may be thousands; under
//! the lock those are left that came meanwhile.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#avoiding-duplicate-annotations>

use std::sync::Arc;

use pdu::Draft;
use room::{
    Error, Order, RoomSerial, Rooms,
    read::event::StoredEvent,
    tables::{RELATIONS, RelationRow},
};
use ruma::OwnedEventId;
use serde::Deserialize;
use store::{Range, Store};

/// So many of what relates to an event are looked through, the newest first; and of those so many are read, as one user
/// sent them.
const MAX_ROWS: usize = 10_000;
const MAX_READ: usize = 1_000;
/// Rows and events that are read in one round.
const ROWS_AT_ONCE: usize = 1_000;
const READ_AT_ONCE: usize = 100;

/// What a draft says of an event.
pub(crate) struct Annotation {
    of: OwnedEventId,
    key: String,
}

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "m.relates_to")]
    relates_to: RelatesTo,
}

#[derive(Deserialize)]
struct RelatesTo {
    rel_type: String,
    event_id: OwnedEventId,
    key: String,
}

const ANNOTATION: &str = "m.annotation";

impl Annotation {
    /// What a draft says of an event, if it is an annotation.
    pub(crate) fn of_draft(draft: &Draft) -> Option<Self> {
        if draft.state_key.is_some() {
            return None;
        }
        Self::read(draft.content.get())
    }

    fn read(content: &str) -> Option<Self> {
        // Most events are none: looking for the name, or for escapes that may spell it, is cheaper than parsing.
        if !(content.contains(ANNOTATION) || content.contains("\\u")) {
            return None;
        }
        let RelatesTo { rel_type, event_id, key } = serde_json::from_str::<Content>(content).ok()?.relates_to;
        (rel_type == ANNOTATION).then_some(Self { of: event_id, key })
    }

    /// Whether an event says the same as the draft, and is not taken back.
    fn is_in(&self, draft: &Draft, event: &StoredEvent) -> bool {
        event.sender() == draft.sender
            && event.kind() == draft.kind.to_string()
            && event.state_key().is_none()
            && event.meta().redacted_by.is_none()
            && Self::read(event.pdu().content_str())
                .is_some_and(|other| other.of == self.of && other.key == self.key)
    }

    /// Whether one of these says the same.
    pub(crate) fn is_among<'a>(
        &self,
        draft: &Draft,
        mut on_their_way: impl Iterator<Item = &'a Arc<StoredEvent>>,
    ) -> bool {
        on_their_way.any(|event| self.is_in(draft, event))
    }

    /// Refuses an annotation that its sender has made before, as far as that came after a place; says how far was looked.
    ///
    /// # Errors
    /// [`Error::DuplicateAnnotation`], [`Error::Store`], [`Error::Inconsistent`].
    pub(crate) async fn refuse_same(
        &self,
        (rooms, store): (&Rooms, &Store),
        room: RoomSerial,
        draft: &Draft,
        after: Option<Order>,
    ) -> Result<Option<Order>, Error> {
        let kind = draft.kind.to_string();
        let is_like =
            |row: &RelationRow| row.rel_type == ANNOTATION && row.sender == draft.sender && row.kind == kind;
        let key = |order: Order| (room, self.of.to_string(), order);
        let (mut newest, mut oldest) = (after, None);
        let (mut rows_left, mut left) = (MAX_ROWS, MAX_READ);
        while rows_left > 0 && left > 0 {
            let mut range = Range::prefix(&(room, self.of.as_str()));
            if let Some(after) = after {
                range = range.after(&key(after));
            }
            if let Some(oldest) = oldest {
                range = range.before(&key(oldest));
            }
            let rows = store.scan(&RELATIONS, range, store::Order::Descending, ROWS_AT_ONCE).await?;
            if let (None, Some(((_, _, first), _))) = (oldest, rows.first()) {
                newest = Some(*first);
            }
            let like: Vec<_> = rows
                .iter()
                .filter(|(_, row)| is_like(row))
                .map(|(_, row)| (room, row.child))
                .take(left)
                .collect();
            for some in like.chunks(READ_AT_ONCE) {
                let events = rooms.load_events(some).await?;
                if events.iter().flatten().any(|event| self.is_in(draft, event)) {
                    return Err(Error::DuplicateAnnotation);
                }
            }
            left -= like.len();
            rows_left = rows_left.saturating_sub(rows.len());
            oldest = rows.last().map(|((_, _, last), _)| *last);
            if rows.len() < ROWS_AT_ONCE {
                break;
            }
        }
        Ok(newest)
    }
}
