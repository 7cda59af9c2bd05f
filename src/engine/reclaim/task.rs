//! The task that goes through the rooms, one after the other and never in a hurry.

use std::time::Duration;

use room::{Error, ids::RoomSerial, tables::HEADS};
use store::{CommitError, Consumer, Term};
use tracing::{debug, warn};

use super::room::{Sweep, rest};
use crate::{
    Engine,
    tables::{SWEEPS, SweepRow},
};

/// The name under which one of several processes does this.
const NAME: &str = "room state";

/// How often it is gone through the rooms for those that are due.
const ROUND: Duration = Duration::from_secs(60 * 60);

/// A server that starts has other things to do.
const FIRST_ROUND: Duration = Duration::from_secs(5 * 60);

/// So long who holds a state in memory may read it, though nothing names it any more.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// A room is looked through anew when so much time has passed, and something was written to it.
const AGAIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Rooms whose rows are read together.
const ROOMS: usize = 200;

/// What a room is due for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The first look.
    Condemn,
    /// The second one.
    Delete(SweepRow),
}

impl Engine {
    /// Takes away, as long as no other process does, what rooms' states are made of that nothing leads to any more.
    pub fn start_reclaiming(&self, metrics: &base::Metrics) {
        let consumer = Consumer::without_log(self.store(), NAME, &self.0.clock, metrics);
        let engine = self.clone();
        self.0.tasks.spawn_restarting("room state", move || {
            let (engine, consumer) = (engine.clone(), consumer.clone());
            async move {
                let stop = engine.0.tasks.shutdown_token();
                consumer.run(stop, |term| engine.clone().reclaim_on(term)).await;
            }
        });
    }

    /// Does the work of one term.
    async fn reclaim_on(self, term: Term) -> Result<(), Error> {
        let mut pause = FIRST_ROUND;
        while term.ended().run_until_cancelled(self.0.clock.sleep(pause)).await.is_some() {
            self.reclaim_round(&term).await?;
            pause = ROUND;
        }
        Ok(())
    }

    /// Goes once through all rooms.
    async fn reclaim_round(&self, term: &Term) -> Result<(), Error> {
        let mut after = None;
        while !term.ended().is_cancelled() {
            let began = self.0.clock.instant();
            let rooms = self.rooms().rooms_by_serial(after, ROOMS).await?;
            let Some((last, _)) = rooms.last() else { break };
            after = Some(*last);
            let serials: Vec<RoomSerial> = rooms.iter().map(|(room, _)| *room).collect();
            let due = self.due(&serials).await?;
            rest(self, term, began).await;
            for (room, due) in due {
                match self.reclaim_of(term, room, due).await {
                    Ok(()) => {}
                    // At another time: somebody else is at it, or nothing can be written.
                    Err(Error::Contended | Error::BeingPurged(_)) => {}
                    Err(Error::Interrupted) => return Ok(()),
                    Err(Error::Commit(error)) if error.stops_writes() => return Ok(()),
                    Err(Error::Commit(CommitError::Busy)) => return Ok(()),
                    // It costs space, of this room alone.
                    Err(error) => {
                        warn!(room = room.0, %error, "the state of a room could not be looked through")
                    }
                }
            }
        }
        Ok(())
    }

    /// Which of some rooms are due, and for what.
    async fn due(&self, rooms: &[RoomSerial]) -> Result<Vec<(RoomSerial, Due)>, Error> {
        let mut reads = store::Reads::new();
        let (rows, heads) = (reads.get_many(&SWEEPS, rooms), reads.get_many(&HEADS, rooms));
        let mut found = self.store().read(reads).await?;
        let (rows, heads) = (found.take_many(rows)?, found.take_many(heads)?);
        let now = self.now();
        let due = rooms.iter().zip(rows).zip(heads).filter_map(|((room, row), head)| {
            let generation = head?.generation;
            Some((*room, due(row, generation, now)?))
        });
        Ok(due.collect())
    }

    async fn reclaim_of(&self, term: &Term, room: RoomSerial, due: Due) -> Result<(), Error> {
        let Some(info) = self.rooms().room_infos(&[room]).await?.pop().flatten() else { return Ok(()) };
        let Some(sweep) = Sweep::of(self, &info, Some(term)).await? else { return Ok(()) };
        match due {
            Due::Condemn => {
                let row = self.store().get(&SWEEPS, &room).await?;
                sweep.condemn(row).await?;
            }
            Due::Delete(row) => {
                let done = sweep.delete(row).await?;
                debug!(room_id = %info.room_id, count = done.deleted, size_bytes = done.deleted_bytes, "what nothing in a room's state leads to is gone");
            }
        }
        Ok(())
    }
}

/// What a room is due for at a time, in ms since 1970. A clock that was set makes it due too early or too late, and
/// nothing worse.
fn due(row: Option<SweepRow>, generation: u64, now: u64) -> Option<Due> {
    let Some(row) = row else { return Some(Due::Condemn) };
    let age = Duration::from_millis(now.abs_diff(row.since));
    match row.has_condemned {
        true => (age >= GRACE).then_some(Due::Delete(row)),
        false => (age >= AGAIN && row.generation != generation).then_some(Due::Condemn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_condemned_is_due_after_an_hour_and_a_room_that_was_written_after_a_week() {
        let hours = |count: u64| count * 60 * 60 * 1_000;
        let row = SweepRow { number: 1, generation: 5, since: hours(1_000), has_condemned: true };
        assert_eq!(due(None, 5, hours(1_000)), Some(Due::Condemn));
        assert_eq!(due(Some(row), 5, hours(1_001) - 1), None);
        assert_eq!(due(Some(row), 5, hours(1_001)), Some(Due::Delete(row)));
        let done = SweepRow { has_condemned: false, ..row };
        assert_eq!(due(Some(done), 6, hours(1_000 + 7 * 24) - 1), None);
        assert_eq!(due(Some(done), 6, hours(1_000 + 7 * 24)), Some(Due::Condemn));
        assert_eq!(due(Some(done), 5, hours(1_000 + 7 * 24)), None);
    }
}
