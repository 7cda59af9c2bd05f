//! Errands: bringing what waiting events lack.
//!
//! One task per room and origin, so that neither a room nor a server waits for another. An attempt
//! first asks the network for what is missing, under one budget of time and without holding anything, then
//! judges and places what came. It leaves its event placed, refused, or put off to the next attempt.

use std::{sync::Arc, time::Duration};

use room::{
    Error,
    ids::{InboxSerial, RoomSerial},
    read::{event::StoredEvent, room::RoomInfo},
    tables::Membership,
};
use ruma::{OwnedEventId, OwnedServerName, ServerName};
use store::{Batch, Order, Range};
use tracing::{debug, error, info};

use super::{
    door::reopen,
    receive::{Arrival, Received, Row},
    triage::Lack,
    verify::Proof,
    waiting::{Awaits, Next, PAGE},
};
use crate::{
    Engine,
    tables::{WAITING, WaitingRow, Why},
};

/// How long one attempt may ask for one event, all requests together.
const ATTEMPT: Duration = Duration::from_secs(30);

/// How long an errand pauses when the store fails.
const PAUSE: Duration = Duration::from_secs(5);

/// What an attempt brought.
enum Brought {
    /// Everything, as far as it could be had; the event itself is the last.
    Arrivals(Vec<Arrival>),
    /// There is nothing to place: it is known, forged, or refused by its own auth events.
    Nothing,
    /// The keys cannot be had.
    NoKeys,
    /// Its server is not in the room, and it lacks something.
    Stranger(Awaits),
}

/// Frees an origin for the next errand, also when this one panics.
struct Errand<'a> {
    engine: &'a Engine,
    room: RoomSerial,
    origin: &'a ServerName,
    is_over: bool,
}

impl Drop for Errand<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.engine.0.workers.waiting.abandon(self.room, self.origin);
        }
    }
}

/// What others may have waited for.
#[derive(Default)]
pub(crate) struct Arrived {
    events: Vec<OwnedEventId>,
    servers: Vec<OwnedServerName>,
}

impl Arrived {
    pub(crate) fn add(&mut self, event: &StoredEvent) {
        self.events.push(event.event_id().to_owned());
        if event.membership() == Some(Membership::Join) {
            self.servers.push(event.sender().server_name().to_owned());
        }
    }
}

impl Engine {
    /// Starts an errand for waiting events of an origin, unless there is one or nothing is to be tried.
    pub(super) fn send_errand(&self, room: &Arc<RoomInfo>, origin: &ServerName) {
        if !self.0.workers.waiting.claim(room.serial, origin) {
            return;
        }
        let (engine, room, origin) = (self.clone(), room.clone(), origin.to_owned());
        self.0.tasks.spawn("room errand", async move {
            let mut errand = Errand { engine: &engine, room: room.serial, origin: &origin, is_over: false };
            engine.run_errand(&room, &origin).await;
            errand.is_over = true;
        });
    }

    async fn run_errand(&self, room: &Arc<RoomInfo>, origin: &ServerName) {
        let shutdown = self.0.tasks.shutdown_token();
        let waiting = &self.0.workers.waiting;
        while !shutdown.is_cancelled() {
            match waiting.next(room.serial, origin, self.0.clock.instant()) {
                Next::Nothing => return,
                Next::Sleep(time, bell) => {
                    let sleep = self.0.clock.timeout(time, bell.notified());
                    shutdown.run_until_cancelled(sleep).await;
                }
                Next::Try(serial) => {
                    let tried = shutdown.run_until_cancelled(self.try_again(room, serial)).await;
                    if let Some(Err(cause)) = tried {
                        error!(room_id = %room.room_id, error = %cause, "a waiting event could not be worked on");
                        shutdown.run_until_cancelled(self.0.clock.sleep(PAUSE)).await;
                    }
                }
            }
        }
        // The process ends; the rows are taken up at the next start.
        waiting.abandon(room.serial, origin);
    }

    /// One attempt for one waiting event.
    async fn try_again(&self, room: &Arc<RoomInfo>, serial: InboxSerial) -> Result<(), Error> {
        let Some(row) = self.store().get(&WAITING, &(room.serial, serial)).await? else {
            self.0.workers.waiting.remove(room.serial, serial);
            return Ok(());
        };
        match self.attempt(room, serial, &row).await {
            Ok(()) => Ok(()),
            Err(cause) if cause.is_passing() => Err(cause),
            Err(cause) => {
                error!(room_id = %room.room_id, error = %cause, "a received event is beyond us");
                self.put_off(room.serial, serial, row, Why::Fault, Awaits::time()).await
            }
        }
    }

    async fn attempt(
        &self,
        room: &Arc<RoomInfo>,
        serial: InboxSerial,
        row: &WaitingRow,
    ) -> Result<(), Error> {
        let put_off = |why, awaits| self.put_off(room.serial, serial, row.clone(), why, awaits);
        let brought = match self.0.clock.timeout(ATTEMPT, self.bring(room, serial, row)).await {
            Ok(brought) => brought?,
            Err(_) => return put_off(Why::Unanswered, Awaits::time()).await,
        };
        let arrivals = match brought {
            Brought::Arrivals(arrivals) => arrivals,
            Brought::Nothing => return self.strike_waiting(room, serial, &row.origin).await,
            Brought::NoKeys => return put_off(Why::NoKeys, Awaits::time()).await,
            // That nobody of its server is known in a room that lacks members says nothing.
            Brought::Stranger(awaits) if self.rooms().lacking().await?.lacks(room.serial) => {
                return put_off(Why::Stranger, awaits).await;
            }
            Brought::Stranger(_) if self.0.workers.waiting.is_over(room.serial, serial) => {
                info!(room_id = %room.room_id, origin = row.origin, "an event of a server that is not in the room was dropped");
                return self.strike_waiting(room, serial, &row.origin).await;
            }
            Brought::Stranger(awaits) => return put_off(Why::Stranger, awaits).await,
        };
        let received = {
            // After the network, and only now: a seat is for work, not for waiting.
            let seats = self.0.workers.seats.clone();
            let Ok(_seat) = seats.acquire_owned().await else { return Err(Error::Interrupted) };
            self.place_arrivals(room, &arrivals).await?
        };
        match received.last() {
            None | Some(Received::Placed(_) | Received::Known(_) | Received::Refused) => {
                if arrivals.last().is_none_or(|last| last.row.is_none()) {
                    return self.strike_waiting(room, serial, &row.origin).await;
                }
                self.forget_waiting(room.serial, serial, &row.origin);
                Ok(())
            }
            Some(Received::Unjudged) => {
                let lack = match arrivals.last() {
                    Some(last) => self.lack_of(room, last.event.pdu()).await?,
                    None => None,
                };
                match lack {
                    Some(Lack::Auth(id)) => put_off(Why::NoAuth, Awaits::event(id)).await,
                    Some(Lack::Previous(id)) => put_off(Why::NoPrevious, Awaits::event(id)).await,
                    None => put_off(Why::NoState, Awaits::time()).await,
                }
            }
        }
    }

    /// Verifies a waiting event and fetches what it lacks.
    async fn bring(
        &self,
        room: &Arc<RoomInfo>,
        serial: InboxSerial,
        row: &WaitingRow,
    ) -> Result<Brought, Error> {
        let (Some(pdu), Ok(origin)) =
            (reopen(room, &row.pdu), OwnedServerName::try_from(row.origin.as_str()))
        else {
            return Ok(Brought::Nothing);
        };
        let stored = self.stored(room, &[pdu.event_id().to_owned()]).await?;
        if stored.values().any(|placed| *placed) {
            return Ok(Brought::Nothing);
        }
        let lack = self.lack_of(room, &pdu).await?;
        let lacks = lack.is_some();
        let may_ask = self.may_ask_for(room, &origin, &pdu).await?;
        let proof = if may_ask {
            self.prove(pdu.clone()).await?
        } else {
            self.prove_with_held_keys(vec![pdu.clone()]).await?.pop().unwrap_or(Proof::Forged)
        };
        let stranger = async || {
            let server = self.absent_of(room, &origin, &pdu).await?;
            Ok(Brought::Stranger(Awaits::server(lack.clone().map(Lack::into_id), server)))
        };
        let event = match proof {
            Proof::Forged => return Ok(Brought::Nothing),
            Proof::NoKey(_) if may_ask => return Ok(Brought::NoKeys),
            Proof::NoKey(_) => return stranger().await,
            Proof::Holds(event) => event,
        };
        if lacks && !may_ask {
            return stranger().await;
        }
        if lacks && self.is_refuted(room, &pdu).await? {
            info!(room_id = %room.room_id, event_id = %pdu.event_id(), "event rejected by its auth events");
            return Ok(Brought::Nothing);
        }
        let mut arrival = Arrival::new(event, origin);
        arrival.row = Some(Row::Waiting(serial));
        Ok(Brought::Arrivals(self.complete_one(room, arrival).await?))
    }

    /// Takes a row off the list that no batch of an event has taken.
    async fn strike_waiting(
        &self,
        room: &Arc<RoomInfo>,
        serial: InboxSerial,
        origin: &str,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.delete(&WAITING, &(room.serial, serial));
        self.store().commit(batch).await.map_err(Error::Commit)?;
        self.forget_waiting(room.serial, serial, origin);
        Ok(())
    }

    /// Gives back the place of an event whose row in the inbox is gone.
    pub(crate) fn forget_inbound(&self, room: RoomSerial, origin: &str) {
        if let Ok(origin) = <&ServerName>::try_from(origin) {
            self.0.workers.counts.release(room, origin);
        }
    }

    pub(crate) fn forget_waiting(&self, room: RoomSerial, serial: InboxSerial, origin: &str) {
        let was_counted = self.0.workers.waiting.remove(room, serial);
        if let (true, Ok(origin)) = (was_counted, <&ServerName>::try_from(origin)) {
            self.0.workers.counts.release(room, origin);
        }
    }

    /// Takes up what waited for these events, or for the servers that they brought into the room.
    pub(super) fn arrived<'a>(
        &self,
        room: &Arc<RoomInfo>,
        stored: impl IntoIterator<Item = &'a Arc<StoredEvent>>,
    ) {
        let mut arrived = Arrived::default();
        stored.into_iter().for_each(|event| arrived.add(event));
        self.take_up(room, &arrived);
    }

    /// As [`Engine::arrived`], for one who has not kept all events.
    pub(crate) fn take_up(&self, room: &Arc<RoomInfo>, arrived: &Arrived) {
        let waiting = &self.0.workers.waiting;
        let now = self.0.clock.instant();
        for origin in waiting.revive(room.serial, &arrived.events, &arrived.servers, now) {
            debug!(room_id = %room.room_id, %origin, "a waiting event is taken up again");
            self.send_errand(room, &origin);
        }
    }

    /// Takes up the waiting events of a room whose members have come: those of servers that are in it by them, and those
    /// that the state without them did not allow.
    pub(crate) async fn take_up_settled(&self, room: &Arc<RoomInfo>) -> Result<(), Error> {
        let waiting = &self.0.workers.waiting;
        let mut servers = waiting.awaited_servers(room.serial);
        self.keep_those_here(room.serial, &mut Vec::new(), &mut servers).await?;
        let now = self.0.clock.instant();
        let mut origins = waiting.revive(room.serial, &[], &servers, now);
        origins.extend(waiting.revive_idle(room.serial, now));
        origins.iter().for_each(|origin| self.send_errand(room, origin));
        Ok(())
    }

    /// Takes up the waiting events that an earlier process left.
    #[crate::boxed]
    pub(super) async fn resume_waiting(&self) -> Result<(), Error> {
        let mut range = Range::all();
        loop {
            let rows = self.store().scan(&WAITING, range, Order::Ascending, PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            range = Range::all().after(last);
            for ((serial, place), row) in rows {
                let Some(room) = self.rooms().room_infos(&[serial]).await?.pop().flatten() else { continue };
                let Ok(origin) = OwnedServerName::try_from(row.origin.as_str()) else { continue };
                let awaits = match reopen(&room, &row.pdu).filter(|_| row.is_parked()) {
                    // What has attempts left finds out with the next one.
                    None => Awaits::time(),
                    Some(pdu) => {
                        let event = self.lack_of(&room, &pdu).await?.map(Lack::into_id);
                        let is_stranger = row.why == Why::Stranger;
                        let server = self.absent_of(&room, &origin, &pdu).await?;
                        Awaits { event, server: is_stranger.then_some(server) }
                    }
                };
                let workers = &self.0.workers;
                let known = (origin.clone(), row.tries);
                workers.waiting.add(room.serial, place, &known, awaits, self.0.clock.instant());
                if workers.waiting.is_counted(room.serial, place) {
                    workers.counts.found(room.serial, &origin);
                }
                self.send_errand(&room, &origin);
            }
        }
    }

    /// Takes up, at a start, what an earlier process left of rooms whose members have come since: it may have ended before
    /// it did so.
    pub(super) async fn resume_settled(&self) -> Result<(), Error> {
        let whole: Vec<RoomSerial> = self.rooms().lacking().await?.whole().collect();
        for room in self.rooms().room_infos(&whole).await?.into_iter().flatten() {
            self.take_up_settled(&room).await?;
        }
        Ok(())
    }
}
