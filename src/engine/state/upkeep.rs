//! Upkeep of a room's state: which snapshots are in use, and what follows from that.

use std::{collections::HashSet, sync::Arc};

use room::{
    Error,
    ids::{RoomSerial, Root},
    read::{lacking::LACKING, room::RoomInfo},
    snapshot::{self, ChunkHash, Reclaimed, Report},
    tables::{DEPARTURES, EVENT_META, HEADS, Head, MEMBERS, MEMBERSHIPS, TIMELINE},
};
use ruma::{RoomId, UserId};
use store::{Key, Order, Range, Table, Value};

use crate::Engine;

/// Rows read at once.
const STEP: usize = 1_000;

/// So often it is looked what is in use, while others write the room.
const LOOKS: usize = 8;

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
        let roots = self.roots_in_use(&room, head.as_ref()).await?;
        Ok(self.snapshots().verify(room.serial, &roots).await?)
    }

    /// Deletes the chunks of a room's snapshots that nothing refers to any more, for instance after
    /// history was purged.
    ///
    /// What is in use is found beside the room's lock; that takes as long as the room is large. The lock is held for one
    /// commit of a page of chunks at a time, and only if the tip is still the one as of which they are not in use. Should
    /// somebody have spoken meanwhile, it is looked again.
    ///
    /// Meant for a room at rest, as [`Engine::verify_state`] is: a state that another server has just told has
    /// its chunks in the store before any row names it, and would be deleted under the event that waits for it.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::Contended`] when so much is said in the room that it cannot get on: call again.
    pub async fn reclaim_state(&self, room_id: &RoomId) -> Result<Reclaimed, Error> {
        let room = self.rooms().get_room(room_id).await?;
        let mut done = Reclaimed::default();
        let mut after = None;
        for _ in 0..LOOKS {
            // Before all else: a tip that is still this one later has added nothing to what is read from here on.
            let head = self.store().get(&HEADS, &room.serial).await?;
            let head = head.ok_or_else(|| Error::NoRoom(room_id.to_owned()))?;
            let roots = self.roots_in_use(&room, Some(&head)).await?;
            let reached = self.snapshots().reached(room.serial, &roots).await?;
            loop {
                let page = self.snapshots().unreached(room.serial, &reached, after).await?;
                let Some(page) = page else { return Ok(done) };
                if !page.doomed.is_empty() && !self.delete_unreached(&room, &head, &page.doomed).await? {
                    break;
                }
                done += page.counts;
                after = Some(page.last);
            }
        }
        Err(Error::Contended)
    }

    /// Deletes chunks that were not in use at this tip. False: it is not the tip any more, and nothing was deleted.
    async fn delete_unreached(
        &self,
        room: &Arc<RoomInfo>,
        head: &Head,
        doomed: &[ChunkHash],
    ) -> Result<bool, Error> {
        let mut guard = self.lock_current(room).await?;
        if guard.head()? != head {
            return Ok(false);
        }
        // What is being made beside the lock may stand on what goes.
        guard.forget();
        let mut batch = store::Batch::new();
        batch.require(&HEADS, &room.serial, Some(head));
        match self.snapshots().delete(batch, room.serial, doomed).await {
            Ok(()) => Ok(true),
            Err(snapshot::Error::Changed) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Every root that a row of the room names, each once.
    async fn roots_in_use(&self, room: &RoomInfo, head: Option<&Head>) -> Result<Vec<Root>, Error> {
        let mut roots: HashSet<Root> = HashSet::new();
        if let Some(head) = head {
            roots.insert(head.current);
            roots.extend(head.extremities.iter().map(|extremity| extremity.after));
            roots.insert(head.beside);
            roots.extend(head.members.lacking().map(|lacking| lacking.resolved));
        }
        let lacking = self.store().get(&LACKING, &room.serial).await?;
        if let Some(filling) = lacking.and_then(|row| row.value.filling) {
            roots.extend([filling.without, filling.before]);
        }
        self.each_row(&EVENT_META, room.serial, |_, meta| {
            roots.extend([meta.value.before, meta.value.after]);
        })
        .await?;
        self.each_row(&TIMELINE, room.serial, |_, row| {
            roots.insert(row.current);
        })
        .await?;
        let mut ours: Vec<(String, RoomSerial)> = Vec::new();
        self.each_row(&MEMBERS, room.serial, |(_, user), _| {
            if <&UserId>::try_from(user.as_str()).is_ok_and(|user| self.is_local(user)) {
                ours.push((user, room.serial));
            }
        })
        .await?;
        for some in ours.chunks(STEP) {
            let rows = self.store().get_many(&MEMBERSHIPS, some).await?;
            roots.extend(rows.into_iter().flatten().map(|row| row.value.current));
            let rows = self.store().get_many(&DEPARTURES, some).await?;
            roots.extend(rows.into_iter().flatten().map(|row| row.value.current));
        }
        roots.remove(&Root::EMPTY);
        Ok(roots.into_iter().collect())
    }

    /// Reads all rows of a room in a table.
    async fn each_row<T: Key, V: Value>(
        &self,
        table: &Table<(RoomSerial, T), V>,
        room: RoomSerial,
        mut take: impl FnMut((RoomSerial, T), V),
    ) -> Result<(), Error> {
        let mut range = Range::prefix(&room);
        loop {
            let rows = self.store().scan(table, range.clone(), Order::Ascending, STEP).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            range = range.after(last);
            rows.into_iter().for_each(|(key, row)| take(key, row));
        }
    }
}
