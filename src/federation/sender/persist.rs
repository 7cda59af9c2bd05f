//! Remembering how far the sender has come.
//!
//! One commit moves the cursor of the log and writes what is owed to peers that are behind, so that
//! an event is always either after the cursor, or owed, or delivered. Where another process may go on, what was sent after
//! the cursor is in [`LAST_SENT`]: the transaction under way before it is sent, that it has ended a moment after.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use store::{Batch, Position};
use tracing::warn;

use super::{
    Destination, Destinations, Inner, Office,
    lane::{Changes, Ended, Lane},
};
use crate::tables::{LAST_SENT, OWED, PEERS};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);

/// What was to be written of a lane.
struct OfLane {
    destination: Arc<Destination>,
    from: OwnedServerName,
    changes: Changes,
    ended: Option<Ended>,
}

impl Changes {
    pub(super) fn write(&self, batch: &mut Batch, from: &ServerName, to: &ServerName) {
        let key = |room: &ruma::OwnedRoomId| (from.to_string(), to.to_string(), room.to_string());
        for (room, after) in &self.put {
            batch.put(&OWED, &key(room), after);
        }
        for room in &self.delete {
            batch.delete(&OWED, &key(room));
        }
    }
}

impl Office {
    /// Notes from time to time, and a last time at the end, which servers were heard from.
    pub(super) async fn note_peers(self: Arc<Self>) {
        let stop = self.parts.tasks.shutdown_token();
        loop {
            let is_last = stop.run_until_cancelled(self.parts.clock.sleep(EVERY)).await.is_none();
            let to_note = self.parts.contacts.take_to_note();
            if !to_note.is_empty() {
                let now = self.parts.clock.now().millis();
                let mut batch = Batch::new();
                for peer in &to_note {
                    batch.put(&PEERS, peer.as_str(), &now);
                }
                if let Err(error) = self.parts.store.commit(batch).await {
                    self.parts.contacts.note_again(to_note);
                    if !error.stops_writes() {
                        warn!(%error, "servers that were heard from could not be noted");
                    }
                }
            }
            if is_last {
                return;
            }
        }
    }
}

impl Inner {
    /// Writes the cursor from time to time, and a last time at the end of the term.
    pub(super) async fn keep(self: Arc<Self>) {
        let stop = self.term.ended();
        let mut written = Position::START;
        loop {
            let is_last = stop.run_until_cancelled(self.clock.sleep(EVERY)).await.is_none();
            self.measure();
            match self.persist(written).await {
                Ok(position) => {
                    written = position;
                    self.drop_idle();
                }
                Err(error) if error.stops_writes() || self.term.is_lost() => {}
                Err(error) => warn!(reader = "federation", %error, "the cursor could not be written"),
            }
            self.settle_outboxes().await;
            if is_last {
                return;
            }
        }
    }

    /// Writes cursor and debts if they have changed. Returns the cursor as written.
    async fn persist(&self, written: Position) -> Result<Position, store::CommitError> {
        let (submitted, low_water, noted) = {
            // What is written of one lane is written in the order in which it was looked at.
            let _in_order = self.notes.lock();
            let (low_water, destinations) = low_water(&self.fanned, &self.destinations);
            let mut batch = Batch::new();
            let noted = put_lanes(&mut batch, &destinations, low_water);
            if low_water != written {
                self.term.set_cursor(&mut batch, low_water);
            }
            if batch.is_empty() {
                return Ok(written);
            }
            (self.term.submit(self.term.fenced(batch)), low_water, noted)
        };
        let committed = submitted.await;
        if committed.is_err() {
            for OfLane { destination, from, changes, ended } in noted {
                if let Some(lane) = destination.state.lock().lanes.get_mut(&from) {
                    lane.changes_failed(changes);
                    ended.iter().for_each(|ended| lane.ended_failed(ended));
                }
            }
        }
        committed.map(|_| low_water)
    }

    /// Drops lanes in which all is done and written, and the peers that have no other: most of them at most times, so
    /// that what is walked here each second is what is under way. Servers that were given up go as well, once nothing of
    /// them is left to be written.
    fn drop_idle(&self) {
        let (now, fanned) = (self.clock.instant(), self.position());
        self.destinations.lock().retain(|name, destination| {
            let mut state = destination.state.lock();
            state.lanes.retain(|_, lane| !lane.is_over(fanned));
            let is_done = match state.is_given_up {
                true => state.lanes.values().all(Lane::is_settled),
                // Who has answered and is not remembered would be a stranger once more.
                false => state.is_at_rest(now) && self.contacts.is_known(name),
            };
            state.is_gone = is_done && !state.is_served;
            !state.is_gone
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

/// Up to where everything has been delivered to everybody, or is owed; and the peers of which that was seen.
fn low_water(fanned: &AtomicU64, destinations: &Mutex<Destinations>) -> (Position, Vec<Arc<Destination>>) {
    // Before anything else is looked at: of what is fanned out later there may be peers that are not among these,
    // and lanes that were looked at too early. It counts next time.
    let mut low_water = Position(fanned.load(Ordering::Acquire));
    let destinations: Vec<_> = destinations.lock().values().cloned().collect();
    for destination in &destinations {
        let state = destination.state.lock();
        let lanes = state.lanes.values().filter_map(Lane::low_water);
        low_water = lanes.min().map_or(low_water, |lane| lane.min(low_water));
    }
    (low_water, destinations)
}

/// Adds to a batch that moves the cursor what has changed about lanes. What is owed and what has ended is looked at
/// together, for what has ended may be owed.
fn put_lanes(batch: &mut Batch, destinations: &[Arc<Destination>], cursor: Position) -> Vec<OfLane> {
    let mut noted = Vec::new();
    for destination in destinations {
        let mut state = destination.state.lock();
        for (from, lane) in &mut state.lanes {
            let (changes, ended) = (lane.changes(), lane.ended(cursor));
            if changes == Changes::default() && ended.is_none() {
                continue;
            }
            changes.write(batch, from, &destination.name);
            let key = (from.to_string(), destination.name.to_string());
            match &ended {
                Some(Ended::Put(row)) => batch.put(&LAST_SENT, &key, row),
                Some(Ended::Delete { .. }) => batch.delete(&LAST_SENT, &key),
                None => {}
            }
            noted.push(OfLane { destination: destination.clone(), from: from.clone(), changes, ended });
        }
    }
    noted
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, owned_server_name, owned_user_id};

    use super::*;
    use crate::{config::SenderConfig, sender::transaction::OutgoingReceipt};

    #[test]
    fn the_cursor_does_not_pass_what_a_new_peer_is_given_while_it_is_reckoned() {
        let now = base::Clock::system().instant();
        let name = owned_server_name!("wajima.test");
        for _ in 0..2_000 {
            let (fanned, destinations) = (AtomicU64::new(4), Mutex::new(Destinations::new()));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let new = Arc::new(Destination::new(name.clone(), &SenderConfig::default(), false, now));
                    let key = (owned_room_id!("!r:a.test"), owned_user_id!("@a:a.test"), None);
                    let position = Position(5);
                    let receipt = OutgoingReceipt { event_id: owned_event_id!("$e"), ts: 1, position };
                    let mut lane = Lane::default();
                    lane.push_receipt(key, receipt);
                    new.state.lock().lanes.insert(owned_server_name!("a.test"), lane);
                    destinations.lock().insert(name.clone(), new);
                    fanned.store(5, Ordering::Release);
                });
                while fanned.load(Ordering::Acquire) == 4 {
                    assert_eq!(low_water(&fanned, &destinations).0, Position(4));
                }
            });
            assert_eq!(low_water(&fanned, &destinations).0, Position(4));
        }
    }
}
