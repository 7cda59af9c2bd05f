//! [`Permit`]: the right to write of a room before it has a head.

use std::time::Duration;

use room::{
    Error,
    attempts::Attempts,
    read::room::{RoomInfo, bind},
    tables::{HEADS, Head},
};
use store::Batch;

use super::tables::{ENTERINGS, EnteringRow};
use crate::Engine;

/// A row that is older is written anew by who goes on with it, so that it does not look like one that was left.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// The right to write what a room is made of before anybody sees it. Each batch has to demand it ([`Permit::demand`]).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permit {
    /// None: the room has a head.
    row: Option<EnteringRow>,
    /// It had one from the beginning.
    had_head: bool,
}

impl Permit {
    /// For a room that has a head: nothing more is demanded than that it is that very room.
    pub(crate) const fn in_room() -> Self {
        Self { row: None, had_head: true }
    }

    /// Whether the room has no head, so that nobody sees what is written.
    pub(crate) const fn is_unseen(&self) -> bool {
        self.row.is_some()
    }

    /// Whether all that was written by it is there, if the room has a head now or has none. Once somebody else has
    /// brought the head, it is not known whether he stands on that.
    pub(crate) const fn fits(&self, has_head: bool) -> bool {
        self.had_head == has_head
    }

    /// Demands in a batch that the permit still holds, and that the room is neither purged nor of another version.
    pub(crate) fn demand(&self, batch: &mut Batch, room: &RoomInfo) {
        bind(batch, room);
        if let Some(row) = &self.row {
            batch.require(&HEADS, &room.serial, None);
            batch.require(&ENTERINGS, &room.serial, Some(row));
        }
    }

    /// In the batch by which the room gets its head: nothing is left to be entered. That there was no head is demanded
    /// by who writes it.
    pub(crate) fn end(&self, batch: &mut Batch, room: &RoomInfo) {
        bind(batch, room);
        if let Some(row) = &self.row {
            batch.require(&ENTERINGS, &room.serial, Some(row));
            batch.delete(&ENTERINGS, &room.serial);
        }
    }
}

impl Engine {
    /// The right to bring in what a room is made of. What an earlier one has brought is there still, or all gone.
    ///
    /// # Errors
    /// [`Error::Contended`], [`Error::Store`], [`Error::Commit`].
    pub(crate) async fn permit(&self, room: &RoomInfo) -> Result<Permit, Error> {
        let mut attempts = Attempts::default();
        loop {
            let (head, row) = self.entering(room).await?;
            if head.is_some() {
                return Ok(Permit::in_room());
            }
            let now = self.now();
            let is_fresh = |row: &EnteringRow| u128::from(now.abs_diff(row.since)) < FRESH.as_millis();
            let next = match row {
                Some(row) if row.is_void => {
                    match self.void(room).await {
                        // Somebody else does the same.
                        Err(Error::Contended) => attempts.again(self.rooms()).await?,
                        voided => voided?,
                    }
                    continue;
                }
                Some(row) if is_fresh(&row) => return Ok(Permit { row: Some(row), had_head: false }),
                Some(row) => EnteringRow { since: now, ..row },
                None => EnteringRow { number: self.new_event_serial().await?.0, since: now, is_void: false },
            };
            let mut batch = Batch::new();
            bind(&mut batch, room);
            batch.require(&HEADS, &room.serial, None);
            batch.require(&ENTERINGS, &room.serial, row.as_ref());
            batch.put(&ENTERINGS, &room.serial, &next);
            if attempts.judge(self.rooms(), self.store().commit(batch).await).await?.is_some() {
                return Ok(Permit { row: Some(next), had_head: false });
            }
        }
    }

    /// The same permit as the row is now, for who could not write by it.
    ///
    /// # Errors
    /// [`Error::Contended`] when it does not hold any more: what was written by it may be gone.
    pub(crate) async fn renew(&self, room: &RoomInfo, permit: &mut Permit) -> Result<(), Error> {
        let Some(known) = permit.row else { return Ok(()) };
        let (head, row) = self.entering(room).await?;
        if head.is_some() {
            // By somebody else's join. What is not in the room yet is written for it as for any other.
            permit.row = None;
            return Ok(());
        }
        permit.row = row.filter(|row| row.number == known.number && !row.is_void);
        if permit.row.is_none() { Err(Error::Contended) } else { Ok(()) }
    }

    pub(super) async fn entering(
        &self,
        room: &RoomInfo,
    ) -> Result<(Option<Head>, Option<EnteringRow>), Error> {
        let mut reads = store::Reads::new();
        let head = reads.get(&HEADS, &room.serial);
        let row = reads.get(&ENTERINGS, &room.serial);
        let mut found = self.store().read(reads).await?;
        Ok((found.take(head)?, found.take(row)?))
    }
}
