//! Workers: one task per room with something in its inbox.
//!
//! A worker takes a seat for each bite and gives it back after it, so that many busy rooms take turns.
//! It never waits for the network with it; what would have to, it moves aside.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::Backoff;
use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedServerName};
use store::{Batch, Order, Range};
use tokio::sync::Semaphore;
use tracing::{error, info};

use super::{
    counts::{Counts, InboxLimits},
    receive::{Arrival, Received, Row},
    triage::{Aside, Triage},
    waiting::{Awaits, PAGE, Waiting},
};
use crate::{
    Error, Rooms,
    ids::{InboxSerial, RoomSerial},
    read::room::RoomInfo,
    tables::{HEADS, INBOX, WAITING, WaitingRow, Why},
};

/// How many PDUs a worker takes at a time, and how many bytes of them.
const BITE: usize = 50;
const BITE_BYTES: usize = 512 << 10;

/// How long a worker waits after a failure of the store before it goes on, first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Who works on which room's inbox, and what waits.
pub(crate) struct Workers {
    pub(super) counts: Counts,
    pub(super) waiting: Waiting,
    /// Rooms with a worker; true: something arrived since it looked last.
    active: Mutex<HashMap<RoomSerial, bool>>,
    /// Rooms that are being joined: their PDUs wait until we are in.
    joining: Mutex<HashMap<OwnedRoomId, usize>>,
    pub(super) seats: Arc<Semaphore>,
}

impl Workers {
    pub(crate) fn new(seats: usize, limits: InboxLimits) -> Self {
        Self {
            counts: Counts::new(limits),
            waiting: Waiting::default(),
            active: Mutex::default(),
            joining: Mutex::default(),
            seats: Arc::new(Semaphore::new(seats.max(1))),
        }
    }

    /// Notes that a room is being joined, until the mark is dropped.
    pub(crate) fn mark_joining(&self, room_id: &OwnedRoomId) -> JoinMark<'_> {
        *self.joining.lock().entry(room_id.clone()).or_default() += 1;
        JoinMark { workers: self, room_id: room_id.clone() }
    }

    pub(super) fn is_joining(&self, room_id: &OwnedRoomId) -> bool {
        self.joining.lock().contains_key(room_id)
    }

    /// Whether the caller has to start a worker.
    fn claim(&self, room: RoomSerial) -> bool {
        let mut active = self.active.lock();
        match active.get_mut(&room) {
            Some(again) => {
                *again = true;
                false
            }
            None => {
                active.insert(room, false);
                true
            }
        }
    }

    /// A worker found nothing. True: it may go; false: something arrived meanwhile.
    fn release(&self, room: RoomSerial) -> bool {
        let mut active = self.active.lock();
        match active.get_mut(&room) {
            Some(again) if *again => {
                *again = false;
                false
            }
            _ => {
                active.remove(&room);
                true
            }
        }
    }
}

/// A room is being joined while this lives.
pub(crate) struct JoinMark<'a> {
    workers: &'a Workers,
    room_id: OwnedRoomId,
}

impl Drop for JoinMark<'_> {
    fn drop(&mut self) {
        let mut joining = self.workers.joining.lock();
        if let Some(count) = joining.get_mut(&self.room_id) {
            *count -= 1;
            if *count == 0 {
                joining.remove(&self.room_id);
            }
        }
    }
}

/// Frees a room for the next worker, also when this one panics.
struct Seat<'a> {
    workers: &'a Workers,
    room: RoomSerial,
    left: bool,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.left {
            self.workers.active.lock().remove(&self.room);
        }
    }
}

impl Rooms {
    /// Starts a worker for a room, unless it has one.
    pub(crate) fn wake_worker(&self, room: Arc<RoomInfo>) {
        if !self.0.workers.claim(room.serial) {
            return;
        }
        let rooms = self.clone();
        self.0.tasks.spawn("room inbox", async move {
            let mut seat = Seat { workers: &rooms.0.workers, room: room.serial, left: false };
            rooms.work(&room, &mut seat).await;
        });
    }

    /// Counts what an earlier process left, and goes on with it.
    pub(crate) async fn resume_inbox(&self) -> Result<(), Error> {
        let mut range = Range::all();
        let mut serials: Vec<RoomSerial> = Vec::new();
        loop {
            let rows = self.store().scan(&INBOX, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { break };
            range = Range::all().after(last);
            for ((room, _), row) in rows {
                if serials.last() != Some(&room) {
                    serials.push(room);
                }
                if let Ok(origin) = OwnedServerName::try_from(row.origin) {
                    self.0.workers.counts.found(room, &origin);
                }
            }
        }
        for room in self.room_infos(&serials).await?.into_iter().flatten() {
            self.wake_worker(room);
        }
        self.resume_waiting().await
    }

    /// A join has failed: what came for the room meanwhile is nothing to us, unless we are in it.
    pub(crate) async fn sweep_after_join(&self, room: &Arc<RoomInfo>) -> Result<(), Error> {
        if self.0.workers.is_joining(&room.room_id) || self.is_resident(room).await? {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.delete_prefix(&INBOX, &room.serial);
        batch.delete_prefix(&WAITING, &room.serial);
        self.store().commit(batch).await.map_err(Error::Commit)?;
        self.0.workers.counts.forget_room(room.serial);
        self.0.workers.waiting.forget_room(room.serial);
        info!(room_id = %room.room_id, "events of a room that we did not get into were dropped");
        Ok(())
    }

    async fn work(&self, room: &Arc<RoomInfo>, seat: &mut Seat<'_>) {
        let shutdown = self.0.tasks.shutdown_token();
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !shutdown.is_cancelled() {
            if self.0.workers.is_joining(&room.room_id) {
                // The join wakes a worker when it is done.
                return;
            }
            let done = {
                let Ok(_permit) = self.0.workers.seats.clone().acquire_owned().await else { return };
                self.work_off(room).await
            };
            match done {
                Ok(0) => {
                    if self.0.workers.release(room.serial) {
                        seat.left = true;
                        return;
                    }
                }
                Ok(_) => pause.reset(),
                Err(cause) => {
                    let wait = pause.next(&self.0.random);
                    error!(room_id = %room.room_id, error = %cause, "the inbox could not be worked on");
                    shutdown.run_until_cancelled(self.0.clock.sleep(wait)).await;
                }
            }
        }
    }

    /// Works on the next PDUs of a room's inbox; answers how many there were.
    async fn work_off(&self, room: &Arc<RoomInfo>) -> Result<usize, Error> {
        let mut rows = self.store().scan(&INBOX, Range::prefix(&room.serial), Order::Ascending, BITE).await?;
        let mut bytes = 0;
        let fits = |row: &&((RoomSerial, InboxSerial), crate::tables::InboxRow)| {
            bytes += row.1.pdu.len();
            bytes <= BITE_BYTES
        };
        let count = rows.iter().take_while(fits).count().max(1).min(rows.len());
        rows.truncate(count);
        if rows.is_empty() {
            return Ok(0);
        }
        if self.store().get(&HEADS, &room.serial).await?.is_none() {
            // Left by a join that a crash ended: nobody would ever judge them.
            self.sweep_after_join(room).await?;
            return Ok(0);
        }
        let kept: Vec<_> = rows.iter().map(|((_, serial), row)| (*serial, row.clone())).collect();
        match self.triage(room, rows).await {
            Ok(sorted) => self.act_on(room, sorted).await?,
            Err(cause) if is_passing(&cause) => return Err(cause),
            Err(cause) => {
                error!(room_id = %room.room_id, error = %cause, "received events are beyond us: parked");
                let mut aside = Vec::with_capacity(kept.len());
                for (serial, row) in kept {
                    let Ok(origin) = OwnedServerName::try_from(row.origin.as_str()) else { continue };
                    aside.push(self.fault(serial, origin, row.pdu));
                }
                self.move_aside(room, aside, Vec::new()).await?;
            }
        }
        Ok(count)
    }

    /// Places what is ready, moves aside what waits, drops what is nothing.
    async fn act_on(&self, room: &Arc<RoomInfo>, sorted: Triage) -> Result<(), Error> {
        let Triage { ready, mut aside, gone } = sorted;
        let received = match self.place_arrivals(room, &ready).await {
            Ok(received) => received.into_iter().map(Some).collect(),
            Err(cause) if is_passing(&cause) => return Err(cause),
            // Something about one of these events: it must not stall the room, nor take others with it.
            Err(_) => self.place_singly(room, &ready).await?,
        };
        for (arrival, received) in ready.into_iter().zip(received) {
            let Some(Row::Inbox(serial)) = arrival.row else { continue };
            match received {
                Some(Received::Placed(_) | Received::Known(_) | Received::Refused) => {
                    self.0.workers.counts.release(room.serial, &arrival.origin);
                }
                // One that it stands on had no place in the end.
                Some(Received::Unjudged) => {
                    let pdu = arrival.event.pdu().json().clone();
                    let mut unjudged = self.fault(serial, arrival.origin, pdu);
                    unjudged.row.why = Why::NoPrevious;
                    unjudged.row.tries = 0;
                    aside.push(unjudged);
                }
                None => aside.push(self.fault(serial, arrival.origin, arrival.event.pdu().json().clone())),
            }
        }
        self.move_aside(room, aside, gone).await
    }

    /// An event with which we cannot do what we should: kept, for whoever looks into it.
    fn fault(&self, serial: InboxSerial, origin: OwnedServerName, pdu: bytes::Bytes) -> Aside {
        let row =
            WaitingRow { origin: origin.to_string(), pdu, tries: 1, why: Why::Fault, since: self.now() };
        Aside { serial, origin, row, awaits: Awaits::time() }
    }

    /// Moves rows from the inbox to the waiting ones, and drops others.
    async fn move_aside(
        &self,
        room: &Arc<RoomInfo>,
        aside: Vec<Aside>,
        gone: Vec<(InboxSerial, OwnedServerName)>,
    ) -> Result<(), Error> {
        if aside.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let workers = &self.0.workers;
        let mut batch = Batch::new();
        for one in &aside {
            batch.delete(&INBOX, &(room.serial, one.serial));
            batch.put(&WAITING, &(room.serial, one.serial), &one.row);
        }
        for (serial, _) in &gone {
            batch.delete(&INBOX, &(room.serial, *serial));
        }
        self.store().commit(batch).await.map_err(Error::Commit)?;
        for (_, origin) in gone {
            workers.counts.release(room.serial, &origin);
        }
        let now = self.0.clock.instant();
        let mut origins: Vec<OwnedServerName> = Vec::new();
        for Aside { serial, origin, row, awaits } in aside {
            let looked_for = awaits.clone();
            workers.waiting.add(room.serial, serial, &(origin.clone(), row.tries), awaits, now);
            self.look_again(room.serial, looked_for).await?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        for origin in origins {
            self.send_errand(room, &origin);
        }
        Ok(())
    }

    /// Places events one by one; `None` for one that fails.
    async fn place_singly(
        &self,
        room: &Arc<RoomInfo>,
        arrivals: &[Arrival],
    ) -> Result<Vec<Option<Received>>, Error> {
        let mut received = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            match self.place_arrivals(room, std::slice::from_ref(arrival)).await {
                Ok(mut one) => received.push(one.pop()),
                Err(cause) if is_passing(&cause) => return Err(cause),
                Err(cause) => {
                    error!(room_id = %room.room_id, event_id = %arrival.id(), error = %cause, "a received event is beyond us");
                    received.push(None);
                }
            }
        }
        Ok(received)
    }
}

/// Whether the same may succeed later.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Store(_) | Error::Commit(_) | Error::Contended | Error::Interrupted | Error::Busy)
}
