//! The two looks at one room.

use std::sync::Arc;

use base::Instant;
use room::{
    Error,
    read::{
        lacking::{LACKING, LackingRow},
        room::{RoomInfo, bind},
    },
    snapshot::{self, ChunkHash, Reached, Reclaimed},
    tables::{HEADS, Head},
};
use ruma::RoomId;
use store::{Batch, CommitError, Stamped, Term};

use crate::{
    Engine,
    state::upkeep::RootsInUse,
    tables::{SWEEPS, SweepRow},
};

/// After a step it rests for so many times as long as that took.
const REST: u32 = 3;

/// A room that is looked through.
pub(super) struct Sweep<'a> {
    engine: &'a Engine,
    room: &'a Arc<RoomInfo>,
    /// In this term; none: at once, for who waits for it.
    term: Option<&'a Term>,
    /// That it has all its members: none, or since when it does not lack them any more.
    whole: Option<Stamped<LackingRow>>,
}

impl<'a> Sweep<'a> {
    /// Of a room that has all its members. `None`: its turn comes when it has them.
    pub(super) async fn of(
        engine: &'a Engine,
        room: &'a Arc<RoomInfo>,
        term: Option<&'a Term>,
    ) -> Result<Option<Self>, Error> {
        let whole = engine.store().get(&LACKING, &room.serial).await?;
        let lacks = whole.as_ref().is_some_and(|row| row.value.filling.is_some());
        Ok((!lacks).then_some(Self { engine, room, term, whole }))
    }

    /// Condemns what nothing leads to, if the room has a head. Gives the row of the sweep as it is then.
    ///
    /// # Errors
    /// [`Error::Contended`] when somebody else looks through the room, or it is purged; [`Error::Interrupted`] when the
    /// term ends. What is condemned by then stays so.
    pub(super) async fn condemn(&self, row: Option<SweepRow>) -> Result<Option<SweepRow>, Error> {
        let Some(head) = self.head().await? else { return Ok(row) };
        let reached = self.look(&head).await?;
        let (mut condemned, mut after) = (0, None);
        loop {
            let began = self.begin()?;
            let mut batch = self.batch(row.as_ref());
            let snapshots = self.engine.snapshots();
            let page = snapshots.stage_condemned(&mut batch, self.room.serial, &reached, after).await?;
            let Some(page) = page else { break };
            if !page.doomed.is_empty() {
                self.commit(batch).await?;
            }
            condemned += page.condemned;
            after = Some(page.last);
            self.rest(began).await;
        }
        let next = SweepRow {
            number: row.map_or(0, |row| row.number) + 1,
            generation: head.generation,
            since: self.engine.now(),
            has_condemned: condemned > 0,
        };
        self.move_on(row.as_ref(), &next).await?;
        Ok(Some(next))
    }

    /// Takes away what is condemned, if nothing leads to it.
    ///
    /// # Errors
    /// As [`Sweep::condemn`].
    pub(super) async fn delete(&self, row: SweepRow) -> Result<Reclaimed, Error> {
        // Before the look: whoever named a state by the row that was there is found, and nobody does any more.
        let mine = SweepRow { number: row.number + 1, ..row };
        self.move_on(Some(&row), &mine).await?;
        let Some(head) = self.head().await? else { return Err(Error::Contended) };
        let reached = self.look(&head).await?;
        let (mut done, mut after): (_, Option<ChunkHash>) = (Reclaimed::default(), None);
        loop {
            let began = self.begin()?;
            let mut batch = self.batch(Some(&mine));
            let snapshots = self.engine.snapshots();
            let page = snapshots.stage_deleted(&mut batch, self.room.serial, &reached, after).await?;
            let Some(page) = page else { break };
            if !batch.is_empty() {
                snapshots.forget(self.room.serial, &page.doomed);
                let outcome = self.commit(batch).await;
                // Somebody may have looked at one until now.
                snapshots.forget(self.room.serial, &page.doomed);
                outcome?;
            }
            let metrics = &self.engine.0.metrics;
            metrics.reclaimed_chunks.inc_by(page.counts.deleted);
            metrics.reclaimed_bytes.inc_by(page.counts.deleted_bytes);
            done += page.counts;
            after = Some(page.last);
            self.rest(began).await;
        }
        let next = SweepRow {
            number: mine.number + 1,
            generation: head.generation,
            since: self.engine.now(),
            has_condemned: false,
        };
        self.move_on(Some(&mine), &next).await?;
        Ok(done)
    }

    async fn head(&self) -> Result<Option<Head>, Error> {
        Ok(self.engine.store().get(&HEADS, &self.room.serial).await?)
    }

    /// What the rows of the room lead to.
    async fn look(&self, head: &Head) -> Result<Reached, Error> {
        match self.try_look(head).await {
            // A room that is purged may lack anything.
            Err(snapshot::Error::Broken(_)) if self.head().await?.is_none() => Err(Error::Contended),
            outcome => Ok(outcome?),
        }
    }

    async fn try_look(&self, head: &Head) -> Result<Reached, snapshot::Error> {
        let mut reached = Reached::default();
        // The tip is first: what comes to stand on it later stands on what was in use then.
        let mut roots = RootsInUse::new(self.engine, self.room.serial, Some(head));
        loop {
            let began = self.begin().map_err(|_| snapshot::Error::Interrupted)?;
            let Some(some) = roots.next().await? else { return Ok(reached) };
            self.engine.snapshots().reach(self.room.serial, &some, &mut reached).await?;
            self.rest(began).await;
        }
    }

    /// A batch that is written if the room is the same, has all its members, and nobody else looks through it.
    fn batch(&self, row: Option<&SweepRow>) -> Batch {
        let mut batch = Batch::new();
        bind(&mut batch, self.room);
        batch.require(&SWEEPS, &self.room.serial, row);
        // While members come in, states are made from slice to slice that no row names.
        batch.require(&LACKING, &self.room.serial, self.whole.as_ref());
        batch
    }

    async fn move_on(&self, from: Option<&SweepRow>, to: &SweepRow) -> Result<(), Error> {
        let mut batch = self.batch(from);
        batch.put(&SWEEPS, &self.room.serial, to);
        self.commit(batch).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let outcome = match self.term {
            Some(term) => term.commit(batch).await,
            None => self.engine.store().commit(batch).await,
        };
        match outcome {
            Ok(_) => Ok(()),
            // The next look at the row shows what has become of it.
            Err(CommitError::Conflict { .. } | CommitError::Unknown) => Err(Error::Contended),
            Err(error) => Err(Error::Commit(error)),
        }
    }

    fn begin(&self) -> Result<Instant, Error> {
        match self.term {
            Some(term) if term.ended().is_cancelled() => Err(Error::Interrupted),
            _ => Ok(self.engine.0.clock.instant()),
        }
    }

    async fn rest(&self, began: Instant) {
        if let Some(term) = self.term {
            rest(self.engine, term, began).await;
        }
    }
}

/// Rests after a step that began then.
pub(super) async fn rest(engine: &Engine, term: &Term, began: Instant) {
    term.ended().run_until_cancelled(engine.0.clock.rest_since(began, REST)).await;
}

impl Engine {
    /// Takes away at once, in both looks, what nothing in a room leads to: what the task does with an hour in between, for
    /// tests and tools. Who reads an old state meanwhile may miss it; who writes does not.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::MembersLacking`]; [`Error::Contended`] when somebody else does it, too: call again.
    pub async fn reclaim_state(&self, room_id: &RoomId) -> Result<Reclaimed, Error> {
        let room = self.rooms().get_room(room_id).await?;
        let sweep = Sweep::of(self, &room, None).await?;
        let sweep = sweep.ok_or_else(|| Error::MembersLacking(room_id.to_owned()))?;
        let row = self.store().get(&SWEEPS, &room.serial).await?;
        let row = sweep.condemn(row).await?.ok_or_else(|| Error::NoRoom(room_id.to_owned()))?;
        sweep.delete(row).await
    }
}
