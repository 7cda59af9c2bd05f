//! The task that carries purges out: slice after slice, each room in turn, never in a hurry.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{Backoff, Instant};
use room::{
    Error,
    ids::RoomSerial,
    purge::{
        known::purge_ordered,
        tables::{EMPTIED, MOST_AT_ONCE, PURGES, PurgeRow},
    },
};
use ruma::OwnedRoomId;
use store::{Batch, CommitError, Consumer, Order, Range, Term};
use tracing::{info, warn};

use super::debts::Debts;
use crate::Engine;

/// The name under which one of several processes does this.
const NAME: &str = "room purges";

/// After a slice it rests for so many times as long as that took.
const REST: u32 = 3;

/// How often it is looked whether something can be done that could not be done before.
const LOOK: Duration = Duration::from_secs(1);

/// The pauses after a slice that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After so many failures one after the other it is told of, also if they are of a kind that passes.
const MANY_FAILURES: u32 = 8;

/// What a slice has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sliced {
    /// It was done; there is more.
    Done,
    /// Something has to happen first.
    Waits,
    /// The same, and it may take this long.
    WaitsFor(Duration),
    /// Nothing is left of the room, or the order is void.
    Over,
}

/// When a room that failed is tried again.
struct Trouble {
    pause: Backoff,
    until: Instant,
}

/// What one term remembers.
struct Work {
    term: Term,
    debts: Arc<dyn Debts>,
    troubles: HashMap<OwnedRoomId, Trouble>,
    /// No space is given back before.
    space_from: Instant,
}

impl Engine {
    /// Carries out what is ordered, and what an earlier process left, as long as no other one does. `debts` knows who has
    /// yet to be told of a room.
    pub fn start_purging(&self, debts: Arc<dyn Debts>, metrics: &base::Metrics) {
        let consumer = Consumer::without_log(self.store(), NAME, &self.0.clock, metrics);
        let engine = self.clone();
        self.0.tasks.spawn_restarting("room purges", move || {
            let (engine, consumer, debts) = (engine.clone(), consumer.clone(), debts.clone());
            async move {
                let stop = engine.0.tasks.shutdown_token();
                consumer.run(stop, |term| engine.clone().purge_on(term, debts.clone())).await;
            }
        });
    }

    /// Does the work of one term.
    async fn purge_on(self, term: Term, debts: Arc<dyn Debts>) -> Result<(), Error> {
        let stop = term.ended().clone();
        let mut work = Work { term, debts, troubles: HashMap::new(), space_from: self.0.clock.instant() };
        while !stop.is_cancelled() {
            // Before the read: what is ordered meanwhile must wake us.
            let mut watch = self.store().watch(vec![purge_ordered()]);
            let rows = self.store().scan(&PURGES, Range::all(), Order::Ascending, MOST_AT_ONCE).await?;
            self.0.metrics.purges.set(i64::try_from(rows.len()).unwrap_or(i64::MAX));
            let nothing_is_ordered = rows.is_empty();
            let mut has_done = false;
            for (room_id, row) in rows {
                if stop.is_cancelled() {
                    return Ok(());
                }
                let Ok(room_id) = OwnedRoomId::try_from(room_id) else { continue };
                has_done |= self.purge_some(&mut work, &room_id, row).await;
            }
            // Space comes back when nobody waits for anything else.
            let space = if has_done { Space::Nothing } else { self.give_space_back(&mut work).await? };
            if nothing_is_ordered && space == Space::Nothing {
                // Nobody is woken every second for nothing.
                stop.run_until_cancelled(watch.changed()).await;
            } else if !has_done && space != Space::GivenBack {
                tokio::select! {
                    () = watch.changed() => {}
                    () = self.0.clock.sleep(LOOK) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        Ok(())
    }

    /// One slice of one room, and the rest after it. True: something was done.
    async fn purge_some(&self, work: &mut Work, room_id: &OwnedRoomId, row: PurgeRow) -> bool {
        let began = self.0.clock.instant();
        if work.troubles.get(room_id).is_some_and(|trouble| trouble.until > began) {
            return false;
        }
        let put_off = |work: &mut Work, pause: Option<Duration>| {
            let trouble = work
                .troubles
                .entry(room_id.clone())
                .or_insert_with(|| Trouble { pause: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE), until: began });
            let pause = pause.unwrap_or_else(|| trouble.pause.next(&self.0.random));
            trouble.until = self.0.clock.instant() + pause;
        };
        match self.slice(&work.term, room_id, &row, &*work.debts).await {
            Ok(Sliced::Waits) => false,
            Ok(Sliced::WaitsFor(pause)) => {
                put_off(work, Some(pause));
                false
            }
            Ok(sliced) => {
                work.troubles.remove(room_id);
                if sliced == Sliced::Over {
                    info!(%room_id, count = row.rows, "the purge of a room is over");
                }
                self.rest_since(work, began, REST).await;
                true
            }
            Err(_) if work.term.is_lost() => false,
            Err(error) => {
                put_off(work, None);
                let is_stuck =
                    work.troubles.get(room_id).is_some_and(|it| it.pause.failures() > MANY_FAILURES);
                if is_stuck || !error.is_passing() {
                    warn!(%room_id, %error, "the purge of a room does not get on, trying again");
                }
                false
            }
        }
    }

    /// Gives back the space that one table of an emptied room took.
    async fn give_space_back(&self, work: &mut Work) -> Result<Space, Error> {
        let rooms = self.store().scan(&EMPTIED, Range::all(), Order::Ascending, 1).await?;
        let Some((room, done)) = rooms.into_iter().next() else { return Ok(Space::Nothing) };
        let began = self.0.clock.instant();
        if work.space_from > began {
            return Ok(Space::Later);
        }
        let place = usize::try_from(done).unwrap_or(usize::MAX);
        let mut batch = Batch::new();
        batch.require(&EMPTIED, &room, Some(&done));
        match self.all_swaths(room).get(place) {
            Some(swath) => {
                // Failing costs space, which comes back with time.
                if let Err(error) = self.store().give_back(swath).await {
                    warn!(table = swath.table(), %error, "the space of a purged room could not be given back");
                }
                batch.put(&EMPTIED, &room, &(done + 1));
            }
            None => batch.delete(&EMPTIED, &room),
        }
        if let Err(error) = work.term.commit(batch).await {
            // On a full disk, not again and again.
            work.space_from = self.0.clock.instant() + LONGEST_PAUSE;
            if !error.stops_writes() {
                warn!(%error, "it could not be noted that space was given back");
            }
            return Ok(Space::Later);
        }
        self.rest_since(work, began, 1).await;
        Ok(Space::GivenBack)
    }

    /// Rests for as long as something took, so many times.
    async fn rest_since(&self, work: &Work, began: Instant, times: u32) {
        work.term.ended().run_until_cancelled(self.0.clock.rest_since(began, times)).await;
    }
}

/// Whether there was space to give back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Nothing,
    GivenBack,
    /// It could not be, for now.
    Later,
}

/// Moves a purge on: the batch is written if nobody has moved it meanwhile, in this term or not at all.
pub(super) async fn commit(
    term: &Term,
    mut batch: Batch,
    room_id: &OwnedRoomId,
    from: &PurgeRow,
    to: Option<&PurgeRow>,
) -> Result<(), Error> {
    match to {
        Some(to) => {
            batch.replace(&PURGES, room_id.as_str(), from, to);
        }
        None => {
            batch.require(&PURGES, room_id.as_str(), Some(from));
            batch.delete(&PURGES, room_id.as_str());
        }
    }
    match term.commit(batch).await {
        Ok(_) => Ok(()),
        // The next look at the row shows what has become of it.
        Err(CommitError::Conflict { .. } | CommitError::Unknown) => Err(Error::Contended),
        Err(error) => Err(Error::Commit(error)),
    }
}

/// Notes that nothing is left under a serial but the space that it took.
pub(super) fn note_emptied(batch: &mut Batch, room: RoomSerial) {
    batch.put(&EMPTIED, &room, &0);
}
