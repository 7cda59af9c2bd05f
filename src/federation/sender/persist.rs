//! Remembering how far the sender has come.
//!
//! One commit moves the cursor of the log and writes what is owed to peers that are behind, so that
//! an event is always either after the cursor, or owed, or delivered.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ruma::OwnedServerName;
use store::{Batch, Position};
use tracing::warn;

use super::{
    CURSOR, Destination, Inner,
    lane::{Changes, Lane},
};
use crate::tables::{OWED, PEERS};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);

impl Inner {
    /// Writes the cursor from time to time, and a last time at the end.
    pub(super) async fn keep(self: Arc<Self>) {
        let stop = self.tasks.shutdown_token();
        let mut written = Position::START;
        loop {
            let is_last = stop.run_until_cancelled(self.clock.sleep(EVERY)).await.is_none();
            self.measure();
            match self.persist(written).await {
                Ok(position) => {
                    written = position;
                    self.forget_given_up();
                }
                Err(error) if error.stops_writes() => {}
                Err(error) => warn!(reader = "federation", %error, "the cursor could not be written"),
            }
            if is_last {
                return;
            }
        }
    }

    /// Writes cursor and debts if they have changed. Returns the cursor as written.
    async fn persist(&self, written: Position) -> Result<Position, store::CommitError> {
        // Before the lanes are looked at: what is fanned out meanwhile counts next time.
        let mut low_water = Position(self.fanned.load(Ordering::Acquire));
        let destinations: Vec<Arc<Destination>> = self.destinations.lock().values().cloned().collect();
        let mut batch = Batch::new();
        let mut noted: Vec<(Arc<Destination>, OwnedServerName, Changes)> = Vec::new();
        for destination in destinations {
            let mut state = destination.state.lock();
            for (from, lane) in &mut state.lanes {
                low_water = low_water.min(lane.low_water().unwrap_or(low_water));
                let changes = lane.changes();
                let key = |room: &ruma::OwnedRoomId| {
                    (from.to_string(), destination.name.to_string(), room.to_string())
                };
                for (room, after) in &changes.put {
                    batch.put(&OWED, &key(room), after);
                }
                for room in &changes.delete {
                    batch.delete(&OWED, &key(room));
                }
                if changes != Changes::default() {
                    noted.push((destination.clone(), from.clone(), changes));
                }
            }
        }
        let now = self.clock.now().millis();
        let to_note = self.contacts.take_to_note();
        for peer in &to_note {
            batch.put(&PEERS, peer.as_str(), &now);
        }
        if low_water != written {
            batch.set_cursor(CURSOR, low_water);
        }
        if batch.is_empty() {
            return Ok(written);
        }
        let committed = self.store.commit(batch).await;
        if committed.is_err() {
            self.contacts.note_again(to_note);
            for (destination, from, changes) in noted {
                if let Some(lane) = destination.state.lock().lanes.get_mut(&from) {
                    lane.changes_failed(changes);
                }
            }
        }
        committed.map(|_| low_water)
    }

    /// Drops what is kept of servers that were given up, once nothing of it is left to be written.
    fn forget_given_up(&self) {
        self.destinations.lock().retain(|_, destination| {
            let mut state = destination.state.lock();
            let stays = !state.is_given_up || state.is_served || !state.lanes.values().all(Lane::is_settled);
            state.is_gone = !stays;
            stays
        });
    }

    fn measure(&self) {
        let destinations: Vec<Arc<Destination>> = self.destinations.lock().values().cloned().collect();
        let (mut queued, mut owed_rooms, mut behind) = (0, 0, 0);
        for destination in destinations {
            let state = destination.state.lock();
            queued += state.lanes.values().map(Lane::queued).sum::<usize>();
            owed_rooms += state.lanes.values().map(Lane::owed_rooms).sum::<usize>();
            behind += usize::from(state.lanes.values().any(Lane::is_behind));
        }
        let set = |gauge: &base::Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.counts.queued, queued);
        set(&self.counts.owed_rooms, owed_rooms);
        set(&self.counts.behind, behind);
        set(&self.counts.troubled, self.contacts.troubled());
    }
}
