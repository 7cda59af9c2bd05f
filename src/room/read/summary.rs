//! What a client needs to name a room that has no name: heroes and member counts.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync> (`RoomSummary`)

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use base::{Cache, Caches};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use store::{Moved, Position, Topic};

use crate::{
    Error, EventSerial, RoomSerial, Rooms,
    read::{lacking::AllMembers, lookup::StateQuery, members::MemberCounts, room::RoomInfo},
    tables::{HEADS, MemberRow, Membership, SUMMARIES, Summary},
};

/// So many heroes a client is told of.
const HEROES: usize = 5;

/// State that names the members who serve the room and are no people: bots, bridges. The name of MSC4171, and that of before.
const SERVICE_MEMBERS: [&str; 2] = ["m.member_hints", "io.element.functional_members"];

/// Members and name of a room, the same for all who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomNaming {
    /// Whether the room has a name or an alias, so that heroes are not needed.
    pub named: bool,
    /// How many members it has.
    pub counts: MemberCounts,
    /// The first members with their member events, one more than heroes are told of, since nobody is his own.
    first: Vec<(OwnedUserId, EventSerial)>,
}

impl RoomNaming {
    fn memory_bytes(&self) -> usize {
        let hero = |(user, _): &(OwnedUserId, EventSerial)| {
            size_of::<(OwnedUserId, EventSerial)>() + user.as_str().len()
        };
        size_of::<Self>() + 16 + self.first.iter().map(hero).sum::<usize>()
    }

    /// The heroes for one user, with their member events; none for a named room.
    pub fn heroes<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = &'a (OwnedUserId, EventSerial)> {
        let wanted = if self.named { 0 } else { HEROES };
        self.first.iter().filter(move |(hero, _)| hero != user).take(wanted)
    }
}

/// Naming of recently asked rooms, with the position that it is good for.
#[derive(Debug)]
pub(crate) struct NamingCache(Cache<RoomSerial, (Position, Arc<RoomNaming>)>);

impl NamingCache {
    /// A cache of about this many bytes.
    pub(crate) fn new(caches: &Caches, bytes: u64) -> Self {
        Self(Cache::new(caches, "room_namings", bytes, |_, (_, naming)| naming.memory_bytes()))
    }
}

impl Rooms {
    /// How rooms are called, in the order of `rooms`: as of now, or a little later.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn namings(
        &self,
        rooms: &[(Arc<RoomInfo>, AllMembers)],
    ) -> Result<Vec<Arc<RoomNaming>>, Error> {
        let cache = &self.reader().namings.0;
        let mut known: Vec<Option<Arc<RoomNaming>>> = rooms
            .iter()
            .map(|(room, _)| {
                let (as_of, naming) = cache.get(&room.serial)?;
                let rests = self.store().moved(Topic::room(room.room_id.as_str()), as_of) == Moved::No;
                rests.then_some(naming)
            })
            .collect();
        let missing: Vec<usize> = (0..rooms.len()).filter(|index| known[*index].is_none()).collect();
        if !missing.is_empty() {
            let as_of = self.store().head();
            let serials: Vec<RoomSerial> = missing.iter().map(|index| rooms[*index].0.serial).collect();
            let (summaries, counts) = (self.summaries(&serials).await?, self.member_counts(&serials).await?);
            let unnamed: Vec<AllMembers> = missing
                .iter()
                .zip(&summaries)
                .filter(|(_, summary)| !is_named(summary))
                .map(|(index, _)| rooms[*index].1)
                .collect();
            let mut first = self.first_members(&unnamed).await?.into_iter();
            for ((index, summary), counts) in missing.into_iter().zip(summaries).zip(counts) {
                let named = is_named(&summary);
                let first = if named { Vec::new() } else { first.next().unwrap_or_default() };
                let naming = Arc::new(RoomNaming { named, counts, first });
                cache.insert(rooms[index].0.serial, (as_of, naming.clone()));
                known[index] = Some(naming);
            }
        }
        Ok(known.into_iter().flatten().collect())
    }

    /// What lists of rooms show, in the order of `rooms`; an unknown room has nothing to show.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn summaries(&self, rooms: &[RoomSerial]) -> Result<Vec<Summary>, Error> {
        let rows = self.store().get_many(&SUMMARIES, rooms).await?;
        Ok(rows.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// The first members of each room, oldest member event first: joined or invited ones, or when there are no others, first
    /// those that serve the room, then those that left.
    async fn first_members(
        &self,
        rooms: &[AllMembers],
    ) -> Result<Vec<Vec<(OwnedUserId, EventSerial)>>, Error> {
        let mut answers = Vec::with_capacity(rooms.len());
        let all = self.member_rows_of(rooms).await?;
        let is_present = |row: &MemberRow| matches!(row.membership, Membership::Join | Membership::Invite);
        // Of two one is the other's hero, whatever he is.
        let crowd = |rows: &&Vec<(OwnedUserId, MemberRow)>| {
            rows.iter().filter(|(_, row)| is_present(row)).take(3).count() > 2
        };
        let asked: Vec<RoomSerial> =
            rooms.iter().zip(&all).filter(|(_, rows)| crowd(rows)).map(|(room, _)| room.room()).collect();
        let mut serving = self.service_members(&asked).await?;
        for (room, rows) in rooms.iter().zip(all) {
            let serving = serving.remove(&room.room()).unwrap_or_default();
            let pick = |present: bool, serves: bool| {
                let mut rows: Vec<_> = rows
                    .iter()
                    .filter(|(user, row)| {
                        is_present(row) == present
                            && row.membership != Membership::Knock
                            && (!present || serving.contains(user) == serves)
                    })
                    .map(|(user, row)| (user.clone(), row.event))
                    .collect();
                rows.sort_unstable_by_key(|(_, event)| *event);
                rows.truncate(HEROES + 1);
                // They are kept, and the room may have many members.
                rows.shrink_to_fit();
                rows
            };
            let mut first = pick(true, false);
            for others in [(true, true), (false, false)] {
                // Nobody is his own.
                if first.len() < 2 {
                    first.extend(pick(others.0, others.1));
                }
            }
            first.truncate(HEROES + 1);
            first.shrink_to_fit();
            answers.push(first);
        }
        Ok(answers)
    }

    /// Who serves rooms, of those of them where somebody does.
    ///
    /// Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/4171>
    async fn service_members(
        &self,
        rooms: &[RoomSerial],
    ) -> Result<HashMap<RoomSerial, HashSet<OwnedUserId>>, Error> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(default, deserialize_with = "pdu::lenient::list")]
            service_members: Vec<OwnedUserId>,
        }
        if rooms.is_empty() {
            return Ok(HashMap::new());
        }
        let heads = self.store().get_many(&HEADS, rooms).await?;
        let roots = rooms.iter().zip(heads).filter_map(|(room, head)| Some((*room, head?.current)));
        let queries: Vec<StateQuery<'_>> = roots
            .flat_map(|(room, root)| SERVICE_MEMBERS.map(|kind| StateQuery { room, root, kind, key: "" }))
            .collect();
        let mut serving: HashMap<RoomSerial, HashSet<OwnedUserId>> = HashMap::new();
        for (query, event) in queries.iter().zip(self.state_events(&queries).await?) {
            let content = event.and_then(|event| event.pdu().content_as::<Content>().ok());
            let Some(Content { service_members }) = content else { continue };
            // The first of the names that is there has the word.
            serving.entry(query.room).or_insert_with(|| service_members.into_iter().collect());
        }
        Ok(serving)
    }
}

fn is_named(summary: &Summary) -> bool {
    summary.name.is_some() || summary.canonical_alias.is_some()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn namings_are_charged_what_they_take() {
        for heroes in [0, 1, 6] {
            let (cache, in_use) = meter::kept(|| {
                let cache = NamingCache::new(&Caches::new(), 1 << 24);
                for room in 0..1_000 {
                    let hero = |n: u64| {
                        (format!("@shokuin{n}:kanazawa.example.jp").try_into().unwrap(), EventSerial(n))
                    };
                    let counts = MemberCounts { joined: heroes, invited: 0 };
                    let naming =
                        RoomNaming { named: heroes == 0, counts, first: (0..heroes).map(hero).collect() };
                    cache.0.insert(RoomSerial(room), (Position(1), Arc::new(naming)));
                }
                cache
            });
            meter::assert_charged(&format!("{heroes} heroes"), cache.0.bytes(), in_use);
        }
    }
}
