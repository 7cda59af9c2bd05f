//! Which servers are in a room at a place of the log.
//!
//! The state before an event and the state after it tell who was there: the room's timeline has them for each of its
//! rows. A set of servers is kept for each room and moved from one state to the next by what differs, so nobody is sent
//! what was said behind his back, nobody who was there is left out, and neither is otherwise where the log is read
//! again from a place that lies far back.

use std::collections::HashMap;

use room::{Error, RoomSerial, Rooms, Root, read::servers::RoomServers};
use ruma::{OwnedServerName, ServerName};
use tracing::warn;

/// Names in the sets of all rooms; above it they are forgotten, and read again where they are needed.
const MOST_NAMES: usize = 300_000;

/// The servers of rooms, each as it was at the place of the log that was looked at last.
pub(super) struct Rosters {
    rooms: Rooms,
    sets: HashMap<RoomSerial, RoomServers>,
    most_names: usize,
}

/// The servers in a room just before or just after an entry of the log.
#[derive(Debug)]
pub(super) struct Presence<'a> {
    after: Option<&'a RoomServers>,
    /// Those that were there before and are not any more.
    gone: Vec<OwnedServerName>,
}

impl Rosters {
    pub(super) fn new(rooms: Rooms) -> Self {
        Self { rooms, sets: HashMap::new(), most_names: MOST_NAMES }
    }

    /// Reads the sets of these rooms that are not in memory, together. Of all it is noted who was told to be there; so it
    /// is done before the states are read through which they are moved.
    pub(super) async fn take_in(&mut self, rooms: impl Iterator<Item = RoomSerial>) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for room in rooms {
            match self.sets.get_mut(&room) {
                Some(known) => self.rooms.note_told(room, known).await?,
                None => wanted.push(room),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if self.sets.values().map(RoomServers::len).sum::<usize>() > self.most_names {
            self.sets.clear();
        }
        self.sets.extend(self.rooms.servers_now(&wanted).await?);
        Ok(())
    }

    /// The servers that are in a room in either of two states of it that follow each other; without states, those
    /// that are known.
    pub(super) async fn between(
        &mut self,
        room: RoomSerial,
        states: Option<(Root, Root)>,
    ) -> Result<Presence<'_>, Error> {
        match self.move_on(room, states).await {
            Ok(gone) => Ok(Presence { after: self.sets.get(&room), gone }),
            // Of a room that is being purged, or damaged, those hear that are listed: it must not stop the log.
            Err(Error::Inconsistent(cause)) => {
                warn!(room = room.0, cause, "who is in a room cannot be told from its states");
                Ok(Presence { after: None, gone: self.rooms.servers_in_room(room).await? })
            }
            Err(error) => Err(error),
        }
    }

    /// Moves a room's set through two states; returns those that the second has not any more.
    async fn move_on(
        &mut self,
        room: RoomSerial,
        states: Option<(Root, Root)>,
    ) -> Result<Vec<OwnedServerName>, Error> {
        // Who was told to be in one that is in memory is as it was before the states were read.
        if !self.sets.contains_key(&room) {
            self.take_in(std::iter::once(room)).await?;
        }
        // Not in its place while it is moved: a set of which something cannot be read any more is read anew.
        let mut servers = self.sets.remove(&room).unwrap_or_default();
        let mut gone = Vec::new();
        if let Some((before, after)) = states {
            self.rooms.move_servers(room, &mut servers, before).await?;
            gone = self.rooms.move_servers(room, &mut servers, after).await?;
        }
        self.sets.insert(room, servers);
        Ok(gone)
    }
}

impl Presence<'_> {
    pub(super) fn len(&self) -> usize {
        self.after.map_or(0, RoomServers::len) + self.gone.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OwnedServerName> {
        self.after.into_iter().flat_map(RoomServers::iter).chain(&self.gone)
    }

    pub(super) fn includes(&self, server: &ServerName) -> bool {
        self.after.is_some_and(|after| after.includes(server)) || self.gone.iter().any(|gone| gone == server)
    }
}
