//! Who is in a room.

use std::collections::{BTreeSet, HashMap};

use ruma::{OwnedMxcUri, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId};
use store::Range;

use crate::{
    Error, EventSerial, RoomSerial, Rooms, Root,
    read::{
        event::StoredEvent,
        lacking::AllMembers,
        list::EventList,
        open::{Appearance, appearance},
        room::RoomInfo,
        timeline::{Direction, Stretch},
        token::Token,
        view::{Look, Viewer},
    },
    tables::{LOCAL_MEMBERS, MEMBER_COUNTS, MEMBERS, MemberRow, Membership, SERVERS},
};

/// Members of a room that are read at once.
const MEMBERS_AT_A_TIME: usize = 1_000;
/// Rows that are read at a time for the servers of all rooms.
const SERVERS_AT_A_TIME: usize = 5_000;

/// Which members are wanted. Both conditions set: members that meet one of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberFilter {
    /// Members that are this.
    pub membership: Option<Membership>,
    /// Members that are not this.
    pub not_membership: Option<Membership>,
}

/// A joined member, as others see him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The user.
    pub user_id: OwnedUserId,
    /// Name for people.
    pub displayname: Option<String>,
    /// Picture.
    pub avatar_url: Option<OwnedMxcUri>,
}

/// How many members of the kinds that summaries speak of a room has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// Joined.
    pub joined: u64,
    /// Invited.
    pub invited: u64,
}

impl JoinedMember {
    /// Whom a member event is about; `None` when it is none.
    pub fn of(event: &StoredEvent) -> Option<Self> {
        event.membership()?;
        let user_id = UserId::parse(event.state_key()?).ok()?;
        let Appearance { displayname, avatar_url } = appearance(event.pdu().content_str());
        Some(Self { user_id, displayname, avatar_url })
    }
}

impl MemberFilter {
    pub(crate) fn passes(&self, membership: Membership) -> bool {
        match (self.membership, self.not_membership) {
            (None, None) => true,
            (Some(is), None) => membership == is,
            (None, Some(is_not)) => membership != is_not,
            (Some(is), Some(is_not)) => membership == is || membership != is_not,
        }
    }
}

impl Rooms {
    /// The member events of a room: now, at a place, or as the viewer left it.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`].
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers>
    pub async fn members(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        at: Option<Token>,
        filter: MemberFilter,
    ) -> Result<Vec<Look>, Error> {
        self.member_list(viewer, room_id, at, filter).await?.gather().await
    }

    /// As [`Rooms::members`], to be read part by part.
    ///
    /// # Errors
    /// As [`Rooms::standpoint`] and [`Rooms::await_members`].
    pub async fn member_list(
        &self,
        viewer: &Viewer<'_>,
        room_id: &RoomId,
        at: Option<Token>,
        filter: MemberFilter,
    ) -> Result<EventList, Error> {
        let room = self.get_room(room_id).await?;
        let (standpoint, all) = self.whole_standpoint(viewer.user, &room).await?;
        // Who was there before somebody's horizon he is not told either: as far back as he reads, who was there then.
        let floor = self.horizon(viewer.user).map_or(Token::START, |horizon| horizon.floor());
        let at = at.map(|at| at.max(floor));
        let root = match at {
            Some(at) if at.0 < standpoint.until => {
                let then = match self.state_at(room.serial, at).await? {
                    Some(root) => Some(root),
                    None => self.first_state(room.serial).await?,
                };
                // A place that he may not see tells him nothing: he is given what he may.
                match then {
                    Some(root) if self.may_see_state(viewer.user, room.serial, root, at.0).await? => root,
                    _ => standpoint.root,
                }
            }
            _ => standpoint.root,
        };
        let events: Vec<EventSerial> =
            if root == self.get_head(&room).await.map(|head| head.current).unwrap_or_default() {
                let rows = self.member_rows(all).await?;
                let passing = rows.into_iter().filter(|(_, row)| filter.passes(row.membership));
                passing.map(|(_, row)| row.event).collect()
            } else {
                self.snapshots().all(room.serial, root).await?.into_iter().map(|(_, event)| event).collect()
            };
        Ok(EventList::new(self, viewer, room.serial, events, Some(filter)))
    }

    /// The state in which what we have of a room begins: as soon as somebody is in it.
    ///
    /// A room whose creator has not come in yet is no place to look at, so that is after his join; in
    /// one that we came to later, after the first event that we have.
    async fn first_state(&self, room: RoomSerial) -> Result<Option<Root>, Error> {
        let stretch = Stretch { room, after: Token::START, through: Token::END };
        let rows = self.timeline(stretch, Direction::Forward, 2).await?;
        let events = self.events_of(&rows.iter().map(|row| (room, *row)).collect::<Vec<_>>()).await?;
        let first = rows.iter().zip(&events).find(|(_, event)| event.kind() != "m.room.create");
        Ok(first.map(|(row, _)| row.current))
    }

    /// The joined members of a room by their member events, for one of them; see [`JoinedMember::of`].
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::NotJoined`] when the user is not joined now; as [`Rooms::await_members`].
    pub async fn joined_members(&self, user: &UserId, room_id: &RoomId) -> Result<EventList, Error> {
        let room = self.get_room(room_id).await?;
        if self.membership_in(&room, user).await? != Some(Membership::Join) {
            return Err(Error::NotJoined { user: user.to_owned(), room: room_id.to_owned() });
        }
        let all = self.await_members(&room).await?;
        self.joined_list(&Viewer::user(user), &room, all).await
    }

    /// The member events of those who are joined to a room.
    async fn joined_list(
        &self,
        viewer: &Viewer<'_>,
        room: &RoomInfo,
        all: AllMembers,
    ) -> Result<EventList, Error> {
        let rows = self.member_rows(all).await?;
        let joined = rows.into_iter().filter(|(_, row)| row.membership == Membership::Join);
        let events = joined.map(|(_, row)| row.event).collect();
        Ok(EventList::new(self, viewer, room.serial, events, Some(MemberFilter::default())))
    }

    /// The joined members of a room, whoever asks; for use inside the server.
    ///
    /// # Errors
    /// As [`Rooms::all_members`].
    pub async fn joined_profiles(&self, room: &RoomInfo) -> Result<Vec<JoinedMember>, Error> {
        let rows = self.member_rows(self.all_members(room).await?).await?;
        let joined = rows.into_iter().filter(|(_, row)| row.membership == Membership::Join);
        let serials: Vec<_> = joined.map(|(_, row)| row.event).collect();
        let events = self.load_all(room.serial, &serials).await?;
        Ok(events.iter().filter_map(|event| JoinedMember::of(event)).collect())
    }

    /// The ids of the joined members of a room.
    ///
    /// # Errors
    /// As [`Rooms::all_members`].
    pub async fn joined_users(&self, room: &RoomInfo) -> Result<Vec<OwnedUserId>, Error> {
        let rows = self.member_rows(self.all_members(room).await?).await?;
        Ok(rows
            .into_iter()
            .filter(|(_, row)| row.membership == Membership::Join)
            .map(|(user, _)| user)
            .collect())
    }

    /// What everybody is in a room of whom it says something, whoever asks; for use inside the server.
    ///
    /// # Errors
    /// As [`Rooms::all_members`].
    pub async fn everybody_in(&self, room: &RoomInfo) -> Result<Vec<(OwnedUserId, Membership)>, Error> {
        let rows = self.member_rows(self.all_members(room).await?).await?;
        Ok(rows.into_iter().map(|(user, row)| (user, row.membership)).collect())
    }

    /// The members of a room by its current state. Rows whose key is no user id are left out.
    pub(crate) async fn member_rows(&self, all: AllMembers) -> Result<Vec<(OwnedUserId, MemberRow)>, Error> {
        Ok(self.member_rows_of(&[all]).await?.pop().unwrap_or_default())
    }

    /// The members of rooms, in the order of `rooms`.
    pub(crate) async fn member_rows_of(
        &self,
        rooms: &[AllMembers],
    ) -> Result<Vec<Vec<(OwnedUserId, MemberRow)>>, Error> {
        let ranges = rooms.iter().map(|all| Range::prefix(&all.room())).collect();
        let found = self.store().scan_many(&MEMBERS, ranges, store::Order::Ascending, usize::MAX).await?;
        Ok(found
            .into_iter()
            .map(|rows| {
                rows.into_iter()
                    .filter_map(|((_, user), row)| Some((UserId::parse(user).ok()?, row)))
                    .collect()
            })
            .collect())
    }

    /// How many members rooms have, in the order of `rooms`; of rooms that lack members, how many are known.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn member_counts(&self, rooms: &[RoomSerial]) -> Result<Vec<MemberCounts>, Error> {
        let keys: Vec<(RoomSerial, u8)> = rooms
            .iter()
            .flat_map(|room| [(*room, Membership::Join as u8), (*room, Membership::Invite as u8)])
            .collect();
        let counters = self.store().get_many(&MEMBER_COUNTS, &keys).await?;
        let number = |counter: &Option<store::Counter>| {
            counter.map_or(0, |counter| u64::try_from(counter.0).unwrap_or(0))
        };
        Ok(counters
            .chunks(2)
            .map(|pair| MemberCounts {
                joined: pair.first().map_or(0, number),
                invited: pair.get(1).map_or(0, number),
            })
            .collect())
    }

    /// Whether rooms have at most so many joined members, in the order of `rooms`. One that lacks members has not: it
    /// may have any number of them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn have_at_most(&self, rooms: &[RoomSerial], most: u64) -> Result<Vec<bool>, Error> {
        let counts = self.member_counts(rooms).await?;
        let known = self.all_members_of(rooms).await?;
        Ok(counts.iter().zip(known).map(|(count, all)| all.is_some() && count.joined <= most).collect())
    }

    /// The servers that have joined members in a room, as far as these are known.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn servers_with_members(&self, room: RoomSerial) -> Result<Vec<OwnedServerName>, Error> {
        let rows =
            self.store().scan(&SERVERS, Range::prefix(&room), store::Order::Ascending, usize::MAX).await?;
        Ok(rows
            .into_iter()
            .filter(|(_, count)| count.0 > 0)
            .filter_map(|((_, server), _)| ServerName::parse(server).ok())
            .collect())
    }

    /// The servers that have joined members in a room, or have them as we were told.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn servers_in_room(&self, room: RoomSerial) -> Result<Vec<OwnedServerName>, Error> {
        let mut servers = self.servers_with_members(room).await?;
        let told = self.told_servers(room).await?;
        if !told.is_empty() {
            servers.extend(told);
            servers.sort_unstable();
            servers.dedup();
        }
        Ok(servers)
    }

    /// The servers that have joined members in a room that users of ours are joined to, or have them as we were told, over
    /// all rooms, each with the authorities of ours that it shares a room with.
    ///
    /// Reads a row for each server of each room: for a start, not for a request.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn servers_in_our_rooms(
        &self,
    ) -> Result<HashMap<OwnedServerName, BTreeSet<OwnedServerName>>, Error> {
        let mut found = HashMap::new();
        let mut range = Range::all();
        let (mut room, mut here, mut ours) = (None, Vec::new(), Vec::new());
        let mut told = HashMap::new();
        for lacking in self.lacking().await?.all() {
            told.insert(lacking, self.told_servers(lacking).await?);
        }
        loop {
            let rows = self.store().scan(&SERVERS, range, store::Order::Ascending, SERVERS_AT_A_TIME).await?;
            let Some((last, _)) = rows.last() else { break };
            range = Range::all().after(last);
            for ((serial, server), count) in rows {
                if room != Some(serial) {
                    room = Some(serial);
                    meet(&mut found, std::mem::take(&mut here), &std::mem::take(&mut ours));
                    here.extend(told.remove(&serial).into_iter().flatten());
                }
                let Some(server) = ServerName::parse(server).ok().filter(|_| count.0 > 0) else { continue };
                let side = if self.is_ours(&server) { &mut ours } else { &mut here };
                side.push(server);
            }
        }
        meet(&mut found, here, &ours);
        Ok(found)
    }

    /// Whether users are joined to rooms now, in the order of the pairs.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn are_joined(&self, pairs: &[(RoomSerial, &UserId)]) -> Result<Vec<bool>, Error> {
        let keys: Vec<_> = pairs.iter().map(|(room, user)| (*room, user.as_str())).collect();
        let rows = self.store().get_many(&MEMBERS, &keys).await?;
        Ok(rows.into_iter().map(|row| row.is_some_and(|row| row.membership == Membership::Join)).collect())
    }

    /// The events by which users are joined to rooms now, in the order of the pairs: as long as one is the same, its user has
    /// not been out.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn joined_by(
        &self,
        pairs: &[(RoomSerial, &UserId)],
    ) -> Result<Vec<Option<EventSerial>>, Error> {
        let keys: Vec<_> = pairs.iter().map(|(room, user)| (*room, user.as_str())).collect();
        let rows = self.store().get_many(&MEMBERS, &keys).await?;
        let joined = |row: MemberRow| (row.membership == Membership::Join).then_some(row.event);
        Ok(rows.into_iter().map(|row| row.and_then(joined)).collect())
    }

    /// The ids of the joined members of rooms, in the order of `rooms`: for rooms with few. Those of rooms that lack
    /// members are not among them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn joined_users_of(&self, rooms: &[RoomSerial]) -> Result<Vec<Vec<OwnedUserId>>, Error> {
        let joined = |rows: Vec<(OwnedUserId, MemberRow)>| {
            let joined = rows.into_iter().filter(|(_, row)| row.membership == Membership::Join);
            joined.map(|(user, _)| user).collect()
        };
        let known = self.all_members_of(rooms).await?;
        let whole: Vec<AllMembers> = known.iter().copied().flatten().collect();
        let mut found = self.member_rows_of(&whole).await?.into_iter().map(joined);
        Ok(known.iter().map(|all| all.and_then(|_| found.next()).unwrap_or_default()).collect())
    }

    /// The joined members of ours of rooms, in the order of `rooms`; also of rooms that lack members.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn local_members_of(&self, rooms: &[RoomSerial]) -> Result<Vec<Vec<OwnedUserId>>, Error> {
        let ranges = rooms.iter().map(Range::prefix).collect();
        let found =
            self.store().scan_many(&LOCAL_MEMBERS, ranges, store::Order::Ascending, usize::MAX).await?;
        let users = |rows: Vec<((RoomSerial, String), ())>| {
            rows.into_iter().filter_map(|((_, user), ())| UserId::parse(user).ok()).collect()
        };
        Ok(found.into_iter().map(users).collect())
    }

    /// Whether a server has a joined member in a room.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_server_in_room(&self, server: &ServerName, room: RoomSerial) -> Result<bool, Error> {
        Ok(self.are_present(&[(room, server.as_str())]).await?.contains(&true))
    }

    /// Whether a user of a server is invited to a room. No list of those is kept: the members are read until all who are invited
    /// were met, so it is for questions that are seldom asked.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn is_server_invited(&self, server: &ServerName, room: RoomSerial) -> Result<bool, Error> {
        let counts = self.member_counts(&[room]).await?.pop().unwrap_or_default();
        let (mut left, mut range) = (counts.invited, Range::prefix(&room));
        while left > 0 {
            let rows = self.store().scan(&MEMBERS, range, store::Order::Ascending, MEMBERS_AT_A_TIME).await?;
            for ((_, user), _) in rows.iter().filter(|(_, row)| row.membership == Membership::Invite) {
                left = left.saturating_sub(1);
                if UserId::parse(user).is_ok_and(|user| user.server_name() == server) {
                    return Ok(true);
                }
            }
            let Some((last, _)) = rows.last().filter(|_| rows.len() == MEMBERS_AT_A_TIME) else { break };
            range = Range::prefix(&room).after(last);
        }
        Ok(false)
    }
}

/// Notes that these servers share a room with these authorities of ours.
fn meet(
    found: &mut HashMap<OwnedServerName, BTreeSet<OwnedServerName>>,
    servers: Vec<OwnedServerName>,
    ours: &[OwnedServerName],
) {
    if ours.is_empty() {
        return;
    }
    for server in servers {
        let known = found.entry(server).or_default();
        for authority in ours {
            if !known.contains(authority) {
                known.insert(authority.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Membership::*, *};

    #[test]
    fn two_conditions_on_members_are_alternatives() {
        let both = MemberFilter { membership: Some(Join), not_membership: Some(Leave) };
        assert!(both.passes(Join) && both.passes(Invite) && !both.passes(Leave));
        let same = MemberFilter { membership: Some(Join), not_membership: Some(Join) };
        assert!(same.passes(Join) && same.passes(Leave));
        let not = MemberFilter { membership: None, not_membership: Some(Leave) };
        assert!(not.passes(Ban) && !not.passes(Leave));
        assert!(MemberFilter::default().passes(Knock));
    }
}
