//! Workers: one task per room with something in its inbox.
//!
//! A worker takes a seat for each bite and gives it back after it, so that many busy rooms take turns.
//! It never waits for the network with it; what would have to, it moves aside.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::Backoff;
use parking_lot::Mutex;
use room::{
    Error,
    ids::{InboxSerial, RoomSerial},
    read::room::RoomInfo,
    tables::HEADS,
};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};
use store::{Batch, CommitError, Order, Range};
use tokio::sync::Semaphore;
use tracing::{debug, error, info};

use super::{
    counts::{Counts, InboxLimits},
    receive::{Arrival, Received, Row},
    triage::{Aside, Triage},
    waiting::{Awaits, PAGE, Waiting},
};
use crate::{
    Engine,
    tables::{INBOX, WAITING, WaitingRow, Why},
};

/// How many PDUs a worker takes, or drops, at a time, and how many bytes it takes of them.
const BITE: usize = 50;
const BITE_BYTES: usize = 512 << 10;

/// How long a worker waits after a failure of the store before it goes on, first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Who works on which room's inbox, and what waits.
pub(crate) struct Workers {
    pub(super) counts: Counts,
    pub(super) waiting: Waiting,
    /// Engine with a worker; true: something arrived since it looked last.
    active: Mutex<HashMap<RoomSerial, bool>>,
    /// Engine that are being joined: their PDUs wait until we are in.
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

    pub(crate) fn is_joining(&self, room_id: &OwnedRoomId) -> bool {
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

    /// Whether a room has a worker.
    pub(super) fn is_active(&self, room: RoomSerial) -> bool {
        self.active.lock().contains_key(&room)
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

/// A room is being joined while this lives. Then, also when whoever joined has gone away, what came meanwhile is
/// seen to.
pub(crate) struct JoinMark {
    engine: Engine,
    room_id: OwnedRoomId,
}

impl Drop for JoinMark {
    fn drop(&mut self) {
        {
            let mut joining = self.engine.0.workers.joining.lock();
            if let Some(count) = joining.get_mut(&self.room_id) {
                *count -= 1;
                if *count == 0 {
                    joining.remove(&self.room_id);
                }
            }
        }
        let (engine, room_id) = (self.engine.clone(), self.room_id.clone());
        self.engine.0.tasks.spawn("room after a join", async move { engine.see_to_joined(&room_id).await });
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

impl Engine {
    /// Notes that a room is being joined, until the mark is dropped.
    pub(crate) fn mark_joining(&self, room_id: &RoomId) -> JoinMark {
        *self.0.workers.joining.lock().entry(room_id.to_owned()).or_default() += 1;
        JoinMark { engine: self.clone(), room_id: room_id.to_owned() }
    }

    /// Starts a worker for a room, unless it has one.
    pub(crate) fn wake_worker(&self, room: Arc<RoomInfo>) {
        if !self.0.workers.claim(room.serial) {
            return;
        }
        let engine = self.clone();
        self.0.tasks.spawn("room inbox", async move {
            let mut seat = Seat { workers: &engine.0.workers, room: room.serial, left: false };
            engine.work(&room, &mut seat).await;
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
        if self.store().is_shared() {
            // Another process may be joining a room that has no head yet: see `adopt`.
            let mut heads = self.store().get_many(&HEADS, &serials).await?.into_iter();
            serials.retain(|_| heads.next().flatten().is_some());
        }
        for room in self.rooms().room_infos(&serials).await?.into_iter().flatten() {
            self.wake_worker(room);
        }
        self.resume_waiting().await?;
        self.resume_settled().await
    }

    /// Sees to what came for a room while it was joined, until the store lets it.
    async fn see_to_joined(&self, room_id: &RoomId) {
        let shutdown = self.0.tasks.shutdown_token();
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !shutdown.is_cancelled() {
            let settled = match self.rooms().room(room_id).await {
                Ok(Some(room)) => self.settle_after_join(&room).await,
                Ok(None) => return,
                Err(cause) => Err(cause),
            };
            let Err(cause) = settled else { return };
            let wait = pause.next(&self.0.random);
            error!(%room_id, error = %cause, "what came during a join could not be seen to");
            shutdown.run_until_cancelled(self.0.clock.sleep(wait)).await;
        }
    }

    /// A join has ended. If we are in the room, what came for it meanwhile is worked on; if not, it is nothing to us.
    pub(crate) async fn settle_after_join(&self, room: &Arc<RoomInfo>) -> Result<(), Error> {
        loop {
            // Before the look at the joins: what comes for one that begins later is not among these.
            let range = || Range::prefix(&room.serial);
            let inbox = self.store().scan(&INBOX, range(), Order::Ascending, BITE).await?;
            let waiting = self.store().scan(&WAITING, range(), Order::Ascending, BITE).await?;
            let head = self.store().get(&HEADS, &room.serial).await?;
            if self.0.workers.is_joining(&room.room_id) {
                return Ok(());
            }
            if self.rooms().is_resident(room).await? {
                self.wake_worker(room.clone());
                return Ok(());
            }
            if inbox.is_empty() && waiting.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            // A join that lands now is one that they are for.
            batch.require(&HEADS, &room.serial, head.as_ref());
            inbox.iter().for_each(|(key, _)| batch.delete(&INBOX, key));
            waiting.iter().for_each(|(key, _)| batch.delete(&WAITING, key));
            match self.store().commit(batch).await {
                Ok(_) => {}
                Err(CommitError::Conflict { .. }) => continue,
                Err(cause) => return Err(Error::Commit(cause)),
            }
            for (_, row) in &inbox {
                if let Ok(origin) = <&ServerName>::try_from(row.origin.as_str()) {
                    self.0.workers.counts.release(room.serial, origin);
                }
            }
            for ((_, serial), row) in &waiting {
                self.forget_waiting(room.serial, *serial, &row.origin);
            }
            info!(room_id = %room.room_id, count = inbox.len() + waiting.len(), "events of a room that we did not get into were dropped");
        }
    }

    async fn work(&self, room: &Arc<RoomInfo>, seat: &mut Seat<'_>) {
        let shutdown = self.0.tasks.shutdown_token();
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !shutdown.is_cancelled() {
            if self.0.workers.is_joining(&room.room_id) {
                // The join wakes a worker when it is done; if it was done just now, it woke this one.
                if self.0.workers.release(room.serial) {
                    seat.left = true;
                    return;
                }
                continue;
            }
            let done = {
                let Ok(_permit) = self.0.workers.seats.clone().acquire_owned().await else { return };
                self.work_off(room).await
            };
            match done {
                Ok(0) => {
                    if self.store().is_shared() {
                        // Others may have come to the end of what was counted here.
                        let held = self.0.workers.waiting.counted(room.serial);
                        self.0.workers.counts.holds_only(room.serial, &held);
                    }
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
            self.settle_after_join(room).await?;
            return Ok(0);
        }
        let kept: Vec<_> = rows.iter().map(|((_, serial), row)| (*serial, row.clone())).collect();
        match self.triage(room, rows).await {
            Ok(sorted) => self.act_on(room, sorted).await?,
            Err(cause) if cause.is_passing() => return Err(cause),
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
        let Triage { mut ready, mut aside, gone } = sorted;
        let received = match self.place_arrivals(room, &ready).await {
            Ok(received) => received.into_iter().map(Some).collect(),
            Err(cause) if cause.is_passing() => return Err(cause),
            // Something about one of these events: it must not stall the room, nor take others with it.
            Err(cause) => {
                debug!(room_id = %room.room_id, error = %cause, "received events are placed one by one");
                ready = self.still_in_inbox(room, ready).await?;
                self.place_singly(room, &ready).await?
            }
        };
        for (arrival, received) in ready.into_iter().zip(received) {
            let Some(Row::Inbox(serial)) = arrival.row else { continue };
            match received {
                Some(Received::Placed(_) | Received::Known(_) | Received::Refused) => {}
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
        // From here on only the list knows of them: nothing may come between.
        let now = self.0.clock.instant();
        let mut origins: Vec<OwnedServerName> = Vec::new();
        let mut awaited: Vec<Awaits> = Vec::with_capacity(aside.len());
        for Aside { serial, origin, row, awaits } in aside {
            awaited.push(awaits.clone());
            workers.waiting.add(room.serial, serial, &(origin.clone(), row.tries), awaits, now);
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        for origin in origins {
            self.send_errand(room, &origin);
        }
        for awaits in awaited {
            self.look_again(room.serial, awaits).await;
        }
        Ok(())
    }

    /// Gives back the places of events whose rows have gone with a batch.
    pub(super) fn release_landed(&self, room: &RoomInfo, arrivals: &[Arrival], received: &[Received]) {
        for (arrival, received) in arrivals.iter().zip(received) {
            let is_over = !matches!(received, Received::Unjudged);
            if is_over && matches!(arrival.row, Some(Row::Inbox(_))) {
                self.0.workers.counts.release(room.serial, &arrival.origin);
            }
        }
    }

    /// Those that have their rows still: of a bite that failed, the first may have come to their end.
    async fn still_in_inbox(&self, room: &RoomInfo, arrivals: Vec<Arrival>) -> Result<Vec<Arrival>, Error> {
        let key = |arrival: &Arrival| match arrival.row {
            Some(Row::Inbox(serial)) => Some((room.serial, serial)),
            _ => None,
        };
        let (keys, arrivals): (Vec<_>, Vec<_>) =
            arrivals.into_iter().filter_map(|arrival| Some((key(&arrival)?, arrival))).unzip();
        let rows = self.store().get_many(&INBOX, &keys).await?;
        let open = arrivals.into_iter().zip(rows).filter(|(_, row)| row.is_some());
        Ok(open.map(|(arrival, _)| arrival).collect())
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
                Err(cause) if cause.is_passing() => return Err(cause),
                Err(cause) => {
                    error!(room_id = %room.room_id, event_id = %arrival.id(), error = %cause, "a received event is beyond us");
                    received.push(None);
                }
            }
        }
        Ok(received)
    }
}
