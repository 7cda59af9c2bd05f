//! Rooms that lack members.
//!
//! Whoever comes into a large room may be told its state without the members, and is in at once; they come afterwards.
//! Until then the room is right in what it has, and nothing follows from what it has not: who is not among its members
//! may be one. That is said by the tip ([`Members`](crate::tables::Members)), by each event whose state
//! before it lacks them ([`EventMeta::partial`](crate::tables::EventMeta)), and by a row for each such room
//! ([`LACKING`]), by which whoever fills finds it.
//!
//! What needs all members takes [`AllMembers`], which is given by [`Rooms::all_members`] or, where somebody may wait for
//! them, [`Rooms::await_members`] alone. Asking costs no read: the few rooms are known to each process, and read again
//! when one begins or ends to lack members.
//!
//! Of who is in such a room more is known than its members: the server that let us in told which servers are
//! ([`TOLD_SERVERS`]). Where it counts whether a server is there, these are ([`Rooms::are_present`]).

use std::{collections::HashMap, sync::Arc, time::Duration};

use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use store::{Order, Position, Range, Remembered, Stamped, Table, Topic, Tuning};

use crate::{
    Error, EventSerial, RoomSerial, Rooms, Root,
    purge::known::purges_moved,
    read::{event::StoredEvent, room::RoomInfo},
    tables::SERVERS,
};

/// Rooms that lack members, and those that did; key: room. The stamp of one that has them all now is since when.
pub static LACKING: Table<RoomSerial, Stamped<LackingRow>> = Table::new(67, "room.lacking", Tuning::Small);

/// The servers in a room that lacks members, as we were told when we came in; key: room, server name.
pub static TOLD_SERVERS: Table<(RoomSerial, String), ()> = Table::new(68, "room.told_servers", Tuning::Small);

/// Events that got their place while members were lacking: what was made of them is to be looked at again; key: room,
/// event.
pub static UNSETTLED: Table<(RoomSerial, EventSerial), ()> = Table::new(69, "room.unsettled", Tuning::Queue);

/// So many servers are kept of an answer that leaves members out.
pub const MOST_TOLD: usize = 5_000;

/// So many servers are kept that may be asked for the members.
pub const MOST_ASKED: usize = 20;

/// How long somebody waits for members who cannot be answered without.
const PATIENCE: Duration = Duration::from_secs(10);

/// Row of [`LACKING`], stamped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LackingRow {
    /// How far the members have come. None: all are there.
    pub filling: Option<Filling>,
}
store::row!(LackingRow, schema = 1);

/// How far the members of a room have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filling {
    /// The join by which we came in.
    pub join: EventSerial,
    /// Servers that can be asked: first the one that let us in. At most [`MOST_ASKED`].
    pub via: Vec<OwnedServerName>,
    /// The state after the join, as it was without its members.
    pub without: Root,
    /// The state before the join, as far as it is made.
    pub before: Root,
    /// It is all made; what is left is what has happened since.
    pub is_made: bool,
    /// Grows by one with each slice.
    pub slices: u64,
    /// How often all servers were asked in vain.
    pub tries: u32,
    /// Nobody else goes on with it before, in ms since 1970.
    pub held_until: u64,
}

/// Moves when a room begins to lack members or has them all, and when rows of its timeline are written anew for that.
pub fn lacking_moved() -> Topic {
    Topic::new(26, "room.lacking")
}

/// The proof that all members of a room are known.
#[derive(Clone, Copy, Debug)]
pub struct AllMembers(RoomSerial);

impl AllMembers {
    /// The room.
    pub const fn room(self) -> RoomSerial {
        self.0
    }
}

/// The rooms that lack members, and those that did.
#[derive(Debug, Default)]
pub struct LackingRooms(HashMap<RoomSerial, Option<Position>>);

impl LackingRooms {
    /// Whether a room lacks members.
    pub fn lacks(&self, room: RoomSerial) -> bool {
        self.0.get(&room).is_some_and(Option::is_none)
    }

    /// Since when a room has all members that did not have them.
    pub fn whole_since(&self, room: RoomSerial) -> Option<Position> {
        self.0.get(&room).copied().flatten()
    }

    /// Those that have all members now.
    pub fn whole(&self) -> impl Iterator<Item = RoomSerial> {
        self.0.iter().filter(|(_, whole)| whole.is_some()).map(|(room, _)| *room)
    }

    /// Those that lack members.
    pub fn all(&self) -> impl Iterator<Item = RoomSerial> {
        self.0.iter().filter(|(_, whole)| whole.is_none()).map(|(room, _)| *room)
    }
}

/// Those rooms as a process knows them.
pub(crate) type KnownLacking = Remembered<LackingRooms>;

impl Rooms {
    /// The rooms that lack members.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn lacking(&self) -> Result<Arc<LackingRooms>, Error> {
        let read = async {
            let rows = self.store().scan(&LACKING, Range::all(), Order::Ascending, usize::MAX).await?;
            let whole = |row: Stamped<LackingRow>| row.value.filling.is_none().then_some(row.position);
            Ok(LackingRooms(rows.into_iter().map(|(room, row)| (room, whole(row))).collect()))
        };
        self.reader().lacking.get_or_read(self.store(), [lacking_moved(), purges_moved()], read).await
    }

    /// The proof that all members of a room are known.
    ///
    /// # Errors
    /// [`Error::MembersLacking`]; [`Error::Store`].
    pub async fn all_members(&self, room: &RoomInfo) -> Result<AllMembers, Error> {
        match self.lacking().await?.lacks(room.serial) {
            true => Err(Error::MembersLacking(room.room_id.clone())),
            false => Ok(AllMembers(room.serial)),
        }
    }

    /// The same of several rooms, in their order; `None` for those that lack members.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn all_members_of(&self, rooms: &[RoomSerial]) -> Result<Vec<Option<AllMembers>>, Error> {
        let lacking = self.lacking().await?;
        Ok(rooms.iter().map(|room| (!lacking.lacks(*room)).then_some(AllMembers(*room))).collect())
    }

    /// As [`Rooms::all_members`] for somebody who can wait: not for long, since they may be long in coming.
    ///
    /// # Errors
    /// [`Error::MembersLacking`] after ten seconds; [`Error::Store`].
    pub async fn await_members(&self, room: &RoomInfo) -> Result<AllMembers, Error> {
        let come = async {
            loop {
                // Before the question: what comes in between must not be missed.
                let mut watch = self.store().watch(vec![lacking_moved()]);
                match self.all_members(room).await {
                    Err(Error::MembersLacking(_)) => watch.changed().await,
                    known => return known,
                }
            }
        };
        match self.0.clock.timeout(PATIENCE, come).await {
            Ok(known) => known,
            Err(_) => Err(Error::MembersLacking(room.room_id.clone())),
        }
    }

    /// Those who sent these events, in their order, as the events have them that what they say stands on: who is lacking in
    /// a room's state is shown so. `None` where the state before the event has all members.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn senders_as_named(
        &self,
        events: &[&Arc<StoredEvent>],
    ) -> Result<Vec<Option<Arc<StoredEvent>>>, Error> {
        let named = |event: &&&Arc<StoredEvent>| event.meta().partial;
        let wanted: Vec<(RoomSerial, EventSerial)> = events
            .iter()
            .filter(named)
            .flat_map(|event| event.meta().auth.iter().map(|auth| (event.room(), *auth)))
            .collect();
        let loaded = if wanted.is_empty() { Vec::new() } else { self.load_events(&wanted).await? };
        let mut loaded = loaded.into_iter();
        let sender = |event: &&Arc<StoredEvent>| {
            let count = if event.meta().partial { event.meta().auth.len() } else { 0 };
            let mut named = loaded.by_ref().take(count).flatten().collect::<Vec<_>>().into_iter();
            named.find(|named| named.is_member_event_of(event.sender()))
        };
        Ok(events.iter().map(sender).collect())
    }

    /// The servers that we were told are in a room, while it lacks members.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn told_servers(&self, room: RoomSerial) -> Result<Vec<OwnedServerName>, Error> {
        if !self.lacking().await?.lacks(room) {
            return Ok(Vec::new());
        }
        let rows =
            self.store().scan(&TOLD_SERVERS, Range::prefix(&room), Order::Ascending, MOST_TOLD).await?;
        Ok(rows.into_iter().filter_map(|((_, server), ())| ServerName::parse(server).ok()).collect())
    }

    /// Whether servers are in rooms, in the order of the pairs: by their members or, while these are lacking, by what we
    /// were told.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn are_present(&self, pairs: &[(RoomSerial, &str)]) -> Result<Vec<bool>, Error> {
        let counts = self.store().get_many(&SERVERS, pairs).await?;
        let mut present: Vec<bool> =
            counts.into_iter().map(|count| count.is_some_and(|count| count.0 > 0)).collect();
        let lacking = self.lacking().await?;
        let open = |index: &usize| !present[*index] && lacking.lacks(pairs[*index].0);
        let open: Vec<usize> = (0..pairs.len()).filter(open).collect();
        if open.is_empty() {
            return Ok(present);
        }
        let keys: Vec<_> = open.iter().map(|index| pairs[*index]).collect();
        for (index, told) in open.into_iter().zip(self.store().get_many(&TOLD_SERVERS, &keys).await?) {
            present[index] = told.is_some();
        }
        Ok(present)
    }
}
