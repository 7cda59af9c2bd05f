//! Which servers are in a room at a place of the log.
//!
//! The state before an event and the state after it tell who was there: the room's timeline has them for each of its
//! rows. A set of servers is kept for each room and moved from one state to the next by what differs, so nobody is sent
//! what was said behind his back, nobody who was there is left out, and neither is otherwise where the log is read
//! again from a place that lies far back.

use std::{collections::HashMap, sync::Arc};

use base::{ByteSize, Cache, Caches};
use room::{Error, RoomSerial, Rooms, Root, read::servers::RoomServers};
use ruma::{OwnedServerName, ServerName};
use tracing::warn;

/// The servers of rooms, each as it was at the place of the log that was looked at last. What is forgotten is read
/// again where it is needed.
pub(super) struct Rosters {
    rooms: Rooms,
    sets: Cache<RoomSerial, Arc<RoomServers>>,
    /// Those that were taken in last, whatever the cache keeps: read before the states through which they are moved.
    near: HashMap<RoomSerial, Arc<RoomServers>>,
}

/// The servers in a room just before or just after an entry of the log.
#[derive(Debug)]
pub(super) struct Presence {
    after: Option<Arc<RoomServers>>,
    /// Those that were there before and are not any more.
    gone: Vec<OwnedServerName>,
}

impl Rosters {
    /// Sets that take so much memory.
    pub(super) fn new(rooms: Rooms, caches: &Caches, memory: ByteSize) -> Self {
        let owned =
            |_: &RoomSerial, servers: &Arc<RoomServers>| size_of::<RoomServers>() + servers.memory_bytes();
        let sets = Cache::of_large(caches, "federation_rosters", memory.as_u64(), owned);
        Self { rooms, sets, near: HashMap::new() }
    }

    /// Reads the sets of these rooms that are not in memory, together, and holds all of them until the next time. Of all
    /// it is noted who was told to be there; so it is done before the states are read through which they are moved.
    pub(super) async fn take_in(&mut self, rooms: impl Iterator<Item = RoomSerial>) -> Result<(), Error> {
        self.near.clear();
        let mut wanted = Vec::new();
        for room in rooms {
            match self.sets.get(&room) {
                Some(mut known) => {
                    self.rooms.note_told(room, &mut known).await?;
                    self.near.insert(room, known);
                }
                None => wanted.push(room),
            }
        }
        if !wanted.is_empty() {
            let read = self.rooms.servers_now(&wanted).await?;
            self.near.extend(read.into_iter().map(|(room, servers)| (room, Arc::new(servers))));
        }
        Ok(())
    }

    /// The servers that are in a room in either of two states of it that follow each other; without states, those
    /// that are known.
    pub(super) async fn between(
        &mut self,
        room: RoomSerial,
        states: Option<(Root, Root)>,
    ) -> Result<Presence, Error> {
        match self.move_on(room, states).await {
            Ok((after, gone)) => Ok(Presence { after: Some(after), gone }),
            // Of a room that is being purged, or damaged, those hear that are listed: it must not stop the log.
            Err(Error::Inconsistent(cause)) => {
                warn!(room = room.0, cause, "who is in a room cannot be told from its states");
                Ok(Presence { after: None, gone: self.rooms.servers_in_room(room).await? })
            }
            Err(error) => Err(error),
        }
    }

    /// Moves a room's set through two states; returns it, and those that the second has not any more.
    async fn move_on(
        &mut self,
        room: RoomSerial,
        states: Option<(Root, Root)>,
    ) -> Result<(Arc<RoomServers>, Vec<OwnedServerName>), Error> {
        // Not in its place while it is moved: a set of which something cannot be read any more is read anew.
        let near = self.near.remove(&room);
        let is_near = near.is_some();
        let kept = self.sets.get(&room);
        let mut servers = match near.or_else(|| kept.clone()) {
            Some(servers) => servers,
            None => Arc::new(self.rooms.servers_now(&[room]).await?.remove(&room).unwrap_or_default()),
        };
        let mut gone = Vec::new();
        let is_there = |(before, after): (Root, Root)| before == after && servers.root() == after;
        if let Some((before, after)) = states.filter(|states| !is_there(*states)) {
            drop(kept);
            self.sets.remove(&room);
            let moving = Arc::make_mut(&mut servers);
            self.rooms.move_servers(room, moving, before).await?;
            gone = self.rooms.move_servers(room, moving, after).await?;
            self.sets.insert(room, servers.clone());
        } else if kept.is_none_or(|kept| !Arc::ptr_eq(&kept, &servers)) {
            self.sets.insert(room, servers.clone());
        }
        if is_near {
            self.near.insert(room, servers.clone());
        }
        Ok((servers, gone))
    }
}

impl Presence {
    pub(super) fn len(&self) -> usize {
        self.after.as_ref().map_or(0, |after| after.len()) + self.gone.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OwnedServerName> {
        self.after.iter().flat_map(|after| after.iter()).chain(&self.gone)
    }

    pub(super) fn includes(&self, server: &ServerName) -> bool {
        self.after.as_ref().is_some_and(|after| after.includes(server))
            || self.gone.iter().any(|gone| gone == server)
    }
}
