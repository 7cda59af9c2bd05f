//! Which servers are in a room, in one of its states and in the next.
//!
//! A set is read once, from the numbers of members that the store has for each server now. From then on it is moved from
//! state to state by what differs between them. So who was there at some place of the log is known to the event, however
//! far the reader of the log is behind, and a change costs what it changes, not the number of servers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{OwnedServerName, ServerName, UserId};
use store::Range;

use crate::{
    Error, EventSerial, RoomSerial, Rooms, Root,
    acl::admits,
    read::{lookup::StateQuery, room::RoomInfo},
    snapshot::{self, Difference},
    tables::{HEADS, Members, Membership, SERVERS},
};

/// How often the numbers are read again because the state has moved meanwhile.
const TRIES: usize = 4;

/// What the allocator needs for a name beside its letters, about.
const NAME_OVERHEAD: usize = 8;

/// Servers of a room that are looked at to find one that is not ours.
const LOOKED_AT: usize = 16;

/// Member events that are looked at together.
const SLICE: usize = 1_000;

/// The servers that have joined members in a room, in one of its states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomServers {
    root: Root,
    /// How many joined members each has, by name: one at least. Of most rooms there is but one, ours.
    members: Vec<(OwnedServerName, u64)>,
    /// Those beside them that we were told are there, while the room lacks members.
    told: BTreeSet<OwnedServerName>,
}

impl RoomServers {
    /// The state in which it is these.
    pub fn root(&self) -> Root {
        self.root
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len() + self.told.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.told.is_empty()
    }

    /// Whether this server is there.
    pub fn includes(&self, server: &ServerName) -> bool {
        self.place(server).is_ok() || self.told.contains(server)
    }

    /// All of them, each once.
    pub fn iter(&self) -> impl Iterator<Item = &OwnedServerName> {
        let told = self.told.iter().filter(|told| self.place(told).is_err());
        self.members.iter().map(|(server, _)| server).chain(told)
    }

    /// What they own in memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let names: usize = self.iter().map(|server| server.as_str().len() + NAME_OVERHEAD).sum();
        names
            + self.members.capacity() * size_of::<(OwnedServerName, u64)>()
            + self.told.len() * size_of::<OwnedServerName>() * 2
    }

    fn place(&self, server: &ServerName) -> Result<usize, usize> {
        self.members.binary_search_by(|(known, _)| known.as_str().cmp(server.as_str()))
    }

    /// More or fewer members of a server; true when it was there and is not any more.
    fn count(&mut self, server: &OwnedServerName, more: i64) -> bool {
        let place = self.place(server);
        let known = place.map_or(0, |place| self.members[place].1);
        match (known.saturating_add_signed(more), place) {
            (0, Ok(place)) => drop(self.members.remove(place)),
            (0, Err(_)) => return false,
            (number, Ok(place)) => self.members[place].1 = number,
            (number, Err(place)) => self.members.insert(place, (server.clone(), number)),
        }
        known.saturating_add_signed(more) == 0
    }
}

impl Rooms {
    /// Whether a user of ours is joined to the room, so that we keep up with it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_resident(&self, room: &RoomInfo) -> Result<bool, Error> {
        let names: Vec<_> =
            self.authorities().iter().map(|authority| (room.serial, authority.name().as_str())).collect();
        let counts = self.store().get_many(&SERVERS, &names).await?;
        Ok(counts.into_iter().flatten().any(|count| count.0 > 0))
    }

    /// Whether the room's server ACL lets a server in.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn is_admitted(&self, server: &ServerName, room: &RoomInfo) -> Result<bool, Error> {
        let Some(head) = self.store().get(&HEADS, &room.serial).await? else { return Ok(true) };
        let query = StateQuery { room: room.serial, root: head.current, kind: "m.room.server_acl", key: "" };
        let acl = self.state_events(&[query]).await?.pop().flatten();
        Ok(acl.is_none_or(|acl| admits(acl.pdu().content_str(), server)))
    }

    /// Whether somebody of another server than ours is, or may be, joined to a room in this state, where that is what the
    /// store has. `None`: the store is at another one, or went on meanwhile.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn concerns_others(&self, room: RoomSerial, root: Root) -> Result<Option<bool>, Error> {
        let before = self.store().get(&HEADS, &room).await?;
        let Some(head) = before.as_ref().filter(|head| head.current == root) else { return Ok(None) };
        if head.members != Members::Whole {
            return Ok(Some(true));
        }
        let range = Range::prefix(&room);
        let rows = self.store().scan(&SERVERS, range, store::Order::Ascending, LOOKED_AT).await?;
        let is_other =
            |name: &str| <&ServerName>::try_from(name).map_or(true, |name| !self.authorities().is_ours(name));
        // Where there are more, there may be one among those.
        let found = rows.len() >= LOOKED_AT
            || rows.iter().any(|((_, server), count)| count.0 > 0 && is_other(server));
        // Every batch of a room gives it another head.
        Ok((self.store().get(&HEADS, &room).await? == before).then_some(found))
    }

    /// Takes over into a set which servers we were told are in a room that lacks members; none where it has them all.
    ///
    /// Before the states are read through which the set is moved: once the members have come, the states have them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn note_told(&self, room: RoomSerial, servers: &mut Arc<RoomServers>) -> Result<(), Error> {
        if let Some(told) = self.told_otherwise(room, servers).await? {
            Arc::make_mut(servers).told = told;
        }
        Ok(())
    }

    /// Which servers we were told are in a room, where that is not what a set has.
    async fn told_otherwise(
        &self,
        room: RoomSerial,
        servers: &RoomServers,
    ) -> Result<Option<BTreeSet<OwnedServerName>>, Error> {
        match (self.lacking().await?.lacks(room), servers.told.is_empty()) {
            (true, true) => Ok(Some(self.told_servers(room).await?.into_iter().collect())),
            (false, false) => Ok(Some(BTreeSet::new())),
            _ => Ok(None),
        }
    }

    /// The servers that are in rooms now. A room in which we never took part has none.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`].
    pub async fn servers_now(&self, rooms: &[RoomSerial]) -> Result<HashMap<RoomSerial, RoomServers>, Error> {
        let mut found = HashMap::with_capacity(rooms.len());
        let mut wanted: Vec<RoomSerial> = rooms.to_vec();
        let mut before = self.current_roots(&wanted).await?;
        for _ in 0..TRIES {
            let numbers = self.members_by_server(&wanted).await?;
            // The numbers are those of a state that was the current one before and after they were read.
            let after = self.current_roots(&wanted).await?;
            let mut moving = (Vec::new(), Vec::new());
            for (index, members) in numbers.into_iter().enumerate() {
                let (room, root) = (wanted[index], after[index]);
                if before[index] != root {
                    moving.0.push(room);
                    moving.1.push(root);
                    continue;
                }
                // Without a state nobody is there, whatever is left of a room that is purged.
                let members = root.map(|_| members).unwrap_or_default();
                let told = BTreeSet::new();
                found.insert(room, RoomServers { root: root.unwrap_or_default(), members, told });
            }
            (wanted, before) = moving;
            if wanted.is_empty() {
                break;
            }
        }
        for (room, root) in wanted.into_iter().zip(before) {
            let mut servers = RoomServers::default();
            let root = root.unwrap_or_default();
            let differences = self.snapshots().difference(room, Root::EMPTY, root).await?;
            self.move_by(room, &mut servers, root, &differences).await?;
            found.insert(room, servers);
        }
        for (room, servers) in &mut found {
            if let Some(told) = self.told_otherwise(*room, servers).await? {
                servers.told = told;
            }
        }
        Ok(found)
    }

    /// Moves a set to another state of its room. Returns the servers that are not there any more.
    ///
    /// Where the state that it stands on is gone, since nothing names those of a room that lacked members any more once it
    /// has them, the set is read anew.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`]; then the set is where it was, or at the state now.
    pub async fn move_servers(
        &self,
        room: RoomSerial,
        servers: &mut RoomServers,
        to: Root,
    ) -> Result<Vec<OwnedServerName>, Error> {
        match self.snapshots().difference(room, servers.root, to).await {
            Ok(differences) => self.move_by(room, servers, to, &differences).await,
            Err(snapshot::Error::Broken(_)) if servers.root != Root::EMPTY => {
                let now = self.servers_now(&[room]).await?.remove(&room).unwrap_or_default();
                let before = std::mem::replace(servers, now);
                let differences = self.snapshots().difference(room, servers.root, to).await?;
                self.move_by(room, servers, to, &differences).await?;
                Ok(before.iter().filter(|server| !servers.includes(server)).cloned().collect())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn move_by(
        &self,
        room: RoomSerial,
        servers: &mut RoomServers,
        to: Root,
        differences: &[Difference],
    ) -> Result<Vec<OwnedServerName>, Error> {
        let mut numbers: BTreeMap<OwnedServerName, i64> = BTreeMap::new();
        for differences in differences.chunks(SLICE) {
            self.count_joins(room, differences, &mut numbers).await?;
        }
        let mut gone = Vec::new();
        for (server, more) in numbers {
            if servers.count(&server, more) {
                gone.push(server);
            }
        }
        servers.root = to;
        Ok(gone)
    }

    /// Adds up how many more members each server has after these differences.
    async fn count_joins(
        &self,
        room: RoomSerial,
        differences: &[Difference],
        numbers: &mut BTreeMap<OwnedServerName, i64>,
    ) -> Result<(), Error> {
        let side = |event: Option<EventSerial>, more: i64| event.map(|event| ((room, event), more));
        let sides = differences.iter().flat_map(|both| [side(both.before, -1), side(both.after, 1)]);
        let (wanted, signs): (Vec<_>, Vec<i64>) = sides.flatten().unzip();
        for (event, more) in self.load_events(&wanted).await?.into_iter().zip(signs) {
            let event = event.ok_or(Error::Inconsistent("an event of a snapshot is not there"))?;
            if event.membership() != Some(Membership::Join) {
                continue;
            }
            // A state key that is no user id names nobody.
            if let Some(user) = event.state_key().and_then(|key| <&UserId>::try_from(key).ok()) {
                match numbers.get_mut(user.server_name()) {
                    Some(number) => *number += more,
                    None => drop(numbers.insert(user.server_name().to_owned(), more)),
                }
            }
        }
        Ok(())
    }

    async fn current_roots(&self, rooms: &[RoomSerial]) -> Result<Vec<Option<Root>>, Error> {
        let heads = self.heads(rooms).await?;
        Ok(heads.into_iter().map(|head| head.map(|head| head.current)).collect())
    }

    async fn members_by_server(
        &self,
        rooms: &[RoomSerial],
    ) -> Result<Vec<Vec<(OwnedServerName, u64)>>, Error> {
        let ranges = rooms.iter().map(Range::prefix).collect();
        let found = self.store().scan_many(&SERVERS, ranges, store::Order::Ascending, usize::MAX).await?;
        let number = |((_, server), count): ((RoomSerial, String), store::Counter)| {
            let count = u64::try_from(count.0).ok().filter(|count| *count > 0)?;
            Some((ServerName::parse(server).ok()?, count))
        };
        let members = |rows: Vec<((RoomSerial, String), store::Counter)>| {
            let mut members: Vec<_> = rows.into_iter().filter_map(number).collect();
            // As names are compared here, which is how the store has them as well.
            members.sort_unstable_by(|(left, _), (right, _)| left.as_str().cmp(right.as_str()));
            members.dedup_by(|(left, _), (right, _)| left == right);
            members.shrink_to_fit();
            members
        };
        Ok(found.into_iter().map(members).collect())
    }
}
