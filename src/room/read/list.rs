//! Lists of events that may be too long to be held at once, as that of the members of a large room.
//!
//! Which events they are is settled at the beginning; each is read when it is wanted. So an answer of thirty thousand
//! events takes as much memory as one of a few hundred, and leaves the cache of events as it was.

use std::{sync::Arc, vec};

use ruma::{OwnedDeviceId, OwnedUserId};

use crate::{
    Error, EventSerial, RoomSerial, Rooms,
    read::{
        event::{Keep, StoredEvent},
        members::MemberFilter,
        view::{Look, Viewer},
    },
};

/// So many events are read at a time.
pub const PART: usize = 500;

/// Events of a room that somebody may see, to be read part by part.
#[derive(Debug)]
pub struct EventList {
    rooms: Rooms,
    room: RoomSerial,
    user: OwnedUserId,
    device: Option<OwnedDeviceId>,
    rest: vec::IntoIter<EventSerial>,
    /// Which of the events are wanted: member events that pass, or all.
    members: Option<MemberFilter>,
    keep: Keep,
}

impl EventList {
    /// These events, as the viewer sees them who is spared none of them.
    pub(crate) fn new(
        rooms: &Rooms,
        viewer: &Viewer<'_>,
        room: RoomSerial,
        events: Vec<EventSerial>,
        members: Option<MemberFilter>,
    ) -> Self {
        Self {
            rooms: rooms.clone(),
            room,
            user: viewer.user.to_owned(),
            device: viewer.device.map(ToOwned::to_owned),
            keep: if events.len() > PART { Keep::Known } else { Keep::All },
            rest: events.into_iter(),
            members,
        }
    }

    /// Whether there is nothing left to read.
    pub fn is_at_end(&self) -> bool {
        self.rest.as_slice().is_empty()
    }

    /// The next events as they are stored; there may be none though the end is not reached.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Inconsistent`] when one is not there any more.
    pub async fn next_stored(&mut self) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let wanted: Vec<_> = self.rest.by_ref().take(PART).map(|event| (self.room, event)).collect();
        let events =
            self.rooms.find_events(&wanted, self.keep).await?.into_iter().collect::<Option<Vec<_>>>();
        let mut events = events.ok_or(Error::Inconsistent("an event that a row names is not there"))?;
        if let Some(filter) = self.members {
            events.retain(|event| event.membership().is_some_and(|membership| filter.passes(membership)));
        }
        Ok(events)
    }

    /// The next events as the viewer sees them; there may be none though the end is not reached.
    ///
    /// # Errors
    /// As [`EventList::next_stored`].
    pub async fn next(&mut self) -> Result<Vec<Look>, Error> {
        let events = self.next_stored().await?;
        let viewer = Viewer { device: self.device.as_deref(), ..Viewer::user(&self.user) };
        self.rooms.looks_keeping(&viewer, events, &[], self.keep).await
    }

    /// All that is left, for those who want it in one piece.
    ///
    /// # Errors
    /// As [`EventList::next_stored`].
    pub async fn gather(mut self) -> Result<Vec<Look>, Error> {
        let mut all = Vec::new();
        while !self.is_at_end() {
            all.extend(self.next().await?);
        }
        Ok(all)
    }
}
