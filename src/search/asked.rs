//! What is asked.

use room::read::{event::StoredEvent, filter::EventFilter, view::Viewer};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};

use crate::{Field, Group, Place, Query, grams::Gram, query::Probe};

/// In which order results come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What fits best first.
    #[default]
    Rank,
    /// The newest first: by when it came here or, edited, was edited; what is from before a room was joined comes after all else.
    Recent,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub viewer: &'a Viewer<'a>,
    /// What he looks for.
    pub query: &'a Query,
    /// Where it may stand.
    pub fields: &'a [Field],
    /// Which events he wants.
    pub filter: &'a EventFilter,
    /// Only these rooms, with those in whose place they are.
    pub rooms: Option<&'a [OwnedRoomId]>,
    /// None of these.
    pub not_rooms: &'a [OwnedRoomId],
    /// Only what these said.
    pub senders: Option<&'a [OwnedUserId]>,
    /// In which order.
    pub order: Order,
    /// At most this many, and at most 100.
    pub limit: usize,
    /// Where to go on.
    pub from: Option<&'a Place>,
}

impl Asked<'_> {
    /// Whether an event is among those that are wanted.
    pub(crate) fn passes(&self, event: &StoredEvent) -> bool {
        let is_of_group = match self.from.and_then(|from| from.group.as_ref()) {
            Some(Group::Sender(sender)) => sender == event.sender(),
            Some(Group::Room(room)) => room == event.room_id(),
            None => true,
        };
        is_of_group && self.filter.passes(event)
    }

    /// What is looked up.
    pub(crate) fn probes(&self) -> Vec<Probe> {
        let mut probes = self.query.probes();
        let group = self.from.and_then(|from| match &from.group {
            Some(Group::Sender(sender)) => Some(sender),
            Some(Group::Room(_)) | None => None,
        });
        if let Some(sender) = group {
            probes.push(Probe::any_of([Gram::sender(sender.as_str())], 0));
        }
        if let Some(senders) = self.senders {
            probes.push(Probe::any_of(senders.iter().map(|sender| Gram::sender(sender.as_str())), 0));
        }
        if !self.fields.contains(&Field::Body) {
            probes.push(Probe::any_of(self.fields.iter().map(|field| Gram::field(*field)), 0));
        }
        probes
    }

    /// Whether a room is among those that are wanted, but for those that are named.
    pub(crate) fn wants_room(&self, room: &RoomId) -> bool {
        let is_of_group = match self.from.and_then(|from| from.group.as_ref()) {
            Some(Group::Room(group)) => group == room,
            Some(Group::Sender(_)) | None => true,
        };
        is_of_group && !self.not_rooms.iter().any(|other| other == room)
    }
}
