//! Filters of `/sync`, made ready for use.

use std::collections::HashSet;

use room::read::filter::EventFilter;
use ruma::{
    OwnedRoomId, RoomId,
    api::client::filter::{Filter, FilterDefinition, RoomEventFilter},
};

use crate::{Error, shape::Shape};

/// How many timeline events of a room are sent when the client does not say.
const TIMELINE_LIMIT: usize = 10;

/// The most timeline events of a room in one answer.
const MAX_TIMELINE_LIMIT: usize = 100;

/// What a client wants to hear.
#[derive(Clone, Debug, Default)]
pub struct SyncFilter {
    /// Timeline events.
    pub(crate) timeline: EventFilter,
    /// State events.
    pub(crate) state: EventFilter,
    /// Typing and receipts.
    pub(crate) ephemeral: EventFilter,
    /// Account data of rooms.
    pub(crate) room_data: EventFilter,
    /// Global account data.
    pub(crate) data: EventFilter,
    /// Who comes and goes.
    pub(crate) presence: EventFilter,
    /// Whether rooms that were left before the first sync are told of.
    pub(crate) include_leave: bool,
    /// Whether what is unread in threads is told for each of them.
    pub(crate) threads: bool,
    /// The form of events.
    pub(crate) shape: Shape,
    rooms: Option<HashSet<OwnedRoomId>>,
    not_rooms: HashSet<OwnedRoomId>,
    json_bytes: usize,
}

impl SyncFilter {
    /// Prepares what a client sent or stored.
    pub fn new(filter: &FilterDefinition) -> Self {
        Self {
            timeline: EventFilter::new(&filter.room.timeline),
            state: EventFilter::new(&filter.room.state),
            ephemeral: EventFilter::new(&filter.room.ephemeral),
            room_data: EventFilter::new(&filter.room.account_data),
            data: EventFilter::new(&of_types(&filter.account_data)),
            presence: EventFilter::new(&of_people(&filter.presence)),
            include_leave: filter.room.include_leave,
            threads: filter.room.timeline.unread_thread_notifications,
            shape: Shape::new(filter),
            rooms: filter.room.rooms.as_ref().map(|rooms| rooms.iter().cloned().collect()),
            not_rooms: filter.room.not_rooms.iter().cloned().collect(),
            json_bytes: 0,
        }
    }

    /// Reads a filter's JSON.
    ///
    /// # Errors
    /// [`Error::BadFilter`].
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let filter: FilterDefinition =
            serde_json::from_slice(json).map_err(|error| Error::BadFilter(error.to_string()))?;
        Ok(Self { json_bytes: json.len(), ..Self::new(&filter) })
    }

    /// What it takes in memory, in bytes: about, for each name is a string of its own.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + 16 + 2 * self.json_bytes
    }

    /// Whether the client wants to hear of this room at all.
    pub(crate) fn passes_room(&self, room: &RoomId) -> bool {
        !self.not_rooms.contains(room) && self.rooms.as_ref().is_none_or(|rooms| rooms.contains(room))
    }

    /// How many timeline events of a room are sent at most.
    pub(crate) fn timeline_limit(&self) -> usize {
        self.timeline.limit.unwrap_or(TIMELINE_LIMIT).min(MAX_TIMELINE_LIMIT)
    }
}

/// The part of a filter for things without a room that presence has.
fn of_people(filter: &Filter) -> RoomEventFilter {
    let mut people = of_types(filter);
    people.senders.clone_from(&filter.senders);
    people.not_senders.clone_from(&filter.not_senders);
    people.limit = filter.limit;
    people
}

/// The part of a filter for things without a room that account data has: types.
fn of_types(filter: &Filter) -> RoomEventFilter {
    let mut types = RoomEventFilter::default();
    types.types.clone_from(&filter.types);
    types.not_types.clone_from(&filter.not_types);
    types
}
