//! Which servers are in a room, in one of its states and in the next.
//!
//! A set is read once, from the numbers of members that the store has for each server now. From then on it is moved from
//! state to state by what differs between them. So who was there at some place of the log is known to the event, however
//! far the reader of the log is behind, and a change costs what it changes, not the number of servers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ruma::{OwnedServerName, ServerName, UserId};
use store::Range;

use crate::{
    Error, EventSerial, RoomSerial, Rooms, Root,
    acl::admits,
    read::{lookup::StateQuery, room::RoomInfo},
    snapshot::Difference,
    tables::{HEADS, Membership, SERVERS},
};

/// How often the numbers are read again because the state has moved meanwhile.
const TRIES: usize = 4;

/// Member events that are looked at together.
const SLICE: usize = 1_000;

/// The servers that have joined members in a room, in one of its states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomServers {
    root: Root,
    /// How many joined members each has: one at least.
    members: BTreeMap<OwnedServerName, u64>,
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
        self.members.contains_key(server) || self.told.contains(server)
    }

    /// All of them, each once.
    pub fn iter(&self) -> impl Iterator<Item = &OwnedServerName> {
        self.members.keys().chain(self.told.iter().filter(|told| !self.members.contains_key(*told)))
    }

    /// More or fewer members of a server; true when it was there and is not any more.
    fn count(&mut self, server: &OwnedServerName, more: i64) -> bool {
        let known = self.members.get(server).copied().unwrap_or(0);
        match known.saturating_add_signed(more) {
            0 => self.members.remove(server).is_some(),
            number => {
                match self.members.get_mut(server) {
                    Some(known) => *known = number,
                    None => drop(self.members.insert(server.clone(), number)),
                }
                false
            }
        }
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

    /// Takes over into a set which servers we were told are in a room that lacks members; none where it has them all.
    ///
    /// Before the states are read through which the set is moved: once the members have come, the states have them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn note_told(&self, room: RoomSerial, servers: &mut RoomServers) -> Result<(), Error> {
        if self.lacking().await?.lacks(room) {
            if servers.told.is_empty() {
                servers.told = self.told_servers(room).await?.into_iter().collect();
            }
        } else {
            servers.told.clear();
        }
        Ok(())
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
            self.move_servers(room, &mut servers, root.unwrap_or_default()).await?;
            found.insert(room, servers);
        }
        for (room, servers) in &mut found {
            self.note_told(*room, servers).await?;
        }
        Ok(found)
    }

    /// Moves a set to another state of its room. Returns the servers that are not there any more.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Inconsistent`]; then the set is where it was.
    pub async fn move_servers(
        &self,
        room: RoomSerial,
        servers: &mut RoomServers,
        to: Root,
    ) -> Result<Vec<OwnedServerName>, Error> {
        if servers.root == to {
            return Ok(Vec::new());
        }
        let differences = self.snapshots().difference(room, servers.root, to).await?;
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
    ) -> Result<Vec<BTreeMap<OwnedServerName, u64>>, Error> {
        let ranges = rooms.iter().map(Range::prefix).collect();
        let found = self.store().scan_many(&SERVERS, ranges, store::Order::Ascending, usize::MAX).await?;
        let number = |((_, server), count): ((RoomSerial, String), store::Counter)| {
            let count = u64::try_from(count.0).ok().filter(|count| *count > 0)?;
            Some((ServerName::parse(server).ok()?, count))
        };
        Ok(found.into_iter().map(|rows| rows.into_iter().filter_map(number).collect()).collect())
    }
}
