//! Upkeep of a room's state: which snapshots are in use, and whether they are whole. What nothing leads to goes by
//! [`crate::reclaim`].

use std::collections::HashSet;

use room::{
    Error,
    ids::{EventSerial, Order, RoomSerial, Root},
    read::lacking::LACKING,
    snapshot::Report,
    tables::{DEPARTURES, EVENT_META, HEADS, Head, MEMBERS, MEMBERSHIPS, TIMELINE},
};
use ruma::{RoomId, UserId};
use store::{Key, Range, Table, Value};

use crate::Engine;

/// Rows read at once.
const STEP: usize = 1_000;

impl Engine {
    /// Checks that every state snapshot of a room that anything refers to is whole.
    ///
    /// Meant for a room at rest: one that is written meanwhile may be found lacking what came after.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::Store`]. What is broken is no error but the result.
    pub async fn verify_state(&self, room_id: &RoomId) -> Result<Report, Error> {
        let room = self.rooms().room(room_id).await?.ok_or_else(|| Error::NoRoom(room_id.to_owned()))?;
        let head = self.store().get(&HEADS, &room.serial).await?;
        let mut named = RootsInUse::new(self, room.serial, head.as_ref());
        let mut roots: HashSet<Root> = HashSet::new();
        while let Some(some) = named.next().await? {
            roots.extend(some);
        }
        let roots: Vec<Root> = roots.into_iter().collect();
        Ok(self.snapshots().verify(room.serial, &roots).await?)
    }
}

/// The roots that rows of a room name, by pages: first those of the tip.
///
/// They come in about the order in which they were made, some more than once. Their number grows with the room, so nobody
/// has to hold them all.
pub(crate) struct RootsInUse<'a> {
    engine: &'a Engine,
    room: RoomSerial,
    at: Place,
}

/// Where to read on.
enum Place {
    Tip(Vec<Root>),
    Events(Option<EventSerial>),
    Timeline(Option<Order>),
    Members(Option<String>),
    End,
}

impl<'a> RootsInUse<'a> {
    /// Those of a room with this tip.
    pub(crate) fn new(engine: &'a Engine, room: RoomSerial, head: Option<&Head>) -> Self {
        let tip = head.map(|head| {
            let extremities = head.extremities.iter().map(|extremity| extremity.after);
            let resolved = head.members.lacking().map(|lacking| lacking.resolved);
            [head.current, head.beside].into_iter().chain(extremities).chain(resolved).collect()
        });
        Self { engine, room, at: Place::Tip(tip.unwrap_or_default()) }
    }

    /// Some more; perhaps none in a page. `None`: there are no more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Root>>, store::Error> {
        let mut roots = Vec::new();
        self.at = match &mut self.at {
            Place::Tip(tip) => {
                roots.append(tip);
                let lacking = self.engine.store().get(&LACKING, &self.room).await?;
                if let Some(filling) = lacking.and_then(|row| row.value.filling) {
                    roots.extend([filling.without, filling.before]);
                }
                Place::Events(None)
            }
            Place::Events(after) => {
                let whole = Range::prefix(&self.room);
                let range = match after {
                    Some(after) => whole.after(&(self.room, *after)),
                    None => whole,
                };
                let rows = self.page(&EVENT_META, range).await?;
                roots.extend(rows.iter().flat_map(|(_, meta)| [meta.value.before, meta.value.after]));
                match rows.last() {
                    Some(((_, last), _)) => Place::Events(Some(*last)),
                    None => Place::Timeline(None),
                }
            }
            Place::Timeline(after) => {
                let whole = Range::prefix(&self.room);
                let range = match after {
                    Some(after) => whole.after(&(self.room, *after)),
                    None => whole,
                };
                let rows = self.page(&TIMELINE, range).await?;
                roots.extend(rows.iter().map(|(_, row)| row.current));
                match rows.last() {
                    Some(((_, last), _)) => Place::Timeline(Some(*last)),
                    None => Place::Members(None),
                }
            }
            Place::Members(after) => {
                let whole = Range::prefix(&self.room);
                let range = match after {
                    Some(after) => whole.after(&(self.room, after.as_str())),
                    None => whole,
                };
                let rows = self.page(&MEMBERS, range).await?;
                let last = rows.last().map(|((_, user), _)| user.clone());
                let is_ours =
                    |user: &str| <&UserId>::try_from(user).is_ok_and(|user| self.engine.is_local(user));
                let ours: Vec<(String, RoomSerial)> = rows
                    .into_iter()
                    .filter(|((_, user), _)| is_ours(user))
                    .map(|((room, user), _)| (user, room))
                    .collect();
                let rows = self.engine.store().get_many(&MEMBERSHIPS, &ours).await?;
                roots.extend(rows.into_iter().flatten().map(|row| row.value.current));
                let rows = self.engine.store().get_many(&DEPARTURES, &ours).await?;
                roots.extend(rows.into_iter().flatten().map(|row| row.value.current));
                last.map_or(Place::End, |last| Place::Members(Some(last)))
            }
            Place::End => return Ok(None),
        };
        roots.dedup();
        Ok(Some(roots))
    }

    async fn page<T: Key, V: Value>(
        &self,
        table: &Table<(RoomSerial, T), V>,
        range: Range<(RoomSerial, T)>,
    ) -> Result<Vec<((RoomSerial, T), V)>, store::Error> {
        self.engine.store().scan(table, range, store::Order::Ascending, STEP).await
    }
}
